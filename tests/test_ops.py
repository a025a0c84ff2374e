"""Every op and every public function of ops/ in one table: value, first and second derivative, dtype, layout, empty input."""
import importlib
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pytest
from scipy import special

import tinygrad_lite as tg
from tinygrad_lite.tensor import OPS, Tensor

MODULES = [importlib.import_module(f"tinygrad_lite.ops.{name}")
           for name in ("elementwise", "reductions", "shapes", "indexing", "linalg", "activations")]
PUBLIC = sorted(name for module in MODULES for name in module.__all__)


@dataclass
class Case:
    """f on Tensors, the same on arrays (`numpy`) or on torch tensors, and where to draw the inputs from."""
    name: str
    f: object
    numpy: object = None
    torch: object = None                    # called with (torch, *tensors)
    shapes: tuple = ((3, 4),)
    low: float = -2.0
    high: float = 2.0
    kinks: tuple = ()
    elementwise: bool = False
    label: str = ""
    empty: tuple = field(default=())        # shapes with size 0 that have an answer

    def draw(self, dtype=np.float64, shapes=None, seed=0):
        rng = np.random.default_rng(seed)
        arrays = []
        for shape in shapes or self.shapes:
            x = rng.uniform(self.low, self.high, shape)
            for kink in self.kinks:         # differences across a kink say nothing
                x = np.where(np.abs(x - kink) < 0.05, kink + 0.1, x)
            arrays.append(x.astype(dtype))
        return arrays


def unary(name, low=-2.0, high=2.0, kinks=(), numpy=None, torch=None, label="", **options):
    f = partial(getattr(tg, name), **options) if options else getattr(tg, name)
    return Case(name, f, numpy, torch, ((3, 4),), low, high, kinks, True, label)


def like_torch(name, kinks=(), elementwise=True, shapes=((3, 4),), home="nn.functional", **options):
    def torch(t, *xs):
        for part in home.split("."):
            t = getattr(t, part) if part else t
        return getattr(t, name)(*xs, **options)
    label = ",".join(f"{k}={v}" for k, v in options.items())
    return Case(name, partial(getattr(tg, name), **options), None, torch, shapes, -4.0, 4.0, kinks, elementwise, label)


def like_numpy(name, *options, shapes=((3, 4),), numpy=None, low=-2.0, high=2.0, empty=(), **named):
    theirs = numpy or getattr(np, name)
    label = ",".join([*map(str, options), *[f"{k}={v}" for k, v in named.items()]])
    return Case(name, lambda *xs: getattr(tg, name)(*xs, *options, **named), lambda *xs: theirs(*xs, *options, **named),
                None, shapes, low, high, label=label, empty=empty)


def pair(name, numpy, low=-2.0, high=2.0, kinks=()):
    return Case(name, getattr(tg, name), numpy, None, ((3, 4), (3, 4)), low, high, kinks, True)


def over_axes(name, of_nothing=False):
    """Rows for one, several and all axes; `of_nothing`: the reduction of no numbers has a value (a sum is 0)."""
    whole = [like_numpy(name, shapes=((2, 3, 4),), empty=((0, 3, 4),) * of_nothing)]
    return whole + [like_numpy(name, shapes=((2, 3, 4),), axis=axis, keepdims=keepdims,
                               empty=((0, 3, 4),) * (of_nothing or axis in (1, -1)))
                    for axis, keepdims in [(1, False), (-1, True), ((0, 2), False), ((-1, 0), True)]]


