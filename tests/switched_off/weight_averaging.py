def without_memory(script, patch):
    patch.setattr(script, "DECAY", 0.0)


def without_epochs_to_average(script, patch):
    patch.setattr(script, "START", script.EPOCHS - 1)


OFF = [(without_memory, "EMA should be better than the last weights"),
       (without_epochs_to_average, "SWA should be better than the last weights")]
