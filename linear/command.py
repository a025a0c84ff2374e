"""What the commands of `python -m linear` share: input once or several times, a run with its outputs, a report."""
import gzip
import os
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace

from linear import FormatError, HingeSVM
from linear.bundle import kind_of
from linear.features import FeatureError, crossed_counts, expand, parse_crosses
from linear.formats import parser
from linear.prepare import Prepared
from linear.progress import Progress, Totals
from linear.stream import opened, run

_ENDS = {"jsonl": (".jsonl", ".ndjson", ".json"), "csv": (".csv",), "svmlight": (".svmlight", ".svm", ".libsvm")}


class UserError(Exception):
    """What the user can put right: printed as one sentence, without a traceback."""


class Source:
    """The input: a file or standard input, plain or gzip. `again=True` keeps standard input for a second reading."""

    def __init__(self, args, again=False):
        self.path = args.file
        self.name = "<stdin>" if self.path == "-" else self.path
        self.again, self.copy = again, None
        self.format = args.format or format_of(self.path)
        self.given = (self.format, args.label, args.weight, args.id, [name for name in args.strings.split(",") if name])
        if self.given[-1] and self.format != "csv":
            raise UserError(f"--strings {args.strings} is for csv; the format here is {self.format}")

    def parser(self):
        """A new parser: that of csv remembers the header of one reading."""
        return parser(*self.given)

    def open(self):
        """A context that gives a binary stream, from the beginning."""
        if self.path != "-":
            return opened(self.path)
        if self.copy:
            self.copy.seek(0)
            return nullcontext(self.copy)
        stream = sys.stdin.buffer
        if stream.peek(2)[:2] == b"\x1f\x8b":
            stream = gzip.open(stream)
        if not self.again:
            return nullcontext(stream)
        self.copy = tempfile.TemporaryFile()
        shutil.copyfileobj(stream, self.copy)
        return self.open()

    def close(self):
        """Give up the kept copy of standard input."""
        if self.copy:
            self.copy.close()

    def first(self):
        """The first example where it can be had without waiting for more input, else None."""
        parse = self.parser()
        with self.open() as stream:
            if not hasattr(stream, "peek"):
                return None
            for line in stream.peek(1 << 16).split(b"\n")[:-1]:
                try:
                    if example := parse(line.removeprefix(b"\xef\xbb\xbf").removesuffix(b"\r")):
                        return example
                except FormatError:
                    pass


def format_of(path):
    """The format that a file's name speaks of."""
    for name, ends in _ENDS.items():
        if path.removesuffix(".gz").endswith(ends):
            return name
    return "vw"


def input_path(args):
    """The one input file, after checks that would be a pity to fail only at the end."""
    if args.file and args.data:
        raise UserError(f"two input files, {args.file!r} and -d {args.data!r}; give one")
    path = args.file or args.data or "-"
    given = {"-f": getattr(args, "final", None), "-p": getattr(args, "predictions", None), "-r": getattr(args, "margins", None),
             "--cache": getattr(args, "cache", None)}
    for option, output in given.items():
        if output and os.path.exists(output) and path != "-" and os.path.exists(path) and os.path.samefile(output, path):
            raise UserError(f"{option} {output} would overwrite the input")
        if option == "-f" and output and os.path.exists(output) and not os.path.isfile(output):
            raise UserError(f"-f {output} is not a regular file, so no model can be written there")
        if output and output != "-" and not os.path.isdir(os.path.dirname(os.path.abspath(output))):
            raise UserError(f"{option} {output}: there is no such directory")
    return path


def load(path):
    """The learner in a model file, of whichever kind."""
    return (Prepared if kind_of(path) == Prepared.KIND else HingeSVM).load(path)


@dataclass
class Result:
    """What a run gave: totals of all passes, of the first pass, and seconds."""
    totals: Totals
    first: Totals
    seconds: float
    progress: Progress | None = None


