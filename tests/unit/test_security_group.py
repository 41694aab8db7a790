"""`inv cluster.security-group`: only the ports that this cluster needs, from as few addresses as possible (digest E4)."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from fabfile import inventory
from fabfile.errors import UsageError
from fabfile.tables.ports import ADMIN, CONTROL, WORKERS
from fabfile.tables.security_group import FORMATS, admins, openings, remarks, render
from making import environment

ME = admins("198.51.100.7")


def texts(opening: object) -> set[str]:
    return {str(network) for network in opening.sources}  # type: ignore[attr-defined]


def test_nodes_are_named_one_by_one() -> None:
    env = environment()
    api = next(o for o in openings(env, ()) if o.rule.first == 6443)
    assert api.target == CONTROL and texts(api) == {"10.2.0.11/32", "10.2.0.12/32"}
    kubelet = next(o for o in openings(env, ()) if o.rule.first == 10250)
    assert kubelet.target == WORKERS and texts(kubelet) == {"10.2.0.1/32"}


def test_many_nodes_are_covered_by_their_network() -> None:
    api = next(o for o in openings(environment(workers=20, node_cidr="10.2.0.0/24"), ()) if o.rule.first == 6443)
    assert texts(api) == {"10.2.0.0/24"}


def test_the_manuals_init_and_join_use_the_public_address() -> None:
    """M1, M2, J1: AWS therefore sees traffic from public addresses, including the control plane's own."""
    found = {o.rule.first: o for o in openings(environment(kubernetes="1.5"), ()) if o.target == CONTROL}
    assert {"192.0.2.1/32", "10.2.0.11/32"} <= texts(found[9898])
    assert texts(found[8472]) == {"10.2.0.11/32", "10.2.0.12/32"}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kubernetes", ["1.36.4", "1.5"])
def test_no_rule_admits_every_address(form: str, kubernetes: str) -> None:
    text = render(environment(kubernetes=kubernetes), form, ME)
    assert "0.0.0.0/0" not in text and "::/0" not in text
    assert "198.51.100.7/32" in text


@pytest.mark.parametrize("form", ["aws", "terraform"])
def test_without_admin_its_rules_are_left_out_and_this_is_reported(form: str) -> None:
    env = environment()
    assert all(o.rule.source != ADMIN for o in openings(env, ()))
    assert "left out, because --admin" in render(env, form, ())
    assert "TCP 22 (SSH)" in remarks(env, ())[0]


def test_without_admin_a_bastion_is_still_mentioned() -> None:
    env = environment()
    env = replace(env, workers=tuple(replace(worker, jump="ops@192.0.2.9") for worker in env.workers))
    assert all(o.rule.source != ADMIN for o in openings(env, ()))
    assert "SSH goes through ops@192.0.2.9" in remarks(env, ())[1]
    assert len(remarks(environment(), ())) == 1


def test_nftables_without_admin_would_lock_you_out() -> None:
    with pytest.raises(UsageError, match="your SSH too"):
        render(environment(), "nftables", ())


@pytest.mark.parametrize("form", FORMATS)
def test_ssh_comes_from_the_bastion_where_there_is_one(form: str) -> None:
    env = environment(2)
    behind = replace(env, workers=tuple(replace(n, jump="ops@198.51.100.9:2222") for n in env.workers))
    text = render(behind, form, admins("203.0.113.7/32"))
    assert "WARNING: SSH goes through ops@198.51.100.9:2222" in text
    ssh = [o for o in openings(behind, admins("203.0.113.7/32")) if o.rule.first == 22]
    assert {o.target: texts(o) for o in ssh} == {
        CONTROL: {"203.0.113.7/32"},
        WORKERS: {"203.0.113.7/32", "198.51.100.9/32"},
    }
    assert "198.51.100.9" in text.replace("ops@198.51.100.9", "")
    named = replace(env, workers=tuple(replace(n, jump="bastion.example") for n in env.workers))
    assert "SSH goes through bastion.example" in render(named, form, admins("203.0.113.7/32"))


def test_access_for_every_address_needs_a_request_and_gives_a_warning() -> None:
    assert "WARNING: 0.0.0.0/0 is everybody" in render(environment(), "aws", admins("0.0.0.0/0"))


@pytest.mark.parametrize("name", ["aws", "datacenter"])
def test_aws_commands_are_words_and_json(name: str) -> None:
    lines = [line for line in render(inventory.load(name), "aws", ME).splitlines() if line.startswith("aws ")]
    assert lines
    for line in lines:
        words = shlex.split(line)
        (permission,) = json.loads(words[-1])
        assert permission["FromPort"] <= permission["ToPort"]
        for one in permission["IpRanges"]:
            assert re.fullmatch(r"[a-zA-Z0-9 ._:/()#,@+=;-]+", one["Description"]), "AWS takes no other characters"


def test_terraform_names_are_unique() -> None:
    names = re.findall(
        r'^resource "aws_vpc_security_group_ingress_rule" "(\w+)"', render(inventory.load("aws"), "terraform", ME), re.M
    )
    assert names and len(names) == len(set(names))


def test_nftables_keeps_pods_replies_and_the_node_itself() -> None:
    text = render(environment(), "nftables", ME)
    assert text.count("{") == text.count("}")
    for needed in (
        "fib daddr type != local accept",
        "ct state established,related accept",
        '"cni0"',
        "ip saddr { 198.51.100.7/32 } tcp dport 22 accept",
    ):
        assert needed in text
    assert "flush" not in re.sub("#.*", "", text)


def test_wrong_arguments() -> None:
    with pytest.raises(UsageError, match="--format pf"):
        render(environment(), "pf", ME)
    with pytest.raises(UsageError, match="--admin"):
        admins("here")


def sets(text: str) -> list[str]:
    return re.split(r"^# --- .*\n", text, flags=re.M)[1:]


@pytest.mark.skipif(shutil.which("nft") is None, reason="no nft here")
@pytest.mark.parametrize("kubernetes", ["1.36.4", "1.5"])
def test_nft_itself_accepts_the_rules(kubernetes: str, tmp_path: Path) -> None:
    for number, text in enumerate(
        sets(render(environment(kubernetes=kubernetes), "nftables", admins("198.51.100.7,2001:db8::/48")))
    ):
        path = tmp_path / f"{number}.nft"
        path.write_text(text)
        done = subprocess.run(["nft", "-c", "-f", str(path)], capture_output=True, text=True, timeout=30)
        if "Operation not permitted" in done.stderr:
            pytest.skip("nft may not even check here")
        assert done.returncode == 0, done.stderr


@pytest.mark.skipif(shutil.which("terraform") is None, reason="no terraform here")
def test_terraform_itself_accepts_the_format(tmp_path: Path) -> None:
    path = tmp_path / "rules.tf"
    path.write_text(render(environment(), "terraform", ME))
    done = subprocess.run(
        ["terraform", "fmt", "-check", "-diff", str(path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
