"""Log, fold, state files and the runner: what is promised, without the network."""
import json
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import linear
from linear import HingeSVM
from linear.model_file import read
from linear.service.drift import Adwin, PageHinkley
from linear.service.events import Event, Invalid, decoded, event, events
from linear.service.fold import EXPIRE, Fold
from linear.service.log import LogError, Row, SqliteLog, judged
from linear.service.runner import Busy, Directory, DirectoryError, Runner
from linear.service.store import StateError, StateStore

ROOT = Path(linear.__file__).parents[1]
OPTIONS = {"crosses": "user*tags"}


def some_events(count, seed=0):
    """Events of every kind: both parts at once, labels late, early, never; ids sent twice; conflicts."""
    rng, made = random.Random(seed), []
    for i in range(count):
        x = {"user": f"u{rng.randrange(9)}", "tags": [f"t{rng.randrange(6)}" for _ in range(rng.randrange(4))], "age": rng.random()}
        y = rng.choice((-1, 1))
        full, only_x, only_y = {"id": f"e{i}", "x": x, "y": y}, {"id": f"e{i}", "x": x}, {"id": f"e{i}", "y": y}
        parts = rng.choice([[full], [full], [only_x, only_y], [only_y, only_x], [only_x], [only_y], [full, full], [only_x, full],
                            [full, {**only_y, "y": -y}]])
        for part in parts:                  # the second part some way off
            made.insert(rng.randrange(max(0, len(made) - 5), len(made) + 1), event(part))
    return made


@pytest.fixture
def log(tmp_path):
    log = SqliteLog(tmp_path / "log.db")
    yield log
    log.close()


# ---------------------------------------------------------------- events

@pytest.mark.parametrize("item, field, words", [
    ({"x": {}}, "id", "1 to 128 bytes"), ({"id": "", "y": 1}, "id", "1 to 128"), ({"id": "é" * 65, "y": 1}, "id", "128"),
    ({"id": 7, "y": 1}, "id", "7"), ({"id": "a"}, "", "needs x"), ({"id": "a", "y": 2}, "y", "-1, 1"), ({"id": "a", "y": None}, "y", "None"),
    ({"id": "a", "y": "1"}, "y", "'1'"), ({"id": "a", "x": []}, "x", "dictionary"), ({"id": "a", "x": {"f": {"g": [1]}}}, "x.f", "'f'"),
    ({"id": "a", "x": {"f": 1e60}}, "x.f", "finite"), ({"id": "a", "x": {"f": ["t"] * 4097}}, "x", "4097 features"),
    ({"id": "a", "x": {"f": "n" * 2000}}, "x.f", "1024"), ({"id": "a", "x": {}, "z": 1}, "z", "unknown"), ([], "", "object")])
def test_invalid_events_name_their_field(item, field, words):
    with pytest.raises(Invalid, match=words) as found:
        event(item)
    assert found.value.field == field
    with pytest.raises(Invalid) as found:
        events({"events": [{"id": "ok", "y": 1}, item]})
    assert found.value.field == "events[1]" + ("." if field else "") + field


@pytest.mark.parametrize("body, words", [
    (b"\xff", "UTF-8"), (b"{", "not JSON"), (b'{"a": NaN}', "NaN"), (b'{"a": 1, "a": 2}', "'a' appears twice"), (b"[" * 9 + b"]" * 9, "deep"),
    (b'{"a": 1' + b"0" * 99 + b"}", "100 digits"), (b'"\\ud800"', "UTF-8")])
def test_requests_that_are_no_json(body, words):
    with pytest.raises(Invalid, match=words):
        decoded(body)


def test_brackets_in_strings_are_not_depth():
    assert decoded(b'{"a": "[[[[[[[[[[\\"[[["}') == {"a": '[[[[[[[[[["[[['}


# ---------------------------------------------------------------- the log

