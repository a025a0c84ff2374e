"""The array of the stand-in: a NumPy array that behaves as cupy.ndarray does, in what it refuses above all."""
import contextlib
import ctypes
import operator
from collections import Counter

import numpy as np

from .facts import FACTS, check


class Synchronised(AssertionError):
    """The host waited for the device inside a `strict()` block."""


class Watch:
    """What the stand-in counts: waits for the device, reads that come a step late, uploads, bytes; and what it forbids."""
    def __init__(self):
        self.synchronisations, self.late_reads, self.uploads = Counter(), Counter(), Counter()
        self.is_strict, self.limit = False, None

    def synchronised(self, why):
        self.synchronisations[why] += 1
        if self.is_strict:
            raise Synchronised(f"{why}: the host waits for the device here")

    @contextlib.contextmanager
    def strict(self):
        self.is_strict, before = True, self.is_strict
        try:
            yield
        finally:
            self.is_strict = before


watch = Watch()
SCALARS = (bool, int, float, complex, np.generic)


class OutOfMemoryError(MemoryError):
    pass


def wrap(x):
    """A result of NumPy as CuPy gives it: every number a 0-d array, containers searched."""
    if isinstance(x, (tuple, list)):
        return type(x)(map(wrap, x)) if type(x) in (tuple, list) else type(x)(*map(wrap, x))
    if not isinstance(x, (np.ndarray, *SCALARS)):
        return x
    x = np.asarray(x)
    if x.dtype.kind not in "biufc":
        raise TypeError(f"Unsupported dtype {x.dtype}")
    if watch.limit is not None and x.base is None and x.nbytes > watch.limit:
        raise OutOfMemoryError(f"Out of memory allocating {x.nbytes:,} bytes (allocated so far: 0 bytes).")
    a = ndarray.__new__(ndarray)
    a._host = x
    return a


def unwrap(x):
    """The NumPy array inside; a NumPy array as such is refused, as CuPy does."""
    if isinstance(x, ndarray):
        return x._host
    if isinstance(x, np.ndarray):
        raise TypeError(f"Unsupported type {np.ndarray}")
    if isinstance(x, (tuple, list)):
        return type(x)([unwrap(i) for i in x])
    if isinstance(x, dict):
        return {k: unwrap(v) for k, v in x.items()}
    return x


def place(index, shape, what):
    """An index as CuPy reads it: integer arrays wrap around, NumPy arrays and lists are uploaded, masks are counted."""
    parts = list(index) if isinstance(index, tuple) else [index]
    fixed = sum(np.ndim(p) if is_mask(p) else p is not None and p is not Ellipsis for p in parts)
    axis, found = 0, []
    for p in parts:
        if isinstance(p, (list, tuple, np.ndarray)):
            watch.uploads[what] += 1
            p = np.asarray(p) if isinstance(p, np.ndarray) or np.size(p) else np.zeros(np.shape(p), np.int64)
        elif isinstance(p, (bool, np.bool_)):
            p = np.asarray(p)
        p = p._host if isinstance(p, ndarray) else p
        if p is Ellipsis:
            axis += len(shape) - fixed
        elif is_mask(p):
            watch.synchronised(f"boolean mask in {what}")
            axis += p.ndim
        elif p is not None:
            if isinstance(p, np.ndarray):
                if p.dtype.kind not in "iu":
                    raise IndexError("arrays used as indices must be of integer or boolean type.")
                p = p % shape[axis] if axis < len(shape) and shape[axis] else p
            elif not isinstance(p, (slice, int, np.integer)):
                raise IndexError("only integers, slices (`:`), ellipsis (`...`), numpy.newaxis (`None`) and integer or boolean "
                                 "arrays are valid indices")
            axis += 1
        found.append(p)
    return tuple(found)


def is_mask(p):
    p = np.asarray(p) if isinstance(p, list) else p
    return isinstance(p, (bool, np.bool_)) or isinstance(p, (np.ndarray, ndarray)) and p.dtype == bool


class Flags:
    def __init__(self, flags):
        self.c_contiguous, self.f_contiguous, self.owndata = flags.c_contiguous, flags.f_contiguous, flags.owndata


