"""Every schedule

A schedule is a function of the step and of nothing else: ask it in any order, from the middle, twice, and it says the same.
A run that was interrupted therefore goes on exactly where it was. Each panel is one class of `tinygrad_lite.schedules` with
the call that made it; where a momentum goes with the rate it is dashed, on the right-hand scale. Only ReduceLROnPlateau
remembers something, the losses it was shown.

    python examples/gallery/schedules_picture.py [--picture schedules_picture.png]
"""
import argparse
import dataclasses
import random
import textwrap
from pathlib import Path

from tinygrad_lite import schedules as S

STEPS = 60


def halves(t):
    return 0.5 ** (t // 15)


def shrink(t):
    return 1 - 1 / (t + 5)


def plateau(losses=(1.0, 0.7, 0.5, 0.4, 0.35, 0.33, 0.32)):
    """The rate of each step, for losses that stop falling."""
    s = S.ReduceLROnPlateau(0.1, factor=0.5, patience=8)
    return [s.observe(losses[min(t, len(losses) - 1)]) for t in range(STEPS)]


FAMILIES = {            # in the order of the picture
    "falling": [S.StepLR(0.1, 15, gamma=0.5), S.MultiStepLR(0.1, [10, 30, 45], gamma=0.5), S.ExponentialLR(0.1, gamma=0.95),
                S.PolynomialLR(0.1, total_iters=50, power=2), S.SWALR(0.1, swa_lr=0.03, anneal_epochs=25),
                S.ReduceLROnPlateau(0.1, factor=0.5, patience=8)],
    "rising, or your own": [S.ConstantLR(0.1, factor=0.3, total_iters=20), S.LinearLR(0.1, start_factor=0.1, total_iters=30),
                            S.Warmup(0.1, 20, start_factor=0.02, kind="exp"), S.Noam(d_model=64, warmup=15), S.LambdaLR(0.1, halves),
                            S.MultiplicativeLR(0.1, shrink)],
    "waves": [S.CosineAnnealingLR(0.1, T_max=30), S.CosineAnnealingWarmRestarts(0.1, T_0=8, T_mult=2), S.SineRestarts(0.1, 20),
              S.Snapshot(0.1, total=60, cycles=4), S.CyclicLR(0.01, 0.1, step_size_up=10, mode="triangular2"),
              S.OneCycleLR(0.1, total_steps=60)],
    "Caffe's": [S.Fixed(0.1), S.Step(0.1, gamma=0.4, stepsize=15), S.Exp(0.1, gamma=0.95), S.Inv(0.1, gamma=0.1, power=0.75),
                S.MultiStep(0.1, gamma=0.5, stepvalues=[10, 30, 45]), S.Poly(0.1, power=2, max_iter=60)],
    "joined, and others": [S.Sigmoid(0.1, gamma=-0.2, stepsize=30), S.OneCycleFastai(0.1, nb=60, pct=20, max_mom=0.95, min_mom=0.85),
             S.OneCycleLR(0.1, total_steps=60, three_phase=True).momentum,
             S.SequentialLR([S.Warmup(0.1, 10), S.CosineAnnealingLR(0.1, T_max=50)], [10]),
             S.ChainedScheduler([S.Warmup(0.1, 10), S.CosineAnnealingWarmRestarts(0.1, T_0=15)]),
             S.SequentialLR([S.OneCycleLR(0.1, total_steps=20)] * 3, [20, 40])],
}


def measure():
    """[(schedule, rates, momenta or None)] in the order of the picture."""
    found = []
    for s in (s for family in FAMILIES.values() for s in family):
        rates = plateau() if isinstance(s, S.ReduceLROnPlateau) else [s(t) for t in range(STEPS)]
        momentum = isinstance(s, (S.OneCycleLR, S.CyclicLR, S.OneCycleFastai))
        found.append((s, rates, [s.momentum(t) for t in range(STEPS)] if momentum else None))
    return found


def check(found):
    """Every claim of the docstring."""
    drawn, known = {type(s) for s, _, _ in found}, set(S.ALL)
    claim(drawn == known, f"every schedule should have a panel; without: {sorted(c.__name__ for c in known - drawn)}")
    order = random.Random(0).sample(range(STEPS), STEPS)
    for s, rates, momenta in found:
        name = type(s).__name__
        claim(all(0 <= v < 1 for v in rates), f"{name}: rates should be at least 0 and below 1")
        if isinstance(s, S.ReduceLROnPlateau):
            continue
        claim([s(t) for t in order] == [rates[t] for t in order], f"{name}: asked in another order it should say the same")
        if momenta:
            top = rates.index(max(rates))
            claim(momenta[top] == min(momenta), f"{name}: the momentum should be lowest where the rate is highest")


def call(s):
    """The call that makes s, without the arguments that are left at their defaults."""
    if isinstance(s, tuple):
        return f"[{', '.join(map(call, s))}]"
    if not isinstance(s, S.Schedule):
        return getattr(s, "__name__", None) or (f"{s:g}" if isinstance(s, float) else repr(s))
    if isinstance(s, S.Momentum):
        return f"{call(s.of)}.momentum"
    given = [f for f in dataclasses.fields(s) if f.init and f.repr and getattr(s, f.name) != f.default]
    return f"{type(s).__name__}({', '.join(f'{f.name}={call(getattr(s, f.name))}' for f in given)})"


def claim(holds, message):
    if not holds:
        raise AssertionError(message)


def draw(found, path):
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    columns = 6
    figure, axes = plt.subplots(len(found) // columns, columns, figsize=(22, 16), layout="constrained")
    names = list(FAMILIES)
    colors = ["#1f6fb4", "#2a9d55", "#c8202f", "#7a3fb0", "#e07b00"]
    for i, (ax, (s, rates, momenta)) in enumerate(zip(axes.flat, found)):
        color = colors[i // columns]
        steps = dict(drawstyle="steps-post") if type(s).__name__ in ("StepLR", "MultiStepLR", "Step", "MultiStep", "ConstantLR",
                                                                     "LambdaLR", "ReduceLROnPlateau") else {}
        ax.plot(rates, color=color, linewidth=2, **steps)
        ax.set_title(type(s).__name__, fontweight="bold", fontsize=12)
        ax.set(xlim=(0, STEPS), ylim=(0.8, 1) if isinstance(s, S.Momentum) else (0, None))
        ax.set_xlabel(textwrap.fill(call(s), 44, break_long_words=False), fontsize=9, family="monospace")
        ax.grid(alpha=0.25)
        ax.tick_params(labelsize=8)
        if i % columns == 0:
            ax.set_ylabel(names[i // columns], fontsize=13, fontweight="bold", color=color)
        if momenta:
            twin = ax.twinx()
            twin.plot(momenta, "--", color="0.35", linewidth=1)
            twin.set(ylim=(0.75, 1))
            twin.tick_params(labelsize=7, colors="0.35")
    figure.suptitle(f"Every schedule over {STEPS} steps: the rate, and dashed the momentum where one goes with it", fontsize=17)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture", default="schedules_picture.png", metavar="PATH", help="default schedules_picture.png")
    args = parser.parse_args(argv)
    found = measure()
    print(f"{'':30s}{'first':>10s}{'highest':>10s}{'at step':>9s}{'last':>10s}")
    for s, rates, _ in found:
        print(f"{type(s).__name__:30s}{rates[0]:10.5f}{max(rates):10.5f}{rates.index(max(rates)):9d}{rates[-1]:10.5f}")
    check(found)
    draw(found, args.picture)
    print(f"picture  {Path(args.picture).resolve()}")
    return found


if __name__ == "__main__":
    main()
