"""Quoting in hosts.env: where dotenv may have cut or changed a value, one sentence says so; what the docs say survives."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile.errors import UsageError
from fabfile.inventory import load
from fabfile.inventory.find import NAME
from fabfile.inventory.quoting import single

NODES = "A_CONTROL_PLANE=192.0.2.1\nA_REGISTRY=r.example\nA_REGISTRY_USER=me\n"


def remarks(folder: Path, line: str) -> tuple[str, ...]:
    (folder / NAME).write_text(f"{NODES}{line}\n")
    (folder / NAME).chmod(0o600)
    return load("a", hosts_file=folder / NAME, variables={}).remarks


WHOLE = "(write \\' for ' and \\\\ for \\ in it)"
SAID = [
    ("A_REGISTRY_PASSWORD=pass word #1", f"ends before #, which begins a comment. If # belongs to the value: write A_REGISTRY_PASSWORD='…' {WHOLE}"),
    ("A_REGISTRY_PASSWORD= #pass", "ends before #"),
    ('A_REGISTRY_PASSWORD="ab\\ncd"', "has \\n between double quotes, which is a control character"),
    ("A_REGISTRY_PASSWORD='ab\\\\cd'", "has two backslashes between single quotes, which are one"),
    ("A_REGISTRY_PASSWORD=pa$word", "has $word, which is taken as it is and not replaced"),
    ("A_SSH_USER=${USER}", "has ${USER}, which is taken as it is and not replaced. If that is meant: write A_SSH_USER='${USER}'"),
    ('A_SSH_JUMP="x${X}@h"', None),
    ('A_WORKER_1="192.0.2.2 user=$USER"', "write A_WORKER_1='192.0.2.2 user=$USER'"),
]  # fmt: skip
FINE = [
    "A_REGISTRY_PASSWORD=pass#word", "A_REGISTRY_PASSWORD='pass word #1'", "A_REGISTRY_PASSWORD='pa$word${X}'", 'A_REGISTRY_PASSWORD="aa\\"bb" # why',
    "A_FORKS=3 # a number", "A_SSH_USER=ops # who", "A_POD_CIDR=10.44.0.0/16 #pods", "A_KUBELET_CONFIG={\"maxPods\": 50} # more", "A_PACKAGES_URL=https://m.example/x # mirror",
    "A_WORKER_1=192.0.2.2 # the big one", "A_KUBELET_CONFIG=\"{\\\"maxPods\\\": 50}\"", "A_REGISTRY_PASSWORD=a'b\"c",
]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "said"), [pair for pair in SAID if pair[1]], ids=[line for line, said in SAID if said]
)
def test_a_value_that_may_have_been_cut_or_changed_is_named_with_its_line(tmp_path: Path, line: str, said: str) -> None:
    found = [remark for remark in remarks(tmp_path, line) if said in remark]
    assert len(found) == 1 and f"hosts.env:4: {line.split('=')[0]} " in found[0]
    assert "word" not in found[0] or "PASSWORD" not in line or "$word" in said, "a password is not shown"


@pytest.mark.parametrize("line", FINE)
def test_a_value_that_cannot_have_been_meant_otherwise_gets_no_remark(tmp_path: Path, line: str) -> None:
    assert remarks(tmp_path, line) == ()


WRONG = [
    ('A_KUBELET_CONFIG={"a": "b #c"}', "write A_KUBELET_CONFIG='{\"a\": \"b #c\"}'"),
    ('A_KUBELET_CONFIG="{"a": 1}"', "is not KEY=value"),
    ("A_SSH_KEY=$HOME/key", "has $HOME, which is taken as it is"),
    ("A_SSH_USER: bob", "write A_SSH_USER=…"),
    ("A_RETENTION='1d\nA_FORKS=3\nA_SSH_USER='", "A_RETENTION is not closed in its line: its quotes end behind A_FORKS= below"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "said"), WRONG, ids=[line for line, _ in WRONG])
def test_a_value_that_is_wrong_because_of_its_quoting_says_so(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        remarks(tmp_path, line)
    assert said in caught.value.message and "hosts.env:4: " in caught.value.message


# what hosts.env cannot hold: a NUL, a carriage return, which is read as a line's end, and halves of characters
TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\r\0"), min_size=4, max_size=30)


@given(TEXT)
def test_a_value_in_single_quotes_survives_as_the_docs_say(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.mktemp("quoting")
    (folder / NAME).write_text(
        f"{NODES}A_REGISTRY_PASSWORD={single(text)} # why\nA_FORKS=3\n", encoding="utf-8", newline=""
    )
    try:
        found = load("a", hosts_file=folder / NAME, variables={}).settings
    except UsageError as error:
        assert "is not closed in its line" in error.message and "=" in text and "\n" in text
        return
    assert (found.registry_password.reveal(), found.forks) == (text, 3)
