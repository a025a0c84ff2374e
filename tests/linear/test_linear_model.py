"""HingeSVM as a whole: learning, purity of prediction, explanations, model files."""
import copy
import hashlib
import math
import os
import pickle
import random
import stat
import struct
from array import array
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import linear
from linear import FeatureError, FormatError, HingeSVM, ModelFileError, model_file
from linear.rules import RULES

fixed = settings(deadline=None, derandomize=True, database=None, max_examples=60)


def stream(n, seed=1):
    """Examples whose label is the exclusive or of two fields, with some noise around them."""
    rng = random.Random(seed)
    for _ in range(n):
        left, right = rng.choice("ab"), rng.choice("cd")
        x = {"left": left, "right": right, "age": rng.uniform(-1, 1), "tags": rng.choices("pqrst", k=rng.randrange(4)),
             "words": {rng.choice("uvw"): rng.random() * 3}}
        yield x, (1 if (left == "a") == (right == "c") else -1), rng.choice([0.5, 1.0, 3.0])


def trained(n=200, **options):
    model = HingeSVM(**options)
    for x, y, w in stream(n):
        model.learn_one(x, y, w)
    return model


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_learns_what_only_a_cross_can_say(rule):
    crossed, plain = trained(800, crosses="left*right", rule=rule), trained(800, rule=rule)
    assert crossed.totals.zero_one < 0.15
    assert plain.totals.zero_one > 0.35
    assert all(crossed.predict_one(x) == y for x, y, _ in stream(50, seed=2))


def test_margin_is_the_sum_of_present_weights_times_values():
    model = trained(crosses=["left*right", "age*left"])
    x = {"left": "a", "age": -2.0, "right": "unseen"}
    w = model.weights
    expected = w["left=a"] + w["age"] * -2.0 + w["age*left=a"] * -2.0 + w["Constant"]
    assert model.margin_one(x) == pytest.approx(expected, rel=1e-12)
    assert model.predict_one(x) == (1 if expected > 0 else -1)


@pytest.mark.parametrize("y, label", [(1, 1), (-1, -1), (True, 1), (False, -1), (1.0, 1)])
def test_labels(y, label):
    model = HingeSVM(rule="perceptron")
    model.learn_one({"a": "x"}, y)
    assert model.weights["a=x"] == label and model.predict_one({"a": "x"}) == label


def test_numpy_labels():
    numpy = pytest.importorskip("numpy")
    model = HingeSVM(rule="perceptron")
    model.learn_one({"a": "x"}, numpy.bool_(False))
    assert model.weights["a=x"] == -1.0
    model.learn_one({"b": "x"}, numpy.int64(1))
    assert model.weights["b=x"] == 1.0


@pytest.mark.parametrize("y", [0, 2, "1", None, float("nan")])
def test_other_labels_are_refused_and_change_nothing(y):
    model = HingeSVM()
    with pytest.raises(ValueError, match="is not one of -1, 1, False, True"):
        model.learn_one({"a": "x"}, y)
    assert not model.weights


def test_importance_weight_zero_is_predict_only_and_negative_is_refused():
    model = HingeSVM()
    model.learn_one({"a": "x"}, 1, w=0.0)
    assert not model.weights and model.totals.examples == 0
    with pytest.raises(ValueError, match="w=-1"):
        model.learn_one({"a": "x"}, 1, w=-1)


def test_prediction_before_learning():
    model = HingeSVM()
    assert (model.margin_one({"a": "x"}), model.predict_one({"a": "x"}), model.predict_one({})) == (0.0, -1, -1)


def test_predicting_explaining_and_reading_weights_change_nothing(tmp_path):
    model = trained(crosses="left*right")
    model.save(tmp_path / "before")
    x = {"left": "new", "right": "d", "tags": ["never", "seen"], "more": 3}
    copied = copy.deepcopy(x)
    model.predict_one(x), model.margin_one(x), model.explain_one(x), model.weights.get("tags=never")
    with pytest.raises(KeyError):
        model.weights["tags=never"]
    model.take(linear.formats.parser("vw")(b"1 |left zz"), learn=False)
    model.save(tmp_path / "after")
    assert (tmp_path / "before").read_bytes() == (tmp_path / "after").read_bytes()
    assert x == copied


