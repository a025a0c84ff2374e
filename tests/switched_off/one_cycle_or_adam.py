def without_decay(script, patch):
    patch.setattr(script, "DECAY", 0.0)


def without_the_high_rate(script, patch):
    patch.setitem(script.WAYS, "Adam", (script.WAYS["Adam"][0], script.LOW, "black"))


OFF = [(without_decay, "decoupled decay should save every run"),
       (without_the_high_rate, "with Adam at the same rate nearly every run should be lost")]
