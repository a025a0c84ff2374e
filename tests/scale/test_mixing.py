"""Mixing itself, in this process: what is averaged and how, ranges of files and logs, and what is refused."""
import json
import random
from dataclasses import asdict

import pytest

from linear import FormatError, HingeSVM
from linear.formats import parser
from linear.scale import mixing
from linear.scale.engines import LocalEngine, ScaleError
from linear.scale.shards import cut_files, cut_log, of_bytes, to_bytes, train_shard
from linear.service.events import event
from linear.service.fold import Fold
from linear.service.log import SqliteLog
from linear.service.packing import packing
from linear.service.reading import Reader

READS = {"parser": ["vw"], "most": None, "strict": True}
CROSSES = {"crosses": ["u*t"]}


def lines(count, seed=0, values=False):
    """VW text in which users and tags decide the label, some features are rare, and some values are numbers."""
    rng, text = random.Random(seed), []
    for _ in range(count):
        user, tags = int(rng.paretovariate(0.6)) % 300, rng.sample(range(40), rng.randrange(1, 5))
        label = 1 if (user % 3 - 1) + sum(tag % 3 - 1 for tag in tags) + rng.gauss(0, 0.5) > 0 else -1
        number = f":{rng.uniform(0.1, 3):.3f}" if values and rng.random() < 0.5 else ""
        weight = rng.choice(["", "2 ", "0.5 "]) if values else ""
        text.append(f"{label} {weight}|u u{user}{number} |t {' '.join(f't{tag}' for tag in tags)}\n")
    return "".join(text).encode()


def written(path, *parts):
    for number, part in enumerate(parts):
        (path / f"{number}.vw").write_bytes(part)
    return [str(path / f"{number}.vw") for number in range(len(parts))]


def whole(paths, texts):
    """A shard for each file."""
    return [{"pieces": [{"path": path, "size": len(text), "start": 0, "end": len(text)}]} for path, text in zip(paths, texts)]


def mixed(model, paths, shards, rounds, engine=LocalEngine(), **reads):
    return mixing.learn(model, cut_files(paths, shards, rounds), engine, {**READS, **reads})


def saved(model, path):
    model.save(path)
    return path.read_bytes()


RULES = [*({"rule": rule} for rule in mixing.MIXED), {"rule": "sgd", "loss": "logistic", "power_t": 0.5},
         {"rule": "adagrad", "loss": "logistic"}, {"rule": "adagrad", "bits": 9}, {"rule": "pa1", "bits": 8, "hash": "all"}]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options", RULES, ids=str)
def test_one_shard_is_one_learner_bit_for_bit(options, dtype, tmp_path):
    options = {**options, **CROSSES, "dtype": dtype, "initial_constant": 0.25}
    paths, alone = written(tmp_path, lines(300, values=True), lines(100, 1)), HingeSVM(**options)
    for path in paths:
        alone.learn_file(path)
    for rounds in (1, 5):
        model, totals = mixed(HingeSVM(**options), paths, 1, rounds)
        assert totals.examples == 400 and model.totals == alone.totals
        assert saved(model, tmp_path / "a") == saved(alone, tmp_path / "b")


def evidence(rule, row, updates):
    """How much a shard that began from nothing has told a weight, by this test's own book-keeping."""
    return row["G"] if rule in ("adagrad", "nag") else 1 / row["S"] - 1 if rule in ("arow", "scw2") else updates


def naive(options, ranges):
    """{key: {column: number}} after one round of mixing, from dictionaries: each shard on its own, then the weighted means."""
    shards, counts = [], []
    for text in ranges:
        model, seen, parse = HingeSVM(**options), {}, parser("vw")
        for line in text.splitlines():
            keys, columns = model._learner.columns()
            old = dict(zip(keys, columns["weight"]))
            model.take(parse(line))
            keys, columns = model._learner.columns()
            for key, weight in zip(keys, columns["weight"]):
                if old.get(key) != weight:
                    seen[key] = seen.get(key, 0) + 1
        keys, columns = model._learner.columns()
        shards.append({key: {name: columns[name][i] for name in columns} for i, key in enumerate(keys)})
        counts.append(seen)
    found = {}
    for key in {key for shard in shards for key in shard}:
        rows = [(shard[key], evidence(options["rule"], shard[key], count.get(key, 0))) for shard, count in zip(shards, counts)
                if key in shard]
        total = sum(mass for _, mass in rows)
        found[key] = {name: sum(row[name] * mass for row, mass in rows) / total for name in rows[0][0]}
        if "N" in found[key]:
            found[key]["N"] = max(row["N"] for row, _ in rows)
    return found


@pytest.mark.parametrize("rule", mixing.MIXED)
def test_a_round_is_the_mean_by_updates(rule, tmp_path):
    options = {"rule": rule, "dtype": "float64", **CROSSES}
    texts = [lines(60, seed) for seed in range(3)]
    model, _ = mixing.learn(HingeSVM(**options), [whole(written(tmp_path, *texts), texts)], LocalEngine(), READS)
    keys, columns = model._learner.columns()
    expected = naive(options, texts)
    assert set(keys) == set(expected)
    for i, key in enumerate(keys):
        assert {name: columns[name][i] for name in columns} == pytest.approx(expected[key], rel=1e-12, abs=1e-15)