MASK = np.random.default_rng(5).uniform(size=(3, 4)) < 0.5
IDS = np.array([[2, 0, 2], [1, 1, 0]])
CASES = [
    # two inputs
    pair("add", np.add), pair("sub", np.subtract), pair("mul", np.multiply), pair("div", np.divide, 0.5),
    pair("pow", np.power, 0.3, 2), pair("maximum", np.maximum), pair("minimum", np.minimum), pair("hypot", np.hypot, 0.3),
    pair("arctan2", np.arctan2, 0.3), pair("logaddexp", np.logaddexp), pair("remainder", np.remainder, 0.9, 1.1),
    # one input
    *[unary(name, numpy=getattr(np, name)) for name in
      "exp exp2 expm1 sin cos arctan sinh cosh tanh arcsinh square".split()],
    *[unary(name, 0.3, 2.0, numpy=getattr(np, name)) for name in "log log2 log10 sqrt reciprocal".split()],
    *[unary(name, -0.8, 0.8, numpy=getattr(np, name)) for name in "log1p tan arcsin arccos arctanh".split()],
    unary("arccosh", 1.2, 3, numpy=np.arccosh), unary("neg", numpy=np.negative), unary("abs", kinks=(0,), numpy=np.abs),
    unary("erf", numpy=special.erf), unary("astype", numpy=lambda x: x, dtype=np.float64),
    *[unary("clamp", kinks=(-1, 0.5), numpy=partial(np.clip, a_min=low, a_max=high), label=f"{low},{high}", min=low, max=high)
      for low, high in [(-1, 0.5), (None, 0.5), (-1, None)]],
    Case("clamp", tg.clamp, np.clip, shapes=((3, 4), (4,), (3, 1)), label="Tensor bounds"),
    # activations
    *[like_torch(name, kinks=kinks, **options) for name, kinks, options in [
        ("relu", (0,), {}), ("leaky_relu", (0,), {}), ("leaky_relu", (0,), dict(negative_slope=0.3)), ("relu6", (0,), {}),
        ("elu", (0,), {}), ("elu", (0,), dict(alpha=0.7)), ("selu", (0,), {}),
        ("celu", (0,), {}), ("celu", (0,), dict(alpha=2.0)),
        ("gelu", (), {}), ("gelu", (), dict(approximate="tanh")), ("silu", (), {}), ("mish", (), {}), ("logsigmoid", (), {}),
        ("softplus", (), {}), ("softplus", (1.5,), dict(beta=2.0, threshold=3.0)), ("softsign", (), {}),
        ("hardtanh", (-1, 1), {}), ("hardtanh", (-2, 3), dict(min_val=-2.0, max_val=3.0)), 
        ("hardswish", (-3, 3), {}), ("hardshrink", (-.5, .5), {}), ("hardshrink", (-1, 1), dict(lambd=1.0)),
        ("softshrink", (-.5, .5), {}), ("softshrink", (-1, 1), dict(lambd=1.0)), ("tanhshrink", (), {})]],
    like_torch("sigmoid", home=""),
    like_torch("hardsigmoid", kinks=(-3, 3)),
    *[like_torch(name, elementwise=False, shapes=((2, 3, 4),), dim=dim)
      for name in ("softmax", "log_softmax") for dim in (0, 1, -1)],
    like_torch("glu", elementwise=False), like_torch("glu", elementwise=False, shapes=((4, 2, 3),), dim=0),
    like_torch("normalize", elementwise=False), like_torch("normalize", elementwise=False, p=3.0, dim=0),
    like_torch("cosine_similarity", elementwise=False, shapes=((3, 4), (3, 4))),
    like_torch("cosine_similarity", elementwise=False, shapes=((3, 1, 4), (5, 4)), dim=-1),
    like_torch("pairwise_distance", elementwise=False, shapes=((3, 4), (3, 4))),
    like_torch("pairwise_distance", elementwise=False, shapes=((3, 4), (4,)), p=1.0, keepdim=True),
    # reductions
    *over_axes("sum", True), *over_axes("prod", True), *over_axes("mean"), *over_axes("max"), *over_axes("min"),
    *over_axes("var"), *over_axes("std"),
    like_numpy("var", shapes=((3, 4),), axis=0, ddof=1), like_numpy("std", shapes=((3, 4),), ddof=1),
    *[like_torch("logsumexp", elementwise=False, shapes=((2, 3, 4),), home="", dim=dim, keepdim=keepdim)
      for dim, keepdim in [(1, False), (-1, True), ((0, 2), False)]],
    Case("logsumexp", tg.logsumexp, special.logsumexp, label="of all"),
    *[like_numpy("cumsum", axis=axis, empty=((0, 3),)) for axis in (None, 0, -1)],
    *[like_numpy("norm", numpy=np.linalg.norm, ord=p, axis=1, low=0.2) for p in (None, 1, 2, 3, 0.5, np.inf)],
    Case("norm", tg.norm, lambda x: np.linalg.norm(x.ravel()), shapes=((2, 3, 4),), label="of all"),
    # shapes
    like_numpy("reshape", (2, -1)), like_numpy("ravel", empty=((0, 3),)), like_numpy("transpose", empty=((0, 3),)),
    like_numpy("transpose", (2, 0, 1), shapes=((2, 3, 4),)), like_numpy("transpose", (-1, 0, -2), shapes=((2, 3, 4),)),
    like_numpy("swapaxes", 0, -1, shapes=((2, 3, 4),)), like_numpy("moveaxis", 0, -1, shapes=((2, 3, 4),)),
    like_numpy("moveaxis", (0, 1), (-1, 0), shapes=((2, 3, 4),)),
    Case("flatten", lambda x: tg.flatten(x, 1), lambda x: x.reshape(2, 12), shapes=((2, 3, 4),)),
    Case("flatten", lambda x: tg.flatten(x, 0, 1), lambda x: x.reshape(6, 4), shapes=((2, 3, 4),)),
    Case("expand", lambda x: tg.expand(x, 5, -1, 4), lambda x: np.broadcast_to(x, (5, 3, 4)), shapes=((3, 1),)),
    like_numpy("squeeze", shapes=((3, 1, 2, 1),)), like_numpy("squeeze", 1, shapes=((3, 1, 2, 1),)),
    like_numpy("unsqueeze", -1, numpy=np.expand_dims), like_numpy("unsqueeze", 0, numpy=np.expand_dims),
    *[like_numpy("flip", axis=axis, empty=((0, 3),)) for axis in (None, 0, (0, 1))],
    like_numpy("roll", 2), like_numpy("roll", 5, 1), like_numpy("roll", (1, -2), (0, 1)),
    like_numpy("pad", 2), like_numpy("pad", ((1, 0), (0, 2)), empty=((0, 3),)),
    *[Case("concatenate", lambda *xs, axis=axis: tg.concatenate(xs, axis), lambda *xs, axis=axis: np.concatenate(xs, axis),
           shapes=((3, 4), (3, 4), (3, 4)), label=str(axis)) for axis in (0, -1, None)],
    Case("concatenate", lambda *xs: tg.concatenate(xs), lambda *xs: np.concatenate(xs), shapes=((2, 4), (0, 4), (3, 4))),
    *[Case("stack", lambda *xs, axis=axis: tg.stack(xs, axis), lambda *xs, axis=axis: np.stack(xs, axis),
           shapes=((3, 4), (3, 4)), label=str(axis)) for axis in (0, 1, -1)],
    Case("split", lambda x: tg.split(x, 2)[1], lambda x: np.split(x, 2)[1], shapes=((4, 3),)),
    Case("split", lambda x: tg.split(x, [1, 3], -1)[1], lambda x: np.split(x, [1, 3], -1)[1]),
    # indexing (more in test_indexing.py)
    Case("getitem", lambda x: tg.getitem(x, (slice(None, None, -2), 1)), lambda x: x[::-2, 1]),
    Case("where", partial(tg.where, MASK), partial(np.where, MASK), shapes=((3, 4), (4,))),
    Case("masked_select", lambda x: tg.masked_select(x, MASK), lambda x: x[MASK]),
    *[Case("take", lambda x, axis=axis: tg.take(x, IDS, axis), lambda x, axis=axis: np.take(x, IDS, axis), label=str(axis))
      for axis in (None, 0, 1, -1)],
    Case("gather", lambda x: tg.gather(x, 1, IDS), torch=lambda t, x: x.gather(1, t.from_numpy(IDS))),
    Case("gather", lambda x: tg.gather(x, 0, IDS), torch=lambda t, x: x.gather(0, t.from_numpy(IDS))),
    Case("scatter_add", lambda x, v: tg.scatter_add(x, IDS, v), shapes=((3, 4), (2, 3, 4)),
         torch=lambda t, x, v: x.index_put((t.from_numpy(IDS),), v, accumulate=True)),
    # products (more in test_linalg.py)
    Case("matmul", tg.matmul, np.matmul, shapes=((3, 4), (4, 2)), empty=((0, 4), (4, 2))),
    Case("dot", tg.dot, np.dot, shapes=((2, 3, 4), (5, 4, 2))), Case("dot", tg.dot, np.dot, shapes=((4,), (4,))),
    Case("linear", tg.linear, torch=lambda t, *xs: t.nn.functional.linear(*xs), shapes=((2, 3, 4), (5, 4), (5,))),
    Case("linear", tg.linear, torch=lambda t, *xs: t.nn.functional.linear(*xs), shapes=((4,), (5, 4)), label="a row, no bias"),
    Case("einsum", partial(tg.einsum, "ij,kj->ik"), partial(np.einsum, "ij,kj->ik"), shapes=((3, 4), (2, 4))),
]
ALL = [pytest.param(case, id=f"{i}-{case.name}" + f"[{case.label}]" * bool(case.label)) for i, case in enumerate(CASES)]
ELEMENTWISE = [p for p in ALL if p.values[0].elementwise]
# functions whose derivative is 0 wherever there is one, and the NumPy function that they are
CONSTANTS = dict(
    sign=np.sign, floor=np.floor, ceil=np.ceil, trunc=np.trunc, round=np.round, isfinite=np.isfinite, isnan=np.isnan,
    isinf=np.isinf, logical_not=np.logical_not, eq=np.equal, ne=np.not_equal, lt=np.less, le=np.less_equal, gt=np.greater,
    ge=np.greater_equal, logical_and=np.logical_and, logical_or=np.logical_or, logical_xor=np.logical_xor,
    floor_divide=np.floor_divide, argmax=np.argmax, argmin=np.argmin)
