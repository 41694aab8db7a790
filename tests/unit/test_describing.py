"""The commands that describe and connect to no node: info, sizing, security-group, as a person types them."""

from __future__ import annotations

import json

import pytest

from cli import Done, run


def inv(*words: str) -> Done:
    return run("inv", *words)


def data(*words: str) -> dict[str, object]:
    done = inv(*words, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def test_info() -> None:
    assert data("cluster.info", "--env", "aws")["API server"]["value"] == "https://13.124.31.81:6443"  # type: ignore[index]
    assert "5fcddc13c9193dd1" not in inv("cluster.info", "--env", "aws", "--recipe", "1.5").stdout
    assert (
        "Authorization: Bearer 5fcddc13c9193dd1"
        in inv("cluster.info", "--env", "aws", "--recipe", "1.5", "--reveal").stdout
    )


def test_manual() -> None:
    shown = inv("cluster.manual", "--env", "aws")
    assert "M1  timeout 300 kubeadm init --token=[secret] --api-advertise-addresses=13.124.31.81" in shown.stdout
    assert "--token=b00af9.5fcddc13c9193dd1" in inv("cluster.manual", "--env", "aws", "--reveal").stdout
    lines = json.loads(inv("cluster.manual", "--env", "datacenter", "--json").stdout)
    assert {"id": "I3", "manual": "apt-get update", "in_words": False, "kubefab": "apt-get update"} in lines
    assert "07c414" not in str(lines)


def test_sizing() -> None:
    found = data("cluster.sizing", "--env", "aws", "--nodes", "5")
    assert found["nodes"] == 5 and found["dated"] == "2026-11"
    assert "4 workers" in inv("cluster.sizing", "--env", "aws").stdout, "without --nodes, the environment's"


def test_security_group() -> None:
    found = data("cluster.security-group", "--env", "aws")
    assert {rule["first"] for rule in found["rules"]} == {6443, 10250, 8472}  # type: ignore[attr-defined,index]
    assert (
        inv("cluster.security-group", "--env", "aws", "--format", "terraform", "--admin", "198.51.100.7").returncode
        == 0
    )


@pytest.mark.parametrize(
    "words",
    [
        ("cluster.security-group", "--format", "pf"), ("cluster.security-group", "--format", "nftables"), ("cluster.security-group", "--admin", "me"),
        ("cluster.sizing", "--nodes", "-3"), ("cluster.info", "--kubernetes", "latest"), ("cluster.info", "--env", "moon"),
    ],
)  # fmt: skip
def test_a_wrong_command_line_exits_2_and_says_what_to_do(words: tuple[str, ...]) -> None:
    done = inv(*words)
    assert done.returncode == 2
    assert "→" in done.stderr or "known:" in done.stderr
