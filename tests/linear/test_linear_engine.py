"""The compiled engine against the dictionary: the same weights bit for bit, whichever way an example comes in."""
import copy
import gzip
import io
import math
import pickle
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linear import FeatureError, FormatError, HingeSVM, stream
from linear.formats import numbered_lines, parser
from linear.keys import Keys64, crosses_for_loops
from linear.progress import Progress, Totals
from linear.rules import RULES

fixed = settings(deadline=None, derandomize=True, database=None, max_examples=40)
VALUE = st.sampled_from(["", ":1", ":0.5", ":-2", ":3e-4", ":0", ":0.1234567890123456", ":1e-40", ":-7.25e3", ":12345678901234567890123"])
FEATURE = st.tuples(st.sampled_from(["a", "b", "c", "longer_than_eight", "\u00e9", "12", "x=y*z", "t\\e"]), VALUE).map("".join)
FIELD = st.tuples(st.sampled_from(["u", "user", "t", "tags", "", "z:0.5", "v"]), st.lists(FEATURE, max_size=5)).map(
    lambda field: f"|{field[0]} {' '.join(field[1])} ")
HEAD = st.sampled_from(["1 ", "-1 ", "1 2 ", "-1 0.25 0.5 ", "", "1 'tag ", "1 0 ", "-1 1 tag", "+1.0 3e-1 "])
LINE = st.tuples(HEAD, st.lists(FIELD, min_size=1, max_size=5)).map(lambda line: line[0] + "".join(line[1]))
CROSSES = st.lists(st.sampled_from(["-q ut", "-q uu", "-q tz", "user*tags", "tags*tags", "u*t*v", "tags*t*u", "-q utv", "-q u:", "-q  u",
                                    "v*user", ":*:", "-q \u00e9t", "u*v*u", "v*tags*tags"]), unique=True, max_size=4)
OPTIONS = {"lr": 0.3, "C": 0.2, "r": 2.0, "phi": 0.8, "lam": 0.01, "power_t": 0.4, "initial_t": 1.5}


def both(dtype="float64", **options):
    return HingeSVM(**options, dtype=dtype), HingeSVM(**options, dtype=dtype, engine="dict")


def options_of(rule):
    if rule in ("pa", "pa1", "pa2", "perceptron", "pegasos", "arow", "scw2"):
        return [{}]
    losses = [{"loss": loss} for loss in RULES[rule].losses]
    if rule == "nag":
        switches = [{"adaptive": False}, {"normalized": False}, {"invariant": False}, {"adaptive": False, "normalized": False}]
        return losses + switches + [{"bits": 6}]
    if RULES[rule].penalties:
        return losses + [{"l1": 0.01}, {"l2": 0.3}, {"l1": 0.02, "l2": 0.05}]
    return losses


def same(compiled, reference):
    """Equal keys, and weights of equal bits."""
    if compiled.scheme is None or compiled.options["bits"]:
        expected = dict(reference.weights)
    else:
        expected = {compiled.scheme.of(name): weight for name, weight in reference.weights.items()}
    assert {key: weight.hex() for key, weight in compiled.weights.items()} == {key: float(weight).hex() for key, weight in
                                                                              expected.items()}
    assert compiled.totals == reference.totals
    return True


CASES = [(rule, options) for rule in RULES for options in options_of(rule)]


@pytest.mark.parametrize("rule, options", CASES, ids=[f"{rule}-{options}" for rule, options in CASES])
@given(st.lists(LINE, min_size=1, max_size=25), CROSSES)
@settings(fixed, max_examples=12)
def test_weights_are_the_same_bit_for_bit(rule, options, lines, crosses):
    compiled, reference = both(rule=rule, crosses=crosses, **{**OPTIONS, **options})
    text = "\n".join(lines)
    assert compiled.learn_lines(text) == reference.learn_lines(text)
    assert same(compiled, reference)


