"""The table of losses: every reference number, PyTorch on drawn inputs, derivatives to second order, dtypes, and what is refused.

Corners (zero distance, nothing to compare, extreme temperatures, log 0) are in test_losses_corners.py.
"""
import inspect
from contextlib import nullcontext
from functools import partial

import numpy as np
import pytest

import tinygrad_lite as tg
from tests.data import load_reference
from tinygrad_lite import Tensor, losses
from tinygrad_lite.losses import fitted_temperature, soft_nearest_neighbor_loss

NAMES = [f.__name__ for f in losses.ALL]
CASES = load_reference("losses")["cases"]


# --- the reference numbers
def renamed(function, **more):
    """The generator calls the temperature T."""
    def call(*inputs, T=1.0, **options):
        return function(*inputs, temperature=T, **options, **more)
    return call


def with_fitted_temperature(x, y, T=100.0, rate=0.1):
    return soft_nearest_neighbor_loss(x, y, fitted_temperature(x, y, T, rate=rate), method="eps")


def from_logits(logits, *rest, **options):
    return losses.ctc_loss(tg.log_softmax(logits, 2), *rest, **options)


PLAIN = dict(hinge=losses.hinge_loss, squared_hinge=losses.squared_hinge_loss, crammer_singer=losses.multiclass_hinge_loss,
             contrastive=losses.contrastive_loss, triplet_cosine=losses.triplet_cosine_loss, info_nce=losses.info_nce_loss,
             nt_xent=losses.nt_xent_loss, infogain=losses.infogain_loss, focal=losses.focal_loss,
             snn_naive=renamed(soft_nearest_neighbor_loss, method="naive"), snn_lse=renamed(soft_nearest_neighbor_loss),
             snn_eps=renamed(soft_nearest_neighbor_loss, method="eps"), snn_opt=with_fitted_temperature)


@pytest.mark.parametrize("case", [pytest.param(c, id=c["id"]) for c in CASES])
def test_reference(case):
    inputs = {k: Tensor(v, requires_grad=True) if k in case["grads"] else v for k, v in case["inputs"].items()}
    loss = (partial(from_logits, **case["kwargs"]) if case["loss"] == "CTCLoss" else partial(PLAIN[case["loss"]], **case["kwargs"])
            if case["source"] == "plain" else getattr(tg.nn, case["loss"])(**case["kwargs"]))
    tolerance = dict(rtol=1e-8, atol=1e-10) if case["loss"] == "CTCLoss" else dict(rtol=1e-10, atol=1e-12)
    out = loss(*inputs.values())
    np.testing.assert_allclose(out.data, case["value"], **tolerance)
    with np.errstate(all="ignore") if np.isnan(case["value"]).any() else nullcontext():     # it underflows, on purpose
        out.backward(case["grad_output"])
    for name, g in case["grads"].items():
        if g is not None:
            np.testing.assert_allclose(inputs[name].grad, g, err_msg=name, **tolerance)


# --- PyTorch's names
NOT_LOSSES = {"AdaptiveLogSoftmaxWithLoss", "LinearCrossEntropyLoss", "TripletMarginWithDistanceLoss"}     # layers, or of a function


def options_of(function):
    names = list(inspect.signature(function).parameters)
    return [n for n in names if n not in ("self", "size_average", "reduce")]


def test_every_public_loss_is_in_the_table():
    public = {n for n, f in vars(losses).items() if inspect.isfunction(f) and n[0] != "_"}
    assert public == set(NAMES) | {"fitted_temperature"} and len(set(NAMES)) == len(NAMES)
    assert all(f.__module__.startswith("tinygrad_lite.losses.") and ">>> " in f.__doc__ for f in losses.ALL)
    assert {c["loss"] for c in CASES if c["source"] == "plain"} == set(PLAIN)


def test_names_and_arguments_are_pytorchs(torch):
    F = torch.nn.functional
    for name in NAMES:
        if hasattr(F, name):
            assert options_of(getattr(losses, name)) == options_of(getattr(F, name)), name
            assert getattr(tg.nn.functional, name) is getattr(losses, name)
    shared = [n for n in NAMES if hasattr(F, n)]
    layers = {n for n in dir(torch.nn) if n.endswith("Loss")} - NOT_LOSSES
    assert len(shared) == 20 and len(layers) == len(shared)
    for name in layers:
        assert list(getattr(tg.nn, name)().options) == options_of(getattr(torch.nn, name).__init__), name


