def without_momentum(surface, patch):
    patch.setattr(surface, "BETA", 0.0)


def without_halving(surface, patch):
    patch.setattr(surface, "HALVING", 1.0)


def without_average(surface, patch):
    patch.setattr(surface, "GDEMA", surface.GD)


def without_damping(surface, patch):
    patch.setitem(surface.SIX, "Adam", surface.RMSprop)


def without_division(surface, patch):
    patch.setitem(surface.SIX, "RMSprop", surface.GD)


OFF = [(without_momentum, "momentum should leave the plateau"), (without_halving, "halving the rate should cut the late oscillation"),
       (without_average, "the average should damp the bouncing"), (without_damping, "Adam's first step should be the rate"),
       (without_division, "RMSprop's first step should be rate / sqrt(1 - beta)")]
