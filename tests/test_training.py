"""The training loop: what it does step by step, what it records, callbacks, and bad input that changes nothing."""
import math

import numpy as np
import pytest

import tinygrad_lite as tg
from tests.trainings import bits, net, pairs
from tinygrad_lite.training import EarlyStop, GradualUnfreezing, History, accuracy, evaluate, fit

ENTROPY, S = tg.losses.cross_entropy, tg.schedules


def by_hand(model, loader, optimizer, epochs, clip=None):
    losses, norms = [], []
    model.train()
    for _ in range(epochs):
        for x, y in loader:
            optimizer.zero_grad()
            loss = ENTROPY(model(x), y)
            loss.backward()
            norms.append(tg.clip.clip_grad_norm_(model.parameters(), clip or math.inf))
            optimizer.step()
            losses.append(loss.item())
    return losses, norms


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("make", [lambda p: tg.optim.SGD(p, lr=S.OneCycleLR(0.5, total_steps=24),
                                                         momentum=S.OneCycleLR(0.5, total_steps=24).momentum),
                                  lambda p: tg.optim.Adam(p, lr=0.01), lambda p: tg.optim.Adagrad(p, lr=S.SineRestarts(0.1, 10))])
def test_it_is_the_loop_one_would_write(make, clip):
    found = []
    for way in ("fit", "hand"):
        tg.seed(0)
        model, loader = net(), pairs(shuffle=True)
        optimizer = make(model.parameters())
        if way == "fit":
            history = fit(model, ENTROPY, loader, optimizer, epochs=3, clip=clip, show=False)
            seen = history.steps["loss"], history.steps["grad_norm"]
        else:
            seen = by_hand(model, loader, optimizer, 3, clip)
        found.append((bits(model, optimizer, loader), *seen))
    assert found[0] == found[1]


@pytest.mark.parametrize("accumulate", [2, 4, 8])
@pytest.mark.parametrize("drop", [0, 3])
def test_accumulation_equals_the_large_batch(accumulate, drop):
    """Also where the last micro-batch is smaller: its gradient weighs less."""
    found = []
    for size, steps in ((8, accumulate), (8 * accumulate, 1)):
        tg.seed(0)
        model = net(dropout=0.0, batch_norm=False).double()
        x = np.random.default_rng(0).normal(size=(64 - drop, 6))
        loader = tg.data.DataLoader(x, x[:, :3].argmax(axis=1), batch_size=size)
        optimizer = tg.optim.Adam(model.parameters(), lr=0.01)
        history = fit(model, ENTROPY, loader, optimizer, epochs=3, accumulate=steps, clip=0.3, show=False)
        found.append([p.data for p in model.parameters()] + [history.steps["loss"], history.steps["grad_norm"],
                                                             history.epochs["loss"]])
    assert len(found[0][-2]) == 3 * 8 // accumulate
    for small, large in zip(*found):
        np.testing.assert_allclose(small, large, rtol=1e-9)


def test_the_history_has_everything():
    model, valid = net(), pairs(n=24, seed=5)
    rate = S.OneCycleLR(0.5, total_steps=16)
    optimizer = tg.optim.SGD(model.parameters(), lr=rate, momentum=rate.momentum)
    h = fit(model, ENTROPY, pairs(), optimizer, epochs=2, valid=valid, metrics={"accuracy": accuracy}, show=False)
    assert set(h.steps) == {"loss", "lr", "momentum", "grad_norm", "stepped"} and {len(v) for v in h.steps.values()} == {16}
    assert h.steps["lr"] == [rate(t) for t in range(16)] and h.steps["momentum"] == [rate.momentum(t) for t in range(16)]
    assert set(h.epochs) == {"loss", "valid_loss", "accuracy", "lr", "seconds"} and {len(v) for v in h.epochs.values()} == {2}
    assert h.epochs["loss"] == pytest.approx([np.mean(h.steps["loss"][:8]), np.mean(h.steps["loss"][8:])])
    found = evaluate(model, ENTROPY, valid, {"accuracy": accuracy})
    assert (h["valid_loss"][-1], h["accuracy"][-1]) == (found["loss"], found["accuracy"])
    again = History()
    again.load_state_dict(h.state_dict())
    assert again.steps == h.steps and again.epochs == h.epochs


def test_adams_first_beta_is_its_momentum_and_sgd_without_has_zero():
    for optimizer, expected in ((tg.optim.Adam, 0.9), (tg.optim.SGD, 0.0)):
        model = net()
        assert fit(model, ENTROPY, pairs(), optimizer(model.parameters()), epochs=1, show=False).steps["momentum"] == [expected] * 8