# --- PyTorch on drawn inputs. A draw that is listed in TRACKED is differentiated
def normal(rng, s):
    return rng.normal(size=s) * 2


def inside(rng, s):
    return rng.uniform(0.05, 0.95, s)


def classes(rng, s):
    return rng.integers(0, s[-1], s[:-1])


def signs(rng, s):
    return np.where(rng.random(s) < 0.5, -1.0, 1.0)


def row_signs(rng, s):
    return signs(rng, s[:-1])


def bits(rng, s):
    return (rng.random(s) < 0.5).astype(float)


def counts(rng, s):
    return rng.poisson(2, s).astype(float)


def shares(rng, s):
    p = rng.random(s) * (rng.random(s) < 0.7) + 0.0
    return p / np.maximum(p.sum(-1, keepdims=True), 1e-3)


def lists(rng, s):
    rows = [np.r_[rng.permutation(s[-1])[:rng.integers(0, s[-1] + 1)], np.full(s[-1], -1)][:s[-1]] for _ in range(int(np.prod(s[:-1])))]
    return np.reshape(rows, s).astype(np.int64)


def lists_with_repeats(rng, s):
    return rng.integers(-1, s[-1], s)


def row_variance(rng, s):
    return inside(rng, s[:-1])


def column_variance(rng, s):
    return inside(rng, (*s[:-1], 1))


def per_class(rng, s):
    return rng.uniform(0.1, 2, s[-1])


def per_number(rng, s):
    return rng.uniform(0.1, 2, s)


TRACKED = {normal, inside, row_variance, column_variance}
ANY, ROWS, ROW = [(5, 4), (), (3,), (2, 3, 2), (0, 3)], [(6, 5), (1, 1), (40, 7)], (5,)
AGAINST_TORCH = [
    ("mse_loss", (normal, normal), ANY, [dict(weight=per_number)]),
    ("l1_loss", (normal, normal), ANY, [dict(weight=per_number)]),
    ("smooth_l1_loss", (normal, normal), ANY, [{}, dict(beta=0.5), dict(beta=3.0), dict(beta=0.0)]),
    ("huber_loss", (normal, normal), ANY, [{}, dict(delta=0.5), dict(delta=3.0), dict(weight=per_number)]),
    ("poisson_nll_loss", (normal, counts), ANY, [{}, dict(full=True)]),
    ("poisson_nll_loss", (inside, inside), ANY, [dict(log_input=False), dict(log_input=False, full=True, eps=0.1)]),
    ("gaussian_nll_loss", (normal, normal, inside), ANY, [{}, dict(full=True), dict(eps=0.5)]),
    ("gaussian_nll_loss", (normal, normal, row_variance), [(5, 4)], [{}]),
    ("gaussian_nll_loss", (normal, normal, column_variance), [(5, 4)], [{}]),
    ("binary_cross_entropy", (inside, inside), ANY, [{}, dict(weight=per_number)]),
    ("binary_cross_entropy", (inside, bits), [(5, 4)], [dict(weight=per_class)]),
    ("multilabel_soft_margin_loss", (normal, bits), [*ROWS, ROW, (2, 3, 4)], [{}, dict(weight=per_class)]),
    ("kl_div", (normal, shares), [*ROWS, ROW, (0, 3)], [{}, dict(reduction="batchmean")]),
    ("kl_div", (normal, normal), [*ROWS, ROW], [dict(log_target=True), dict(log_target=True, reduction="batchmean")]),
    ("soft_margin_loss", (normal, signs), ANY, [{}]),
    ("hinge_embedding_loss", (normal, signs), ANY, [{}, dict(margin=0.3)]),
    ("margin_ranking_loss", (normal, normal, signs), ANY, [{}, dict(margin=0.5)]),
    ("multi_margin_loss", (normal, classes), [*ROWS, ROW], [{}, dict(p=2), dict(margin=0.3, weight=per_class), dict(p=2, weight=per_class)]),
    ("multilabel_margin_loss", (normal, lists), [*ROWS, ROW], [{}]),
    ("multilabel_margin_loss", (normal, lists_with_repeats), [*ROWS, ROW], [{}]),
    ("cosine_embedding_loss", (normal, normal, row_signs), [*ROWS, ROW], [{}, dict(margin=0.3)]),
    ("triplet_margin_loss", (normal, normal, normal), [*ROWS, ROW],
     [{}, dict(p=1.0), dict(p=3.0, margin=0.5), dict(p=np.inf), dict(swap=True), dict(eps=0.1)]),
]
DRAWS = [pytest.param(name, draws, shape, options, id=f"{name}-{'x'.join(map(str, shape))}-{i}{j}")
         for i, (name, draws, shapes, options_list) in enumerate(AGAINST_TORCH) for shape in shapes for j, options in enumerate(options_list)]


