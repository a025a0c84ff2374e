"""Corners of the losses: the soft nearest neighbour loss in all its forms, distances of 0, batches of nothing, extreme
temperatures and scores, logarithms of 0, slopes at kinks, and what is refused."""
import math

import numpy as np
import pytest

import tinygrad_lite as tg
from tinygrad_lite import Tensor, kernels, losses
from tinygrad_lite.kernels.neighbours import _neighbours, neighbour_losses
from tinygrad_lite.losses import fitted_temperature, soft_nearest_neighbor_loss
from tinygrad_lite.losses.neighbours import point_loss

DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def tracked(x, dtype=np.float64):
    return Tensor(np.array(x, dtype), requires_grad=True)


def value_and_gradient(loss, x, *rest, **options):
    x = tracked(x, np.asarray(x).dtype)
    z = loss(x, *rest, **options)
    z.backward()
    return z.item(), x.grad


# --- soft nearest neighbours: the definition, the batched form, and PyTorch's best vectorised form
def cloud(n, d, k, dtype=np.float64, spread=1.0, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % k)
    return (rng.normal(size=(n, d)) * spread + y[:, None]).astype(dtype), y


@pytest.mark.parametrize("cos", [False, True])
@pytest.mark.parametrize("temperature", [0.05, 1.0, 50.0, 1e6])
@pytest.mark.parametrize("n, d, k", [(7, 3, 2), (12, 1, 5), (9, 4, 1), (33, 2, 3), (40, 5, 39)])
def test_batched_is_the_definition(n, d, k, temperature, cos):
    x, y = cloud(n, d, k, spread=0.2)
    skip_alone = bool((np.bincount(y) == 1).any())
    (a, g), (b, h) = [value_and_gradient(soft_nearest_neighbor_loss, x, y, temperature, cos, skip_alone, method) for method in ("batched", "naive")]
    assert a == pytest.approx(b, rel=1e-9, abs=1e-13) and np.isfinite(a)
    np.testing.assert_allclose(g, h, rtol=1e-8, atol=1e-12)


def vectorised(torch, x, y, temperature, cos):
    x = torch.nn.functional.normalize(x, dim=1) if cos else x
    d = 1 - x @ x.T if cos else ((x[:, None] - x[None]) ** 2).sum(-1)
    oneself = torch.eye(len(x), dtype=torch.bool)
    s = (-d / temperature).masked_fill(oneself, -math.inf)
    return (torch.logsumexp(s, 1) - torch.logsumexp(s.masked_fill(y[:, None] != y[None], -math.inf), 1)).mean()


@DTYPES
@pytest.mark.parametrize("cos", [False, True])
@pytest.mark.parametrize("temperature", [1e-3, 0.1, 1.0, 30.0])
@pytest.mark.parametrize("n, d, k, spread", [(64, 8, 2, 1.0), (70, 16, 5, 30.0), (130, 64, 10, 1.0), (50, 3, 4, 1e-3)])
def test_batched_agrees_with_torch(n, d, k, spread, temperature, cos, dtype, torch):
    x, y = cloud(n, d, k, dtype, spread)
    z, g = value_and_gradient(soft_nearest_neighbor_loss, x, y, temperature, cos)
    c = torch.tensor(x.astype(np.float64), requires_grad=True)      # the exact numbers, to judge float32 by
    w = vectorised(torch, c, torch.tensor(y), temperature, cos)
    w.backward()
    rtol = 1e-10 if dtype == np.float64 else 2e-4
    assert z == pytest.approx(w.item(), rel=rtol, abs=rtol)
    np.testing.assert_allclose(g, c.grad.numpy(), rtol=rtol, atol=rtol * max(1e-5, 30 * np.abs(c.grad.numpy()).max()))