BITWISE = dict(bitwise_and=np.bitwise_and, bitwise_or=np.bitwise_or, bitwise_xor=np.bitwise_xor, invert=np.invert)


def leaves(arrays):
    return [Tensor(x, requires_grad=True) for x in arrays]


def ops_in(t):
    """The ops that made this Tensor, read from its graph."""
    todo, seen = [t], set()
    while todo:
        node = todo.pop()._node
        if type(node) is tuple:
            seen.add(node[0].name)
            todo.extend(node[2])
    return seen


def test_the_table_is_complete():
    tested = {case.name for case in CASES} | set(CONSTANTS) | set(BITWISE)
    assert tested == set(PUBLIC), "a public function without a row, or a row without a function"
    assert not [name for name in PUBLIC if not hasattr(tg, name)]
    reached = set().union(*[ops_in(case.f(*leaves(case.draw()))) for case in CASES])
    ours = {name for name, op in OPS.items() if any(r and r.__module__ in {m.__name__ for m in MODULES} for r in op.rules)}
    assert ours - reached <= {"copy", "scatter"}         # np.copy: test_numpy_functions; the rule of getitem: test_indexing
    public_ops = {f.__name__ for m in MODULES for name, f in vars(m).items() if hasattr(f, "op") and name[0] != "_"}
    assert public_ops <= set(PUBLIC), "an op without a place in its module's __all__"