def drawn(draws, shape, options, dtype, seed=0):
    rng = np.random.default_rng(seed)
    cast = lambda a: np.asarray(a).astype(dtype) if np.asarray(a).dtype.kind == "f" else np.asarray(a)
    return [cast(draw(rng, shape)) for draw in draws], {k: cast(v(rng, shape)) if callable(v) else v for k, v in options.items()}


def both(torch, name, draws, arrays, options):
    """(loss, differentiated inputs) here and in PyTorch."""
    ours = [Tensor(a.copy(), requires_grad=draw in TRACKED) for a, draw in zip(arrays, draws)]
    theirs = [torch.tensor(a, requires_grad=draw in TRACKED) for a, draw in zip(arrays, draws)]
    tensors = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    leaves = [i for i, draw in enumerate(draws) if draw in TRACKED]
    return ((getattr(losses, name)(*ours, **options), [ours[i] for i in leaves]),
            (getattr(torch.nn.functional, name)(*theirs, **tensors), [theirs[i] for i in leaves]))


@pytest.mark.filterwarnings("ignore:.*(mean of empty|'batchmean' divides).*")
@pytest.mark.parametrize("dtype, rtol", [(np.float64, 1e-11), (np.float32, 2e-5)])
@pytest.mark.parametrize("name, draws, shape, options", DRAWS)
def test_torch_agrees(name, draws, shape, options, dtype, rtol, torch):
    for reduction in [options["reduction"]] if "reduction" in options else ("mean", "sum", "none"):
        arrays, drawn_options = drawn(draws, shape, options, dtype)
        (z, ours), (w, theirs) = both(torch, name, draws, arrays, {**drawn_options, "reduction": reduction})
        assert z.dtype == dtype and z.shape == tuple(w.shape)
        np.testing.assert_allclose(z.data, w.detach().numpy(), rtol=rtol, atol=rtol)
        g = np.asarray(np.random.default_rng(1).normal(size=z.shape)).astype(dtype)
        z.backward(g), w.backward(torch.from_numpy(g))
        for a, b in zip(ours, theirs):
            assert a.grad.dtype == dtype
            np.testing.assert_allclose(a.grad, b.grad.numpy(), rtol=rtol, atol=rtol)


# piecewise linear: the second derivative is 0, and PyTorch refuses it
NO_SECOND = {"l1_loss", "multi_margin_loss", "multilabel_margin_loss", "hinge_embedding_loss", "margin_ranking_loss"}


