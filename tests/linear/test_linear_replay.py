"""Unlearning, what-if, caps, names and collisions on the command line, run within this process."""
import gzip
import io
import json
import sys

import pytest

from linear import HingeSVM
from linear.__main__ import main
from linear.features import FeatureError, crossed_counts, expand, fields_of, parse_crosses
from linear.collisions import collisions
from linear.prepare import Prepared
from linear.replay import what_if

LINES = [f"{1 if i % 3 else -1} e{i}|user u{i % 3} |tags a{i % 2} b\n" for i in range(24)]


@pytest.fixture
def run(tmp_path, monkeypatch, capfdbinary):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.vw").write_text("".join(LINES))

    def run(*args, stdin=b""):
        stream = io.TextIOWrapper(io.BufferedReader(io.BytesIO(stdin)))
        monkeypatch.setattr(sys, "stdin", stream)
        code = main(list(map(str, args)))
        out, err = capfdbinary.readouterr()
        return code, out.decode(), err.decode()
    run.path = tmp_path
    return run


def alone(lines, **options):
    model = HingeSVM(**options)
    return model, model.learn_lines("".join(lines))


def test_without_ids_is_learning_the_rest(run):
    (run.path / "ids").write_text("e3\n\n e7 \ne99\n")
    rest = [line for line in LINES if " e3|" not in line and " e7|" not in line]
    code, out, err = run("learn", "train.vw", "-q", "ut", "--without", "ids", "-f", "m", "--json", "--quiet")
    told = json.loads(out)
    assert code == 0 and "1 of the 3 ids to leave out are in no example: e99" in err
    model, totals = alone(rest, crosses=["-q ut"])
    everything, first = alone(LINES, crosses=["-q ut"])
    assert (told["examples"], told["left_out"], told["progressive_hinge"]) == (22, 2, totals.hinge)
    assert [row["run"] for row in told["runs"]] == ["without the ids", "with them"]
    assert [row["progressive_hinge"] for row in told["runs"]] == [totals.hinge, first.hinge]
    assert [row["progressive_zero_one"] for row in told["runs"]] == [totals.zero_one, first.zero_one]
    assert dict(HingeSVM.load("m").weights) == dict(model.weights)


@pytest.mark.parametrize("compress", [False, True])
def test_standard_input_is_replayed_too(run, compress):
    (run.path / "ids").write_text("e3\n")
    text = "".join(LINES).encode()
    answers = [run("learn", path, "--without", "ids", "--json", "--quiet", stdin=gzip.compress(text) if compress else text)[1]
               for path in ("-", "train.vw")]
    told = [json.loads(answer)["runs"] for answer in answers]
    assert told[0] == told[1]


def test_what_if(run):
    code, out, err = run("learn", "train.vw", "--what-if", "rule=sgd,lr=0.02", "--what-if", "crosses=user*tags,constant=false")
    rows = [line.rsplit(None, 4) for line in out.splitlines()[1:]]
    assert code == 0 and [row[0] for row in rows] == ["as given", "what if rule=sgd,lr=0.02", "what if crosses=user*tags,constant=false"]
    runs = [alone(LINES), alone(LINES, rule="sgd", lr=0.02), alone(LINES, crosses="user*tags", constant=False)]
    assert [row[1:] for row in rows] == [["24", f"{totals.zero_one:.6f}", f"{totals.hinge:.6f}", str(len(model.weights))]
                                             for model, totals in runs]


def test_what_if_is_read_as_it_is_meant():
    assert what_if("rule=sgd") == {"rule": "sgd"}
    assert what_if("crosses=a*b,c*d,lr=1e-2,bits=18,lr=None") == {"crosses": "a*b,c*d", "lr": None, "bits": 18}


@pytest.mark.parametrize("args, words", [
    (["--what-if", "speed=3"], "unexpected keyword argument 'speed'; known options: crosses, rule"),
    (["--what-if", "rule=adam"], "rule 'adam' is unknown"),
    (["--what-if", "sgd"], "'sgd' is not written as 'name=value,name=value'"),
    (["--what-if", "rule=sgd", "-t"], "leave out -i and -t"),
    (["--without", "none"], "none: No such file"),
    (["--strings", "zip"], "--strings zip is for csv; the format here is vw"),
    (["--bucket", "age"], "buckets 'age'"),
    (["--sgd", "--adaptive"], "leave out the one or the others"),
    (["--adaptive", "--rule", "sgd"], "leave out --rule sgd"),
])
def test_wrong_calls_are_one_sentence(run, args, words):
    code, out, err = run("learn", "train.vw", "--quiet", *args)
    assert code in (1, 2) and out == "" and err.startswith("linear: ") and words in err and err.count("\n") == 1


def test_left_out_lines_keep_the_numbers_of_the_others(run):
    (run.path / "ids").write_text("e0\n")
    (run.path / "x.vw").write_text(LINES[0] + "what?\n" + LINES[1])
    assert "skipped x.vw:2:" in run("learn", "x.vw", "--without", "ids")[2]