@pytest.mark.parametrize("rule", RULES)
def test_a_long_run_agrees_too_even_at_float32(rule):
    """Also over scales that have to be worked in, tables that grow and G that overflow nothing."""
    rng = random.Random(4)
    text = "".join(f"{rng.choice([-1, 1])} |u u{rng.randrange(300)} |t {' '.join(f't{rng.randrange(90)}' for _ in range(5))}"
                   f" x:{rng.uniform(-2, 2)!r}\n" for _ in range(2500))
    penalties = {"l1": 1e-3, "l2": 0.5} if RULES[rule].penalties else {}
    for dtype in ("float64", "float32"):
        compiled, reference = both(dtype, rule=rule, crosses="u*t", **penalties)
        assert compiled.learn_lines(text) == reference.learn_lines(text)
        assert same(compiled, reference) and len(compiled.weights) > 5000


@given(st.lists(LINE, min_size=1, max_size=12), CROSSES, st.sampled_from([None, 5, 20]), st.sampled_from(["strings", "all"]))
@fixed
def test_bits_agree_whichever_engine_and_way(lines, crosses, bits, hash):
    compiled, reference = both(crosses=crosses, bits=bits, hash=hash)
    lines.append("1 |u :0.5 7 :2 color:red |t 07 :1")
    text = "\n".join(lines)
    assert compiled.learn_lines(text) == reference.learn_lines(text)
    assert same(compiled, reference)
    slow = HingeSVM(crosses=crosses, bits=bits, hash=hash, dtype="float64")
    for _, line in numbered_lines(io.BytesIO(text.encode())):
        if (example := slow.parser_for(parser("vw"))(line)) is not None:
            slow.take(example)
    assert dict(slow.weights) == dict(compiled.weights) and slow.totals == compiled.totals
    if bits:
        assert all(0 <= key < 2 ** bits for key in compiled.weights)


@given(st.lists(LINE, min_size=1, max_size=15), CROSSES)
@fixed
def test_one_line_at_a_time_is_the_same(lines, crosses):
    whole, single = HingeSVM(crosses=crosses, dtype="float64"), HingeSVM(crosses=crosses, dtype="float64")
    margins = []
    stream.run(whole, io.BytesIO("\n".join(lines).encode()), parser("vw"), "f",
               on_example=lambda example, margin, prediction, features: margins.append(margin))
    assert [single.learn_line(line if len(line) % 2 else line.encode() + b"\r\n") for line in lines] == margins
    assert dict(single.weights) == dict(whole.weights) and single.totals == whole.totals


@pytest.mark.parametrize("chunk", [1, 7, 64, 1000])
@pytest.mark.parametrize("ends", [b"\n", b"\r\n"])
def test_chunks_do_not_matter(chunk, ends, monkeypatch):
    lines = [b"\xef\xbb\xbf1 |u a |t b", b"", b"-1 |u c |t " + b"d " * 300, b"  ", b"1 |u a:nan", b"1 |u a |t x:0.1", b"-1 e7|u q |t z"]
    whole = HingeSVM(crosses="u*t")
    expected = whole.learn_lines(ends.join(lines))
    monkeypatch.setattr(stream, "CHUNK", chunk)
    model, errors, tags = HingeSVM(crosses="u*t"), [], []
    totals = stream.run(model, io.BytesIO(ends.join(lines)), parser("vw"), "f", on_malformed=errors.append,
                        on_example=lambda example, margin, prediction, features: tags.append((example.tag, features)))
    assert dict(model.weights) == dict(whole.weights) and totals == expected
    assert (totals.examples, totals.malformed) == (4, 1) and str(errors[0]).startswith("f:5:8: value 'nan'")
    assert [tag for tag, _ in tags] == ["", "", "", "e7"] and tags[0][1] == 4 and tags[1][1] == 602


