"""The soft nearest neighbour loss of a batch, from the products of its rows: each point's loss, and how strongly each
pair is drawn together or apart.

In NumPy the n x n scores are read and written fifteen times; here a row of them stays in the nearest cache from its
distances to its two softmaxes. What the loss needs besides are two matrix products, which BLAS does.
"""
import numpy as np

from ..backend import on_gpu, xp_of
from . import cuda, fresh, kernel, ready
from .scalars import exp

NEAR = 1 / 32           # of |x|^2 + |y|^2: below it, |x|^2 + |y|^2 - 2 x.y has lost digits, and (x - y)^2 is summed instead
FAR = 15.0              # e^-15 of a row's largest share: sums that small are taken again, relative to their own largest


@np.errstate(all="ignore")                  # log 0 of a point that is alone in its class; NaN stays NaN; shares too small to hold
def _plain(products, squares, x, y, kept, scale, losses, pull):
    n = len(y)
    if n == 0:
        return
    distances = squares[:, None] + squares - 2 * products
    close = distances < NEAR * (squares[:, None] + squares)
    if x.shape[1] and on_gpu(x):            # where the host may not ask which ones
        distances = np.where(close, ((x[:, None] - x) ** 2).sum(axis=2), distances)
    elif x.shape[1]:
        close = np.nonzero(close)
        distances[close] = ((x[close[0]] - x[close[1]]) ** 2).sum(axis=1)
    oneself = xp_of(y).eye(n, dtype=bool)
    scores = np.where(oneself, -np.inf, -distances * scale)
    alike = np.where((y[:, None] == y) & ~oneself, scores, -np.inf)

    top, top_alike = [s.max(axis=1, keepdims=True) for s in (scores, alike)]
    e, e_alike = [np.where(s == -np.inf, 0, np.exp(s - t)) for s, t in ((scores, top), (alike, top_alike))]
    apart = np.exp(top_alike - top)         # of all shares, those of the class: apart * e_alike
    same = e_alike.sum(axis=1, keepdims=True)
    others = np.where(alike == -np.inf, e, 0).sum(axis=1, keepdims=True)
    rest = apart * same + others
    alone = same == 0
    far = np.where(alone, np.inf, (top - top_alike) + np.log(rest / same))
    near = np.where(alone, np.inf, np.log1p(others / (apart * same)))       # few others: their digits count
    losses[...] = np.where(kept, np.where(top - top_alike > FAR, far, near)[:, 0], 0)
    one_way = np.where(alike == -np.inf, e / rest, -e_alike * others / (rest * same))
    one_way = np.where(kept[:, None] & ~oneself, one_way, 0)
    pull[...] = one_way + one_way.T


CUDA = r"""
// a block a row i: its scores -d_ij scale into `scores`, its loss, and into `sums` what pull_shares needs of it
extern "C" __global__ void neighbour_rows(const T *products, const T *squares, const T *x, const I *y, const bool *kept, A scale,
                                          A near, A far, T *losses, T *scores, A *sums, I n, I d) {
    I i = blockIdx.x;
    A size = (A)squares[i], top = nothing(), top_alike = nothing();
    for (I j = threadIdx.x; j < n; j += blockDim.x) {
        A both = size + (A)squares[j], distance = both - A(2) * (A)products[i * n + j];
        if (d > 0 && distance < near * both) {
            distance = 0;
            for (I c = 0; c < d; c++) distance += ((A)x[i * d + c] - (A)x[j * d + c]) * ((A)x[i * d + c] - (A)x[j * d + c]);
        }
        A score = j == i ? nothing() : -distance * scale;
        scores[i * n + j] = T(score);
        top = score > top ? score : top;
        if (y[j] == y[i]) top_alike = score > top_alike ? score : top_alike;
    }
    top = block_max(top);
    top_alike = block_max(top_alike);
    A same = 0, others = 0;                                 // relative to their own maxima
    for (I j = threadIdx.x; j < n; j += blockDim.x)
        if (j != i) {
            A score = (A)scores[i * n + j];
            if (y[j] != y[i]) others += exp(score - top);
            else if (score > nothing() || score != score) same += exp(score - top_alike);
        }
    same = block_sum(same);
    others = block_sum(others);
    if (threadIdx.x == 0) {
        A apart = exp(top_alike - top), rest = apart * same + others;
        sums[4 * i] = top, sums[4 * i + 1] = top_alike, sums[4 * i + 2] = same, sums[4 * i + 3] = others;
        A loss = top - top_alike > far ? top - top_alike + log(rest / same) : log1p(others / (apart * same));
        losses[i] = T(!kept[i] ? A(0) : same == 0 ? -nothing() : loss);
    }
}

static __device__ A share(A score, bool alike, const A *sums) {
    A top = sums[0], top_alike = sums[1], same = sums[2], others = sums[3], rest = exp(top_alike - top) * same + others;
    return alike ? -exp(score - top_alike) * others / (rest * same) : exp(score - top) / rest;
}

// scores become pull: each pair's two shares together
extern "C" __global__ void pull_shares(T *scores, const I *y, const bool *kept, const A *sums, I n) {
    EACH(e, n * n) {
        I i = e / n, j = e % n;
        if (i > j) continue;
        A pull = 0;
        if (i != j && kept[i]) pull += share((A)scores[i * n + j], y[i] == y[j], sums + 4 * i);
        if (i != j && kept[j]) pull += share((A)scores[j * n + i], y[i] == y[j], sums + 4 * j);
        scores[i * n + j] = scores[j * n + i] = T(pull);
    }
}
"""


