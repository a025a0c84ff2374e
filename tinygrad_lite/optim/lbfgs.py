"""L-BFGS: a quasi-Newton step from the last few gradients, with PyTorch's rules and its strong-Wolfe line search."""
import numpy as np

from ..backend import beside, on_gpu, to_host
from ..clip import largest
from .base import Optimizer


class LBFGS(Optimizer):
    """p += t d, d = -H g, H from the last `history_size` pairs s = change of p, y = change of g (two-loop recursion).

    `step(closure)`: the closure clears gradients, computes the loss, calls backward and returns it; it is evaluated
    up to max_eval (default 1.25 max_iter) times. line_search_fn: None (t = lr) or "strong_wolfe". Returns the
    loss at entry. One group only. Source: Nocedal 1980; Schmidt's minFunc; torch.optim.LBFGS.

    >>> from tinygrad_lite import Tensor, optim
    >>> w = Tensor([3.0, -2.0], requires_grad=True)
    >>> opt = optim.LBFGS([w], line_search_fn="strong_wolfe")
    >>> def closure():
    ...     opt.zero_grad()
    ...     loss = ((w - 1) ** 4).sum()
    ...     loss.backward()
    ...     return loss
    >>> opt.step(closure).item(), bool(abs(w.data - 1).max() < 0.05)
    (97.0, True)
    """
    defaults = dict(lr=1.0, max_iter=20, max_eval=None, tolerance_grad=1e-7, tolerance_change=1e-9, history_size=100, line_search_fn=None)

    def __init__(self, params, *values, **options):
        super().__init__(params, *values, **options)
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS: got several parameter groups, expected one: it has one step length for everything")
        self.memo = {}                      # d, t, old_dirs, old_stps, ro, H_diag, prev_flat_grad, prev_loss, n_iter, func_evals

    def check(self, group):
        super().check(group)
        if group["line_search_fn"] not in (None, "strong_wolfe"):
            raise ValueError(f"LBFGS: line_search_fn: got {group['line_search_fn']!r}, expected None or 'strong_wolfe'")

    def gradient(self):
        sign = -1.0 if self.param_groups[0]["maximize"] else 1.0
        parts = [np.zeros_like(s.p.data, order="C", shape=s.p.size) if s.p.grad is None else
                 (s.p.grad.to_dense() if hasattr(s.p.grad, "to_dense") else s.p.grad).reshape(-1) for s in self.slots.values()]
        for s, g in zip(self.slots.values(), parts):
            if self.param_groups[0]["check_finite"] and not np.isfinite(g).all():
                self.refuse(s, g)
        return sign * np.concatenate(parts)

    def move(self, t, d):
        end = 0
        for s in self.slots.values():
            start, end = end, end + s.p.size
            s.p.data += (t * d[start:end]).reshape(s.p.shape).astype(s.p.dtype, copy=False)

    def advance(self, quiet=()):
        return self.step()

    def step(self, closure=None):
        if closure is None:
            raise TypeError("LBFGS.step: got no closure, expected one that computes the loss and its gradients: it evaluates them several times")
        here = next(iter(self.slots.values())).p.data
        if "d" in self.memo and on_gpu(self.memo["d"]) != on_gpu(here):     # the model has moved, or the state was loaded
            self.memo = each(self.memo, lambda a: beside(a, here))
        o, memo = self.today(self.param_groups[0]), self.memo
        sign = -1.0 if o.maximize else 1.0
        max_eval = o.max_eval if o.max_eval is not None else o.max_iter * 5 // 4
        first = closure()
        loss, evals = sign * float(first), 1
        memo["func_evals"] = memo.get("func_evals", 0) + 1
        g = self.gradient()
        self.stepped = False
        if largest(g) <= o.tolerance_grad:
            return first
        n = 0
        while n < o.max_iter:
            n += 1
            memo["n_iter"] = memo.get("n_iter", 0) + 1
            if memo["n_iter"] == 1:
                d, t = -g, 0.0
                memo.update(old_dirs=[], old_stps=[], ro=[], H_diag=1.0)
            else:
                d = self.direction(g, o.history_size)
                t = memo["t"]
            memo["prev_flat_grad"], prev_loss = g.copy(), loss
            t = min(1.0, 1.0 / float(np.abs(g).sum())) * o.lr if memo["n_iter"] == 1 else o.lr
            gtd = float(g.dot(d))
            if gtd > -o.tolerance_change:
                break
            spent = 0
            if o.line_search_fn is not None:
                start = [s.p.data.copy() for s in self.slots.values()]

                def at(t):
                    for s, x in zip(self.slots.values(), start):
                        s.p.data[...] = x
                    self.move(t, d)
                    return sign * float(closure()), self.gradient()

                loss, g, t, spent = strong_wolfe(at, t, d, loss, g, gtd, tolerance_change=o.tolerance_change, max_ls=max_eval - evals)
                for s, x in zip(self.slots.values(), start):
                    s.p.data[...] = x
                self.move(t, d)
            else:
                self.move(t, d)
                if n != o.max_iter:
                    loss, spent = sign * float(closure()), 1
                    g = self.gradient()
            self.stepped = True
            memo.update(d=d, t=t)
            evals += spent
            memo["func_evals"] += spent
            if (n == o.max_iter or evals >= max_eval or largest(g) <= o.tolerance_grad
                    or largest(t * d) <= o.tolerance_change or abs(loss - prev_loss) < o.tolerance_change):
                break
        memo["prev_loss"] = loss
        self.t += self.stepped
        return first

    def direction(self, g, history_size):
        """-H g by the two-loop recursion, after the newest pair has joined the history."""
        memo = self.memo
        y, s = g - memo["prev_flat_grad"], memo["d"] * memo["t"]
        ys = float(y.dot(s))
        if ys > 1e-10:
            if len(memo["old_dirs"]) == history_size:
                for key in ("old_dirs", "old_stps", "ro"):
                    memo[key].pop(0)
            memo["old_dirs"].append(y)
            memo["old_stps"].append(s)
            memo["ro"].append(1.0 / ys)
            memo["H_diag"] = ys / float(y.dot(y))
        q, al = -g, []
        for y, s, r in reversed(list(zip(memo["old_dirs"], memo["old_stps"], memo["ro"]))):
            al.append(float(s.dot(q)) * r)
            q = q - al[-1] * y
        q = q * memo["H_diag"]
        for y, s, r, a in zip(memo["old_dirs"], memo["old_stps"], memo["ro"], reversed(al)):
            q = q + s * (a - float(y.dot(q)) * r)
        return q.astype(g.dtype, copy=False)

    @property
    def state(self):
        return {"all": {"step": self.t, **self.memo}} if self.memo else {}

    def state_dict(self):
        return {**super().state_dict(), "state": {}, "memo": each(self.memo, lambda a: to_host(a).copy())}

    def load_state_dict(self, saved):
        size = sum(s.p.size for s in self.slots.values())
        memo = saved["memo"]
        if "d" in memo and memo["d"].shape != (size,):
            raise ValueError(f"LBFGS.load_state_dict: got a direction of shape {memo['d'].shape}, expected ({size},)")
        super().load_state_dict({**saved, "state": {}})
        self.memo = each(memo, lambda a: a.copy())


