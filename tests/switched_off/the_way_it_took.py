def without_its_own_directions(script, patch):
    patch.setattr(script, "OWN", False)


OFF = [(without_its_own_directions, "two directions of its own should hold nearly all")]
