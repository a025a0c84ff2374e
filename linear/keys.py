r"""From features by name to features by key, and crosses of keys: what the compiled engine and `bits=` work on.

A scheme turns names into integers: `Keys64` by the 64-bit hash, `KeysVW` by Vowpal Wabbit's, cut to B bits.

    scheme.of(text)            the key of a feature as it is written: "user=u1", "age", "user=u1*age", "Constant"
    scheme.cross(members)      the key of a cross, from [(first letter of the field, key), ...]
    scheme.constant            the key of the constant feature

Members of a cross whose fields begin with one letter stand in the order of their keys under `Keys64`, since
`tags*tags` gives unordered pairs; VW keeps the order of the line, and so does `KeysVW`. (So what is one pair in two orders, as
`-q uu` and `user*unit` make it, or bare names of several fields, is one feature by key, and two by name.)
"""
from functools import lru_cache, reduce
from itertools import combinations_with_replacement

from linear.features import CONSTANT, _group, _prefix, _spelled_out, is_counted
from linear.hashing import HASH64_ID, VW_CONSTANT, VW_CROSS, cross64, hash64, octets, vw_hash


class Keys64:
    """Exact 64-bit keys (`hashing.HASH64_ID`).

    >>> keys = Keys64()
    >>> keys.of("user=u1") == hash64(b"u1", hash64(b"user")), keys.of("age") == hash64(b"age", hash64(b""))
    (True, True)
    >>> keys.of("user=u1*age") == cross64(keys.of("user=u1"), keys.of("age"))
    True
    """
    id, bits = HASH64_ID, None

    def __init__(self):
        self.of = lru_cache(1 << 16)(self._of)
        self.constant = self.of(CONSTANT)

    def _of(self, text):
        members = [(field[:1] or " ", hash64(octets(name), hash64(octets(field)))) for field, name in members_of(text)]
        return members[0][1] if len(members) == 1 else self.cross(members)

    def cross(self, members):
        """The key of a cross; `members` in declared order."""
        keys, start = [], 0
        for end in range(1, len(members) + 1):
            if end == len(members) or members[end][0] != members[start][0]:
                keys += sorted(key for _, key in members[start:end])
                start = end
        whole = keys[0]
        for key in keys[1:]:
            whole = cross64(whole, key)
        return whole

    def __reduce__(self):           # the cache stays behind
        return type(self), ()


class KeysVW:
    """VW's indices mod 2^bits; two features of one index share a weight. `all_` is VW's `--hash all`.

    A feature `name:text` hashes the text with the name's hash as seed; one without a name, written `:0`, `:1`, ...
    by the parser, is its running number plus the field's hash.

    >>> keys = KeysVW(22)
    >>> keys.of("u=u3"), keys.of("t=t5"), keys.of("u=u3*t=t5"), keys.of("Constant")
    (722504, 2296496, 3795432, 3261788)
    """

    def __init__(self, bits, all_=False):
        self.bits, self.all = bits, all_
        self.id = f"vw-murmur3-{'all' if all_ else 'strings'}-{bits}"
        self.constant = VW_CONSTANT & (1 << bits) - 1
        self.of = lru_cache(1 << 16)(self._of)

    def _of(self, text):
        if text == CONSTANT:
            return self.constant
        return self.cross([(field[:1] or " ", self._feature(octets(field), octets(name))) for field, name in members_of(text)])

    def _feature(self, field, name):
        digits, seed = not self.all, 0
        if field:
            seed = vw_hash(field, 0, digits)
        head, colon, tail = name.partition(b":")
        if colon and not head:
            return (int(tail) + seed) & 0xFFFFFFFF if tail.isdigit() and len(tail) < 20 else vw_hash(name, seed, digits)
        if colon and tail:
            return vw_hash(tail, vw_hash(head, seed, digits), digits)
        return vw_hash(name, seed, digits)

    def cross(self, members):
        """The index of a cross: ((16777619 a) xor b) and so on, mod 2^bits."""
        whole = members[0][1]
        for _, key in members[1:]:
            whole = VW_CROSS * whole ^ key
        return whole & (1 << self.bits) - 1

    def __reduce__(self):
        return type(self), (self.bits, self.all)


def scheme(bits=None, hash="strings"):
    """The scheme of the options `bits` and `hash`."""
    return Keys64() if bits is None else KeysVW(bits, hash == "all")


def members_of(text):
    r"""[(field, name), ...] of a feature's text, the escapes of `features.feature_key` undone; one pair unless crossed.

    >>> members_of(r"a\=b=2\*3*age")
    [('a=b', '2*3'), ('', 'age')]
    """
    if "\\" not in text:
        pairs = [part.partition("=") for part in text.split("*")]
        return [(field, name) if equals else ("", field) for field, equals, name in pairs]
    members, field, word, marks = [], "", [], iter(text)
    for mark in marks:
        if mark == "*":
            members.append((field, "".join(word)))
            field, word = "", []
        elif mark == "=" and not field:
            field, word = "".join(word), []
        else:
            word.append(next(marks) if mark == "\\" else mark)
    return members + [(field, "".join(word))]


def expand(fields, crosses, constant, keys):
    """`features.expand` on keys: [(key, value), ...] in the same order, with the same values.

    >>> from linear.features import fields_of, parse_crosses
    >>> keys, fields = Keys64(), fields_of({"user": "u1", "age": 3})
    >>> expand(fields, parse_crosses("user*age"), False, keys)[2] == (keys.of("user=u1*age"), 3.0)
    True
    """
    groups = [(field, [(keys.of(text), value, first_letter(field, text)) for text, value in part]) for field, part in fields]
    features = [member[:2] for _, part in groups for member in part]
    for cross in crosses:
        for names in _spelled_out(fields, cross) if ":" in cross.names and cross.by_letter else [cross.names]:
            factors = [_power(_group(groups, name, cross.by_letter), names.count(name))
                       for name in dict.fromkeys(names)]
            features += [(keys.cross(members), value) for members, value in reduce(_times, factors)]
    if constant:
        features.append((keys.constant, 1.0))
    return features


def first_letter(field, text):
    """The first letter of the field as a feature's text names it: the blank for a bare name, such as a number's."""
    return field[:1] if field and text.startswith(_prefix(field)) else " "


def _power(group, times):
    """Unordered choices of `times` features as [(members, value), ...]; like `features._power`."""
    made = []
    for chosen in combinations_with_replacement(group, times):
        made += reduce(_times, ([([(letter, key)], value)] for key, value, letter in chosen))
    return made


def _times(left, right):
    made = [(a + b, x * y) for a, x in left for b, y in right]
    return [(members, value) for members, value in made if value == 1.0 or is_counted("a cross", value)]


@lru_cache(4096)
def field_id(field):
    """(hash of a field's name as int64, code of its first letter): how the compiled loops know a field."""
    key = hash64(octets(field))
    return key - (1 << 64) if key >> 63 else key, ord(field[:1] or " ")


def crosses_for_loops(crosses):
    """Crosses as `kernels.layout` lists them, [(by letter, members, and three of them), ...], a field named twice side by
    side; None where one is of more than three fields, which the compiled loops leave to Python."""
    listed = []
    for cross in crosses:
        names = sorted(cross.names, key=cross.names.index)
        if len(names) > 3:
            return None
        members = [ord(name) if cross.by_letter else field_id(name)[0] for name in names]
        listed.append((int(cross.by_letter), len(names), *members, *[0] * (3 - len(names))))
    return listed
