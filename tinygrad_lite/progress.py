"""How far a loop has come: a bar that redraws itself on a terminal, a few plain lines where there is none (a pipe, a log)."""
import shutil
import sys
import time


def progress(items, title="", total=None, note=None, lines=10, file=None):
    """Yield the items and show how many are done, how fast, and how long the rest will take.

    `total` defaults to len(items). `note()` gives words to add, such as today's loss: it is asked after an item's work is
    done. Without a terminal `lines` lines are written in all, evenly spread. `file` defaults to standard output.

    >>> for x in progress([3, 1, 2, 4], "adding", note=lambda: f"x = {x}", lines=2):
    ...     pass
    adding  2/4  50 %  x = 1  ... s, ... s to go, .../s
    adding  4/4 100 %  x = 4  ... s, 0.0 s to go, .../s
    """
    file = sys.stdout if file is None else file
    total = len(items) if total is None else total
    bar = file.isatty()
    started = drawn = time.perf_counter()
    try:
        for done, item in enumerate(items, 1):
            yield item
            now = time.perf_counter()
            if bar and (now - drawn > 0.1 or done == total):
                drawn = now
                _draw(file, title, done, total, _state(done, total, now - started, note))
            elif not bar and done * lines // total > (done - 1) * lines // total:
                state = _state(done, total, now - started, note)
                print(f"{title}  {done:{len(str(total))}d}/{total} {state}", file=file, flush=True)
    finally:
        if bar:
            print(file=file)            # whatever comes next, an error too, begins on a line of its own


def _state(done, total, seconds, note):
    rate = done / max(seconds, 1e-9)
    words = f"  {note()}" if note else ""
    return f"{100 * done // total:3d} %{words}  {seconds:5.1f} s, {max(total - done, 0) / rate:.1f} s to go, {rate:,.0f}/s"


def _draw(file, title, done, total, state):
    full, empty = "█░" if "utf" in (getattr(file, "encoding", None) or "").lower() else "#-"
    filled = min(20 * done // total, 20)
    text = f"{title} {full * filled}{empty * (20 - filled)} {state}"
    columns = shutil.get_terminal_size().columns - 1        # a line that wraps could not be drawn over
    file.write("\r" + text[:columns].ljust(columns))
    file.flush()