@pytest.mark.parametrize("cos", [False, True])
def test_the_fused_form_and_its_formula(cos):
    x, y = cloud(9, 3, 3)
    for skip_alone in (False, True):
        for labels in (y, np.r_[y[:-1], 7]):                    # the last one is alone in its class
            if not skip_alone and 7 in labels:
                continue
            f = lambda t: soft_nearest_neighbor_loss(t, labels, 2.0, cos, skip_alone)
            assert tg.gradcheck(f, [x], order=2)
            a, b = tracked(x), tracked(x)
            first, second = tg.grad(f(a), a), tg.grad(f(b), b, create_graph=True)
            np.testing.assert_allclose(first.data, second.data, rtol=1e-11, atol=1e-14)
    assert tg.gradcheck(lambda t, T: soft_nearest_neighbor_loss(t, y, T, cos), [x, np.array(2.0)], order=2)     # learned along
    for method in ("naive", "eps"):
        assert tg.gradcheck(lambda t: soft_nearest_neighbor_loss(t, y, 2.0, cos, method=method), [x], order=2)


@DTYPES
def test_float32_keeps_its_digits_far_from_the_origin(dtype):
    x, y = cloud(60, 4, 3, spread=0.3)
    x = np.round(x * 1024) / 1024
    for moved in (x + 1000, x / 64 + y[:, None] * 8.0):         # far away; near pairs in clusters. Exact numbers in float32 too
        exact, g = value_and_gradient(soft_nearest_neighbor_loss, moved, y // 2, 0.05)
        z, h = value_and_gradient(soft_nearest_neighbor_loss, moved.astype(dtype), y // 2, 0.05)
        assert z == pytest.approx(exact, rel=1e-5)
        np.testing.assert_allclose(h, g, rtol=1e-3, atol=1e-4 * np.abs(g).max())


@DTYPES
@pytest.mark.parametrize("method", ["batched", "naive"])
def test_duplicates_single_classes_and_the_lonely(method, dtype):
    loss = lambda x, y, **o: value_and_gradient(soft_nearest_neighbor_loss, np.asarray(x, dtype), np.array(y), method=method, **o)
    x = [[1.0, 2.0], [1.0, 2.0], [1.0, 2.0], [1.0, 2.0]]
    z, g = loss(x, [0, 1, 0, 1], temperature=1e-3)
    assert z == pytest.approx(math.log(3)) and (g == 0).all()               # all at one place: 1 of 3 neighbours
    z, g = loss(cloud(6, 2, 1)[0], [4] * 6, temperature=0.5)
    assert z == pytest.approx(0, abs=1e-6) and np.abs(g).max() < 1e-6       # one class only
    z, _ = loss(cloud(5, 2, 1)[0], [0, 0, 1, 2, 2])
    assert z == math.inf
    z, g = loss(cloud(3, 2, 1)[0], [0, 1, 2], skip_alone=True)
    assert z == 0 and (g == 0).all()                                        # nobody has company
    for shape, skip in [((1, 2), True), ((0, 2), False), ((0, 2), True)]:
        z, g = loss(np.ones(shape), np.zeros(shape[0], int), skip_alone=skip)
        assert z == 0 and g.shape == shape and not g.any()
    assert loss([[1.0, 2.0]], [0])[0] == math.inf
    z, g = loss(np.zeros((4, 2)), [0, 0, 1, 1], cos=True)
    assert z == pytest.approx(math.log(3)) and not g.any()                  # no directions at all


def test_the_lonely_are_left_out_of_the_mean_only():
    x, y = cloud(8, 2, 2)
    y[3] = 9
    ours = soft_nearest_neighbor_loss(x, y, skip_alone=True).item()
    total = 0.0
    for i in [i for i in range(8) if i != 3]:
        e = {j: math.exp(-((x[i] - x[j]) ** 2).sum()) for j in range(8) if j != i}
        total += point_loss([v for j, v in e.items() if y[j] == y[i]], list(e.values()))
    assert ours == pytest.approx(total / 7, rel=1e-12)


def test_the_definition_adds_and_a_share_is_at_most_all():
    assert point_loss([.99, .99], [.99, .01, .99, .01, .01]) == pytest.approx(-math.log(1.98 / 2.01), rel=1e-12)
    assert point_loss([.01, .99], [.99, .01, .01, .99, .01]) == pytest.approx(0.698, abs=5e-4)
    with pytest.raises(AssertionError, match="expected at most all"):
        point_loss([.99, .99], [.99])


def test_the_step_on_the_temperature():
    x, y = cloud(10, 3, 2)
    def at(T):
        return soft_nearest_neighbor_loss(x, y, T, method="eps").item()
    slope = (at(20.0 / (1 + 1e-6)) - at(20.0 / (1 - 1e-6))) / 2e-6          # of t -> loss at T / t, at t = 1
    assert fitted_temperature(x, y, 20.0, rate=0.3) == pytest.approx(20.0 / (1 - 0.3 * slope), rel=1e-7)
    lonely = np.r_[y[:-1], 7]                                               # counts in the mean, as in the authors' code
    def with_one(T):
        return soft_nearest_neighbor_loss(x, lonely, T, method="eps").item()
    slope_with_one = (with_one(20.0 / (1 + 1e-6)) - with_one(20.0 / (1 - 1e-6))) / 2e-6
    assert fitted_temperature(x, lonely, 20.0) == pytest.approx(20.0 / (1 - 0.1 * slope_with_one), rel=1e-7)
    t = tracked(x)
    assert isinstance(fitted_temperature(t, y), float) and t.grad is None   # a number: no gradient flows through it
    assert fitted_temperature(x, np.arange(10), 5.0) == 5.0                 # nobody has company: nothing to learn from
    with pytest.raises(ValueError, match="lower the rate"):
        fitted_temperature(x, y, 20.0, rate=1e3 * np.sign(slope))


@pytest.mark.skipif(kernels.PLAIN, reason="TINYGRAD_LITE_KERNELS=numpy: there is no loop to compare; unset it")
def test_what_is_not_finite_stays_so():
    x, y = cloud(40, 3, 2)
    x[5, 1] = np.nan
    assert math.isnan(soft_nearest_neighbor_loss(x, y).item())
    losses_, pull = neighbour_losses(x, y, np.ones(40, bool), 1.0)
    assert np.isnan(losses_).all() and _neighbours.fast.signatures


# --- distances of 0, zero vectors, nothing at all
@DTYPES
def test_metric_losses_at_distance_zero(dtype):
    a, zero, same = np.ones((2, 3), dtype), np.zeros((2, 3), dtype), np.array([1, 0])
    for x, others in [(a, (a,)), (zero, (a,)), (zero, (zero,))]:
        for loss, rest in [(losses.contrastive_loss, (*others, same)), (losses.triplet_cosine_loss, (*others, a)),
                           (losses.triplet_margin_loss, (*others, a)), (losses.info_nce_loss, others), (losses.nt_xent_loss, others),
                           (losses.cosine_embedding_loss, (*others, np.array([1, -1])))]:
            t, tensors = tracked(x, dtype), [tracked(o, dtype) if o.dtype.kind == "f" else o for o in rest]
            z = loss(t, *tensors)
            assert np.isfinite(z.item()) and z.dtype == dtype
            first, = tg.grad(z, [t], create_graph=True)
            z.backward(retain_graph=True)
            assert np.isfinite(t.grad).all() and np.isfinite(first.data).all()
            second = tg.grad((first * first).sum(), t, allow_unused=True)
            assert second is None or np.isfinite(second.data).all()
    t = tracked(a, dtype)
    losses.contrastive_loss(t, a, np.array([0, 0])).backward()
    assert not t.grad.any()                             # two different ones at one place: no direction to part in
    t = tracked(zero, dtype)
    (losses.info_nce_loss(t, a) + losses.triplet_cosine_loss(t, a, zero)).backward()
    assert not t.grad.any()                             # no direction, no gradient


@DTYPES
def test_of_nothing(dtype):
    def empty():
        return tracked(np.zeros((0, 3)), dtype)
    for loss, n, rest in [(losses.contrastive_loss, 2, (np.zeros(0),)), (losses.triplet_cosine_loss, 3, ()), (losses.info_nce_loss, 2, ()),
                          (losses.nt_xent_loss, 2, ())]:
        for reduction, shape in [("mean", ()), ("sum", ()), ("none", (0,))]:
            xs = [empty() for _ in range(n)]
            z = loss(*xs, *[r.astype(dtype) for r in rest], reduction=reduction)
            assert z.dtype == dtype and z.shape == shape and not z.data.any()
            z.sum().backward()
            assert all(x.grad.shape == (0, 3) for x in xs)
    assert math.isnan(losses.triplet_margin_loss(empty(), empty(), empty()).item())     # PyTorch's names, PyTorch's answer
    assert losses.nt_xent_loss(np.ones((1, 3), dtype), np.ones((1, 3), dtype)).item() == 0      # one example: nothing to confuse it with


@DTYPES
@pytest.mark.parametrize("temperature", [1e-3, 1e3])
def test_contrast_at_extreme_temperatures(temperature, dtype):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 6, 4)).astype(dtype)
    b[2], a[3] = a[2], a[4]                             # a perfect match, and two queries alike
    for loss in (losses.info_nce_loss, losses.nt_xent_loss):
        t = tracked(a, dtype)
        z = loss(t, b, temperature)
        z.backward()
        u, v = [m.astype(np.float64) / np.linalg.norm(m.astype(np.float64), axis=1, keepdims=True) for m in (a, b)]
        if loss is losses.nt_xent_loss:
            u = v = np.r_[u, v]
        s = u @ v.T / temperature
        right = np.arange(6) if len(s) == 6 else np.r_[6:12, 0:6]
        s[np.eye(len(s), dtype=bool) & (len(s) == 12)] = -np.inf
        exact = (np.logaddexp.reduce(s, axis=1) - s[np.arange(len(s)), right]).mean()
        assert z.item() == pytest.approx(exact, rel=1e-3 if dtype == np.float32 else 1e-12)
        assert np.isfinite(t.grad).all()
    T = tracked(0.5)                                    # a learned temperature
    losses.info_nce_loss(a.astype(float), b.astype(float), T).backward()
    assert tg.gradcheck(lambda T: losses.info_nce_loss(a.astype(float), b.astype(float), T), [np.array(0.5)], order=2) and T.grad != 0