def test_learning_does_not_touch_its_input():
    x = {"tags": ["a", "b"], "n": {"k": 1}}
    copied = copy.deepcopy(x)
    HingeSVM(crosses="tags*n").learn_one(x, 1)
    assert x == copied


@given(st.permutations(["left", "right", "age", "tags", "words"]))
@fixed
def test_order_of_fields_does_not_matter(order):
    one, two = HingeSVM(crosses=["left*right", "tags*tags"]), HingeSVM(crosses=["left*right", "tags*tags"])
    for x, y, w in stream(15):
        one.learn_one(x, y, w)
        two.learn_one({field: x[field] for field in order}, y, w)
    assert dict(one.weights) == pytest.approx(dict(two.weights), abs=1e-12)


@given(st.integers(0, 10_000))
@fixed
def test_explanation_sums_to_the_margin(seed):
    model = trained(60, crosses=["left*right", "tags*words", "tags*tags"])
    for x, _, _ in stream(5, seed):
        parts = model.explain_one(x)
        assert math.isclose(math.fsum(parts.values()), model.margin_one(x), rel_tol=1e-9, abs_tol=1e-12)
        assert "Constant" in parts and f"left={x['left']}*right={x['right']}" in parts


def test_explanation_in_order_gives_the_margin_bit_for_bit():
    model = trained(crosses="left*right")
    total = 0.0
    x = {"left": "a", "right": "c", "age": 0.7, "words": {"u": 0.3}}
    for part in model.explain_one(x).values():
        total += part
    assert total == model.margin_one(x) != 0.0


def test_lines_files_and_dictionaries_give_the_same_model(tmp_path):
    by_dict, by_line, by_lines, by_file, by_json = (HingeSVM(crosses="u*t") for _ in range(5))
    rows = [("a", ["x", "y"], 1), ("b", ["x"], -1), ("a", [], 1), ("b", ["y", "z"], -1)] * 5
    text = "".join(f"{y} |u {u} |t {' '.join(t)}\n" for u, t, y in rows)
    for (u, t, y), line in zip(rows, text.splitlines()):
        margin = by_dict.margin_one({"u": u, "t": t})
        by_dict.learn_one({"u": u, "t": t}, y)
        assert by_line.learn_line(line) == margin
    by_lines.learn_lines(text.encode())
    (tmp_path / "f.vw").write_text(text)
    totals = by_file.learn_file(tmp_path / "f.vw")
    (tmp_path / "f.jsonl").write_text("".join(f'{{"y":{y},"u":"{u}","t":{str(t).replace(chr(39), chr(34))}}}\n'
                                              for u, t, y in rows))
    by_json.learn_file(tmp_path / "f.jsonl", format="jsonl")
    expected = dict(by_dict.weights)
    assert by_dict.weights["u=a*t=x"] > 0 > by_dict.weights["u=b*t=z"]
    assert all(dict(model.weights) == expected for model in (by_line, by_lines, by_file, by_json))
    assert (totals.examples, totals.malformed, totals.zero_one) == (20, 0, by_dict.totals.zero_one)


def test_unlabelled_lines_and_empty_lines():
    model = HingeSVM()
    assert model.learn_line("|u a") == 0.0 and not model.weights
    assert model.learn_line(b"1 1 0.5 |u a\r\n") == 0.5
    with pytest.raises(FormatError, match="empty"):
        model.learn_line("")
    with pytest.raises(TypeError):
        model.learn_line(5)


def test_progressive_losses_weigh_by_importance():
    model = HingeSVM(rule="perceptron", constant=False)
    totals = model.learn_lines(b"1 |u a\n1 3 |u a\n|u a\n-1 4 |u b\n")
    assert (totals.examples, totals.weight) == (4, 8.0)
    assert totals.hinge == (1 * 1.0 + 3 * 0.0 + 4 * 1.0) / 8       # margins 0, 1, (1), 0
    assert totals.zero_one == 1 / 8                                # margin 0 predicts -1
    assert HingeSVM().learn_lines(b"|u a\n").hinge is None


