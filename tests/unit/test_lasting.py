"""Settings that cannot change on a living cluster: every phase refuses each, alone and together; unknown values are not refused."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabfile import phases
from fabfile.inventory import Environment
from fabfile.inventory.settings import KEYS
from fabfile.lasting import ADDRESS, STOP, changes, lives, refusal, remedy, sentence
from fabfile.nodes.facts import Component, Kubeconfig, Made, NodeFacts, Unit
from fabfile.nodes.influx import Retention
from fabfile.nodes.keeping import CONTAINERD_CONFIG
from fabfile.nodes.observe import parse_made
from fabfile.phases import BOOTSTRAP, RESET, for_release
from fabfile.steps import Stop
from making import ALL_STAMPED, CA, api_node, context, control_plane, environment, fresh, identity, member

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


# An edit of each setting that is refused on a living cluster, and words of the refusal: those of the class, and others' edits that are.
REFUSED: dict[str, tuple[dict[str, str], tuple[str, ...]]] = {
    **{key: ({key.lower(): says}, (made, says)) for key, (says, made) in OTHERS.items()},
    "KUBERNETES": ({"kubernetes": "1.37"}, ("1.36.4", "1.37.1", "is an upgrade")),
    "KUBERNETES, a patch": ({"kubernetes": "1.36.9"}, ("1.36.4", "1.36.9", "is an upgrade")),
    "KUBERNETES, back": ({"kubernetes": "1.35"}, ("1.36.4", "1.35.9", "does not go back")),
    "RETENTION, shorter": ({"retention": "3d"}, ("720h0m0s", "RETENTION=3d")),
    "KUBELET_CONFIG, the driver": (
        {"kubelet_config": '{"cgroupDriver": "cgroupfs"}'},
        ("cgroupDriver systemd", "cgroupfs"),
    ),
    "CONTAINERD_CONFIG, its data": ({"containerd_config": '{"root": "/data/other"}'}, ("/data/containerd",)),
}
MADE_WITH = {"retention": "30d", "containerd_config": '{"root": "/data/containerd"}', "kubernetes": "1.36"}


def test_the_table_has_every_setting_of_the_class() -> None:
    assert {key for key, spec in KEYS.items() if spec.metadata["later"] == "refused"} <= set(REFUSED)


def untidy(facts: NodeFacts) -> NodeFacts:
    """The same machine, with something to do in every phase: swap, sysctls, a unit, an object that is gone."""
    units = {**facts.units, "containerd": Unit(False, False)}
    return replace(facts, swaps=("/dev/sdb1",), sysctls={}, units=units, objects=(), images=frozenset())


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("alone", [False, True], ids=["", "the control plane only is in the cluster"])
def test_no_step_runs_on_any_node_while_a_setting_differs_whose_change_is_refused(case: str, alone: bool) -> None:
    texts, words = REFUSED[case]
    env, before = environment(**{**MADE_WITH, **texts}), environment(**MADE_WITH)
    kubelets = Component({"cgroupDriver": "systemd"}, "1")
    data = {
        "kept": {CONTAINERD_CONFIG: "ours"},
        "containerd": {"root": "/data/containerd", "state": "/run/containerd"},
    }
    control = untidy(
        living(before, components={"kubelet": kubelets}, retention=Retention(True, "720h0m0s", default=True), **data)
    )
    worker = fresh("w1") if alone else untidy(member(before, **data))
    seen = {"cp1": control, "w1": worker, "w2": fresh("w2")}
    for phase in BOOTSTRAP:
        for node in env.nodes:
            if node.role not in phase.roles:
                continue
            stop, *more = phase.run(context(env, seen[node.name], node=node.name, control=control))
            assert not more, (phase.name, node.name, stop, more)
            assert isinstance(stop, Stop) and stop.id == STOP, (phase.name, node.name)
            assert all(word in stop.reason for word in words), stop.reason
    same = [action for phase in BOOTSTRAP for action in phase.run(context(before, control, control=control))]
    assert len(same) > 3 and not any(isinstance(action, Stop) for action in same), "what the cluster was made with runs"
    assert not any(isinstance(a, Stop) for a in RESET.run(context(env, control)))


def test_what_only_a_worker_shows_stops_that_worker() -> None:
    """Its release after `upgrade --control-plane-only`: the file says what the control plane has."""
    env = environment(kubernetes="1.37")
    control = living(env)
    old = member(environment())
    for phase in BOOTSTRAP:
        for node, facts, refused in (("cp1", control, False), ("w1", old, True), ("w2", fresh("w2"), False)):
            if next(n for n in env.nodes if n.name == node).role in phase.roles:
                found = list(phase.run(context(env, facts, node=node, control=control)))
                assert [a.id for a in found if isinstance(a, Stop)] == [STOP] * refused, (phase.name, node)


@pytest.mark.parametrize(("says", "made", "option"), [("1.36", "1.5.1", "1.5.1"), ("1.5", "1.36.4", "1.36.4")])
def test_a_release_that_no_upgrade_leads_to_is_refused_with_the_way_to_say_it(
    says: str, made: str, option: str
) -> None:
    env = environment(kubernetes=says, token="abcdef.0123456789abcdef")
    facts = living(environment(), packages={"kubelet": f"{made}-00", "kubeadm": f"{made}-00"}, made=Made())
    if made.startswith("1.5"):  # its admin.conf names no cluster of ours
        facts = replace(facts, kubeconfigs={"admin": Kubeconfig("kubernetes", env.endpoint, CA)})
    for phase in for_release(env, BOOTSTRAP):
        for node, seen in (("cp1", facts), ("w1", fresh("w1"))):
            if next(n for n in env.nodes if n.name == node).role in phase.roles:
                (stop,) = phase.run(context(env, seen, node=node, control=facts))
                assert isinstance(stop, Stop) and stop.id == STOP and made in stop.reason
                assert f"say `--kubernetes {option}`" in stop.remedy and "cluster.upgrade" not in stop.remedy
    kept = environment(kubernetes=option, token="abcdef.0123456789abcdef")
    assert refusal(context(kept, facts, control=facts)) is None


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
