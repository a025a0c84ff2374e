"""What all optimizers share: parameters that move, groups, loading, sparse gradients, refusals, and a reader's own subclass."""
import copy

import numpy as np
import pytest

import tinygrad_lite as tg
from tinygrad_lite.nn import Linear, Parameter
from tinygrad_lite.optim import SGD, Adagrad, Adam, AdamW, SMORMS3, Optimizer


def params_of(*shapes, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return [Parameter(rng.normal(size=s).astype(dtype)) for s in shapes]


def give(p, g=1.0):
    p.grad = np.full(p.shape, g, p.dtype)


# --- parameters that move: a random life of a model with two optimizers, the same life in PyTorch
class Life:
    """A model whose parameters are stepped by two optimizers, rebound, edited, loaded, frozen and joined by new ones."""
    SHAPES = [(3,), (2, 4), (), (9000,), (5, 2)]

    def __init__(self, torch, seed):
        self.torch, self.rng = torch, np.random.default_rng(seed)
        arrays = [self.rng.normal(size=s) for s in self.SHAPES]
        self.ours, self.theirs = [Parameter(a.copy()) for a in arrays], [torch.nn.Parameter(torch.tensor(a)) for a in arrays]
        self.opts = [(Adam(self.ours[:4], lr=0.05), torch.optim.Adam(self.theirs[:4], lr=0.05, foreach=False)),
                     (SGD(self.ours[1:4], lr=0.1, momentum=0.9), torch.optim.SGD(self.theirs[1:4], lr=0.1, momentum=0.9, foreach=False))]
        self.joined, self.saved = 4, None

    def gradients(self):
        for p, q in zip(self.ours, self.theirs):
            g = None if not p.requires_grad or self.rng.random() < 0.2 else np.asarray(self.rng.normal(size=p.shape))
            p.grad, q.grad = g, None if g is None else self.torch.from_numpy(g.copy())

    def step(self):
        self.gradients()
        for ours, theirs in self.opts:
            ours.step(), theirs.step()

    def one_of_them(self):
        self.gradients()
        for optimizer in self.opts[self.rng.integers(2)]:
            optimizer.step()

    def pick(self):
        i = self.rng.integers(len(self.ours))
        return self.ours[i], self.theirs[i]

    def set_both(self, p, q, array, order="C"):
        p.data = np.array(array, order=order)
        with self.torch.no_grad():
            q.copy_(self.torch.from_numpy(np.array(array)))

    def rebind(self):
        p, q = self.pick()
        self.set_both(p, q, self.rng.normal(size=p.shape), self.rng.choice(["C", "F"]))

    def edit_in_place(self):
        p, q = self.pick()
        p.data *= 0.5
        with self.torch.no_grad():
            q.mul_(0.5)

    def swap(self):
        (p, q), (r, s) = self.pick(), self.pick()
        if p.shape == r.shape:
            a, b = p.data.copy(), r.data.copy()
            self.set_both(p, q, b), self.set_both(r, s, a)

    def freeze_or_thaw(self):
        p, q = self.pick()
        p.requires_grad = q.requires_grad = not p.requires_grad
        p.grad = q.grad = None

    def join(self):
        if self.joined < len(self.ours):
            for optimizer, p in zip(self.opts[0], (self.ours[4], self.theirs[4])):
                optimizer.add_param_group({"params": [p], "lr": 0.2})
            self.joined += 1

    def save(self):
        self.saved = [copy.deepcopy(optimizer.state_dict()) for pair in self.opts for optimizer in pair], self.joined

    def load(self):
        if self.saved and self.saved[1] == self.joined:
            for optimizer, state in zip([o for pair in self.opts for o in pair], self.saved[0]):
                optimizer.load_state_dict(copy.deepcopy(state))


@pytest.mark.parametrize("seed", range(12))
def test_a_life_like_in_torch(seed, torch):
    life = Life(torch, seed)
    events = [life.step, life.one_of_them, life.rebind, life.edit_in_place, life.swap, life.freeze_or_thaw, life.join, life.save, life.load]
    for _ in range(40):
        life.rng.choice(events)()
        for p, q in zip(life.ours, life.theirs):
            np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=1e-9, atol=1e-11)