@pytest.mark.parametrize("options, words", [
    ({"rule": "adam"}, "'adam' is unknown; known rules: perceptron, sgd, pa, pa1, pa2, pegasos, asgd, adagrad, ftrl"),
    ({"lr": 0.0}, "lr=0.0"), ({"lr": float("nan")}, "lr=nan"), ({"lr": "0.1"}, "lr='0.1'"), ({"C": -1}, "C=-1"),
    ({"power_t": float("inf")}, "power_t=inf"), ({"initial_t": -1}, "initial_t=-1"), ({"crosses": ["a"]}, "two fields"),
    ({"engine": "gpu"}, "engine 'gpu' is unknown; known engines: compiled, dict"), ({"rule": "pa", "l2": 0.1}, "l2=0.1"),
    ({"loss": "logistic", "rule": "pa"}, "'logistic' is unknown; known losses of rule 'pa': hinge"),
    ({"bits": 0}, "bits=0"), ({"bits": True}, "bits=True"), ({"bits": 33}, "bits=33 is not from 1 to 32"),
    ({"dtype": "float16"}, "'float16' is unknown; known dtypes: float32, float64"), ({"hash": "md5"}, "'md5'"),
    ({"lr": 1e13}, "lr=10000000000000.0 .* up to 1e\\+12"), ({"rule": "nag", "power_t": 2}, "power_t=2"),
])
def test_bad_options_are_named(options, words):
    with pytest.raises(ValueError, match=words.replace("(", r"\(")):
        HingeSVM(**options)


@pytest.mark.parametrize("engine, dtype", [("dict", "float64"), ("compiled", "float64"), ("compiled", "float32")])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("stop", [0, 1, 77])
def test_save_load_continue_equals_the_uninterrupted_run_bit_for_bit(rule, stop, engine, dtype, tmp_path):
    options = {"rule": rule, "engine": engine, "dtype": dtype, **({"l1": 1e-3, "l2": 1e-3} if RULES[rule].penalties else {}), "crosses": ["left*right", "-q tt", ("age", "words")], "C": 0.3, "power_t": 0.1, "initial_t": 2,
               "constant": rule != "pa"}
    examples = list(stream(150))
    whole, part = HingeSVM(**options), HingeSVM(**options)
    for x, y, w in examples:
        whole.learn_one(x, y, w)
    for x, y, w in examples[:stop]:
        part.learn_one(x, y, w)
    part.save(tmp_path / "part")
    loaded = HingeSVM.load(tmp_path / "part")
    assert loaded.options == part.options and loaded.totals == part.totals
    for x, y, w in examples[stop:]:
        assert loaded.margin_one(x) == part.margin_one(x)
        loaded.learn_one(x, y, w)
        part.learn_one(x, y, w)
    assert dict(loaded.weights) == dict(whole.weights)
    whole.save(tmp_path / "whole")
    loaded.save(tmp_path / "again")
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "again").read_bytes()


def test_pickle_and_deepcopy_keep_weights_and_share_nothing():
    model = trained()
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert dict(other.weights) == dict(model.weights)
        other.learn_one({"left": "zzz"}, 1)
        assert "left=zzz" in other.weights and "left=zzz" not in model.weights


def test_odd_names_survive_a_file(tmp_path):
    model = HingeSVM(crosses=[("a*b", "c=d")])
    model.learn_one({"a*b": "é\n\x00", "c=d": "\ud800 \udcff", "": "\\"}, 1)
    model.save(tmp_path / "m")
    loaded = HingeSVM.load(tmp_path / "m")
    assert dict(loaded.weights) == dict(model.weights) and len(model.weights) == 5
    assert loaded.options["crosses"] == (("a*b", "c=d"),)


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.model"
    trained(3).save(path)
    return path


def test_every_flipped_byte_is_refused(small):
    good = small.read_bytes()
    for place in range(len(good)):
        small.write_bytes(good[:place] + bytes([good[place] ^ 0x10]) + good[place + 1:])
        with pytest.raises(ModelFileError, match="small.model"):
            HingeSVM.load(small)


