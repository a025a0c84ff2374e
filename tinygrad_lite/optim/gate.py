"""Steps on the GPU: whether one may happen is decided there, and the host hears of it one step later.

On the host a gradient with NaN in it is refused before anything moves. On the GPU that question, asked at every step, would
make the host wait for all that is queued. So the answer stays there as a flag that every update looks at (where it is False
nothing is written), and a copy starts on its way to the host, which counts the step as taken and goes on. Before the next
step, or when somebody asks for the clock or saves, the copy is read: after a refusal all counts go back, and the error is
the one of the host, a step late and with nothing changed.
"""
import numpy as np

from ..late import Late, Look


class Gate:
    """What `step()` returns on the GPU: `ok` is the flag there; `bool()` waits for it, and says whether the step was taken.

    `looks` tell whether the gradients are finite; `quiet` are those of a loss scaler: what they refuse is no error.
    """

    def __init__(self, optimizers, looks, quiet):
        self.optimizers, self.looks, self.quiet = optimizers, [*quiet, *looks], len(quiet)
        self.before, self.taken = [], True
        sizes = [look.sizes for look in self.looks]
        sizes = sizes[0] if len(sizes) == 1 else np.concatenate(sizes)
        self.ok, self.late = np.isfinite(sizes).all(), Late(sizes)

    def enter(self, optimizer, work):
        """Note what an optimizer counts before it moves; False where the step is known to be refused."""
        self.before.append((optimizer, optimizer._t, [(pool, pool.counts()) for pool, _, _ in work]))
        return self.taken

    def settle(self):
        """Read the answer, where it was not read yet; after a refusal put all counts back, and raise."""
        if self.late is None:
            return self.taken
        sizes = self.late.read()
        self.taken = bool(np.isfinite(sizes).all())
        looks, before = self.looks, self.before
        self.ok, self.late, self.looks, self.before = None, None, (), []        # they hold on to arrays
        if not self.taken:
            for optimizer, t, counts in before:
                optimizer._t = t
                for pool, count in counts:
                    pool.recount(count)
            parts = np.split(sizes, np.cumsum([look.sizes.size for look in looks])[:-1])
            bad = [not np.isfinite(part).all() for part in parts]
            if not any(bad[:self.quiet]):
                self.refuse(looks[bad.index(True)].culprit(parts[bad.index(True)]))
        return self.taken

    __bool__ = settle

    def refuse(self, p):
        owner = next(o for o in self.optimizers if id(p) in o.owners)
        raise FloatingPointError(f"{owner.name}: the gradient of parameter {owner.owners[id(p)].name!r} was not finite in the last "
                                 "step (the host hears of it now, when the answer of the GPU has arrived). Nothing was changed by "
                                 "that step; lower the rate, clip, or look for the cause")


def gate_of(optimizers, works, quiet=()):
    """The Gate of one step of some optimizers, each with its work (see `Optimizer.gather`); None where there is nothing to ask.

    Where part of the work is on the host, or is done by an `update_param` that `waits`, so does this one, before anything moves.
    """
    pools = [(pool, runs) for work in works for pool, _, runs in work]
    if not pools:
        return None
    looks, unseen = {}, []
    for pool, runs in pools:
        for row, params in pool.pieces(runs) if pool.there else ():
            seen = [p.__dict__.pop("_looked", (None, None)) for p in params]        # by clipping, or a loss scaler
            if not pool.group["check_finite"]:
                continue
            if all([g is p._grad for (g, _), p in zip(seen, params)]):
                looks.update({id(look): look for _, look in seen})
            else:
                unseen.append((row, params))
    looks = [look for look in looks.values() if look not in quiet]
    if unseen:
        looks.append(Look(unseen))
    if not looks and not quiet:
        return None
    gate = Gate(optimizers, looks, quiet)
    if not all([pool.there and not pool.waits for pool, _ in pools]):
        gate.settle()
    return gate