def _served(products, squares, x, y, kept, scale, losses, pull):
    return cuda.served(products, squares, x, losses, pull) and cuda.ids(y) and kept.flags.c_contiguous


@cuda.form(CUDA, _served)
def _cuda(run, products, squares, x, y, kept, scale, losses, pull):
    n, d = x.shape
    sums = np.empty_like(products, cuda.wide(x.dtype), shape=(n, 4))
    run("neighbour_rows", n, cuda.threads_of(n), products, squares, x, y, kept, float(scale), NEAR, FAR, losses, pull, sums, n, d)
    run("pull_shares", cuda.blocks_of(n * n), cuda.THREADS, pull, y, kept, sums, n)


def _usable(products, squares, x, y, kept, scale, losses, pull):
    return (ready(products, squares, x, losses, pull) and y.dtype == np.int64 and y.flags.c_contiguous
            and kept.flags.c_contiguous and len(y) > 1)


@kernel(_plain, _usable, reorder=True, cuda=_cuda)
def _neighbours(products, squares, x, y, kept, scale, losses, pull):
    T = products.dtype.type
    n, d = products.shape[0], x.shape[1]
    scale, none, zero, two, near = T(scale), T(-np.inf), T(0), T(2), T(NEAR)
    tops, tops_alike = np.empty(32, products.dtype), np.empty(32, products.dtype)
    alike = np.empty(n, products.dtype)                 # 1 where the class is i's, else 0
    for i in range(n):
        row, mine, size = pull[i], y[i], squares[i]
        if not kept[i]:
            losses[i] = zero
            for j in range(n):
                row[j] = zero
            continue
        close, mates = 0, zero
        for j in range(n):
            alike[j] = T(1) if y[j] == mine else zero
        alike[i] = zero
        for j in range(n):
            both = size + squares[j]
            distance = both - two * products[i, j]
            close += 1 if distance < near * both else 0
            mates += alike[j]
            row[j] = -distance * scale
        if close > 1 and d > 0:                         # the point itself is always close
            for j in range(n):
                if -row[j] < near * scale * (size + squares[j]):
                    distance = zero
                    for c in range(d):
                        distance += (x[i, c] - x[j, c]) * (x[i, c] - x[j, c])
                    row[j] = -distance * scale
        row[i] = none
        for k in range(32):                             # 32 maxima side by side: one alone waits for itself
            tops[k] = none
            tops_alike[k] = none
        whole = n - n % 32
        for start in range(0, whole, 32):
            for k in range(32):
                s = row[start + k]
                tops[k] = s if s > tops[k] else tops[k]
                s = s if alike[start + k] > zero else none
                tops_alike[k] = s if s > tops_alike[k] else tops_alike[k]
        top, top_alike = none, none
        for k in range(32):
            top = tops[k] if tops[k] > top else top
            top_alike = tops_alike[k] if tops_alike[k] > top_alike else top_alike
        for j in range(whole, n):
            top = row[j] if row[j] > top else top
            if alike[j] > zero:
                top_alike = row[j] if row[j] > top_alike else top_alike
        if mates > zero and top - top_alike > T(FAR):   # all of its class far off: shares of their own
            rest, same = zero, zero
            for j in range(n):
                alike[j] = exp(row[j] - top_alike) if alike[j] > zero else zero
                row[j] = exp(row[j] - top)
                same += alike[j]
                rest += row[j]
            losses[i] = (top - top_alike) + np.log(rest / same)
            for j in range(n):
                row[j] = row[j] / rest - alike[j] / same
            continue
        for j in range(n):
            row[j] = exp(row[j] - top)
        same, others = zero, zero                       # apart: where others are few, same + others has lost their digits
        for j in range(n):
            same += row[j] if alike[j] > zero else zero
            others += zero if alike[j] > zero else row[j]
        rest = same + others
        losses[i] = np.log1p(others / same) if mates > zero else T(np.inf)
        here, there = -others / (rest * same), T(1) / rest      # 1 / rest - 1 / same, 1 / rest
        for j in range(n):
            row[j] *= here if alike[j] > zero else there
    for a in range(0, n, 16):                           # pull + pull', in tiles that stay in the cache
        for b in range(a, n, 16):
            for i in range(a, min(n, a + 16)):
                for j in range(max(b, i), min(n, b + 16)):
                    s = pull[i, j] + pull[j, i]
                    pull[i, j] = s
                    pull[j, i] = s


def neighbour_losses(x, y, kept, temperature, cosine=False):
    """(losses (n,), pull (n, n)) of points x (n, d) of classes y, for distances d_ij = |x_i - x_j|^2, or 1 - x_i.x_j (cosine).

    losses: log sum_{j != i} e^(-d_ij / T) - log sum_{j != i, y_j = y_i} e^(-d_ij / T), inf where i is alone in its
        class, 0 where it is not `kept`.
    pull: d(sum of the losses) / d(-d_ij / T), for both orders of a pair together.

    >>> losses, pull = neighbour_losses(np.array([[0.0], [1.0], [3.0]]), np.array([0, 0, 1]), np.ones(3, bool), 1.0)
    >>> losses.round(4), bool((pull == pull.T).all())
    (array([0.0003, 0.0486,    inf]), True)
    """
    x = x.astype(x.dtype, order="C", copy=False)
    products = x @ x.T
    # 1 - x.y is half of 1 + 1 - 2 x.y
    squares, scale = (np.ones_like(x, shape=len(x)), 0.5 / temperature) if cosine else (products.diagonal().copy(), 1 / temperature)
    losses, pull = fresh(x, len(x)), np.empty_like(products)
    _neighbours(products, squares, x[:, :0] if cosine else x, y, kept, scale, losses, pull)
    return losses, pull