def test_every_shortened_or_lengthened_file_is_refused(small):
    good = small.read_bytes()
    for data in [good[:n] for n in range(0, len(good), 7)] + [good + b"\0", good + good]:
        small.write_bytes(data)
        with pytest.raises(ModelFileError):
            HingeSVM.load(small)


def signed(version, header, body=b""):
    data = struct.pack("<8sIQ", model_file.MAGIC, version, len(header)) + header + body
    return data + hashlib.sha256(data).digest()


@pytest.mark.parametrize("data, words", [
    (b"", "not a model file"), (b"PK\x03\x04 something", "not a model file"), (model_file.MAGIC, "damaged"),
    (signed(2, b"{}"), "version 2, this program reads version 1"), (signed(1, b"{}"), "header makes no sense"),
    (signed(1, b"[]"), "header makes no sense"), (signed(1, b"\xff"), "header makes no sense"),
    (signed(1, b'{"arrays":[["a","<f8",2]]}', b"12345678"), "'a' is cut short"),
    (signed(1, b'{"arrays":[["a","<c9",1]]}', b"12345678"), "header makes no sense"),
    (signed(1, b'{"arrays":[]}', b"1"), "belong to no array"), (signed(1, b'{"arrays":[]}'), "no model this program knows"),
    (signed(1, b'{"arrays":[],"keys":"text","options":{"speed":9}}'), "speed"),
    (signed(1, b'{"arrays":[],"keys":"hash","options":{}}'), "'hash'"),
])
def test_other_files_are_refused_with_the_reason(data, words, tmp_path):
    (tmp_path / "odd").write_bytes(data)
    with pytest.raises(ModelFileError, match=words):
        HingeSVM.load(tmp_path / "odd")


def test_the_layout_of_version_1(tmp_path):
    """The bytes of a file, spelled out: who changes them has to raise the version."""
    model_file.write(tmp_path / "m", {"t": 3}, {"w": array("d", [1.5]), "k": array("Q", [7])})
    header = b'{"arrays": [["w", "<f8", 1], ["k", "<u8", 1]], "t": 3}'
    assert (tmp_path / "m").read_bytes() == signed(1, header, struct.pack("<dQ", 1.5, 7))
    assert model_file.read(tmp_path / "m") == ({"t": 3}, {"w": array("d", [1.5]), "k": array("Q", [7])})


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_save_leaves_the_old_file_and_no_other(step, small, monkeypatch):
    before = small.read_bytes()

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="No space"):
        trained(9).save(small)
    assert small.read_bytes() == before and os.listdir(small.parent) == [small.name]


def test_a_save_flushes_the_file_before_the_rename_and_the_directory_after(small, monkeypatch):
    seen, flush, rename = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (seen.append("directory" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file"),
                                                 flush(fd)))
    monkeypatch.setattr(os, "replace", lambda *paths: (seen.append("rename"), rename(*paths)))
    trained(9).save(small)
    assert seen == ["file", "rename", "directory"] and HingeSVM.load(small).totals.examples == 9


