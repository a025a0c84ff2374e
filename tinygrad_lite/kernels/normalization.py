"""Normalisation row by row: its statistics, its scaled numbers, or its gradients, while it is in the nearest cache.

In NumPy a layer norm of 64 rows of 256 is twenty calls, forward and back, each of which reads and writes everything.
Two ways through the numbers: `rows` have statistics of their own and weights along them (layer, group and RMS norm);
`channels` (N, C, L) have statistics over N and L, and one weight each (batch norm).
"""
import numpy as np

from . import cuda, fresh, kernel, ready

CUDA = r"""
// --- rows: a block a row
extern "C" __global__ void rows_forward(const T *x, const T *weight, const T *bias, A eps, I centred, T *mean, T *scale, T *z,
                                        I k, I groups) {
    I i = blockIdx.x, at = i % groups * k;
    x += i * k;
    A m = 0, v = 0;
    if (centred) {
        for (I j = threadIdx.x; j < k; j += blockDim.x) m += (A)x[j];
        m = block_sum(m) / A(k);
    }
    for (I j = threadIdx.x; j < k; j += blockDim.x) v += ((A)x[j] - m) * ((A)x[j] - m);
    A s = A(1) / sqrt(block_sum(v) / A(k) + eps);
    for (I j = threadIdx.x; j < k; j += blockDim.x)
        z[i * k + j] = T(((A)x[j] - m) * s * (A)weight[at + j] + (A)bias[at + j]);
    if (threadIdx.x == 0) {
        mean[i] = T(m);
        scale[i] = T(s);
    }
}

extern "C" __global__ void rows_back(const T *g, const T *x, const T *weight, const T *mean, const T *scale, I centred, T *to_x,
                                     I k, I groups) {
    I i = blockIdx.x;
    g += i * k;
    x += i * k;
    weight += i % groups * k;
    A m = (A)mean[i], s = (A)scale[i], a = 0, b = 0;
    for (I j = threadIdx.x; j < k; j += blockDim.x) {
        A h = (A)g[j] * (A)weight[j];
        a += h;
        b += h * ((A)x[j] - m);
    }
    a = block_sum(a) / A(k);
    b = block_sum(b) / A(k) * s * s;
    for (I j = threadIdx.x; j < k; j += blockDim.x)
        to_x[i * k + j] = T(((A)g[j] * (A)weight[j] - (centred ? a : A(0)) - ((A)x[j] - m) * b) * s);
}

// 32 columns of some rows of a group: 8 threads a column, whose sums then join. parts: (2, runs of rows, groups, k)
extern "C" __global__ void columns_back(const T *g, const T *x, const T *mean, const T *scale, I rows, I k, I groups, I run,
                                        A *parts) {
    __shared__ A by_weight[256], by_bias[256];
    I j = blockIdx.x * 32 + threadIdx.x % 32, group = blockIdx.y, first = blockIdx.z * run;
    A w = 0, b = 0;
    if (j < k)
        for (I r = first + threadIdx.x / 32; r < rows && r < first + run; r += 8) {
            I i = r * groups + group;
            A into = (A)g[i * k + j];
            b += into;
            w += into * ((A)x[i * k + j] - (A)mean[i]) * (A)scale[i];
        }
    by_weight[threadIdx.x] = w;
    by_bias[threadIdx.x] = b;
    __syncthreads();
    if (threadIdx.x < 32 && j < k) {
        for (int lane = 1; lane < 8; lane++) {
            w += by_weight[threadIdx.x + 32 * lane];
            b += by_bias[threadIdx.x + 32 * lane];
        }
        parts[(blockIdx.z * groups + group) * k + j] = w;
        parts[((gridDim.z + blockIdx.z) * groups + group) * k + j] = b;
    }
}

// --- channels: a block a channel, whose e-th number stands at (e / length * C + c) * length + e % length
#define AT(e) (((e) / length * gridDim.x + blockIdx.x) * (I)length + (e) % length)
extern "C" __global__ void moments(const T *x, T *mean, T *var, I n, I L) {
    unsigned count = n * L, length = L;                     // divides five times as fast as I does
    A m = 0, v = 0;
    for (unsigned e = threadIdx.x; e < count; e += blockDim.x) m += (A)x[AT(e)];
    m = block_sum(m) / A(count);
    for (unsigned e = threadIdx.x; e < count; e += blockDim.x) v += ((A)x[AT(e)] - m) * ((A)x[AT(e)] - m);
    v = block_sum(v) / A(count);
    if (threadIdx.x == 0) {
        mean[blockIdx.x] = T(m);
        var[blockIdx.x] = T(v);
    }
}

extern "C" __global__ void channels(const T *x, const T *weight, const T *bias, const T *mean, const T *scale, T *z, I n, I L) {
    unsigned count = n * L, length = L, c = blockIdx.x;
    A m = (A)mean[c], s = (A)scale[c] * (A)weight[c], b = (A)bias[c];
    for (unsigned e = blockIdx.y * blockDim.x + threadIdx.x; e < count; e += gridDim.y * blockDim.x)
        z[AT(e)] = T(((A)x[AT(e)] - m) * s + b);
}

extern "C" __global__ void channels_back(const T *g, const T *x, const T *weight, const T *mean, const T *scale, I of_batch,
                                         T *to_x, T *to_weight, T *to_bias, I n, I L) {
    unsigned count = n * L, length = L, c = blockIdx.x;
    A m = (A)mean[c], s = (A)scale[c], b = 0, w = 0;
    for (unsigned e = threadIdx.x; e < count; e += blockDim.x) {
        b += (A)g[AT(e)];
        w += (A)g[AT(e)] * ((A)x[AT(e)] - m);
    }
    b = block_sum(b);
    w = block_sum(w) * s;
    if (threadIdx.x == 0) {
        to_bias[c] = T(b);
        to_weight[c] = T(w);
    }
    A share = of_batch ? A(1) / A(count) : A(0);
    for (unsigned e = threadIdx.x; e < count; e += blockDim.x)
        to_x[AT(e)] = T(((A)g[AT(e)] - b * share - ((A)x[AT(e)] - m) * s * w * share) * s * (A)weight[c]);
}
"""
RUN = 512               # rows whose part of a column's sum is one block's work


