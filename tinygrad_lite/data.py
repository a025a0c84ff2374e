"""Batches for training, and readers for two formats that real data comes in: idx (MNIST) and svmlight."""
import gzip
import math
import re
import warnings
import zlib

import numpy as np

from .backend import on_gpu
from .tensor import Tensor


class DataLoader:
    """Batches of rows, in a new random order each epoch: sampling without replacement.

    ``DataLoader(x, y, batch_size=32)`` and ``DataLoader((x, y), ...)`` take arrays with one row a sample;
    ``DataLoader(dataset, ...)`` takes any other sequence of samples, such as (x_i, y_i) pairs, and stacks them.
    A batch is a tuple where there are several parts, else the part itself. Floats come as Tensors of their own dtype;
    integers (ids, labels), booleans and strings come as plain arrays; rows of a sparse matrix are made dense.

    Every ``for`` over the loader is one epoch. Its order is a pure function of (seed, epoch), so setting ``loader.epoch``
    resumes where another run stopped; without a seed one is drawn, and can be read as ``loader.seed``.

    >>> x, y = np.arange(10.).reshape(5, 2), np.array([0, 1, 2, 3, 4])
    >>> loader = DataLoader(x, y, batch_size=2, shuffle=True, seed=0)
    >>> [labels.tolist() for _, labels in loader], [labels.tolist() for _, labels in loader]
    ([[2, 4], [3, 0], [1]], [[1, 4], [3, 0], [2]])
    >>> len(loader), loader.epoch
    (3, 2)
    """
    def __init__(self, *data, batch_size=1, shuffle=False, drop_last=False, seed=None):
        if isinstance(batch_size, bool) or not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
            raise ValueError(f"DataLoader: batch_size={batch_size!r} is not allowed; expected an integer >= 1")
        if seed is not None and (not isinstance(seed, (int, np.integer)) or seed < 0):
            raise ValueError(f"DataLoader: seed={seed!r} is not allowed; expected an integer >= 0, or None to draw one")
        if not data:
            raise ValueError("DataLoader: no data; pass arrays with one row a sample, or a sequence of samples")
        self.dataset = None
        if len(data) == 1 and isinstance(data[0], tuple) and all(map(_is_array, data[0])):
            self.arrays = tuple(map(_plain, data[0]))
        elif all(map(_is_array, data)):
            self.arrays = tuple(map(_plain, data))
        elif len(data) == 1:
            self.dataset, self.arrays = data[0], ()
        else:
            raise TypeError(f"DataLoader: several data must all be arrays, got {[type(d).__name__ for d in data]}; "
                            "pass numpy.asarray of each")
        for i, array in enumerate(self.arrays):
            if not array.shape or array.shape[0] != self.arrays[0].shape[0]:
                raise ValueError(f"DataLoader: array 0 has shape {self.arrays[0].shape} and array {i} has {array.shape}; "
                                 "expected one row a sample, as many in both")
        self.batch_size, self.shuffle, self.drop_last = int(batch_size), shuffle, drop_last
        self.samples = len(self.dataset) if self.dataset is not None else self.arrays[0].shape[0]
        self.seed = np.random.SeedSequence().entropy if seed is None else seed
        self.epoch = 0

    def __len__(self):
        return (self.samples if self.drop_last else self.samples + self.batch_size - 1) // self.batch_size

    def order(self, epoch):
        """The sample numbers of one epoch in the order they are drawn."""
        if not self.shuffle:
            return np.arange(self.samples)
        return np.random.default_rng([self.seed, epoch]).permutation(self.samples)

    def __iter__(self):
        order = self.order(self.epoch)
        self.epoch += 1
        for i in range(len(self)):
            yield self._batch(order[i * self.batch_size:(i + 1) * self.batch_size])

    def _batch(self, rows):
        if self.dataset is None:
            parts = [array[rows] for array in self.arrays]
            return tuple(map(_yielded, parts)) if len(parts) > 1 else _yielded(parts[0])
        samples = [self.dataset[int(i)] for i in rows]
        if isinstance(samples[0], (tuple, list)):
            return tuple(_yielded(_stack(column, rows)) for column in zip(*samples, strict=True))
        return _yielded(_stack(samples, rows))


def _is_array(value):
    return hasattr(value, "shape") and hasattr(value, "__getitem__")


def _plain(array):
    if isinstance(array, Tensor):
        return array.data
    return array.to_numpy() if hasattr(array, "to_numpy") else array          # pandas selects columns, not rows, by []


def _stack(values, rows):
    arrays = [value if on_gpu(value) else np.asarray(value) for value in map(_plain, values)]
    for row, array in zip(rows, arrays):
        if array.shape != arrays[0].shape:
            raise ValueError(f"DataLoader: sample {rows[0]} has shape {arrays[0].shape} and sample {row} has {array.shape}; "
                             "samples of one batch must have one shape, so pad them")
    return np.stack(arrays)


def _yielded(array):
    if hasattr(array, "toarray"):
        array = array.toarray()
    return Tensor(array) if array.dtype.kind == "f" else array


def _read(path):
    """The bytes of a file, unpacked if it is gzip (by its first bytes, whatever its name)."""
    with open(path, "rb") as file:
        data = file.read()
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        return gzip.decompress(data)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path}: not a whole gzip file ({len(data)} bytes): {error}; fetch it again") from error


