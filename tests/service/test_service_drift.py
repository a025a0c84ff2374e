"""What is done about drift: a challenger that begins at a mark, takes over when it proves better, and does so again in a replay."""
import itertools
import json
import random

import numpy as np
import pytest

from linear import HingeSVM
from linear.service.challenger import BLOCK, CONTEST, RAISE, SWAP, Challenger
from linear.service.events import Invalid, event
from linear.service.fold import Fold
from linear.service.handlers import checked_order
from linear.service.log import SqliteLog
from linear.service.store import StateStore

OPTIONS = {"crosses": "user*tag"}
POLICY = json.dumps({"command": "policy", "drift": "challenger"})


def drifting(count, seed=0):
    """Events whose labels turn round in the middle."""
    rng = random.Random(seed)
    for i in range(count):
        user, tag = rng.randrange(8), rng.randrange(8)
        y = 1 if (user * tag % 3 == 0) == (i < count // 2) else -1
        yield event({"id": f"{seed}-{i}", "x": {"user": f"u{user}", "tag": f"t{tag}"}, "y": y if rng.random() < 0.95 else -y})


@pytest.fixture
def log(tmp_path):
    log = SqliteLog(tmp_path / "log.db")
    log.command(POLICY)
    log.append(list(drifting(4000)))
    yield log
    log.close()


def test_a_challenger_takes_over_and_is_better(log, tmp_path):
    fold = Fold.replayed(log, OPTIONS, log.last())
    swaps = [seq for seq, name in fold.marks if name == SWAP]
    began = [seq for seq, name in fold.marks if name != SWAP and seq > 2000]
    assert any(2000 < seq < 3000 for seq in swaps) and began[0] < min(seq for seq in swaps if seq > 2000)
    assert fold.model.options["lr"] == pytest.approx(HingeSVM().options["lr"] * RAISE ** len(swaps))
    assert fold.options["lr"] == HingeSVM().options["lr"]
    plain = SqliteLog(tmp_path / "plain.db")
    plain.append(list(drifting(4000)))
    alert = Fold.replayed(plain, OPTIONS, plain.last())
    plain.close()
    assert fold.recent_error < 0.08 < 0.12 < alert.recent_error and fold.model.totals.zero_one < alert.model.totals.zero_one - 0.05
    assert fold.model.totals.examples == fold.counts.learned == 4000 == alert.counts.learned


def by_hand(events):
    """The same policy in a dozen plain lines, on models that know nothing of a log; the detectors are the fold's."""
    champion, detectors, rival, swaps, marked = HingeSVM(**OPTIONS), Fold(OPTIONS), None, [], False
    for place, item in enumerate(events, 2):
        x = json.loads(item.x)
        if place % BLOCK == 0:
            lead, told = (sum(rival[1]), sum(map(abs, rival[1]))) if rival else (0, 0)
            if lead > 3 * told ** 0.5:
                champion, rival = rival[0], None
                swaps.append(place)
            elif rival and len(rival[1]) >= CONTEST:
                rival = None
            elif marked and not rival:
                header, arrays = champion.parts()
                rival = HingeSVM.of_parts({**header, "options": {**header["options"], "lr": RAISE * header["options"]["lr"]}}, arrays), []
            marked = False
        margin, its = champion.margin_one(x), rival and rival[0].margin_one(x)
        mistake = (margin > 0) != (item.y > 0)
        champion.learn_one(x, item.y)
        marked |= detectors.adwin.update([mistake])[0] | detectors.hinkley.update([max(0.0, 1.0 - item.y * margin)])[0]
        if rival:
            rival[0].learn_one(x, item.y)
            rival[1].append(int(mistake) - int((its > 0) != (item.y > 0)))
    return champion, swaps


def test_it_is_what_the_plain_form_does(log):
    fold = Fold.replayed(log, OPTIONS, log.last())
    champion, swaps = by_hand(drifting(4000))
    assert [seq for seq, name in fold.marks if name == SWAP] == swaps and len(swaps) >= 1
    assert dict(fold.model.weights) == dict(champion.weights)


@pytest.mark.parametrize("rule", ["adagrad", "sgd", "nag"])
def test_replay_decides_the_same(log, tmp_path, rule):
    """Whatever the batches, and through a state file at any moment: before, in and after a contest."""
    options, store = {**OPTIONS, "rule": rule}, StateStore(tmp_path / "state")
    whole = Fold.replayed(log, options, log.last())
    assert Fold.replayed(log, options, log.last(), batch=97).digest() == whole.digest()
    contests, fold = [], Fold(options)
    for stop in itertools.count(250, 250):
        while fold.position < min(stop, log.last()):
            fold.advance(log, min(50, min(stop, log.last()) - fold.position))
        contests.append(fold.challenger is not None)
        store.commit(fold, log.id)
        fold = store.load(log.id)
        if fold.position == log.last():
            break
    assert fold.digest() == whole.digest() and any(contests) and not all(contests)


def test_the_digest_covers_the_challenger(log):
    fold = Fold.replayed(log, OPTIONS, log.last())
    while fold.challenger is None:
        fold = Fold.replayed(log, OPTIONS, fold.position - 50)
    digests = {fold.digest()}
    right, wrong = np.zeros(1, bool), np.ones(1, bool)
    for change in (lambda f: f.challenger.judge(wrong, right), lambda f: f.challenger.judge(wrong, wrong),
                   lambda f: f.challenger.model.learn_one({"user": "new"}, 1), lambda f: setattr(f, "challenger", None),
                   lambda f: setattr(f, "policy", "alert"), lambda f: setattr(f, "marked", not f.marked)):
        twin = fold.copy()
        change(twin)
        digests.add(twin.digest())
    assert len(digests) == 7 and fold.digest() in digests


def test_commands_end_a_contest(log):
    fold = Fold.replayed(log, OPTIONS, 1900)
    while fold.challenger is None:
        fold.advance(log, 1)
    for order in ({"command": "policy", "drift": "alert"}, {"command": "reset"}, {"command": "rate", "lr": 0.5}):
        twin = fold.copy()
        twin._command(order)
        assert twin.challenger is None and fold.challenger is not None


def test_a_contest_without_a_winner_ends():
    challenger = Challenger.to(HingeSVM(), 7)
    turns = np.arange(CONTEST) % 2 == 0
    for part in np.split(turns, 10):
        assert not challenger.won and not challenger.over
        challenger.judge(part, ~part)
    assert challenger.over and not challenger.won and challenger.better == challenger.worse == CONTEST // 2
    worse = Challenger.to(HingeSVM(), 7)
    worse.judge(turns & ~turns, turns | ~turns)
    assert not worse.won


def test_the_order_is_checked():
    options = HingeSVM().options
    for drift in ("challenger", "alert"):
        assert checked_order({"command": "policy", "drift": drift}, options) == {"command": "policy", "drift": drift}
    for drift, options, words in (("panic", options, "alert, challenger"), (7, options, "alert"), ([], options, "alert"),
                                  ("challenger", HingeSVM(rule="pa").options, "rule pa has no learning rate")):
        with pytest.raises(Invalid, match=words) as found:
            checked_order({"command": "policy", "drift": drift}, options)
        assert found.value.field == "drift"
