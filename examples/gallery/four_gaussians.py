"""Four Gaussians through noisy points

A sum of four Gaussians, twelve parameters, is fitted to 400 noisy points by `scipy.optimize.least_squares`, with our Jacobian. A
matrix of 400 rows would take a backward pass a row; giving every point its own copy of the parameters takes one for all of them:
no point sees another's copy, so the gradient of the sum of all residuals is the Jacobian, a row a point. Finite differences call
the model twelve times for a matrix with half the digits. (In time it is a draw here: this model costs next to nothing to call.)

Where to start: at the peaks of the smoothed points. Smoothing with a Gaussian of width w makes every peak wider, s^2 + w^2, so
w^2 is subtracted again. From there 8 iterations do. From a poor start, four equal Gaussians in the middle, it takes several times
as many; ten are not enough; and without bounds, which keep heights and widths positive, it ends elsewhere, with widths below 0.
The means are sorted, for which Gaussian comes first is up to the search. A caution: thin the points out before fitting, and the
narrow peak falls between them. Averages of neighbours keep it.

    python examples/gallery/four_gaussians.py [--picture four_gaussians.png] [--seed 0]
"""
import sys
import time

import numpy as np
from _shared import claim, run

import tinygrad_lite as tg

POINTS, NOISE, SMOOTH, THIN = 400, 0.03, 1.0, 16
TRUTH = np.array([[1.0, 0.7, 1.2, 0.8], [20.0, 36.0, 58.1, 75.0], [3.0, 4.0, 0.5, 5.0]])         # heights, means, widths
LOW, HIGH = np.repeat([0.0, 0.0, 0.1], 4), np.repeat([5.0, 100.0, 30.0], 4)
SUBTRACT = True


def curve(p, x):
    """sum_i a_i exp(-(x - m_i)^2 / 2 s_i^2), p: (12,), or (12, points) where every point has its own."""
    total = 0
    for a, m, s in zip(p[:4], p[4:8], p[8:]):
        total = total + a * np.exp(-((x - m) / s) ** 2 / 2)
    return total


def jacobian(p, x):
    """d curve / d p, (points, 12), by one backward pass."""
    own = tg.Tensor(np.repeat(p[:, None], len(x), axis=1), requires_grad=True)
    curve(own, x).sum().backward()
    return own.grad.T


def smoothed(y, spacing):
    from scipy.ndimage import gaussian_filter1d
    return gaussian_filter1d(y, SMOOTH / spacing, mode="nearest")


def start(x, y):
    """Heights, means and widths of the four highest peaks of the smoothed points."""
    from scipy.signal import find_peaks, peak_widths
    spacing = x[1] - x[0]
    soft = smoothed(y, spacing)
    peaks, about = find_peaks(soft, prominence=0.05)
    best = np.sort(np.resize(peaks[np.argsort(about["prominences"])[::-1][:4]], 4))          # one twice where three are found
    variance = (peak_widths(soft, best, rel_height=0.5)[0] * spacing / 2.3548) ** 2           # full width at half height = 2.3548 s
    width = np.sqrt(np.maximum(variance - SMOOTH ** 2 * SUBTRACT, 0.1 ** 2))
    return np.concatenate([soft[best] * np.sqrt(variance) / width, x[best], width])


def fit(x, y, p0, jac=True, **options):
    """(parameters sorted by their means, what least_squares says, seconds, calls of the model)"""
    from scipy.optimize import least_squares
    calls = []

    def residuals(p):
        calls.append(1)
        return curve(p, x) - y

    def exact(p):
        calls.append(1)
        return jacobian(p, x)
    begin = time.perf_counter()
    result = least_squares(residuals, np.clip(p0, LOW + 1e-9, HIGH - 1e-9), jac=exact if jac else "2-point", 
                           **{"bounds": (LOW, HIGH), "xtol": 1e-12, "ftol": 1e-12, "gtol": 1e-12, "max_nfev": 200, **options})
    seconds = time.perf_counter() - begin
    order = np.argsort(result.x[4:8])
    return result.x.reshape(3, 4)[:, order], result, seconds, len(calls)