# --- rows: x (M, K); weight and bias (G, K), row i uses the i % G-th
def _scaled(x, mean, scale):                # what the weight multiplies
    return (x - mean[:, None]) * scale[:, None]


def _along(x, weight):                      # a view (M / G, G, K)
    return x.reshape(-1, *weight.shape)


def _rows_plain(x, weight, bias, eps, centred, mean, scale, z):
    mean[...] = x.mean(axis=1) if centred else 0
    y = x - mean[:, None]
    scale[...] = 1 / np.sqrt((y * y).mean(axis=1) + eps)
    _along(z, weight)[...] = _along(y * scale[:, None], weight) * weight + bias


@cuda.form(CUDA, lambda x, weight, bias, eps, centred, *results: cuda.served(x, weight, bias, *results))
def _rows_cuda(run, x, weight, bias, eps, centred, mean, scale, z):
    groups, k = weight.shape
    run("rows_forward", len(x), cuda.threads_of(k), x, weight, bias, float(eps), centred, mean, scale, z, k, groups)


@kernel(_rows_plain, lambda x, weight, bias, eps, centred, mean, scale, z: ready(x, weight, bias, mean, scale, z), reorder=True,
        cuda=_rows_cuda)
def _rows_forward(x, weight, bias, eps, centred, mean, scale, z):
    T = x.dtype.type
    n = T(x.shape[1])
    for i in range(x.shape[0]):
        row, out, w, b = x[i], z[i], weight[i % weight.shape[0]], bias[i % weight.shape[0]]
        m, v = T(0), T(0)
        if centred:
            for j in range(row.size):
                m += row[j]
            m /= n
        for j in range(row.size):
            v += (row[j] - m) * (row[j] - m)
        s = T(1) / np.sqrt(v / n + T(eps))
        mean[i], scale[i] = m, s
        for j in range(row.size):
            out[j] = (row[j] - m) * s * w[j] + b[j]


def _rows_back_plain(g, x, weight, mean, scale, centred, to_x, to_weight, to_bias):
    y, h = _scaled(x, mean, scale), (_along(g, weight) * weight).reshape(x.shape)
    to_x[...] = (h - y * (h * y).mean(axis=1, keepdims=True) - (h.mean(axis=1, keepdims=True) if centred else 0)) * scale[:, None]
    to_weight[...] = _along(g * y, weight).sum(axis=0)
    to_bias[...] = _along(g, weight).sum(axis=0)


