def without_the_second_cycle(script, patch):
    patch.setitem(script.CYCLES, "two short", 1)


OFF = [(without_the_second_cycle, "the long cycle should end at a lower training loss")]
