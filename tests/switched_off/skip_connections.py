def without_the_difference(script, patch):
    patch.setattr(script, "KINDS", {name: True for name in script.KINDS})


OFF = [(without_the_difference, "without skips it should learn far less")]
