"""The verbs around a directory: serve until told to end, verify, replay, forget, explain, export, status, token."""
import contextlib
import http.client
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from test_service_http import ask, post, some

import linear
from linear.__main__ import main
from linear.service.events import event
from linear.service.fold import Fold
from linear.service.log import SqliteLog
from linear.service.store import StateStore

ROOT = Path(linear.__file__).parents[1]
COMMAND = [sys.executable, "-W", "error", "-m", "linear"]
CALL = {"cwd": ROOT, "text": True}
LINE = r"state_sha256 [0-9a-f]{64} seq \d+\n"


def run(*args, code=0):
    """(standard output, standard error) of a verb, which must end with that code."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        ended = main([*map(str, args)])
    assert ended == code, (out.getvalue(), err.getvalue())
    return out.getvalue(), err.getvalue()


@contextlib.contextmanager
def serving(path, *options, code=0, end=signal.SIGTERM):
    """The port of a service that is a process of its own; it must end with that code."""
    with subprocess.Popen([*COMMAND, "serve", "--dir", str(path), "--port", "0", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          **CALL) as process:
        try:
            ready = process.stdout.readline()
            assert re.fullmatch(r"serving .* at http://127\.0\.0\.1:\d+; \d+ of \d+ events learned\n", ready), process.stderr.read()
            yield int(re.search(r":(\d+);", ready)[1]), process
            if end:
                process.send_signal(end)
            out, err = process.communicate(timeout=60)
            assert (process.returncode, out) == (code, ""), err
        finally:
            process.kill()


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """What a service leaves behind that learned 200 events, one of them forgotten, and was told to end."""
    path = tmp_path_factory.mktemp("cli") / "dir"
    with serving(path, "--crosses", "user*tags", "--lr", "0.2") as (port, _):
        post(port, "/v1/events:batch?wait=learned", {"events": some(200)})
        served = post(port, "/v1/explain", {"x": some(1, 9)[0]["x"]})[1]
        assert served["seq"] == 200
        post(port, "/v1/commands", {"command": "forget", "id": some(1)[0]["id"]})
        post(port, "/v1/events:batch?wait=learned", {"events": some(50, 1)})
        stats = ask(port, "GET", "/v1/stats")[1]
    return path, stats, served


def test_verify_agrees_with_the_service(directory):
    path, stats, _ = directory
    assert run("verify", "--dir", path)[0] == f"state_sha256 {stats['state_sha256']} seq 251\n"
    done = subprocess.run([*COMMAND, "verify", "--dir", str(path)], capture_output=True, **CALL)      # as a program of its own
    assert (done.returncode, done.stdout, done.stderr) == (0, run("verify", "--dir", path)[0], "")


def test_verify_while_a_service_runs_and_changes_nothing(tmp_path):
    with serving(tmp_path / "dir") as (port, _):
        post(port, "/v1/events:batch?wait=learned", {"events": some(60)})
        stats = ask(port, "GET", "/v1/stats")[1]
        assert run("verify", "--dir", tmp_path / "dir")[0] == f"state_sha256 {stats['state_sha256']} seq 60\n"
        assert "last                  60" in run("status", "--dir", tmp_path / "dir")[0]
        err = run("forget", "--dir", tmp_path / "dir", "--id", "e0-1", code=2)[1]
        assert err.count("\n") == 1 and "in use by process" in err and "POST /v1/commands" in err
        assert "in use by process" in run("serve", "--dir", tmp_path / "dir", "--port", 0, code=2)[1]


def test_verify_finds_a_state_that_disagrees(tmp_path):
    with serving(tmp_path / "dir") as (port, _):
        post(port, "/v1/events:batch?wait=learned", {"events": some(60)})
    log, store = SqliteLog(tmp_path / "dir" / "log.db"), StateStore(tmp_path / "dir" / "state")
    digest = Fold.replayed(log, {}, 60).digest()
    other = Fold.replayed(log, {}, 60)
    other.model.learn_one({"user": "nobody"}, 1)
    store.commit(other, log.id)
    log.close()
    out, err = run("verify", "--dir", tmp_path / "dir", code=1)
    assert out == f"state_sha256 {digest} seq 60\n" and "the state file says" in err
    for file in store.files():
        file.write_bytes(file.read_bytes()[:-1])
    out, err = run("verify", "--dir", tmp_path / "dir", code=1)
    assert out == f"state_sha256 {digest} seq 60\n" and "damaged" in err


def test_replay_with_other_options(directory):
    path, stats, _ = directory
    was, = json.loads(run("replay", "--dir", path, "--json")[0])
    assert was["progressive_zero_one"] == stats["progressive_zero_one"] and was["weights"] == stats["weights"]
    was, then = json.loads(run("replay", "--dir", path, "--rule", "pa1", "-q", "ut", "--json")[0])
    log = SqliteLog(path / "log.db", readonly=True)
    fold = Fold.replayed(log, {"rule": "pa1", "crosses": "-q ut"}, 251)
    log.close()
    assert was["progressive_zero_one"] == stats["progressive_zero_one"]
    assert (then["run"], then["progressive_hinge"]) == ("what if crosses=-q ut, rule=pa1", fold.model.totals.hinge)
    assert len(run("replay", "--dir", path, "--until", 100, "--lr", 0.01)[0].splitlines()) == 3
    assert "rule 'none' is unknown" in run("replay", "--dir", path, "--rule", "none", code=2)[1]


def test_a_served_prediction_is_explained_bit_for_bit(directory):
    path, _, served = directory
    x = json.dumps(some(1, 9)[0]["x"])
    told = json.loads(run("explain", "--dir", path, "--seq", 200, "--x", x, "--json")[0])
    assert told == {name: value for name, value in served.items() if name != "model"} and told["margin"] != 0.0
    out = run("explain", "--dir", path, "--seq", 200, "--id", some(2)[1]["id"])[0]
    assert len(out.splitlines()) == 9 and "margin, so the label is" in out
    assert "the log ends at 251" in run("explain", "--dir", path, "--seq", 252, "--x", x, code=2)[1]
    assert "no features of event 'x'" in run("explain", "--dir", path, "--seq", 1, "--id", "x", code=2)[1]
    assert "one of the arguments" in run("explain", "--dir", path, "--seq", 1, code=2)[1]


def test_an_exported_model_predicts_elsewhere(directory, tmp_path):
    path, stats, served = directory
    run("export", "--dir", path, "--seq", 200, "-f", tmp_path / "model")
    (tmp_path / "new.jsonl").write_text(json.dumps({"x": some(1, 9)[0]["x"]}))
    run("predict", "-i", tmp_path / "model", tmp_path / "new.jsonl", "-p", tmp_path / "margins")
    assert float((tmp_path / "margins").read_text()) == served["margin"]
    run("export", "--dir", path, "-f", tmp_path / "newest")
    assert linear.HingeSVM.load(tmp_path / "newest").totals.zero_one == stats["progressive_zero_one"]


def test_status(directory):
    path, stats, _ = directory
    told = json.loads(run("status", "--dir", path, "--json")[0])
    assert (told["last"], told["state_seq"], told["learned"]) == (251, 251, stats["learned"]) and told["options"]["lr"] == 0.2
    assert told["to_replay"] == 0 and told["damaged"] == [] and told["states"]


def test_forget(tmp_path):
    made = some(60)
    with serving(tmp_path / "dir") as (port, _):
        post(port, "/v1/events:batch?wait=learned", {"events": made})
        before = ask(port, "GET", "/v1/stats")[1]["state_sha256"]
    out = run("forget", "--dir", tmp_path / "dir", "--id", made[7]["id"])[0]
    assert re.fullmatch(LINE, out) and before not in out and out.endswith("seq 61\n") and run("verify", "--dir", tmp_path / "dir")[0] == out
    never = SqliteLog(tmp_path / "never.db")
    never.append([event(item) for item in made if item is not made[7]])
    clean = Fold.replayed(never, {}, never.last()).model
    never.close()
    log = SqliteLog(tmp_path / "dir" / "log.db", readonly=True)
    assert dict(Fold.replayed(log, {}, 61).model.weights) == dict(clean.weights)
    log.close()
    assert "no event 'nobody'" in run("forget", "--dir", tmp_path / "dir", "--id", "nobody", code=2)[1]
    assert run("verify", "--dir", tmp_path / "dir")[0] == out


def test_a_later_start_keeps_the_options_and_goes_on(directory):
    path, stats, _ = directory
    assert "lr=0.2, now lr=0.3" in run("serve", "--dir", path, "--lr", "0.3", "--port", 0, code=2)[1]
    with serving(path, end=signal.SIGINT) as (port, _):
        assert ask(port, "GET", "/v1/stats")[1]["state_sha256"] == stats["state_sha256"]
        post(port, "/v1/events:batch", {"events": some(50, 1)})        # sent again
    assert run("verify", "--dir", path)[0] == f"state_sha256 {stats['state_sha256']} seq 251\n"


def test_what_serve_refuses(tmp_path):
    assert "--token-file" in run("serve", "--dir", tmp_path / "dir", "--host", "0.0.0.0", code=2)[1]
    assert not (tmp_path / "dir").exists()
    assert "rule 'none'" in run("serve", "--dir", tmp_path / "dir", "--rule", "none", code=2)[1]
    (tmp_path / "tokens").write_text("admin secret\n")
    assert "tokens:1: expected" in run("serve", "--dir", tmp_path / "dir", "--token-file", tmp_path / "tokens", code=2)[1]
    with serving(tmp_path / "dir") as (port, _):
        assert f"cannot listen at 127.0.0.1:{port}" in run("serve", "--dir", tmp_path / "other", "--port", port, code=2)[1]
    assert "it has no options.json" in run("verify", "--dir", tmp_path, code=2)[1]
    assert "--dir" in run("verify", code=2)[1]
    assert "known options of serve" in run("serve", "--dir", tmp_path, "--what", code=2)[1]


def test_a_missing_extra_is_one_line(tmp_path):
    code = "import sys; sys.modules['uvicorn'] = None; from linear.__main__ import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", code, "serve", "--dir", str(tmp_path)], capture_output=True, **CALL)
    assert done.returncode == 2 and done.stderr == 'linear: serve needs uvicorn, which is not installed: pip install "tinygrad-lite[serve]"\n'


def test_tokens_by_the_command_line(tmp_path):
    line, told = run("token", "--role", "predict", "--name", "shop")
    secret = told.split()[-1]
    (tmp_path / "tokens").write_text(line)
    assert secret not in line and line.endswith(" shop\n")
    with serving(tmp_path / "dir", "--token-file", str(tmp_path / "tokens"), "--host", "127.0.0.1") as (port, _):
        assert post(port, "/v1/predict", {"x": {}})[0] == 401
        assert post(port, "/v1/predict", {"x": {}}, Authorization=f"Bearer {secret}")[0] == 200
        assert post(port, "/v1/events", {"id": "a", "y": 1}, Authorization=f"Bearer {secret}")[0] == 403


def test_logs_as_json_and_requests_on_their_way(tmp_path):
    with serving(tmp_path / "dir", "--log-json", end=None) as (port, process):
        slow = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        slow.putrequest("POST", "/v1/events")
        body = json.dumps(some(1)[0]).encode()
        slow.putheader("Content-Type", "application/json")
        slow.putheader("Content-Length", str(len(body)))
        slow.endheaders(body[:10])
        ready = json.loads(process.stderr.readline())
        assert ask(port, "GET", "/healthz")[0] == 200       # so the other one's head has been read, too
        os.kill(process.pid, signal.SIGTERM)
        slow.send(body[10:])
        assert slow.getresponse().status == 200             # what was begun is answered, written and learned
        slow.close()
        stopped = json.loads(process.stderr.readline())
    assert ready["event"] == "ready" and ready["seq"] == 0 and ready["url"].endswith(str(port)) and ready["level"] == "info"
    assert (stopped["event"], stopped["seq"], stopped["stored"]) == ("stopped", 1, 1)
    assert run("verify", "--dir", tmp_path / "dir")[0].endswith("seq 1\n")


def test_the_load_example_measures_all_it_says():
    done = subprocess.run([sys.executable, "-W", "error", "examples/service_load.py", "--seconds", "0.5", "--rate", "2000", "--events", "3000",
                           "--only", "predict", "predict + learning", "ingest", "ready", "--json"], capture_output=True, timeout=300, **CALL)
    assert done.returncode == 0 and not done.stderr, done.stderr
    rows = {row["load"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert list(rows) == ["predict", "predict + learning", "ingest", "ready"]
    for name in ("predict", "predict + learning", "ingest"):
        assert rows[name]["requests"] > 10 and rows[name]["errors"] == 0 and 0 < rows[name]["p50"] <= rows[name]["p99"]
    assert rows["predict + learning"]["learned_per_second"] >= 0 and rows["ready"]["all_learned"] >= rows["ready"]["seconds"]
