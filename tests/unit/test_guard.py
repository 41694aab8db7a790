"""A machine that is not proved to be ours never gets a step, whatever is found on it or cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import Phase as Stage
from hypothesis import given, settings
from hypothesis import strategies as st

from fabfile.context import Choices
from fabfile.identity import Kind, Record, Verdict, judge
from fabfile.nodes.facts import Identity, Kubeconfig, NodeFacts
from fabfile.phases import EVERY, for_release, guard
from fabfile.steps import Action, Step, Stop, Wait
from making import (
    CA,
    OTHER_CA,
    OTHER_UID,
    UID,
    api_node,
    context,
    control_plane,
    environment,
    fresh,
    identity,
    installed,
    links,
    member,
)

ENV, OTHER, MANUAL = (
    environment(),
    environment(name="other"),
    environment(kubernetes="1.5", token="abcdef.0123456789abcdef"),
)
API_SERVER = "/etc/kubernetes/manifests/kube-apiserver.yaml"
MARKS = ("init-started", "initialised", "join-started", "joined", "sysctl", "done", "started")
sets = st.frozensets


def lines(action: Action) -> Iterator[str]:
    """Every shell line of an action that changes something."""
    if isinstance(action, Step):
        yield from action.commands
        yield from (f"write {file.path}" for file in action.files)
    if isinstance(action, Wait):
        yield from (line for remedy in action.remedies for line in remedy.commands)
        if action.changes:
            yield action.probe


def actions(
    facts: NodeFacts, node: str, control: NodeFacts | None, record: Record, choices: Choices, env: Any = ENV
) -> list[Action]:
    found: list[Action] = []
    for phase in for_release(env, list(EVERY.values())):
        one = next(n for n in env.nodes if n.name == node)
        if one.role in phase.roles:
            found += phase.run(replace(context(env, facts, node=node, control=control, choices=choices), record=record))
    return found


@st.composite
def hidden(draw: st.DrawFn, facts: NodeFacts) -> NodeFacts:
    """The same machine; some of the proof of whose it is cannot be read."""
    if draw(st.booleans()):
        facts = replace(facts, ca_hash="")
    if draw(st.booleans()):
        facts = replace(facts, kubeconfigs={name: replace(one, ca="") for name, one in facts.kubeconfigs.items()})
    if draw(st.booleans()):
        facts = replace(facts, kubeconfigs={})
    if draw(st.booleans()):
        facts = replace(facts, uid="", nodes=())
    if draw(st.booleans()):
        facts = replace(facts, links=links())
    return replace(
        facts,
        undo=draw(sets(st.sampled_from(MARKS))),
        api_ready=facts.api_ready and draw(st.booleans()),
        pods=draw(st.integers(0, 2)),
    )


foreign_workers = st.sampled_from(
    [
        replace(
            member(OTHER),
            identity=Identity(),
            ca_hash=OTHER_CA,
            kubeconfigs={"kubelet": Kubeconfig("default-cluster", "10.9.9.9:6443", OTHER_CA)},
        ),
        replace(member(OTHER), identity=identity(OTHER, "w1"), ca_hash=OTHER_CA, kubeconfigs={}),
        replace(member(OTHER), identity=identity(OTHER, "w1", uid=""), ca_hash=CA),
        # another environment of the same name
        replace(
            member(ENV), identity=identity(ENV, "w1", uid=OTHER_UID, ca=OTHER_CA), ca_hash=OTHER_CA, kubeconfigs={}
        ),
        replace(member(ENV), ca_hash=OTHER_CA, kubeconfigs={}),  # was ours, then joined elsewhere by hand
        fresh("w1", links=links("cni0", "flannel.1")),
        fresh("w1", others=("unit k3s-agent.service",), links=links("cni0")),
        replace(member(ENV), others=("unit rke2-agent.service",)),
        fresh("w1", traces=frozenset({"/etc/kubernetes/bootstrap-kubelet.conf"})),
    ]
)
THEIRS = replace(
    control_plane(OTHER, members=("a", "b")),
    ca_hash=OTHER_CA,
    uid=OTHER_UID,
    kubeconfigs={"admin": Kubeconfig("kubernetes", "10.9.9.9:6443", OTHER_CA)},
)
foreign_controls = st.sampled_from(
    [
        replace(THEIRS, identity=Identity()),
        replace(THEIRS, identity=identity(OTHER, "cp1", uid=OTHER_UID, ca=OTHER_CA)),
        replace(
            THEIRS,
            identity=Identity(),
            traces=THEIRS.traces | {API_SERVER},
            kubeconfigs={"admin": Kubeconfig("prod", ENV.endpoint, OTHER_CA)},
        ),
        # was ours, then created again by hand
        replace(control_plane(ENV), identity=identity(ENV, "cp1", ca=CA), ca_hash=OTHER_CA),
        replace(member(OTHER), identity=Identity(), hostname="cp1"),  # type: ignore[arg-type]
        replace(member(OTHER), identity=identity(OTHER, "w1"), hostname="cp1"),  # type: ignore[arg-type]
        fresh("cp1", others=("path /var/lib/rancher/k3s",)),
        fresh("cp1", others=("unit etcd.service",)),
        fresh("cp1", links=links("flannel.1")),
    ]
)
controls = st.sampled_from(
    [
        None,
        control_plane(ENV, members=("cp1", "w1", "w2")),
        replace(control_plane(ENV), nodes=()),
        fresh("cp1"),
        replace(THEIRS, identity=Identity()),
    ]
)
records = st.sampled_from([Record(), Record(UID), Record("", (UID,))])
choices = st.builds(Choices, purge=st.booleans(), whole_cluster=st.booleans(), agreed=st.booleans())
PROPERTY = settings(max_examples=150, deadline=None, derandomize=True, phases=[Stage.generate])


def provable(facts: NodeFacts, node: str) -> bool:
    """Whether the remaining facts still show that the machine is not ours: a different CA, or an identity file of others.

    If all of that is hidden, the machine looks exactly like ours. Nothing can tell them apart, so the tests skip this case.
    """
    ours = facts.identity.environment == ENV.name
    return (
        not ours
        or bool({facts.ca_hash, *(one.ca for one in facts.kubeconfigs.values())} & {OTHER_CA})
        or bool(facts.others)
    )


@PROPERTY
@given(foreign_workers.flatmap(hidden), controls, records, choices)
def test_no_step_for_a_worker_that_is_not_ours(
    facts: NodeFacts, control: NodeFacts | None, record: Record, chosen: Choices
) -> None:
    other_uid = facts.identity.uid == OTHER_UID
    if provable(facts, "w1") or other_uid:
        found = actions(replace(facts, links=links("cni0")), "w1", control, record, chosen)
        assert found and not [line for action in found for line in lines(action)], found
        assert all(isinstance(action, Stop) and action.remedy for action in found)


@PROPERTY
@given(foreign_controls.flatmap(hidden), records, choices)
def test_no_step_for_a_control_plane_that_is_not_ours(facts: NodeFacts, record: Record, chosen: Choices) -> None:
    facts = replace(facts, links=links("cni0"))
    if provable(facts, "cp1"):
        found = actions(facts, "cp1", None, record, chosen)
        assert found and not [line for action in found for line in lines(action)], found


@PROPERTY
@given(foreign_workers.flatmap(hidden), records, choices)
def test_no_step_for_a_foreign_machine_by_the_manuals_recipe(facts: NodeFacts, record: Record, chosen: Choices) -> None:
    facts = replace(facts, os_id="ubuntu", os_version="16.04", links=links("cni0"))
    if provable(facts, "w1"):
        assert not [line for action in actions(facts, "w1", None, record, chosen, MANUAL) for line in lines(action)]


EMPTIED = [
    {"etcd": (), "etcd_size": 0, "api_ready": False, "uid": "", "nodes": ()},
    {"uid": OTHER_UID, "nodes": (api_node("cp1"),)},
    {"uid": ""},
]


@PROPERTY
@given(st.sampled_from(EMPTIED), records, choices, sets(st.sampled_from(["init-started", "initialised"])))
def test_an_emptied_etcd_leads_to_no_step_on_any_node(
    change: dict[str, Any], record: Record, chosen: Choices, marks: frozenset[str]
) -> None:
    """No building phase starts the control plane or removes a worker from it."""
    control = replace(control_plane(ENV, members=("cp1", "w1")), **change)
    control = replace(control, undo=control.undo - {"init-started", "initialised"} | marks)
    for node, facts in (("cp1", control), ("w1", member(ENV))):
        built = [action for action in actions(facts, node, control, record, chosen) if action.phase != "reset"]
        assert not [line for action in built for line in lines(action)], built
    assert any(isinstance(action, Stop) for action in actions(control, "cp1", control, record, chosen))


@PROPERTY
@given(
    st.sampled_from([member(ENV), installed(ENV, "w1", identity=identity(ENV, "w1")), fresh("w1"), control_plane(ENV)]),
    sets(st.sampled_from(["member", "default"])),
    sets(st.sampled_from(MARKS)),
    choices,
)
def test_etcd_data_are_deleted_only_with_kubeadms_manifest_as_proof(
    facts: NodeFacts, data: frozenset[str], marks: frozenset[str], chosen: Choices
) -> None:
    for traces in (facts.traces, facts.traces - {"/etc/kubernetes/manifests/etcd.yaml"}):
        here = replace(facts, etcd=tuple(sorted(data)), undo=marks | {"identity"}, traces=traces)
        node = str(facts.hostname)
        found = [
            line for action in actions(here, node, control_plane(ENV), Record(UID), chosen) for line in lines(action)
        ]
        for line in found:
            if "kubeadm reset" in line:
                assert "--skip-phases=remove-etcd-member" in line
            if "/var/lib/etcd" in line:
                assert line.endswith("/var/lib/etcd/member") and "/etc/kubernetes/manifests/etcd.yaml" in traces, line


@PROPERTY
@given(st.sampled_from(["w1", "w2", "cp1"]), st.sampled_from(["10.2.0.11", "10.2.0.12", "10.2.0.1"]), st.booleans())
def test_only_the_machine_itself_removes_its_node_from_the_cluster(hostname: str, address: str, named: bool) -> None:
    facts = replace(
        member(ENV),
        hostname=hostname,
        links=links("cni0"),
        identity=identity(ENV, "w1", hostname="w1" if named else hostname),
    )  # type: ignore[arg-type]
    control = replace(control_plane(ENV), nodes=(api_node("cp1"), api_node("w1"), api_node("w2")))
    found = actions(facts, "w1", control, Record(UID), Choices(whole_cluster=False))
    text = "\n".join(
        line
        for action in found
        if action.phase == "reset" and isinstance(action, Step) and action.on
        for line in action.commands
    )
    assert "delete node cp1" not in text and "delete node w2" not in text
    assert ("delete node w1" in text) == ("w1" in (hostname, facts.identity.hostname))


def test_naming_a_foreign_node_permits_exactly_that_node() -> None:
    theirs = replace(member(OTHER), identity=identity(OTHER, "w1"))
    for named, expected in ((frozenset({"w2"}), False), (frozenset({"w1"}), True)):
        found = actions(theirs, "w1", None, Record(), Choices(whole_cluster=False, foreign=named))
        assert any(line for action in found for line in lines(action) if action.phase == "reset") == expected
        assert not [line for action in found for line in lines(action) if action.phase != "reset"]


def test_a_broken_machine_of_ours_is_still_ours() -> None:
    """A cluster whose etcd was lost can be reset."""
    control = replace(control_plane(ENV), uid=OTHER_UID)
    assert judge(ENV, ENV.control_plane, control, None, Record(UID)).kind == Kind.BROKEN
    assert (
        next(a.id for a in actions(control, "cp1", control, Record(UID), Choices()) if isinstance(a, Step))
        == "reset.kubeadm"
    )


def test_a_running_foreign_service_is_never_emptied() -> None:
    for others in (("unit k3s.service",), ("path /var/snap/microk8s",)):
        facts = fresh("w1", others=others, links=links("cni0"))
        found = actions(facts, "w1", None, Record(), Choices(foreign=frozenset({"w1"})))
        assert found and not [line for action in found for line in lines(action)]


@pytest.mark.parametrize("code", ["earlier", "reset", "foreign"])
@pytest.mark.parametrize("node", ["cp1", "w1"])
def test_a_control_plane_is_reset_alone_only_where_its_reset_has_begun(
    monkeypatch: pytest.MonkeyPatch, node: str, code: str
) -> None:
    """The manual's N4 on a control plane is the whole cluster: its advice says so, and names the command that asks first."""
    monkeypatch.setattr(guard, "whose", lambda ctx: Verdict(Kind.BROKEN, "seen", code=code))
    facts = control_plane(ENV) if node == "cp1" else member(ENV)
    (stop,) = EVERY["prep"].run(context(ENV, facts, node=node))
    assert isinstance(stop, Stop)
    alone, whole = f"`fab -H {node} reset --env test`" in stop.remedy, "`inv cluster.reset --env test`" in stop.remedy
    assert (alone, whole) == (node == "w1" or code == "reset", node == "cp1" and code != "reset")
    assert whole == ("everything in it is lost" in stop.remedy)
