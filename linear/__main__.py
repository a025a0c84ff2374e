"""python -m linear learn | predict | inspect | collisions | serve | ...: the learner on the command line, and as a service."""
import argparse
import json
import os
import sys
import zlib

from linear import FeatureError, FormatError, HingeSVM, ModelFileError
from linear.command import Source, UserError, go, input_path, load, one_line, watched
from linear.formats import FORMATS, numbered_lines
from linear.options import MODEL_OPTIONS, add_features, add_learning, given_options
from linear.prepare import Prepared
from linear.replay import LeftOut, table, what_if
from linear.scale import commands as scale
from linear.service import commands

PREPARE_OPTIONS = ("buckets", "scale", "ngrams")


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and lists the known options where one is unknown."""

    def error(self, message):
        raise UserError(f"{message} (see {self.prog} --help)")

    def parse_args(self, args=None, namespace=None):
        known, unknown = self.parse_known_args(args, namespace)
        if unknown:
            raise UserError(f"unknown option or a second file {unknown[0]!r}; known options of {known.verb}: "
                            f"{', '.join(known.options)}")
        return known


def main(argv=None):
    """Run one command; returns the exit code: 0, 1 for a failed run, 2 for a wrong call, 130 interrupted, 141 pipe closed."""
    try:
        args = build_parser().parse_args(argv)
    except UserError as error:
        return _complain(error, 2)
    try:
        code = args.run(args)
        sys.stdout.flush()
        return code
    except UserError as error:
        return _complain(error, 2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())     # so that the flush at exit finds no closed pipe
        return 141
    except KeyboardInterrupt:
        return _complain("interrupted; no model was written", 130)
    except OSError as error:
        return _complain(f"{error.filename or args.file}: {error.strerror or error}", 1)
    except (FormatError, FeatureError, ModelFileError) as error:
        return _complain(error, 1)
    except (EOFError, zlib.error) as error:
        return _complain(f"{args.file}: the compressed input is damaged: {error}", 1)


def build_parser():
    """The command line's grammar."""
    parser = Parser(prog="python -m linear", description=__doc__, allow_abbrev=False)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB", parser_class=Parser)
    for name, function, text in (("learn", learn, "learn from examples, print progressive losses"),
                                 ("predict", predict, "one prediction a line for unlabelled examples"),
                                 ("inspect", inspect, "the weights of a model by name, largest first"),
                                 ("collisions", collisions, "how many features share a slot, by estimate and by count")):
        verb = verbs.add_parser(name, help=text, description=text, allow_abbrev=False)
        if name == "inspect":
            verb.add_argument("file", metavar="MODEL")
            verb.add_argument("--top", type=int, metavar="N", help="only the N largest")
        else:
            _add_input(verb)
        if name in ("learn", "predict"):
            _add_output(verb)
        if name == "learn":
            _add_learning(verb)
            scale.add_options(verb)
        if name in ("learn", "collisions"):
            _add_features(verb)
        options = [option for action in verb._actions for option in action.option_strings]
        verb.set_defaults(run=function, options=options)
    commands.add_verbs(verbs)
    return parser


def _add_input(verb):
    verb.add_argument("file", nargs="?", metavar="FILE", help="examples; '-' or nothing is standard input, gzip is unpacked")
    verb.add_argument("-d", "--data", metavar="FILE", help="the same, as VW spells it")
    verb.add_argument("--format", choices=tuple(FORMATS), help="default: by the name's end (.jsonl .ndjson .json, .csv, .svmlight "
                      ".svm .libsvm), else vw")
    verb.add_argument("--label", default="y", metavar="NAME", help="jsonl, csv: the field of the label (y)")
    verb.add_argument("--weight", default="weight", metavar="NAME", help="jsonl, csv: the field of the weight (weight)")
    verb.add_argument("--id", default="id", metavar="NAME", help="jsonl, csv: the field of the id (id)")
    verb.add_argument("--strings", default="", metavar="a,b", help="csv: columns of digits that are names, not numbers")
    verb.add_argument("--strict", action="store_true", help="stop at the first malformed line")
    verb.add_argument("--quiet", action="store_true", help="no progress")
    verb.add_argument("--max-features", type=int, metavar="N", help="an example that makes more, crosses included, is malformed")


def _add_output(verb):
    verb.add_argument("-i", "--initial_regressor", dest="model", metavar="MODEL", help="start from this model")
    verb.add_argument("-p", "--predictions", metavar="FILE", help="write one prediction a line, the tag after it; '-' is stdout")
    verb.add_argument("-r", "--raw_predictions", dest="margins", metavar="FILE", help="write one margin a line")
    verb.add_argument("--binary", action="store_true", help="predictions are -1 and 1 instead of margins")


