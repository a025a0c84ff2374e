"""Every sample's own gradient, from one forward and one backward pass of the whole batch. After Goodfellow (2015).

Backward, a layer y = x W' has G = dL/dy, a row a sample. The gradient of W is G'X, the sum over samples of g_i x_i': the
sum is the only thing that mixes samples, so whoever keeps G and X has all of them. Squared norms are |g_i|^2 |x_i|^2, the mean
of the squares (G*G)'(X*X) / n. Weights that a sample uses several times (recurrent nets, convolutions) are added up first.
"""
from collections.abc import Mapping
from functools import cached_property
from math import prod

import numpy as np

from ..backend import like, to_host
from ..fitting import fit
from ..ops.linalg import rows
from ..tensor import Tensor, seed, sweep
from .owners import Mixed, axis_of, elementwise, owners_of, states_of
from .trial import parts, restored

BLOCK = 1 << 20         # numbers of gradients that are held at a time


class PerSampleGradients(Mapping):
    """{parameter: (n, *shape), each sample's gradient of its own loss}, made when asked for: ask before the next step.

    `mean_grad` and `mean_square_grad`: {parameter: array}, over samples. `per_sample_norm` (n,): the length of each sample's
    gradient in all parameters together. `noise_scale`: the batch size at which noise and gradient balance. The last three
    never hold more than a few samples' gradients.
    """

    def __init__(self, n, params, uses):
        self.n, self._params, self._uses = n, params, uses

    def __getitem__(self, name):
        return self._block(name, slice(0, self.n))

    def __iter__(self):
        return iter(self._params)

    def __len__(self):
        return len(self._params)

    def _block(self, name, part):
        p = self._params[name]
        total = np.zeros_like(p.data, shape=(part.stop - part.start, *p.shape))
        for use in self._uses.get(id(p), ()):
            total += use(part)
        return total

    @cached_property
    def _sums(self):
        """(sum of gradients, sum of their squares, squared norms) by parameter, in float64."""
        found = {}
        for name, p in self._params.items():
            uses = self._uses.get(id(p), ())
            if len(uses) == 1 and getattr(uses[0], "direct", False):
                found[name] = uses[0].sums()
                continue
            total, squares, norms = (np.zeros_like(p.data, float, shape=shape) for shape in (p.shape, p.shape, self.n))
            step = max(1, BLOCK // max(p.size, 1))
            for start in range(0, self.n, step):
                part = slice(start, min(start + step, self.n))
                block = self._block(name, part).astype(np.float64)
                total += block.sum(axis=0)
                block *= block
                squares += block.sum(axis=0)
                norms[part] = block.reshape(len(block), -1).sum(axis=1)
            found[name] = total, squares, norms
        return found

    mean_grad = property(lambda self: {name: s[0] / self.n for name, s in self._sums.items()})
    mean_square_grad = property(lambda self: {name: s[1] / self.n for name, s in self._sums.items()})
    per_sample_norm = property(lambda self: np.sqrt(sum(s[2] for s in self._sums.values())))

    @property
    def noise_scale(self):
        """tr(S) / |G|^2, S the covariance of samples' gradients and G the true one, both estimated without bias.

        Batches much smaller are mostly noise, much larger ones waste samples. It may be negative or infinite where the batch
        is too small to see its own gradient. McCandlish et al. 2018.
        """
        if self.n < 2:
            raise ValueError(f"noise_scale: got {self.n} sample, expected at least 2")
        of_mean = sum(float((g * g).sum()) for g in self.mean_grad.values())
        mean_of = float((self.per_sample_norm ** 2).mean())
        noise = (mean_of - of_mean) * self.n / (self.n - 1)
        with np.errstate(divide="ignore"):
            return float(np.float64(noise) / (of_mean - noise / self.n))


def per_sample_gradients(model, loss_fn, batch):
    """PerSampleGradients of a batch (input, ..., target), samples along the first axis, at the cost of one pass over it.

    loss_fn(output, target): one number, the mean or the sum over samples (which of the two is found out). Any net whose samples do
    not see each other: linear, convolutional, embedding, recurrent, normalised by layer or group. Batch norm in training
    is refused, as is any op that mixes samples: their own gradients do not exist there. Nothing of the model changes.

    >>> from tinygrad_lite import losses, nn
    >>> net = nn.Linear(1, 1)
    >>> net.weight.data[:], net.bias.data[:] = 0, 0
    >>> found = per_sample_gradients(net, losses.mse_loss, (np.array([[1.0], [2.0]], "f"), np.array([[1.0], [-1.0]], "f")))
    >>> found["weight"].ravel(), found.mean_square_grad["weight"].item(), found.per_sample_norm     # 2 (wx - y) x
    (array([-2.,  4.], dtype=float32), 10.0, array([2.82842712, 4.47213595]))
    """
    inputs, target = parts("per_sample_gradients", batch)
    n = inputs[0].shape[0] if inputs[0].ndim else 0
    if not n or any(x.shape[:1] != (n,) for x in (*inputs, target)):
        raise ValueError(f"per_sample_gradients: got inputs and target of shapes {[x.shape for x in (*inputs, target)]}, expected as "
                         "many samples along the first axis of all, and at least one")
    for name, m in model.named_modules():
        if type(m).__name__.startswith("BatchNorm") and (m.training or m.running_mean is None):
            raise ValueError(f"per_sample_gradients: {name or 'the model'} ({type(m).__name__}) is in training mode: it normalises each "
                             "sample by all others, so no sample has a gradient of its own. Use model.eval(), GroupNorm or LayerNorm")
    params = {name: p for name, p in model.named_parameters() if p.requires_grad}
    with restored(model):
        given = [Tensor(x.data, requires_grad=True) if isinstance(x, Tensor) else x for x in inputs]
        output = model(*given)
        if not isinstance(output, Tensor) or output.shape[:1] != (n,) or not output.requires_grad:
            raise ValueError(f"per_sample_gradients: the model gave {type(output).__name__} of shape {np.shape(output)}, expected a "
                             f"Tensor with a row for each of the {n} samples, that depends on a parameter")
        g = _gradient_of_samples(loss_fn, output, target, n)
        known = {id(x): np.broadcast_to(np.arange(n).reshape(-1, *[1] * (x.ndim - 1)), x.shape)
                 for x in given if isinstance(x, Tensor)}
        try:
            return PerSampleGradients(n, params, _Collector(known, n).uses_of(output, g))
        except Mixed as reason:
            raise ValueError(f"per_sample_gradients: {reason}: no sample has a gradient of its own there") from None


def _gradient_of_samples(loss_fn, output, target, n):
    """d(sum of the samples' own losses)/d(output)."""
    out = Tensor(output.data, requires_grad=True)
    loss = loss_fn(out, target)
    if loss.size != 1:
        raise ValueError(f"per_sample_gradients: the loss is of shape {loss.shape}, expected one number: reduce it with .mean()")
    loss.backward()
    if n == 1:
        return out.grad
    k = n // 2
    a, b = (float(loss_fn(Tensor(output.data[part]), target[part]).item()) for part in (slice(0, k), slice(k, n)))
    value, size = float(loss.item()), abs(a) + abs(b)
    if abs(value - (k * a + (n - k) * b) / n) <= 1e-4 * size:
        return out.grad * n
    if abs(value - (a + b)) <= 1e-4 * size:
        return out.grad
    raise ValueError(f"per_sample_gradients: the loss of all {n} samples is {value:.6g}, of the first {k} {a:.6g}, of the others "
                     f"{b:.6g}: neither a mean nor a sum over samples. A loss that compares samples, or divides by their weights, has "
                     "none for each")


class _Collector:
    """Walks back through the graph and notes, for all that no sample has a part in, how each sample's gradient is made."""

    def __init__(self, known, n):
        self.inputs, self.known, self.n, self.uses, self.kept = set(known), known, n, {}, []

    def uses_of(self, output, g):
        """{id of a Parameter: [a function of a slice of samples -> (samples, *shape)]}"""
        owners_of(output, self.known, self.n)
        leaves, _ = sweep(output, seed(output, g), retain=True, through=self._through)
        for leaf in leaves:
            leaf._pending = None
        return self.uses

    def _through(self, op, t, g, values, parents):
        tracked = [(i, p) for i, (p, rule) in enumerate(zip(parents, op.rules)) if p._node is not None and rule is not None]
        shared = [(i, p) for i, p in tracked if self.known.get(id(p)) is None]
        if self.known[id(t)] is None:
            for i, p in shared:
                self._note(p, self._pushed(op, t, values, i))
        elif shared and op.composite is not None:           # the formula that it fuses is walked in its place
            yield from self._expanded(op, t, g, values, parents, tracked)
            return
        else:
            for i, p in shared:
                self._note(p, self._use(op, t, g, values, parents, i))
        for i, p in tracked:
            if id(p) not in self.inputs:                    # the batch itself: nobody asks for its gradient
                yield p, fit(op.rules[i](g, t.data, *values), values[i])

    def _note(self, p, use):
        self.uses.setdefault(id(p), []).append(use)

    def _use(self, op, t, g, values, parents, i):
        who = self.known[id(t)]
        if op.name == "linear" and i:
            row_owners = who[..., 0].reshape(-1)
            return Outer(rows(g), rows(values[0]) if i == 1 else None, row_owners, self.n)
        if op.name == "embedding":
            return Lookup(op, g, values, who[..., 0], self.n)
        if op.name == "convolution" and len(who) == self.n:
            return _of_convolution(op, g, *values, i)
        axis, line = axis_of(who)
        lines = [None if o is None else axis_of(o) for o in map(self.known.get, map(id, parents))]
        shared = values[i].ndim >= who.ndim - axis and values[i].shape[axis - who.ndim] > 1

        def one(k):
            if shared and elementwise(t.data, values[:len(parents)]):       # a row of it for each row of g
                return fit(op.rules[i](np.where(like(g, who == k), g, 0), t.data, *values), values[i])
            mine = [v if at is None else _part(v, *at, k) for v, at in zip(values, lines)]       # the same op on one sample
            return fit(op.rules[i](_part(g, axis, line, k), _part(t.data, axis, line, k), *mine, *values[len(lines):]), values[i])
        return lambda part: np.stack([one(k) for k in range(part.start, part.stop)])

    def _pushed(self, op, t, values, i):
        """What is made from parameters alone: each sample's gradient goes on by itself."""
        uses = self.uses.get(id(t), [])
        return lambda part: np.stack([fit(op.rules[i](g, t.data, *values), values[i]) for g in sum(use(part) for use in uses)])

    def _expanded(self, op, t, g, values, parents, tracked):
        twins = {i: Tensor(p.data, requires_grad=True) for i, p in tracked}
        owners = [self.known.get(id(p)) for p in parents]
        for i, whose in states_of(op, values, owners, self.n).items():
            if i not in twins:                              # zeros have no graph, but a row a sample
                twins[i], owners[i] = Tensor(values[i], requires_grad=True), whose
        self.known.update((id(twin), owners[i]) for i, twin in twins.items())
        given = [twins.get(i, v) for i, v in enumerate(values[:len(values) - op.saves])]
        z = op.composite(*given)
        self.kept.append((twins, z))                        # the ids of what is dropped would be given again
        owners_of(z, self.known, self.n)
        if self.known[id(z)] is None:                       # a bag of rows: whose each is, the formula does not say
            self._note(z, lambda part: np.stack([np.where(like(g, self.known[id(t)] == k), g, 0) for k in range(part.start, part.stop)]))
        leaves, _ = sweep(z, g, retain=True, through=self._through)
        arrived = {id(leaf): leaf._pending for leaf in leaves}
        for leaf in leaves:
            leaf._pending = None
        for i, p in tracked:
            for use in self.uses.pop(id(twins[i]), ()):
                self._note(p, use)
            if id(twins[i]) in arrived:
                yield p, arrived[id(twins[i])]


def _of_convolution(op, g, x, w, b, how, i):
    """All samples' kernels in one go: samples side by side as channels, each a group of its own."""
    def each(part):
        gs, xs = g[part], x[part]
        n = len(gs)
        if i == 2:
            return gs.reshape(*gs.shape[:2], prod(gs.shape[2:])).sum(axis=2)
        wide = np.broadcast_to(w[:1], (n * len(w), *w.shape[1:]))           # it is asked for its shape only
        gs, xs = (a.reshape(1, n * a.shape[1], *a.shape[2:]) for a in (gs, xs))
        return op.rules[1](gs, None, xs, wide, b, how._replace(groups=n * how.groups)).reshape(n, *w.shape)
    return each


def _part(x, axis, line, k):
    """The numbers of sample k."""
    return np.take(x, np.flatnonzero(line == k), axis=axis)


class Outer:
    """Rows a (R, m) and b (R, m'): the gradient of sample i is the sum of a_r b_r' over its rows; without b, of a_r."""

    def __init__(self, a, b, owners, n):
        self.a, self.b = by_owner(a, owners, n), None if b is None else by_owner(b, owners, n)
        self.direct = self.a.shape[1] == 1                  # else they are added up before they are squared

    def __call__(self, part):
        a = self.a[part]
        return a.sum(axis=1) if self.b is None else np.matmul(a.swapaxes(1, 2), self.b[part])

    def sums(self):
        a = self.a[:, 0].astype(np.float64)
        if self.b is None:
            return a.sum(axis=0), (a * a).sum(axis=0), (a * a).sum(axis=1)
        b = self.b[:, 0].astype(np.float64)
        return a.T @ b, (a * a).T @ (b * b), (a * a).sum(axis=1) * (b * b).sum(axis=1)


class Lookup:
    """The gradient of a table: sample i's is the sum of its rows of g at the ids it looked up, 0 in all the others."""

    def __init__(self, op, g, values, owners, n):
        weight, ids, padding, by_count, _ = values
        self.op, self.g, self.owners, self.n = op, g, owners, n
        self.values = weight, ids, padding, by_count, False         # a dense gradient, whatever the layer asks for
        self.direct = not by_count

    def __call__(self, part):
        weight, ids, *options = self.values
        found = [self.owners == k for k in range(part.start, part.stop)]
        return np.stack([self.op.rules[0](self.g[mine], None, weight, ids[mine], *options) for mine in found])

    def sums(self):
        weight, ids, padding = self.values[0], to_host(self.values[1]), self.values[2]
        used = ids.ravel() != (-1 if padding is None else padding)
        cells, back = np.unique((self.owners * len(weight) + ids).ravel()[used], return_inverse=True)      # (sample, id) pairs
        shapes = (len(cells), weight.shape[1]), weight.shape, weight.shape, self.n
        found, total, squares, norms = (np.zeros_like(weight, float, shape=shape) for shape in shapes)
        np.add.at(found, back, self.g.reshape(-1, weight.shape[1])[used])
        np.add.at(total, cells % len(weight), found)
        np.add.at(squares, cells % len(weight), found * found)
        np.add.at(norms, cells // len(weight), (found * found).sum(axis=1))
        return total, squares, norms


def by_owner(values, owners, n):
    """(R, m) rows as (n, most rows of a sample, m), zeros where a sample has fewer.

    >>> by_owner(np.array([[1.0], [2.0], [3.0]]), np.array([1, 0, 1]), 2)[:, :, 0]
    array([[2., 0.],
           [1., 3.]])
    """
    order = np.argsort(owners, kind="stable")
    order = order[np.count_nonzero(owners < 0):]
    sorted_owners = owners[order]
    counts = np.bincount(sorted_owners, minlength=n)
    place = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    result = np.zeros_like(values, shape=(n, counts.max(initial=0), *values.shape[1:]))
    result[sorted_owners, place] = values[order]
    return result
