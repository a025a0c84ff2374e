"""The progress bar: a bar where there is a terminal, lines where there is none, and the items untouched."""
import io
import re

import pytest

from tinygrad_lite.progress import progress


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


def test_lines_without_a_terminal():
    file, seen = io.StringIO(), []
    for x in progress(range(250), "reading", note=lambda: f"at {seen[-1]}", lines=5, file=file):
        seen.append(x)
    assert seen == list(range(250))
    lines = file.getvalue().splitlines()
    assert [re.match(r"reading +(\d+)/250 +(\d+) %  at (\d+)  .* to go, .*/s$", line).groups() for line in lines] == [
        (str(n), str(n * 2 // 5), str(n - 1)) for n in (50, 100, 150, 200, 250)]


@pytest.mark.parametrize("total", [1, 3, 9])
def test_short_loops_end_with_a_whole_line(total):
    file = io.StringIO()
    list(progress(range(total), "x", file=file))
    lines = file.getvalue().splitlines()
    assert len(lines) == total and "100 %" in lines[-1]


def test_a_generator_needs_its_total_and_may_be_empty():
    file = io.StringIO()
    assert list(progress((x for x in "abc"), total=3, file=file)) == ["a", "b", "c"]
    assert list(progress([], "nothing", file=file)) == []
    with pytest.raises(TypeError):
        list(progress(x for x in "abc"))


def test_bar_on_a_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "70")
    file = Terminal()
    list(progress(range(4), "training", note=lambda: "loss 0.5", file=file))
    last = file.getvalue().rstrip("\n").split("\r")[-1]
    assert file.getvalue().endswith("\n") and len(last) == 69           # never wraps
    assert last.startswith("training " + "█" * 20 + " 100 %  loss 0.5 ")


def test_bar_in_ascii(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    file = Terminal()
    file.encoding = "ascii"
    list(progress(range(2), "training", file=file))
    assert "#" * 20 in file.getvalue() and file.getvalue().isascii()


def test_an_error_begins_on_a_new_line():
    file = Terminal()
    with pytest.raises(ZeroDivisionError):
        for _ in progress(range(3), file=file):
            1 / 0
    assert file.getvalue().endswith("\n")