def test_an_id_has_one_x_and_one_y(log):
    x, other = b'{"u":"a"}', b'{"u":"b"}'
    status = [(r.status, r.seq) for r in log.append([
        Event("a", x, None), Event("a", other, None), Event("a", x, None), Event("a", x, 1), Event("a", b"", 1), Event("a", b"", -1),
        Event("b", b"", 1), Event("b", x, 1), Event("b", other, None), Event("c", x, 1), Event("c", x, -1)])]
    assert status == [("stored", 1), ("conflict", 1), ("duplicate", 1), ("stored", 2), ("duplicate", 2), ("conflict", 2),
                      ("stored", 3), ("stored", 4), ("conflict", 4), ("stored", 5), ("conflict", 5)]
    assert [(row.id, row.kind, row.x, row.y) for row in log.read(0, 9)] == [
        ("a", "x", x, None), ("a", "y", b"", 1), ("b", "y", b"", 1), ("b", "x", x, None), ("c", "xy", x, 1)]


@pytest.mark.parametrize("count", [0, 1, 40])
def test_new_events_are_judged_in_one_go_as_one_by_one(count):
    made = [row._replace(record=b"r" * (i % 3) if row.x else b"") for i, row in enumerate({row.id: row for row in some_events(count)}.values())]
    known, other = {}, {"elsewhere": [1, b"{}", 0, None]}
    assert judged(made, known, 7) == judged(made, other, 7)               # the second knows an id, so it looks at each
    assert {**known, "elsewhere": [1, b"{}", 0, None]} == other and len(known) == len(made)
    twice = [*made, *made]
    assert [stored.status for stored in judged(twice, {}, 7)[0]] == ["stored"] * len(made) + ["duplicate"] * len(made)


def test_a_log_stays_itself(tmp_path):
    log = SqliteLog(tmp_path / "log.db")
    log.append([Event("a", b"", 1)])
    again = SqliteLog(tmp_path / "log.db")
    assert again.id == log.id and again.last() == 1 and again.append([Event("a", b"", 1)])[0].status == "duplicate"
    (tmp_path / "other.db").write_bytes(b"no database" * 999)
    with pytest.raises(LogError, match="other.db"):
        SqliteLog(tmp_path / "other.db")


# ---------------------------------------------------------------- the fold

def naive(stored, model):
    """What the log means, in a dozen lines: join the parts of each id in the order in which the second one comes."""
    xs, ys = {}, {}
    for row in stored:
        if row.x:
            xs[row.id] = row.x
        if row.y:
            ys[row.id] = row.y
        if row.id in xs and row.id in ys:
            model.learn_one(json.loads(xs[row.id]), ys[row.id])
    return model


@pytest.mark.parametrize("options", [{}, {"rule": "arow", "dtype": "float64"}, {"rule": "asgd", "bits": 10}, {"rule": "nag"}])
def test_the_fold_learns_what_it_should(log, options):
    log.append(some_events(300))
    rows, options = log.read(0, 10_000), {**OPTIONS, **options}
    fold = Fold.replayed(log, options, log.last())
    model = naive(rows, HingeSVM(**options))
    assert dict(fold.model.weights) == dict(model.weights) and fold.model.totals == model.totals and len(model.weights) > 50
    assert fold.counts.learned == model.totals.examples and fold.counts.late > 20 and fold.counts.early > 20
    assert fold.counts.unlabelled > fold.counts.late and fold.position == len(rows)


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_where_a_batch_ends_does_not_matter(log, batch):
    log.append(some_events(400))
    whole = Fold.replayed(log, OPTIONS, log.last(), batch=10_000)
    assert Fold.replayed(log, OPTIONS, log.last(), batch).digest() == whole.digest()


@pytest.mark.parametrize("rule", ["adagrad", "asgd", "ftrl", "nag", "pegasos", "scw2"])
def test_a_state_file_continues_bit_for_bit(log, tmp_path, rule):
    log.append(some_events(300))
    store, options = StateStore(tmp_path / "state"), {**OPTIONS, "rule": rule}
    whole = Fold.replayed(log, options, log.last())
    for stop in (0, 1, 137, log.last()):
        store.commit(Fold.replayed(log, options, stop), log.id)
        fold = store.load(log.id)
        assert fold.position == stop
        while fold.advance(log, 50):
            pass
        assert fold.digest() == whole.digest()
    assert len(store.files()) == 3