@cuda.form(CUDA, lambda g, x, weight, mean, scale, centred, *to: cuda.served(g, x, weight, mean, scale, *to))
def _rows_back_cuda(run, g, x, weight, mean, scale, centred, to_x, to_weight, to_bias):
    groups, k = weight.shape
    rows = len(x) // groups
    parts = np.empty_like(x, cuda.wide(x.dtype), shape=(2, -(-rows // RUN), groups, k))
    run("rows_back", len(x), cuda.threads_of(k), g, x, weight, mean, scale, centred, to_x, k, groups)
    run("columns_back", (-(-k // 32), groups, parts.shape[1]), 256, g, x, mean, scale, rows, k, groups, RUN, parts)
    to_weight[...], to_bias[...] = parts.sum(axis=1)


@kernel(_rows_back_plain, lambda g, x, weight, mean, scale, centred, *to: ready(g, x, weight, mean, scale, *to), reorder=True,
        cuda=_rows_back_cuda)
def _rows_back(g, x, weight, mean, scale, centred, to_x, to_weight, to_bias):
    T = x.dtype.type
    n, groups = T(x.shape[1]), weight.shape[0]
    to_weight[...] = T(0)
    to_bias[...] = T(0)
    for i in range(x.shape[0]):
        into, row, out, w, m, s = g[i], x[i], to_x[i], weight[i % groups], mean[i], scale[i]
        a, b = T(0), T(0)
        for j in range(row.size):
            h = into[j] * w[j]
            a += h
            b += h * (row[j] - m)
        a, b = a / n if centred else T(0), b * s * s / n
        for j in range(row.size):
            out[j] = (into[j] * w[j] - a - (row[j] - m) * b) * s
        of_weight, of_bias = to_weight[i % groups], to_bias[i % groups]
        for j in range(row.size):           # loops of few arrays: LLVM asks of each pair whether they overlap
            of_weight[j] += into[j] * (row[j] - m) * s
        for j in range(row.size):
            of_bias[j] += into[j]


def normalised_rows(x, weight, bias, eps, centred=True):
    """(z, means, scales) of rows x (M, K): z_ij = (x_ij - mean_i) scale_i weight_gj + bias_gj with g = i % G.

    scale_i = 1 / sqrt(the mean of (x_ij - mean_i)^2 + eps). Not `centred`: the means count as 0 (RMS norm).

    >>> normalised_rows(np.array([[1.0, 3.0]]), np.ones((1, 2)), np.zeros((1, 2)), 0.0)[0]
    array([[-1.,  1.]])
    """
    mean, scale, z = fresh(x, len(x)), fresh(x, len(x)), fresh(x, x.shape)
    _rows_forward(x, weight, bias, eps, centred, mean, scale, z)
    return z, mean, scale


def normalised_rows_back(g, x, weight, mean, scale, centred=True):
    """(dL/dx (M, K), dL/d(weight), dL/d(bias), both (G, K)) for g = dL/dz."""
    to = fresh(x, x.shape), fresh(x, weight.shape), fresh(x, weight.shape)
    _rows_back(g, x, weight, mean, scale, centred, *to)
    return to


# --- channels: x (N, C, L); weight, bias and statistics (C,)
def _long(x, *arrays):                      # where L is 1, NumPy runs along the channels, and is as fast
    return ready(x, *arrays) and x.shape[2] > 1


def _long_on_gpu(x, *arrays):
    return cuda.served(x, *arrays) and x.shape[2] > 1 and x.size < 1 << 31


def _moments_plain(x, mean, var):
    mean[...] = x.mean(axis=(0, 2))
    var[...] = x.var(axis=(0, 2))


@cuda.form(CUDA, _long_on_gpu)
def _moments_cuda(run, x, mean, var):
    n, channels, length = x.shape
    run("moments", channels, cuda.threads_of(n * length, 1024), x, mean, var, n, length)


@kernel(_moments_plain, _long, reorder=True, cuda=_moments_cuda)
def _moments(x, mean, var):
    T = x.dtype.type
    count = x.shape[0] * x.shape[2]
    total = np.zeros(mean.size)             # short sums in the array's dtype, their total in float64
    for i in range(x.shape[0]):
        for c in range(x.shape[1]):
            s = T(0)
            for j in range(x.shape[2]):
                s += x[i, c, j]
            total[c] += s
    for c in range(mean.size):
        mean[c] = total[c] / count
        total[c] = 0
    for i in range(x.shape[0]):
        for c in range(x.shape[1]):
            s, m = T(0), mean[c]
            for j in range(x.shape[2]):
                s += (x[i, c, j] - m) * (x[i, c, j] - m)
            total[c] += s
    for c in range(mean.size):
        var[c] = total[c] / count


def _channels_plain(x, weight, bias, mean, scale, z):
    z[...] = (x - mean[:, None]) * (scale * weight)[:, None] + bias[:, None]


@cuda.form(CUDA, _long_on_gpu)
def _channels_cuda(run, x, *arrays):
    n, channels, length = x.shape
    run("channels", (channels, min(cuda.blocks_of(n * length), 1 << 15)), cuda.THREADS, x, *arrays, n, length)


@kernel(_channels_plain, _long, reorder=True, cuda=_channels_cuda)
def _channels(x, weight, bias, mean, scale, z):
    for i in range(x.shape[0]):
        for c in range(x.shape[1]):
            m, s, b = mean[c], scale[c] * weight[c], bias[c]
            for j in range(x.shape[2]):
                z[i, c, j] = (x[i, c, j] - m) * s + b


def _channels_back_plain(g, x, weight, mean, scale, of_batch, to_x, to_weight, to_bias):
    y = (x - mean[:, None]) * scale[:, None]
    to_bias[...] = g.sum(axis=(0, 2))
    to_weight[...] = (g * y).sum(axis=(0, 2))
    n = x.shape[0] * x.shape[2] if of_batch else np.inf
    to_x[...] = (g - (to_bias / n)[:, None] - y * (to_weight / n)[:, None]) * (scale * weight)[:, None]


@cuda.form(CUDA, lambda g, x, weight, mean, scale, of_batch, *to: _long_on_gpu(x, g, weight, mean, scale, *to))
def _channels_back_cuda(run, g, x, *arrays):
    n, channels, length = x.shape
    run("channels_back", channels, cuda.threads_of(n * length, 1024), g, x, *arrays, n, length)


@kernel(_channels_back_plain, lambda g, x, weight, mean, scale, of_batch, *to: _long(x, g, weight, mean, scale, *to), reorder=True,
        cuda=_channels_back_cuda)
def _channels_back(g, x, weight, mean, scale, of_batch, to_x, to_weight, to_bias):
    T = x.dtype.type
    sums, products = np.zeros(mean.size), np.zeros(mean.size)
    for i in range(x.shape[0]):
        for c in range(x.shape[1]):
            s, p, m = T(0), T(0), mean[c]
            for j in range(x.shape[2]):
                s += g[i, c, j]
                p += g[i, c, j] * (x[i, c, j] - m)
            sums[c] += s
            products[c] += p
    for c in range(mean.size):
        to_bias[c], to_weight[c] = sums[c], products[c] * scale[c]
    n = x.shape[0] * x.shape[2]
    for i in range(x.shape[0]):
        for c in range(x.shape[1]):
            m, s, a, b = mean[c], scale[c] * weight[c], T(0), T(0)
            if of_batch:
                a, b = to_bias[c] / T(n), to_weight[c] * scale[c] / T(n)
            for j in range(x.shape[2]):
                to_x[i, c, j] = (g[i, c, j] - a - (x[i, c, j] - m) * b) * s


def channel_moments(x):
    """(mean, variance) of each channel of x (N, C, L) over N and L.

    >>> channel_moments(np.array([[[1.0, 3.0]], [[5.0, 7.0]]]))
    (array([4.]), array([5.]))
    """
    mean, var = fresh(x, x.shape[1]), fresh(x, x.shape[1])
    _moments(x, mean, var)
    return mean, var


def normalised_channels(x, weight, bias, mean, scale):
    """(x - mean) scale weight + bias, one number a channel: x (N, C, L), the others (C,)."""
    z = fresh(x, x.shape)
    _channels(x, weight, bias, mean, scale, z)
    return z


def normalised_channels_back(g, x, weight, mean, scale, of_batch):
    """(dL/dx, dL/d(weight), dL/d(bias)) for g = dL/dz; `of_batch`: mean and scale are x's own and move with it."""
    to = fresh(x, x.shape), fresh(x, weight.shape), fresh(x, weight.shape)
    _channels_back(g, x, weight, mean, scale, of_batch, *to)
    return to
