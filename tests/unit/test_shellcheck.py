"""`make lint` checks every script that a node gets, and reports the faults."""

from __future__ import annotations

import pytest

from tools.shellcheck import HEADING, OPEN, SENT, check, sent


def test_every_script_in_the_golden_files_is_checked_once() -> None:
    """All their lines are checked, although lines that another OS family has too are left out."""
    texts = list(sent().values())
    assert len(texts) == len(set(texts)) > 50
    checked = {line for text in texts for line in text.split("\n")}
    for path in SENT.glob("*.sh"):
        lines = [line for line in path.read_text().split("\n") if not line.startswith(HEADING)]
        assert not {OPEN.sub("later", line) for line in lines} - checked, path


@pytest.mark.parametrize(
    ("fault", "code"),
    [('rm -rf "$HOME', "SC1078"), ("left=over", "SC2034"), ('for f in $(ls); do echo "$f"; done', "SC2045")],
)  # fmt: skip
def test_a_planted_fault_is_found(fault: str, code: str) -> None:
    name, text = next((name, text) for name, text in sent().items() if "prep.swap" in name)
    done = check({name: text.replace("#--8<-- end\n", f"{fault}\n#--8<-- end\n")})
    assert done.returncode == 1 and code in done.stdout, done.stdout
    assert name in done.stdout


def test_a_correct_script_has_no_fault() -> None:
    assert check(dict(list(sent().items())[:1])).returncode == 0
