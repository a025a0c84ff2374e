def without_learning(script, patch):
    patch.setattr(script, "LEARN", False)


OFF = [(without_learning, "the noise scale should grow")]
