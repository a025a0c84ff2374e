"""Softmax and cross-entropy of a batch: the losses and their gradient in one pass over the scores.

In NumPy the pieces (max, subtract, exp, sum, divide, pick, ...) read and write the scores eight times, and a small
batch spends nearly all its time in calls. Here blocks of rows that fit the nearest cache are shifted by their
maxima, exponentiated, summed and scaled before the next block is touched.
"""
import numpy as np

from ..backend import on_gpu, xp_of
from . import cuda, fresh, kernel, ready
from .scalars import exp

BLOCK = 2048            # numbers


@np.errstate(all="ignore")                  # scores of -inf and of 1e38 have an answer; the loop does not warn either
def _plain(x, y, weight, ignore_index, smoothing, mean, losses, grad):
    n, k = x.shape
    used = y != ignore_index
    wrong = used & ((y < 0) | (y >= k))
    if not on_gpu(x) and wrong.any():
        return 0.0, int(wrong.argmax())
    w = np.ones_like(x, shape=k) if weight.size == 0 else weight
    shifted = x - x.max(axis=1, keepdims=True) if k else x
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    hit = (y[:, None] == xp_of(x).arange(k)) & used[:, None]
    target = (hit * x.dtype.type(1 - smoothing) + x.dtype.type(smoothing / max(k, 1))) * w * used[:, None]
    losses[...] = np.where(wrong, np.nan, -np.where(target == 0, 0, target * log_p).sum(axis=1))
    slopes = np.where(used[:, None], np.exp(log_p) * target.sum(axis=1, keepdims=True) - target, 0)
    grad[...] = np.where(wrong[:, None], np.nan, slopes)
    total = losses.sum(dtype=np.float64)
    if mean:
        count = (hit * w).sum(dtype=np.float64)
        total = total / count
        grad *= np.where(count > 0, 1 / count, 0).astype(x.dtype)
    return total.astype(x.dtype), -1


def _usable(x, y, weight, ignore_index, smoothing, mean, losses, grad):
    return ready(x, weight, losses, grad) and y.dtype == np.int64 and y.flags.c_contiguous and x.shape[1] > 0


CUDA = r"""
// the sum of the classes' weights: what the mean divides by
extern "C" __global__ void cross_entropy_count(const I *y, const T *weight, I weighted, I ignored, I n, I k, A *count) {
    A sum = 0;
    EACH(i, n) if (y[i] != ignored && y[i] >= 0 && y[i] < k) sum += weighted ? (A)weight[y[i]] : A(1);
    sum = block_sum(sum);
    if (threadIdx.x == 0) *count = sum;
}

// a block a row: its loss and its gradient
extern "C" __global__ void cross_entropy_rows(const T *x, const I *y, const T *weight, I weighted, I ignored, A smoothing,
                                              I mean, const A *count, I k, T *losses, T *grad) {
    I i = blockIdx.x, target = y[i];
    x += i * k;
    grad += i * k;
    if (target == ignored) {
        for (I j = threadIdx.x; j < k; j += blockDim.x) grad[j] = T(A(0));
        if (threadIdx.x == 0) losses[i] = T(A(0));
        return;
    }
    A top = nothing();
    for (I j = threadIdx.x; j < k; j += blockDim.x) top = (A)x[j] > top ? (A)x[j] : top;
    top = block_max(top);
    A sum = 0, weights = 0, lost = 0;                       // lost: what smoothing says of the scores
    for (I j = threadIdx.x; j < k; j += blockDim.x) {
        A score = (A)x[j] - top, w = weighted ? (A)weight[j] : A(1);
        sum += exp(score);
        weights += w;
        if (smoothing > 0 && w > 0) lost += w * score;
    }
    sum = block_sum(sum);
    weights = block_sum(weights);
    lost = block_sum(lost);
    bool known = target >= 0 && target < k;                 // else the loss is NaN: the host does not wait to hear of it
    A own = (known ? weighted ? (A)weight[target] : A(1) : log(A(-1))) * (A(1) - smoothing), share = smoothing / A(k);
    A mass = own + share * weights, common = !mean ? A(1) : *count > 0 ? A(1) / *count : A(0);
    for (I j = threadIdx.x; j < k; j += blockDim.x) {
        A kept = (j == target ? own : A(0)) + share * (weighted ? (A)weight[j] : A(1));
        grad[j] = T(common * (mass * exp((A)x[j] - top) / sum - kept));
    }
    if (threadIdx.x == 0) losses[i] = T(mass * log(sum) - share * lost - (known && own > 0 ? own * ((A)x[target] - top) : A(0)));
}

extern "C" __global__ void cross_entropy_total(const T *losses, I n, I mean, const A *count, T *total) {
    A sum = 0;
    EACH(i, n) sum += (A)losses[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) *total = T(mean ? sum / *count : sum);
}
"""


