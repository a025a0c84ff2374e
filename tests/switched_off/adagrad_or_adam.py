def without_its_rate(script, patch):
    patch.setattr(script, "RATE", 0.001)


OFF = [(without_its_rate, "Adagrad's loss should be far below Adam's")]