def test_a_copy_is_a_copy(log):
    log.append(some_events(200))
    fold = Fold.replayed(log, OPTIONS, 100)
    twin, before = fold.copy(), fold.digest()
    while fold.advance(log, 50):
        pass
    assert twin.digest() == before != fold.digest() and twin.position == 100
    while twin.advance(log, 3):
        pass
    assert twin.digest() == fold.digest()


def test_what_goes_into_the_digest(log):
    log.append(some_events(200))
    digests = {Fold.replayed(log, options, until).digest() for options in (OPTIONS, {}, {**OPTIONS, "lr": 0.2}) for until in (99, 100)}
    fold = Fold.replayed(log, OPTIONS, 100)
    for change in (lambda f: f.adwin.update([1.0]), lambda f: f.hinkley.update([1.0]), lambda f: f.pending.update(z=(9, 1)),
                   lambda f: f.recent.append(1), lambda f: f.marks.append([3, "ADWIN"])):
        twin = fold.copy()
        change(twin)
        digests.add(twin.digest())
    assert len(digests) == 11


def test_forgetting_is_as_if_it_had_never_been(log, tmp_path):
    made = some_events(200)
    name = next(e.id for e in made if e.kind == "xy")
    log.append(made)
    fold = Fold.replayed(log, OPTIONS, log.last())
    seq = log.command(json.dumps({"command": "forget", "id": name}))
    fold.advance(log, 1000)
    clean = SqliteLog(tmp_path / "clean.db")
    clean.append([e for e in made if e.id != name])
    never = Fold.replayed(clean, OPTIONS, clean.last())
    clean.close()
    assert dict(fold.model.weights) == dict(never.model.weights) and fold.model.totals == never.model.totals
    assert fold.recent == never.recent and fold.position == seq and fold.counts.forgotten >= 1
    assert Fold.replayed(log, OPTIONS, seq, 7).digest() == fold.digest()
    assert Fold.replayed(log, OPTIONS, seq - 1).counts.forgotten == 0


def test_commands_are_part_of_history(log, monkeypatch):
    log.append(some_events(100))
    log.command(json.dumps({"command": "rate", "lr": 0.5}))
    log.append([Event(f"{e.id}'", e.x, e.y) for e in some_events(100, 1)])
    log.command(json.dumps({"command": "correct", "id": "e3", "y": 1}))
    log.command(json.dumps({"command": "correct", "id": "e3", "y": -1}))
    log.command(json.dumps({"command": "reset"}))
    log.append([Event(f"{e.id}''", e.x, e.y) for e in some_events(20, 2)])
    by_one, whole = Fold(OPTIONS), Fold.replayed(log, OPTIONS, log.last())
    while by_one.advance(log, 1):
        pass
    assert by_one.digest() == whole.digest() and whole.counts.commands == 4
    replay, replays, at_once = Fold.replayed, [], Fold(OPTIONS)
    monkeypatch.setattr(Fold, "replayed", lambda *args: replays.append(args[-1]) or replay(*args))
    at_once.advance(log, 10_000)            # one replay serves all edits of a batch
    assert at_once.digest() == whole.digest() and len(replays) == 1
    assert whole.model.options["lr"] == 0.5 and whole.corrected == {"e3": -1}
    assert len(whole.model.weights) < len(Fold.replayed(log, OPTIONS, 100).model.weights)