@pytest.mark.parametrize("name, draws, shape, options", [d for d in DRAWS if 0 < np.prod(d.values[2]) <= 30 and d.values[0] not in NO_SECOND])
def test_torch_agrees_on_second_derivatives(name, draws, shape, options, torch):
    if options.get("beta") == 0 or options.get("p") in (1.0, np.inf) or name == "kl_div" and "log_target" not in options:
        return                              # linear
    arrays, options = drawn(draws, shape, options, np.float64, seed=3)
    (z, ours), (w, theirs) = both(torch, name, draws, arrays, {**options, "reduction": "sum"})
    rng = np.random.default_rng(2)
    vs = [rng.normal(size=a.shape) for a in ours]
    first, peer = tg.grad(z, ours, create_graph=True), torch.autograd.grad(w, theirs, create_graph=True)
    slope = sum(((g * g * v).sum() for g, v in zip(first, vs)), Tensor(np.zeros(())))
    peer_slope = sum((g * g * torch.tensor(v)).sum() for g, v in zip(peer, vs))
    second = tg.grad(slope, ours, allow_unused=True)
    expected = torch.autograd.grad(peer_slope, theirs, allow_unused=True)
    for a, b, x in zip(second, expected, ours):
        zero = np.zeros(x.shape)
        np.testing.assert_allclose(zero if a is None else a.data, zero if b is None else b.numpy(), rtol=1e-8, atol=1e-10)


# --- CTC
CTC = [dict(), dict(blank=2), dict(zero_infinity=True), dict(blank=4)]


@pytest.mark.parametrize("dtype, rtol", [(np.float64, 1e-9), (np.float32, 2e-4)])
@pytest.mark.parametrize("form", ["padded", "joined", "one sequence"])
@pytest.mark.parametrize("options", CTC)
def test_ctc_agrees_with_torch(options, form, dtype, rtol, torch):
    rng = np.random.default_rng(0)
    steps, n, k = 12, 1 if form == "one sequence" else 5, 5
    logits = rng.normal(size=(steps, n, k)).astype(dtype)
    sizes, used = rng.integers(0, 5, n), rng.integers(9, steps + 1, n)
    targets = rng.integers(0, k - 1, (n, 4))
    targets[:, 1] = targets[:, 0]                           # repeats need a blank between them
    targets += targets >= options.get("blank", 0)
    if form == "one sequence":
        logits, targets, sizes, used = logits[:, 0], targets[0, :sizes[0]], sizes[0], used[0]
    elif form == "joined":
        targets = np.concatenate([t[:s] for t, s in zip(targets, sizes)])
    for reduction in ("mean", "sum", "none"):
        x, c = Tensor(logits, requires_grad=True), torch.tensor(logits, requires_grad=True)
        z = losses.ctc_loss(tg.log_softmax(x, -1), targets, used, sizes, reduction=reduction, **options)
        w = torch.nn.functional.ctc_loss(torch.log_softmax(c, -1), torch.tensor(targets), torch.tensor(used), torch.tensor(sizes),
                                         reduction=reduction, **options)
        assert z.dtype == dtype and z.shape == tuple(w.shape)
        np.testing.assert_allclose(z.data, w.detach().numpy(), rtol=rtol)
        g = np.asarray(rng.normal(size=z.shape)).astype(dtype)
        z.backward(g), w.backward(torch.from_numpy(g))
        np.testing.assert_allclose(x.grad, c.grad.numpy(), rtol=rtol, atol=rtol)


def test_ctc_is_the_sum_over_all_alignments():
    rng = np.random.default_rng(0)
    log_p = np.log(rng.dirichlet(np.ones(3), (4, 1)))
    for target in ([], [1], [1, 1], [2, 1], [1, 2, 1], [1, 2, 1, 2], [1, 1, 1]):
        total = 0.0
        for path in np.ndindex(3, 3, 3, 3):
            merged = [c for i, c in enumerate(path) if c and (i == 0 or c != path[i - 1])]
            total += np.exp(sum(log_p[t, 0, c] for t, c in enumerate(path))) if merged == target else 0.0
        z = losses.ctc_loss(log_p, np.array([target], int), [4], [len(target)], reduction="sum")
        assert np.exp(-z.item()) == pytest.approx(total, rel=1e-12)