class ndarray:
    __module__ = "cupy"
    __array_priority__ = 100
    __hash__ = None

    def __init__(self, shape, dtype=float, memptr=None, strides=None, order="C"):
        self._host = wrap(np.empty(shape, dtype, order))._host

    dtype = property(lambda self: self._host.dtype)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    itemsize = property(lambda self: self._host.itemsize)
    nbytes = property(lambda self: self._host.nbytes)
    strides = property(lambda self: self._host.strides)
    flags = property(lambda self: Flags(self._host.flags))
    base = property(lambda self: None if self._host.base is None else wrap(self._host.base))
    T = property(lambda self: self if self.ndim < 2 else wrap(self._host.T))
    mT = property(lambda self: wrap(self._host.mT))
    real = property(lambda self: wrap(self._host.real))
    imag = property(lambda self: wrap(self._host.imag))

    @property
    def shape(self):
        return self._host.shape

    @shape.setter
    def shape(self, shape):
        self._host.shape = shape

    @property
    def data(self):
        return Pointer(self._host)

    @property
    def device(self):
        from .library import Device
        return Device(0)

    # --- what waits for the device
    def get(self, stream=None, order="C", out=None, blocking=True):
        if blocking:
            watch.synchronised("get")
        else:
            watch.late_reads["get"] += 1
        if out is None:
            return np.array(self._host, order=order)
        if type(out) is not np.ndarray or out.dtype != self.dtype or out.shape != self.shape:
            raise TypeError(f"{type(out).__name__} array cannot be obtained from {self.dtype} array")
        out[...] = self._host
        return out

    def _number(self, what, kind):
        watch.synchronised(what)
        return kind(self._host)

    def item(self):
        if self.size != 1:
            raise ValueError("can only convert an array of size 1 to a Python scalar")
        return self._number("item", np.ndarray.item)

    def tolist(self): return self._number("tolist", np.ndarray.tolist)
    def tobytes(self, order="C"): return self._number("tobytes", np.ndarray.tobytes)
    def __float__(self): return self._number("float", float)
    def __int__(self): return self._number("int", int)
    def __complex__(self): return self._number("complex", complex)
    def __repr__(self): return self._number("repr", repr)
    def __str__(self): return self._number("str", str)
    def __format__(self, spec): return self._number("format", lambda x: format(x, spec))
    def __reduce__(self): return wrap_array, (self._number("pickle", np.array),)

    def __bool__(self):
        if self.size > 1:
            raise ValueError("The truth value of an array with more than one element is ambiguous. Use a.any() or a.all()")
        return self._number("bool", bool)

    # --- what goes another way than NumPy's
    def __array__(self, dtype=None, copy=None):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array "
                        "explicitly.")

    def set(self, arr, stream=None):
        if type(arr) is not np.ndarray or arr.dtype != self.dtype or arr.shape != self.shape:
            raise TypeError("Only a numpy.ndarray of the same dtype and shape can be set to cupy.ndarray")
        watch.uploads["set"] += 1
        self._host[...] = arr

    def fill(self, value):
        self._host.fill(unwrap(filler(value)))

    def __len__(self):
        if not self.ndim:
            raise TypeError("len() of unsized object")
        return len(self._host)

    def __iter__(self):
        if not self.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index):
        return wrap(self._host[place(index, self.shape, "getitem")])

    def __setitem__(self, index, value):
        value = filler(value)
        index = place(index, self.shape, "setitem")
        if isinstance(value, ndarray) and value.size > 1 and any(isinstance(p, np.ndarray) and p.dtype != bool for p in index):
            spots = np.arange(self.size).reshape(self.shape)[index]
            values = np.broadcast_to(value._host, spots.shape)
            last = np.empty(self.size, self.dtype)
            last[spots] = values
            if not np.array_equal(last[spots], values.astype(self.dtype), equal_nan=self.dtype.kind == "f"):
                raise AssertionError("two values assigned to one place: which one stays is undefined in CuPy")
        self._host[index] = unwrap(value)

    def scatter_add(self, slices, value):
        scatter(np.add, self, slices, value)

    def __copy__(self): return self.copy()
    def __deepcopy__(self, memo): return self.copy()

    def take(self, indices, axis=None, out=None):
        if isinstance(indices, (list, tuple, np.ndarray)):
            watch.uploads["take"] += 1
        indices = indices._host if isinstance(indices, ndarray) else indices
        return wrap(self._host.take(indices, axis, unwrap(out), mode="wrap"))

    def dot(self, b, out=None):
        if not isinstance(b, ndarray):
            raise TypeError(f"Argument 'b' has incorrect type (expected cupy._core.core._ndarray_base, got {type(b).__name__})")
        return wrap(self._host.dot(b._host, unwrap(out)))

    def repeat(self, repeats, axis=None):
        if isinstance(repeats, ndarray):
            raise ValueError("cupy.ndaray object cannot be specified as `repeats` argument.")
        return wrap(self._host.repeat(repeats, axis))

    def astype(self, dtype, order="K", casting=None, subok=None, copy=True):
        x = self._host.astype(dtype, order, copy=copy)
        return self if x is self._host else wrap(x)

    # --- NumPy's protocols
    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        import cupy
        ours = getattr(cupy, ufunc.__name__, None)
        if ours is None or method == "__call__" and not all(isinstance(x, (ndarray, np.ndarray, *SCALARS)) for x in inputs):
            return NotImplemented
        if "out" in options:
            options["out"], = options["out"]
        return getattr(ours, method)(*inputs, **options)

    def __array_function__(self, function, types, args, kwargs):
        import cupy
        home = cupy
        for part in function.__module__.split(".")[1:]:
            home = getattr(home, part, None)
        ours = getattr(home, function.__name__, None)
        if ours is None or ours is function or not all(t in (ndarray, np.ndarray) for t in types):
            return NotImplemented
        return ours(*args, **kwargs)