def test_parts_that_wait_too_long(monkeypatch):
    monkeypatch.setattr("linear.service.fold.EXPIRE", 5)
    fold = Fold({})
    fold.apply([Row(1, "a", "y", b"", 1), *(Row(i, f"f{i}", "x", b'{"u":"b"}', None) for i in range(2, 8)),
                Row(8, "a", "x", b'{"u":"a"}', None)])
    assert fold.counts.expired == 1 and fold.counts.learned == 0 and not fold.pending
    fold.apply([Row(9, "g", "y", b"", 1)], late={"g": (3, b'{"u":"c"}')})
    fold.apply([Row(10, "h", "y", b"", 1)], late={"h": (5, b'{"u":"c"}')})
    assert fold.counts.expired == 1 and fold.counts.late == fold.counts.learned == 1 and EXPIRE == 1_000_000
    assert fold.pending == {"g": (9, 1)}    # as if its features had never come
    fold.apply([Row(i, f"i{i}", "x", b'{"u":"b"}', None) for i in range(11, 16)])
    assert fold.counts.expired == 2 and not fold.pending


def test_missing_events_stop_the_learner(log):
    log.append(some_events(20))
    log._db.execute("DELETE FROM events WHERE seq = 7")
    fold = Fold(OPTIONS)
    with pytest.raises(LogError, match="missing"):
        fold.advance(log, 100)
    assert fold.position == 0
    log._db.execute("DELETE FROM events WHERE seq < 7")
    with pytest.raises(LogError, match="begins at event 8"):
        Fold.replayed(log, OPTIONS, 10)


# ---------------------------------------------------------------- state files

def test_a_state_file_is_a_model_file(log, tmp_path):
    log.append(some_events(100))
    fold = Fold.replayed(log, OPTIONS, log.last())
    path = StateStore(tmp_path / "state").commit(fold, log.id)
    assert dict(HingeSVM.load(path).weights) == dict(fold.model.weights)


def test_damaged_states_are_not_believed(log, tmp_path):
    log.append(some_events(100))
    store, rng = StateStore(tmp_path / "state"), random.Random(0)
    good = store.commit(Fold.replayed(log, OPTIONS, 50), log.id).read_bytes()
    newer = store.commit(Fold.replayed(log, OPTIONS, 80), log.id)
    whole = newer.read_bytes()
    for trial in range(300):
        place = rng.randrange(len(whole))
        newer.write_bytes(whole[:place] if trial % 3 == 0 else whole[:place] + bytes([whole[place] ^ 1 << rng.randrange(8)]) + whole[place + 1:])
        assert store.load(log.id).position == 50 and len(store.damaged) == 1
    store.files()[1].write_bytes(good[:-1])
    with pytest.raises(StateError, match="all 2 state files.*Move them away"):
        store.load(log.id)


def test_a_state_belongs_to_its_log(log, tmp_path):
    store = StateStore(tmp_path / "state")
    store.commit(Fold(OPTIONS), log.id)
    with pytest.raises(StateError, match="belongs to log"):
        store.load("another")


# ---------------------------------------------------------------- detectors against river, event by event

@pytest.mark.parametrize("seed", range(6))
def test_detectors_are_rivers(seed):
    river = pytest.importorskip("river.drift")
    rng = np.random.default_rng(seed)
    values = (np.concatenate([rng.random(1500) < p for p in (0.1, 0.3, 0.1, 0.5)]).astype(float) if seed % 2
              else np.concatenate([rng.normal(m, s, 1000) for m, s in ((0, 1), (2, 1), (2, 5), (1, 0.1))]))
    for ours, theirs in ((Adwin(), river.ADWIN()), (PageHinkley(), river.PageHinkley())):
        found = np.concatenate([ours.update(part) for part in np.array_split(values, rng.integers(1, 99))])
        expected = []
        for value in values:
            theirs.update(value)
            expected.append(theirs.drift_detected)
        assert found.tolist() == expected and found.sum() > 0
    assert Adwin().update((rng.random(2000) < 0.2).astype(float)).sum() == 0


# ---------------------------------------------------------------- the directory and the runner

@pytest.fixture
def runner(tmp_path):
    runner = Runner(Directory(tmp_path / "dir", OPTIONS))
    runner.start()
    yield runner
    runner.stop()