def _add_features(verb):
    add_features(verb)
    verb.add_argument("--bucket", dest="buckets", action="append", metavar="a:10,b:0/5/9",
                      help="numbers as buckets: 10 of equal width, or with these edges")
    verb.add_argument("--scale", action="append", metavar="a,b", help="numbers to mean 0 and deviation 1 by running statistics")
    verb.add_argument("--ngrams", action="append", metavar="a:2,b:c3", help="texts as runs of up to 2 words, of 3 characters")


def _add_learning(verb):
    add_learning(verb)
    verb.add_argument("--passes", type=int, default=1, metavar="N", help="read the file N times; losses are of the first")
    verb.add_argument("--cache", "--cache_file", metavar="CACHE", help="read the parsed examples from this file, made on first use")
    verb.add_argument("-c", dest="cache", action="store_const", const="", help="the same, with the input's name and .cache")
    verb.add_argument("-t", "--testonly", action="store_true", help="predict and score, do not learn")
    verb.add_argument("-f", "--final_regressor", dest="final", metavar="MODEL", help="save the model here at the end")
    verb.add_argument("--without", metavar="FILE", help="leave out the examples whose ids stand in this file, one a line; "
                      "prints the losses with them, too")
    verb.add_argument("--what-if", action="append", default=[], metavar="rule=sgd,lr=0.02",
                      help="learn the same data once more with other options, and print both losses; may be repeated")
    verb.add_argument("--json", action="store_true", help="end with one line of JSON on standard output")


def learn(args):
    """The verb `learn`."""
    if args.passes < 1:
        raise UserError(f"--passes {args.passes} is not 1 or more")
    if args.dask:
        return _learn_mixed(args)
    if args.more:
        raise UserError(f"a second file {args.more[0]!r}; several are for --dask")
    if args.dask_shards or args.dask_rounds or args.dask_compare:
        raise UserError("--dask-shards, --dask-rounds and --dask-compare go with --dask")
    if (args.without or args.what_if) and (args.model or args.testonly):
        raise UserError("--without and --what-if learn from the beginning: leave out -i and -t")
    source = _source(args, again=bool(args.without or args.what_if))
    if args.cache is not None and (args.without or args.max_features):
        raise UserError("--cache holds no ids and counts no features: leave out --without and --max-features, or the cache")
    if args.cache == "":
        args.cache = args.file + ".cache"
    left_out = LeftOut.read(args.without) if args.without else None
    others = [("with them", _model(args), None)] if left_out else []
    others += [(f"what if {text}", _model(args, text), left_out) for text in args.what_if]     # refused before the long run
    model = _model(args)
    result = go(source, model, passes=args.passes, learning=not args.testonly, strict=args.strict, quiet=args.quiet,
                left_out=left_out, most=args.max_features, predictions=args.predictions, margins=args.margins, binary=args.binary,
                cache=args.cache)
    if args.final:
        model.save(args.final)
    rows = [("without the ids" if left_out else "as given", result.first, len(model.weights))]
    for what, other, out in others:
        again = go(source, other, passes=args.passes, quiet=True, most=args.max_features, left_out=out and LeftOut(out.ids),
                   warn=False, cache=args.cache)
        rows.append((what, again.first, len(other.weights)))
    source.close()
    return _report(args, model, result, rows, left_out)


def _learn_mixed(args):
    """The verb `learn` with --dask."""
    args.file = input_path(args)
    model, result, rows = scale.learn(args, None if os.path.isdir(args.file) and not args.model else _model(args))
    if args.final:
        model.save(args.final)
    return _report(args, model, result, rows)


def predict(args):
    """The verb `predict`: predictions go to standard output unless -p or -r names a file."""
    if args.model is None:
        raise UserError("predict needs a model: give -i MODEL")
    if args.predictions is None and args.margins is None:
        args.predictions = "-"
    args.quiet, args.json = True, False
    model, source = load(args.model), _source(args)
    result = go(source, model, learning=False, strict=args.strict, quiet=True, most=args.max_features,
                predictions=args.predictions, margins=args.margins, binary=args.binary)
    return _report(args, model, result)


def inspect(args):
    """The verb `inspect`: weight and name, one a line, the largest |weight| first, equal ones by name."""
    model = load(args.file)
    ranked = sorted(((weight, str(key)) for key, weight in model.weights.items()), key=lambda entry: (-abs(entry[0]), entry[1]))
    for weight, name in ranked[:args.top]:
        sys.stdout.buffer.write(f"{weight!r}\t{one_line(name)}\n".encode("utf-8", "backslashreplace"))
    return 0


