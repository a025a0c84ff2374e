"""What features are called, for those who asked to keep names; and how many of them share a key.

The learner itself works on hashed keys. `Names` collects, beside it, the text of every feature of every example (so a
run that keeps names expands each example in Python, and costs as much); from a text the key can be found again.
"""
from math import expm1, log2

from linear.features import expand
from linear.keys import scheme


class Names:
    """The distinct features of a stream, as text.

    >>> from linear.features import fields_of, parse_crosses
    >>> names = Names(parse_crosses("user*tag"))
    >>> names.see(fields_of({"user": "u1", "tag": "a"})); sorted(names.texts)
    ['Constant', 'tag=a', 'user=u1', 'user=u1*tag=a']
    """

    def __init__(self, crosses=(), constant=True):
        self.crosses, self.constant = crosses, constant
        self.texts = {}                      # a dictionary for its order: equal data, equal file

    def see(self, fields):
        """Take in one example's fields."""
        self.texts.update(dict.fromkeys(key for key, _ in expand(fields, self.crosses, self.constant)))

    def write(self, path):
        """One name a line, in the order of their first appearance; line ends and tabs within one as \\\\n, \\\\r, \\\\t.

        Names already in the file, from an earlier run that is being continued, stay.
        """
        try:
            for line in _lines(path):
                self.texts.setdefault(line)
        except FileNotFoundError:
            pass
        with open(path, "w", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            file.writelines(_written(text) + "\n" for text in self.texts)


def read(path, options):
    """{key: name} of the file that `Names.write` wrote, for a model of these options; names of one key joined by " or "."""
    keys, named = scheme(options.get("bits"), options.get("hash") or "strings"), {}
    for text in _lines(path):
        named.setdefault(keys.of(text), []).append(text)
    return {key: " or ".join(texts) for key, texts in named.items()}


def collisions(texts, bits, hash="strings"):
    """How many distinct features share a slot of 2^bits: measured with VW's indices, and expected of a fair hash.

    With n features a slot is shared by about n (1 - exp(-(n - 1) / 2^bits)) of them, and n (n - 1) / 2^(bits + 1) pairs
    meet (birthday estimate). The same estimate at 64 bits tells why exact keys need no care.

    >>> report = collisions([f"u=u{n}" for n in range(5000)], bits=16)
    >>> report["features"], report["sharing"], round(report["sharing_expected"])
    (5000, 370, 367)
    >>> report["pairs_expected_64"] < 1e-12
    True
    """
    of, slots = scheme(bits, hash).of, {}
    for text in texts:
        slots.setdefault(of(text), []).append(text)
    n, shared = len(texts), [names for names in slots.values() if len(names) > 1]
    return {"features": n, "bits": bits, "slots_used": len(slots), "sharing": sum(map(len, shared)),
            "sharing_expected": -n * expm1(-max(n - 1, 0) / 2 ** bits),
            "pairs": sum(len(names) * (len(names) - 1) // 2 for names in shared),
            "pairs_expected": n * (n - 1) / 2 ** (bits + 1), "pairs_expected_64": n * (n - 1) / 2 ** 65,
            "bits_for_one_percent": max(1, round(log2(max(n, 2) / 0.01) + 0.5)),
            "examples": [names[:3] for names in sorted(shared, key=len, reverse=True)[:5]]}


def _lines(path):
    with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        return [_unwritten(line.rstrip("\n")) for line in file]


def _written(text):
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")


def _unwritten(line):
    parts = line.split("\\\\")
    return "\\".join(part.replace("\\n", "\n").replace("\\r", "\r").replace("\\t", "\t") for part in parts)
