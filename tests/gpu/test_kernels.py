"""Every CUDA form on the card, against the plain form in float64 on the host; prints how much was compared."""
import numpy as np
import pytest

from tinygrad_lite.kernels import gather
from tests.gpu.watch import watched
from tests.test_cuda import DTYPES, FORMS, LIFTED, Device, compare, compare_update

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def device():
    """The card. Where CuPy can watch for it, a wait of the host raises."""
    import cupy
    return Device(cupy.asarray, cupy.asnumpy, watched)


@pytest.mark.parametrize("dtype, allowed", DTYPES.items())
def test_forms_on_the_card(device, dtype, allowed, capsys):
    found = {name: compare(name, dtype, device, seeds=3) for name in FORMS}
    told(capsys, dtype, found)
    assert all(worst <= allowed for _, worst in found.values()), found


@pytest.mark.parametrize("dtype, allowed", DTYPES.items())
def test_optimizers_on_the_card(device, dtype, allowed, capsys):
    found = {name: compare_update(name, dtype, device) for name in LIFTED}
    told(capsys, dtype, found)
    assert all(worst <= allowed for _, worst in found.values()), found


def test_sums_in_one_order_are_the_same_every_time(device, monkeypatch):
    rng = np.random.default_rng(0)
    ids, rows = device.array(rng.integers(0, 50, 20_000)), device.array(rng.normal(size=(20_000, 64)).astype("f"))
    monkeypatch.setattr(gather.cuda, "DETERMINISTIC", True)
    sums = []
    for _ in range(5):
        table = device.array(np.zeros((50, 64), "f"))
        gather.scatter_rows(table, ids, rows)
        sums.append(device.host(table))
    assert all((s == sums[0]).all() for s in sums)


def told(capsys, dtype, found):
    with capsys.disabled():
        print(f"\n{dtype}: {len(found)} kernels, {sum(n for n, _ in found.values())} arrays compared with the host's, largest difference "
              f"{max(worst for _, worst in found.values()):.1e} ({max(found, key=lambda name: found[name][1])})")
