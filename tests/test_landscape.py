"""Slices of the loss, places projected on them, roads between minima; curvature against the whole Hessian by hand."""
import numpy as np
import pytest

import tinygrad_lite as tg
from tinygrad_lite import nn
from tinygrad_lite.diagnostics import (Hessian, barrier, critical_point, hessian_eigenvalues, loss_line, loss_surface, losses_at, path_directions,
                                       random_direction, weights_of)

MSE, CE = tg.losses.mse_loss, tg.losses.cross_entropy
rng = np.random.default_rng(0)
X, Y = rng.standard_normal((12, 3)), rng.standard_normal((12, 2))


def quadratic(n=80, seed=0):
    """(A, its eigenvalues from large to small): more numbers than the Hessian is made whole for."""
    q = np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))[0]
    values = np.linspace(-3, 7, n)[::-1]
    return (q * values) @ q.T, values


def mlp(*sizes, double=True):
    layers = [m for a, b in zip(sizes, sizes[1:]) for m in (nn.Linear(a, b), nn.Tanh())][:-1]
    net = nn.Sequential(*layers)
    return net.double() if double else net


# ---------------------------------------------------------------- curvature

@pytest.mark.parametrize("which, pick", [("LA", slice(0, 3)), ("SA", slice(-3, None)), ("BE", [0, 1, -1]), ("LM", slice(0, 3))])
@pytest.mark.parametrize("n", [20, 80])
def test_eigenvalues_of_a_quadratic(which, pick, n):
    A, values = quadratic(n)
    found = hessian_eigenvalues(lambda x: (x @ A @ x) / 2, rng.standard_normal(n), k=3, which=which)
    np.testing.assert_allclose(found, values[pick], rtol=1e-7)


def whole_hessian(model, loss_fn, batch):
    """By central differences of the gradient."""
    params = list(model.parameters())

    def gradient():
        model.zero_grad()
        loss_fn(model(*batch[:-1]), batch[-1]).backward()
        return np.concatenate([p.grad.ravel() for p in params])
    columns = []
    for p in params:
        for i in np.ndindex(p.shape):
            kept = p.data[i]
            p.data[i] = kept + 1e-5
            up = gradient()
            p.data[i] = kept - 1e-5
            columns.append((up - gradient()) / 2e-5)
            p.data[i] = kept
    model.zero_grad()
    return np.stack(columns)


@pytest.mark.parametrize("sizes, k", [((3, 4, 2), 26), ((3, 14, 2), 4)])
def test_eigenvalues_of_a_net(sizes, k):
    tg.seed(1)
    model, y = mlp(*sizes), rng.integers(0, 2, 12)
    expected = np.linalg.eigvalsh(whole_hessian(model, CE, (tg.Tensor(X), y)))[::-1]
    np.testing.assert_allclose(hessian_eigenvalues(model, CE, (X, y), k=k), expected[:k], atol=1e-7)
    np.testing.assert_allclose(hessian_eigenvalues(model, CE, (X, y), k=1, which="SA"), expected[-1:], atol=1e-7)


def test_float32_frozen_and_fused():
    tg.seed(2)
    model = mlp(3, 30, 3, double=False)
    batch = X.astype("f"), rng.integers(0, 3, 12)
    found = hessian_eigenvalues(model, CE, batch, k=2)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, hessian_eigenvalues(model.double(), CE, (batch[0].astype(float), batch[1]), k=2), rtol=1e-3)
    model[0].requires_grad_(False)
    assert hessian_eigenvalues(model, CE, (batch[0].astype(float), batch[1]), k=1)[0] <= found[0] + 1e-6
    with pytest.raises(ValueError, match=r"k: got 94, expected 1..93"):
        hessian_eigenvalues(model, CE, (batch[0].astype(float), batch[1]), k=94)


def test_products_with_vectors():
    A, _ = quadratic(5)
    x = tg.Tensor(rng.standard_normal(5), requires_grad=True)
    h = Hessian((x @ A @ x) / 2, [x])
    np.testing.assert_allclose(h @ np.ones(5), A.sum(axis=1), atol=1e-12)
    np.testing.assert_allclose(h.gradient, A @ x.data, atol=1e-12)
    assert (Hessian((x * 3).sum(), [x]) @ np.ones(5) == 0).all()


@pytest.mark.parametrize("f, at, kind", [
    (lambda x: (x * x).sum(), [0.0] * 70, "minimum"), (lambda x: -(x * x).sum(), [0.0, 0.0], "maximum"),
    (lambda x: x[0] ** 2 - x[1] ** 2, [0.0, 0.0], "saddle"), (lambda x: (x ** 4).sum(), [0.0, 0.0], "flat"),
    (lambda x: (x * x).sum(), [0.1, 0.0], "slope"), (lambda x: x[0] ** 3 - 3 * x[0] * x[1] ** 2, [0.0, 0.0], "flat"),
    (lambda x: np.cos(x).sum(), [0.0, np.pi], "saddle")])
