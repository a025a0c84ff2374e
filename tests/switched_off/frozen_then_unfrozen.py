def without_the_other_task(script, patch):
    patch.setattr(script, "PRETRAINED", False)


OFF = [(without_the_other_task, "what another task taught should help")]