def test_the_loop_reads_the_lines_itself(monkeypatch):
    """Or all tests would pass at a hundredth of the speed."""
    model = HingeSVM(crosses=["-q ut", "u*t*v"])
    monkeypatch.setattr(stream.Job, "line", lambda *args: pytest.fail("a line went to Python"))
    assert model.learn_lines(b"1 |u a |t b:0.25\n-1 2 'tag |u a b |t c:1.5e-3 |v :\n".replace(b" |v :", b" |v d")).examples == 2
    monkeypatch.setattr(model, "take", lambda *args: pytest.fail("a line went to Python"))
    model.learn_line("1 |u a |t b")


def test_progress_at_powers_of_two():
    text = b"".join(b"%d |u u%d\n" % (1 if i % 3 else -1, i % 5) for i in range(100)) + b"x\n" + b"1 |u u1\n" * 40
    shown = []
    for engine in ("compiled", "dict"):
        out = io.StringIO()
        stream.run(HingeSVM(engine=engine, dtype="float64"), io.BytesIO(text), parser("vw"), "f", progress=Progress(out))
        shown.append(out.getvalue())
    assert shown[0] == shown[1] and [line.split()[2] for line in shown[0].splitlines()[2:]] == [str(2 ** n) for n in range(8)]


def test_results_of_more_lines_than_there_is_room_for():
    text = b"".join(b"%d e%d|u u%d\n" % (1 if i % 3 else -1, i, i % 5) for i in range(9000))
    seen = []
    for engine in ("compiled", "dict"):
        rows = []
        stream.run(HingeSVM(engine=engine, dtype="float64"), io.BytesIO(text), parser("vw"), "f",
                   on_example=lambda example, margin, prediction, features: rows.append(
                       (example.label, example.weight, example.initial, example.tag, margin, prediction, features)))
        seen.append(rows)
    assert seen[0] == seen[1] and len(seen[0]) == 9000


def test_test_mode_changes_nothing():
    model = HingeSVM()
    model.learn_lines(b"1 |u a\n-1 |u b\n")
    before = dict(model.weights), model.totals
    totals = stream.run(model, io.BytesIO(b"1 |u a\n-1 |u a\n-1 |u b\n"), parser("vw"), "f", learn=False)
    assert (dict(model.weights), model.totals) == before and (totals.examples, totals.zero_one) == (3, 1 / 3)


def test_strict_stops_at_line_and_column():
    model = HingeSVM()
    with pytest.raises(FormatError, match=r"<lines>:3:8: value 'x:1'|<lines>:3:8") as caught:
        model.learn_lines(b"1 |u a\n\n1 |u b:0x1\n1 |u c\n", strict=True)
    assert (caught.value.line, caught.value.column) == (3, 8) and "u=a" in model.weights and "u=c" not in model.weights


def test_gzip_and_files(tmp_path):
    text = b"1 |u a |t b\n-1 |u c\n" * 50
    (tmp_path / "f.vw").write_bytes(text)
    (tmp_path / "f.vw.gz").write_bytes(gzip.compress(text))
    plain, packed = HingeSVM(), HingeSVM()
    assert plain.learn_file(tmp_path / "f.vw") == packed.learn_file(tmp_path / "f.vw.gz")
    assert dict(plain.weights) == dict(packed.weights)


def test_weights_are_a_mapping_by_key_and_by_name():
    model = HingeSVM(crosses="u*t", dtype="float64")
    model.learn_line("1 |u a |t b")
    weights, keys = model.weights, Keys64()
    assert all(isinstance(key, int) and isinstance(weight, float) for key, weight in weights.items())
    assert weights["u=a*t=b"] == weights[keys.of("u=a*t=b")] and "Constant" in weights and "u=b" not in weights
    assert set(weights) == {keys.of(name) for name in ("u=a", "t=b", "u=a*t=b", "Constant")} and len(weights) == 4
    assert dict(weights) == dict(weights.items()) and weights.get("u=q") is None
    with pytest.raises(KeyError):
        weights[12345]


