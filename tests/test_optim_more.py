"""L-BFGS against PyTorch's recorded runs, several optimizers as one, groups by name and depth, options that are schedules."""
import copy
import pickle

import numpy as np
import pytest

import tinygrad_lite as tg
from tests.data import load_reference
from tinygrad_lite import nn, optim

LBFGS_CASES = load_reference("lbfgs")["cases"]


def objective(case):
    kind, data = case["objective"]["kind"] if "kind" in case["objective"] else case["objective"]["name"], case["objective"]
    if kind == "quadratic":
        return lambda x: 0.5 * (x * (data["A"] @ x)).sum() - (data["b"] * x).sum()
    if kind == "rosenbrock":
        return lambda x: (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()
    assert kind == "logistic"
    return lambda x: tg.softplus(-data["y"] * (data["X"] @ x), 1.0, np.inf).mean() + 0.5 * data["l2"] * (x * x).sum()


def lbfgs_run(case, params=None):
    """Parameters, optimizer and closure of a recorded case; the closure counts its calls."""
    params = [nn.Parameter(np.array(a)) for a in case["start"]] if params is None else params
    opt, f = optim.LBFGS(params, **case["kwargs"]), objective(case)

    def closure():
        closure.calls += 1
        opt.zero_grad()
        loss = f(tg.concatenate([p.reshape(-1) for p in params]))
        loss.backward()
        return loss
    closure.calls = 0
    return params, opt, closure


@pytest.mark.parametrize("case", LBFGS_CASES, ids=[c["id"] for c in LBFGS_CASES])
def test_lbfgs_takes_pytorchs_steps(case):
    params, opt, closure = lbfgs_run(case)
    for step in case["steps"]:
        loss = opt.step(closure).item()
        assert loss == pytest.approx(step["returned_loss"], rel=1e-7, abs=1e-12)
        assert (closure.calls, opt.memo.get("n_iter", 0), opt.memo["func_evals"]) == (
            step["closure_calls"], step["n_iter"], step["func_evals"])
        for p, want in zip(params, step["params"]):
            np.testing.assert_allclose(p.data, want, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("case", [c for c in LBFGS_CASES if len(c["steps"]) > 1], ids=lambda c: c["id"])
def test_lbfgs_goes_on_from_a_saved_state(case):
    params, opt, closure = lbfgs_run(case)
    opt.step(closure)
    copies = [nn.Parameter(p.data.copy()) for p in params]
    _, other, again = lbfgs_run(case, copies)
    other.load_state_dict(opt.state_dict())
    opt.step(closure)
    other.step(again)
    assert all((a.data == b.data).all() for a, b in zip(params, copies))


def test_lbfgs_maximizes():
    w = nn.Parameter(np.array([3.0, -1.0]))
    opt = optim.LBFGS([w], line_search_fn="strong_wolfe", maximize=True)

    def closure():
        opt.zero_grad()
        loss = -((w - 1) ** 2).sum()
        loss.backward()
        return loss
    opt.step(closure)
    np.testing.assert_allclose(w.data, 1, atol=1e-6)


def test_lbfgs_says_what_it_needs():
    w = nn.Parameter([1.0])
    with pytest.raises(TypeError, match="no closure"):
        optim.LBFGS([w]).step()
    with pytest.raises(ValueError, match="line_search_fn.*'wolfe'"):
        optim.LBFGS([w], line_search_fn="wolfe")
    with pytest.raises(ValueError, match="several parameter groups"):
        optim.LBFGS([{"params": [w]}, {"params": [nn.Parameter([2.0])]}])


@pytest.mark.parametrize("cls", [cls for cls in optim.ALL if cls not in (optim.LBFGS, optim.SparseAdam, optim.Muon, optim.MuonF64)],
                         ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("clone", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"])
def test_a_copy_of_model_and_optimizer_goes_on_alone(cls, clone):
    model = nn.Linear(3, 2).double()
    opt = cls(model.named_parameters(), lr=0.01)
    rng = np.random.default_rng(0)
    steps = [[rng.standard_normal(p.shape) for p in model.parameters()] for _ in range(4)]

    def run(model, opt, grads):
        for row in grads:
            for p, g in zip(model.parameters(), row):
                p.grad = g.copy()
            opt.step()
    run(model, opt, steps[:2])
    twin, again = clone((model, opt))
    at = [p.data.copy() for p in model.parameters()]
    run(twin, again, steps[2:])
    assert all((p.data == a).all() for p, a in zip(model.parameters(), at))         # the original has not moved
    run(model, opt, steps[2:])
    assert all((p.data == q.data).all() for p, q in zip(model.parameters(), twin.parameters()))
    assert any((p.data != a).any() for p, a in zip(model.parameters(), at))


# --- several as one
def net():
    tg.seed(0)
    return nn.Sequential(nn.Embedding(50, 4, sparse=True), nn.Linear(4, 3))


def loss_of(model, step):
    ids = np.random.default_rng(step).integers(0, 50, 8)
    return tg.losses.cross_entropy(model(ids), ids % 3)


def test_sparse_dense_equals_its_two_optimizers():
    one, two = net(), net()
    both = optim.SparseDense(one, lr=0.05)
    sparse, dense = optim.SparseAdam([two[0].weight], lr=0.05), optim.Adam(list(two[1].parameters()), lr=0.05)
    for step in range(5):
        for model in (one, two):
            model.zero_grad()
            loss_of(model, step).backward()
        assert isinstance(one[0].weight.grad, tg.RowSparse)
        both.step(), sparse.step(), dense.step()
    for a, b in zip(one.parameters(), two.parameters()):
        assert (a.data == b.data).all()
    assert str(both) == "SparseAdam (sparse): 0.weight\nAdam (dense): 1.weight, 1.bias"


def test_a_table_also_used_elsewhere_goes_to_the_dense_side():
    class Tied(nn.Module):
        def __init__(self):
            self.table, self.out = nn.Embedding(6, 3, sparse=True), nn.Linear(3, 6, bias=False)
            self.out.weight = self.table.weight

        def forward(self, ids):
            return self.out(self.table(ids))

    model = Tied()
    both = optim.SparseDense(model, lr=0.1)
    assert str(both) == "SparseAdam (sparse): none\nAdam (dense): table.weight"
    before = model.table.weight.data.copy()
    tg.losses.cross_entropy(model(np.array([1, 2])), np.array([2, 3])).backward()
    assert both.step() and (model.table.weight.data != before).all()


def test_several_step_together_or_not_at_all():
    a, b = nn.Parameter([1.0]), nn.Parameter([1.0])
    both = optim.MultipleOptimizer(optim.SGD([a], lr=0.5), optim.Adam([b], lr=0.5))
    a.grad, b.grad = np.ones(1, "f"), np.array([np.nan], "f")
    with pytest.raises(FloatingPointError, match="Adam"):
        both.step()
    assert a.data[0] == b.data[0] == 1 and both.t == 0
    calls = []

    def closure():
        calls.append(1)
        both.zero_grad()
        loss = (a * b).sum()
        loss.backward()
        return loss
    assert both.step(closure).item() == 1 and len(calls) == 1 and both.stepped
    for group in both.param_groups:
        group["lr"] = 0.0
    at = a.data.copy()
    both.step(closure)
    assert (a.data == at).all()
    with pytest.raises(ValueError, match="also belongs to SGD"):
        optim.MultipleOptimizer(optim.SGD([a]), optim.Adam([a]))


def test_a_failed_load_of_several_changes_nothing():
    a, b = nn.Parameter([1.0]), nn.Parameter([1.0])
    both = optim.MultipleOptimizer(optim.SGD([a], lr=0.5), optim.Adam([b], lr=0.5))
    good = both.state_dict()
    bad = [{**good[0], "t": 9}, {**good[1], "param_groups": []}]
    with pytest.raises(ValueError):
        both.load_state_dict(bad)
    assert both.optimizers[0].t == 0


def test_the_wrong_kind_of_gradient_is_refused():
    table = nn.Parameter(np.ones((4, 2), "f"))
    table.grad = np.ones((4, 2), "f")
    with pytest.raises(TypeError, match="dense gradient"):
        optim.SparseAdam([table]).step()
    table.grad = tg.RowSparse(np.array([1]), np.ones((1, 2), "f"), (4, 2))
    with pytest.raises(TypeError, match="sparse gradient"):
        optim.Adam([table]).step()
    assert (table.data == 1).all()


# --- groups and schedules of any option
def test_a_decay_schedule_and_groups_by_predicate():
    model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    decay = tg.schedules.StepLR(0.5, step_size=1)                   # 0.5, 0.05, ...
    groups = optim.param_groups(model.named_parameters(), (lambda name, p: p.ndim <= 1, dict(weight_decay=0.0)), weight_decay=decay)
    opt = optim.SGDW(groups, lr=0.1, momentum=0.0)
    before = {n: p.data.copy() for n, p in model.named_parameters()}
    for p in model.parameters():
        p.grad = np.zeros_like(p.data)
    opt.step(), opt.step()
    for n, p in model.named_parameters():
        shrunk = (1 - 0.1 * 0.5) * (1 - 0.1 * 0.05) if p.ndim > 1 else 1
        np.testing.assert_allclose(p.data, before[n] * shrunk, rtol=1e-6)
    with pytest.raises(ValueError, match="'embedding.*' fits no parameter"):
        optim.param_groups(model.named_parameters(), ("embedding.*", dict(lr=0.1)))


def test_frozen_and_unused_parameters_are_listed_and_left_alone():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    opt = optim.AdamW(model.named_parameters(), lr=0.1, weight_decay=0.5)
    before = {n: p.data.copy() for n, p in model.named_parameters()}
    model[1](model[0](np.ones((1, 2), "f"))).sum().backward()       # the third layer is the unused pooler
    assert opt.step() and opt.untouched == ["0.weight", "0.bias", "2.weight", "2.bias"]
    for n, p in model.named_parameters():
        assert (p.data == before[n]).all() == (not n.startswith("1."))


def test_sparse_adam_draws_against_pytorch(torch):
    rng = np.random.default_rng(3)
    start = rng.standard_normal((9, 3))
    ours, theirs = nn.Parameter(start.copy()), torch.nn.Parameter(torch.from_numpy(start.copy()))
    mine, peer = optim.SparseAdam([ours], lr=0.1, eps=0.1), torch.optim.SparseAdam([theirs], lr=0.1, eps=0.1)
    for _ in range(8):
        ids = rng.integers(0, 9, rng.integers(0, 6))
        values = rng.standard_normal((len(ids), 3))
        ours.grad = tg.RowSparse(ids, values, (9, 3))
        theirs.grad = torch.sparse_coo_tensor(torch.from_numpy(ids)[None], torch.from_numpy(values), (9, 3), check_invariants=True)
        mine.step(), peer.step()
        np.testing.assert_allclose(ours.data, theirs.detach().numpy(), rtol=1e-7, atol=1e-9)
