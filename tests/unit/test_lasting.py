"""Settings that cannot change on a living cluster: every phase refuses each, alone and together; unknown values are not refused."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabfile import phases
from fabfile.inventory import Environment
from fabfile.lasting import ADDRESS, STOP, changes, lives, remedy, sentence
from fabfile.nodes.facts import Made, NodeFacts
from fabfile.nodes.observe import parse_made
from fabfile.phases import BOOTSTRAP, RESET, for_release
from fabfile.steps import Stop
from making import ALL_STAMPED, api_node, context, control_plane, environment, identity, member

LINES = (
    "--advertise-address=10.2.0.1", "--secure-port=6443", "--service-cluster-ip-range=10.96.0.0/12", "--cluster-cidr=10.44.0.0/16",
    "--service-cluster-ip-range=10.96.0.0/12", "--cluster-domain=cluster.local",
)  # fmt: skip
MADE = parse_made(LINES)
OTHERS = {
    "POD_CIDR": ("10.55.0.0/16", "10.44.0.0/16"),
    "SERVICE_CIDR": ("10.112.0.0/12", "10.96.0.0/12"),
    "DNS_DOMAIN": ("corp.local", "cluster.local"),
    "API_PORT": ("443", "6443"),
}


def living(env: Environment, **changed: object) -> NodeFacts:
    facts = control_plane(env, members=("cp1", "w1"), stamped=ALL_STAMPED, made=MADE)
    return replace(facts, **changed)  # type: ignore[arg-type]


def test_the_control_planes_lasting_settings_are_validated() -> None:
    assert (
        Made(
            (ipaddress.ip_network("10.44.0.0/16"),),
            (ipaddress.ip_network("10.96.0.0/12"),),
            "cluster.local",
            6443,
            ipaddress.ip_address("10.2.0.1"),
        )
        == MADE
    )
    two = parse_made(["--cluster-cidr=10.44.0.0/16,fd00::/48"])
    assert len(two.pod_cidrs) == 2
    wrong = (
        "--cluster-cidr=$(reboot)",
        "--secure-port=x",
        "--advertise-address=;id",
        "--cluster-domain=a b",
        "--service-cluster-ip-range=10.96.0.0/12,x",
    )
    assert parse_made(wrong) == Made()


@pytest.mark.parametrize("key", OTHERS)
def test_a_setting_that_cannot_change_is_named_with_both_values(key: str) -> None:
    says, made = OTHERS[key]
    env = environment(**{key.lower(): says})
    (change,) = changes(env, living(env))
    assert (change.key, change.made, change.says) == (key, made, says)
    words, way = sentence((change,)), remedy(env, (change,))
    assert made in words and says in words
    assert way.startswith(f"set {key}={made} again") and "`inv cluster.reset --env test`, which loses everything" in way


def test_the_control_planes_address_cannot_change_either() -> None:
    env = environment()
    moved = living(env, made=replace(MADE, address=ipaddress.ip_address("10.2.0.99")))
    (change,) = changes(env, moved)
    assert (change.key, change.made, change.says) == (ADDRESS, "10.2.0.99", "10.2.0.1")
    assert "private=10.2.0.99" in remedy(env, (change,))


def test_without_files_pod_cidr_is_checked_by_the_nodes_ranges() -> None:
    env = environment(pod_cidr="10.55.0.0/16")
    nodes = ({**api_node("cp1"), "spec": {"podCIDR": "10.44.0.0/24"}},)
    (change,) = changes(env, living(env, made=Made(), nodes=nodes))
    assert change.key == "POD_CIDR" and "node cp1 has 10.44.0.0/24" in sentence((change,))
    assert changes(environment(), living(environment(), made=Made(), nodes=nodes)) == ()


@settings(deadline=None, max_examples=40)
@given(st.fixed_dictionaries({key: st.booleans() for key in OTHERS}), st.booleans(), st.booleans())
def test_every_phase_refuses_exactly_while_a_lasting_setting_differs(
    changed: dict[str, bool], known: bool, up: bool
) -> None:
    env = environment(**{key.lower(): OTHERS[key][0] for key, other in changed.items() if other})
    control = living(env, made=MADE if known else Made(), api_ready=up)
    refused = known and any(changed.values())
    for phase in BOOTSTRAP:
        for node, facts in (("cp1", control), ("w1", member(env))):
            if next(n for n in env.nodes if n.name == node).role in phase.roles:
                actions = list(phase.run(context(env, facts, node=node, control=control)))
                stopped = [a for a in actions if isinstance(a, Stop) and a.id == STOP]
                assert bool(stopped) is refused
                assert not refused or actions == stopped
    assert not any(isinstance(a, Stop) for a in RESET.run(context(env, control)))


def test_an_unfinished_init_may_use_other_values() -> None:
    env = environment(pod_cidr="10.55.0.0/16")
    marks = frozenset({"init-started"})
    half = living(env, undo=marks, nodes=(api_node("cp1"),))
    assert not lives(half) and changes(env, half) == ()
    assert changes(env, living(env, undo=marks)), "with workers it counts as a cluster"
    assert changes(env, replace(half, undo=frozenset(), api_ready=False)) == ()


def test_the_manuals_recipe_refuses_another_pod_cidr_too() -> None:
    env = environment(pod_cidr="10.55.0.0/16", kubernetes="1.5", token="abcdef.0123456789abcdef")
    control = NodeFacts(
        os_id="ubuntu",
        os_version="16.04",
        hostname="cp1",
        api_ready=True,
        identity=identity(env, "cp1", uid=""),
        nodes=({**api_node("cp1"), "spec": {"podCIDR": "10.44.0.0/24"}},),
    )
    for phase in for_release(env, [phases.NETWORK]):
        (stop,) = phase.run(context(env, control))
        assert isinstance(stop, Stop) and stop.id == STOP