def test_names_are_kept_on_request(tmp_path):
    model, reference = HingeSVM(crosses="u*t", names=True, dtype="float64"), HingeSVM(crosses="u*t", engine="dict", dtype="float64")
    for one in (model, reference):
        one.learn_lines("1 |u a |t b c:2\n-1 |u \u00e9\n")
        one.learn_one({"u": "a*b", "t": ["x"]}, 1)
        one.margin_one({"u": "never seen"})
    assert dict(model.weights) == dict(reference.weights)
    model.save(tmp_path / "m")
    loaded = HingeSVM.load(tmp_path / "m")
    assert dict(loaded.weights) == dict(reference.weights) and loaded.weights["u=a\\*b*t=x"] == model.weights["u=a\\*b*t=x"]


def test_explanations_name_hashed_features():
    model = HingeSVM(crosses="u*t", dtype="float64")
    model.learn_one({"u": "a", "t": ["b"]}, 1)
    parts = model.explain_one({"u": "a", "t": ["b", "c"], "n": 2})
    assert list(parts) == ["u=a", "t=b", "t=c", "n", "u=a*t=b", "u=a*t=c", "Constant"] and parts["t=c"] == 0.0
    assert math.fsum(parts.values()) == pytest.approx(model.margin_one({"u": "a", "t": ["b", "c"], "n": 2}), abs=1e-15)


@pytest.mark.parametrize("engine", ["compiled", "dict"])
def test_a_blow_up_names_the_feature_and_changes_nothing(engine):
    model = HingeSVM(rule="perceptron", engine=engine)
    model.learn_one({"small": 1.0, "huge": 1e12}, 1, w=1e12)
    before = dict(model.weights), model.totals
    for attempt in (lambda: model.learn_one({"small": 1.0, "huge": -1e12}, 1), lambda: model.margin_one({"huge": 1e12})):
        with pytest.raises(FeatureError, match="is beyond 1e.24.*'huge' alone gives -?1.0.*e.36"):
            attempt()
    totals = model.learn_lines("|u b\n-1 | huge:1e12 x\n")
    assert (totals.examples, totals.malformed) == (1, 1) and (dict(model.weights), model.totals) == before


@pytest.mark.parametrize("engine", ["compiled", "dict"])
def test_float32_has_narrower_limits(engine):
    model = HingeSVM(engine=engine, crosses="a*b")
    model.learn_one({"a": 1e-13, "b": 1e-11}, 1)
    assert "a" not in model.weights and "b" in model.weights and "a*b" not in model.weights
    for x, words in [({"a": 1e13}, "'a' has value 1.*0.0, beyond 1e.12, the limit of dtype float32"), ({"a": 1e7, "b": 1e7}, r"'a\*b'")]:
        with pytest.raises(FeatureError, match=words):
            model.learn_one(x, 1)
    with pytest.raises(FeatureError, match="importance weight 1.*0.0 is beyond 1e.12"):
        model.learn_one({"a": 1}, 1, w=1e13)
    assert model.learn_lines("1 1e13 |u a\n1 |u a:1e13\n1 |u a:1e-13 b\n").malformed == 2
    assert HingeSVM(engine=engine, dtype="float64").learn_lines("1 1e13 |u a\n1 |u a:1e13\n").malformed == 0


def test_pickles_and_copies_share_nothing():
    model = HingeSVM(crosses="u*t")
    model.learn_lines(b"1 |u a |t b\n-1 |u c\n")
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert dict(other.weights) == dict(model.weights) and other.totals == model.totals
        other.learn_line("1 |u new |t b")
        other.learn_one({"u": "newer"}, 1)
        assert "u=new" in other.weights and "u=new" not in model.weights and "u=newer" not in model.weights