def test_double_after_the_first_steps(torch):
    tg.seed(0)
    model, twin = Linear(3, 2), torch.nn.Linear(3, 2)
    twin.load_state_dict({k: torch.tensor(v) for k, v in model.state_dict().items()})
    ours, theirs = Adam(model.parameters(), lr=0.1), torch.optim.Adam(twin.parameters(), lr=0.1)
    for step in range(6):
        if step == 3:
            model.double(), twin.double()
            for state in theirs.state.values():
                state.update({k: v.double() for k, v in state.items()})
        for p, q in zip(model.parameters(), twin.parameters()):
            p.grad = np.random.default_rng(step).normal(size=p.shape).astype(p.dtype)
            q.grad = torch.tensor(p.grad)
        ours.step(), theirs.step()
        assert {p.dtype for p in model.parameters()} == {np.dtype(np.float64 if step >= 3 else np.float32)}
    for p, q in zip(model.parameters(), twin.parameters()):
        np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=1e-6, atol=1e-7)     # half of it in float32


# --- the clock, the closure, zero_grad
def test_closure_and_clock():
    p, = params_of((3,))
    opt = SGD([p], lr=0.1)
    calls = []

    def closure():
        opt.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        calls.append(loss.item())
        return loss
    before = p.data.copy()
    assert opt.step(closure).item() == calls[0] == (before ** 2).sum() and opt.stepped is True and opt.t == 1
    np.testing.assert_allclose(p.data, 0.8 * before, rtol=1e-15)
    opt.zero_grad()
    assert p.grad is None and opt.step(lambda: "loss") == "loss" and opt.stepped is False and opt.t == 1


def test_zero_grad_fills_with_zeros_where_asked():
    p, q = params_of((2,), (2,))
    give(p)
    Adam([p, q]).zero_grad(set_to_none=False)
    assert p.grad.tolist() == [0, 0] and q.grad is None


# --- what a constructor and a group refuse
def leaf():
    return Parameter([1.0, 2.0])


def result():
    return leaf() * 2


REFUSED = [
    (lambda: SGD([]), ValueError, "SGD: got an empty parameter list"),
    (lambda: SGD({leaf()}), TypeError, "got a set, whose order"),
    (lambda: SGD([{"params": {leaf()}}]), TypeError, "got a set, whose order"),
    (lambda: SGD(Linear(1, 1)), TypeError, r"got Linear, expected a list of Parameters \(model.parameters"),
    (lambda: SGD(leaf()), TypeError, "got Parameter, expected a list"),
    (lambda: SGD(np.ones(2)), TypeError, "got ndarray, expected a list"),
    (lambda: SGD([np.ones(2)]), TypeError, "got ndarray, expected Parameters"),
    (lambda: SGD([result()]), TypeError, "got Tensor made by mul, expected Parameters"),
    (lambda: SGD([leaf()] * 2), ValueError, "parameter '1' appears twice .also as '0'"),
    (lambda: SGD([("w", leaf()), ("w", leaf())]), ValueError, "parameter 'w' appears twice"),
    (lambda: SGD([{"params": [leaf()], "lr": 0.1}, {"lr": 0.1}]), ValueError, "a group without 'params'"),
    (lambda: SGD([leaf()], momentum=-0.1), ValueError, "momentum: got -0.1, expected a number in .0, inf."),
    (lambda: SGD([leaf()], lr=float("nan")), ValueError, "lr: got nan"),
    (lambda: SGD([leaf()], nesterov=True), ValueError, "nesterov: got momentum=0.0"),
    (lambda: Adam([leaf()], betas=(0.9, 1.0)), ValueError, r"betas: got \(0.9, 1.0\), expected"),
    (lambda: Adam([{"params": [leaf()], "eps": -1e-8}]), ValueError, "eps: got -1e-08"),
    (lambda: Adagrad([leaf()], lr_decay=-1), ValueError, "lr_decay: got -1"),
]


