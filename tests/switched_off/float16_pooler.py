def without_scaling(script, patch):
    patch.setattr(script, "SCALE", 1.0)


def without_a_slope(script, patch):
    patch.setattr(script.tg, "leaky_relu", lambda x, slope, leaky=script.tg.leaky_relu: leaky(x, 0.1)
                  if x.shape[-1] == script.HIDDEN else script.tg.tanh(x))


def without_excluding(script, patch):
    patch.setattr(script, "EXCLUDED", ("nothing",))


OFF = [(without_scaling, "the loss scaled: it should learn"), (without_a_slope, "a leaky activation: it should learn"),
       (without_excluding, "pooler excluded: it should learn")]
