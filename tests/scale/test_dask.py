"""Dask: the same bytes whoever does the work and whatever happens to them, and what is said where nothing can be done."""
import contextlib
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from test_mixing import CROSSES, READS, lines, written

import linear
from linear import HingeSVM
from linear.__main__ import main
from linear.scale import engines, mixing
from linear.scale.engines import DaskEngine, LocalEngine, ScaleError
from linear.scale.shards import cut_files, train_shard
from linear.service.events import event
from linear.service.log import SqliteLog

ROOT = Path(linear.__file__).parents[1]
RULES = "adagrad", "pa1"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return written(tmp_path_factory.mktemp("data"), lines(3000, 1), lines(1000, 2))


def learned(files, engine, path, rule="adagrad"):
    """The bytes of the model file, the totals, and what every round has seen."""
    seen = []
    model, totals = mixing.learn(HingeSVM(rule=rule, **CROSSES), cut_files(files, 4, 5), engine, READS,
                                 lambda *told: seen.append(told))
    model.save(path)
    return path.read_bytes(), totals, seen


@pytest.fixture(scope="module")
def expected(files, tmp_path_factory):
    return {rule: learned(files, LocalEngine(), tmp_path_factory.mktemp("local") / "model", rule) for rule in RULES}


def test_the_same_bytes_on_any_number_of_workers(files, expected, tmp_path):
    with DaskEngine(workers=1) as engine:
        for workers in (1, 2, 4):
            engine._cluster.scale(workers)
            engine._client.wait_for_workers(workers)
            for rule in RULES:
                assert learned(files, engine, tmp_path / "model", rule) == expected[rule]


class Deadly:
    """train_shard in a worker that is killed by -9 in the middle of its work, as often as there are files to take."""

    def __init__(self, folder, deaths):
        self.folder = str(folder)
        for number in range(deaths):
            (folder / f"death{number}").touch()

    def __call__(self, shared, shard):
        result = train_shard(shared, shard)
        for name in sorted(os.listdir(self.folder)):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(self.folder, name))
                os.kill(os.getpid(), signal.SIGKILL)
        return result


@pytest.mark.parametrize("workers", [1, 2])                               # of one, the weights are lost with it
def test_a_worker_killed_in_a_round_changes_no_bit(workers, files, expected, tmp_path, monkeypatch):
    import cloudpickle
    cloudpickle.register_pickle_by_value(sys.modules[__name__])          # the workers do not have this file
    (tmp_path / "deaths").mkdir()
    monkeypatch.setattr(mixing, "train_shard", Deadly(tmp_path / "deaths", 3))
    monkeypatch.setattr(engines, "LOOK", 1)
    with DaskEngine(workers=workers) as engine:
        assert learned(files, engine, tmp_path / "model") == expected["adagrad"]
    assert not os.listdir(tmp_path / "deaths")


def test_workers_killed_from_outside_at_any_moment(files, expected, tmp_path):
    with DaskEngine(workers=2) as engine:
        before, stop = pids(engine), threading.Event()

        def kill():
            for _ in range(3):
                if stop.wait(0.15):
                    return
                with contextlib.suppress(ProcessLookupError):
                    os.kill(min(pids(engine)), signal.SIGKILL)
        killer = threading.Thread(target=kill)
        killer.start()
        try:
            while killer.is_alive():
                assert learned(files, engine, tmp_path / "model") == expected["adagrad"]
        finally:
            stop.set()
            killer.join()
        assert pids(engine) != before


def pids(engine):
    return {nanny.pid for nanny in engine._cluster.workers.values()}