@pytest.mark.parametrize("make, kind, message", REFUSED, ids=[m for _, _, m in REFUSED])
def test_refused(make, kind, message):
    with pytest.raises(kind, match=message):
        make()


def test_a_refused_group_changes_nothing():
    p, q = params_of((2,), (3,))
    opt = Adam([p])
    for group in ({"params": [q, p]}, {"params": [q], "rate": 1}, {"params": [q, q]}, {"params": [q], "lr": -1}):
        with pytest.raises((TypeError, ValueError)):
            opt.add_param_group(group)
        assert len(opt.param_groups) == 1 and list(opt.slots) == ["0"]
    opt.add_param_group({"params": q, "lr": 0.5})
    assert opt.param_groups[1]["lr"] == 0.5 and opt.param_groups[1]["betas"] == (0.9, 0.999) and opt.lr == 1e-3


def test_names_come_from_pairs_parameters_or_places():
    named, plain = Parameter([1.0], name="w"), Parameter([2.0])
    opt = SGD([("first", Parameter([0.0])), named, plain])
    assert list(opt.slots) == ["first", "w", "2"]
    model = tg.nn.Sequential(Linear(2, 2), Linear(2, 1))
    assert list(Adam(model.named_parameters()).slots) == ["0.weight", "0.bias", "1.weight", "1.bias"]


# --- loading
def trained(**options):
    params = params_of((3,), (9000,))
    opt = Adam(params, **options)
    for _ in range(2):
        for p in params:
            give(p, 0.5)
        opt.step()
    return params, opt


def broken(change):
    state = trained()[1].state_dict()
    change(state)
    return state


BROKEN = {
    "unexpected parameter": (lambda s: s["param_groups"][0]["params"].append("w"), r"unexpected: \['w'\]"),
    "missing parameter": (lambda s: s["param_groups"][0]["params"].pop(), r"missing: \['1'\]"),
    "other groups": (lambda s: s["param_groups"].append({"params": []}), "got 2 groups, expected 1"),
    "shape": (lambda s: s["state"]["1"].update(exp_avg=np.zeros(3)), "state of '1': got .*exp_avg.*3.*expected .*9000"),
    "missing state": (lambda s: s["state"]["0"].pop("exp_avg"), "state of '0': got .*, expected .*exp_avg"),
    "unexpected state": (lambda s: s["state"]["0"].update(sum=np.zeros(3)), "state of '0': got .*sum"),
    "missing step": (lambda s: s["state"]["0"].pop("step"), "state of '0'.*expected .*step"),
    "option out of range": (lambda s: s["param_groups"][0].update(lr=-1.0), "lr: got -1"),
    "no clock": (lambda s: s.pop("t"), "'t'"),
}


@pytest.mark.parametrize("change, message", BROKEN.values(), ids=BROKEN)
def test_a_failed_load_changes_nothing(change, message):
    params, opt = trained(lr=0.5)
    saved = broken(change)
    saved["param_groups"][0].setdefault("lr", 0.1)
    before, data = opt.state_dict(), [p.data.copy() for p in params]
    with pytest.raises((ValueError, KeyError), match=message):
        opt.load_state_dict(saved)
    after = opt.state_dict()
    assert before["t"] == after["t"] and before["param_groups"] == after["param_groups"]
    for n in before["state"]:
        assert all(np.array_equal(v, after["state"][n][k]) for k, v in before["state"][n].items())
    assert all(np.array_equal(p.data, a) for p, a in zip(params, data))