def test_metrics_without_validation_are_measured_on_the_way():
    model = net(dropout=0.0, batch_norm=False)
    seen = []
    h = fit(model, ENTROPY, pairs(n=20, batch_size=8), tg.optim.SGD(model.parameters(), lr=0.1), epochs=1, show=False,
            metrics={"size": lambda output, y: seen.append(output.requires_grad) or len(y)})
    assert h["size"] == [(8 * 8 + 8 * 8 + 4 * 4) / 20] and not any(seen)      # weighted by the batches' sizes


def test_the_epochs_loss_weighs_batches_by_their_size():
    model = net(dropout=0.0, batch_norm=False)
    loader, optimizer = pairs(n=20, batch_size=8), tg.optim.SGD(model.parameters(), lr=0.0)
    whole = evaluate(model, ENTROPY, loader)["loss"]
    assert fit(model, ENTROPY, loader, optimizer, epochs=1, show=False)["loss"] == [pytest.approx(whole, rel=1e-6)]


def test_modes_are_put_back_and_right_on_the_way():
    model, modes = net(), []
    model.eval()

    def loss_fn(output, y):
        modes.append(model.drop.training)
        return ENTROPY(output, y)
    fit(model, loss_fn, pairs(), tg.optim.SGD(model.parameters()), epochs=2, valid=pairs(n=8), show=False)
    assert modes == [True, False] + ([True] * 8 + [False]) * 2 and not model.training and not model.drop.training


def test_reduce_on_plateau_is_shown_the_validation_loss():
    for valid, key in ((pairs(n=8), "valid_loss"), (None, "loss")):
        model, rate, twin = net(), S.ReduceLROnPlateau(0.5, factor=0.5, patience=0), S.ReduceLROnPlateau(0.5, factor=0.5,
                                                                                                         patience=0)
        h = fit(model, ENTROPY, pairs(), tg.optim.SGD(model.parameters(), lr=rate), epochs=8, valid=valid, show=False)
        assert h["lr"] == [twin.observe(loss) for loss in h[key]] and h["lr"][-1] < 0.5


@pytest.mark.parametrize("clip", [tg.clip.normalize_grad_, tg.clip.adaptive_clip_grad_,
                                  lambda params: tg.clip.clip_grad_value_(params, 1e-3)])
def test_any_clipping(clip):
    model, seen = net(), []

    class Watch:
        def on_step(self, run):
            seen.append([p.grad.copy() for p in run.params])
    h = fit(model, ENTROPY, pairs(), tg.optim.SGD(model.parameters(), lr=0.0), epochs=1, clip=clip, callbacks=[Watch()], show=False)
    norms = [np.sqrt(sum((g.astype(float) ** 2).sum() for g in grads)) for grads in seen]
    assert all(n < before for n, before in zip(norms, h.steps["grad_norm"])) or norms == pytest.approx([1.0] * 8)


def test_several_inputs_and_several_optimizers():
    class Two(tg.nn.Module):
        def __init__(self):
            self.a, self.b = tg.nn.Linear(6, 3), tg.nn.Embedding(4, 3, sparse=True)

        def forward(self, x, ids):
            return self.a(x) + self.b(ids)
    model, rng = Two(), np.random.default_rng(0)
    loader = tg.data.DataLoader(rng.normal(size=(32, 6)).astype("f"), rng.integers(0, 4, 32), rng.integers(0, 3, 32), batch_size=8)
    h = fit(model, ENTROPY, loader, tg.optim.SparseDense(model, lr=0.05), epochs=30, show=False)
    assert h["loss"][-1] < 0.8 * h["loss"][0]


# --- callbacks
def test_callbacks_come_in_order_and_can_stop():
    seen = []

    class All:
        def on_start(self, run): seen.append("start")
        def on_step(self, run): seen.append((run.epoch, run.batch, run.step))
        def on_finish(self, run): seen.append("finish")
    model = net()
    h = fit(model, ENTROPY, pairs(n=16), tg.optim.SGD(model.parameters()), epochs=2,
            callbacks=[All(), lambda run: seen.append(f"epoch {run.epoch}")],
            show=False)
    assert seen == ["start", (0, 1, 1), (0, 2, 2), "epoch 1", (1, 1, 3), (1, 2, 4), "epoch 2", "finish"]

    class Stop:
        def on_step(self, run):
            run.stop = "enough" if run.step == 3 else None
    h = fit(model, ENTROPY, pairs(n=16), tg.optim.SGD(model.parameters()), epochs=9, callbacks=[Stop()], show=False)
    assert len(h.steps["loss"]) == 3 and len(h.epochs["loss"]) == 1