# --- far out, log 0, kinks
@DTYPES
def test_far_out(dtype):
    x = np.array([1e30, -1e30, 0, np.inf], dtype)
    for loss, slope in [(losses.smooth_l1_loss, 1), (lambda *a, **o: losses.huber_loss(*a, delta=2.0, **o), 2)]:
        t = tracked(x, dtype)
        loss(t, np.zeros(4), reduction="none").backward(np.ones(4, dtype))
        assert t.grad.tolist() == [slope, -slope, 0, slope]
    for y, z, g in [(1, [0, 1e4, math.log(2)], [0, -1, -0.5]), (-1, [1e4, 0, math.log(2)], [1, 0, 0.5])]:
        t = tracked([1e4, -1e4, 0], dtype)
        out = losses.soft_margin_loss(t, np.full(3, y), reduction="none")
        out.backward(np.ones(3, dtype))
        np.testing.assert_allclose(out.data, z, rtol=1e-6), np.testing.assert_allclose(t.grad, g, rtol=1e-6)
    t = tracked([1e4, -1e4], dtype)
    assert losses.poisson_nll_loss(t, np.array([3, 3]), reduction="none").data.tolist() == [np.inf, 3e4]
    logits = tracked([[1e4, 0.0], [0.0, 1e4], [50.0, 0.0]], dtype)
    for gamma in (0.0, 0.5, 1.0, 2.0, 5.0):
        z = losses.focal_loss(logits, np.array([0, 0, 0]), gamma, reduction="none")
        first, = tg.grad(z.sum(), [logits], create_graph=True)
        assert z.data[0] == 0 and z.data[1] == pytest.approx(1e4) and np.isfinite(first.data).all()


