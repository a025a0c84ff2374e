"""The loss as a landscape: slices through it along two directions, the way a training took, the road from one minimum to another.

A direction drawn at random says nothing before its length means the same everywhere: a net with relu may have large weights in
one layer and small ones in the next without being another function. So each filter of a direction (all weights of one output) is
made as long as the filter it is added to. Li, Xu, Taylor, Studer & Goldstein, Visualizing the loss landscape of neural nets (2018).
"""
from dataclasses import dataclass

import numpy as np

from ..backend import like, to_host
from ..random import get_state, set_state
from ..tensor import no_grad
from .trial import axes, loss_of, restored


def weights_of(model):
    """{name: a copy} of all trained parameters: a place in the landscape."""
    return {name: p.data.copy() for name, p in model.named_parameters() if p.requires_grad}


def random_direction(model, rng, normalise="filter"):
    """{name: array} from N(0, 1). "filter": every filter as long as the model's; "layer": every parameter; None: as drawn.

    With "filter" and "layer", parameters with one axis (biases, gains) do not move, as in the paper.
    """
    if normalise not in ("filter", "layer", None):
        raise ValueError(f"random_direction: normalise: got {normalise!r}, expected 'filter', 'layer' or None")
    direction = {}
    for name, w in weights_of(model).items():
        d = like(w, rng.standard_normal(w.shape).astype(w.dtype))
        if normalise and w.ndim < 2:
            d = np.zeros_like(w)
        elif normalise:
            inner = tuple(range(1, w.ndim)) if normalise == "filter" else None
            length = np.sqrt((d * d).sum(axis=inner, keepdims=True))
            d *= np.sqrt((w * w).sum(axis=inner, keepdims=True)) / length
        direction[name] = d
    return direction


@dataclass
class Surface:
    """losses[j, i] at centre + x[i] * directions[0] + y[j] * directions[1]."""
    x: np.ndarray
    y: np.ndarray
    losses: np.ndarray
    centre: dict
    directions: tuple

    def project(self, places):
        """(m, 2): where places ({name: array} each, such as state_dicts of a training) lie in this slice, by least squares."""
        basis = np.stack([flat(d, self.centre) for d in self.directions], axis=1)
        away = np.stack([flat(place, self.centre) - flat(self.centre, self.centre) for place in places], axis=1)
        return np.linalg.lstsq(basis, away, rcond=None)[0].T

    def plot(self, ax=None, path=None, levels=20):
        """Contours, on 3-D axes a surface; of log loss where it spans a factor of ten. `path`: places, drawn as a line."""
        from matplotlib.colors import LogNorm
        ax = axes(ax)
        low, high = np.nanmin(self.losses), np.nanmax(self.losses)
        logarithmic = low > 0 and high > 10 * low
        if hasattr(ax, "plot_surface"):
            heights = np.log10(self.losses) if logarithmic else self.losses
            ax.plot_surface(*np.meshgrid(self.x, self.y), heights, cmap="viridis", linewidth=0.2, edgecolor="0.3")
            ax.set_zlabel("log10 of the loss" if logarithmic else "loss")
            return ax
        steps = np.geomspace(low, high, levels) if logarithmic else np.linspace(low, high, levels)
        ax.contourf(self.x, self.y, self.losses, steps, cmap="Blues_r", alpha=0.6, norm=LogNorm(low, high) if logarithmic else None)
        ax.contour(self.x, self.y, self.losses, steps, colors="0.3", linewidths=0.5)
        if path is not None:
            ax.plot(*self.project(path).T, "o-", color="C3", markersize=2, linewidth=1)
        return ax