@pytest.mark.parametrize("mode, losses, patience, epochs, best", [
    ("min", [3, 2, 2.5, 2.2, 1.9], 2, 4, 1), ("min", [3, 2, 1, 0.5], 1, 4, 3), ("max", [1, 3, 2, 2.9, 5], 3, 5, 4),
    ("min", [3, math.nan, 2, math.nan, math.nan, 1], 2, 5, 2), ("min", [math.nan, math.nan], 2, 2, None)])
def test_early_stop_keeps_the_best_weights(mode, losses, patience, epochs, best):
    model, values, weights = net(), iter(losses), []
    stop = EarlyStop("score", patience=patience, mode=mode)

    class Score:
        def on_epoch(self, run):
            run.history.epochs.setdefault("score", []).append(next(values))
            weights.append(run.model.state_dict())
    h = fit(model, ENTROPY, pairs(n=16), tg.optim.SGD(model.parameters(), lr=0.1), epochs=len(losses), callbacks=[Score(), stop],
            show=False)
    assert len(h.steps["loss"]) == 2 * epochs
    if best is not None:
        assert all((weights[best][k] == v).all() for k, v in model.state_dict().items())
    with pytest.raises(KeyError, match="'speed' is not measured; there are loss, lr, seconds"):
        fit(model, ENTROPY, pairs(n=16), tg.optim.SGD(model.parameters()), epochs=1, callbacks=[EarlyStop("speed")], show=False)
    with pytest.raises(ValueError, match="mode: got 'up'"):
        EarlyStop(mode="up")


def test_gradual_unfreezing_moves_one_more_layer_each_epoch():
    model, moved = net(dropout=0.0), []
    names = ["first.weight", "norm.weight", "last.weight"]

    class Watch:
        def on_start(self, run):
            self.before = run.model.state_dict()

        def on_epoch(self, run):
            now = run.model.state_dict()
            moved.append([bool((now[n] != self.before[n]).any()) for n in names])
            self.before = now
    optimizer = tg.optim.AdamW(tg.optim.layer_rates(model, 0.01, 0.5), weight_decay=0.1)
    fit(model, ENTROPY, pairs(), optimizer, epochs=4, callbacks=[Watch(), GradualUnfreezing()], show=False)
    assert moved == [[False, False, True], [False, True, True], [True, True, True], [True, True, True]]


# --- what is not finite
class Fragile(tg.nn.Module):
    def __init__(self):
        self.first, self.last = tg.nn.Linear(6, 4), tg.nn.Linear(4, 3)
        self.norm, self.drop = tg.nn.BatchNorm1d(4), tg.nn.Dropout(0.5)

    def forward(self, x):
        return self.last(self.drop(np.log(self.norm(self.first(x)) * 0 + x[:, :1])))


def test_a_step_that_is_not_finite_is_not_taken_and_its_culprit_named():
    tg.seed(0)
    x = np.abs(np.random.default_rng(0).normal(size=(40, 6))).astype("f") + 0.1
    x[27, 0] = -1.0
    model = Fragile()
    loader, optimizer = tg.data.DataLoader(x, x[:, :3].argmax(axis=1), batch_size=8), tg.optim.SGD(model.parameters(), lr=0.01)
    states = []

    class Watch:
        def on_step(self, run):
            states.append(bits(model, optimizer))
    with np.errstate(invalid="ignore"), pytest.raises(FloatingPointError) as error:
        fit(model, ENTROPY, loader, optimizer, epochs=2, callbacks=[Watch()], show=False)
    message = str(error.value)
    assert message.startswith("fit: step 3 (epoch 0, batch 3): the loss is nan. This step was not taken. forward of log: its result is")
    assert "self.drop(np.log(" in message and len(states) == 3
    assert bits(model, optimizer)[:2] == states[-1][:2]                 # running statistics, too, are those before the step


def test_a_gradient_that_is_not_finite_under_a_finite_loss():
    model = tg.nn.Linear(2, 1)
    message = r"(?s)the loss is [\d.]+ but the gradient's norm is (nan|inf).*backward of sqrt"
    with pytest.raises(FloatingPointError, match=message), np.errstate(all="ignore"):
        fit(model, lambda output, y: np.sqrt(output * 0).sum() + (output ** 2).mean(), [(np.ones((4, 2), "f"), np.ones(4, "f"))],
            tg.optim.SGD(model.parameters()), epochs=1, show=False)


def test_a_rate_that_is_not_finite_is_named():
    model = net()
    before = model.state_dict()
    with pytest.raises(FloatingPointError, match=r"step 0 .*the learning rate is \[nan\]"):
        fit(model, ENTROPY, pairs(), tg.optim.SGD(model.parameters(), lr=lambda t: math.nan), epochs=1, show=False)
    assert all((before[k] == v).all() for k, v in model.state_dict().items())


