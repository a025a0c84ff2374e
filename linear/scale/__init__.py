"""Learning on several processes or machines: iterative parameter mixing over ranges of files or of a service's log.

    shards    cuts the input, and is the pure function that learns one range: bytes in, bytes out
    mixing    the rounds: every shard learns from the same weights, then these are averaged feature by feature
    engines   who runs the shards: this process, or Dask
    plan      what a cluster would gain, by a small cost model fitted to runs on this machine

One learner reads millions of lines a second; several learn something slightly different, and worse. See `plan` first.
"""