def test_a_feature_of_one_shard_is_not_diluted(tmp_path):
    alone, other = b"1 |u rare\n" * 3, b"-1 |u often\n" * 500
    paths = written(tmp_path, alone, other)
    model, _ = mixing.learn(HingeSVM(constant=False), [whole(paths, (alone, other))], LocalEngine(), READS)
    by_itself = HingeSVM(constant=False)
    by_itself.learn_lines(alone)
    assert model.weights["u=rare"] == by_itself.weights["u=rare"]


def test_the_result_goes_on_learning_as_any_model(tmp_path):
    paths, more = written(tmp_path, lines(400)), lines(50, 9)
    for rule in ("adagrad", "pa"):
        model, _ = mixed(HingeSVM(rule=rule, **CROSSES), paths, 3, 2)
        assert model.totals.examples == 400
        model.save(tmp_path / "model")
        again = HingeSVM.load(tmp_path / "model")
        model.learn_lines(more), again.learn_lines(more)
        assert saved(model, tmp_path / "a") == saved(again, tmp_path / "b")
        further, _ = mixed(again, paths, 3, 2)                # from weights that are there already
        assert further.totals.examples == 850


def test_mixing_learns_nearly_as_well_and_counts_honestly(tmp_path):
    path, = written(tmp_path, lines(6000))
    alone, _ = mixed(HingeSVM(**CROSSES), [path], 1, 1)
    model, totals = mixed(HingeSVM(**CROSSES), [path], 4, 8)
    once, _ = mixed(HingeSVM(**CROSSES), [path], 4, 1)
    assert totals == model.totals and totals.examples == 6000 and alone.totals.zero_one < totals.zero_one < 0.3
    errors = [one.learn_lines(lines(3000, 77)).zero_one for one in (alone, model, once)]
    assert max(errors[1:]) < errors[0] + 0.02 < 0.25, errors


@pytest.mark.parametrize("shards, rounds", [(1, 1), (2, 3), (5, 4), (40, 2)])
def test_ranges_hold_every_line_once_and_in_order(shards, rounds, tmp_path):
    texts = [lines(37), b"", b"1 |u long " + b"x" * 5000 + b"\n" + lines(2), lines(23, 3).removesuffix(b"\n"), b"1 |u one"]
    paths = written(tmp_path, *texts)
    cut = cut_files(paths, shards, rounds)
    assert len(cut) == rounds and all(len(one) <= shards for one in cut)
    found = []
    for piece in (piece for one in cut for shard in one for piece in shard["pieces"]):
        with open(piece["path"], "rb") as file:
            file.seek(piece["start"])
            found += file.read(piece["end"] - piece["start"]).splitlines()
    assert found == [line for text in texts for line in text.splitlines()]
    assert cut == cut_files(paths, shards, rounds)


def test_other_formats_and_malformed_lines(tmp_path):
    row = b'{"y": %d, "user": "u%d", "tags": ["a", "b%d"]}\n'
    rows = b"".join(row % (1 if i % 3 else -1, i % 7, i % 5) + b"what?\n" * (i == 150) for i in range(200))
    path = tmp_path / "d.jsonl"
    path.write_bytes(rows)
    model, totals = mixed(HingeSVM(), [str(path)], 3, 2, parser=["jsonl"], strict=False)
    assert (totals.examples, totals.malformed) == (200, 1) and len(model.weights) == 14
    with pytest.raises(FormatError, match=rf"^{path}:152:1: "):
        mixed(HingeSVM(), [str(path)], 3, 2, parser=["jsonl"])
    svm = tmp_path / "d.svmlight"
    svm.write_bytes(b"".join(b"%d 3:1 %d:0.5\n" % (i % 3 > 0, 4 + i % 9) for i in range(200)))
    assert mixed(HingeSVM(), [str(svm)], 3, 2, parser=["svmlight"])[1].examples == 200


def test_a_file_that_changes_is_noticed(tmp_path):
    path, = written(tmp_path, lines(100))
    cut = cut_files([path], 2, 1)
    with open(path, "ab") as file:
        file.write(b"1 |u more\n")
    with pytest.raises(ScaleError, match="must not change meanwhile"):
        mixing.learn(HingeSVM(), cut, LocalEngine(), READS)
    (tmp_path / "0.vw").unlink()
    with pytest.raises(ScaleError, match="under the same names"):
        mixing.learn(HingeSVM(), cut, LocalEngine(), READS)


