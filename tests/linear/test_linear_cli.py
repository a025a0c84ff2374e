"""`python -m linear`, run as a user runs it."""
import contextlib
import gzip
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import linear
from linear import HingeSVM
from linear.__main__ import main

ROOT = Path(linear.__file__).parents[1]
LINES = "".join(f"{1 if i % 3 else -1} e{i}|user u{i % 3} |tags a{i % 2} b\n" for i in range(12))


def cli(*args, cwd, stdin=b"", **env):
    """What a command answers, as (code, stdout, stderr): in a process of its own where `env` has variables for it."""
    if env:
        done = subprocess.run([sys.executable, "-W", "error", "-m", "linear", *map(str, args)], input=stdin, cwd=cwd,
                              capture_output=True, timeout=60, env={**os.environ, "PYTHONPATH": str(ROOT), **env})
        code, out, err = done.returncode, done.stdout.decode(), done.stderr.decode()
    else:
        inputs, outputs = io.TextIOWrapper(io.BufferedReader(io.BytesIO(stdin))), [io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2)]
        before, stdin, sys.stdin = os.getcwd(), sys.stdin, inputs
        os.chdir(cwd)
        try:
            with contextlib.redirect_stdout(outputs[0]), contextlib.redirect_stderr(outputs[1]):
                code = main(list(map(str, args)))
        finally:
            sys.stdin = stdin
            os.chdir(before)
        for stream in outputs:
            stream.flush()
        out, err = (stream.buffer.getvalue().decode() for stream in outputs)
    assert "Traceback" not in err, err
    return code, out, err


def test_the_command_line_as_a_process_of_its_own(data):
    """Other tests call `main` in their own process, since numba takes half a second to start."""
    options = ["learn", "train.vw", "-q", "ut", "--quiet", "-p", "-"]
    assert cli(*options, cwd=data, LC_ALL="C") == cli(*options, cwd=data)
    assert cli("learn", "none.vw", cwd=data, LC_ALL="C") == cli("learn", "none.vw", cwd=data)


@pytest.fixture
def data(tmp_path):
    (tmp_path / "train.vw").write_text(LINES)
    return tmp_path


def test_learn_shows_progress_and_ends_with_json(data):
    code, out, err = cli("learn", "train.vw", "-q", "ut", "--json", cwd=data)
    assert code == 0
    result = json.loads(out.splitlines()[-1])
    model = HingeSVM(crosses=["-q ut"])
    totals = model.learn_lines(LINES)
    assert list(result) == ["examples", "progressive_zero_one", "progressive_hinge", "seconds", "weights"]
    assert (result["examples"], result["weights"]) == (12, len(model.weights))
    assert (result["progressive_zero_one"], result["progressive_hinge"]) == (totals.zero_one, totals.hinge)
    told, *table = err.splitlines()
    assert told == "crosses of the first example (3 features): -q ut makes 2"
    assert table[0].split() == ["average", "since", "example", "example", "current", "current", "current"]
    rows = [line.split() for line in table[2:6]]
    assert [int(row[2]) for row in rows] == [1, 2, 4, 8]
    assert rows[0] == ["1.000000", "1.000000", "1", "1.0", "-1.0000", "0.0000", "6"]    # u, a, b, 2 crosses, constant
    assert "average 0/1 loss = %.6f" % totals.zero_one in err


def test_save_continue_predict_inspect(data):
    first, second = LINES.splitlines(keepends=True)[:7], LINES.splitlines(keepends=True)[7:]
    (data / "a.vw").write_text("".join(first))
    (data / "b.vw").write_text("".join(second))
    options = ["--crosses", "user*tags", "--rule", "pa1", "--C", "0.5", "--quiet", "--names"]
    assert cli("learn", "train.vw", *options, "-f", "whole", cwd=data)[0] == 0
    assert cli("learn", "a.vw", *options, "-f", "part", cwd=data) == (0, "", "")
    assert cli("learn", "-d", "b.vw", "-i", "part", "-f", "part", "--quiet", cwd=data)[0] == 0
    assert (data / "whole").read_bytes() == (data / "part").read_bytes()
    code, out, err = cli("predict", "-i", "whole", cwd=data, stdin=b"e1|user u1 |tags b\n|user u0\n")
    model = HingeSVM.load(data / "whole")
    margins = [model.margin_one({"user": "u1", "tags": ["b"]}), model.margin_one({"user": "u0"})]
    assert (code, out, err) == (0, f"{margins[0]!r} e1\n{margins[1]!r}\n", "")
    code, out, err = cli("inspect", "whole", cwd=data)
    rows = [line.split("\t") for line in out.splitlines()]
    assert {name: float(weight) for weight, name in rows} == {str(key): weight for key, weight in model.weights.items()}
    sizes = [abs(float(weight)) for weight, _ in rows]
    assert sizes == sorted(sizes, reverse=True)
    assert cli("inspect", "whole", "--top", "2", cwd=data)[1].splitlines() == out.splitlines()[:2]


