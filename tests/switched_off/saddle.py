def without_noise(script, patch):
    patch.setattr(script, "BATCH", None)


def without_dividing(script, patch):
    patch.setattr(script, "PLATEAU", {name: (script.tg.optim.SGD, dict(lr=0.5)) for name in script.PLATEAU})


OFF = [(without_noise, "batches should lead from the saddle"), (without_dividing, "only methods that divide should leave")]
