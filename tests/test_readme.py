"""README keeps its word: the two set-up lines stand first, every snippet runs, every status row is whole.

In README a ```python block runs by itself in a new namespace (as a doctest where it has ``>>>``); a ```bash block runs line
by line from the top of the checkout, a ```console block likewise with its ``$`` lines. Lines that begin with
``python -m pip install`` set an environment up: CI runs them, the suite does not. What should not run stands in ```text.
"""
import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SET_UP = "python -m pip install"
RUN, SHOWN = {"python", "bash", "console"}, {"text", "json", "ini"}


def blocks():
    """(language, line number of its first line, text) of every fenced block."""
    language, found = None, []
    for number, line in enumerate(README.splitlines(), 1):
        fence = re.match(r"\s*```(.*)", line)
        if fence and language is None:
            language, start, lines = fence[1].strip(), number + 1, []
        elif fence:
            found.append((language, start, "\n".join(lines) + "\n"))
            language = None
        elif language is not None:
            lines.append(line)
    assert language is None, f"README.md: the block that begins at line {start - 1} never ends"
    return found


def commands(language, text):
    lines = text.replace("\\\n", " ").splitlines()
    if language == "console":
        lines = [line[2:] for line in lines if line.startswith("$ ")]
    return [line for line in lines if line.strip() and not line.startswith(("#", SET_UP))]


SNIPPETS = [block for block in blocks() if block[0] == "python" or block[0] in RUN and commands(block[0], block[2])]


def test_the_set_up_is_two_lines():
    lines = [line for line in README.splitlines() if line.startswith(SET_UP)]
    assert lines[:2] == [f'{SET_UP} ".[examples]" && python examples/quickstart.py', f'{SET_UP} ".[test]" && python -m pytest']


def test_every_block_says_what_it_is():
    for language, line, _ in blocks():
        assert language in RUN | SHOWN, f"README.md:{line}: {language!r} is none of {sorted(RUN | SHOWN)}"


@pytest.mark.parametrize("language, line, text", SNIPPETS, ids=[f"line{line}-{language}" for language, line, _ in SNIPPETS])
def test_snippet(language, line, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in ROOT.iterdir():
        if not path.name.startswith("."):
            (tmp_path / path.name).symlink_to(path)          # what a snippet writes stays out of the checkout
    if language == "python" and ">>>" in text:
        run_doctest(line, text)
    elif language == "python":
        exec(compile("\n" * (line - 1) + text, "README.md", "exec"), {"__name__": "__readme__"})
    else:
        for command in commands(language, text):
            run_command(line, command)


def run_doctest(line, text):
    examples = doctest.DocTestParser().get_doctest(text, {}, f"README.md:{line}", "README.md", line - 1)
    report = []
    doctest.DocTestRunner(verbose=False).run(examples, out=report.append)
    assert not report, "".join(report)


def run_command(line, command):
    assert "pytest" not in command, f"README.md:{line}: the suite cannot run itself ({command}); show it in a ```text block"
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    run = subprocess.run(["bash", "-e", "-o", "pipefail", "-c", command], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                         env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}, timeout=300)
    assert run.returncode == 0, f"README.md:{line}: {command}\n{run.stdout[-2000:]}\n{run.stderr[-2000:]}"


def test_status_table():
    head = re.search(r"^\| feature \| state \| command \|\n\|[-:| ]+\|\n((?:\|.*\|\n)+)", README, re.MULTILINE)
    assert head, "README.md has no table | feature | state | command |"
    for row in head[1].splitlines():
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert len(cells) == 3 and all(cells), f"README.md: this row has not three filled cells: {row}"
        for script in re.findall(r"(?:examples|tests)/[\w/]+\.py", cells[2]):
            assert (ROOT / script).is_file(), f"README.md: {script} does not exist: {row}"
