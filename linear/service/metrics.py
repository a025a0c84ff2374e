"""What the service counts about itself, and Prometheus's text of it. Nothing here reaches the state."""
from bisect import bisect_left
from collections import Counter

EDGES = (0.0002, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0)      # seconds


class Metrics:
    """Requests by route and status, and how long each route's answers took.

    >>> from linear.service.web import Route
    >>> metrics, route = Metrics(), Route("POST", "/v1/predict", "predict", None, "")
    >>> for seconds in (0.0001, 0.0004, 0.0004, 0.004):
    ...     metrics.count(route, 200, seconds)
    >>> metrics.times["/v1/predict"][:6]
    [1, 2, 0, 0, 0, 1]
    """

    def __init__(self):
        self.requests, self.times, self.seconds = Counter(), {}, Counter()

    def count(self, route, status, seconds):
        """One answer was sent."""
        path = route.path
        self.requests[path, status] += 1
        self.seconds[path] += seconds
        if path not in self.times:
            self.times[path] = [0] * (len(EDGES) + 1)
        self.times[path][bisect_left(EDGES, seconds)] += 1

    def text(self, gauges):
        """Prometheus's text format, with `gauges` as `gauge_lines` takes them."""
        lines = gauge_lines(gauges)
        lines += ["# HELP linear_requests_total Answers by route and status.", "# TYPE linear_requests_total counter"]
        lines += [f'linear_requests_total{{route="{path}",status="{status}"}} {n}' for (path, status), n in sorted(self.requests.items())]
        lines += ["# HELP linear_request_seconds Time to answer.", "# TYPE linear_request_seconds histogram"]
        for path, counts in sorted(self.times.items()):
            seen = 0
            for edge, count in zip((*map(str, EDGES), "+Inf"), counts):
                seen += count
                lines.append(f'linear_request_seconds_bucket{{route="{path}",le="{edge}"}} {seen}')
            lines += [f'linear_request_seconds_sum{{route="{path}"}} {self.seconds[path]!r}',
                      f'linear_request_seconds_count{{route="{path}"}} {seen}']
        return "\n".join(lines) + "\n"


def gauge_lines(gauges):
    """Lines of Prometheus's text format for [(name, help, value)]; a name that ends in _total is a counter, None is not known.

    >>> gauge_lines([("weights", "Features with a weight.", 7), ("stored_total", "Events in the log.", None)])
    ['# HELP linear_weights Features with a weight.', '# TYPE linear_weights gauge', 'linear_weights 7.0']
    """
    lines = []
    for name, told, value in gauges:
        if value is not None:
            kind = "counter" if name.endswith("_total") else "gauge"
            lines += [f"# HELP linear_{name} {told}", f"# TYPE linear_{name} {kind}", f"linear_{name} {float(value)!r}"]
    return lines


def quantile(counts, share):
    """The upper edge of the bin that holds the quantile; None without counts, infinite in the bin beyond the last edge.

    >>> quantile([3, 1, 0, 1], 0.5), quantile([0] * 12 + [9], 0.99), quantile([], 0.5)
    (0.0002, inf, None)
    """
    wanted, seen = share * sum(counts), 0
    for edge, count in zip((*EDGES, float("inf")), counts):
        seen += count
        if count and seen >= wanted:
            return edge
    return None