def test_equal_models_are_equal_files_whatever_was_seen_first(tmp_path):
    one, two = HingeSVM(rule="perceptron"), HingeSVM(rule="perceptron")
    one.learn_one({"a": "x", "b": "y"}, 1)
    two.learn_one({"b": "y", "a": "x"}, 1)
    one.save(tmp_path / "one"), two.save(tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_save_through_a_link_keeps_the_link_and_a_device_is_refused(small):
    link = small.parent / "link"
    link.symlink_to(small)
    trained(9).save(link)
    assert link.is_symlink() and HingeSVM.load(small).totals.examples == 9
    with pytest.raises(ModelFileError, match="not a regular file"):
        trained(1).save(os.devnull)


def test_repr_and_names():
    assert "rule='pa1'" in repr(HingeSVM(rule="pa1", C=2)) and "C=2.0" in repr(HingeSVM(rule="pa1", C=2))
    assert "a=x" in repr(trained_on_one(engine="dict").weights) and "a=x" in repr(trained_on_one(names=True).weights)
    assert set(linear.__all__) <= set(dir(linear))
    with pytest.raises(AttributeError, match="'linear' has no attribute 'SVM'; it has HingeSVM"):
        linear.SVM


def trained_on_one(**options):
    model = HingeSVM(**options)
    model.learn_one({"a": "x"}, 1)
    return model


def test_a_field_error_in_learning_changes_nothing():
    model = trained_on_one()
    before = dict(model.weights)
    with pytest.raises(FeatureError, match="'bad'"):
        model.learn_one({"a": "x", "bad": float("nan")}, -1)
    assert dict(model.weights) == before and model.totals.examples == 1


GOLDEN = {          # files in tests/linear/data, never to be written again: what is said in them must stay readable, bit for bit
    "text-adagrad-float64": (48, "0x1.012fbd20c3c09p+0", 22.5),
    "hash64-adagrad-float32": (48, "0x1.012fbdf800000p+0", 22.5),
    "hash64-sgd-l1-float64": (48, "0x1.0131d98c66478p+0", 18.5),
    "vw18-nag-float32": (48, "0x1.4e85878000000p+0", 23.5),
    "names-arow-float32": (48, "0x1.1364bab000000p+0", 26.5),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_files_load_predict_learn_on_and_save_the_same(name, tmp_path):
    path = Path(__file__).parent / "data" / f"{name}.model"
    model, (weights, margin, wrong) = HingeSVM.load(path), GOLDEN[name]
    assert len(model.weights) == weights and model.totals.zero_one_sum == wrong and model.totals.examples == 60
    assert model.margin_one({"u": "u3", "t": ["t1", "\u00e9"]}).hex() == margin
    model.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()
    fresh = HingeSVM(**model.options)
    fresh.learn_lines("".join(f"{1 if (i * 7) % 3 else -1} {'0.5 ' if i % 5 == 0 else ''}|u u{i % 7} |t t{i % 4} t{i % 3}:0.5 \u00e9\n"
                              for i in range(60)))
    fresh.save(tmp_path / "fresh")
    assert (tmp_path / "fresh").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("options", [{}, {"bits": 12}, {"engine": "dict"}], ids=str)
def test_any_damage_is_refused(options, tmp_path):
    model = trained(20, **options)
    model.save(tmp_path / "m")
    good, rng = (tmp_path / "m").read_bytes(), random.Random(1)
    for _ in range(60):
        at = rng.randrange(len(good))
        for bad in (good[:at], good[:at] + bytes([good[at] ^ 1 << rng.randrange(8)]) + good[at + 1:]):
            (tmp_path / "bad").write_bytes(bad)
            with pytest.raises(ModelFileError, match="bad: "):
                HingeSVM.load(tmp_path / "bad")
    assert dict(HingeSVM.load(tmp_path / "m").weights) == dict(model.weights)


def test_a_file_of_other_keys_is_refused(tmp_path):
    trained(20).save(tmp_path / "m")
    header, arrays = model_file.read(tmp_path / "m")
    assert header["keys"] == "linear-hash64-1"
    model_file.write(tmp_path / "m", {**header, "keys": "linear-hash64-2"}, arrays)
    with pytest.raises(ModelFileError, match="its keys are 'linear-hash64-2', this program makes 'linear-hash64-1'"):
        HingeSVM.load(tmp_path / "m")


@pytest.mark.parametrize("options", [{}, {"engine": "dict"}, {"names": True}, {"rule": "arow", "dtype": "float64"}, {"engine": "dict", "bits": 9}])
def test_a_copy_is_a_model_of_its_own(options):
    def learn(model, start):
        for i in range(start, start + 50):
            model.learn_one({"u": f"u{i % 7}", "t": [f"t{i % 5}", "a"]}, i % 3 != 0)
    model = HingeSVM(crosses="u*t", **options)
    for start in (0, 50):                   # a copy of an empty one, too
        copy, before = model.copy(), dict(model.weights)
        learn(model, start)
        assert dict(copy.weights) == before != dict(model.weights)
        learn(copy, start)
        assert dict(copy.weights) == dict(model.weights) and copy.totals == model.totals
