"""Readers of example lines: what a line holds, what is wrong with a bad one, and a table of the formats.

A parser turns one line (bytes without its newline) into an `Example`, gives None for an empty line, and raises
`FormatError` for a malformed one. Lines end in \\n or \\r\\n; a UTF-8 byte order mark at the start of a file is skipped.
A format is a row of `FORMATS`: a module with parse(line), or with parser(options) where it stands in `_OPTIONS`, too.
"""
import re
from importlib import import_module
from typing import NamedTuple

from linear.features import LARGEST

FORMATS = {"vw": "linear.formats.vw", "svmlight": "linear.formats.svmlight", "jsonl": "linear.formats.jsonl",
           "csv": "linear.formats.csv"}
_OPTIONS = {"jsonl": ("label", "weight", "id"), "csv": ("label", "weight", "id", "strings")}
DECIMAL = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
NOT_FINITE = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Example(NamedTuple):
    """One parsed line. `label` is -1, 1 or None (predict only), `weight` its importance (0: predict only),
    `initial` a base margin, `tag` the text that names it in the output, `fields` as `features.expand` takes them."""
    label: int | None
    weight: float
    initial: float
    tag: str
    fields: list


class FormatError(ValueError):
    """A malformed line: `.file`, `.line`, `.column` (both from 1, columns in characters) and `.reason`.

    >>> print(FormatError("no '|' after the label", column=3).at("train.vw", 7))
    train.vw:7:3: no '|' after the label
    """

    def __init__(self, reason, column=1, file="<line>", line=1):
        super().__init__(reason, column, file, line)
        self.reason, self.column, self.file, self.line = reason, column, file, line

    def at(self, file, line):
        """The same error, placed: a parser knows the column, the reader of the file knows the rest."""
        return FormatError(self.reason, self.column, file, line)

    def __str__(self):
        return f"{self.file}:{self.line}:{self.column}: {self.reason}"


def parser(format="vw", label="y", weight="weight", id="id", strings=()):
    """A function bytes -> Example | None for the lines of one file.

    `label`, `weight` and `id` name those fields of jsonl and csv; `strings` lists the columns of a csv whose digits
    are names. Make a new parser for each file: that of csv remembers its file's header.

    >>> parser("vw")(b"-1 2 ev-7|u u17").tag
    'ev-7'
    """
    if format not in FORMATS:
        raise ValueError(f"format {format!r} is unknown; known formats: {', '.join(FORMATS)}")
    module = import_module(FORMATS[format])
    if format not in _OPTIONS:
        return module.parse
    given = {"label": label, "weight": weight, "id": id, "strings": strings}
    return module.parser(**{name: given[name] for name in _OPTIONS[format]})


def finite_number(text, column, what):
    """A decimal number up to 1e50 in text; FormatError, saying `what` is none and where, else.

    >>> finite_number("-1.5e3", 1, "value")
    -1500.0
    """
    if DECIMAL.fullmatch(text):
        number = float(text)
        if abs(number) <= LARGEST:
            return number
    elif not NOT_FINITE.fullmatch(text):
        raise FormatError(f"{what} {text!r} is not a decimal number", column)
    raise FormatError(f"{what} {text!r} is not a finite number up to {LARGEST:g}", column)


def numbered_lines(stream):
    """(line number from 1, line) of a binary stream, without line ends and without a byte order mark.

    >>> list(numbered_lines([b"\\xef\\xbb\\xbf1 |u a\\r\\n", b"\\n"]))
    [(1, b'1 |u a'), (2, b'')]
    """
    for number, line in enumerate(stream, 1):
        if number == 1 and line.startswith(_BYTE_ORDER_MARK):
            line = line[len(_BYTE_ORDER_MARK):]
        yield number, bare_line(line)


def bare_line(line):
    """A line without its line end."""
    line = line.removesuffix(b"\n")
    return line.removesuffix(b"\r")