# --- bad input
@pytest.mark.parametrize("options, message", [
    (dict(train=[]), "train has no batches"), (dict(train=pairs(n=0)), "train has no batches"),
    (dict(valid=[]), "valid has no batches"),
    (dict(train=pairs(n=3, drop_last=True)), "train has no batches: is its data empty, or shorter than one batch"),
    (dict(train=iter([])), "train: got list_iterator, expected a DataLoader or a list"),
    (dict(valid=(x for x in [])), "valid: got generator"),
    (dict(accumulate=3), r"accumulate=3 does not divide the 8 batches of an epoch.*one of \[1, 2, 4, 8\]"),
    (dict(accumulate=0), "accumulate=0"),
    (dict(epochs=1.5), "epochs: got 1.5, expected a whole number"), (dict(callbacks=[3]), "callbacks: got 3, expected a function or"),
    (dict(epochs=-1), "epochs: got -1"), (dict(loss_fn=lambda o, y: o),
                                          r"the loss is a Tensor of shape \(8, 3\), expected a Tensor with one number"),
    (dict(loss_fn=lambda o, y: 0.5), r"the loss is a float of shape \(\)"),
    (dict(loss_fn=lambda o, y: ENTROPY(o.detach(), y)), "depends on no parameter"),
    (dict(metrics={"hits": lambda o, y: o.data.argmax(1) == y}), r"the metric 'hits' is of shape \(8,\), expected one number"),
    (dict(metrics={"hits": lambda o, y: o.data.argmax(1) == y}, valid=pairs()),
     r"the metric 'hits' is of shape \(8,\), expected one number"),
    (dict(train=[np.zeros(3), np.ones(3)]), r"got a batch of ndarray, expected \(input, ..., target\)"),
    (dict(train=[(np.zeros(3),)] * 2), "expected"),
])
def test_bad_input_is_a_sentence_and_nothing_changes(options, message):
    model, loader = net(), pairs(shuffle=True)
    optimizer, seen = tg.optim.Adam(model.parameters()), []
    before = bits(model, optimizer, loader)
    options = {"loss_fn": ENTROPY, "train": loader, "epochs": 1, "callbacks": [lambda run: seen.append(1)], **options}
    with pytest.raises((ValueError, TypeError), match=message):
        fit(model, optimizer=optimizer, show=False, **options)
    assert bits(model, optimizer, loader) == before and not seen


def test_parameters_of_another_model_are_told():
    model, other = net(), net()
    with pytest.raises(RuntimeError, match="no parameter of the optimizer got a gradient: are they this model's"):
        fit(model, ENTROPY, pairs(), tg.optim.SGD(other.parameters()), epochs=1, show=False)


# --- what one sees
def test_the_bar_and_its_silence(capsys):
    model = net()
    optimizer = tg.optim.SGD(model.parameters(), lr=0.1)
    fit(model, ENTROPY, pairs(), optimizer, epochs=5, valid=pairs(n=8), metrics={"accuracy": accuracy}, show=False)
    assert capsys.readouterr().out == ""
    fit(model, ENTROPY, pairs(), optimizer, epochs=5, valid=pairs(n=8), metrics={"accuracy": accuracy})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10 and "40/40 100 %  epoch 5/5, loss 0." in lines[-1] and ", valid_loss 0." in lines[-1] and "accuracy" in lines[-1]
    assert lines[-1].endswith("/s") and "to go" in lines[-1]
    assert fit(model, ENTROPY, pairs(), optimizer, epochs=0).steps == {} and capsys.readouterr().out == ""


def test_pictures():
    import matplotlib.pyplot as plt
    model = net()
    rate = S.OneCycleLR(0.5, total_steps=24)
    h = fit(model, ENTROPY, pairs(), tg.optim.SGD(model.parameters(), lr=rate, momentum=rate.momentum), epochs=3, valid=pairs(n=8),
            metrics={"accuracy": accuracy}, show=False)
    figure, (left, right) = plt.subplots(1, 2)
    assert h.plot_lr(ax=left) is left and list(left.lines[0].get_ydata()) == h.steps["lr"]
    assert list(figure.axes[-1].lines[0].get_ydata()) == h.steps["momentum"]
    assert h.plot(ax=right) is right and [line.get_label() for line in right.lines] == ["loss", "valid_loss"]
    assert [line.get_label() for line in h.plot("accuracy").lines] == ["accuracy"]
    figure.canvas.draw()
    plt.close("all")
