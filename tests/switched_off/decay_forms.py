def without_decay(decay, patch):
    patch.setattr(decay, "DECAY", 0.0)


def without_decoupling(decay, patch):
    patch.setitem(decay.PAIRS, "Adam", (decay.PAIRS["Adam"][0],) * 2)


OFF = [(without_decay, "the two forms should differ"), (without_decoupling, "for Adam the two forms should differ")]
