"""What all tests share: fixed randomness for hypothesis, PyTorch as a fixture, and the reason a GPU test is skipped."""
import os
import sys

import hypothesis
import pytest

os.environ["MPLBACKEND"] = "Agg"          # pictures are drawn to files, here and in every process the tests start

hypothesis.settings.register_profile("fixed", derandomize=True, database=None, deadline=None, max_examples=50)
hypothesis.settings.load_profile("fixed")


@pytest.fixture(scope="session")
def torch():
    """PyTorch as a peer to compare with; it is never needed to install or to use the packages."""
    return pytest.importorskip("torch", reason="PyTorch is not installed; `python -m pip install torch` to compare with it")


@pytest.fixture(autouse=True, scope="module")
def pictures_leave_no_style():
    """The examples set matplotlib's style; what a file of tests has set is gone at its end."""
    yield
    if matplotlib := sys.modules.get("matplotlib"):
        matplotlib.rcdefaults()


@pytest.fixture
def gpu():
    """The stand-in for CuPy: `import cupy` finds it while the test runs. See tests/standin."""
    from tests.standin import cupy_standin
    with cupy_standin() as standin:
        yield standin


def pytest_collection_modifyitems(items):
    gpu_tests = [item for item in items if item.get_closest_marker("gpu")]
    if not gpu_tests:
        return
    from tinygrad_lite.backend import obstacle
    if why := obstacle():
        reason = f"gpu: {why}. `python -m pytest -m gpu` runs it where there is one"
        for item in gpu_tests:
            item.add_marker(pytest.mark.skip(reason=reason))