def test_logarithms_of_zero():
    x = tracked([0.0, 1.0, 0.0, 1.0])
    z = losses.binary_cross_entropy(x, np.array([0, 1, 1, 0]), reduction="none")
    z.backward(np.ones(4))
    assert z.data.tolist() == [0, 0, 100, 100] and x.grad[:2].tolist() == [0, 0]
    np.testing.assert_allclose(x.grad[2:], [-1e12, 1e12], rtol=1e-8)
    y = tracked([0.5, 0.5])
    losses.binary_cross_entropy(np.array([0.0, 1.0]), y, reduction="sum").backward()
    assert y.grad.tolist() == [100, -100]                       # PyTorch: -inf and inf
    x, y = tracked([[-np.inf, 0.0]]), tracked([[0.0, 1.0]])     # p = 0 where the target is 0: nothing lost
    z = losses.kl_div(x, y, reduction="sum")
    z.backward()
    assert z.item() == 0 and x.grad.tolist() == [[0, -1]] and np.isfinite(y.grad).all()
    v = tracked([0.0, 1e-9, 2.0])
    losses.gaussian_nll_loss(np.zeros(3), np.zeros(3), v, reduction="sum").backward()
    np.testing.assert_allclose(v.grad, [5e5, 5e5, 0.25])        # as if the variance were eps, and the gradient passes
    H = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert losses.infogain_loss(np.array([[0.0, -np.inf]]), np.array([0]), H).item() == 0
    x = tracked([[0.0, -np.inf, 1.0]])                          # a class that is ruled out: also to second order
    first, = tg.grad(losses.cross_entropy(x, np.array([0])), [x], create_graph=True)
    second = tg.grad((first * first).sum(), x)
    assert np.isfinite(first.data).all() and np.isfinite(second.data).all() and first.data[0, 1] == 0


