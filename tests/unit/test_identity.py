"""Whose a machine is: a table of the judgement's cases; and the record on the operator's side."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fabfile import identity as identities
from fabfile.identity import Kind, Record, judge
from fabfile.nodes.facts import Identity, Kubeconfig, Link, NodeFacts
from fabfile.nodes.observe import parse_identity
from making import (
    CA,
    OTHER_CA,
    OTHER_UID,
    UID,
    api_node,
    control_plane,
    environment,
    fresh,
    identity,
    installed,
    links,
    member,
    prepared,
)

ENV, OTHER = environment(), environment(name="other")
UP, CP = control_plane(ENV, members=("cp1", "w1", "w2")), "cp1"
NONE, KNOWN = Record(), Record(UID)
KUBELET_CONF = "/etc/kubernetes/kubelet.conf"
OLD = replace(UP, identity=Identity())  # made by an earlier kubefab
OLD_WORKER = replace(member(ENV), identity=Identity())
EMPTY = replace(
    UP, etcd=(), etcd_size=0, api_ready=False, uid="", nodes=(), traces=UP.traces - {"/var/lib/etcd/member"}
)
HALF_INIT = replace(
    UP,
    identity=identity(ENV, CP, uid="", ca=""),
    undo=frozenset({"init-started", "identity"}),
    api_ready=False,
    uid="",
    nodes=(),
)
HALF_JOIN = replace(member(ENV), undo=frozenset({"join-started", "identity"}))
CLAIMED = replace(prepared(ENV), identity=identity(ENV, "w1", uid="", ca=""))


def changed(facts: NodeFacts, **changes: object) -> NodeFacts:
    return replace(facts, **changes)  # type: ignore[arg-type]


CASES = [
    # name, node, facts, control plane, record, verdict, words in it
    ("a new machine", "w1", fresh("w1"), None, NONE, Kind.FREE, ""),
    ("prepared by us, without identity", "w1", prepared(ENV), None, NONE, Kind.FREE, ""),
    ("claimed, nothing of a cluster yet", "w1", CLAIMED, None, NONE, Kind.OURS, ""),
    ("the control plane", CP, UP, None, KNOWN, Kind.OURS, ""),
    ("the control plane, from another operator's machine", CP, UP, None, NONE, Kind.OURS, ""),
    ("its API down, its data there", CP, changed(UP, api_ready=False, uid="", nodes=()), None, KNOWN, Kind.OURS, ""),
    ("an init that did not end", CP, HALF_INIT, None, NONE, Kind.OURS, ""),
    ("an init that did not end, its API up", CP, changed(HALF_INIT, api_ready=True, uid=UID), None, NONE, Kind.OURS, ""),
    ("a worker", "w1", member(ENV), UP, KNOWN, Kind.OURS, ""),
    ("a worker, the control plane down", "w1", member(ENV), None, KNOWN, Kind.OURS, ""),
    ("a worker, no record", "w1", member(ENV), UP, NONE, Kind.OURS, ""),
    ("a worker, neither record nor control plane", "w1", member(ENV), None, NONE, Kind.UNKNOWN, "no record here"),
    ("a join that did not end", "w1", HALF_JOIN, UP, KNOWN, Kind.OURS, ""),
    ("its CA file torn", "w1", changed(HALF_JOIN, ca_hash="", kubeconfigs={}, traces=frozenset()), UP, KNOWN, Kind.OURS, ""),
    # ours, but
    ("etcd's disk gone", CP, EMPTY, None, KNOWN, Kind.BROKEN, "data of its etcd are gone"),
    ("etcd started empty", CP, changed(UP, uid=OTHER_UID), None, KNOWN, Kind.BROKEN, "its etcd began empty"),
    ("etcd started empty, the API is not ready yet", CP, changed(UP, uid=OTHER_UID, api_ready=False), None, KNOWN, Kind.BROKEN, "its etcd began empty"),
    ("etcd's disk gone before it was claimed", CP, changed(EMPTY, identity=Identity()), None, NONE, Kind.BROKEN, "data of its etcd are gone"),
    ("API up, kube-system unreadableable", CP, changed(UP, uid=""), None, KNOWN, Kind.UNKNOWN, "cannot be read"),
    ("a machine without a trace of the former cluster", CP, fresh(CP), None, KNOWN, Kind.BROKEN, "nothing of it is on this machine"),
    ("claimed again, and the former cluster is missing", CP, changed(fresh(CP), identity=identity(ENV, CP, uid="", ca="")), None, KNOWN,
     Kind.BROKEN, "nothing of it is on this machine"),
    ("a worker of the cluster before", "w1", changed(member(ENV), identity=identity(ENV, "w1", uid=OTHER_UID)), UP, KNOWN.now(OTHER_UID).now(UID),
     Kind.BROKEN, "an earlier cluster of this environment"),
    ("renamed", "w1", changed(member(ENV), hostname="w1-new"), UP, KNOWN, Kind.BROKEN, "is node w1 of the cluster, and its hostname is now w1-new"),
    ("renamed before it was claimed", "w1", changed(OLD_WORKER, hostname="w1-new", identity=Identity()), UP, KNOWN, Kind.BROKEN,
     "is node w1 of the cluster"),
    ("a control plane renamed", CP, changed(UP, hostname="cp9"), None, KNOWN, Kind.BROKEN, "hostname is now cp9"),
    ("made for another address", CP, changed(UP, identity=identity(ENV, CP, endpoint="10.2.0.9:6443")), None, KNOWN, Kind.BROKEN, "made for 10.2.0.9:6443"),
    ("a worker named as control plane", CP, changed(member(ENV, "w1"), identity=identity(ENV, "w1")), None, KNOWN, Kind.BROKEN, "worker w1 of this cluster"),
    ("a reset that did not end", "w1", changed(member(ENV), undo=frozenset({"reset-started"})), UP, KNOWN, Kind.BROKEN, "a reset of this machine"),
    # made by an earlier kubefab
    ("an old control plane", CP, OLD, None, NONE, Kind.OURS, ""),
    ("an old control plane, API down", CP, changed(OLD, api_ready=False, uid="", nodes=()), None, NONE, Kind.OURS, ""),
    ("an old worker", "w1", OLD_WORKER, UP, NONE, Kind.OURS, ""),
    ("an old worker, control plane not observed", "w1", OLD_WORKER, None, KNOWN, Kind.UNKNOWN, "not made by this environment's kubefab"),
    ("an old worker, CA unread", "w1", changed(OLD_WORKER, ca_hash="", kubeconfigs={}), UP, KNOWN, Kind.UNKNOWN, ""),
    ("an old worker, the control plane's CA unread", "w1", OLD_WORKER, changed(UP, ca_hash=""), KNOWN, Kind.UNKNOWN, ""),
    ("our CA, but no mark of ours", "w1", changed(OLD_WORKER, undo=frozenset()), UP, KNOWN, Kind.UNKNOWN, ""),
    ("a mark, but another cluster's name", CP, changed(OLD, kubeconfigs={"admin": Kubeconfig("prod", ENV.endpoint, CA)}), None, NONE,
     Kind.ANOTHER, "an API answers here that kubefab did not make (its API: 10.2.0.1:6443): a cluster named prod with nodes cp1, w1, w2"),
    ("old, and another cluster than the record's", CP, changed(OLD, uid=OTHER_UID), None, KNOWN, Kind.ANOTHER, "when it was last worked on from here"),
    # another's
    ("another environment's worker", "w1", changed(member(OTHER), identity=identity(OTHER, "w1")), UP, KNOWN, Kind.ANOTHER,
     "this machine is worker w1 of environment other, not of test"),
    ("claimed by another environment", "w1", changed(CLAIMED, identity=identity(OTHER, "w1", uid="")), None, NONE, Kind.ANOTHER, "of environment other"),
    ("a worker of another cluster of that name", "w1", changed(member(ENV), identity=identity(ENV, "w1", uid=OTHER_UID)), UP, KNOWN, Kind.ANOTHER,
     f"this environment's is {UID}"),
    ("joined elsewhere since", "w1", changed(member(ENV), ca_hash=OTHER_CA), UP, KNOWN, Kind.ANOTHER, "the CA on this machine is"),
    ("joined elsewhere since, by its kubelet.conf", "w1", changed(member(ENV), kubeconfigs={"kubelet": Kubeconfig("x", "10.9.9.9:6443", OTHER_CA)}), UP,
     KNOWN, Kind.ANOTHER, "the CA on this machine is"),
    ("joined, and its CA cannot be read", "w1", changed(member(ENV), ca_hash="", kubeconfigs={}), UP, KNOWN, Kind.UNKNOWN, "cannot be read"),
    ("claimed, then initialised by hand", CP, changed(HALF_INIT, kubeconfigs={"admin": Kubeconfig("kubernetes", ENV.endpoint, OTHER_CA)}), None, NONE,
     Kind.ANOTHER, "a cluster named kubernetes"),
    ("the cluster recreated by another person", CP, changed(UP, uid=OTHER_UID, identity=identity(ENV, CP, uid=OTHER_UID)), None, KNOWN, Kind.ANOTHER,
     f"--adopt {OTHER_UID}"),
    ("a foreign worker", "w1", changed(OLD_WORKER, undo=frozenset(), ca_hash=OTHER_CA), UP, KNOWN, Kind.ANOTHER, "a node of another cluster"),
    ("a foreign control plane", CP, changed(OLD, undo=frozenset(), api_ready=False), None, NONE, Kind.UNKNOWN, "was not made by"),
    ("a foreign API", CP, changed(OLD, undo=frozenset()), None, NONE, Kind.ANOTHER, "an API answers here that kubefab did not make"),
    # something else's
    ("k3s", "w2", fresh("w2", others=("unit k3s-agent.service",), links=links("cni0", "flannel.1")), UP, KNOWN, Kind.ELSE, "k3s-agent-uninstall.sh"),
    ("k3s beside ours", "w1", changed(member(ENV), others=("unit k3s.service",)), UP, KNOWN, Kind.ELSE, "k3s.service runs here"),
    ("MicroK8s, stopped", "w2", fresh("w2", others=("path /var/snap/microk8s",)), UP, KNOWN, Kind.ELSE, "snap remove microk8s"),
    ("an etcd on a future control plane", CP, fresh(CP, others=("unit etcd.service",)), None, NONE, Kind.ELSE, "etcd.service runs here"),
    ("Patroni's etcd on a worker", "w1", fresh("w1", others=("unit etcd.service",), etcd=("default",)), None, NONE, Kind.FREE, ""),
    # unknown
    ("links of an unknown owner", "w1", fresh("w1", links={"cni0": Link("cni0")}), UP, KNOWN, Kind.UNKNOWN, "cni0"),
    ("pods of an unknown owner", "w1", fresh("w1", pods=2), UP, KNOWN, Kind.UNKNOWN, "2 pods in containerd"),
    ("kubelet.conf of an unknown owner", "w1", fresh("w1", traces=frozenset({KUBELET_CONF})), None, NONE, Kind.UNKNOWN, KUBELET_CONF),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "node", "facts", "control", "record", "kind", "words"), CASES, ids=[case[0] for case in CASES]
)
def test_the_verdict_on_a_machine(
    name: str, node: str, facts: NodeFacts, control: NodeFacts | None, record: Record, kind: Kind, words: str
) -> None:
    verdict = judge(ENV, next(n for n in ENV.nodes if n.name == node), facts, control, record)
    assert verdict.kind == kind, verdict
    assert words in f"{verdict.seen} {verdict.remedy}"
    assert verdict.adopt == (name.startswith("an old ") and kind == Kind.OURS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Identity()),
        ("{", Identity()),
        ("[]", Identity()),
        ("[" * 4000, Identity()),
        ('{"environment": "lab; reboot", "uid": "x", "node": 7, "role": "king", "ca": null}', Identity()),
        (identity(ENV, "w1").text(), identity(ENV, "w1")),
    ],
)
def test_an_identity_file_is_parsed_as_data(text: str, expected: Identity) -> None:
    assert parse_identity(text) == expected


def test_the_record_is_stored_and_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert identities.recall(ENV) == NONE
    identities.remember(ENV, KNOWN.now(OTHER_UID))
    path = ENV.state / identities.RECORD
    assert identities.recall(ENV) == Record(OTHER_UID, (UID,))
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text(json.dumps({"uid": "$(reboot)", "past": [UID]}))
    assert identities.recall(ENV) == Record("", (UID,))
    path.write_text("{")
    assert identities.recall(ENV) == NONE
    identities.remember(ENV, NONE)
    assert not path.exists()


@pytest.mark.parametrize(
    ("node_object", "expected"),
    [
        (api_node("w1"), True),
        (api_node("w1", address="10.2.0.12"), False),
        (api_node("w1", address="10.2.0.9"), True),  # eth0 has it too
        ({"metadata": {"name": "w1"}, "status": {"nodeInfo": {"machineID": "id-w1"}}}, True),
        ({"metadata": {"name": "w1"}, "status": {"nodeInfo": {"machineID": "id-w2"}}}, False),
        ({"metadata": {"name": "w1"}, "status": {}}, False),
    ],
)
def test_a_node_object_matches_a_machine_by_more_than_its_name(node_object: object, expected: bool) -> None:
    assert identities.is_machine(node_object, ENV.workers[0], installed(ENV, "w1")) == expected