def test_critical_points(f, at, kind):
    assert critical_point(f, np.array(at)) == kind


def test_a_net_with_all_weights_zero_stands_on_a_saddle():
    model = mlp(3, 4, 2)
    for p in model.parameters():
        p.data[...] = 0
    x = np.concatenate([X, -X])
    assert critical_point(model, MSE, (x, np.concatenate([Y, -Y]))) == "saddle"
    model[2].bias.data[0] = 1
    assert critical_point(model, MSE, (x, np.concatenate([Y, -Y]))) == "slope"


@pytest.mark.parametrize("f, message", [
    (lambda: hessian_eigenvalues(lambda x: x * 2, [1.0, 2.0]), "expected a Tensor with one number"),
    (lambda: hessian_eigenvalues(lambda x: 3.0, [1.0]), "gave float"),
    (lambda: hessian_eigenvalues(lambda x: (x * x).sum(), [1.0], k=0), "k: got 0"),
    (lambda: hessian_eigenvalues(lambda x: (x * x).sum(), [1.0], which="SM"), "which: got 'SM'"),
    (lambda: hessian_eigenvalues(mlp(3, 2), lambda o, t: o - t, (X, Y)), "expected a Tensor with one number"),
    (lambda: hessian_eigenvalues(mlp(3, 2).requires_grad_(False), MSE, (X, Y)), "depends on no parameter"),
    (lambda: loss_surface(mlp(3, 2), MSE, (X, Y), directions=({}, {})), "no weights for '0.weight'"),
    (lambda: loss_line(mlp(3, 2), MSE, (X, Y), weights_of(mlp(3, 2)), weights_of(mlp(2, 2))), r"shape \(2, 2\) for '0.weight'"),
    (lambda: random_direction(mlp(3, 2), rng, "row"), "normalise: got 'row'"),
    (lambda: path_directions([{}, {}]), "at least 3"),
])
def test_bad_input(f, message):
    with pytest.raises(ValueError, match=message):
        f()


def test_a_gradient_that_is_not_finite():
    with pytest.raises(FloatingPointError, match="detect_anomaly"), np.errstate(all="ignore"):
        hessian_eigenvalues(lambda x: np.sqrt(x).sum(), [0.0])


# ---------------------------------------------------------------- slices and roads

def test_a_surface_is_the_loss_at_its_points():
    model = mlp(3, 4, 2)
    s = loss_surface(model, MSE, (X, Y), steps=(5, 4), span=(1, 0.5), seed=3)
    assert s.losses.shape == (4, 5) and s.x.tolist() == [-1, -0.5, 0, 0.5, 1] and (s.y[0], s.y[-1]) == (-0.5, 0.5)
    centre = weights_of(model)
    for j, i in (0, 0), (3, 1), (1, 4):
        place = {name: w + s.x[i] * s.directions[0][name] + s.y[j] * s.directions[1][name] for name, w in centre.items()}
        model.load_state_dict(place)
        assert s.losses[j, i] == pytest.approx(MSE(model(tg.Tensor(X)), Y).item(), rel=1e-12)
    model.load_state_dict(centre)


@pytest.mark.parametrize("shape", ["linear", "conv"])
def test_directions_are_as_long_as_the_filters(shape):
    model = mlp(3, 4, 2) if shape == "linear" else nn.Conv2d(2, 3, 3)
    model.apply(lambda m: isinstance(m, (nn.Linear, nn.Conv2d)) and m.weight.data.__imul__(np.arange(1, len(m.weight) + 1).reshape(-1, *[1] * (m.weight.ndim - 1)).astype(m.weight.dtype)))
    d = random_direction(model, np.random.default_rng(0))
    for name, w in weights_of(model).items():
        if w.ndim < 2:
            assert (d[name] == 0).all()
        else:
            np.testing.assert_allclose(np.linalg.norm(d[name].reshape(len(w), -1), axis=1), np.linalg.norm(w.reshape(len(w), -1), axis=1), rtol=1e-6)
    layer = random_direction(model, np.random.default_rng(0), "layer")
    assert all(np.linalg.norm(layer[k]) == pytest.approx(np.linalg.norm(w), rel=1e-6) for k, w in weights_of(model).items() if w.ndim > 1)
    assert any((random_direction(model, np.random.default_rng(0), None)[k] != 0).all() for k, w in weights_of(model).items() if w.ndim == 1)


