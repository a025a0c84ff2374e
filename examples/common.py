"""What examples share: command lines, honest counting, one look for pictures. Imported before NumPy: it asks for one thread."""
import argparse
import json
import os
import sys
import time
from pathlib import Path

START = time.perf_counter()
for threads in "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS":
    os.environ.setdefault(threads, "1")     # matrices this small only lose time on more
BLUE, ORANGE, GREEN, RED, GREY = "#2463a8", "#d9730d", "#2b8a5b", "#c0392b", "#8a8f98"


def command_line(doc, data, more=()):
    """The arguments of an example: --data PATH (`data` says of what), --picture PATH, --json, --seed N, and `more` flags."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", metavar="PATH", type=Path, help=f"{data}; without it a small sample of this script's own")
    name = f"{Path(sys.argv[0]).stem}.png"
    parser.add_argument("--picture", metavar="PATH", default=name, help=f"where the picture goes (default {name})")
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead of a table")
    parser.add_argument("--seed", type=int, default=0, help="of what is random (default 0)")
    for flag, text in more:
        parser.add_argument(flag, action="store_true", help=text)
    args = parser.parse_args()
    if args.data and not args.data.exists():
        parser.error(f"--data {args.data}: there is no such file or directory")
    return args


def add_device(parser):
    """Give a command line --device cpu|cuda. Where there is no such device it ends with a sentence that says why."""
    parser.add_argument("--device", type=device, metavar="cpu|cuda", default=os.environ.get("TINYGRAD_LITE_BACKEND") or "cpu",
                        help="cuda: a GPU, through CuPy (default: TINYGRAD_LITE_BACKEND, else cpu)")


def device(name):
    from tinygrad_lite import backend
    if name not in ("cpu", "cuda"):
        raise argparse.ArgumentTypeError(f"got {name!r}, expected cpu or cuda")
    if name == "cuda" and (reason := backend.obstacle()):
        raise argparse.ArgumentTypeError(reason)
    return name


class Hits:
    """Prequential counting: every prediction is made before its example is learned, so all of them count."""

    def __init__(self, window):
        self.window, self.right, self.count, self.means, self._recent = window, 0, 0, [], 0

    def add(self, right):
        """Count one prediction; at the end of each window its mean is kept."""
        self.count += 1
        self.right += right
        self._recent += right
        if self.count % self.window == 0:
            self.means.append(self._recent / self.window)
            self._recent = 0

    @property
    def share(self):
        """The share of right predictions so far."""
        return self.right / max(self.count, 1)


def tell(args, numbers, headline=""):
    """Print the numbers: {name: number, text, or a dictionary of such}."""
    numbers["seconds"] = round(time.perf_counter() - START, 2)
    if args.json:
        print(json.dumps(numbers))
        return
    print(headline)
    for name, value in numbers.items():
        if isinstance(value, dict):
            print(f"{name.replace('_', ' ')}:")
            wide = max(map(len, value), default=0)
            for inner, number in value.items():
                print(f"    {inner:{wide}}  {_shown(number)}")
        else:
            print(f"{name.replace('_', ' ')}: {_shown(value)}")


def _shown(value):
    if isinstance(value, dict):
        return "   ".join(f"{name} {_shown(number)}" for name, number in value.items())
    return f"{value:.4f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def canvas(args, rows, columns, size, **options):
    """(figure, axes) in the common look, or (None, None) without matplotlib, after saying so."""
    try:
        import matplotlib
    except ImportError:
        print("no picture: it needs matplotlib, python -m pip install matplotlib", file=sys.stderr)
        return None, None
    matplotlib.use("Agg")                       # draws to a file, no screen needed
    import matplotlib.pyplot as plt
    plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "0.92",
                         "axes.axisbelow": True, "axes.titlelocation": "left", "axes.titleweight": "bold", "axes.titlesize": 11,
                         "axes.edgecolor": "0.5", "xtick.color": "0.3", "ytick.color": "0.3", "font.size": 9.5, "lines.linewidth": 1.6,
                         "legend.frameon": False})
    return plt.subplots(rows, columns, figsize=size, layout="constrained", **options)


def percent(axis):
    """Shares as per cent along an axis."""
    axis.set_major_formatter(lambda value, _: f"{round(100 * value, 1):g}%")


def label_line(ax, x, y, text, color, **options):
    """Write a line's name at its end, in its colour, instead of a legend."""
    ax.annotate(text, (x, y), xytext=(4, 0), textcoords="offset points", color=color, va="center", annotation_clip=False,
                **{"fontsize": 9, **options})


def save(args, figure, title):
    """Write the picture and say where it is."""
    figure.suptitle(title, x=0.01, ha="left", fontsize=13)
    figure.savefig(args.picture, dpi=120)
    if not args.json:
        print(f"picture: {Path(args.picture).resolve()}")