def test_options_come_with_the_state():
    params, opt = trained(lr=0.5, amsgrad=True, betas=(0.5, 0.5))
    fresh = Adam(params_of((3,), (9000,)))
    fresh.load_state_dict(opt.state_dict())             # amsgrad's third state, too, belongs to what was saved
    assert fresh.param_groups[0]["amsgrad"] is True and fresh.param_groups[0]["betas"] == (0.5, 0.5) and fresh.lr == 0.5
    state = opt.state_dict()
    opt.state["0"]["exp_avg"][...] = 7
    assert not (state["state"]["0"]["exp_avg"] == 7).any() and not (fresh.state["0"]["exp_avg"] == 7).any()


@pytest.mark.parametrize("mine, saved", [(tg.schedules.StepLR(0.1, 3), tg.schedules.StepLR(0.1, 2)), (tg.schedules.StepLR(0.1, 3), 0.1),
                                         (0.1, tg.schedules.StepLR(0.1, 2)), (lambda t: 0.1, tg.schedules.StepLR(0.1, 2))])
def test_another_schedule_warns_and_stays(mine, saved):
    params, opt = trained(lr=mine)
    with pytest.warns(UserWarning, match=r"Adam: lr was saved as .*, goes on as ") as told:
        opt.load_state_dict(trained(lr=saved)[1].state_dict())
    assert len(told) == 1 and opt.param_groups[0]["lr"] is mine
    opt.load_state_dict(trained(lr=mine)[1].state_dict())       # the same one: no warning, and warnings are errors here


# --- sparse gradients
def rows_of(p, ids, values=None):
    values = np.ones((len(ids), *p.shape[1:]), p.dtype) if values is None else values
    return tg.RowSparse(np.array(ids, np.int64), values, p.shape)


@pytest.mark.parametrize("size", [6, 5000], ids=["shared", "alone"])
@pytest.mark.parametrize("make", [lambda p: SGD(p, lr=0.1), lambda p: Adagrad(p, lr=0.1, eps=0.0), lambda p: Adagrad(p, lr=0.1, maximize=True)])
def test_only_used_rows_move_and_repeats_add(make, size):
    table, twin, other = params_of((size, 2), (size, 2), (3,))
    twin.data = table.data.copy()
    sparse, dense = make([table, other]), make([twin])
    give(other)
    sparse.step()                                       # the first one without the table: it may share a block by now
    for ids in ([4, 1, 4], [1, 0], []):
        before = table.data.copy()
        table.grad = rows_of(table, ids)
        give(other)
        twin.grad = table.grad.to_dense()
        with np.errstate(all="ignore"):
            sparse.step(), dense.step()
        used = np.isin(np.arange(size), ids)
        assert np.array_equal(table.data[~used], before[~used]) and np.array_equal(table.data[used], twin.data[used])
        assert not (table.data[used] == before[used]).any()
        twin.data[~used] = before[~used]                # eps = 0: 0 / 0 where a dense Adagrad has seen nothing
        twin.data = twin.data.copy()
    table.grad = twin.grad = np.ones(table.shape)       # and a dense gradient again
    sparse.step(), dense.step()
    assert np.array_equal(table.data, twin.data) and sparse.state["0"]["step"] == 4


@pytest.mark.parametrize("size", [6, 5000], ids=["shared", "alone"])
@pytest.mark.parametrize("make, kind, message", [
    (lambda p: Adam(p), TypeError, "Adam: parameter '0' has a sparse gradient .RowSparse.: use SGD, Adagrad or SparseAdam"),
    (lambda p: AdamW(p), TypeError, "AdamW: parameter '0'"), (lambda p: SMORMS3(p), TypeError, "SMORMS3: parameter '0'"),
    (lambda p: SGD(p, weight_decay=0.1), ValueError, "SGD: weight_decay 0.1 cannot act on the sparse gradient of '0'"),
    (lambda p: Adagrad(p, weight_decay=0.1), ValueError, "Adagrad: weight_decay")])