_IDX_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path):
    """The array in an idx file, MNIST's format, gzip or not, in its own dtype (images: uint8, 0 to 255).

    Big-endian: two zero bytes, a dtype code, the number of dimensions, each dimension as 4 bytes, the numbers row-major.
    LeCun, Cortes & Burges, the MNIST database.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     _ = file.write(bytes([0, 0, 8, 1, 0, 0, 0, 3]) + bytes([7, 2, 1])), file.flush()
    ...     read_idx(file.name)
    array([7, 2, 1], dtype=uint8)
    """
    data = _read(path)
    if len(data) < 4 or data[:2] != b"\0\0":
        raise ValueError(f"{path}: not an idx file: it begins with {data[:4]!r}; expected two zero bytes, dtype, dimensions")
    code, ndim = data[2], data[3]
    if code not in _IDX_DTYPES:
        raise ValueError(f"{path}: idx dtype code {code:#04x} is unknown; "
                         f"expected one of {', '.join(f'{c:#04x}' for c in _IDX_DTYPES)}")
    start = 4 + 4 * ndim
    if len(data) < start:
        raise ValueError(f"{path}: truncated in its header: expected {start} bytes for {ndim} dimensions, got {len(data)}")
    shape = tuple(np.frombuffer(data, ">u4", ndim, 4).tolist())
    dtype = np.dtype(_IDX_DTYPES[code])
    expected = start + math.prod(shape) * dtype.itemsize
    if len(data) != expected:
        raise ValueError(f"{path}: {'truncated' if len(data) < expected else 'too long'}: shape {shape} of {dtype.name} "
                         f"needs {expected} bytes, got {len(data)}")
    return np.frombuffer(data, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


_NUMBER = rb"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_LABEL = re.compile(_NUMBER)
_PAIR = re.compile(rb"(\d+):(" + _NUMBER + rb")")
_TOKEN = re.compile(rb"\S+")


def read_svmlight(path, n_features=None, zero_based="auto", strict=True):
    """(X, y) of an svmlight / libsvm file, gzip or not: X a scipy CSR matrix, y an array, both float64.

    One sample a line: ``label index:value index:value ... # comment``; ``qid:n`` is passed over. ``zero_based="auto"``
    takes the indices to begin at 0 if any is 0, else at 1. A malformed line raises ValueError with file, line and column;
    with ``strict=False`` it is left out, and one UserWarning says how many were and shows the first.
    Joachims, SVM-light (1999).

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     _ = file.write(b"+1 1:0.5 3:2  # a comment\\n-1 2:4\\n"), file.flush()
    ...     X, y = read_svmlight(file.name)
    >>> X.toarray().tolist(), y.tolist()
    ([[0.5, 0.0, 2.0], [0.0, 4.0, 0.0]], [1.0, -1.0])
    """
    from scipy.sparse import csr_array
    if zero_based not in (True, False, "auto"):
        raise ValueError(f"read_svmlight: zero_based={zero_based!r} is not allowed; expected True, False or 'auto'")
    data = _read(path)
    if zero_based == "auto":
        zero_based = re.search(rb"^[^#\n]*[ \t]0+:", data, re.MULTILINE) is not None
    labels, indices, values, ends, errors = [], [], [], [0], []
    for number, line in enumerate(data.split(b"\n"), 1):
        line = line.partition(b"#")[0]
        if not line.strip():
            continue
        try:
            label, columns, numbers = _svmlight_line(line, 0 if zero_based else 1, n_features)
        except _Malformed as problem:
            column, message = problem.args
            errors.append(f"{path}, line {number}, column {column}: {message}")
            if strict:
                raise ValueError(errors[0] + "; strict=False leaves such lines out") from None
            continue
        labels.append(label)
        indices += columns
        values += numbers
        ends.append(len(indices))
    if errors:
        warnings.warn(f"{len(errors)} of {len(errors) + len(labels)} lines left out; the first: {errors[0]}", stacklevel=2)
    width = n_features if n_features is not None else max(indices, default=-1) + 1
    X = csr_array((np.array(values, float), np.array(indices, np.int64), np.array(ends, np.int64)), (len(labels), width))
    X.sort_indices()
    return X, np.array(labels, float)


class _Malformed(Exception):
    """(column, what is wrong), columns counted from 1."""


def _svmlight_line(line, first, n_features):
    tokens = list(_TOKEN.finditer(line))
    label = tokens[0][0]
    if not _LABEL.fullmatch(label) or math.isinf(float(label)):
        raise _Malformed(tokens[0].start() + 1, f"expected a finite number as label, got {_quoted(label)}")
    last = np.iinfo(np.int64).max - 1 if n_features is None else n_features - 1 + first
    seen, values = {}, []
    for token in tokens[1:]:
        if token[0].startswith(b"qid:"):
            continue
        column = token.start() + 1
        pair = _PAIR.fullmatch(token[0])
        if pair is None or math.isinf(float(pair[2])):
            raise _Malformed(column, f"expected index:value with finite numbers, got {_quoted(token[0])}")
        index = int(pair[1])
        if not first <= index <= last:
            raise _Malformed(column, f"index {index} is outside {first}..{last}")
        if seen.setdefault(index - first, column) != column:
            raise _Malformed(column, f"index {index} stands twice, first at column {seen[index - first]}")
        values.append(float(pair[2]))
    return float(label), list(seen), values


def _quoted(token, most=40):
    return repr(token[:most].decode("utf-8", "replace") + ("..." if len(token) > most else ""))
