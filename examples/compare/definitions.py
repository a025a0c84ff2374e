"""What PyTorch does not have is compared with recorded results of float64 definitions: those that the tests use too.

Each function yields (name, run, expected): `run(L, rng) -> [arrays]`, as in items.py, and the results it should have.
"""
import runpy
from functools import partial
from pathlib import Path

import numpy as np

import tinygrad_lite as tg


def vectors(file):
    return runpy.run_path(str(Path(__file__).parents[2] / "tests" / "data" / "__init__.py"))["load_reference"](file)


def optimizers():
    data = vectors("optimizers_plain")
    for case in data["cases"]:
        yield case["optimizer"], partial(optimizer, case, data["sequences"][case["sequence"]]), case["params_after"][-1]


def optimizer(case, sequence, L, rng):
    params = [L.param(np.array(a)) for a in sequence["params"]]
    opt = getattr(L.optim, case["optimizer"])(params, **{k: tuple(v) if isinstance(v, list) else v
                                                         for k, v in {**case["defaults"], **case["kwargs"]}.items()})
    for t, grads in enumerate(sequence["grads"]):
        if case.get("lr_per_step"):
            opt.param_groups[0]["lr"] = case["lr_per_step"][t]
        for p, g in zip(params, grads):
            L.give(p, g)
        opt.step()
    return [L.array(p) for p in params]


FORMULAS = dict(sine_restart="SineRestarts", warmup="Warmup", noam="Noam", snapshot="Snapshot", clr_beta="OneCycleFastai", fixed="Fixed",
                step="Step", exp="Exp", inv="Inv", multistep="MultiStep", poly="Poly", sigmoid="Sigmoid")


def schedules():
    for case in vectors("schedules")["cases"]:
        if case["source"] == "formula":
            options = {"restart" if k == "R" else k: v for k, v in case["kwargs"].items()}
            s = getattr(tg.schedules, FORMULAS[options.pop("policy", case["scheduler"])])(**options)
            yield type(s).__name__, partial(values, s, len(case["lr"])), [case["lr"]]
            if case.get("momentum"):
                yield "Momentum", partial(values, s.momentum, len(case["lr"])), [case["momentum"]]


def values(s, steps, L, rng):
    return [np.array([s(t) for t in range(steps)])]


PLAIN_LOSSES = dict(hinge="hinge_loss", squared_hinge="squared_hinge_loss", crammer_singer="multiclass_hinge_loss",
                    contrastive="contrastive_loss", triplet_cosine="triplet_cosine_loss", info_nce="info_nce_loss",
                    nt_xent="nt_xent_loss", infogain="infogain_loss", focal="focal_loss",
                    snn_naive="soft_nearest_neighbor_loss", snn_lse="soft_nearest_neighbor_loss")


def losses():
    for case in vectors("losses")["cases"]:
        name = PLAIN_LOSSES.get(case["loss"])
        if name and hasattr(tg.losses, name):
            yield name, partial(loss, case, name), [case["value"], *[g for g in case["grads"].values() if g is not None]]


@np.errstate(all="ignore")              # some are infinite, and say so, on purpose
def loss(case, name, L, rng):
    inputs = {k: L.leaf(v) if k in case["grads"] else L.there(v) if isinstance(v, np.ndarray) else v for k, v in case["inputs"].items()}
    options = {"temperature" if k == "T" else k: v for k, v in case["kwargs"].items()}
    if case["loss"].startswith("snn"):
        options["method"] = "naive" if case["loss"] == "snn_naive" else "batched"
    out = getattr(L.losses, name)(*inputs.values(), **options)
    out.backward(case["grad_output"])
    return [L.array(out), *[L.array(inputs[k].grad) for k, g in case["grads"].items() if g is not None]]