def test_the_table_grows_and_a_large_one_takes_huge_pages():
    model = HingeSVM(dtype="float64")
    model.learn_lines("".join(f"1 |u {' '.join(f'f{i * 100 + j}' for j in range(100))}\n" for i in range(1500)))
    learner = model._learner
    assert len(model.weights) == 150_001 and learner.ints.nbytes < 16_000
    slots = learner.table.nbytes // 24
    assert slots & (slots - 1) == 0 and 3 / 8 <= len(model.weights) / slots * 1.5 <= 1
    assert all(model.weights[f"u=f{i}"] > 0 for i in range(0, 150_000, 997))


def test_growing_moves_each_weight_about_once():
    """A pause is the copy of one table into one of twice the size: few of them, and less work in all than inserting was."""
    model, moved = HingeSVM(constant=False), []
    allocate = model._learner._allocate
    model._learner._allocate = lambda slots: (moved.append((len(model.weights), slots)), allocate(slots))
    model.learn_lines("".join(f"1 |u f{i}\n" for i in range(40_000)))
    assert [slots for _, slots in moved] == [1 << n for n in range(11, 17)]
    assert all(0.3 < weights / slots <= 1 / 3 for weights, slots in moved) and sum(weights for weights, _ in moved) < 2 * 40_000


def test_one_line_with_very_many_features():
    model, reference = both(crosses="t*t")
    text = "1 |t " + " ".join(f"t{i}" for i in range(400)) + "\n-1 |t t1\n"
    assert model.learn_lines(text) == reference.learn_lines(text)
    assert same(model, reference) and len(model.weights) == 400 * 401 // 2 + 400 + 1


def test_a_block_that_just_fills_its_room():
    for count in range(1, 33):
        text = b"".join(b"%d |u %s\n" % (i % 3 and 1 or -1, b" ".join(b"f%d" % (i * j % 50) for j in range(count))) for i in range(99))
        fast, slow = both()
        fast = fast.copy()                                   # begins with room for 64, the constant's included
        fast.learn_lines(text), slow.learn_lines(text)
        assert {key: fast.weights[key] for key in slow.weights} == dict(slow.weights)


@pytest.mark.parametrize("crosses, loops", [
    ((), True), (["-q ut", "a*b", "a*a", "a*b*c", "-q abc"], True), (["-q ::", "a*b*a", "-q u:t"], True), (["-q \u00e9t"], True),
    (["a*b*c*d"], False),
])
def test_which_crosses_the_loops_know(crosses, loops):
    model = HingeSVM(crosses=crosses)
    assert (crosses_for_loops(model._crosses) is not None) == loops == (model.loops_read(parser("vw")) is not None)
    assert model.loops_read(parser("jsonl")) is None


def test_lines_for_python_in_between():
    """A line that only Python reads, amid lines of the loop, learns in its place."""
    compiled, reference = both(crosses="u*t")
    lines = ["1 |u a |t b"] * 40 + ["-1 |u :2 |t b"] + ["1 |u a"] * 40 + ["-1 |u a:0.12345678901234567890123 |t b"] + ["1 |u c"] * 5
    assert compiled.learn_lines("\n".join(lines)) == reference.learn_lines("\n".join(lines))
    assert same(compiled, reference)


@pytest.mark.parametrize("options", [{"crosses": [":*:", "-q uut"]}, {"bits": 10, "crosses": "a\u00e9*u"}, {"bits": 8, "hash": "all"}, {"names": True}],
                         ids=str)
def test_dictionaries_give_the_same_whichever_engine(options):
    """Names of any kind: those that the loops hash, and those that they leave to Python."""
    compiled, reference = both(**options)
    names = ["a", "b=c", "d*e", "f\\g", "h:i", " j ", "12", "k\nl", "", "Constant", "\u00e9\u4e2d", "\ud800", "m|n", "o\tp", "longer than eight"]
    rng, fields = random.Random(7), ["u", "a\u00e9", "t", "x*y", *(["", "Constant"] if "bits" in options else [])]
    for n in range(150):
        x = {rng.choice(fields): rng.choice([
            rng.choice(names), rng.uniform(-2, 2), rng.sample(names, 3), {rng.choice(names): 0.25, "z": 1e-30}, True]) for _ in range(4)}
        for model in (compiled, reference):
            model.learn_one(x, n % 3 > 0, w=1 + n % 2)
        assert compiled.margin_one(x) == reference.margin_one(x)
    assert compiled.totals == reference.totals and len(compiled.weights) == len(reference.weights) > 10
    assert all(compiled.weights[key] == weight for key, weight in reference.weights.items())


