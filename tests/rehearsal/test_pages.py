"""The pages show what really happens: the README's tour, typed line by line, and the failed run in docs/troubleshooting.md."""

from __future__ import annotations

import re
from pathlib import Path

from cli import PROJECT, Done, run


def _block(page: str, language: str, beginning: str) -> str:
    """The page's first fenced block that begins with this text."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", (PROJECT / page).read_text(encoding="utf-8"), re.M | re.S)
    return next(body for body in blocks if body.startswith(beginning))


def _typed(line: str, home: Path) -> Done:
    return run(*line.split(), HOME=str(home), XDG_STATE_HOME=str(home / "state"))


def test_the_tour_of_the_readme(tmp_path: Path) -> None:
    lines = _block("README.md", "console", "$ . .venv/bin/activate").splitlines()[1:]
    plan, fails, status, again, reset = (re.sub(r"\s+#.*", "", line).removeprefix("$ ") for line in lines)
    assert _typed(plan, tmp_path).returncode == 0
    failed = _typed(fails, tmp_path)
    assert failed.returncode == 1 and "✗ w2" in failed.stdout and f"\n  {again}\n" in failed.stdout
    half = _typed(status, tmp_path)
    assert half.returncode == 1 and "w2 join: to do" in half.stdout
    repaired = _typed(again, tmp_path)
    assert repaired.returncode == 0 and re.findall(r"^(\S+)\s+(\w+)\s+\d+ step", repaired.stdout, re.M) == [
        ("w2", "join")
    ]
    gone = _typed(reset, tmp_path)
    assert gone.returncode == 0 and "cp1, w1, w2 clean" in gone.stdout


def test_the_failed_run_of_the_page_equals_the_output(tmp_path: Path) -> None:
    """In the page, … replaces the rest of a line, or some lines."""
    shown = _block("docs/troubleshooting.md", "text", "✗ w2")
    done = _typed("inv cluster.bootstrap --fault w2:flannel-missing", tmp_path)
    assert done.returncode == 1
    pattern = ".*?".join(map(re.escape, shown.strip().split("…")))
    assert re.search(pattern, done.stdout, re.S), done.stdout
    assert _typed("inv rehearsal.down", tmp_path).returncode == 0
