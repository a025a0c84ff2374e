def without_characters(neighbours, patch):
    patch.setitem(neighbours.READERS, "characters", neighbours.READERS["whole words"])


def without_training(neighbours, patch):
    patch.setattr(neighbours, "STEPS", 0)
    patch.setattr(neighbours, "NEW", {})                    # whose letters alone may do


OFF = [(without_characters, "the nearest of beers should be beer"), (without_training, "characters should find 85 % of the misspelt words")]
