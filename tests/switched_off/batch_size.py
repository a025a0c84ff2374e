def without_scaling(script, patch):
    patch.setattr(script, "SCALE", lambda rate, size, reference: rate)


OFF = [(without_scaling, "linear scaling should win most of it back")]