@pytest.mark.parametrize("case", ALL)
def test_value_and_derivatives(case):
    arrays = case.draw()
    if case.numpy:
        np.testing.assert_allclose(case.f(*map(Tensor, arrays)).data, case.numpy(*arrays), rtol=1e-12, atol=1e-14)
    assert tg.gradcheck(case.f, arrays, order=2)


@pytest.mark.parametrize("case", [p for p in ALL if p.values[0].torch])
def test_torch_agrees_to_second_order(case, torch):
    arrays = case.draw(seed=1)
    ours, theirs = leaves(arrays), [torch.tensor(x, requires_grad=True) for x in arrays]
    z, w = case.f(*ours), case.torch(torch, *theirs)
    np.testing.assert_allclose(z.data, w.detach().numpy(), rtol=1e-10, atol=1e-12)
    weight = np.random.default_rng(2).uniform(0.5, 1.5, z.shape)
    first = tg.grad((z * weight).sum(), ours, create_graph=True)
    peer = torch.autograd.grad((w * torch.from_numpy(weight)).sum(), theirs, create_graph=True)
    slope = sum((g * g).sum() for g in first)
    steep = sum((g * g).sum() for g in peer)
    for g, h in zip(first, peer):
        np.testing.assert_allclose(g.data, h.detach().numpy(), rtol=1e-9, atol=1e-11)
    if slope.requires_grad and steep.requires_grad:
        second = tg.grad(slope, ours, allow_unused=True)
        for g, h in zip(second, torch.autograd.grad(steep, theirs, allow_unused=True)):
            zero = np.zeros(1)
            np.testing.assert_allclose(zero if g is None else g.data, zero if h is None else h.numpy(), rtol=1e-8, atol=1e-10)


KINKS = [-1e4, -100, -3, -2, -1, -0.5, -0.0, 0, 0.5, 1, 2, 3, 6, 20, 21, 100, 1e4]


