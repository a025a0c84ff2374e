"""python -m tests.standin: each op, function, loss and layer on the stand-in, its cases, and how often the host would wait."""
import contextlib
import warnings
from collections import Counter

import numpy as np

from tests.device_table import ALL, WAITS, differences, run
from tests.standin import cupy_standin


def main():
    cases, bad, waiting = Counter(), [], {}
    with warnings.catch_warnings(), cupy_standin() as gpu:
        warnings.simplefilter("ignore")
        for (table, name), rows in ALL.items():
            waits = Counter()

            @contextlib.contextmanager
            def counted():
                before = Counter(gpu.synchronisations)
                yield
                waits.update(Counter(gpu.synchronisations) - before)
            for row in rows:
                for dtype in row.dtypes:
                    expected = run(row, dtype)
                    bad += differences(row, dtype, expected, run(row, dtype, gpu.array, counted), gpu.host)
                    cases[table, np.dtype(dtype).name] += len(expected)
            if waits:
                waiting[name] = waits
    print("arrays (values, gradients, second derivatives) that equal the host's")
    for (table, dtype), n in sorted(cases.items()):
        print(f"  {table:10} {dtype:8} {n:6}")
    print(f"  {cases.total()} in all, {len(bad)} not; {len(ALL)} names, {len(ALL) - len(waiting)} of them without a wait of the host")
    for name, waits in waiting.items():
        print(f"  {name:16} {dict(waits)}  ({WAITS[name][1]})")


if __name__ == "__main__":
    main()