@pytest.mark.parametrize("options, reason", [
    ({"rule": "pegasos"}, "pegasos cannot be mixed.*Rules that can: adagrad"), ({"rule": "ftrl"}, "two sums"),
    ({"rule": "asgd"}, "already a mean"), ({"rule": "nag", "adaptive": False}, "nothing to weigh"), ({"l1": 1e-6}, "--l1"),
    ({"l2": 1e-6}, "--l2"), ({"names": True}, "--names"), ({"engine": "dict"}, "--engine dict")], ids=str)
def test_what_cannot_be_mixed_says_why(options, reason):
    with pytest.raises(ScaleError, match=reason):
        mixing.learn(HingeSVM(**options), [], LocalEngine(), READS)


def test_every_rule_is_decided():
    from linear.rules import RULES
    assert set(mixing.MIXED) | set(mixing._WHY_NOT) == set(RULES) and not set(mixing.MIXED) & set(mixing._WHY_NOT)


def test_a_shard_is_a_pure_function_of_bytes(tmp_path):
    path, = written(tmp_path, lines(200))
    (shard, _), = cut_files([path], 2, 1)
    base, model = HingeSVM(**CROSSES), HingeSVM(**CROSSES)
    base.learn_lines(lines(50, 5)), model.learn_lines(lines(50, 5))
    learner, build = base._learner, mixing.build()
    shared = to_bytes({"scalars": learner.scalars(), "totals": asdict(learner.totals()), "options": base.options, "reads": READS,
                       "build": build}, learner.slots())
    task = json.dumps(shard).encode()
    first = train_shard(shared, task)
    assert type(first) is bytes and first == train_shard(bytes(bytearray(shared)), task)
    text = (tmp_path / "0.vw").read_bytes()[:shard["pieces"][0]["end"]]
    model.learn_lines(text)
    told, rows = of_bytes(first)
    assert told["run"]["examples"] == text.count(b"\n") and told["scalars"] == model._learner.scalars()
    after = {row[0]: tuple(row) for row in model._learner.slots().tolist()}
    unchanged = {row[0]: tuple(row) for row in learner.slots().tolist()}
    assert {row[0]: tuple(row) for row in rows.tolist()} == {key: row for key, row in after.items() if unchanged.get(key) != row}
    for name in build:
        other = to_bytes({**of_bytes(shared)[0], "build": {**build, name: "0"}}, learner.slots())
        with pytest.raises(ScaleError, match=f"^a worker has {name} .* where this process has 0: its weights need not be"):
            train_shard(other, task)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """A service's log: labels at once, later, before their features, or never; one event forgotten, one corrected."""
    path, rng, options = tmp_path_factory.mktemp("service"), random.Random(3), HingeSVM(**CROSSES).options
    (path / "options.json").write_text(json.dumps(options))
    log, pack, later = SqliteLog(path / "log.db", packing=packing(options)), Reader(options).record, []
    for number in range(500):
        x, y = {"u": f"u{number % 17}", "t": [f"t{rng.randrange(9)}"]}, 1 if number % 17 > 7 else -1
        parts = rng.choice([[{"x": x, "y": y}], [{"x": x}, {"y": y}], [{"y": y}, {"x": x}], [{"x": x}]])
        now, *rest = [{"id": f"e{number}", **part} for part in parts]
        later += rest
        if len(later) > 60:
            log.append([event(later.pop(rng.randrange(60)), pack=pack)])
        log.append([event(now, pack=pack if number % 3 else lambda x: b"")])
    for order in {"command": "forget", "id": "e3"}, {"command": "correct", "id": "e5", "y": 1}:
        log.command(json.dumps(order))
    log.close()
    return path


def test_ranges_of_a_log_are_learned_as_the_service_does(directory):
    log = SqliteLog(directory / "log.db", readonly=True)
    kinds, last = {row.kind for row in log.read(0, 10000)}, log.last()
    fold = Fold.replayed(log, HingeSVM(**CROSSES).options, last)
    log.close()
    assert kinds == {"x", "y", "xy", "command"} and min(fold.counts.late, fold.counts.early, fold.counts.forgotten) > 0
    for rounds in (1, 7):                                    # of one shard: nothing is averaged
        model, totals = mixing.learn(HingeSVM(**CROSSES), cut_log(str(directory), last, 1, rounds), LocalEngine(), None)
        assert model.parts() == fold.model.parts() and totals == fold.model.totals
    model, totals = mixing.learn(HingeSVM(**CROSSES), cut_log(str(directory), last, 4, 3), LocalEngine(), None)
    assert totals.examples == fold.counts.learned and dict(model.weights) != dict(fold.model.weights)


def test_a_log_with_a_gap_is_refused(directory, tmp_path):
    copy = tmp_path / "log.db"
    copy.write_bytes((directory / "log.db").read_bytes())
    log = SqliteLog(copy)
    log._db.execute("DELETE FROM events WHERE seq = 30")
    log.close()
    with pytest.raises(ScaleError, match="events are missing in the log after event"):
        mixing.learn(HingeSVM(**CROSSES), cut_log(str(tmp_path), 100, 2, 2), LocalEngine(), None)