# --- every loss, by the table: inputs that are differentiated, then the others; options
def example(name):
    rng = np.random.default_rng(5)
    x, a, b, p = [rng.normal(size=(4, 3)) for _ in range(3)] + [rng.uniform(0.1, 0.9, (4, 3))]
    y, pm = rng.integers(0, 3, 4), signs(rng, (4, 3))
    twins, sign = np.array([0, 0, 1, 1]), np.array([1.0, -1.0, -1.0, 1.0])
    return {
        "cross_entropy": ([x], [y]), "nll_loss": ([x], [y]), "focal_loss": ([x], [y]), "multiclass_hinge_loss": ([x], [y]),
        "multi_margin_loss": ([x], [y]), "infogain_loss": ([x], [y, rng.random((3, 3))]),
        "multilabel_margin_loss": ([x], [np.array([[0, -1, 0], [1, 2, -1], [-1, 0, 1], [2, 1, 0]])]),
        "binary_cross_entropy": ([p, rng.uniform(0.1, 0.9, (4, 3))], []), "binary_cross_entropy_with_logits": ([x, p], []),
        "multilabel_soft_margin_loss": ([x, p], []), "kl_div": ([x, p], []), "mse_loss": ([x, a], []), "l1_loss": ([x, a], []),
        "smooth_l1_loss": ([x, a], []), "huber_loss": ([x, a], []), "poisson_nll_loss": ([x, p + 1], []),
        "gaussian_nll_loss": ([x, a, p], []), "hinge_loss": ([x], [pm]), "squared_hinge_loss": ([x], [pm]), "soft_margin_loss": ([x], [pm]),
        "hinge_embedding_loss": ([x], [pm]), "margin_ranking_loss": ([x, a], [pm]), "cosine_embedding_loss": ([x, a], [sign]),
        "triplet_margin_loss": ([x, a, b], []), "triplet_cosine_loss": ([x, a, b], []), "contrastive_loss": ([x, a], [(sign > 0)]),
        "info_nce_loss": ([x, a], []), "nt_xent_loss": ([x, a], []), "soft_nearest_neighbor_loss": ([x], [twins]),
        "ctc_loss": ([np.log(rng.dirichlet(np.ones(4), (5, 2)))], [np.array([[1, 1], [2, 3]]), np.array([5, 4]), np.array([2, 1])]),
    }[name]


def reductions_of(name):
    return ({},) if name == "soft_nearest_neighbor_loss" else tuple({"reduction": r} for r in ("mean", "sum", "none"))


@pytest.mark.parametrize("name", NAMES)
def test_derivatives(name):
    moving, fixed = example(name)
    for options in reductions_of(name):
        assert tg.gradcheck(lambda *ts: getattr(losses, name)(*ts, *fixed, **options), moving, order=2)


@pytest.mark.parametrize("name", NAMES)
def test_float32_stays_float32(name):
    moving, fixed = example(name)
    ours = [Tensor(a.astype(np.float32), requires_grad=True) for a in moving]
    fixed32 = [f.astype(np.float32) if f.dtype.kind == "f" else f for f in fixed]
    for options in reductions_of(name):
        z = getattr(losses, name)(*ours, *fixed32, **options)
        exact = getattr(losses, name)(*moving, *fixed, **options)
        assert z.dtype == np.float32 and exact.dtype == np.float64
        np.testing.assert_allclose(z.data, exact.data, rtol=2e-5, atol=1e-6)
        z.backward(np.ones(z.shape, np.float32))
        first = tg.grad(getattr(losses, name)(*ours, *fixed32, **options).sum(), ours, create_graph=True)
        assert all(t.grad.dtype == np.float32 and g.dtype == np.float32 for t, g in zip(ours, first))


@pytest.mark.parametrize("name", NAMES)
def test_arrays_lists_and_options(name):
    loss, (moving, fixed) = getattr(losses, name), example(name)
    z = loss(*moving, *fixed)
    assert isinstance(z, Tensor) and not z.requires_grad and z.shape == ()
    assert loss(*[Tensor(a) for a in [*moving, *fixed]]).item() == z.item()             # targets may be Tensors too
    if name != "soft_nearest_neighbor_loss":
        with pytest.raises(ValueError, match="reduction: got 'avg', expected 'mean', 'sum' or 'none'"):
            loss(*moving, *fixed, reduction="avg")
    if len(moving) + len(fixed) > 1 and name != "ctc_loss":
        *rest, last = [*moving, *fixed]
        with pytest.raises(ValueError, match=rf"{name}: got .*\(4.*expected"):          # our words, with both shapes
            loss(*rest, np.concatenate([last, last]))
