"""The values that phases yield."""

from __future__ import annotations

import hashlib

import pytest

from fabfile.inventory.settings import Settings
from fabfile.recipes.flannel import Expected, interface_wait
from fabfile.steps import File, Remedy, Step, Stop, Wait
from making import links, settings

EXPECTED = Expected(("flannel.1", "cni0"), settings().pod_cidr)


@pytest.mark.parametrize("action", [Step("a.b", "t"), Wait("a.b", "t", "p", lambda s: None, 1), Stop("a.b", "r", "f")])
def test_an_actions_id_starts_with_its_phase(action: Step | Wait | Stop) -> None:
    assert action.phase == "a"


def test_a_files_digest_equals_sha256sums() -> None:
    assert File("/x", "í\n").sha256 == hashlib.sha256("í\n".encode()).hexdigest()


def test_values_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Step("a.b", "t").title = "u"  # type: ignore[misc]


SEEN = [
    (links("flannel.1", "cni0"), None),
    (links("flannel.1"), "no cni0"),
    (links(), "no flannel.1; no cni0"),
    (
        links("flannel.1", "cni0", inside="10.99.1"),
        "flannel.1 has 10.99.1.0, not in 10.44.0.0/16; cni0 has 10.99.1.1, not in 10.44.0.0/16",
    ),
]


@pytest.mark.parametrize(("seen", "fault"), SEEN)
def test_interfaces_are_right_missing_or_outside_the_range(seen: dict, fault: str | None) -> None:
    assert EXPECTED.missing(seen) == fault


@pytest.mark.parametrize(
    ("output", "fault"),
    [
        (
            '[{"ifname": "flannel.1", "addr_info": [{"family": "inet6", "local": "fe80::1", "prefixlen": 64}]}]',
            "flannel.1 has no address, not in 10.44.0.0/16; no cni0",
        ),
        ("[]", "no flannel.1; no cni0"),
        ("", "no flannel.1; no cni0"),
        ("bash: ip: command not found", "bash: ip: command not found"),
    ],
)
def test_any_output_of_the_probe_is_parsed(output: str, fault: str) -> None:
    assert EXPECTED.until(output) == fault


@pytest.mark.parametrize(
    ("pods", "fault"),
    [
        ("", None),
        ("true kube-proxy-x\ntrue kube-flannel-ds-x\n", None),
        (" coredns-x\ntrue kube-proxy-x\n", "no cni0"),
        ("The connection to the server was refused\n", None),
    ],
)
def test_cni0_is_required_only_where_a_pod_creates_it(pods: str, fault: str | None) -> None:
    """Pods in the host's network do not create cni0; a control plane without workers may have no other pods."""
    flannel = '[{"ifname": "flannel.1", "addr_info": [{"family": "inet", "local": "10.44.0.0", "prefixlen": 32}]}]'
    expected = Expected(("flannel.1", "cni0"), settings().pod_cidr, pods_of="cp1")
    assert "spec.nodeName=cp1" in expected.probe
    assert expected.until(f"{flannel}\n{pods}") == fault


def test_the_interfaces_remedies_follow_the_manual_in_order() -> None:
    wait = interface_wait(
        "join.flannel", EXPECTED, settings=Settings(), hostname="w1", renew="`fab -H w1 reset --env aws`"
    )
    assert [(r.after, r.on) for r in wait.remedies] == [(60, ""), (60, "control-plane")]
    assert wait.remedies[0].commands == ("systemctl restart kubelet",)
    assert all("spec.nodeName=w1" in line for line in wait.remedies[1].commands)
    assert "fab -H w1 reset --env aws" in wait.hint
    assert "8472" in wait.hint
    assert isinstance(wait.remedies[0], Remedy)
