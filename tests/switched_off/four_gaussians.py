def without_subtracting(script, patch):
    patch.setattr(script, "SUBTRACT", False)
    patch.setattr(script, "SMOOTH", 3.0)


def without_thinning(script, patch):
    patch.setattr(script, "THIN", 4)


OFF = [(without_subtracting, "the start's widths should be near"), (without_thinning, "thinned points should lose the narrow peak")]
