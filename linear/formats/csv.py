"""CSV with a header line: column names first, then one example a line.

    id,y,user,age
    e1,1,ann,31
    e2,-1,"bob, the builder",

gives user=ann and age (value 31), then user=bob, the builder. The rules:

- The columns called `y`, `weight` and `id` (or as `--label --weight --id` say) are what their names say, every other
  column is a field. The label is -1 or 1; 0 and false are read as -1, true as 1, an empty cell is for prediction only.
- A column is numeric if its first cell that is not empty is a decimal number; then each of its cells must be one.
  In all other columns a cell is a name. `strings` lists the columns of digits that are names (a user's number).
- An empty cell is an absent field. Blanks around a number are ignored, in a name they count.
- Quotes are the csv module's: a cell in "..." may hold commas, and "" for a quote. One example is one line: a line end
  inside quotes is refused, since one forgotten quote would otherwise swallow the rest of the file.
- A line with more or fewer cells than the header is malformed. So is a header with an empty or repeated name.
"""
import csv

from linear.features import LARGEST, FeatureError, fields_of
from linear.formats import DECIMAL, Example, FormatError, finite_number

_LABELS = {"1": 1, "+1": 1, "1.0": 1, "true": 1, "-1": -1, "-1.0": -1, "0": -1, "0.0": -1, "false": -1}


class Table:
    """The parser of one file: its first line that is not empty is the header, which gives no example.

    >>> table = Table(strings=["zip"])
    >>> table.parse(b"y,zip,age") is None
    True
    >>> table.parse(b"-1,00501,31").fields
    [('zip', [('zip=00501', 1.0)]), ('age', [('age', 31.0)])]
    """

    def __init__(self, label="y", weight="weight", id="id", strings=()):
        self.label, self.weight, self.id = label, weight, id
        self.strings = tuple(strings)
        self.header = None
        self.numeric = {}                # column -> whether it is, once a cell has told

    def parse(self, line):
        """The Example of one line, None for an empty line and the header; FormatError, with the column, else."""
        text = _decoded(line)
        if not text.strip():
            return None
        cells = _cells(text)
        if self.header is None:
            self._take_header(cells, text)
            return None
        if len(cells) != len(self.header):
            raise FormatError(f"{len(cells)} cells, expected {len(self.header)} as in the header", len(text) + 1)
        label, weight, tag, row, kinds = None, 1.0, "", {}, {}
        for place, (name, cell) in enumerate(zip(self.header, cells)):
            try:
                if name == self.label:
                    label = _label(cell)
                elif name == self.weight:
                    weight = _weight(cell)
                elif name == self.id:
                    tag = cell
                elif bare := cell.strip():
                    kinds[name] = self.numeric.get(name, name not in self.strings and bool(DECIMAL.fullmatch(bare)))
                    row[name] = _number(bare, name) if kinds[name] else cell
            except FormatError as error:
                raise FormatError(error.reason, _column(text, place)) from None
        try:
            fields = fields_of(row)
        except FeatureError as error:
            raise FormatError(str(error), _column(text, self.header.index(error.field))) from None
        self.numeric.update(kinds)       # only a line that is good tells what its columns are
        return Example(label, weight, 0.0, tag, fields)

    def _take_header(self, cells, text):
        for place, name in enumerate(cells):
            if not name or name in cells[:place]:
                what = f"the name {name!r} twice" if name else "an empty name"
                raise FormatError(f"the header has {what}, expected a name of its own for each column", _column(text, place))
        if missing := [name for name in self.strings if name not in cells]:
            raise FormatError(f"there is no column {missing[0]!r} (to be read as strings); the header has {', '.join(cells)}")
        self.header = cells


def parser(label="y", weight="weight", id="id", strings=()):
    """A new `Table`'s parse: each file has its own header, so each reading of a file needs its own parser."""
    return Table(label, weight, id, strings).parse


def _label(cell):
    word = cell.strip().lower()
    if word and word not in _LABELS:
        raise FormatError(f"label {cell[:40]!r} is not one of -1, 1, 0, false and true")
    return _LABELS[word] if word else None


def _weight(cell):
    weight = finite_number(cell.strip() or "1", 1, "weight")
    if weight < 0.0:
        raise FormatError(f"weight {cell!r} is negative")
    return weight


def _number(text, name):
    if DECIMAL.fullmatch(text) and abs(number := float(text)) <= LARGEST:
        return number
    raise FormatError(f"{text[:40]!r} in the numeric column {name!r} is no decimal number up to {LARGEST:g}; a column's first "
                      "cell decides what it is: name the columns of digits that hold names in 'strings'")


def _decoded(line):
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError("the bytes are no valid UTF-8", len(line[:error.start].decode("utf-8")) + 1) from None


def _cells(text):
    try:
        rows = list(csv.reader([text], strict=True))
    except csv.Error as error:
        raise FormatError(f"not CSV: {error} (a line end inside quotes is refused)", text.find('"') + 1 or 1) from None
    if len(rows) != 1:                   # a carriage return alone ends a row for the csv module
        raise FormatError("a carriage return stands in the middle of the line", text.find("\r") + 1 or 1)
    return rows[0]


def _column(text, place):
    """Where cell number `place` begins in the line, in characters from 1."""
    quoted, seen = False, 0
    for column, character in enumerate(text, 1):
        if seen == place:
            return column
        if character == '"':
            quoted = not quoted
        seen += character == "," and not quoted
    return len(text) + 1
