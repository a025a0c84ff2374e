"""The short form of the kill suite; `python -m tests.chaos` is the long one."""
import json
import os
import sys

import pytest

from tests.brokers import MISSING, REDIS

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the kill suite needs fork, so a POSIX system")
if hasattr(os, "fork"):
    from tests.chaos import broker, disk, faults, kills, malformed, power, slow
    from tests.chaos.__main__ import main
    from tests.chaos.nursery import Nursery

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: prlimit and /proc")
redis = pytest.mark.skipif(not REDIS, reason=MISSING)


@pytest.fixture(scope="module")
def nursery():
    with Nursery() as nursery:
        yield nursery


@linux
def test_a_kill_at_each_place_and_at_random_loses_nothing(nursery, tmp_path):
    plan = [*kills.UNDER_LOAD, *["random", "torn"] * 5]
    figures = kills.campaign(nursery, tmp_path, plan)
    assert figures["kills"] == len(plan) and figures["kills after the first commit"] > len(plan) // 2
    assert figures["distinct positions resumed from"] > 5 and figures["stored"] > 1000


@pytest.mark.parametrize("fault, words", [("acknowledges in hope", "[1-9][0-9]* acknowledged events are lost"),
                                          ("one event behind", "not what an uninterrupted run has"),
                                          ("detector forgotten", "not what an uninterrupted run has")])
def test_a_broken_promise_is_found(nursery, tmp_path, fault, words):
    with pytest.raises(AssertionError, match=words):
        kills.campaign(nursery, tmp_path, ["state.old_removed"] * 3, fault=fault)


def test_a_first_start_may_be_killed_and_the_report_says_so(tmp_path, capsys):
    assert main(["--only", "first starts", "--first-starts", "1", "--report", str(tmp_path / "report.md")]) == 0
    report = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert report in capsys.readouterr().out and all(f"| kills at {place} | 1 |" in report for place in kills.AT_START)


def test_a_failure_is_told(monkeypatch, capsys):
    monkeypatch.setattr(faults, "clock_steps", lambda *_: 1 / 0)
    faults.clock_steps.__doc__ = "Promise."
    assert main(["--only", "clock", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {"clock": {"FAILED": "ZeroDivisionError: division by zero"}}


def test_damaged_states_are_not_loaded(tmp_path):
    figures = kills.damaged(tmp_path, 600)
    assert figures["loaded"] == 0 and figures["damaged files"] > 550


@linux
def test_a_power_loss_leaves_the_state_before_or_the_new_one(tmp_path):
    assert power.power_loss(tmp_path / "power")["disks after a power loss"] > 200


@linux
def test_the_model_of_power_loss_misses_a_flush_that_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr("linear.model_file.sync_directory", lambda path: None)
    with pytest.raises(AssertionError, match="was committed"):
        power.power_loss(tmp_path / "power")


@linux
def test_a_full_disk_costs_nothing_that_was_acknowledged(nursery, tmp_path):
    assert disk.full_disk(nursery, tmp_path, 24)["requests refused with 503"] > 5


@linux
def test_a_full_file_system(nursery, tmp_path):
    figures = disk.full_file_system(nursery, tmp_path / "small", 6)
    assert "not run" in figures or figures["requests refused with 503"] > 1        # the size limit above stands for it


def test_one_of_two_writers_wins(nursery, tmp_path):
    assert faults.two_writers(nursery, tmp_path / "races", 12)["races with one winner"] == 12


def test_the_clock_does_not_matter(nursery, tmp_path):
    assert faults.clock_steps(nursery, tmp_path)["events"] > 300


@pytest.mark.parametrize("fault, words", [("learner dies", "injected"), ("weights turn NaN", "not finite")])
def test_a_learner_that_fails_ends_the_process(nursery, tmp_path, fault, words):
    assert faults.dead_learner(nursery, tmp_path, fault, words)["acknowledged"] > 500


def test_a_failing_flush_is_no_commit(nursery, tmp_path):
    assert faults.failing_flush(nursery, tmp_path)["events learned meanwhile"] > 100


def test_it_does_not_start_from_states_that_are_all_damaged(nursery, tmp_path):
    assert faults.all_damaged(nursery, tmp_path)["stored"] > 300


@linux
def test_malformed_requests_change_nothing(nursery, tmp_path):
    assert malformed.malformed(nursery, tmp_path, 1500)["state"] == "unchanged"


@linux
def test_slow_clients_cost_others_nothing(nursery, tmp_path):
    assert slow.slow(nursery, tmp_path, 1.5, 20)["slow bodies given up with 408"] == 20


@redis
def test_restarts_of_the_broker_lose_nothing(nursery, tmp_path):
    figures = broker.restarts(nursery, tmp_path, 5, 2)
    assert figures["kills of the broker"] == 5 and figures["with the learner killed, too"] == 2 and figures["stored"] > 400


@redis
def test_a_promise_broken_at_a_broker_is_found(nursery, tmp_path):
    with pytest.raises(AssertionError, match="[1-9][0-9]* acknowledged events are lost"):
        broker.restarts(nursery, tmp_path, 1, 0, fault="acknowledges in hope")


@redis
def test_a_broker_that_has_lost_events_is_not_gone_on_with(nursery, tmp_path):
    assert broker.lost_end(nursery, tmp_path)["stored"] > 500