def test_slopes_at_kinks_are_pytorchs(torch):
    F, tie = torch.nn.functional, np.array([1.0, 2.0])
    for name, inputs, options in [
            ("l1_loss", (tie, tie), {}), ("smooth_l1_loss", (tie, tie + 1), {}), ("huber_loss", (tie, tie + 1), {}),
            ("smooth_l1_loss", (tie, tie), dict(beta=0.0)), ("margin_ranking_loss", (tie, tie, np.ones(2)), {}),
            ("hinge_embedding_loss", (np.ones(2), np.array([-1.0, 1.0])), {}), ("multi_margin_loss", (np.array([[1.0, 0.0]]), np.array([0])), {}),
            ("multilabel_margin_loss", (np.array([[1.0, 0.0]]), np.array([[0, -1]])), {}),
            ("hinge_embedding_loss", (np.array([0.5, 3.0]), np.array([0.0, 5.0])), {}),          # neither 1 nor -1: both parts
            ("cosine_embedding_loss", (np.eye(2), np.eye(2)[::-1].copy(), -np.ones(2)), {}),
            ("triplet_margin_loss", (np.eye(2), np.eye(2), np.eye(2)), dict(swap=True))]:
        ours = [tracked(a) if a.dtype.kind == "f" else a for a in inputs]
        theirs = [torch.tensor(a, requires_grad=a.dtype.kind == "f") for a in inputs]
        getattr(losses, name)(*ours, **options).backward(), getattr(F, name)(*theirs, **options).backward()
        leaf = slice(None) if name in ("l1_loss", "triplet_margin_loss") else slice(1)
        for a, b in zip(ours[leaf], theirs[leaf]):
            np.testing.assert_allclose(a.grad, b.grad.numpy(), rtol=1e-12, atol=1e-14, err_msg=name)


