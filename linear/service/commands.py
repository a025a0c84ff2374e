"""The verbs around a service's directory: serve | verify | replay | forget | explain | export | status | trim | token.

All but `serve`, `forget` and `trim` only read, without a lock: they also work beside a running service.
"""
import json
import sys

from linear.command import UserError
from linear.options import add_features, add_learning, given_options


def add_verbs(verbs):
    """Add the service's verbs to the grammar of `python -m linear`."""
    for function, text in ((serve, "answer over HTTP, learn from events, lose nothing"),
                           (verify, "replay the log from its start and print the state's digest"),
                           (replay, "progressive losses of the log, also with other options"),
                           (forget, "take an event out of all that was learned"),
                           (explain, "a prediction as it was served at an event's number, bit for bit"),
                           (export, "write the model as a file for `predict -i`"),
                           (status, "what a directory holds"),
                           (trim, "remove the beginning of the log, as far as no state that is kept can need it"),
                           (token, "a new token and its line for --token-file")):
        verb = verbs.add_parser(function.__name__, help=text, description=text, allow_abbrev=False)
        if function not in (serve, token):
            verb.add_argument("--dir", required=True, metavar="DIR", help="the service's directory")
        _OPTIONS[function](verb)
        verb.set_defaults(run=_guarded(function), file="", options=[text for action in verb._actions for text in action.option_strings])


def serve(args):
    """The verb `serve`."""
    try:
        from linear.service.serving import serve
    except ImportError as error:
        raise UserError(f'serve needs {error.name}, which is not installed: pip install "tinygrad-lite[serve]"') from None
    options = given_options(args)
    if args.follow_log and not args.follow:
        raise UserError("--follow-log goes with --follow DIR")
    if args.follow and (given := {**options, **({"log": args.log} if args.log else {})}):
        raise UserError(f"--follow takes the model's options and the log from what it follows: leave out {_spelled(given)}")
    return serve(args, options)


def verify(args):
    """The verb `verify`: 1 where the newest state file is not what the log says."""
    from linear.service.fold import Fold
    from linear.service.store import StateError
    options, log, store = _opened(args.dir)
    until, code = log.last(), 0
    try:
        state = store.load(log.id)
    except StateError as error:
        state, code = None, _told(error)
    for damaged in store.damaged:
        _told(f"not believed: {damaged}")
    fold = Fold.replayed(log, options, min(state.position, until) if state else 0)
    if state and state.digest() != fold.digest():
        code = _told(f"the state file says {state.digest()} at event {state.position}, the log says {fold.digest()} at {fold.position}")
    while fold.position < until:
        fold.advance(log, min(1000, until - fold.position))
    print(f"state_sha256 {fold.digest()} seq {fold.position}")
    return code


def replay(args):
    """The verb `replay`."""
    from linear.replay import table
    from linear.service.fold import Fold
    from linear.service.shadow import changed_options
    options, log, _ = _opened(args.dir)
    until, rows, changes = min(args.until or log.last(), log.last()), [], given_options(args)
    runs = [("as it was", options)] + ([(f"what if {_spelled(changes)}", changed_options(options, changes))] if changes else [])
    for what, asked in runs:
        fold = Fold.replayed(log, asked, until)
        rows.append((what, fold.model.totals, len(fold.model.weights)))
    if args.json:
        print(json.dumps([{"run": what, "examples": totals.examples, "progressive_zero_one": totals.zero_one,
                           "progressive_hinge": totals.hinge, "weights": weights} for what, totals, weights in rows]))
    else:
        print(table(rows))
    return 0


def forget(args):
    """The verb `forget`: an order in the log, and the state it leads to."""
    from linear.service.runner import Directory, DirectoryError, Runner
    try:
        directory = Directory(args.dir)
    except DirectoryError as error:
        raise UserError(f"{error}. While it runs, ask the service itself: POST /v1/commands "
                        f'{json.dumps({"command": "forget", "id": args.id})}') from None
    runner = Runner(directory)
    runner.start()
    try:
        log = directory.log(readonly=True)
        known = log.knows(args.id)
        log.close()
        if not known:
            raise UserError(f"the log has no event {args.id!r}")
        seq = runner.command({"command": "forget", "id": args.id}).result()
        while not runner.wait_for(seq, 1.0):
            if runner.failure:
                raise runner.failure
        print(f"state_sha256 {runner.snapshot.digest()} seq {runner.snapshot.position}")
    finally:
        runner.stop()
    return 0


def explain(args):
    """The verb `explain`."""
    from linear.service.events import decoded, features
    from linear.service.explain import explained
    from linear.service.fold import Fold
    options, log, _ = _opened(args.dir)
    if not 0 <= args.seq <= log.last():
        raise UserError(f"--seq {args.seq}: the log ends at {log.last()}")
    if args.id is not None:
        found = log.features([args.id])
        if not found:
            raise UserError(f"the log has no features of event {args.id!r}")
        x = decoded(found[args.id][1])
    else:
        x = decoded(args.x.encode())
        features(x)
    told = {**explained(Fold.replayed(log, options, args.seq).model, x), "seq": args.seq}
    if args.json:
        print(json.dumps(told))
        return 0
    for name, part in told["contributions"]:
        print(f"{part:+.9g}  {name}")
    print(f"{told['margin']!r}  margin, so the label is {told['label']}, at event {told['seq']}")
    return 0


def export(args):
    """The verb `export`."""
    from linear.service.fold import Fold
    options, log, _ = _opened(args.dir)
    until = args.seq or log.last()
    Fold.replayed(log, options, until).model.save(args.final)
    print(f"{args.final}: the model at event {until}")
    return 0