def collisions(args):
    """The verb `collisions`: the features of a file, and how many of them would share a slot of --bits."""
    from linear.collisions import collisions as report
    source, bits = _source(args), 18 if args.bits is None else args.bits
    if not 1 <= bits <= 32:
        raise UserError(f"--bits {bits} is not from 1 to 32")
    model, malformed, texts = _model(args), 0, {}
    parse = watched(source.parser(), model, args.max_features, texts)
    with source.open() as stream:
        for number, line in numbered_lines(stream):
            try:
                parse(line)
            except (FormatError, FeatureError) as error:
                malformed += 1
                if args.strict:
                    raise (error if isinstance(error, FormatError) else FormatError(str(error))).at(source.name, number) from None
    told = report(texts, bits, args.hash or "strings")
    print(f"{told['features']} distinct features in 2^{bits} = {2 ** bits} slots, {told['slots_used']} of them used; "
          f"{malformed} malformed lines\n"
          f"share a slot, measured   {told['sharing']} features in {told['pairs']} pairs\n"
          f"share a slot, expected   {told['sharing_expected']:.1f} features in {told['pairs_expected']:.1f} pairs\n"
          f"with exact 64-bit keys   {told['pairs_expected_64']:.1e} pairs expected\n"
          f"for 1 % to share a slot  --bits {told['bits_for_one_percent']}")
    for texts in told["examples"]:
        print("one slot:  " + "   ".join(map(one_line, texts)))
    return 0


def _source(args, again=False):
    args.file = input_path(args)
    if args.file == "-" and getattr(args, "passes", 1) > 1:
        raise UserError("standard input can be read once only: --passes needs a file")
    return Source(args, again)


def _model(args, changed=""):
    """A new model of the options given and of a what-if's, or the one of -i, whose stored options those given must equal."""
    given = given_options(args)
    prepare = {name: ",".join(value) for name in PREPARE_OPTIONS if (value := getattr(args, name, None))}
    stored = load(args.model) if getattr(args, "model", None) else None
    try:
        given.update(what_if(changed) if changed else {})
        learner = getattr(stored, "model", stored)
        asked = HingeSVM(**{**learner.options, **given} if stored else given)
        asked = Prepared(asked, **prepare) if prepare else asked
    except TypeError as error:
        raise UserError(f"--what-if {changed!r}: {error}; known options: {', '.join(MODEL_OPTIONS)}") from None
    except ValueError as error:
        raise UserError(error) from None
    if stored is None:
        return asked
    for name, value in asked.options.items():
        if value != stored.options.get(name, ()):
            raise UserError(f"{args.model} was trained with {name}={stored.options.get(name, ())!r}, now {name}={value!r} is asked "
                            "for; leave the option out, or start without -i")
    return stored


def _report(args, model, result, rows=(), left_out=None):
    """Summary and exit code. Losses are of the first pass: later ones are on examples seen before."""
    totals, weights = result.totals, len(model.weights)
    if result.progress:
        result.progress.finish(totals, weights, result.seconds)
    elif totals.malformed:
        print(f"{totals.malformed} malformed lines were skipped", file=sys.stderr)
    if left_out and (missing := sorted(left_out.ids - left_out.met)):
        print(f"{len(missing)} of the {len(left_out.ids)} ids to leave out are in no example: {', '.join(missing[:5])}"
              + (", ..." if len(missing) > 5 else ""), file=sys.stderr)
    if len(rows) > 1 and not args.json:
        print(table(rows))
    if args.json:
        told = {"examples": totals.examples, "progressive_zero_one": result.first.zero_one,
                "progressive_hinge": result.first.hinge, "seconds": result.seconds, "weights": weights}
        if left_out:
            told["left_out"] = left_out.examples
        if len(rows) > 1:
            told["runs"] = [{"run": what, "examples": first.examples, "progressive_zero_one": first.zero_one,
                             "progressive_hinge": first.hinge, "weights": number} for what, first, number in rows]
        print(json.dumps(told))
    if totals.malformed and not totals.examples:
        return _complain("not one line could be read; is --format right?", 1)
    return 0


def _complain(message, code):
    print(f"linear: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    # numba looks for SciPy's matrix product when it starts, which takes a quarter of a second; nothing here multiplies matrices.
    sys.modules.setdefault("scipy", None)
    sys.exit(main())
