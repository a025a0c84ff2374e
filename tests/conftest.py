"""What all tests share: fixed randomness for hypothesis, PyTorch as a fixture, and the reason a GPU test is skipped."""
import os

import hypothesis
import pytest

os.environ["MPLBACKEND"] = "Agg"          # pictures are drawn to files, here and in every process the tests start

hypothesis.settings.register_profile("fixed", derandomize=True, database=None, deadline=None, max_examples=50)
hypothesis.settings.load_profile("fixed")


@pytest.fixture(scope="session")
def torch():
    """PyTorch as a peer to compare with; it is never needed to install or to use the packages."""
    return pytest.importorskip("torch", reason="PyTorch is not installed; `python -m pip install torch` to compare with it")


def pytest_collection_modifyitems(items):
    gpu_tests = [item for item in items if item.get_closest_marker("gpu")]
    if not gpu_tests:
        return
    from tinygrad_lite.backend import available
    if "cuda" not in available():
        reason = "gpu: no CUDA device that CuPy can use here; `python -m pytest -m gpu` where there is one"
        for item in gpu_tests:
            item.add_marker(pytest.mark.skip(reason=reason))