def status(args):
    """The verb `status`."""
    from linear.service.logs import address_of, shown
    from linear.service.store import StateError
    options, log, store = _opened(args.dir)
    told = {"log": log.id, "at": shown(address_of(args.dir)), "first": log.first(), "last": log.last(), "options": options,
            "states": [path.name for path in store.files()]}
    try:
        if state := store.load(log.id):
            totals = state.model.totals
            told |= {"state_seq": state.position, "learned": state.counts.learned, "progressive_zero_one": totals.zero_one,
                     "progressive_hinge": totals.hinge, "weights": len(state.model.weights), "to_replay": log.last() - state.position}
    except StateError as error:
        told["states_error"] = str(error)
    told["damaged"] = store.damaged
    if args.json:
        print(json.dumps(told))
    else:
        for name, value in told.items():
            print(f"{name:21} {value}")
    return 0


def trim(args):
    """The verb `trim`: takes the directory's lock, so that nothing is asked of the log meanwhile that needs its beginning."""
    from linear.service.fold import EDITS, EXPIRE
    from linear.service.runner import Directory
    with Directory(args.dir) as directory:
        store, log = directory.store(), directory.log()
        oldest = min(map(store.position, store.files()), default=0)
        edits = [seq for seq, text in log.commands(log.last()) if seq > oldest and json.loads(text)["command"] in EDITS]
        if edits:
            raise UserError(f"event {edits[0]} forgets or corrects, and the state at event {oldest}, the oldest that is kept, would need "
                            "the whole log for that; nothing was removed, try again when three newer states are written")
        log.trim(args.before, max(1, oldest + 1 - EXPIRE))
        print(f"the log begins at event {log.first()} now and ends at {log.last()}")
        log.close()
    return 0


def token(args):
    """The verb `token`: the token on standard error, its line on standard output, so that `>> FILE` keeps no secret."""
    from linear.service.guard import new_token
    secret, line = new_token(args.role, args.name)
    print(f"the token, shown once: {secret}", file=sys.stderr)
    print(line)
    return 0


def _add_serve(verb):
    what = verb.add_mutually_exclusive_group(required=True)
    what.add_argument("--dir", metavar="DIR", help="the service's directory")
    what.add_argument("--follow", metavar="DIR", help="be a replica, which only reads: follow the states of the service in DIR, or "
                      "a registry, DIR/models")
    verb.add_argument("--follow-log", action="store_true", help="with --follow DIR: also learn from the log what the states lack")
    verb.add_argument("--host", default="127.0.0.1", metavar="HOST", help="address to listen at (127.0.0.1)")
    verb.add_argument("--port", type=int, default=8000, metavar="PORT", help="port to listen at (8000); 0: any that is free")
    verb.add_argument("--log", metavar="ADDRESS", help="where a new directory has its log: sqlite (log.db in it), "
                      "redis://host:port/stream, kafka://host:port/topic")
    verb.add_argument("--token-file", metavar="FILE", help="who may do what, one line a token; see the verb `token`")
    verb.add_argument("--rate", type=float, metavar="N", help="requests a second for each token or address; 0: no limit, as on "
                      "loopback; elsewhere 1000")
    verb.add_argument("--log-json", action="store_true", help="one JSON object a line on standard error")
    add_features(verb)
    add_learning(verb)


def _add_replay(verb):
    verb.add_argument("--until", type=int, metavar="SEQ", help="stop after this event")
    verb.add_argument("--json", action="store_true", help="as JSON")
    add_features(verb)
    add_learning(verb)


def _add_explain(verb):
    verb.add_argument("--seq", type=int, required=True, metavar="N", help="the `seq` that the prediction named")
    which = verb.add_mutually_exclusive_group(required=True)
    which.add_argument("--id", metavar="E", help="the event whose features it was of")
    which.add_argument("--x", metavar="JSON", help="the features themselves")
    verb.add_argument("--json", action="store_true", help="as JSON")


def _add_export(verb):
    verb.add_argument("-f", dest="final", required=True, metavar="MODEL", help="the file to write")
    verb.add_argument("--seq", type=int, metavar="N", help="the model as it was after this event")


def _add_token(verb):
    verb.add_argument("--role", default="write", choices=("predict", "write", "admin"), help="each may do what those before it may")
    verb.add_argument("--name", default="", metavar="NAME", help="a note for the file")


_OPTIONS = {
    serve: _add_serve, verify: lambda verb: None, replay: _add_replay, explain: _add_explain, export: _add_export, token: _add_token,
    forget: lambda verb: verb.add_argument("--id", required=True, metavar="E", help="the event's id"),
    trim: lambda verb: verb.add_argument("--before", type=int, required=True, metavar="SEQ", help="the first event to keep; no state, "
                                         "and no label up to a million events late, may need those before it"),
    status: lambda verb: verb.add_argument("--json", action="store_true", help="as JSON"),
}


def _guarded(function):
    def run(args):
        from linear.service.events import Invalid
        from linear.service.guard import TokenError
        from linear.service.log import LogError
        from linear.service.runner import DirectoryError
        from linear.service.store import StateError
        try:
            return function(args)
        except (LogError, StateError, DirectoryError, TokenError, Invalid) as error:
            raise UserError(error) from None
    return run


def _opened(path):
    """(options, log, states) of a directory, without its lock and with nothing changed."""
    from linear.service.logs import opened
    from linear.service.runner import stored_options
    from linear.service.store import StateStore
    options = stored_options(path)
    return options, opened(path, readonly=True), StateStore(f"{path}/state")


def _spelled(changes):
    return ", ".join(f"{name}={','.join(value) if isinstance(value, list) else value}" for name, value in changes.items())


def _told(what):
    print(f"linear: {what}", file=sys.stderr)
    return 1