def measure(seed):
    rng = np.random.default_rng(seed)
    x = np.linspace(0, 100, POINTS)
    y = curve(TRUTH.ravel(), x) + NOISE * rng.standard_normal(POINTS)
    p0 = start(x, y)
    difference = (curve(p0 + 1e-8 * np.eye(12)[6], x) - curve(p0, x)) / 1e-8
    thinned, averaged = slice(0, None, THIN), (x.reshape(-1, THIN // 4).mean(axis=1), y.reshape(-1, THIN // 4).mean(axis=1))
    poor, unbounded = np.concatenate([np.full(4, 0.5), [40, 45, 50, 55], np.full(4, 3.0)]), (-np.inf, np.inf)
    found = {"ours": fit(x, y, p0), "finite differences": fit(x, y, p0, jac=False), "a poor start": fit(x, y, poor),
             "a poor start, 10 iterations": fit(x, y, poor, max_nfev=10),
             "a poor start, no bounds": fit(x, y, poor, bounds=unbounded),
             "every 16th point": fit(x[thinned], y[thinned], start(x[thinned], y[thinned])),
             "averages of 4": fit(*averaged, start(*averaged))}
    exact = tg.jacobian(lambda p: curve(p, x), p0)
    return {"x": x, "y": y, "start": p0.reshape(3, 4), "fits": found, "jacobian_error": np.abs(jacobian(p0, x) - exact).max(),
            "difference_error": np.abs(difference - exact[:, 6]).max()}


def report(n):
    print(f"{'':28s}{'means':>34s}{'widths':>30s}{'cost':>10s}{'calls':>7s}{'ms':>8s}")
    rows = {"the truth": (TRUTH, None, 0, 0), "the start": (n["start"], None, 0, 0), **n["fits"]}
    for name, (p, result, seconds, calls) in rows.items():
        cost = f"{result.cost:10.4f}{calls:7d}{1000 * seconds:8.1f}" if result else ""
        print(f"{name:28s}" + "".join(f"{m:8.2f}" for m in p[1]) + "  " + "".join(f"{s:7.2f}" for s in p[2]) + cost)
    print(f"largest error of our Jacobian {n['jacobian_error']:.1e}, of a column of differences {n['difference_error']:.1e}")


def error(p):
    return np.abs(p[1:] - TRUTH[1:]).max()


def check(n):
    """Every claim of the docstring."""
    ours, differences = n["fits"]["ours"], n["fits"]["finite differences"]
    claim(n["jacobian_error"] < 1e-12, "one backward pass should give the Jacobian that a pass a row gives")
    claim(n["difference_error"] > 1000 * n["jacobian_error"], "differences should have lost half the digits")
    claim(np.abs(n["start"][2] - TRUTH[2]).max() < 0.8,
          f"the start's widths should be near the true ones, are {n['start'][2].round(2)}")
    claim(np.abs(ours[0][1] - TRUTH[1]).max() < 0.5 and error(ours[0]) < 0.8,
          f"the fit should find means and widths, is {error(ours[0]):.2f} away")
    claim(abs(ours[1].cost / (POINTS * NOISE ** 2 / 2) - 1) < 0.25, "what is left should be the noise")
    claim(differences[3] >= 5 * ours[3] and np.abs(differences[0] - ours[0]).max() < 1e-3,
          "differences should call the model more often for the same fit")
    claim(n["fits"]["a poor start"][3] > 2 * ours[3], "a poor start should take longer")
    for name in ("a poor start, 10 iterations", "a poor start, no bounds"):
        claim(n["fits"][name][1].cost > 10 * ours[1].cost, f"{name}: the fit should end far above the best one")
    thin, mean = (np.abs(n["fits"][name][0][1] - TRUTH[1]).max() for name in ("every 16th point", "averages of 4"))
    claim(mean < 1 and thin > 5,
          f"thinned points should lose the narrow peak, averages keep it: means wrong by {thin:.2f} and {mean:.2f}")


def draw(n, path):
    import matplotlib.pyplot as plt
    figure, axes = plt.subplots(2, 2, figsize=(16, 10), layout="constrained")
    x, y, fine = n["x"], n["y"], np.linspace(0, 100, 2000)

    def panel(ax, fits, title):
        ax.plot(x, y, ".", color="0.7", markersize=4)
        for name, color in fits:
            ax.plot(fine, curve(n["fits"][name][0].ravel(), fine), color=color, linewidth=1.8, label=name)
        ax.set(title=title, xlabel="x", ylabel="y", ylim=(-0.15, 1.6))
        if fits:
            ax.legend(loc="upper left")
        ax.grid(alpha=0.25)
    panel(axes[0, 0], [("ours", "#c8202f")], "The fit, and its four parts")
    for a, m, s in n["fits"]["ours"][0].T:
        axes[0, 0].fill_between(fine, a * np.exp(-((fine - m) / s) ** 2 / 2), alpha=0.2)
    panel(axes[0, 1], [], "The start: peaks of the smoothed points, widths with the smoothing taken out again")
    axes[0, 1].plot(x, smoothed(y, x[1] - x[0]), color="#1f6fb4", label=f"smoothed, w = {SMOOTH}")
    axes[0, 1].plot(fine, curve(n["start"].ravel(), fine), "--", color="#2a9d55", label="the start")
    axes[0, 1].legend(loc="upper left")
    panel(axes[1, 0], [("a poor start, 10 iterations", "#e07b00"), ("a poor start, no bounds", "#7a3fb0")],
          "From four equal Gaussians in the middle")
    panel(axes[1, 1], [("every 16th point", "#e07b00"), ("averages of 4", "#2a9d55")], "Thinned out, the narrow peak is lost")
    axes[1, 1].plot(x[::THIN], y[::THIN], "o", color="#e07b00")
    figure.suptitle(f"Four Gaussians, {POINTS} points: {n['fits']['ours'][3]} calls of the model with our Jacobian, "
                    f"{n['fits']['finite differences'][3]} with differences", fontsize=15)
    figure.savefig(path, dpi=90)


def main(argv=None):
    return run(sys.modules[__name__], argv)


if __name__ == "__main__":
    main()