def _served(x, y, weight, ignore_index, smoothing, mean, losses, grad):
    return cuda.served(x, weight, losses, grad) and cuda.ids(y) and x.shape[1] > 0


@cuda.form(CUDA, _served)
def _cuda(run, x, y, weight, ignore_index, smoothing, mean, losses, grad):
    n, k = x.shape
    count, total = np.empty_like(x, cuda.wide(x.dtype), shape=()), fresh(x, ())
    weights, one_block = (weight, weight.size > 0, ignore_index), cuda.threads_of(n, 1024)
    if mean:
        run("cross_entropy_count", 1, one_block, y, *weights, n, k, count)
    run("cross_entropy_rows", n, cuda.threads_of(k), x, y, *weights, float(smoothing), mean, count, k, losses, grad)
    run("cross_entropy_total", 1, one_block, losses, n, mean, count, total)
    return total, -1


SOFT = r"""
// a block a row: e^x / sum e^x, or its logarithm
extern "C" __global__ void soft_rows(const T *x, T *z, I k, I log_of) {
    x += blockIdx.x * k, z += blockIdx.x * k;
    A top = nothing(), sum = 0;
    for (I j = threadIdx.x; j < k; j += blockDim.x) top = (A)x[j] > top ? (A)x[j] : top;
    top = block_max(top);
    for (I j = threadIdx.x; j < k; j += blockDim.x) sum += exp((A)x[j] - top);
    sum = block_sum(sum);
    for (I j = threadIdx.x; j < k; j += blockDim.x) z[j] = T(log_of ? (A)x[j] - top - log(sum) : exp((A)x[j] - top) / sum);
}

extern "C" __global__ void soft_rows_back(const T *g, const T *z, T *to_x, I k, I log_of) {
    g += blockIdx.x * k, z += blockIdx.x * k, to_x += blockIdx.x * k;
    A sum = 0;
    for (I j = threadIdx.x; j < k; j += blockDim.x) sum += log_of ? (A)g[j] : (A)g[j] * (A)z[j];
    sum = block_sum(sum);
    for (I j = threadIdx.x; j < k; j += blockDim.x)
        to_x[j] = T(log_of ? (A)g[j] - exp((A)z[j]) * sum : (A)z[j] * ((A)g[j] - sum));
}
"""


