"""`python -m linear learn --dask ADDRESS|local:N FILE ...`: the verb `learn`, on several processes or machines."""
import json
import os
import sys
import time
from dataclasses import replace

from linear.command import Result, Source, UserError
from linear.options import given_options
from linear.prepare import Prepared
from linear.progress import Totals
from linear.svm import HingeSVM

SHARDS, ROUNDS = 4, 8
_HEADER = "   round    examples  0/1 loss  since last    weights  seconds\n"
_NOT_WITH = {"testonly": "-t", "predictions": "-p", "margins": "-r", "cache": "--cache", "without": "--without",
             "what_if": "--what-if"}


def add_options(verb):
    """Options of `learn` on Dask."""
    verb.add_argument("more", nargs="*", metavar="FILE", help="more files, behind the first; with --dask")
    verb.add_argument("--dask", metavar="WHERE", help="learn on Dask: a scheduler's address, or local:N for N processes here; "
                      "FILE may then be several, or a service's directory. Averaging what shards learn side by side costs accuracy")
    verb.add_argument("--dask-shards", type=int, metavar="P", help=f"how many shards are averaged ({SHARDS}); part of the result, "
                      "unlike the number of workers")
    verb.add_argument("--dask-rounds", type=int, metavar="R", help=f"how often in a pass ({ROUNDS})")
    verb.add_argument("--dask-compare", action="store_true", help="have one learner learn it, too, and print what mixing costs")


def learn(args, model):
    """(the learned model, `Result`, rows of `replay.table`) of the verb; `model` None: as the directory's options say."""
    from linear.scale.engines import ScaleError
    for option, value in (("--dask-shards", args.dask_shards), ("--dask-rounds", args.dask_rounds)):
        if value is not None and value < 1:
            raise UserError(f"{option} {value} is not 1 or more")
    for name, option in _NOT_WITH.items():
        if getattr(args, name) not in (None, False, []):
            raise UserError(f"{option} is for one learner, which sees all examples in order: leave it out, or --dask")
    if isinstance(model, Prepared):
        raise UserError("--bucket, --scale and --ngrams are for one learner, which sees all examples in order: leave them out, or "
                        "--dask")
    try:
        return _learn(args, _of_directory(args) if model is None else model, *_cutter(args))
    except ScaleError as error:
        raise UserError(error) from None


def _learn(args, model, cut, reads):
    from linear.scale import mixing
    from linear.scale.engines import LocalEngine, engine
    mixing.check(model.options)
    shards, rounds = args.dask_shards or SHARDS, args.dask_rounds or ROUNDS
    ranges, alone = cut(shards, rounds), model.copy() if args.dask_compare else None
    with engine(args.dask) as cluster:
        if not args.quiet:
            idle = f", so {cluster.workers - shards} workers have nothing to do" if cluster.workers > shards else ""
            sys.stderr.write(f"{cluster.workers} workers at {cluster.name}, {shards} shards{idle}, {rounds} rounds a pass\n")
            sys.stderr.write(_HEADER)
        result, model = _run(model, ranges, args, cluster, reads, not args.quiet)
    rows = [(f"{shards} shards, {rounds} rounds", result.first, len(model.weights))]
    if alone:
        other, alone = _run(alone, cut(1, 1), args, LocalEngine(), reads, False)
        rows.append(("one learner", other.first, len(alone.weights)))
        if not args.quiet and result.first.weight:
            cost = result.first.zero_one - other.first.zero_one
            sys.stderr.write(f"\nmixing costs {cost:+.6f} of 0/1 loss and took {result.seconds:.2f} seconds; one learner took "
                             f"{other.seconds:.2f}\n")
    elif not args.quiet:
        sys.stderr.write("\nmixing costs accuracy; --dask-compare tells how much\n")
    return model, result, rows


def _run(model, ranges, args, cluster, reads, shown):
    """(Result, learned model) of all passes over the ranges."""
    from linear.scale.mixing import learn
    started, seen = time.perf_counter(), [Totals()]

    def on_round(totals, weights):
        if shown:
            new = Totals(weight=totals.weight - seen[-1].weight, zero_one_sum=totals.zero_one_sum - seen[-1].zero_one_sum)
            sys.stderr.write(f"{len(seen):4d}/{len(ranges) * args.passes:<3d} {totals.examples:11d}  {totals.zero_one or 0:8.6f}"
                             f"    {new.zero_one or 0:8.6f} {weights:10d} {time.perf_counter() - started:8.2f}\n")
            sys.stderr.flush()
        seen.append(totals)
    model, totals = learn(model, ranges * args.passes, cluster, reads, on_round)
    return Result(totals, replace(seen[len(ranges)]), time.perf_counter() - started), model


def _cutter(args):
    """(a function of shards and rounds that cuts the input, how its lines are read)."""
    from linear.scale.shards import READS, cut_files, cut_log
    files = [args.file, *args.more]
    if os.path.isdir(args.file):
        if args.more:
            raise UserError(f"{args.file} is a directory: give one directory, or files")
        last = _last_event(args.file)
        return lambda shards, rounds: cut_log(os.path.abspath(args.file), last, shards, rounds), None
    for path in files:
        if args.final and os.path.exists(args.final) and os.path.exists(path) and os.path.samefile(args.final, path):
            raise UserError(f"-f {args.final} would overwrite the input")
    source = Source(args)
    if source.format not in READS:
        raise UserError(f"--dask reads {', '.join(READS)}; whether a column of a csv holds numbers or names is told by the "
                        "file's first lines, which its other ranges do not have")
    reads = {"parser": source.given, "most": args.max_features, "strict": args.strict}
    return lambda shards, rounds: cut_files(files, shards, rounds), reads


def _of_directory(args):
    """A new model of the directory's options and those given."""
    from linear.service.events import Invalid
    from linear.service.runner import DirectoryError, stored_options
    from linear.service.shadow import changed_options
    try:
        return HingeSVM(**changed_options(stored_options(args.file), given_options(args)))
    except (DirectoryError, Invalid) as error:
        raise UserError(error) from None


def _last_event(path):
    """The last event of a directory's log, which must be one that can be learned in ranges."""
    from linear.service.fold import EDITS
    from linear.service.log import LogError, SqliteLog
    if not os.path.exists(f"{path}/log.db"):
        raise UserError(f"{path} has no log.db: --dask reads a service's log where it is a file of the directory")
    try:
        log = SqliteLog(f"{path}/log.db", readonly=True)
    except LogError as error:
        raise UserError(error) from None
    try:
        first, last = log.first(), log.last()
        if first != 1:
            what = f"the log begins at event {first}, so it cannot be learned from its start" if last else "the log is empty"
            raise UserError(f"{path}: {what}")
        for seq, text in log.commands(last):
            if (name := json.loads(text)["command"]) not in EDITS:
                raise UserError(f"{path}: event {seq} is the order {name!r}, which changes how all that follows is learned; shards "
                                "side by side have no such order: use `replay`, or `export`")
        return last
    finally:
        log.close()