def each(memo, f):
    """What L-BFGS remembers, with f(array) in place of its arrays."""
    of = lambda v: f(v) if hasattr(v, "shape") and v.ndim else v
    return {k: list(map(of, v)) if isinstance(v, list) else of(v) for k, v in memo.items()}


def cubic_minimum(x1, f1, g1, x2, f2, g2, bounds=None):
    """Where the cubic through two points with given values and slopes is smallest, within `bounds`.

    >>> cubic_minimum(0.0, 1.0, -2.0, 2.0, 1.0, 2.0)        # a parabola
    1.0
    """
    low, high = bounds if bounds is not None else (min(x1, x2), max(x1, x2))
    d1 = g1 + g2 - 3 * (f1 - f2) / (x1 - x2)
    square = d1 * d1 - g1 * g2
    if not square >= 0:
        return (low + high) / 2
    d2 = square ** 0.5
    x = x2 - (x2 - x1) * ((g2 + d2 - d1) / (g2 - g1 + 2 * d2)) if x1 <= x2 else x1 - (x1 - x2) * ((g1 + d2 - d1) / (g1 - g2 + 2 * d2))
    return min(max(x, low), high)


def strong_wolfe(at, t, d, f, g, gtd, c1=1e-4, c2=0.9, tolerance_change=1e-9, max_ls=25):
    """A step length with f low enough (Armijo) and flat enough (curvature), by bracketing and zooming with cubics.

    `at(t)` -> (loss, gradient) at p + t d. Returns (loss, gradient, t, evaluations). Nocedal & Wright 2006, 3.5.
    """
    size = float(largest(d))
    f_new, g_new = at(t)
    evals, gtd_new = 1, float(g_new.dot(d))
    t_prev, f_prev, g_prev, gtd_prev = 0.0, f, g, gtd
    done, iteration = False, 0
    while iteration < max_ls:
        if f_new > f + c1 * t * gtd or iteration > 1 and f_new >= f_prev:
            bracket = [t_prev, t], [f_prev, f_new], [g_prev, g_new.copy()], [gtd_prev, gtd_new]
            break
        if abs(gtd_new) <= -c2 * gtd:
            bracket, done = ([t], [f_new], [g_new], [gtd_new]), True
            break
        if gtd_new >= 0:
            bracket = [t_prev, t], [f_prev, f_new], [g_prev, g_new.copy()], [gtd_prev, gtd_new]
            break
        low, high = t + 0.01 * (t - t_prev), t * 10
        t_next = cubic_minimum(t_prev, f_prev, gtd_prev, t, f_new, gtd_new, (low, high))
        t_prev, f_prev, g_prev, gtd_prev, t = t, f_new, g_new.copy(), gtd_new, t_next
        f_new, g_new = at(t)
        evals, gtd_new, iteration = evals + 1, float(g_new.dot(d)), iteration + 1
    else:
        bracket = [0.0, t], [f, f_new], [g, g_new], [gtd, gtd_new]
    ts, fs, gs, slopes = bracket
    stuck = False
    low, high = (0, 1) if len(fs) == 1 or fs[0] <= fs[-1] else (1, 0)
    while not done and iteration < max_ls:
        if abs(ts[1] - ts[0]) * size < tolerance_change:
            break
        t = cubic_minimum(ts[0], fs[0], slopes[0], ts[1], fs[1], slopes[1])
        margin = 0.1 * (max(ts) - min(ts))
        if min(max(ts) - t, t - min(ts)) < margin:      # close to an end of the bracket twice: move away from it
            if stuck or t >= max(ts) or t <= min(ts):
                t = max(ts) - margin if abs(t - max(ts)) < abs(t - min(ts)) else min(ts) + margin
                stuck = False
            else:
                stuck = True
        else:
            stuck = False
        f_new, g_new = at(t)
        evals, gtd_new, iteration = evals + 1, float(g_new.dot(d)), iteration + 1
        if f_new > f + c1 * t * gtd or f_new >= fs[low]:
            ts[high], fs[high], gs[high], slopes[high] = t, f_new, g_new.copy(), gtd_new
            low, high = (0, 1) if fs[0] <= fs[1] else (1, 0)
        else:
            if abs(gtd_new) <= -c2 * gtd:
                done = True
            elif gtd_new * (ts[high] - ts[low]) >= 0:
                ts[high], fs[high], gs[high], slopes[high] = ts[low], fs[low], gs[low], slopes[low]
            ts[low], fs[low], gs[low], slopes[low] = t, f_new, g_new.copy(), gtd_new
    return fs[low], gs[low], ts[low], evals