def test_scaling_layers_of_a_relu_net_changes_nothing_in_a_filter_normalised_slice():
    """10 w in one layer and w / 10 in the next are the same function; only filter-wise directions see it so (Li et al., section 3)."""
    tg.seed(0)
    model = nn.Sequential(nn.Linear(3, 8, bias=False), nn.ReLU(), nn.Linear(8, 2, bias=False)).double()
    plain = [loss_surface(model, MSE, (X, Y), normalise=how, seed=1, steps=5).losses for how in ("filter", None)]
    model[0].weight.data *= 10
    model[2].weight.data /= 10
    scaled = [loss_surface(model, MSE, (X, Y), normalise=how, seed=1, steps=5).losses for how in ("filter", None)]
    np.testing.assert_allclose(scaled[0], plain[0], rtol=1e-10)
    assert np.abs(scaled[1] / plain[1] - 1).max() > 0.5


def test_places_come_back_from_their_coordinates():
    model = mlp(3, 4, 2)
    s = loss_surface(model, MSE, (X, Y), steps=2)
    coordinates = np.array([[0.3, -0.7], [0, 0], [1.5, 2]])
    places = [{k: w + a * s.directions[0][k] + b * s.directions[1][k] for k, w in s.centre.items()} for a, b in coordinates]
    np.testing.assert_allclose(s.project(places), coordinates, atol=1e-10)


def test_the_path_lies_in_the_slice_through_its_own_directions():
    base = {"w": np.zeros((2, 3)), "b": np.zeros(4)}
    u, v = ({"w": rng.standard_normal((2, 3)), "b": rng.standard_normal(4)} for _ in "uv")
    places = [{k: base[k] + a * u[k] + b * v[k] for k in base} for a, b in [(3, 0), (2, 1), (1, 0.5), (0, 0)]]
    first, second = path_directions(places)
    for place in places:
        away = np.concatenate([place[k].ravel() for k in base])
        inside = sum((away @ d) * d for d in (np.concatenate([x[k].ravel() for k in base]) for x in (first, second)))
        np.testing.assert_allclose(inside, away, atol=1e-10)


def test_the_road_and_its_hill():
    net, one = nn.Linear(1, 1, bias=False).double(), np.ones((1, 1))
    t, losses = loss_line(net, lambda o, target: ((o * o - target) ** 2).sum(), (one, one), {"weight": -one}, {"weight": one}, steps=5)
    assert t.tolist() == [0, 0.25, 0.5, 0.75, 1] and losses.tolist() == [0, 0.5625, 1, 0.5625, 0]
    assert barrier(losses) == 1 and barrier([1, 2, 3]) == 0 and barrier([3, 1, 1]) == 0 and barrier([0, 2, 2]) == 1


@pytest.mark.parametrize("fails", [False, True])
def test_everything_is_put_back(fails):
    tg.seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2)).double()
    for p in model.parameters():
        p.grad = np.ones_like(p.data)
    arrays = [p.data for p in model.parameters()]
    before, chance = model.state_dict(), tg.random.generator.bit_generator.state
    calls = []

    def loss_fn(output, target):
        calls.append(1)
        if fails and len(calls) > 3:
            raise ZeroDivisionError
        return MSE(output, target)
    for run in (lambda: loss_surface(model, loss_fn, (X, Y), steps=3), lambda: hessian_eigenvalues(model, loss_fn, (X, Y)),
                lambda: critical_point(model, loss_fn, (X, Y))):
        try:
            run()
        except ZeroDivisionError:
            assert fails
    assert all(np.array_equal(before[k], v) for k, v in model.state_dict().items())
    assert all(p.data is a and (p.grad == 1).all() for p, a in zip(model.parameters(), arrays))
    assert model.training and tg.random.generator.bit_generator.state == chance


def test_every_point_sees_the_same_random_numbers():
    model = nn.Sequential(nn.Linear(3, 50), nn.Dropout(0.5), nn.Linear(50, 2)).double()
    found = losses_at(model, MSE, (X, Y), [weights_of(model)] * 3)
    assert found[0] == found[1] == found[2]


def test_pictures():
    import matplotlib.pyplot as plt
    model = mlp(3, 4, 2)
    s = loss_surface(model, MSE, (X, Y), steps=4)
    figure, ax = plt.subplots()
    assert s.plot(ax, path=[weights_of(model)] * 2) is ax and len(ax.lines) == 1
    solid = plt.figure().add_subplot(projection="3d")
    assert s.plot(solid) is solid and len(solid.collections) == 1
    s.losses = s.losses - 5
    other = s.plot()
    assert other is not ax
    plt.close("all")
