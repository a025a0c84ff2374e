"""The rate finder: recorded sweeps, everything put back bit for bit, its stops, its suggestions, and bad input."""
import itertools
import math

import numpy as np
import pytest

import tinygrad_lite as tg
from tests.data import load_reference
from tests.trainings import bits, net, pairs
from tinygrad_lite.training import Sweep, accuracy, fit, lr_find

CASES = load_reference("lr_finder")["cases"]
ENTROPY = tg.losses.cross_entropy


class Recorded(tg.nn.Module):
    """A model whose loss is a list that somebody else wrote down; its gradient is 1."""

    def __init__(self, losses):
        self.w, self.losses = tg.nn.Parameter(np.zeros(1)), iter(losses)

    def forward(self, x):
        return (self.w - self.w.data).sum() + next(self.losses)


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_recorded_sweeps(case):
    k, model = case["kwargs"], Recorded(case["losses"])
    found = lr_find(model, lambda output, target: output, itertools.repeat((0, 0)), tg.optim.SGD([model.w]), start=k["start_lr"],
                    end=k["end_lr"], num_it=k["num"], beta=k["beta"], diverge=k["diverge"])
    n = len(case["lrs"])
    np.testing.assert_allclose(found.lrs, case["lrs"], rtol=1e-12)
    np.testing.assert_allclose(found.smoothed, case["smoothed"], rtol=1e-12)
    assert found.losses == pytest.approx(case["losses"][:n]) and found.diverged is (case["stopped_at"] is not None)
    assert {how: found.suggestion(how) for how in case["suggest"]} == pytest.approx(case["suggest"], rel=1e-12)


@pytest.mark.parametrize("make", [
    lambda m: tg.optim.SGD(m.parameters(), lr=0.1, momentum=0.9),
    lambda m: tg.optim.Adam(m.named_parameters(), lr=tg.schedules.StepLR(0.1, 3)),
    lambda m: tg.optim.Adagrad(m.parameters(), lr=tg.schedules.ReduceLROnPlateau(0.1)),
    lambda m: tg.optim.MultipleOptimizer(tg.optim.SGD(m.first.parameters(), lr=0.1), tg.optim.Adam(m.last.parameters()))])
@pytest.mark.parametrize("steps", [0, 3])
def test_everything_is_put_back_bit_for_bit(make, steps):
    tg.seed(0)
    model, loader, valid = net(), pairs(shuffle=True), pairs(shuffle=True)
    optimizer = make(model)
    for x, y in itertools.islice(loader, steps):
        optimizer.zero_grad()
        ENTROPY(model(x), y).backward()
        optimizer.step()
    model.first.weight.grad = kept = np.ones_like(model.first.weight.data)
    model.drop.eval()
    before, rates = bits(model, optimizer, loader, valid), [group["lr"] for group in optimizer.param_groups]
    found = lr_find(model, ENTROPY, loader, optimizer, valid=valid, metrics={"accuracy": accuracy}, num_it=40)
    assert bits(model, optimizer, loader, valid) == before and model.first.weight.grad is kept
    assert [group["lr"] for group in optimizer.param_groups] == rates and all(a is b for a, b in zip(
        [group["lr"] for group in optimizer.param_groups], rates)) and not model.drop.training and model.training
    assert len(found.lrs) > 10 and len(set(found.losses)) > 10              # it did train


@pytest.mark.parametrize("look", [True, False])
def test_a_training_goes_on_as_if_nobody_had_looked(look, seen=[]):
    tg.seed(3)
    model, loader = net(), pairs(shuffle=True)
    optimizer = tg.optim.Adam(model.parameters(), lr=0.01)
    for epoch in range(3):
        if look:
            lr_find(model, ENTROPY, loader, optimizer, num_it=20)
        fit(model, ENTROPY, loader, optimizer, epochs=1, show=False)
    seen.append(bits(model, optimizer, loader))
    assert seen[0] == seen[-1]