def filler(value):
    """What may be assigned: device arrays and numbers, among them 0-d arrays of NumPy."""
    if isinstance(value, np.ndarray) and value.ndim:
        raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
    return value.item() if isinstance(value, np.ndarray) else value


class Pointer:
    """`data`: the address, which tells views of one memory."""
    def __init__(self, host):
        self.ptr, self.mem = host.ctypes.data, host if host.base is None else host.base

    def copy_to_host_async(self, mem, size, stream=None):
        watch.late_reads["copy_to_host_async"] += 1
        ctypes.memmove(mem, self.ptr, size)


def wrap_array(x):
    return wrap(np.array(x))


def scatter(ufunc, a, index, value):
    """cupyx.scatter_add and its like: repeated places add up, in the few dtypes that have an atomic addition."""
    if not isinstance(a, ndarray):
        raise TypeError(f"Unsupported type {type(a)}")
    if a.dtype.kind + str(a.dtype.itemsize) not in ("i4", "u4", "u8", "f2", "f4", "f8"):
        raise TypeError("scatter_add only supports int32, float16, float32, float64, uint32, uint64, as data type")
    ufunc.at(a._host, place(index, a.shape, "scatter"), unwrap(value))


class ufunc:
    """One of CuPy's ufuncs: its dtypes and options, and results that are arrays."""
    REDUCE = {"reduce": ("add", "multiply"), "accumulate": ("add", "multiply"), "reduceat": ("add",)}
    AT = "add subtract maximum minimum bitwise_and bitwise_or bitwise_xor".split()

    def __init__(self, name, numpy, types):
        self.__name__, self.numpy, self.types = name, numpy, [t.replace(">", "->") for t in types]
        self.nin, self.nout = numpy.nin, numpy.nout
        self.takes = [t.split(">")[0] for t in types]

    def __call__(self, *args, **options):
        beyond = set(options) - {"out", "dtype", "casting"}
        if beyond:
            raise TypeError(f"Wrong arguments {beyond} for cupy.{self.__name__}")
        if any(isinstance(x, (list, tuple)) for x in args):
            raise TypeError(f"Unsupported type {list}")
        out = options.pop("out", args[self.nin] if len(args) > self.nin else None)
        if out is not None and not isinstance(out, (ndarray, tuple)):
            raise TypeError("Output arguments type must be cupy.ndarray")
        arrays = [unwrap(x) for x in args[:self.nin]]
        kinds = [x.dtype for x in arrays if hasattr(x, "dtype")]
        if kinds and not any(all(np.can_cast(k, t) for k, t in zip(kinds, types)) for types in self.takes):
            raise TypeError(f"cupy.{self.__name__}: no loop for {kinds}")
        result = self.numpy(*arrays, out=unwrap(out), **options)
        return out if out is not None else wrap(result)

    def reduce(self, array, axis=0, dtype=None, out=None, keepdims=False):
        return self._fold("reduce", array, axis=axis, dtype=dtype, out=unwrap(out), keepdims=keepdims)

    def accumulate(self, array, axis=0, dtype=None, out=None):
        return self._fold("accumulate", array, axis=axis, dtype=dtype, out=unwrap(out))

    def reduceat(self, array, indices, axis=0, dtype=None, out=None):
        return self._fold("reduceat", array, unwrap(indices), axis=axis, dtype=dtype, out=unwrap(out))

    def _fold(self, method, array, *args, **options):
        if self.__name__ not in self.REDUCE[method]:
            raise NotImplementedError(f"`cupy_{self.__name__}.{method}` is not supported yet")
        return wrap(getattr(self.numpy, method)(unwrap(array), *args, **options))

    def outer(self, a, b, **options):
        return wrap(self.numpy.outer(unwrap(a), unwrap(b), **options))

    def at(self, a, index, value):
        if self.__name__ not in self.AT:
            raise NotImplementedError(f"`cupy_{self.__name__}.at` is not supported yet")
        scatter(self.numpy, a, index, value)