def _soft(log):
    """The forms of (softmax(x, axis), its gradient of (g, z, x, axis)), or of log_softmax, along the last axis."""
    def along(x, axis):
        return x.size > 0 and x.ndim > 0 and axis in (-1, x.ndim - 1)

    @cuda.form(SOFT, lambda x, axis: cuda.served(x) and along(x, axis))
    def forward(run, x, axis):
        z, k = np.empty_like(x), x.shape[-1]
        run("soft_rows", x.size // k, cuda.threads_of(k), x, z, k, log)
        return z

    @cuda.form(SOFT, lambda g, z, x, axis: cuda.served(g, z) and g.shape == z.shape and along(z, axis))
    def back(run, g, z, x, axis):
        to_x, k = np.empty_like(z), z.shape[-1]
        run("soft_rows_back", z.size // k, cuda.threads_of(k), g, z, to_x, k, log)
        return to_x
    return forward, back


(softmax, softmax_back), (log_softmax, log_softmax_back) = _soft(False), _soft(True)


@kernel(_plain, _usable, reorder=True, cuda=_cuda)
def _cross_entropy(x, y, weight, ignore_index, smoothing, mean, losses, grad):
    T = x.dtype.type
    n, k = x.shape
    weighted = weight.size > 0
    count, total, zero, one = 0.0, 0.0, T(0), T(1)
    for i in range(n):
        if y[i] == ignore_index:
            continue
        if y[i] < 0 or y[i] >= k:
            return 0.0, i
        count += weight[y[i]] if weighted else one
    common = zero if count == 0 else T(1.0 / count) if mean else one
    smooth, share = T(smoothing), T(smoothing) / T(k)
    all_weights = T(k)
    if weighted:
        all_weights = weight.sum()
    lanes = np.empty(64, x.dtype)
    step = max(1, BLOCK // k)
    for start in range(0, n, step):
        stop = min(n, start + step)
        for i in range(start, stop):        # shift by the maximum; what the loss needs of the scores waits in `losses`
            top = x[i, 0]
            c = 0
            if k >= 128:                    # 64 maxima side by side: one alone waits for itself at every number
                for j in range(64):
                    lanes[j] = x[i, j]
                for c in range(64, k - 63, 64):
                    for j in range(64):
                        v = x[i, c + j]
                        lanes[j] = v if v > lanes[j] else lanes[j]
                for j in range(64):
                    top = lanes[j] if lanes[j] > top else top
                c = k - k % 64
            for j in range(c, k):
                top = x[i, j] if x[i, j] > top else top
            for j in range(k):
                grad[i, j] = x[i, j] - top
            losses[i] = zero
            if y[i] != ignore_index:
                own = weight[y[i]] if weighted else one
                losses[i] = -own * (one - smooth) * grad[i, y[i]]
                if smooth > 0:
                    for j in range(k):
                        if not weighted:
                            losses[i] -= share * grad[i, j]
                        elif weight[j] > 0:
                            losses[i] -= share * weight[j] * grad[i, j]
        block = grad[start:stop].reshape(-1)
        for j in range(block.size):
            block[j] = exp(block[j])
        for i in range(start, stop):
            if y[i] == ignore_index:
                for j in range(k):
                    grad[i, j] = zero
                continue
            s = zero
            for j in range(k):
                s += grad[i, j]
            own = (weight[y[i]] if weighted else one) * (one - smooth)
            mass = own + share * all_weights
            losses[i] += mass * np.log(s)
            total += losses[i]
            scale = common * mass / s
            for j in range(k):
                grad[i, j] *= scale
            if smooth > 0:
                for j in range(k):
                    grad[i, j] -= common * share * (weight[j] if weighted else one)
            grad[i, y[i]] -= common * own
    if mean:
        total = total / count
    return total, -1


def cross_entropy(x, y, weight=None, ignore_index=-100, smoothing=0.0, mean=True):
    """(sum or mean of the losses, the losses (n,), d(sum or mean)/dx (n, k)) of scores x (n, k) for classes y (n,).

    l_i = -(1-e) w_y log p_y - e/k sum_c w_c log p_c; the mean divides by the sum of w_y. A class outside
    0..k-1 that is not `ignore_index` raises IndexError with its place; on the GPU, where the host would have to wait to
    learn of it, its loss and gradient are NaN.

    >>> total, losses, grad = cross_entropy(np.zeros((1, 2)), np.array([0]))
    >>> round(float(total), 4), grad
    (0.6931, array([[-0.5,  0.5]]))
    """
    losses, grad = fresh(x, x.shape[:1]), fresh(x, x.shape)
    w = fresh(x, (0,)) if weight is None else weight
    total, bad = _cross_entropy(x, y, w, ignore_index, smoothing, mean, losses, grad)
    if bad >= 0:
        raise IndexError(f"target {y[bad]} of row {bad}, expected 0..{x.shape[1] - 1} or ignore_index {ignore_index}")
    return x.dtype.type(total) if type(x) is np.ndarray else total, losses, grad
