"""svmlight / libsvm text, one example a line.

    label [qid:N] index:value index:value ... [# comment]

`+1 qid:3 7:1 12:0.5 # first` is label 1 and the features f=7 and f=12 (value 0.5). The rules:

- The decimal text of an index is the feature's name in one fixed field, `f`, so that crosses can be written `f*f`.
  Leading zeros do not matter: index 007 is f=7. Counting may start at 0 or at 1: nothing is shifted.
- Indices must ascend, as libsvm and scikit-learn demand: a line whose indices repeat or fall back is malformed.
- The label is -1 or 1; 0 is read as -1, since many such files are labelled 0 and 1. It may not be left out.
- `qid:N` groups the lines of a ranking task. There is nothing to rank here: it is checked and then ignored.
- From `#` to the end of the line is a comment. There are no weights and no ids. A value of 0 gives no feature.
"""
import re

from linear.features import SMALLEST, feature_key
from linear.formats import Example, FormatError, finite_number

FIELD = "f"
_WORD = re.compile(r"[^ \t]+")
_DIGITS = re.compile(r"\d{1,18}", re.ASCII)
_LABELS = {1.0: 1, -1.0: -1, 0.0: -1}


def parse(line):
    """The Example of one line, None for an empty or comment line; FormatError, with the column, for a malformed one.

    >>> parse(b"-1 qid:4 3:1 17:0.5 20:0 # a comment: not read")
    Example(label=-1, weight=1.0, initial=0.0, tag='', fields=[('f', [('f=3', 1.0), ('f=17', 0.5)])])
    """
    text = line.decode("utf-8", "surrogateescape").partition("#")[0]
    words = [(match.start() + 1, match[0]) for match in _WORD.finditer(text)]
    if not words:
        return None
    column, word = words[0]
    if (label := _LABELS.get(finite_number(word, column, "label"))) is None:
        raise FormatError(f"label {word!r} is not one of -1, 1 and 0 (read as -1)", column)
    pairs, last = [], -1
    for place, (column, word) in enumerate(words[1:]):
        name, colon, value = word.partition(":")
        at = column + len(name) + 1
        if name == "qid" and colon and place == 0:
            if not _DIGITS.fullmatch(value):
                raise FormatError(f"qid {value!r} is not a whole number", at)
            continue
        if not colon or not _DIGITS.fullmatch(name):
            raise FormatError(f"{word!r} is not index:value with a whole number for an index", column)
        if (index := int(name)) <= last:
            raise FormatError(f"index {index} follows index {last}; indices must ascend, each once", column)
        number, last = finite_number(value, at, f"value of index {index}"), index
        if abs(number) >= SMALLEST:
            pairs.append((feature_key(FIELD, str(index)), number))
    return Example(label, 1.0, 0.0, "", [(FIELD, pairs)])