UFUNCS = {name: ufunc(name, getattr(np, name), types) for name, types in FACTS["ufunc"].items()
          if isinstance(getattr(np, name, None), np.ufunc)}


def binary(name, numpy, reverse=False):
    def method(self, other):
        if isinstance(other, ndarray):
            pair = (other, self) if reverse else (self, other)
            return UFUNCS[numpy.__name__](*pair)
        if getattr(other, "__array_ufunc__", 0) is None:
            return NotImplemented
        return numpy(other, self) if reverse else numpy(self, other)        # NumPy asks each side's __array_ufunc__
    return method


def in_place(numpy):
    def method(self, other):
        return UFUNCS[numpy.__name__](self, other, out=self)
    return method


def simple(name, bound):
    """A method that does as NumPy's once its arguments are those that CuPy takes."""
    def method(self, *args, **kwargs):
        check(f"ndarray.{name}", bound, args, kwargs)
        if name in ("nonzero", "compress"):
            watch.synchronised(name)
        if name in ("argsort", "sort") and kwargs.pop("kind", None) not in (None, "stable"):
            raise ValueError("kind: only None and 'stable' are supported")
        kind = dict(kind="stable") if name in ("argsort", "sort") else {}
        result = getattr(self._host, name)(*map(unwrap, args), **unwrap(kwargs), **kind)
        return wrap(result)
    method.__name__ = name
    return method


OPERATORS = dict(add=np.add, sub=np.subtract, mul=np.multiply, truediv=np.true_divide, floordiv=np.floor_divide, mod=np.remainder,
                 pow=np.power, lshift=np.left_shift, rshift=np.right_shift, xor=np.bitwise_xor)
OPERATORS |= {"and": np.bitwise_and, "or": np.bitwise_or}
for name, function in OPERATORS.items():
    setattr(ndarray, f"__{name}__", binary(name, function))
    setattr(ndarray, f"__r{name}__", binary(name, function, reverse=True))
    setattr(ndarray, f"__i{name}__", in_place(function))
for name, function in dict(eq=np.equal, ne=np.not_equal, lt=np.less, le=np.less_equal, gt=np.greater, ge=np.greater_equal).items():
    setattr(ndarray, f"__{name}__", binary(name, function))
for name, function in dict(neg=np.negative, abs=np.absolute, invert=np.invert).items():
    setattr(ndarray, f"__{name}__", lambda self, f=function: UFUNCS[f.__name__](self))
ndarray.__pos__ = lambda self: self
for name, function in dict(matmul=operator.matmul, rmatmul=lambda a, b: b @ a).items():
    def product(self, other, f=function):
        if not isinstance(other, ndarray):
            if getattr(other, "__array_ufunc__", 0) is None:
                return NotImplemented
            raise TypeError(f"Argument 'b' has incorrect type (expected cupy._core.core._ndarray_base, got {type(other).__name__})")
        return wrap(f(self._host, other._host))
    setattr(ndarray, f"__{name}__", product)
for name, bound in FACTS["method"].items():
    if name not in vars(ndarray) and hasattr(np.ndarray, name) and not name.startswith(("dump", "tofile", "byteswap")):
        setattr(ndarray, name, simple(name, bound))
