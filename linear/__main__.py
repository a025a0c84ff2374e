"""python -m linear learn | predict | inspect: the learner on the command line, by Vowpal Wabbit's habits."""
import argparse
import json
import os
import sys
import time
import zlib
from contextlib import ExitStack, nullcontext
from dataclasses import replace

from linear import FeatureError, FormatError, HingeSVM, ModelFileError
from linear.formats import parser
from linear.progress import Progress, Totals
from linear.stream import opened, run

MODEL_OPTIONS = ("crosses", "rule", "lr", "C", "power_t", "initial_t", "constant")


class UserError(Exception):
    """What the user can put right: printed as one sentence, without a traceback."""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and lists the known options where one is unknown."""

    def error(self, message):
        raise UserError(f"{message} (see {self.prog} --help)")

    def parse_args(self, args=None, namespace=None):
        known, unknown = self.parse_known_args(args, namespace)
        if unknown:
            raise UserError(f"unknown option or a second file {unknown[0]!r}; known options of {known.verb}: "
                            f"{', '.join(known.names)}")
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
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="learn|predict|inspect", parser_class=Parser)
    for name, function, text in (("learn", learn, "learn from examples, print progressive losses"),
                                 ("predict", predict, "one prediction a line for unlabelled examples"),
                                 ("inspect", inspect, "the weights of a model by name, largest first")):
        verb = verbs.add_parser(name, help=text, description=text, allow_abbrev=False)
        if name == "inspect":
            verb.add_argument("file", metavar="MODEL")
            verb.add_argument("--top", type=int, metavar="N", help="only the N largest")
        else:
            _add_input(verb)
        if name == "learn":
            _add_learning(verb)
        names = [option for action in verb._actions for option in action.option_strings]
        verb.set_defaults(run=function, names=names)
    return parser


def _add_input(verb):
    verb.add_argument("file", nargs="?", metavar="FILE", help="examples; '-' or nothing is standard input, .gz is unpacked")
    verb.add_argument("-d", "--data", metavar="FILE", help="the same, as VW spells it")
    verb.add_argument("--format", choices=("vw", "jsonl"), help="default: jsonl for .jsonl, .ndjson, .json, else vw")
    verb.add_argument("--label", default="y", metavar="NAME", help="jsonl: the field of the label (y)")
    verb.add_argument("--weight", default="weight", metavar="NAME", help="jsonl: the field of the weight (weight)")
    verb.add_argument("--id", default="id", metavar="NAME", help="jsonl: the field of the id (id)")
    verb.add_argument("--strict", action="store_true", help="stop at the first malformed line")
    verb.add_argument("--quiet", action="store_true", help="no progress")
    verb.add_argument("-i", "--initial_regressor", dest="model", metavar="MODEL", help="start from this model")
    verb.add_argument("-p", "--predictions", metavar="FILE", help="write one prediction a line, the tag after it; '-' is stdout")
    verb.add_argument("-r", "--raw_predictions", dest="margins", metavar="FILE", help="write one margin a line")
    verb.add_argument("--binary", action="store_true", help="predictions are -1 and 1 instead of margins")


def _add_learning(verb):
    verb.add_argument("-q", dest="crosses", action="append", type=lambda letters: "-q " + letters, metavar="ab",
                      help="cross the fields whose names begin with a and b")
    verb.add_argument("--crosses", action="append", metavar="a*b,c*d", help="cross fields by their full names")
    verb.add_argument("--rule", metavar="NAME", help="adagrad (default), sgd, perceptron, pa, pa1, pa2")
    verb.add_argument("-l", "--lr", "--learning_rate", dest="lr", type=float, metavar="X", help="learning rate")
    verb.add_argument("--C", type=float, metavar="X", help="price of the loss in pa1 and pa2 (1)")
    verb.add_argument("--power_t", type=float, metavar="P", help="sgd: the rate falls as t^-P (0)")
    verb.add_argument("--initial_t", type=float, metavar="T", help="sgd: t starts here (0)")
    verb.add_argument("--noconstant", dest="constant", action="store_const", const=False, help="no bias")
    verb.add_argument("--passes", type=int, default=1, metavar="N", help="read the file N times; losses are of the first")
    verb.add_argument("-t", "--testonly", action="store_true", help="predict and score, do not learn")
    verb.add_argument("-f", "--final_regressor", dest="final", metavar="MODEL", help="save the model here at the end")
    verb.add_argument("--json", action="store_true", help="end with one line of JSON on standard output")


def learn(args):
    """The verb `learn`."""
    if args.passes < 1:
        raise UserError(f"--passes {args.passes} is not 1 or more")
    return _run(args, _model(args), args.passes, not args.testonly, args.final, args.json)


def predict(args):
    """The verb `predict`: predictions go to standard output unless -p or -r names a file."""
    if args.model is None:
        raise UserError("predict needs a model: give -i MODEL")
    if args.predictions is None and args.margins is None:
        args.predictions = "-"
    args.quiet = True
    return _run(args, HingeSVM.load(args.model), 1, False, None, False)


def inspect(args):
    """The verb `inspect`: weight and name, one a line, the largest |weight| first, equal ones by name."""
    model = HingeSVM.load(args.file)
    ranked = sorted(model.weights.items(), key=lambda item: (-abs(item[1]), item[0]))
    for key, weight in ranked[:args.top]:
        sys.stdout.buffer.write(f"{weight!r}\t{_one_line(key)}\n".encode("utf-8", "backslashreplace"))
    return 0


def _model(args):
    """A new model of the options given, or the one of -i, whose stored options those given must equal."""
    given = {name: value for name in MODEL_OPTIONS if (value := getattr(args, name)) is not None}
    stored = HingeSVM.load(args.model) if args.model else None
    try:
        asked = HingeSVM(**{**stored.options, **given} if stored else given)
    except ValueError as error:
        raise UserError(error) from None
    if stored is None:
        return asked
    for name, value in asked.options.items():
        if value != stored.options[name]:
            raise UserError(f"{args.model} was trained with {name}={stored.options[name]!r}, now {name}={value!r} is asked "
                            "for; leave the option out, or start without -i")
    return stored


def _run(args, model, passes, learning, final, as_json):
    args.file = path = _input_path(args, passes, final)
    parse = parser(args.format or _format_of(path), args.label, args.weight, args.id)
    totals, started = Totals(), time.perf_counter()
    progress = None if args.quiet else Progress(sys.stderr)
    with ExitStack() as stack:
        outputs = [(_output(stack, args.predictions), args.binary), (_output(stack, args.margins), False)]
        on_example = _watcher(progress, [output for output in outputs if output[0]])
        for number in range(passes):
            with nullcontext(sys.stdin.buffer) if path == "-" else opened(path) as stream:
                run(model, stream, parse, "<stdin>" if path == "-" else path, learn=learning, strict=args.strict,
                    totals=totals, on_example=on_example, on_malformed=_Warnings(number == 0))
            if number == 0:
                first = replace(totals)
    seconds = time.perf_counter() - started
    if final:
        model.save(final)
    return _report(args, model, totals, first, seconds, progress, as_json)


def _watcher(progress, outputs):
    """What is done with every example: a line of progress, a line in each (file, binary) of `outputs`."""
    def on_example(example, margin, features, totals):
        if progress:
            progress.show(totals, example.label, margin, features)
        for file, binary in outputs:
            shown = (1 if margin > 0 else -1) if binary else repr(margin)
            tag = f" {_one_line(example.tag)}" if example.tag else ""
            file.write(f"{shown}{tag}\n".encode("utf-8", "surrogateescape"))
    return on_example


def _report(args, model, totals, first, seconds, progress, as_json):
    """Summary and exit code. Losses are of the first pass: later ones are on examples seen before."""
    if progress:
        progress.finish(totals, len(model.weights), seconds)
    elif totals.malformed:
        print(f"{totals.malformed} malformed lines were skipped", file=sys.stderr)
    if as_json:
        print(json.dumps({"examples": totals.examples, "progressive_zero_one": first.zero_one,
                          "progressive_hinge": first.hinge, "seconds": seconds, "weights": len(model.weights)}))
    if totals.malformed and not totals.examples:
        return _complain("not one line could be read; is --format right?", 1)
    return 0


class _Warnings:
    """Prints the first few malformed lines; the rest is only counted."""

    def __init__(self, wanted, limit=5):
        self.left = limit if wanted else 0

    def __call__(self, error):
        if self.left:
            self.left -= 1
            end = "" if self.left else " (further ones are only counted)"
            print(f"skipped {error}{end}", file=sys.stderr)


def _input_path(args, passes, final):
    """The one input file, after checks that would be a pity to fail only at the end."""
    if args.file and args.data:
        raise UserError(f"two input files, {args.file!r} and -d {args.data!r}; give one")
    path = args.file or args.data or "-"
    if path == "-" and passes > 1:
        raise UserError("standard input can be read once only: --passes needs a file")
    for option, output in (("-f", final), ("-p", args.predictions), ("-r", args.margins)):
        if output and os.path.exists(output) and path != "-" and os.path.exists(path) and os.path.samefile(output, path):
            raise UserError(f"{option} {output} would overwrite the input")
        if option == "-f" and output and os.path.exists(output) and not os.path.isfile(output):
            raise UserError(f"-f {output} is not a regular file, so no model can be written there")
        if output and output != "-" and not os.path.isdir(os.path.dirname(os.path.abspath(output))):
            raise UserError(f"{option} {output}: there is no such directory")
    return path


def _format_of(path):
    return "jsonl" if path.removesuffix(".gz").endswith((".jsonl", ".ndjson", ".json")) else "vw"


def _output(stack, path):
    if path is None:
        return None
    return sys.stdout.buffer if path == "-" else stack.enter_context(open(path, "wb"))


def _one_line(text):
    """A name or tag as one line of a table: the characters that would break it are written as escapes."""
    return text.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")


def _complain(message, code):
    print(f"linear: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
