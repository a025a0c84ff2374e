def without_batches(script, patch):
    patch.setattr(script, "NOISE", False)


OFF = [(without_batches, "small batches should point elsewhere")]