def go(source, model, *, passes=1, learning=True, strict=False, quiet=False, left_out=None, most=None,
       predictions=None, margins=None, binary=False, warn=True, cache=None):
    """Take the source's lines through a model `passes` times, with outputs and progress; returns the `Result`.

    With `cache`, a path, the lines are read from that file (`linear.cache`), which is made first where it is not.
    """
    totals, started = Totals(), time.perf_counter()
    if not quiet:
        _show_crosses(source, model)
    progress = None if quiet else Progress(sys.stderr)
    with ExitStack() as stack:
        outputs = [(_output(stack, predictions), binary), (_output(stack, margins), False)]
        on_example = _watcher(outputs)
        header = cache and _cached(source, model, cache, strict, warn)
        for number in range(passes):
            seen = {"learn": learning, "strict": strict, "totals": totals, "progress": progress, "on_example": on_example}
            if cache:
                from linear.cache import learn
                learn(model, cache, header, **seen)
            else:
                with source.open() as stream:
                    lines = left_out.lines(stream, source.parser()) if left_out else stream
                    run(model, lines, watched(source.parser(), model, most), source.name,
                        on_malformed=_Warnings(warn and number == 0), **seen)
            if number == 0:
                first = replace(totals)
    return Result(totals, first, time.perf_counter() - started, progress)


def _cached(source, model, path, strict, warn):
    """The header that the cache at `path` must have; it is made now if there is no such file."""
    if source.path == "-" or getattr(model, "loops", None) is None:
        raise UserError("--cache is for a file, and for what the compiled engine learns on its own: --engine compiled, crosses of "
                        "three fields at most, without --names and without prepared fields")
    from linear.cache import described, make
    header = described(source.path, source.given, model.scheme.id)
    if not os.path.exists(path):
        with source.open() as stream:
            make(path, header, model, stream, source.parser(), source.name, strict, _Warnings(warn))
    return header


def watched(parse, model, most=None, texts=None):
    """The parser, refusing examples of more than `most` features, and adding the names of every other's to `texts`."""
    if most is None and texts is None:
        return parse
    parse = model.parser_for(parse)
    preparation, crosses = getattr(model, "preparation", None), parse_crosses(model.options["crosses"])

    def parse_and_look(line):
        example = parse(line)
        if example is not None:
            fields = preparation.apply(example.fields) if preparation else example.fields
            if most is not None:
                check_size(fields, crosses, most)
            if texts is not None:
                texts.update((text, None) for text, _ in expand(fields, crosses, model.options["constant"]))
        return example
    return parse_and_look


def check_size(fields, crosses, most):
    """Raise FeatureError where an example would make more than `most` features; nothing is expanded for that."""
    counts = crossed_counts(fields, crosses)
    alone = sum(len(part) for _, part in fields)
    if alone + sum(counts.values()) > most:
        what, number = max([("its fields", alone), *((f"the cross {name}", n) for name, n in counts.items())], key=lambda c: c[1])
        raise FeatureError(f"the example makes {alone + sum(counts.values())} features, --max-features allows {most}; "
                           f"{what} alone: {number}")


def _show_crosses(source, model):
    """Before anything is expanded: how many features each cross will make of the first example."""
    crosses = parse_crosses(model.options["crosses"])
    example = source.first() if crosses else None
    if example:
        fields = model.preparation.apply(example.fields) if isinstance(model, Prepared) else example.fields
        counts = crossed_counts(fields, crosses)
        alone = sum(len(part) for _, part in fields)
        print(f"crosses of the first example ({alone} features): "
              + ", ".join(f"{name} makes {number}" for name, number in counts.items()), file=sys.stderr)


def _watcher(outputs):
    """What is done with every example: a line in the file of predictions, one in that of margins, as (file, binary)."""
    if not any(file for file, _ in outputs):
        return None

    def on_example(example, margin, prediction, features):
        for (file, binary), value in zip(outputs, (prediction, margin)):
            if file:
                shown = (1 if value > 0 else -1) if binary else repr(value)
                tag = f" {one_line(example.tag)}" if example.tag else ""
                file.write(f"{shown}{tag}\n".encode("utf-8", "surrogateescape"))
    return on_example


class _Warnings:
    """Prints the first few malformed lines; the rest is only counted."""

    def __init__(self, wanted, limit=5):
        self.left = limit if wanted else 0

    def __call__(self, error):
        if self.left:
            self.left -= 1
            end = "" if self.left else " (further ones are only counted)"
            print(f"skipped {error}{end}", file=sys.stderr)


def _output(stack, path):
    if path is None:
        return None
    return sys.stdout.buffer if path == "-" else stack.enter_context(open(path, "wb"))


def one_line(text):
    """A name or tag as one line of a table: the characters that would break it are written as escapes."""
    return text.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