def test_an_error_on_the_way_changes_nothing():
    model, loader = net(), pairs()
    optimizer = tg.optim.Adam(model.parameters())
    before, seen = bits(model, optimizer, loader), []

    def fails(output, target):
        seen.append(1)
        if len(seen) == 5:
            raise KeyboardInterrupt
        return ENTROPY(output, target)
    with pytest.raises(KeyboardInterrupt):
        lr_find(model, fails, loader, optimizer)
    assert bits(model, optimizer, loader) == before and len(seen) == 5


def test_what_the_sweep_does_is_a_training_with_those_rates():
    tg.seed(1)
    model, loader = net(dropout=0.0), pairs()
    found = lr_find(model, ENTROPY, loader, tg.optim.SGD(model.parameters()), start=1e-3, end=0.1, num_it=9)
    optimizer, losses = tg.optim.SGD(model.parameters(), lr=lambda t: 1e-3 * 100 ** (t / 8)), []
    for x, y in itertools.islice(itertools.cycle(loader), 9):
        optimizer.zero_grad()
        loss = ENTROPY(model(x), y)
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
    assert found.losses == pytest.approx(losses, rel=1e-6) and found.lrs[0] == 1e-3 and found.lrs[-1] == pytest.approx(0.1)


def test_short_loaders_are_cycled_with_a_new_order_each_time():
    loader, seen = pairs(shuffle=True), []
    model = net()
    lr_find(model, lambda output, y: seen.append(y.tolist()) or ENTROPY(output, y), loader, tg.optim.SGD(model.parameters()),
            end=1e-3, num_it=2 * len(loader))
    half = len(loader)
    assert seen[:half] != seen[half:] and sorted(sum(seen[:half], [])) == sorted(sum(seen[half:], []))


def test_groups_keep_the_ratio_of_their_rates():
    model, seen = net(), []
    optimizer = tg.optim.SGD(tg.optim.layer_rates(model, 0.1, 0.5))
    lr_find(model, lambda output, y: seen.append([g["lr"] for g in optimizer.param_groups]) or ENTROPY(output, y), pairs(),
            optimizer,
            start=1e-3, end=1.0, num_it=5, stop_dv=False)
    shares = 0.5 ** np.arange(len(optimizer.param_groups))[::-1]
    np.testing.assert_allclose(seen, np.outer(np.logspace(-3, 0, 5), shares))


def test_validation_and_metrics_at_each_step_on_the_next_batch():
    model, loader, valid = net(), pairs(), pairs(n=30, batch_size=10)
    seen = []
    found = lr_find(model, ENTROPY, loader, tg.optim.SGD(model.parameters()), end=1e-3, num_it=7, valid=valid,
                    metrics={"accuracy": accuracy, "first": lambda output, y: seen.append(y.tolist()) or 1.0})
    labels = [y.tolist() for _, y in valid]
    assert seen == (labels * 3)[:7] and len(found.valid_losses) == 7 and len(found.metrics["accuracy"]) == 7
    assert lr_find(model, ENTROPY, loader, tg.optim.SGD(model.parameters()), num_it=4, end=1e-3, metrics={"accuracy": accuracy}
                   ).metrics["accuracy"] != [] and len(set(found.valid_losses)) > 3


@pytest.mark.parametrize("stop_dv, steps", [(True, 3), (False, 6)])
def test_it_stops_where_the_loss_explodes_or_goes_on_when_told(stop_dv, steps):
    model = Recorded([1.0, 1.0, 9.0, 9.0, 9.0, 9.0])
    found = lr_find(model, lambda output, target: output, itertools.repeat((0, 0)), tg.optim.SGD([model.w]), num_it=6,
                    stop_dv=stop_dv, beta=0.0)
    assert len(found.lrs) == steps and found.diverged


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("stop_dv", [True, False])
def test_what_is_not_finite_ends_the_curve_and_is_not_in_it(bad, stop_dv):
    model = Recorded([2.0, 1.0, 0.5, 0.6, bad, 0.1])
    found = lr_find(model, lambda output, target: output, itertools.repeat((0, 0)), tg.optim.SGD([model.w]), num_it=6,
                    stop_dv=stop_dv, beta=0.0)
    assert found.losses == [2.0, 1.0, 0.5, 0.6] and found.diverged and found.suggestion("minimum") == pytest.approx(found.lrs[2] / 10)


