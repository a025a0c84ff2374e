"""The same data once more: without some examples, or with other options.

An online learner's weights are a fold over its examples in order, so what it would be without some of them is found by
reading the data again and leaving those out. This forgets exactly: nothing of them is anywhere in the new weights.
"""
import re
from dataclasses import dataclass

from linear.formats import FormatError, numbered_lines


@dataclass
class LeftOut:
    """Ids to leave out, one a line of a file; how many examples carried one, and which ids were met."""
    ids: frozenset
    examples: int = 0

    def __post_init__(self):
        self.met = set()

    @classmethod
    def read(cls, path):
        """The ids of a UTF-8 file, one a line, blanks around them and empty lines ignored."""
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return cls(frozenset(line.strip() for line in file) - {""})

    def lines(self, stream, parse):
        """The lines of a stream; one whose id is to be left out comes as an empty line, so that the numbers stay true.

        >>> left = LeftOut(frozenset(["e2"]))
        >>> from linear.formats import parser
        >>> list(left.lines([b"1 e1|u a\\n", b"1 e2|u b\\n", b"what?\\n"], parser("vw"))), left.examples
        ([b'1 e1|u a\\n', b'\\n', b'what?\\n'], 1)
        """
        for _, line in numbered_lines(stream):
            try:
                example = parse(line)
            except FormatError:          # the learner, which reads on, counts and names it
                example = None
            if example is not None and example.tag in self.ids:
                self.examples += 1
                self.met.add(example.tag)
                line = b""
            yield line + b"\n"


def what_if(text):
    """The options of "rule=sgd,lr=0.02,crosses=a*b,c*d": a name and = begin a new one, values may hold commas.

    >>> what_if("rule=sgd, lr=0.02,crosses=a*b,c*d,constant=false")
    {'rule': 'sgd', 'lr': 0.02, 'crosses': 'a*b,c*d', 'constant': False}
    """
    options = {}
    for one in re.split(r",\s*(?=\w+=)", text):
        name, equals, value = one.strip().partition("=")
        if not equals or not name.isidentifier():
            raise ValueError(f"{text!r} is not written as 'name=value,name=value'")
        options[name] = _typed(value.strip())
    return options


def table(rows):
    """The losses of several runs as text: rows of (what, Totals of the first pass, number of weights)."""
    wide = max(len("run"), *(len(what) for what, _, _ in rows))
    lines = [f"{'run':{wide}}  examples  0/1 loss  hinge loss   weights"]
    for what, totals, weights in rows:
        lines.append(f"{what:{wide}} {totals.examples:9d} {_loss(totals.zero_one, 9)} {_loss(totals.hinge, 11)} {weights:9d}")
    return "\n".join(lines)


def _loss(value, width):
    return f"{'n.a.':>{width}}" if value is None else f"{value:{width}.6f}"


def _typed(value):
    if value.lower() in ("none", "true", "false"):
        return {"none": None, "true": True, "false": False}[value.lower()]
    for number in (int, float):
        try:
            return number(value)
        except ValueError:
            pass
    return value