# --- CTC
def test_ctc_without_a_path():
    x = tracked(np.log(np.full((3, 2, 3), 1 / 3)))
    ids, used, sizes = np.array([[1, 1, 1], [1, 2, 0]]), [3, 3], [3, 2]         # 1 1 1 needs five steps
    z = losses.ctc_loss(x, ids, used, sizes, reduction="none")
    z.backward(np.ones(2))
    assert z.data[0] == np.inf and np.isfinite(z.data[1]) and np.isnan(x.grad[:, 0, :2]).all() and np.isfinite(x.grad[:, 1]).all()
    x = tracked(x.data)
    z = losses.ctc_loss(x, ids, used, sizes, zero_infinity=True, reduction="none")
    z.backward(np.ones(2))
    first, = tg.grad(losses.ctc_loss(x, ids, used, sizes, zero_infinity=True, reduction="sum"), [x], create_graph=True)
    assert z.data[0] == 0 and not x.grad[:, 0].any() and x.grad[:, 1].any()
    np.testing.assert_allclose(first.data, x.grad, rtol=1e-12, atol=1e-14)


def test_ctc_of_no_labels_and_no_steps():
    x = tracked(np.log(np.full((4, 3, 2), 0.5)))
    z = losses.ctc_loss(x, np.zeros((3, 0), int), [4, 2, 0], [0, 0, 0], reduction="none")
    np.testing.assert_allclose(z.data, [4 * math.log(2), 2 * math.log(2), 0], rtol=1e-12)       # blanks only
    z.backward(np.ones(3))
    assert (x.grad[:, :, 1] == 0).all() and x.grad[:, :, 0].T.tolist() == [[-1] * 4, [-1, -1, 0, 0], [0] * 4]
    z = losses.ctc_loss(x, np.array([[1]] * 3), [4, 1, 0], [1, 1, 1], reduction="none")
    assert z.data[2] == np.inf and z.data[1] == pytest.approx(math.log(2))
    assert tg.gradcheck(lambda t: losses.ctc_loss(t, np.array([1, 0, 1]), [4, 2, 1], [1, 1, 1], blank=2),
                        [np.log(np.random.default_rng(0).dirichlet(np.ones(3), (4, 3)))], order=2)


