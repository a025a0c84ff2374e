"""Mutated and random lines: none crashes or hangs the compiled loop, and the good ones give what the dictionary gives.

The long form, a million lines (4 minutes on one quiet core):

    python tests/linear/test_linear_fuzz.py 1000000
"""
import random
import sys
import time

import pytest

from linear import HingeSVM

GOOD = [b"1 |u a |t x y", b"-1 2 |u b |t x:0.5", b"1 'tag |u a:3 |t :2 c:d", b"|u a", b"", b'1 0.5 |u "b" |t y', b"-1 1 0.25 ev-7|u:2 c |t a b c:1e-3",
        "1 |u\u00e9 \u00e9:1.5 |t \u00df".encode(), b"-1 | bare |t x |u z", b"1 |u long_name_of_a_feature |t another_long_name:0.123456789012345678",
        b"1\t|u a", b"x\t-1 |t\ty\tz ", b"+1e0 3. .5 |u a |t x:-0.0 y:+7.e-2\r"]
INDICES = [b"1 1:1 2:0.5 30:1e-3", b"-1 qid:3 7:1", b"0 007:2 8:1 # text", b"# 1:1", b"+1 1:-3\t2:4 ", b"1", b"-1.0 0:1 999999999999999999:1", b"1 3:1\r"]
PIECES = [b"|", b":", b" ", b"\t", b"\r", b"\n", b"\x00", b"\xff", b"'", b"-", b"1", b"nan", b"inf", b"1e400", b"9" * 25, b"1e-60", b"|u", b"||", b"::", b".",
          b"e", b"\xc3", b"\xef\xbb\xbf", b" |t q:5 ", b"a" * 70, b"1e50", b"1e51"]


def lines_of(rng, count, good=GOOD):
    """`count` lines: a third good, a third mutated in one to four places, a third of any bytes."""
    made = []
    for _ in range(count):
        kind = rng.randrange(3)
        line = bytearray(rng.choice(good)) if kind else bytearray(rng.randbytes(rng.randrange(40)))
        for _ in range(rng.randrange(1, 5) if kind == 1 else 0):
            at = rng.randrange(len(line) + 1)
            line[at:at + rng.randrange(3)] = rng.choice(PIECES) if rng.random() < 0.7 else rng.randbytes(rng.randrange(3))
        made.append(bytes(line).replace(b"\n", b""))
    return b"\n".join(made)


def compare(text, format="vw", **options):
    """Learn the text with both engines; returns the totals, which agree, as all weights do."""
    compiled, reference = HingeSVM(dtype="float64", **options), HingeSVM(dtype="float64", engine="dict", **options)
    totals = compiled.learn_lines(text, format)
    assert totals == reference.learn_lines(text, format)
    weights = compiled.weights
    assert len(weights) == len(reference.weights)
    assert all(weights[key] == weight for key, weight in reference.weights.items())
    return totals


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("options", [{"crosses": ["-q ut"]}, {"crosses": ["-q tt", "u*t"], "bits": 12}, {"rule": "pa1", "constant": False}],
                         ids=str)
def test_bad_lines_never_matter(seed, options):
    totals = compare(lines_of(random.Random(seed), 1500), **options)
    assert 300 < totals.malformed < 1200 and totals.examples > 300


@pytest.mark.parametrize("options", [{"crosses": ["f*f"]}, {"bits": 9}], ids=str)
def test_bad_lines_of_svmlight_never_matter(options):
    totals = compare(lines_of(random.Random(5), 1500, INDICES), "svmlight", **options)
    assert 300 < totals.malformed < 1200 and totals.examples > 300


def main(count, size=10_000):
    """The long form: blocks of lines, each with its own seed and options, until `count` lines were learned."""
    started, malformed, examples = time.perf_counter(), 0, 0
    jobs = [(GOOD, {"crosses": ["-q ut"]}), (GOOD, {"crosses": ["-q tt", "u*t"], "bits": 12}), (GOOD, {"rule": "nag"}),
            (GOOD, {"crosses": ["-q utu", ":*:"]}), (INDICES, {"crosses": "f*f", "format": "svmlight"})]
    for number, start in enumerate(range(0, count, size)):
        good, options = jobs[number % len(jobs)]
        totals = compare(lines_of(random.Random(number), min(size, count - start), good), **options)
        malformed, examples = malformed + totals.malformed, examples + totals.examples
    print(f"{count} lines, {examples} examples, {malformed} malformed, engines agree, {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
