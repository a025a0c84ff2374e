"""Records of features: whatever is learned from them is what is learned from the JSON, bit for bit."""
import json
import random

import pytest
from test_service_core import OPTIONS, some_events

from linear.service import packing as packings
from linear.service.events import Event, event
from linear.service.fold import Fold
from linear.service.log import SqliteLog, Tail
from linear.service.packing import packing
from linear.service.reading import Reader

ODD = [{}, {"user": "a\nb"}, {"a=b": "c*d\\"}, {"": "x"}, {"": ["x=1", "y"]}, {"u": {"k": 2.5, "z": 0}}, {"e": []}, {"t": [" lead", "trail "]},
       {"n": 1e30}, {"n": -1e30, "m": 1e49}, {"n": 1e-45}, {"user": "é中", "tags": ["😀"]}, {"tags": ["1", "02"]}, {"x:y": "p:q"}, {"b": True},
       {"\0": "z"}, {f"f{i}": "v" for i in range(300)}, {"tags": ["t"] * 200}, {"Constant": "Constant"}, {"user": "u1", "tags": None}]


def histories(folder, options, seed=0):
    """Two logs of the same events, of all kinds and with odd features: one with records, one without."""
    rng, made = random.Random(seed), some_events(300, seed)
    for i, x in enumerate(ODD * 2):
        made.insert(rng.randrange(len(made)), event({"id": f"odd{i}", "x": x, "y": rng.choice((-1, 1))}))
    pack = Reader(options).record
    packed = [e._replace(record=pack(e.x)) if e.x else e for e in made]
    logs = SqliteLog(folder / "packed.db", packing=packing(options)), SqliteLog(folder / "plain.db")
    for log, events in zip(logs, (packed, made)):
        log.append(events)
        for order in ({"command": "forget", "id": "e5"}, {"command": "rate", "lr": 0.3}):
            log.command(json.dumps(order))
        log.append([e._replace(id=f"{e.id}'") for e in events])
    assert sum(bool(e.record) for e in packed) > 300 and any(e.x and not e.record for e in packed)
    return logs


@pytest.mark.parametrize("options", [
    {}, OPTIONS, {"dtype": "float64", "rule": "ftrl"}, {"rule": "sgd", "lr": 1e6, "l2": 0.01}, {"bits": 10, "crosses": "-q ut"},
    {"bits": 12, "hash": "all", "rule": "nag"}, {"crosses": "user*tags*age,:*:", "constant": False}])
def test_records_are_learned_like_json(tmp_path, options):
    packed, plain = histories(tmp_path, options)
    whole = Fold.replayed(plain, options, plain.last())
    for batch in (1, 7, 1000):
        assert Fold.replayed(packed, options, packed.last(), batch).digest() == whole.digest()
    assert whole.counts.learned > 400 and (whole.counts.refused > 0 or options.get("dtype") == "float64")
    packed.close()
    plain.close()


def test_records_are_used(tmp_path, monkeypatch):
    packed, plain = histories(tmp_path, OPTIONS)
    learned, learn = [0], packings.learn
    monkeypatch.setattr("linear.service.fold.learn", lambda *args: learned.__setitem__(0, learned[0] + len(args[1])) or learn(*args))
    fold = Fold.replayed(packed, OPTIONS, packed.last())
    assert learned[0] > 0.8 * fold.counts.learned
    learned[0] = 0
    Fold.replayed(plain, OPTIONS, plain.last())
    assert learned[0] == 0
    packed.close()
    plain.close()


def test_records_of_another_hash_are_left_alone(tmp_path):
    packed, plain = histories(tmp_path, OPTIONS)
    for options in ({"bits": 12}, {"names": True}, {"engine": "dict", "dtype": "float64"}):       # what if?
        assert Fold.replayed(packed, options, packed.last()).digest() == Fold.replayed(plain, options, plain.last()).digest()
    assert [packing(options) == packing({}) for options in (OPTIONS, {"bits": 12}, {"names": True})] == [True, False, False]
    packed.close()
    plain.close()


def test_an_empty_model_takes_records():
    """A learner without weights has length 0, and is there nevertheless."""
    pack = Reader({}).record
    fold = Fold({})
    fold._learn([(1, 1, b"not read", pack(b'{"user":"ann"}')), (2, -1, b"not read", pack(b'{"user":"bob"}'))])
    assert fold.counts.learned == 2 and len(fold.model.weights) == 3


# ---------------------------------------------------------------- the newest events, in memory

def test_the_tail_reads_what_the_log_holds(tmp_path, monkeypatch):
    monkeypatch.setattr("linear.service.log.KEPT", 50)
    writer, tail = SqliteLog(tmp_path / "log.db", packing=packing(OPTIONS)), Tail(SqliteLog(tmp_path / "log.db", packing=packing(OPTIONS)))
    pack, rng, made = Reader(OPTIONS).record, random.Random(0), some_events(300)
    made = [e._replace(record=pack(e.x)) if e.x else e for e in made]
    for start in range(0, len(made), 7):
        writer.append(made[start:start + 7])
        if start != 140:                    # a gap, as where the writer was cut short
            tail.add(writer.newest)
        writer.command(json.dumps({"command": "rate", "lr": rng.random()}))
        tail.add(writer.newest)
        assert len(tail._rows) <= 50 and len(tail._places) <= 50
        ids = [e.id for e in rng.sample(made, 20)]
        for kind in (packing(OPTIONS), "another", None):
            after = rng.randrange(max(1, writer.last() - 60), writer.last())
            rows = tail.read(after, 30, kind)
            assert rows == writer.read(after, 30, kind)[:len(rows)] and rows
            assert {k: tuple(v) for k, v in tail.features(ids, kind).items()} == {k: tuple(v) for k, v in writer.features(ids, kind).items()}
    assert tail.read(writer.last(), 30, packing(OPTIONS)) == []
    fold = Fold(OPTIONS)
    while fold.advance(tail, 30):
        pass
    assert fold.digest() == Fold.replayed(writer, OPTIONS, writer.last()).digest()
    writer.close()
    tail.close()


def test_a_batch_that_repeats_itself(tmp_path):
    log = SqliteLog(tmp_path / "log.db")
    x, other = b'{"u":"ann"}', b'{"u":"bob"}'
    results = log.append([Event("a", x, None), Event("a", b"", 1), Event("a", x, 1), Event("a", other, None), Event("a", b"", -1),
                          Event("b", b"", -1), Event("b", x, -1), Event("b", x, None)])
    assert [(row.status, row.seq) for row in results] == [("stored", 1), ("stored", 2), ("duplicate", 1), ("conflict", 1), ("conflict", 2),
                                                          ("stored", 3), ("stored", 4), ("duplicate", 4)]
    assert [(row.seq, row.id, row.kind, row.x, row.y) for row in log.read(0, 9)] == [
        (1, "a", "x", x, None), (2, "a", "y", b"", 1), (3, "b", "y", b"", -1), (4, "b", "x", x, None)]
    many = [Event(f"m{i % 700}", x, None) for i in range(1400)]              # more than one statement holds
    assert [row.status for row in log.append(many)] == ["stored"] * 700 + ["duplicate"] * 700 and log.last() == 704
    log.close()
