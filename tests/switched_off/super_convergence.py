import tinygrad_lite as tg


class Held(tg.schedules.OneCycleLR):
    """A cycle that stays at its peak."""

    def __call__(self, t):
        return self.max_lr


def without_the_cycle(script, patch):
    patch.setattr(script, "CYCLE", Held)


OFF = [(without_the_cycle, "held constant, the peak should end at a higher loss than in one cycle")]