@pytest.mark.parametrize("case", [p for p in ELEMENTWISE if p.values[0].torch or p.values[0].name in ("abs", "clamp")])
def test_torch_agrees_at_kinks_and_extremes(case, torch):
    if len(case.shapes) > 1:
        pytest.fail("one input expected")
    x, y = Tensor(KINKS, requires_grad=True), torch.tensor(KINKS, requires_grad=True)
    theirs = case.torch or (lambda t, v: v.abs() if case.name == "abs" else v.clamp(**case.f.keywords))
    z, w = case.f(x), theirs(torch, y)
    z.sum().backward(), w.sum().backward()
    np.testing.assert_allclose(z.data, w.detach().numpy(), rtol=2e-6, atol=3e-7)
    np.testing.assert_allclose(x.grad, y.grad.numpy(), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", ALL)
def test_dtype_is_kept(case, dtype):
    if case.name == "astype":
        dtype = np.float64                  # the row's target
    xs = leaves(case.draw(dtype))
    z = case.f(*xs)
    assert z.dtype == dtype
    for g in tg.grad(z.sum(), xs, create_graph=True):
        assert g.dtype == dtype
    z.sum().backward()
    assert [x.grad.dtype for x in xs] == [dtype] * len(xs)


@pytest.mark.parametrize("case", ELEMENTWISE)
def test_single_numbers(case):
    expected = [x[0, 0] for x in case.draw(np.float32)]
    whole = leaves(case.draw(np.float32))
    case.f(*whole).sum().backward()
    for scalar in (np.float32, np.asarray):         # a result of NumPy, and an array without axes
        xs = leaves([scalar(x) for x in expected])
        z = case.f(*[x * 1 for x in xs])            # x * 1 holds an np.float32
        assert z.shape == () and (z.dtype == np.float32 or case.name == "astype")
        z.backward()
        for x, w in zip(xs, whole):
            assert type(x.grad) is np.ndarray and x.grad.shape == () and x.grad.dtype == np.float32
            np.testing.assert_allclose(x.grad, w.grad[0, 0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", [p for p in ALL if p.values[0].elementwise or p.values[0].empty])
def test_empty_input(case):
    shapes = case.empty or ((0, 3),) * len(case.shapes)
    xs = leaves(case.draw(shapes=shapes))
    z = case.f(*xs)
    if case.numpy:
        expected = case.numpy(*[x.data for x in xs])
        assert z.shape == expected.shape and np.array_equal(z.data, expected)
    z.sum().backward()
    assert [x.grad.shape for x in xs] == list(shapes) and all(np.all(x.grad == 0) for x in xs)


LAYOUTS = dict(
    transposed=np.asfortranarray,
    reversed=lambda x: x[..., ::-1].copy()[..., ::-1],
    every_second=lambda x: np.repeat(x, 2, axis=0)[::2])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("case", ALL)
def test_strides_change_nothing(case, layout):
    arrays = case.draw()
    results = []
    for xs in (leaves(arrays), leaves([LAYOUTS[layout](x) for x in arrays])):
        z = case.f(*xs)
        z.backward(np.cos(np.arange(z.size, dtype=float)).reshape(z.shape))
        results.append([z.data, *[x.grad for x in xs]])
    for plain, strided in zip(*results):
        np.testing.assert_allclose(strided, plain, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("case", ALL)
def test_arrays_are_taken_like_tensors(case):
    arrays = case.draw()
    z = case.f(*arrays)
    assert isinstance(z, Tensor) and not z.requires_grad
    assert np.array_equal(z.data, case.f(*leaves(arrays)).data)


@pytest.mark.parametrize("name", CONSTANTS)
def test_constants(name):
    rng = np.random.default_rng(0)
    two = getattr(CONSTANTS[name], "nin", 1) == 2
    arrays = [rng.integers(-4, 5, (3, 4)) / 2, rng.integers(1, 5, (3, 4)) / 2][:1 + two]
    z = getattr(tg, name)(*leaves(arrays))
    assert np.array_equal(z.data if isinstance(z, Tensor) else z, CONSTANTS[name](*arrays))
    assert not getattr(z, "requires_grad", False)


@pytest.mark.parametrize("name", BITWISE)
def test_bitwise(name):
    arrays = [np.array([[True, False], [True, True]]), np.array([True, False])][:BITWISE[name].nin]
    assert np.array_equal(getattr(tg, name)(*map(Tensor, arrays)).data, BITWISE[name](*arrays))