def loss_surface(model, loss_fn, batch, directions=None, span=1.0, steps=25, normalise="filter", seed=0):
    """A Surface of steps x steps losses around the model's weights, `span` to each side, in two directions ({name: array}).

    Without directions two are drawn (see random_direction). `span` and `steps` may be pairs (x, y). The model keeps its mode;
    every point sees the same random numbers; afterwards all is as it was.

    >>> from tinygrad_lite import losses, nn
    >>> net = nn.Linear(1, 1, bias=False)
    >>> net.weight.data[:] = 2
    >>> x = np.ones((1, 1), "f")
    >>> s = loss_surface(net, losses.mse_loss, (x, 2 * x), directions=({"weight": x}, {"weight": 2 * x}), steps=3)
    >>> s.losses                                                            # (i + 2 j)^2
    array([[9., 4., 1.],
           [1., 0., 1.],
           [1., 4., 9.]])
    """
    rng = np.random.default_rng(seed)
    first, second = directions or (random_direction(model, rng, normalise), random_direction(model, rng, normalise))
    spans, counts = ([value] * 2 if np.ndim(value) == 0 else list(value) for value in (span, steps))
    x, y = (np.linspace(-s, s, n) for s, n in zip(spans, counts))
    centre = weights_of(model)
    for direction in (first, second):
        _check_place("loss_surface", direction, centre)
    places = ({name: w + a * first[name] + b * second[name] for name, w in centre.items()} for b in y for a in x)
    return Surface(x, y, losses_at(model, loss_fn, batch, places).reshape(len(y), len(x)), centre, (first, second))


def losses_at(model, loss_fn, batch, places):
    """The loss of a batch with the weights at each of the places."""
    found = []
    with restored(model), no_grad(), np.errstate(all="ignore"):
        params, chance = dict(model.named_parameters()), get_state()
        for place in places:
            for name, w in place.items():
                params[name].data[...] = w
            set_state(chance)
            found.append(loss_of("losses_at", model, loss_fn, batch).item())
    return np.array(found)


def loss_line(model, loss_fn, batch, start, end, steps=25):
    """(t, losses) on the straight line from place `start` (t = 0) to place `end` (t = 1), both {name: array}, such as state_dicts.

    >>> from tinygrad_lite import losses, nn
    >>> net, x = nn.Linear(1, 1, bias=False), np.ones((1, 1), "f")
    >>> t, found = loss_line(net, losses.mse_loss, (x, x), {"weight": -x}, {"weight": x}, steps=3)
    >>> found, barrier(found)
    (array([4., 1., 0.]), 0.0)
    """
    names = weights_of(model)
    for place in (start, end):
        _check_place("loss_line", place, names)
    t = np.linspace(0, 1, steps)
    return t, losses_at(model, loss_fn, batch, ({name: (1 - a) * start[name] + a * end[name] for name in names} for a in t))


def barrier(losses):
    """How far the losses of a line rise above the straight line between its ends: 0 where a road without a hill leads over."""
    losses = np.asarray(losses, float)
    t = np.linspace(0, 1, len(losses))
    return float(max(0.0, (losses - (1 - t) * losses[0] - t * losses[-1]).max()))


def path_directions(places):
    """The two directions ({name: array} each) in which a training moved most, seen from its last place (PCA of the way).

    A slice through them shows the way it took; a slice in random directions shows next to nothing of it (Li et al. 2018).
    """
    last = places[-1]
    if len(places) < 3:
        raise ValueError(f"path_directions: got {len(places)} places, expected at least 3")
    away = np.stack([flat(place, last) - flat(last, last) for place in places[:-1]])
    rows = np.linalg.svd(away, full_matrices=False)[2][:2]
    cuts = np.cumsum([w.size for w in last.values()])[:-1]
    return tuple({name: like(w, piece.reshape(w.shape)) for piece, (name, w) in zip(np.split(row, cuts), last.items())} for row in rows)


def flat(place, names):
    return np.concatenate([to_host(place[name]).astype(np.float64).reshape(-1) for name in names])


def _check_place(who, place, weights):
    for name, w in weights.items():
        if name not in place or np.shape(place[name]) != w.shape:
            raise ValueError(f"{who}: got {'shape ' + str(np.shape(place[name])) if name in place else 'no weights'} for {name!r}, "
                             f"expected {w.shape}")