def test_sparse_gradients_that_are_refused(make, kind, message, size):
    params = params_of((size, 2), (3,))
    before = [p.data.copy() for p in params]
    opt = make(params)
    params[0].grad = rows_of(params[0], [0, 1])
    give(params[1])
    with pytest.raises(kind, match=message):
        opt.step()
    assert opt.t == 0 and opt.state == {} and all(np.array_equal(p.data, b) for p, b in zip(params, before))


@pytest.mark.parametrize("size", [6, 5000], ids=["shared", "alone"])
def test_a_bad_sparse_gradient_is_refused(size):
    params = params_of((3,), (size, 2))
    before = [p.data.copy() for p in params]
    give(params[0])
    params[1].grad = rows_of(params[1], [4, 2], np.array([[1, 2], [3, np.nan]]))
    with pytest.raises(FloatingPointError, match="parameter '1' is not finite: nan"):
        Adagrad(params).step()
    assert all(np.array_equal(p.data, b) for p, b in zip(params, before))


def test_an_option_may_be_a_predicate():
    matrix, bias = params_of((2, 3), (3,))
    opt = tg.optim.LARS([matrix, bias], lr=1.0, momentum=0.0, eta=0.5, weight_decay=0.1, exclude=lambda p: p.ndim <= 1)
    before = bias.data.copy()
    give(matrix), give(bias)
    assert opt.step() is True
    np.testing.assert_allclose(before - bias.data, 1, rtol=1e-12)      # neither the trust ratio nor the decay
    opt.load_state_dict(opt.state_dict())


# --- a reader's own
class Signs(Optimizer):
    """Moves by its step size against the sign of an average: no `lr`, a state of its own."""
    defaults = dict(size=0.1, weight_decay=0.0)

    def update_param(self, p):
        m = self.memory(p, "mean")
        m += 0.5 * (p.grad - m)
        p.data -= self.now.size * np.sign(m)


def test_only_update_param():
    params = params_of((3,), (9000,), ())
    before = [p.data.copy() for p in params]
    opt = Signs([{"params": params[:2]}, {"params": params[2:], "size": tg.schedules.StepLR(0.4, 1, 0.5)}], maximize=True)
    for step in range(2):
        for p in params:
            give(p)
        assert opt.step() is True
    for p, b, moved in zip(params, before, (0.2, 0.2, 0.6)):
        np.testing.assert_allclose(p.data - b, moved, rtol=1e-12)      # maximize: with the gradient, not against it
        assert (p.grad == 1).all()
    assert opt.state["0"]["step"] == 2 and opt.state["1"]["mean"].shape == (9000,)
    saved, arrays = opt.state_dict(), [p.data.copy() for p in params]
    again = [Parameter(a) for a in arrays]
    fresh = Signs([{"params": again[:2]}, {"params": again[2:], "size": tg.schedules.StepLR(0.4, 1, 0.5)}], maximize=True)
    fresh.load_state_dict(saved)
    for pair in zip(params, again):
        for p in pair:
            give(p, -3.0)
    opt.step(), fresh.step()
    assert all(np.array_equal(p.data, q.data) for p, q in zip(params, again))
    params[1].grad = np.full(9000, np.nan)
    arrays = [p.data.copy() for p in params]
    with pytest.raises(FloatingPointError, match="Signs: .*parameter '1'"):
        opt.step()
    assert all(np.array_equal(p.data, b) for p, b in zip(params, arrays))


def test_own_optimizer_gets_weight_decay_and_refuses_rows():
    p, = params_of((2, 2))
    p.data[...] = [[1, -1], [2, -2]]
    opt = Signs([p], weight_decay=1.0)
    give(p, 0.0)
    opt.step()
    np.testing.assert_allclose(p.data, [[0.9, -0.9], [1.9, -1.9]], rtol=1e-12)
    p.grad = rows_of(p, [0])
    with pytest.raises(TypeError, match="Signs: parameter '0' has a sparse gradient"):
        opt.step()
