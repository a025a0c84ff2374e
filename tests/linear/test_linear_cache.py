"""The cache of parsed examples: the same weights as from text, bit for bit, and no cache of anything else."""
import os
import random

import pytest

import linear.cache as cache
from linear import HingeSVM, stream
from linear.__main__ import main
from linear.formats import parser

LINES = [b"1 |user u1 |tags a b:0.5 c", b"-1 2 |user u2 |tags a", b"1 0.5 0.25 ev-7|user u1:3 |age :7.5", b"", b"|user u3", b"what?",
         "-1 'h\u00e9 |\u00e9t x |user u1".encode(), b"1 |tags a=b x*y c:d |user u9", b"-1 | bare |user", b"1 |user u1 |tags a:nan"]
TEXTS = {
    "vw": b"\n".join(LINES * 30) + b"\n1 |tags " + b" ".join(b"t%d:2" % i for i in range(300)) + b"\n-1 |user u1 |tags a b:0.5 c",
    "svmlight": b"".join(b"%d 3:1 %d:0.5 90:2 # text\n" % (i % 3 > 0, 4 + i % 9) for i in range(200)) + b"1 5:1 4:1\n0\n",
    "csv": b"y,user,age,id\n" + b"".join(b"%d,u%d,%d,e%d\n" % (i % 2, i % 7, i % 50, i) for i in range(200)) + b"1,u,x,e\n",
    "jsonl": b"".join(b'{"y": %d, "user": "u%d", "tags": ["a", "b%d"], "age": %d}\n' % (i % 2, i % 7, i % 5, i % 9) for i in range(200)),
}


def learned(path, format, folder, cached, passes=2, **options):
    """(totals, weights, what was seen of each example) of a model that learns the file."""
    model, seen, totals = HingeSVM(**options), [], None
    header = cache.described(path, [format], model.scheme.id)
    store = folder / f"{model.scheme.id}.cache"
    for number in range(passes):
        watch = {"totals": totals, "on_example": lambda example, margin, prediction, features: seen.append(
            (example.label, example.weight, example.initial, example.tag, margin, features))}
        with open(path, "rb") as file:
            if not cached:
                totals = stream.run(model, file, parser(format), str(path), **watch)
                continue
            if not store.exists():
                cache.make(store, header, model, file, parser(format), str(path))
        totals = cache.learn(model, store, header, **watch)
    return totals, dict(model.weights), seen


@pytest.mark.parametrize("format", TEXTS)
@pytest.mark.parametrize("options", [{"crosses": ["user*tags", "-q ::"]}, {"crosses": "f*f", "dtype": "float64"}, {"bits": 10, "crosses": "-q ut"},
                                     {"bits": 9, "hash": "all"}], ids=str)
def test_the_cache_gives_what_the_text_gives(format, options, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "WORDS", 1 << 9)              # several blocks, and a line that is longer than one
    path = tmp_path / "data"
    path.write_bytes(TEXTS[format])
    assert learned(path, format, tmp_path, True, **options) == learned(path, format, tmp_path, False, **options)


def test_a_cache_of_something_else_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "d.vw"
    data.write_bytes(b"1 |u a |t b\n-1 |u b |t c\n" * 50)
    options = ["learn", "d.vw", "--quiet", "-c", "--json"]
    assert main(options) == 0 and main([*options, "-q", "ut", "--rule", "pa", "--passes", "3"]) == 0       # any model of this hash
    assert main([*options, "--bits", "12"]) == 1 and "with another hash" in capsys.readouterr().err
    whole = (tmp_path / "d.vw.cache").read_bytes()
    for damaged, reason in ((whole[:-1], "checksum"), (whole[:200] + b"\x01" + whole[201:], "checksum"), (whole[:-40], "checksum"),
                            (b"text", "no cache of linear"), (whole[:9], "header makes no sense")):
        (tmp_path / "d.vw.cache").write_bytes(damaged)
        assert main(options) == 1 and reason in capsys.readouterr().err
    (tmp_path / "d.vw.cache").write_bytes(whole)
    os.utime(data, ns=(1, 1))
    assert main(options) == 1 and "another text" in capsys.readouterr().err
    os.unlink(tmp_path / "d.vw.cache")
    assert main(options) == 0 and os.listdir(tmp_path) in (["d.vw", "d.vw.cache"], ["d.vw.cache", "d.vw"])
    for more in (["--engine", "dict"], ["--names"], ["--without", "d.vw"], ["--crosses", "a*b*c*d"]):
        assert main([*options, *more]) == 2 and "--cache" in capsys.readouterr().err
    assert main(["learn", "-", "--cache", "x"]) == 2 and "--cache is for a file" in capsys.readouterr().err


def test_what_a_model_cannot_take_from_a_cache_is_counted(tmp_path):
    path = tmp_path / "data"
    path.write_bytes(b"1 |u a\n1 7|u a:1e40 b:1e40 |t x\n-1 |u b\n1 |u c:1e30\n" * 3)
    for options in ({"dtype": "float32"}, {"dtype": "float64", "crosses": "u*u"}):
        (a, b, _), (c, d, _) = (learned(path, "vw", tmp_path, cached, passes=1, **options) for cached in (True, False))
        assert (a, b) == (c, d) and a.malformed > 0
    with pytest.raises(stream.FormatError, match="cache:2:1: the margin, or a product"):
        model = HingeSVM()
        cache.learn(model, tmp_path / f"{model.scheme.id}.cache", cache.described(path, ["vw"], model.scheme.id), strict=True)


def test_a_failed_making_leaves_nothing(tmp_path):
    model, path = HingeSVM(), tmp_path / "d"
    path.write_bytes(b"1 |u a\nwhat?\n")
    with pytest.raises(stream.FormatError), open(path, "rb") as file:
        cache.make(tmp_path / "c", {}, model, file, parser("vw"), "d", strict=True)
    assert os.listdir(tmp_path) == ["d"]


def test_every_flipped_byte_is_refused(tmp_path):
    path, store, model = tmp_path / "d", tmp_path / "c", HingeSVM()
    path.write_bytes(b"1 |u a |t b:0.5\n-1 2 e1|u b\n")
    header = cache.described(path, ["vw"], model.scheme.id)
    with open(path, "rb") as file:
        cache.make(store, header, model, file, parser("vw"), "d")
    whole = store.read_bytes()
    assert cache.learn(model, store, header).examples == 2
    for place in random.Random(0).sample(range(len(whole)), 120):
        store.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1:])
        with pytest.raises(cache.CacheError):
            cache.learn(HingeSVM(), store, header)
