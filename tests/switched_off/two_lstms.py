def without_the_cure(script, patch):
    patch.setattr(script, "CURE", 0.0)
    patch.setattr(script, "measure", lambda seed: {"bias 0": script.learn(0.0, seed), "no cure": script.learn(script.CURE, seed)})


def without_the_wait(script, patch):
    patch.setattr(script, "WAIT", 1)


OFF = [(without_the_cure, "the cure should let the gradient through"), (without_the_wait, "with bias 0 hardly any gradient should reach the reader")]
