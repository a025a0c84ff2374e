def without_the_long_step(script, patch):
    patch.setattr(script, "RUNS", {name: (script.RATE, kind) for name, (_, kind) in script.RUNS.items()})


def without_the_leak(script, patch):
    patch.setattr(script, "RUNS", {name: (rate, script.tg.nn.ReLU) for name, (rate, _) in script.RUNS.items()})


OFF = [(without_the_long_step, "the long step should kill units"), (without_the_leak, "no leaky unit should give 0")]