# --- what is refused
X, Y = np.ones((2, 3)), np.array([0, 1])
LP = np.zeros((4, 2, 3))
REFUSED = [
    (lambda: losses.binary_cross_entropy(np.array([0.5, 1.5]), np.ones(2)), ValueError, r"got input 1.5 at index \(1,\), expected probabilities"),
    (lambda: losses.binary_cross_entropy(np.array([np.nan]), np.ones(1)), ValueError, "got input nan"),
    (lambda: losses.kl_div(X, -X), ValueError, "kl_div: target: got -1.0, expected probabilities"),
    (lambda: losses.smooth_l1_loss(X, X, beta=-1), ValueError, "beta: got -1, expected a number >= 0"),
    (lambda: losses.huber_loss(X, X, delta=0), ValueError, "delta: got 0, expected a number > 0"),
    (lambda: losses.mse_loss(X, X, weight=np.ones(3)), ValueError, r"mse_loss: got input of shape \(2, 3\) and weight of shape \(3,\)"),
    (lambda: losses.gaussian_nll_loss(X, X, -X), ValueError, "var: got -1.0, expected numbers >= 0"),
    (lambda: losses.gaussian_nll_loss(X, X, -1.0), ValueError, "var: got -1.0"),
    (lambda: losses.gaussian_nll_loss(X, X, np.ones(3)), ValueError, r"input of shape \(2, 3\) and var of shape \(3,\)"),
    (lambda: losses.multi_margin_loss(X, Y, p=3), ValueError, "p: got 3, expected 1 or 2"),
    (lambda: losses.multi_margin_loss(X, np.array([0, 3])), IndexError, r"multi_margin_loss: target 3 at index \(1,\), expected 0\.\.2"),
    (lambda: losses.multi_margin_loss(X, Y, weight=np.ones(2)), ValueError, r"weight has shape \(2,\), expected \(3,\)"),
    (lambda: losses.multilabel_margin_loss(X, np.full((2, 3), 3)), IndexError, r"target 3, expected 0\.\.2"),
    (lambda: losses.multilabel_margin_loss(X, X), TypeError, "multilabel_margin_loss: the target has dtype float64, expected integer"),
    (lambda: losses.cosine_embedding_loss(X, X, np.ones(3)), ValueError, r"inputs of shape \(2, 3\) and target of shape \(3,\), expected \(2,\)"),
    (lambda: losses.triplet_margin_loss(X, X, X[:1]), ValueError, r"anchor \(2, 3\), positive \(2, 3\), negative \(1, 3\), expected the same"),
    (lambda: losses.info_nce_loss(X[0], X[0]), ValueError, r"inputs of shape \(3,\), expected \(N, D\)"),
    (lambda: losses.nt_xent_loss(X, X, temperature=0), ValueError, "temperature: got 0, expected a number > 0"),
    (lambda: losses.focal_loss(X, Y, gamma=-1), ValueError, "gamma: got -1"),
    (lambda: losses.infogain_loss(X, Y, np.eye(2)), ValueError, r"logits of shape \(2, 3\) and H of shape \(2, 2\), expected \(3, 3\)"),
    (lambda: soft_nearest_neighbor_loss(X, Y, 0.0), ValueError, "temperature: got 0.0, expected a number > 0"),
    (lambda: soft_nearest_neighbor_loss(X, Y, np.nan), ValueError, "temperature: got nan"),
    (lambda: soft_nearest_neighbor_loss(X, Y, method="loop"), ValueError, "got 'loop', expected 'batched', 'naive', 'eps'"),
    (lambda: soft_nearest_neighbor_loss(X, np.zeros(3, int)), ValueError, r"x of shape \(2, 3\) and y of shape \(3,\)"),
    (lambda: soft_nearest_neighbor_loss(X, np.ones(2)), TypeError, "expected integer classes"),
    (lambda: losses.ctc_loss(LP, np.array([[1], [3]]), [4, 4], [1, 1]), IndexError, r"target 3 of sequence 1, expected 0\.\.2"),
    (lambda: losses.ctc_loss(LP, np.array([[1], [2]]), [4, 5], [1, 1]), ValueError, r"input_lengths: got \[4, 5\], expected 2 numbers in 0\.\.4"),
    (lambda: losses.ctc_loss(LP, np.array([[1], [2]]), [4, 4], [1, 2]), ValueError, r"target_lengths: got \[1, 2\], expected 2 numbers in 0\.\.1"),
    (lambda: losses.ctc_loss(LP, np.array([1, 2, 1]), [4, 4], [1, 1]), ValueError, r"targets of shape \(3,\) and target_lengths that sum to 2"),
    (lambda: losses.ctc_loss(LP, np.array([[1], [2]]), [4, 4], [1, 1], blank=3), ValueError, r"blank: got 3, expected 0\.\.2"),
    (lambda: losses.ctc_loss(LP[0, 0], np.array([1]), [4], [1]), ValueError, r"log_probs float64 of shape \(3,\)"),
    (lambda: tg.nn.TripletMarginLoss(m=1), TypeError, r"unknown option \['m'\]; known are margin, p, eps, swap, reduction"),
]


@pytest.mark.parametrize("call, kind, message", REFUSED, ids=[m for _, _, m in REFUSED])
def test_refused(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