def test_predictions_margins_and_test_mode(data):
    cli("learn", "train.vw", "--passes", "9", "-f", "m", "--quiet", cwd=data)
    before = (data / "m").read_bytes()
    code, out, _ = cli("learn", "train.vw", "-t", "-i", "m", "-f", "m2", "-p", "p", "-r", "r", "--binary", "--quiet", "--json",
                       cwd=data)
    assert code == 0 and (data / "m2").read_bytes() == before
    predictions = [line.split() for line in (data / "p").read_text().splitlines()]
    margins = [line.split() for line in (data / "r").read_text().splitlines()]
    assert [tag for _, tag in predictions] == [f"e{i}" for i in range(12)] == [tag for _, tag in margins]
    assert [int(p) for p, _ in predictions] == [1 if float(m) > 0 else -1 for m, _ in margins]
    wrong = sum(int(p) != (1 if i % 3 else -1) for i, (p, _) in enumerate(predictions))
    assert json.loads(out)["progressive_zero_one"] == wrong / 12
    assert {p for p, _ in predictions} == {"-1", "1"}


def test_jsonl_gzip_and_stdin_agree(data):
    rows = [{"click": 1 if i % 3 else 0 > 1, "user": f"u{i % 3}", "tags": [f"a{i % 2}", "b"], "n": i} for i in range(9)]
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    (data / "t.jsonl").write_bytes(text)
    (data / "t.jsonl.gz").write_bytes(gzip.compress(text))
    options = ["--label", "click", "--id", "n", "--crosses", "user*tags", "--quiet", "--json", "-p", "-"]
    answers = [cli("learn", "t.jsonl", *options, cwd=data), cli("learn", "t.jsonl.gz", *options, cwd=data),
               cli("learn", "-", "--format", "jsonl", *options, cwd=data, stdin=text),
               cli("learn", "--format", "jsonl", *options, cwd=data, stdin=text)]
    shown = [out.splitlines()[:-1] for _, out, _ in answers]
    assert shown[0] == shown[1] == shown[2] == shown[3] and len(shown[0]) == 9
    assert [line.split()[1] for line in shown[0]] == [str(i) for i in range(9)]
    weights = {json.loads(out.splitlines()[-1])["weights"] for _, out, _ in answers}
    assert weights == {3 + 3 + 9 + 1}            # users, tags, crosses, constant


def test_several_passes_report_the_first(data):
    one = json.loads(cli("learn", "train.vw", "--json", "--quiet", cwd=data)[1])
    three = json.loads(cli("learn", "train.vw", "--passes", "3", "--json", "--quiet", "-f", "m", cwd=data)[1])
    assert (one["examples"], three["examples"]) == (12, 36)
    assert one["progressive_hinge"] == three["progressive_hinge"]
    model = HingeSVM()
    for _ in range(3):
        model.learn_lines(LINES)
    assert dict(HingeSVM.load(data / "m").weights) == dict(model.weights)


def test_malformed_lines_are_counted_or_stop(data):
    (data / "bad.vw").write_text(LINES + "1 |u a:nan\n" + "x\n" * 9)
    code, out, err = cli("learn", "bad.vw", "--json", cwd=data)
    assert code == 0 and json.loads(out)["examples"] == 12
    assert "skipped bad.vw:13:8: value 'nan'" in err and "malformed lines = 10" in err and err.count("skipped") == 5
    code, out, err = cli("learn", "bad.vw", "--strict", "--quiet", "-f", "m", cwd=data)
    assert (code, out) == (1, "") and err.startswith("linear: bad.vw:13:8: value 'nan'") and not (data / "m").exists()
    code, _, err = cli("learn", "bad.vw", "--format", "jsonl", "--quiet", cwd=data)
    assert code == 1 and "22 malformed lines" in err and "is --format right?" in err