def run(*args, code=0):
    """(standard output, standard error) of `python -m linear` in this process, which must end with that code."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        ended = main([*map(str, args)])
    assert code in (None, ended), err.getvalue()
    return out.getvalue(), err.getvalue()


@contextlib.contextmanager
def program(name, *options, root=ROOT):
    """One of Dask's programs, with the `linear` that stands in `root`."""
    process = subprocess.Popen([sys.executable, "-m", f"distributed.cli.dask_{name}", *options], cwd=root,
                               stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"})
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def scheduler():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    with program("scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard") as process:
        yield f"tcp://127.0.0.1:{port}", process


def worker(address, folder, root=ROOT):
    return program("worker", address, "--nthreads", "1", "--no-dashboard", "--local-directory", str(folder), root=root)


def test_a_scheduler_with_its_own_workers(files, tmp_path, monkeypatch):
    monkeypatch.setattr(engines, "SECONDS", 1)
    told = ["learn", *files, "--quiet", "--json", "-q", "ut", "--dask-compare", "-f", tmp_path / "model"]
    with scheduler() as (address, process):
        missing = until(lambda: run(*told, "--dask", address, code=2)[1], "has no workers")
        assert "start one with `dask worker tcp://127.0.0.1:" in missing
        monkeypatch.setattr(engines, "SECONDS", 20)
        with worker(address, tmp_path):
            runs = json.loads(run(*told, "--dask", address)[0])["runs"]
            assert [one["examples"] for one in runs] == [4000, 4000]
            assert runs[0]["progressive_zero_one"] > runs[1]["progressive_zero_one"]
            first = (tmp_path / "model").read_bytes()
            other = tmp_path / "other"
            shutil.copytree(ROOT / "linear", other / "linear", ignore=shutil.ignore_patterns("__pycache__"))
            with open(other / "linear" / "rules.py", "a") as file:
                file.write("# another version\n")
            with worker(address, tmp_path, other):
                refused = until(lambda: run(*told, "--dask", address, code=None)[1], "has linear")
                assert re.search(r"worker (tcp://\S+ )?has linear [0-9a-f]{8} where this process has [0-9a-f]{8}: .* same", refused)
            with DaskEngine(address) as engine, pytest.raises(ScaleError, match="^the Dask scheduler was lost; no model"):
                learn_until_killed(files, engine, process)
    run(*told, "--dask", "local:1")
    assert (tmp_path / "model").read_bytes() == first


def learn_until_killed(files, engine, process):
    mixing.learn(HingeSVM(**CROSSES), cut_files(files, 4, 5), engine, READS, lambda *told: process.kill())


def until(attempt, text):
    """What `attempt` returns once it has that text; it takes programs a while to start."""
    for _ in range(60):
        if text in (told := attempt()):
            return told
        time.sleep(0.5)
    raise AssertionError(told)


@pytest.mark.parametrize("options, reason", [
    (["--dask", "local:0"], "'local:0' is neither a number of workers"), (["--dask", "nowhere"], "neither .* nor a scheduler's"),
    (["--rule", "ftrl"], "rule ftrl cannot be mixed"), (["-t"], "-t is for one learner"), (["-p", "p"], "-p is for one learner"),
    (["--what-if", "lr=1"], "--what-if is for one"), (["--scale", "a"], "--bucket, --scale and"), (["-c"], "--cache is for"),
    (["--dask-shards", "0"], "--dask-shards 0"), (["--format", "csv"], "--dask reads vw, svmlight"), (["-f", "0.vw"], "overwrite"),
    (["--dask", "", "more.vw"], "a second file"), (["--dask", "", "--dask-compare"], "go with --dask")], ids=str)
def test_what_is_refused_at_once(options, reason, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("0.vw").write_bytes(lines(5))
    files = [option for option in options if option == "more.vw"]
    _, err = run("learn", "0.vw", *files, "--dask", "local:1", *[option for option in options if option not in files], code=2)
    assert re.search(rf"^linear: .*{reason}", err) and err.count("\n") == 1, err


def test_files_that_cannot_be_cut(tmp_path):
    assert "none.vw: No such file" in run("learn", tmp_path / "none.vw", "--dask", "local:1", code=1)[1]
    assert "a.vw.gz is compressed" in run("learn", tmp_path / "a.vw.gz", "--dask", "local:1", code=2)[1]
    assert "standard input cannot be cut" in run("learn", "--dask", "local:1", code=2)[1]


def test_nobody_answers(tmp_path, monkeypatch):
    monkeypatch.setattr(engines, "SECONDS", 1)
    path, = written(tmp_path, lines(5))
    with socket.socket() as silent, socket.socket() as stranger:         # who listens, and is no scheduler
        for one in silent, stranger:
            one.bind(("127.0.0.1", 0))
            one.listen()

        def talk():
            with stranger.accept()[0] as comm:
                comm.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n" * 9)
        threading.Thread(target=talk, daemon=True).start()
        for port in silent.getsockname()[1], stranger.getsockname()[1], 9:
            err = run("learn", path, "--dask", f"tcp://127.0.0.1:{port}", code=2)[1]
            assert f"no Dask scheduler answers at tcp://127.0.0.1:{port}" in err and err.count("\n") == 1


def test_dask_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    path, = written(tmp_path, lines(5))
    assert 'not installed: pip install "tinygrad-lite[dask]"' in run("learn", path, "--dask", "local:2", code=2)[1]


def test_a_worker_without_linear_is_refused():
    engine = DaskEngine.__new__(DaskEngine)
    engine._late = TimeoutError
    answers = {"tcp://w:1": ModuleNotFoundError("no linear")}
    engine._client = type("Client", (), {"wait_for_workers": lambda *_, **__: None, "run": lambda *_, **__: answers})()
    with pytest.raises(ScaleError, match=r"^worker tcp://w:1 cannot run linear \(no linear\); install what this process has: "):
        engine._check("tcp://s:1")


def test_a_worker_that_leaves_while_it_is_asked_is_not_one_of_them():
    engine = DaskEngine.__new__(DaskEngine)
    engine._late = TimeoutError
    answers = iter([{"tcp://w:1": engines.build(), "tcp://w:2": OSError("Stream is closed")}, {"tcp://w:1": engines.build()}])
    engine._client = type("Client", (), {"wait_for_workers": lambda *_, **__: None, "run": lambda *_, **__: next(answers)})()
    engine._check("tcp://s:1")
    assert engine.workers == 1


def test_all_workers_are_lost(files, tmp_path, monkeypatch):
    monkeypatch.setattr(engines, "LOOK", 0.2)
    monkeypatch.setattr(engines, "AGAIN", 1)
    with scheduler() as (address, _):
        monkeypatch.setattr(engines, "SECONDS", 20)
        with worker(address, tmp_path) as only, until_it_answers(address) as engine:
            with pytest.raises(ScaleError, match="^all Dask workers were lost and none came in 1 s; no model"):
                learn_until_killed(files, engine, only)


def until_it_answers(address):
    """An engine there, once the scheduler's program has started."""
    for _ in range(60):
        try:
            return DaskEngine(address)
        except ScaleError:
            time.sleep(0.5)
    raise AssertionError(f"nobody answers at {address}")


def test_a_services_directory(tmp_path):
    options = HingeSVM(**CROSSES).options
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "options.json").write_text(json.dumps(options))
    assert "has no log.db" in run("learn", tmp_path / "dir", "--dask", "local:1", code=2)[1]
    log = SqliteLog(tmp_path / "dir" / "log.db")
    assert "the log is empty" in run("learn", tmp_path / "dir", "--dask", "local:1", code=2)[1]
    log.append([event({"id": f"e{i}", "x": {"u": f"u{i % 7}", "t": ["a"]}, "y": 1 if i % 7 > 3 else -1}) for i in range(100)])
    asked = ["learn", tmp_path / "dir", "--dask", "local:1", "--dask-shards", 2, "--dask-rounds", 3, "--json", "--dask-compare",
             "-f", tmp_path / "m"]
    out, err = run(*asked)
    told = json.loads(out)
    assert told["examples"] == 100 and [one["run"] for one in told["runs"]] == ["2 shards, 3 rounds", "one learner"]
    assert err.startswith("1 workers at local:1, 2 shards, 3 rounds a pass\n") and "\nmixing costs +" in err
    assert re.findall(r"^ +(\d)/3 +(\d+) ", err, re.MULTILINE) == [("1", "33"), ("2", "66"), ("3", "100")]
    assert HingeSVM.load(tmp_path / "m").options == options
    log.command(json.dumps({"command": "rate", "lr": 0.5}))
    log.close()
    assert "event 101 is the order 'rate'" in run(*asked, code=2)[1]


def test_a_file_of_the_command_goes_through_again(files, tmp_path):
    """More passes, a model to begin with, and 4 shards for 8 rounds where nothing else is asked for."""
    first, again = tmp_path / "first", tmp_path / "again"
    out, err = run("learn", *files, "--dask", "local:2", "-q", "ut", "--passes", 2, "-f", first, "--json")
    assert json.loads(out)["examples"] == 8000 and err.count("/16 ") == 16
    expected, totals = mixing.learn(HingeSVM(crosses="-q ut"), cut_files(files, 4, 8) * 2, LocalEngine(), READS)
    expected.save(again)
    assert first.read_bytes() == again.read_bytes()
