def without_a_common_start(script, patch):
    patch.setattr(script, "COMMON", False)


OFF = [(without_a_common_start, "the road between copies should be level")]
