import tinygrad_lite as tg


def without_waves(script, patch):
    patch.setattr(script, "WAVE", lambda rate, period: tg.schedules.ConstantLR(rate, factor=1.0))


OFF = [(without_waves, "the restarts' gradient should recover")]
