"""Every op, function, loss and layer on a GPU: the host's numbers to the dtype's rounding.

`python -m pytest -m gpu -n 0 -s` prints how many arrays were compared.
"""
from collections import Counter

import numpy as np
import pytest

import tinygrad_lite as tg
from tests.device_table import ALL, differences, run
from tinygrad_lite import backend

pytestmark = pytest.mark.gpu
compared = Counter()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("table, name", ALL)
def test_the_gpu_gives_what_the_host_gives(table, name):
    for row in ALL[table, name]:
        for dtype in row.dtypes:
            expected = run(row, dtype)
            found = run(row, dtype, backend.to_device)
            assert not list(differences(row, dtype, expected, found, backend.to_host))
            compared[table, np.dtype(dtype).name] += len(expected)


def test_counts():
    """The last of the file: what has been compared."""
    import cupy
    print(f"\nCuPy {cupy.__version__}, {cupy.cuda.runtime.getDeviceProperties(0)['name'].decode()}: arrays equal to the host's")
    for (table, dtype), n in sorted(compared.items()):
        print(f"  {table:10} {dtype:8} {n:6}")
    print(f"  {compared.total()} in all; {backend.memory()}")


def test_a_result_that_does_not_fit():
    x = tg.Tensor(backend.to_device(np.ones(int((backend.memory().total / 2) ** 0.5), "f")))
    with pytest.raises(MemoryError, match=r"mul\(.*Use a smaller batch"):
        x[:, None] * x                      # twice the card's memory


def test_random_numbers_of_the_device_follow_the_seed():
    x = tg.Tensor(backend.to_device(np.ones((100, 100), "f")))
    draws = []
    for seed in (0, 0, 1):
        tg.seed(seed)
        draws.append(backend.to_host(tg.nn.functional.dropout(x, 0.25).data))
    assert np.array_equal(draws[0], draws[1]) and not np.array_equal(draws[0], draws[2])
    assert 0.2 < (draws[0] == 0).mean() < 0.3
