def without_small_batches(script, patch):
    patch.setattr(script, "RUNS", {name: (how, script.TRAIN) for name, (how, _) in script.RUNS.items()})


OFF = [(without_small_batches, "SGD with small batches should end in flatter minima")]