def test_negative_losses_are_no_divergence():
    sweep = Sweep(beta=0.0)
    for lr, loss in zip((1, 2, 3, 4, 5, 6), (-1.0, -2.0, -3.0, -2.9, 5.9, 6.1)):
        assert not sweep.diverged
        sweep.add(lr, loss)
    assert sweep.diverged                                   # more than three times |best| above the best


def test_a_curve_that_only_rises_has_no_suggestion():
    sweep = Sweep(beta=0.0)
    for lr in (1.0, 2.0, 3.0, 4.0):
        sweep.add(lr, lr)
    for how in ("minimum", "steepest", "valley"):
        with pytest.raises(ValueError, match="never fell in 4 steps from lr = 1.0: start lower"):
            sweep.suggestion(how)
    with pytest.raises(ValueError, match="got 'best', expected 'minimum', 'steepest', 'valley' or 'lowest'"):
        sweep.suggestion("best")
    with pytest.raises(ValueError, match="never fell in 0 steps"):
        Sweep().suggestion()


@pytest.mark.parametrize("options, message", [
    (dict(start=1.0, end=1.0), "expected 0 < start < end"), (dict(start=0.0), "expected 0 < start < end"),
    (dict(start=10.0, end=0.1), "start=10.0 and end=0.1"), (dict(end=math.inf), "expected 0 < start < end"),
    (dict(num_it=1), "num_it: got 1, expected at least 2"), (dict(beta=1.0), "beta: got 1.0"),
    (dict(batches=[]), "batches has no batches"),
    (dict(valid=[]), "valid has no batches"), (dict(batches=iter([(np.zeros((2, 6), "f"), np.zeros(2, int))])),
                                               "an iterator cannot be started again"),
    (dict(loss_fn=lambda output, target: output), r"the loss is a Tensor of shape \(8, 3\), expected a Tensor with one number"),
    (dict(loss_fn=lambda output, target: 1.0), "the loss is a float"),
    (dict(batches=[np.zeros(3), np.zeros(3)]), r"expected \(input, ..., target\)"),
    (dict(metrics={"hits": lambda output, target: output.data.argmax(axis=1) == target}),
     r"metric 'hits' is of shape \(8,\), expected one number"),
])
def test_bad_input_is_a_sentence_and_nothing_changes(options, message):
    model, loader = net(), pairs()
    optimizer = tg.optim.Adam(model.parameters())
    before = bits(model, optimizer, loader)
    options = {"loss_fn": ENTROPY, "batches": loader, **options}
    with pytest.raises((ValueError, TypeError), match=message):
        lr_find(model, optimizer=optimizer, **options)
    assert bits(model, optimizer, loader) == before


def test_one_batch_is_warned_of():
    model, loader = net(), pairs(batch_size=64)
    with pytest.warns(UserWarning, match="there is one batch: all 5 steps see it"):
        assert len(lr_find(model, ENTROPY, loader, tg.optim.SGD(model.parameters()), num_it=5, end=1e-3).lrs) == 5


@pytest.mark.parametrize("smoothed", [True, False])
def test_the_picture(smoothed):
    import matplotlib.pyplot as plt
    model = net()
    found = lr_find(model, ENTROPY, pairs(), tg.optim.SGD(model.parameters()), start=1e-4, valid=pairs(),
                    metrics={"accuracy": accuracy})
    figure, ax = plt.subplots()
    assert found.plot(smoothed=smoothed, ax=ax) is ax and ax.get_xscale() == "log"
    labels = [line.get_label() for line in ax.lines]
    assert ("smoothed" in labels) is smoothed and "validation" in labels and any(label.startswith("valley") for label in labels)
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), found.losses)
    assert len(figure.axes) == 2                            # the metrics have their own scale
    figure.canvas.draw()
    plt.close(figure)
    plt.close(Sweep().plot().figure)                        # an empty one does not fail
