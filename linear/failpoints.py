"""Places where a test may kill this process: before and after every write, flush and rename that a promise rests on.

    LINEAR_FAILPOINT=state.renamed:3        kill -9 at the third passage of that place

Nothing happens where the variable is not set; `PLACES` lists what can be asked for.
"""
import os
import signal

PLACES = ("log.begun", "log.written", "log.committed", "state.begun", "state.half_written", "state.written", "state.flushed",
          "state.renamed", "state.directory_flushed", "state.old_removed", "small.begun", "small.written", "small.flushed",
          "small.renamed", "small.directory_flushed", "learner.chunk", "learner.labels_read")
_name, _passages = "", 0


def arm(asked):
    """Choose the place and the passage, as the variable does; "" for none."""
    global _name, _passages
    name, _, left = asked.partition(":")
    if name and name not in PLACES:
        raise ValueError(f"LINEAR_FAILPOINT={name!r} is no failpoint; there are {', '.join(PLACES)}")
    _name, _passages = name, int(left or 1)


def reach(place):
    """Die here, as by kill -9, if this is the passage that was asked for."""
    global _passages
    if place == _name:
        _passages -= 1
        if _passages == 0:
            os.kill(os.getpid(), signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)


arm(os.environ.get("LINEAR_FAILPOINT", ""))
