"""Readers of example lines: what a line holds, what is wrong with a bad one, and a table of the formats.

A parser turns one line (bytes without its newline) into an `Example`, gives None for an empty line, and raises
`FormatError` for a malformed one. Lines end in \\n or \\r\\n; a UTF-8 byte order mark at the start of a file is skipped.
"""
from functools import partial
from importlib import import_module
from typing import NamedTuple

FORMATS = {"vw": "linear.formats.vw", "jsonl": "linear.formats.jsonl"}
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


def parser(format="vw", label="y", weight="weight", id="id"):
    """The function bytes -> Example of a format; `label`, `weight`, `id` name the fields of the formats that name them.

    >>> parser("vw")(b"-1 2 ev-7|u u17").tag
    'ev-7'
    """
    if format not in FORMATS:
        raise ValueError(f"format {format!r} is unknown; known formats: {', '.join(FORMATS)}")
    parse = import_module(FORMATS[format]).parse
    return partial(parse, label=label, weight=weight, id=id) if format == "jsonl" else parse


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