@pytest.mark.parametrize("rule", RULES)
def test_the_constant_may_start_anywhere(rule):
    models = both(rule=rule, initial_constant=-0.4)
    assert [model.margin_one({}) for model in models] == [pytest.approx(-0.4, abs=1e-15)] * 2
    for n in range(20):
        for model in models:
            model.learn_one({"u": f"u{n % 3}"}, n % 4 > 0)
    assert same(*models) and models[0].weights["Constant"] != HingeSVM(rule=rule).weights.get("Constant", 0.0)
    with pytest.raises(ValueError, match="initial_constant=1.0 without a constant"):
        HingeSVM(rule=rule, constant=False, initial_constant=1.0)


def test_totals_can_be_carried_on():
    model = HingeSVM()
    totals = Totals()
    for _ in range(3):
        stream.run(model, io.BytesIO(b"1 |u a\n-1 |u b\n"), parser("vw"), "f", totals=totals)
    assert totals.examples == 6 and model.totals == totals


@pytest.mark.parametrize("line, error", [("", FormatError), ("  ", FormatError), ("1 |u a\n1 |u b", None), (b"1 |u a\r\n", None), (5, TypeError),
                                         (bytearray(b"1 |u a"), None), ("x", FormatError)])
def test_learn_line_takes_one_line(line, error):
    model, reference = HingeSVM(dtype="float64"), HingeSVM(engine="dict", dtype="float64")
    for one in (model, reference):
        if error:
            with pytest.raises(error):
                one.learn_line(line)
        else:
            assert one.learn_line(line) == 0.0
    assert same(model, reference)


def test_numpy_scalars_as_options():
    assert HingeSVM(bits=np.int64(6)).options["bits"] == 6 and HingeSVM(lr=np.float64(0.5)).options["lr"] == 0.5


@pytest.mark.parametrize("engine", ["compiled", "dict"])
def test_an_example_that_would_fill_the_memory_is_refused(engine):
    model = HingeSVM(crosses="t*t", engine=engine, dtype="float64")
    text = "1 |t " + " ".join(f"t{i}" for i in range(3000))
    with pytest.raises(FeatureError, match="4504500 features with its crosses, more than 4194304"):
        model.learn_line(text)
    with pytest.raises(FeatureError, match="more than 4194304"):
        model.learn_one({"t": [f"t{i}" for i in range(3000)]}, 1)
    assert not model.weights


def test_fields_and_lines_are_crossed_alike():
    by_line, by_field = HingeSVM(crosses=["u*t", "-q tt", "u*t*n"], dtype="float64"), HingeSVM(crosses=["u*t", "-q tt", "u*t*n"], dtype="float64")
    for i in range(30):
        by_line.learn_line(f"{1 if i % 3 else -1} |u u{i % 4} |t a{i % 5}:0.5 b{i % 7}:2 |n x:{i / 7 + 0.1}")
        by_field.learn_one({"u": f"u{i % 4}", "t": {f"a{i % 5}": 0.5, f"b{i % 7}": 2}, "n": {"x": i / 7 + 0.1}}, i % 3 != 0)
    assert dict(by_line.weights) == dict(by_field.weights) and len(by_line.weights) > 100
    wide = HingeSVM(crosses="f1*f2", dtype="float64")
    wide.learn_one({f"f{i}": "x" for i in range(100)}, 1)
    assert len(wide.weights) == 102
    wide.learn_one({"\u00e9": "x", "f1": "y", "f2": "z"}, 1)
    assert len(wide.weights) == 106
