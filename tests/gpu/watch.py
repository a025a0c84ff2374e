"""CuPy's own watch for a host that waits."""
import contextlib
import warnings


@contextlib.contextmanager
def watched():
    """A block in which CuPy raises where it copies to the host or is told to synchronise: in all it knows of, which is not all."""
    import cupyx
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")     # it is deprecated for that reason, and says so
        with cupyx.allow_synchronize(False):
            yield
