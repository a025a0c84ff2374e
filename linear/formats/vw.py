"""Vowpal Wabbit's text format, one example a line.

    [label [weight [initial]]] [tag]|namespace[:value] feature[:value] ... |namespace ...

`1 2.0 ev-7|user u17 |tags news:0.5 sport` is label 1, importance weight 2, tag ev-7, and the features
user=u17, tags=news (value 0.5), tags=sport. The rules were read off VW's reader; where VW repairs a malformed
line with a warning, here the whole line is refused.
"""
import re

from linear.features import LARGEST, SMALLEST, feature_key
from linear.formats import NOT_FINITE, Example, FormatError, finite_number

_LIKE_NUMBER = re.compile(r"[+-]?\.?\d", re.ASCII)
_WORD = re.compile(r"[^ \t]+")


def parse(line, nameless=""):
    """The Example of one line, None for an empty one; FormatError, with the column, for a malformed one.

    - The last word before the first bar is the tag if it touches the bar or begins with an apostrophe.
    - Before the first bar everything up to a first tab is dropped; elsewhere a tab counts as a blank.
    - A feature without a name is known by its running number in the namespace, after the text `nameless`; one with text for
      a value by both.
    - A value of 0 is dropped; a repeated feature is kept twice; bytes that are no UTF-8 are names like any other.

    >>> parse(b"-1 0.5 'ev-7 |u:2 a b:3 |t :1.5 color:red x:0")
    Example(label=-1, weight=0.5, initial=0.0, tag='ev-7', fields=[('u', [('u=a', 2.0), ('u=b', 6.0)]), \
('t', [('t=0', 1.5), ('t=color:red', 1.0)])])
    """
    text = line.decode("utf-8", "surrogateescape")
    bar = text.find("|")
    if bar < 0:
        if not text.strip(" \t"):
            return None
        raise FormatError("no '|': expected 'label |namespace feature ...'", len(text) + 1)
    label, weight, initial, tag = _before_the_bar(text, bar)
    fields = []
    while bar >= 0:
        end = text.find("|", bar + 1)
        fields.append(_namespace(text, bar + 1, end if end >= 0 else len(text), nameless))
        bar = end
    return Example(label, weight, initial, tag, fields)


def _before_the_bar(text, bar):
    start = text.find("\t", 0, bar) + 1
    words = [(match.start() + 1, match[0]) for match in _WORD.finditer(text, start, bar)]
    tag = ""
    if words and (text[bar - 1] not in " \t" or words[-1][1].startswith("'")):
        tag = words.pop()[1].removeprefix("'")
    if len(words) > 3:
        raise FormatError(f"{words[3][1]!r} is too much before the bar: expected label, weight, initial margin, and a tag "
                          "that touches the bar or begins with an apostrophe", words[3][0])
    label, weight, initial = [finite_number(word, column, what) for (column, word), what
                              in zip(words, ("label", "weight", "initial margin"))] + [None, 1.0, 0.0][len(words):]
    if label is not None and label not in (-1.0, 1.0):
        raise FormatError(f"label {words[0][1]!r} is not one of -1 and 1", words[0][0])
    if weight < 0.0:
        raise FormatError(f"weight {words[1][1]!r} is negative", words[1][0])
    return label if label is None else int(label), weight, initial, tag


def _namespace(text, start, end, nameless):
    """(name, its features) of text[start:end], which follows a bar."""
    name, scale, pairs = "", 1.0, []
    words = _WORD.finditer(text, start, end)
    if text[start:start + 1] not in ("", " ", "\t", "|"):
        name, colon, value = next(words)[0].partition(":")
        if not name:
            raise FormatError("a namespace has a value but no name", start + 1)
        if colon:
            scale = finite_number(value, start + len(name) + 2, "namespace value")
    number = 0
    for word in words:
        feature, value = _feature(word)
        if not feature:
            feature, number = f"{nameless}{number}", number + 1
        value *= scale
        if abs(value) > LARGEST:
            raise FormatError(f"value {value!r} of feature {feature!r} is beyond {LARGEST:g}", word.start() + 1)
        if abs(value) >= SMALLEST:
            pairs.append((feature_key(name, feature), value))
    return name, pairs


def _feature(word):
    """(name, value) of one word: `name`, `name:1.5`, `:1.5`, or `name:text`, whose name is all of it."""
    name, colon, value = word[0].partition(":")
    if not colon:
        return name, 1.0
    column = word.start() + len(name) + 2
    if not value or _LIKE_NUMBER.match(value) or NOT_FINITE.fullmatch(value):
        return name, finite_number(value, column, "value")
    if not name:
        raise FormatError(f"value {value!r} of a feature without a name is not a number", column)
    return word[0], 1.0
