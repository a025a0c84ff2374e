def without_smoothing(script, patch):
    patch.setattr(script, "BETA", 0.0)


OFF = [(without_smoothing, "on the surface the smoothed loss should be lowest between 2 and 2.5")]