def test_what_was_appended_is_learned(runner, tmp_path):
    made = some_events(500)
    futures = [runner.append(made[i:i + 30]) for i in range(0, len(made), 30)]
    last = max(result.seq for future in futures for result in future.result(30))
    assert runner.wait_for(last, 30) and runner.stored == last
    log = SqliteLog(tmp_path / "dir" / "log.db")
    assert runner.snapshot.digest() == Fold.replayed(log, OPTIONS, last).digest()
    assert runner.command({"command": "forget", "id": made[0].id}).result(10) == last + 1 and runner.wait_for(last + 1, 30)
    assert runner.snapshot.digest() == Fold.replayed(log, OPTIONS, last + 1).digest()
    log.close()


def test_a_snapshot_never_changes(runner):
    runner.append(some_events(50)).result(10)
    runner.wait_for(runner.stored, 30)
    held = runner.snapshot
    digest = held.digest()
    runner.append([Event("later", b'{"user":"u1"}', 1)]).result(10)
    runner.wait_for(runner.stored, 30)
    assert held.digest() == digest != runner.snapshot.digest()


def test_it_goes_on_where_it_stopped(tmp_path):
    made, digests = some_events(300), []
    for part in (made, made[:100], made[100:], made):
        runner = Runner(Directory(tmp_path / "dir", OPTIONS))
        runner.start()
        runner.append(part).result(10)
        runner.wait_for(runner.stored, 30)
        digests.append(runner.snapshot.digest())
        runner.stop()
    assert len(set(digests)) == 1           # what is sent again changes nothing


def test_one_process_a_directory(runner, tmp_path):
    with pytest.raises(DirectoryError, match=f"in use by process {os.getpid()}"):
        Directory(tmp_path / "dir", OPTIONS)


def test_a_directory_keeps_its_options(tmp_path):
    Directory(tmp_path / "dir", OPTIONS).close()
    with pytest.raises(DirectoryError, match="rule='adagrad', now rule='pa'"):
        Directory(tmp_path / "dir", {"rule": "pa"})
    with Directory(tmp_path / "dir") as directory:
        assert directory.options["crosses"] == (("user", "tags"),)
    with pytest.raises(DirectoryError, match="no such directory"):
        Directory(tmp_path / "none")


def test_a_state_ahead_of_the_log_stops(tmp_path):
    runner = Runner(Directory(tmp_path / "dir", OPTIONS))
    runner.start()
    runner.append(some_events(50)).result(10)
    runner.wait_for(runner.stored, 30)
    runner.stop()
    db = SqliteLog(tmp_path / "dir" / "log.db")
    db._db.execute("DELETE FROM events WHERE seq > 10")
    db.close()
    with Directory(tmp_path / "dir") as directory, pytest.raises(LogError, match="ahead of the log.*ends at 10"):
        Runner(directory).start()


def test_a_failed_commit_is_no_harm(runner, monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(runner._store, "commit", refuse)
    monkeypatch.setattr("linear.service.runner.COMMIT_SECONDS", 0.0)
    runner.append(some_events(50)).result(10)
    assert runner.wait_for(runner.stored, 30)
    for _ in range(100):
        if runner.alarm:
            break
        threading.Event().wait(0.05)
    assert "No space left" in runner.alarm and runner.failure is None and runner.committed == 0
    monkeypatch.undo()


def test_a_full_queue_says_so(runner, monkeypatch):
    monkeypatch.setattr("linear.service.runner.WAITING", 10)
    with pytest.raises(Busy, match="wait"):
        runner.append(some_events(50))


# ---------------------------------------------------------------- kills are in tests/chaos

def test_only_known_failpoints():
    child = subprocess.run([sys.executable, "-c", "import linear.failpoints"], env={**os.environ, "LINEAR_FAILPOINT": "nowhere:1"},
                           cwd=ROOT, capture_output=True, text=True)
    assert child.returncode == 1 and "there are log.begun" in child.stderr


def test_the_state_says_whose_it_is(log, tmp_path):
    path = StateStore(tmp_path).commit(Fold(OPTIONS), log.id, build={"numpy": np.__version__})
    assert read(path)[0]["log"] == log.id and read(path)[0]["build"]["numpy"] == np.__version__