def test_csv_by_its_name_several_passes_and_prepared_fields(run):
    rows = ["age,town,click"] + [f"{age},{'Ulm' if age % 2 else 'Bonn'},{int(20 <= age < 40)}" for age in range(60)]
    (run.path / "x.csv.gz").write_bytes(gzip.compress("\n".join(rows).encode()))
    options = ["--label", "click", "--bucket", "age:0/20/40", "--crosses", "age*town", "--passes", "2", "--names"]
    code, out, err = run("learn", "x.csv.gz", *options, "-f", "m", "--json")
    assert code == 0 and json.loads(out)["examples"] == 120 and "(2 features): age*town makes 1" in err
    model = Prepared.load("m")
    assert model.predict_one({"age": 30, "town": "Ulm"}) == 1 and "age=20..40*town=Ulm" in run("inspect", "m")[1]
    assert run("predict", "-i", "m", "-", "--format", "jsonl", "--binary", stdin=b'{"age":30}\n{"age":5}\n')[1] == "1\n-1\n"
    assert run("learn", "x.csv.gz", *options, "-i", "m", "--quiet")[0] == 0
    code, _, err = run("learn", "x.csv.gz", "--label", "click", "--bucket", "age:5", "-i", "m", "--quiet")
    assert code == 2 and "m was trained with buckets=['age:0/20/40'], now buckets=['age:5'] is asked for" in err
    code, _, err = run("learn", "x.csv.gz", "--strings", "age", "--label", "click", "--bucket", "age:5", "--strict", "--quiet")
    assert code == 1 and "x.csv.gz:3:1: field 'age' is declared to be a number, got 'age=1'" in err


def test_too_many_features_are_refused_before_they_are_made(run):
    words = " ".join(f"w{n}" for n in range(3000))
    (run.path / "x.vw").write_text(LINES[0] + f"1 |t {words}\n")
    code, out, err = run("learn", "x.vw", "--crosses", ":*:", "--max-features", "1000", "--json")
    assert code == 0 and json.loads(out)["examples"] == 1
    assert "x.vw:2:1: the example makes 4504500 features, --max-features allows 1000; the cross -q :: alone: 4501500" in err
    assert run("learn", "x.vw", "--max-features", "1000", "--strict", "--quiet")[0] == 1


@pytest.mark.parametrize("crosses", ["user*tags", "tags*tags", ["-q ut", "-q :t"], ":*:", ":*:*:", "tags*user*tags", "none*user"])
def test_crosses_are_counted_as_they_are_made(crosses):
    fields = fields_of({"user": "u1", "tags": ["a", "b", "c"], "uhr": "9", "age": 2.5})
    crosses = parse_crosses(crosses)
    for cross in crosses:
        made = expand(fields, [cross], constant=False)[6:]
        assert crossed_counts(fields, [cross]) == {cross.text(): len(made)}


def test_all_pairs_are_vws():
    assert parse_crosses(":*:") == parse_crosses(["-q ::"])
    with pytest.raises(FeatureError, match="twice"):
        parse_crosses([":*:", "-q ::"])


def test_names_are_kept_on_request(run):
    assert run("learn", "train.vw", "-q", "ut", "--names", "-f", "m", "--quiet")[0] == 0
    assert run("learn", "train.vw", "-q", "ut", "-f", "hashed", "--quiet")[0] == 0
    named, hashed = (dict(reversed(line.split("\t")) for line in run("inspect", model)[1].splitlines()) for model in ("m", "hashed"))
    assert "user=u1*tags=b" in named and "Constant" in named and len(named) == len(hashed)
    model = HingeSVM.load("hashed")
    assert all(model.weights[name] == float(weight) for name, weight in named.items())


@pytest.mark.parametrize("args, options", [
    (["--sgd"], {"adaptive": False, "normalized": False, "invariant": False}),
    (["--adaptive"], {"adaptive": True, "normalized": False, "invariant": False}),
    (["--normalized", "--invariant"], {"adaptive": False, "normalized": True, "invariant": True}),
    (["--rule", "nag"], {}),
    (["--rule", "nag", "--bits", "18", "--hash", "all"], {"bits": 18, "hash": "all"}),
])
def test_vws_update_with_exactly_the_named_switches(run, args, options):
    told = json.loads(run("learn", "train.vw", *args, "--quiet", "--json")[1])
    model, totals = alone(LINES, rule="nag", **options)
    assert (told["progressive_hinge"], told["weights"]) == (totals.hinge, len(model.weights))


def test_collisions_measured_beside_the_birthday_estimate(run):
    texts = [f"f={number}x" for number in range(3000)]
    told = collisions(texts, 12)
    assert told["sharing"] == pytest.approx(told["sharing_expected"], rel=0.05)
    assert told["pairs"] == pytest.approx(told["pairs_expected"], rel=0.1)
    assert collisions(texts, 30)["sharing"] <= 2 and collisions([], 4)["sharing_expected"] == 0
    code, out, err = run("collisions", "train.vw", "-q", "ut", "-b", "4")
    assert code == 0 and out.startswith("16 distinct features in 2^4 = 16 slots") and "one slot:" in out
    assert run("collisions", "train.vw", "-b", "40")[0] == 2
