"""The kill suite: the streaming service is killed, starved, lied to and attacked, and what it promised is judged afterwards.

    python -m tests.chaos --kills 1000 --report chaos.md        all of it, and the report
    python -m pytest tests/chaos                                the short form

    nursery.py     processes of the service that start in milliseconds; children.py is what runs in them
    clients.py     clients that keep a journal of what was acknowledged, and the judge of journal and log
    kills.py       kill -9 at random, at named places, in the middle of a write; damaged state files
    power.py       what a power loss may leave of a state file, by a model
    disk.py        a disk that is full, at every write of a cycle
    faults.py      two writers, a clock that jumps, a learner that dies, numbers that are not finite
    malformed.py   malformed requests
    slow.py        slow clients
    broker.py      a Redis that keeps the log, killed and started again, or back with older data

Each scenario is a function that returns its figures as a dictionary and raises AssertionError where a promise is broken.
It needs fork and resource limits, so a POSIX system; the disk scenarios need Linux (prlimit).
"""