@pytest.mark.parametrize("args, code, words", [
    (["learn", "none.vw"], 1, "none.vw: No such file"),
    (["learn", "."], 1, "Is a directory"),
    (["learn", "train.vw", "--speed"], 2, "'--speed'; known options of learn: -h, --help, -d, --data, --format"),
    (["learn", "train.vw", "more.vw"], 2, "'more.vw'"),
    (["learn", "train.vw", "-d", "train.vw"], 2, "two input files"),
    (["learn", "train.vw", "--rule", "adam"], 2, "known rules: perceptron, sgd"),
    (["learn", "train.vw", "--format", "tsv"], 2, "invalid choice: 'tsv'"),
    (["learn", "train.vw", "-l", "fast"], 2, "invalid float value: 'fast'"),
    (["learn", "train.vw", "--lr", "-1"], 2, "lr=-1.0"),
    (["learn", "train.vw", "-q", "u"], 2, "two fields"),
    (["learn", "train.vw", "--passes", "0"], 2, "--passes 0"),
    (["learn", "--passes", "2"], 2, "once only"),
    (["learn", "train.vw", "-f", "train.vw"], 2, "-f train.vw would overwrite the input"),
    (["learn", "train.vw", "-p", "no/such/p"], 2, "no such directory"),
    (["learn", "train.vw", "-f", "."], 2, "not a regular file"),
    (["learn", "train.vw", "-i", "train.vw"], 1, "not a model file"),
    (["learn", "bad.gz"], 1, "bad.gz: Not a gzipped file"),
    (["learn", "cut.gz", "--quiet"], 1, "cut.gz: the compressed input is damaged"),
    (["predict", "train.vw"], 2, "give -i MODEL"),
    (["inspect", "none"], 1, "none: No such file"),
    (["frobnicate"], 2, "invalid choice: 'frobnicate'"),
    ([], 2, "required: VERB"),
])
def test_user_errors_are_one_sentence(args, code, words, data):
    (data / "bad.gz").write_bytes(b"plain text")
    (data / "cut.gz").write_bytes(gzip.compress(LINES.encode())[:-12])
    done, out, err = cli(*args, cwd=data)
    assert (done, out) == (code, "")
    last = err.splitlines()[-1]
    assert last.startswith("linear: ") and words in last


def test_a_model_keeps_its_options(data):
    cli("learn", "train.vw", "-q", "ut", "--quiet", "-f", "m", cwd=data)
    assert cli("learn", "train.vw", "-q", "ut", "--rule", "adagrad", "-i", "m", "--quiet", cwd=data)[0] == 0
    code, _, err = cli("learn", "train.vw", "--rule", "sgd", "-i", "m", "--quiet", cwd=data)
    assert code == 2 and "m was trained with rule='adagrad', now rule='sgd' is asked for; leave the option out" in err


def test_a_damaged_model_is_refused(data):
    cli("learn", "train.vw", "--quiet", "-f", "m", cwd=data)
    good = (data / "m").read_bytes()
    (data / "m").write_bytes(good[:-50] + b"\0" + good[-49:])
    for args in (["predict", "-i", "m"], ["inspect", "m"], ["learn", "-i", "m"]):
        code, out, err = cli(*args, cwd=data)
        assert (code, out) == (1, "") and "m: damaged" in err


@pytest.mark.skipif(os.name != "posix", reason="closed pipes and interrupts are tested the POSIX way")
def test_a_closed_pipe_is_no_error(data):
    model = HingeSVM()
    for i in range(5000):
        model.learn_one({"user": f"user number {i}"}, 1 if i % 2 else -1)
    model.save(data / "m")
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-m", "linear", "inspect", "m"], cwd=data, stdout=writer, stderr=subprocess.PIPE,
                          timeout=60, env={**os.environ, "PYTHONPATH": str(ROOT)})
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(os.name != "posix", reason="closed pipes and interrupts are tested the POSIX way")
def test_an_interrupt_says_so_and_writes_no_model(data):
    start = ("import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "       # which a shell's `&` takes away
             "runpy.run_module('linear', run_name='__main__', alter_sys=True)")
    process = subprocess.Popen([sys.executable, "-c", start, "learn", "-", "-f", "m"], cwd=data, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)})
    process.stdin.write(LINES.encode())
    process.stdin.flush()
    for line in iter(process.stderr.readline, b""):         # the table's first row: the loops are compiled, and it waits for more
        if line.strip()[:1].isdigit():
            break
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.decode().splitlines()[-1] == "linear: interrupted; no model was written" and not (data / "m").exists()


def test_the_model_does_not_depend_on_hash_seed_or_locale(data):
    (data / "é.vw").write_bytes("1 é|u é \xff|t a b\n-1 |u ß |t b\n".encode() + b"1 |u \xff\xfe\n" + b"x\xe9\n")
    models, outputs = set(), set()
    for seed, locale in (("0", "C"), ("1", "C.UTF-8")):
        code, out, _ = cli("learn", "é.vw", "-q", "ut", "-q", "uu", "-f", "m", "-p", "-", "--quiet", cwd=data,
                           PYTHONHASHSEED=seed, LC_ALL=locale)
        assert code == 0
        outputs.add(out)
        models.add((data / "m").read_bytes())
    assert len(models) == len(outputs) == 1
    assert "0.0 é\n" in outputs.pop()
    assert cli("inspect", "m", cwd=data, LC_ALL="C") == cli("inspect", "m", cwd=data)


def test_import_is_light():
    code = ("import sys, linear; heavy = {'numpy', 'numba', 'tinygrad_lite', 'argparse', 'json'} & set(sys.modules); "
            "assert not heavy, heavy; linear.HingeSVM(engine='dict').learn_one({'a': 'b'}, 1); "
            "assert not {'numpy', 'numba', 'tinygrad_lite'} & set(sys.modules)")
    subprocess.run([sys.executable, "-S", "-c", code], check=True, timeout=60, env={**os.environ, "PYTHONPATH": str(ROOT)})
