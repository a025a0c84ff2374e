"""Has the stream changed? Two detectors whose whole state is an array that stands in the checkpoint."""
import copy

import numpy as np


class _Detector:
    def copy(self):
        """A detector of its own, as this one stands now."""
        twin = copy.copy(self)
        twin.state = self.state.copy()
        return twin


class Adwin(_Detector):
    """Adaptive windowing: keeps as long a window of recent values as has one mean (Bifet, Gavalda 2007, SDM).

    A window is cut where the means of its two parts, of n0 and n1 values, differ by more than

        sqrt(2 m s^2 d) + 2/3 d m,   m = 1/(n0 - 4) + 1/(n1 - 4),   d = ln(2 ln(n0 + n1) / delta)

    with s^2 the window's variance. Values are kept in buckets of 1, 2, 4, ... so that n values cost O(log n) numbers. It
    looks every 32 values. The same steps as river's ADWIN with its default settings.

    >>> detector = Adwin()
    >>> detector.update(np.repeat([0.0, 1.0], 100)).nonzero()[0], detector.width
    (array([127]), 72.0)
    """

    def __init__(self, delta=0.002):
        from linear.kernels import detectors
        self.delta, self.state = delta, np.zeros(detectors.ADWIN_SIZE)

    width = property(lambda self: float(self.state[0]))
    mean = property(lambda self: float(self.state[1] / self.state[0]) if self.state[0] else 0.0)
    detections = property(lambda self: int(self.state[5]))

    def update(self, values):
        """Take values in order; an array of bool tells at which of them a change was found."""
        from linear.kernels import detectors
        drifts = np.zeros(len(values), np.bool_)
        detectors.adwin(self.state, np.asarray(values, np.float64), self.delta, drifts)
        return drifts


class PageHinkley(_Detector):
    """A running sum of how far values stray from their mean, which drifts off when the mean moves (Page 1954, Biometrika).

    u_t = alpha u_(t-1) + x_t - mean_t -+ delta; a change where u has risen by `threshold` above its lowest value, or
    fallen so far below its highest. The same steps as river's PageHinkley.

    >>> detector = PageHinkley(threshold=5.0)
    >>> detector.update(np.repeat([0.0, 1.0], 100)).nonzero()[0]
    array([105])
    """

    def __init__(self, delta=0.005, threshold=50.0, alpha=1 - 0.0001, least=30):
        from linear.kernels import detectors
        self.options, self.state = (delta, threshold, alpha, least), np.zeros(detectors.HINKLEY_SIZE)

    detections = property(lambda self: int(self.state[7]))

    def update(self, values):
        """Take values in order; an array of bool tells at which of them a change was found."""
        from linear.kernels import detectors
        drifts = np.zeros(len(values), np.bool_)
        detectors.page_hinkley(self.state, np.asarray(values, np.float64), *self.options, drifts)
        return drifts
