def without_normalising(gd, patch):
    patch.setattr(gd, "NORMALIZED", False)


def without_mini_batches(gd, patch):
    patch.setattr(gd, "BATCH", gd.N)


OFF = [(without_normalising, "every step should be 0.5 long"), (without_mini_batches, "single batches should point elsewhere")]
