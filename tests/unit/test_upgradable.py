"""The checks before an upgrade: from a cluster that may go on, each row changes one thing, and says which check stops or notes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fabfile.backups.latest import Latest
from fabfile.context import Choices, Following
from fabfile.errors import KubefabError
from fabfile.inventory import with_nodes
from fabfile.inventory.beside import Addon
from fabfile.manifests import NAMES, manifest
from fabfile.nodes.facts import (
    API_CERTIFICATE,
    KUBELET_CERTIFICATE,
    Certificate,
    Component,
    KubeletLine,
    NodeFacts,
    facts_of,
)
from fabfile.nodes.upgrading import (
    FOLDERS,
    PACKAGES,
    TMP,
    Answers,
    Etcd,
    Manifest,
    Member,
    Offer,
    Process,
    Requested,
    Webhook,
)
from fabfile.nodes.workload import Budget, Place, Pod, Workload
from fabfile.phases.drain import CORDONED
from fabfile.phases.examined import Check, Fleet
from fabfile.phases.supplies import wanted
from fabfile.phases.upgradable import JUDGED, checks, stops
from fabfile.phases.upgrade import COMPONENTS
from fabfile.recipes import changes
from fabfile.text import yamls
from fabfile.text.forms import Hostname
from fabfile.views.releases import examined
from making import OTHER_UID, UID, api_node, context, control_plane, environment, identity, member, of_release

NOW = 1_900_000_000.0
OLD, NEW = "1.36.4", "1.37.2"
GIB = 1 << 20  # KiB
Change = Callable[[Fleet], Fleet]


def node(name: str, release: str = OLD, *, ready: bool = True, **spec: Any) -> Mapping[str, Any]:
    """A Node of the API with its kubelet's release."""
    found = api_node(name, ready)
    taints = [{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}] if name == "cp1" else []
    info = {**found["status"]["nodeInfo"], "kubeletVersion": f"v{release}"}
    return {**found, "status": {**found["status"], "nodeInfo": info}, "spec": {"taints": taints, **spec}}


def offer(*versions: str) -> Offer:
    return Offer({name: tuple(f"{one}-1.1" for one in versions) for name in PACKAGES})


def answers(*, control: bool = False, **changed: Any) -> Answers:
    """A healthy node's."""
    common: dict[str, Any] = {
        "containerd": "2.3.4",
        "free": dict.fromkeys(FOLDERS, 20 * GIB),
        "mounts": dict.fromkeys(FOLDERS, "/"),
        "process": Process("/usr/bin/containerd", "process"),
        "packages": {
            "1.37": offer("1.37.0", NEW),
            "1.36": offer(OLD, "1.36.5"),
            "containerd": Offer({"containerd.io": ("2.3.4-1",)}),
        },
    }
    own = {
        "data": 80 << 10,
        "etcd": Etcd("3.6.11", True, "", (Member("cp1", False),), 20 << 20, 2 << 30),
        "namespaces": {"default": {}, "policy": {"kubernetes.io/metadata.name": "policy"}},
    }
    return Answers(**{**common, **(own if control else {}), **changed})


CONTROL_PODS = (Pod("kube-system", "kube-apiserver-cp1", "cp1", fixed=True, milli=250),)
PODS = (
    *CONTROL_PODS,
    Pod("kube-system", "kube-proxy-x", "w1", "DaemonSet kube-proxy", fixed=True),
    Pod("default", "web-1", "w1", "ReplicaSet web", milli=500, memory=1 << 30),
    Pod("default", "web-2", "w2", "ReplicaSet web", milli=500, memory=1 << 30),
)
PLACES = (Place("cp1", False, 2000, 4 << 30), Place("w1", True, 2000, 4 << 30), Place("w2", True, 2000, 4 << 30))


def sound(target: str = NEW) -> Fleet:
    """A cluster of three, of which everything is known, and that may go to the next minor release."""
    env = environment()
    control = replace(
        of_release(OLD, control_plane(env, members=("cp1", "w1", "w2"), now=NOW)),
        nodes=tuple(map(node, ("cp1", "w1", "w2"))),
        certificates={API_CERTIFICATE: Certificate(NOW + 90 * 86400)},
        components={"kubelet": Component({"cgroupDriver": "systemd"}, "7")},
    )
    facts = {"cp1": control, "w1": member(env, "w1", now=NOW), "w2": member(env, "w2", now=NOW)}
    facts = {
        name: replace(one, packages={**one.packages, "containerd.io": "2.3.4-1"}, before={})
        for name, one in facts.items()
    }
    said = {"cp1": answers(control=True), "w1": answers(), "w2": answers()}
    latest = Latest("/backups/b.age", NOW - 600, UID)
    images = {one.name: dict.fromkeys(wanted(env, one, target), Manifest(200)) for one in env.nodes}
    return Fleet(env, target, facts, said, latest, now=NOW, images=images, workload=Workload(PODS, places=PLACES))


def of(found: list[Check], id: str) -> list[Check]:
    return [check for check in found if check.id == id]


# --- what changes


def facts(name: str = "cp1", **changed: Any) -> Change:
    def change(fleet: Fleet) -> Fleet:
        seen = fleet.facts[name]
        assert isinstance(seen, NodeFacts)
        return replace(fleet, facts={**fleet.facts, name: replace(seen, **changed)})

    return change


def said(name: str = "cp1", **changed: Any) -> Change:
    def change(fleet: Fleet) -> Fleet:
        seen = fleet.answers[name]
        assert isinstance(seen, Answers)
        return replace(fleet, answers={**fleet.answers, name: replace(seen, **changed)})

    return change


def whole(**changed: Any) -> Change:
    return lambda fleet: replace(fleet, **changed)


def both(*all_changes: Change) -> Change:
    def change(fleet: Fleet) -> Fleet:
        for one in all_changes:
            fleet = one(fleet)
        return fleet

    return change


PROXY, CONTROLLER = f"registry.k8s.io/kube-proxy:v{NEW}", f"registry.k8s.io/kube-controller-manager:v{NEW}"


def image(name: str, one: str, code: int, error: str = "") -> Change:
    """What the registry says of an image to a node."""
    return lambda fleet: replace(
        fleet, images={**fleet.images, name: {**fleet.images[name], one: Manifest(code, error)}}
    )


def etcds(code: int) -> Change:
    """What the registry says of each etcd that could be rolled in."""
    return both(*(image("cp1", f"registry.k8s.io/etcd:{tag}", code) for tag in changes.ETCD_STEPS["3.7"]))


def etcd(**changed: Any) -> Change:
    return said(etcd=Etcd(**{**answers(control=True).etcd.__dict__, **changed}))


def api(*nodes: Mapping[str, Any]) -> Change:
    return facts(nodes=nodes)


def cluster(release: str = OLD, **sections: Any) -> Change:
    return facts(configured={"kind": "ClusterConfiguration", "kubernetesVersion": f"v{release}", **sections})


def kubelets(**config: Any) -> Change:
    """What ConfigMap kubelet-config says."""
    return facts(components={"kubelet": Component(config, "7")})


def static(release: str, *names: str, served: str = OLD) -> Change:
    """The named static pods have another release; `served` is the API server's that answers."""
    images = {name: f"registry.k8s.io/{name}:v{release if name in names else OLD}" for name in COMPONENTS}
    return facts(manifests=images, api_release=served)


def behind(release: str, *names: str) -> Change:
    """The kubelets of these workers, or of both, run and have an older release."""
    old = names or ("w1", "w2")
    nodes = [node(name, release if name in old else OLD) for name in ("cp1", "w1", "w2")]
    packages = {"kubelet": f"{release}-1.1", "kubeadm": f"{release}-1.1", "kubectl": f"{release}-1.1"}
    return both(api(*nodes), *(facts(name, packages=packages) for name in old))


def gone_ahead(*left: str) -> Change:
    """All but these workers have the release already: they were left out, or away."""
    names = [one for one in ("cp1", "w1", "w2") if one not in left]
    proxy = {"proxy_image": f"registry.k8s.io/kube-proxy:v{NEW}"}
    return both(
        static(NEW, *COMPONENTS, served=NEW),
        facts(**proxy, configured={"kind": "ClusterConfiguration", "kubernetesVersion": f"v{NEW}"}),
        api(*(node(one, NEW if one in names else OLD) for one in ("cp1", "w1", "w2"))),
        *(facts(one, packages=dict.fromkeys(PACKAGES, f"{NEW}-1.1")) for one in names),
    )


POD_RULES = ((frozenset({""}), frozenset({"pods"}), frozenset({"CREATE"})),)


def hook(nodes: tuple[str, ...], **changed: Any) -> Change:
    """A webhook of service policy/hook, whose ready endpoints are on these nodes."""
    one = Webhook("policy", "check.policy.example", True, "policy/hook", POD_RULES, None)._replace(**changed)
    return said(webhooks=(one,), endpoints={"policy/hook": nodes})


SPARED = {"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["policy"]}]}
LEASES = ((frozenset({"coordination.k8s.io"}), frozenset({"leases"}), frozenset({"UPDATE"})),)
CONFIGMAPS = ((frozenset({""}), frozenset({"configmaps"}), frozenset({"*"})),)
GATE = [{"name": "feature-gates", "value": "SidecarContainers=true"}]
BIG = Pod("default", "big", "w1", "StatefulSet big", milli=1800, memory=1 << 30)
REFUSED = {("default", "web-1"): "Cannot evict pod as it would violate the pod's disruption budget."}
NEVER = Budget("default", "web", {}, 0, 1, 1)


def runs(*pods: Pod, **changed: Any) -> Change:
    return whole(workload=Workload(**{"pods": (*PODS, *pods), "places": PLACES, **changed}))


ENV_FILE, FLAGS = "/etc/default/kubelet", "/var/lib/kubelet/kubeadm-flags.env"


def kubelet_line(text: str, file: str = ENV_FILE) -> Change:
    return facts("w1", kubelet=(KubeletLine(file, 1, text),))


STOPS: list[tuple[str, Change, str, str]] = [
    ("a node that does not answer", lambda f: replace(f, facts={**f.facts, "w2": KubefabError("w2: no route", "x")}), "nodes.unseen", "w2 was not examined: no route"),
    ("a node whose answer is malformed", lambda f: replace(f, answers={**f.answers, "w2": KubefabError("has not the form")}), "nodes.unseen", "w2"),
    ("another cluster's machine", facts("w1", identity=identity(environment(), "w1", uid=OTHER_UID)), "nodes.identity", "w1 is"),
    ("a downgrade", whole(target="1.36.3"), "versions.skew", "does not go back to 1.36.3"),
    ("a downgrade by a minor release", whole(target="1.35.9"), "versions.skew", "does not go back to 1.35.9"),
    ("two minor releases", whole(target="1.38.0"), "versions.skew", "one at a time"),
    ("no release", whole(target="1.37"), "versions.skew", "no release"),
    ("a kubelet that is newer than the target", api(node("cp1"), node("w1", "1.38.0"), node("w2")), "versions.skew", "kubelet of w1 is newer"),
    ("a kubelet that falls too far behind", api(node("cp1"), node("w1", "1.33.9"), node("w2")), "versions.skew", "kubelet of w1 would be"),
    ("another upgrade under way", static("1.36.5", "kube-apiserver"), "versions.half", "an upgrade to 1.36.5 is under way"),
    ("another upgrade, of the kubelets", static("1.36.5", *COMPONENTS, served="1.36.5"), "versions.half", "1.36.5"),
    ("an upgrade that lacks its add-ons", both(static("1.36.5", *COMPONENTS, served="1.36.5"), cluster("1.36.5")), "versions.half", "kube-proxy is 1.36.4"),
    ("an upgrade of the workers under way", both(behind("1.36.3", "w2"), whole(target="1.37.2")), "versions.half", "the kubelet of w2 is 1.36.3"),
    ("a new package beside an old kubelet", facts("w1", packages={"kubelet": "1.36.5-1.1"}), "versions.half", "an upgrade to 1.36.5"),
    ("workers that are a minor release behind as it is", behind("1.35.9"), "versions.half", "only the control plane was upgraded before"),
    ("kubelets that fall too far behind", behind("1.33.9"), "versions.skew", "kubelet of w1, w2 would be"),
    ("a node that is not Ready", api(node("cp1"), node("w1", ready=False), node("w2")), "nodes.ready", "w1 is not Ready"),
    ("a machine that the API does not list", api(node("cp1"), node("w1")), "nodes.ready", "no node for w2"),
    ("etcd that does not answer", etcd(healthy=None), "etcd.health", "does not answer"),
    ("etcd's alarm", etcd(healthy=False, reason="ALARM NOSPACE"), "etcd.health", "ALARM NOSPACE"),
    ("a learner", etcd(members=(Member("cp1", False), Member("cp2", True))), "etcd.members", "cp2"),
    ("a member that never started", etcd(members=(Member("cp1", False), Member("", False))), "etcd.members", "never started"),
    ("etcd's release not known", etcd(version=""), "etcd.patch", "not known"),
    ("no etcd to roll in first", both(etcd(version="3.6.8"), etcds(404)), "etcd.patch", "the registry has none of those"),
    ("no room for the copy of etcd's data", both(said(data=3 * GIB, free={TMP: 3 * GIB}, mounts={TMP: "/etc"})), "space.disk", TMP),
    ("no room for images", said("w2", free=dict.fromkeys(FOLDERS, 700 << 10)), "space.disk", "/ of w2"),
    ("free space not known", said("w2", free={}), "space.disk", "not known"),
    ("packages that one node cannot have", said("w1", packages={"1.37": Offer({}, "cannot fetch the key")}), "packages.there", "w1: cannot fetch"),
    ("packages that were not asked for", said("w1", packages={}), "packages.there", "not asked"),
    ("a release that the mirror lacks", said("w1", packages={"1.37": offer("1.37.0")}), "packages.there", "newest of 1.37 there is 1.37.0"),
    ("a release without its kubectl", said("w1", packages={"1.37": Offer({"kubelet": (f"{NEW}-1.1",), "kubeadm": (f"{NEW}-1.1",)})}), "packages.there", "whole"),
    ("an image that one node's registry lacks", image("w1", PROXY, 404), "images.there", f"w1 cannot have an image of {NEW}: {PROXY} is not in"),
    ("a registry that does not answer", image("cp1", CONTROLLER, 0, "curl: (7) refused"), "images.there", "curl: (7) refused"),
    ("a registry that fails", image("cp1", CONTROLLER, 503), "images.there", "HTTP 503"),
    ("a login that the registry refuses", both(image("w1", PROXY, 401), lambda f: replace(f, environment=environment(registry="r.example", registry_user="u", registry_password="secret"))), "images.there", "HTTP 401"),
    ("a gate for the API server", cluster(apiServer={"extraArgs": GATE}), "dropped.gates", "SidecarContainers"),
    ("a gate for the scheduler, as v1beta3 wrote it", cluster(scheduler={"extraArgs": {"feature-gates": "GangScheduling=true"}}), "dropped.gates", "GangScheduling"),
    ("a gate for every kubelet", kubelets(featureGates={"SidecarContainers": False}), "dropped.gates", "kubelet-config"),
    ("a gate for one kubelet", kubelet_line("KUBELET_EXTRA_ARGS=--feature-gates=SidecarContainers=true"), "dropped.gates", f"{ENV_FILE}:1 on w1"),
    ("a gate that is locked now", cluster(apiServer={"extraArgs": [{"name": "feature-gates", "value": "NodeDeclaredFeatures=false"}]}), "dropped.gates", "NodeDeclaredFeatures=false"),
    ("kubeadm's own gate", cluster(featureGates={"NodeLocalCRISocket": True}), "dropped.gates", "NodeLocalCRISocket"),
    ("a flag of cAdvisor", kubelet_line('KUBELET_KUBEADM_ARGS="--machine-id-file=/etc/machine-id"', FLAGS), "dropped.flags", "--machine-id-file"),
    ("a flag of etcd", cluster(etcd={"local": {"extraArgs": [{"name": "experimental-corrupt-check-time", "value": "4h"}]}}), "dropped.flags", "experimental-corrupt-check-time"),
    ("kubeadm-config that cannot be read", facts(configured={}), "nodes.unread", "ConfigMap kubeadm-config"),
    ("kubelet-config that cannot be read", facts(components={}), "nodes.unread", "ConfigMap kubelet-config"),
    ("kube-proxy that the API did not say", facts(proxy_image=""), "nodes.unread", "DaemonSet kube-proxy"),
    ("objects that nothing takes over", said(objects={"scheduling.k8s.io/v1alpha2 podgroups": ("default/a",)}), "apis.objects", "default/a"),
    ("requests of what is removed", said(requested=(Requested("networking.k8s.io/v1beta1 ipaddresses", "1.37"),)), "apis.requested", "ipaddresses"),
    ("a manifest of what is removed", whole(addons=(Addon("10-x", "addons/10-x.yaml", ({"apiVersion": "networking.k8s.io/v1beta1", "kind": "IPAddress"},)),)), "apis.manifests", "addons/10-x.yaml"),
    ("cgroup v1", facts("w1", cgroup="tmpfs"), "cgroup.version", "w1 has cgroup v1"),
    ("an ended certificate", facts(certificates={API_CERTIFICATE: Certificate(NOW - 1)}), "certificates.ended", API_CERTIFICATE),
    ("pods that fit nowhere else", runs(BIG), "room.left", "more CPU than is free"),
    ("a pod list that cannot be read", whole(workload=KubefabError("what runs cannot be read")), "drain.unread", "cannot be read"),
    ("a budget that never allows", runs(budgets=(NEVER,), refused=REFUSED), "drain.budget", "web-1"),
    ("a pod that nothing makes again", runs(Pod("default", "lone", "w2")), "drain.bare", "lone"),
    ("data in emptyDir", runs(replace(PODS[-1], scratch=("cache",))), "drain.scratch", "cache"),
    ("a webhook without its backend", hook(()), "webhooks.lock", "no ready endpoint"),
    ("a webhook that must let its own pod in", hook(("w1",)), "webhooks.lock", "once that is drained"),
    ("a webhook of two pods on one node", hook(("w1", "w1")), "webhooks.lock", "on w1"),
    ("a webhook for every group", hook((), rules=((frozenset({"*"}), frozenset({"*"}), frozenset({"*"})),)), "webhooks.lock", "pods and nodes"),
    ("a dead webhook for leases", hook((), rules=LEASES), "webhooks.lock", "leases"),
    ("an API that did not answer every question", said(unread=("webhooks", "pods")), "nodes.unread", "webhooks, pods"),
]  # fmt: skip
# What looks like the above, and is none.
PASSES: list[tuple[str, Change]] = [
    ("a patch release", whole(target="1.36.5")),
    ("kubelets three minor releases behind, within one of the control plane's", both(behind("1.33.9"), whole(target="1.36.5"))),
    ("a gate that 1.37 still has", cluster(apiServer={"extraArgs": [{"name": "feature-gates", "value": "NodeDeclaredFeatures=true"}]})),
    ("a gate of 1.37's within 1.36", both(whole(target="1.36.5"), cluster(apiServer={"extraArgs": GATE}))),
    ("requests of what goes later", said(requested=(Requested("admissionregistration.k8s.io/v1beta1 x", "1.40"), Requested("v1 componentstatuses", "")))),
    ("cgroup v1 with consent", both(facts("w1", cgroup="tmpfs"), kubelets(failCgroupV1=False))),
    ("a registry that lacks what the node has", both(image("w1", PROXY, 0), facts("w1", images=frozenset({PROXY})))),
    ("a webhook that is asked in vain", hook((), fails=False)),
    ("a webhook at a URL", hook((), service="")),
    ("a webhook for other things", hook((), rules=CONFIGMAPS)),
    ("a webhook on two nodes", hook(("w1", "w2"))),
    ("a webhook that leaves its own pods out", hook(("w1",), selector=SPARED)),
    ("a DaemonSet that fits nowhere else", whole(workload=Workload((replace(BIG, fixed=True, milli=2500),), places=PLACES))),
    ("pods that have ended", runs(replace(BIG, ended=True, milli=9000))),
    ("a budget of a node that is not drained", both(runs(budgets=(NEVER,), refused=REFUSED), gone_ahead("w2"))),
    ("a pod that the operator gave up", both(runs(Pod("default", "lone", "w2")), whole(choices=Choices(force_pods=frozenset({"default/lone"}))))),
    ("the file of the other family of systems", kubelet_line("KUBELET_EXTRA_ARGS=--machine-id-file=/x", "/etc/sysconfig/kubelet")),
]  # fmt: skip
NOTES: list[tuple[str, Change, str]] = [
    ("an old backup", whole(latest=Latest("/b", NOW - 7200, UID)), "backup.age"),
    ("another cluster's backup", whole(latest=Latest("/b", NOW - 60, OTHER_UID)), "backup.age"),
    ("no backup", whole(latest=Latest()), "backup.age"),
    ("a backup whose file is gone", whole(latest=Latest("/b", NOW - 60, UID, gone=True)), "backup.age"),
    ("a backup from the future", whole(latest=Latest("/b", NOW + 60, UID)), "backup.age"),
    ("etcd that is rolled first", etcd(version="3.6.8"), "etcd.patch"),
    ("a mirror that wants a login", image("w1", PROXY, 401), "images.there"),
    ("images that were not asked for", whole(images={}), "images.there"),
    ("an etcd to roll in first", both(etcd(version="3.6.8"), etcds(404), image("cp1", "registry.k8s.io/etcd:3.6.16-0", 200)), "etcd.patch"),
    ("an etcd of which the mirror says nothing", both(etcd(version="3.6.8"), etcds(401)), "etcd.patch"),
    ("a full database", etcd(size=2 << 30), "etcd.quota"),
    ("the same upgrade under way", static(NEW, "kube-apiserver"), "versions.half"),
    ("an upgrade of the control plane alone", behind("1.36.3"), "versions.half"),
    ("a cordon of somebody's", api(node("cp1"), node("w1", unschedulable=True), node("w2")), "nodes.cordoned"),
    ("a node of another that is away", api(*map(node, ("cp1", "w1", "w2")), node("w9", ready=False)), "nodes.others"),
    ("a webhook on one node that spares itself", hook(("w1",), selector=SPARED), "webhooks.alone"),
    ("a budget that has to wait", runs(budgets=(replace(NEVER, expected=3),), refused=REFUSED), "drain.budget"),
    ("pods that fit nowhere, of the only worker", both(runs(BIG), whole(workload=Workload((BIG,), places=(PLACES[0], PLACES[1], replace(PLACES[2], open=False))))), "room.left"),
    ("a kubelet's certificate that ends today", facts("w1", certificates={KUBELET_CERTIFICATE: Certificate(NOW + 3600)}), "certificates.ended"),
]  # fmt: skip


def test_a_sound_cluster_may_go_on() -> None:
    found = checks(sound())
    assert [check for check in found if check.state != "ok"] == []
    assert len({check.id for check in found}) >= 14


@pytest.mark.parametrize(("change", "id", "words"), [row[1:] for row in STOPS], ids=[row[0] for row in STOPS])
def test_what_stops(change: Change, id: str, words: str) -> None:
    found = of(stops(checks(change(sound()))), id)
    assert found
    assert any(words in check.seen for check in found), found
    assert all(check.remedy for check in found)
    assert all((f"--accept {id}" in check.remedy) == (id in JUDGED) for check in found), found
    assert bool(of(stops(checks(change(sound())), JUDGED), id)) == (id not in JUDGED), "only a judgement is accepted"


@pytest.mark.parametrize("change", [row[1] for row in PASSES], ids=[row[0] for row in PASSES])
def test_what_does_not(change: Change) -> None:
    assert stops(checks(change(sound()))) == []


@pytest.mark.parametrize(("change", "id"), [row[1:] for row in NOTES], ids=[row[0] for row in NOTES])
def test_what_is_noted(change: Change, id: str) -> None:
    found = checks(change(sound()))
    assert [check.state for check in of(found, id)] == ["note"]
    assert stops(found) == []


def test_a_control_plane_that_is_half_way_goes_on_without_an_answer_of_what_runs() -> None:
    """kubeadm stops its API just then, and no node is drained."""
    alone = with_nodes(sound().environment, sound().environment.control_planes)
    silent = whole(environment=alone, resumed=True, answers={}, workload=KubefabError("what runs cannot be read"))
    half = both(silent, facts(packages={"kubeadm": f"{NEW}-1.1", "kubelet": f"{OLD}-1.1"}))
    assert stops(checks(half(sound()))) == []


# What is true of the control plane itself, which has the release already, and of releases that it would have to enter.
OF_THE_PLANE = {
    "two minor releases", "a kubelet that falls too far behind", "another upgrade under way", "another upgrade, of the kubelets",
    "an upgrade that lacks its add-ons", "an upgrade of the workers under way", "a new package beside an old kubelet",
    "workers that are a minor release behind as it is", "kubelets that fall too far behind", "etcd's release not known",
    "no etcd to roll in first", "no room for the copy of etcd's data", "a registry that does not answer", "a registry that fails",
}  # fmt: skip


def test_a_worker_that_was_left_out_is_judged_by_every_check_that_a_first_run_makes() -> None:
    """The others are done, by --control-plane-only, --limit, or as it was away: it has not begun. What stops a first run stops its own."""
    assert stops(checks(gone_ahead("w2")(sound()))) == []
    passed = {
        name
        for name, change, id, words in STOPS
        if not any(
            words in check.seen
            for worker in ("w1", "w2")
            for check in of(stops(checks(change(gone_ahead(worker)(sound())))), id)
        )
    }
    assert passed == OF_THE_PLANE
    old = both(gone_ahead("w2"), said("w2", containerd="1.7.27"), whole(target="1.37.2"))(sound())
    assert [check.id for check in stops(checks(old))] == []
    assert of(checks(gone_ahead("w2")(sound())), "backup.age") == [], "none is taken, so none is announced"


def test_nodes_that_are_done_need_no_room_and_no_images() -> None:
    full = both(gone_ahead("w2"), said("w1", free=dict.fromkeys(FOLDERS, 1)), image("w1", PROXY, 404))
    assert stops(checks(full(sound()))) == []


def test_a_node_that_our_killed_run_left_cordoned_is_room_for_the_next_one() -> None:
    """It is ended first. Another person's cordon is none of ours to count on."""
    for mark, fits in (("test", True), ("other", False)):
        closed = node("w2", unschedulable=True)
        closed = {**closed, "metadata": {**closed["metadata"], "annotations": {CORDONED: mark}}}
        places = (PLACES[0], PLACES[1], replace(PLACES[2], open=False), Place("w3", True, 100, 1 << 20))
        change = both(api(node("cp1"), node("w1"), closed), whole(workload=Workload(PODS, places=places)))
        assert (of(stops(checks(change(sound()))), "room.left") == []) == fits, mark


@pytest.mark.parametrize("change", [row[1] for row in STOPS], ids=[row[0] for row in STOPS])
def test_an_upgrade_that_goes_on_is_held_up_by_what_was_observed_alone(change: Change) -> None:
    """But for what runs nothing is asked of it, and of the checks that it has each says what it says of one that begins."""
    fleet = change(sound())
    going_on = stops(checks(replace(fleet, resumed=True, answers={})))
    begins = stops(checks(replace(fleet, answers=sound().answers)))
    assert going_on == [
        check
        for check in begins
        if check.id.split(".")[0] == "drain"
        or check.id in GOING_ON
        or (check.id.startswith("dropped.") and " on w1 " in check.seen)
    ]


GOING_ON = {"nodes.unseen", "versions.skew", "versions.half", "nodes.ready"}


def test_an_upgrade_that_goes_on_takes_the_node_in_which_it_ended() -> None:
    """Not Ready, and with the new kubeadm; another that is not Ready still stops it. Its own API may be down: it brings that back."""
    ended = {"packages": {"kubeadm": f"{NEW}-1.1", "kubelet": f"{OLD}-1.1"}}
    away = api(node("cp1"), *(node(name, ready=False) for name in ("w1", "w2")))
    fleet = replace(both(away, facts("w1", **ended))(sound()), resumed=True)
    assert [check.seen.split(":")[0] for check in stops(checks(fleet))] == ["w2 is not Ready"]
    closed = node("w2", ready=False, unschedulable=True)
    for mark, goes in (("test", True), ("other", False)):  # ended in its drain, or at its containerd
        marked = {**closed, "metadata": {**closed["metadata"], "annotations": {CORDONED: mark}}}
        found = stops(checks(api(node("cp1"), node("w1"), marked)(sound())))
        assert ([check.seen.split(":")[0] for check in found] == []) == goes, mark
    down = both(facts(api_ready=False, api_release="", nodes=()), whole(resumed=True))
    assert [check.id for check in stops(checks(down(sound())))] == ["nodes.api"]
    assert stops(checks(both(facts(**ended), down)(sound()))) == []
    back = both(facts(**ended), down, static("1.38.0", *COMPONENTS, served=""))
    assert [check.id for check in stops(checks(back(sound())))] == ["versions.skew", "versions.half"]


@pytest.mark.parametrize("resumed", [False, True])
def test_a_kubelet_left_behind_is_held_against_each_release_that_it_enters(resumed: bool) -> None:
    """The control plane went ahead without it, and what 1.37 drops was looked at for that one alone."""
    ahead = replace(of_release(NEW, control_plane(environment())), nodes=(node("cp1", NEW), node("w1"), node("w2")))
    gone = both(whole(facts={**sound().facts, "cp1": ahead}), kubelet_line("KUBELET_EXTRA_ARGS=--machine-id-file=/x"))
    components = facts(components=sound().control.components, now=NOW)
    found = stops(checks(replace(both(gone, components)(sound()), resumed=resumed)))
    assert [(check.id, f"{ENV_FILE}:1 on w1" in check.seen) for check in found] == [("dropped.flags", True)]
    done = both(gone, components, api(node("cp1", NEW), node("w1", NEW), node("w2", NEW)))
    assert stops(checks(replace(done(sound()), resumed=resumed))) == [], "a kubelet that runs with it knows it"


@pytest.mark.parametrize(
    ("target", "remedy"),
    [
        ("1.36.5", ""),
        (NEW, ""),
        ("1.38.1", "--to 1.37`"),
        ("1.36.1", "inv cluster.backups"),
        ("1.35.9", "inv cluster.backups"),
    ],
)
def test_one_minor_release_at_a_time_and_never_back(target: str, remedy: str) -> None:
    """Where it does not, nothing is said of what that release needs; an upgrade that did not end has its end named."""
    found = stops(checks(replace(sound(target), **({"answers": {}} if remedy else {}))))
    assert [one.id for one in found] == (["versions.skew"] if remedy else []) and all(
        remedy in one.remedy for one in found
    )
    for half in (both(static("1.36.5", *COMPONENTS, served="1.36.5"), cluster("1.36.5")), behind("1.36.3")):
        (skew, *_) = of(stops(checks(both(half, whole(target="1.35.9"))(sound()))), "versions.skew")
        assert "ends what was begun" in skew.remedy
    (skew,) = of(stops(checks(whole(target="1.35.9")(sound()))), "versions.skew")
    assert "begun" not in skew.remedy


@pytest.mark.parametrize("resumed", [False, True])
@pytest.mark.parametrize(
    ("mark", "left", "refused"), [("test", "w1", True), ("test", "", False), ("other", "w1", False), ("", "w1", False)]
)
def test_no_further_node_is_drained_while_one_that_is_left_out_has_our_cordon(
    mark: str, left: str, refused: bool, resumed: bool
) -> None:
    """Whose cordon it is, its annotation says: another person's is no business of ours."""
    closed = node("w1", unschedulable=True)
    closed = {**closed, "metadata": {**closed["metadata"], "annotations": {CORDONED: mark} if mark else {}}}
    fleet = api(node("cp1"), closed, node("w2"))(sound())
    fleet = replace(fleet, resumed=resumed, left=[one for one in fleet.environment.workers if one.name == left])
    found = stops(checks(fleet))
    assert [(one.id, "--limit with w1" in one.remedy) for one in found] == [("nodes.cordoned", True)] * refused


def test_a_backup_is_that_of_a_cluster_only_where_its_uid_is_known() -> None:
    control = replace(control_plane(environment()), uid="", identity=replace(identity(environment(), "cp1"), uid=""))
    assert not any(Latest("/b", NOW, uid).of(control) for uid in ("", UID))
    assert Latest("/b", NOW, UID).of(replace(control, uid=UID)) and not Latest("", NOW, UID).of(
        replace(control, uid=UID)
    )


@pytest.mark.parametrize(
    ("faults", "asked", "target"),
    [
        ({}, "", NEW),
        ({"1.37": "404"}, "", ""),  # not published yet
        ({"1.37": "404"}, "1.37", "1.37.0"),
        ({"1.37": "down", "1.36": "down"}, "", "1.37.0"),  # the repository is not there at all: that is in the way
    ],
)
def test_a_release_that_is_not_published_is_examined_only_if_asked_for(
    faults: Mapping[str, str], asked: str, target: str
) -> None:
    packages = {"1.37": offer(NEW), "1.36": offer(OLD), **{minor: Offer({}, fault) for minor, fault in faults.items()}}
    first = both(*(said(name, packages=packages) for name in ("cp1", "w1", "w2")))(sound(""))
    found = examined(first, asked)
    assert found.target == target
    assert bool(stops(checks(found))) == bool(faults and target)
    if not target:
        hidden = replace(found, facts={**found.facts, "w1": KubefabError("no answer")})
        assert of(checks(hidden), "nodes.unseen"), "how the nodes are is looked at in any case"


def test_all_reasons_are_said_at_once() -> None:
    change = both(etcd(healthy=False, reason="ALARM NOSPACE"), hook(()), cluster(apiServer={"extraArgs": GATE}))
    assert {check.id for check in stops(checks(change(sound())))} == {"etcd.health", "webhooks.lock", "dropped.gates"}


def test_without_an_api_there_is_one_answer() -> None:
    none = whole(facts={one.name: NodeFacts(hostname=Hostname(one.name)) for one in environment().nodes}, answers={})
    assert [one.seen for one in checks(none(sound())) if one.id == "nodes.api"] == ["there is no cluster on cp1 yet"]
    unseen = lambda fleet: replace(fleet, facts={**fleet.facts, "cp1": KubefabError("cp1: no route", "x")})  # noqa: E731
    assert [check.seen for check in checks(unseen(sound()))] == ["cp1 was not examined: no route"]
    found = stops(checks(facts(api_ready=False, api_release="", manifests={})(sound())))
    assert [check.id for check in found] == ["nodes.api"]


def test_a_lock_file_of_the_release_before_is_named(tmp_path: Path) -> None:
    """Beside it no node would take the new images: an upgrade would end at its first pull."""
    lock = tmp_path / "images.lock"
    old = f"registry.k8s.io/kube-apiserver:v{OLD} sha256:{'a' * 64}\n"
    lock.write_text(old)
    fleet = replace(sound(), environment=environment(image_digests=str(lock)))
    (check,) = of(stops(checks(fleet)), "images.pinned")
    assert f"kube-apiserver:v{OLD}" in check.seen and f"kube-apiserver:v{NEW}" in check.seen
    lock.write_text(old + f"registry.k8s.io/kube-apiserver:v{NEW} sha256:{'b' * 64}\n")
    fleet = replace(sound(), environment=environment(image_digests=str(lock)))
    assert of(checks(fleet), "images.pinned") == []


def test_an_upgrade_under_way_may_go_on_from_any_mixture() -> None:
    """Every state in which an upgrade to the target may have been interrupted: no check of releases stops it."""
    for done in range(len(COMPONENTS) + 1):
        for kubelets in range(4):
            names = ("cp1", "w1", "w2")
            nodes = [node(name, NEW if n < kubelets else OLD) for n, name in enumerate(names)]
            fleet = both(static(NEW, *COMPONENTS[:done], served=NEW if done else OLD), api(*nodes))(sound())
            assert [c for c in stops(checks(fleet)) if c.id.startswith("versions")] == [], (done, kubelets)
            for packages in range(kubelets, 4):  # of that many nodes the packages are new
                new = dict.fromkeys(("kubeadm", "kubelet"), f"{NEW}-1.1")
                begun = both(*(facts(name, packages=new) for name in names[:packages]), whole(resumed=True, answers={}))
                assert stops(checks(begun(fleet))) == [], (done, kubelets, packages)


def test_what_is_not_known_of_a_release_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = both(static(NEW, *COMPONENTS, served=NEW), whole(target="1.38.0"))(sound())
    assert "kubefab knows no list of what it drops" in of(checks(fleet), "versions.unknown")[0].seen
    assert of(checks(sound()), "versions.unknown") == []


def test_containerd_is_measured_for_the_release_that_asks_for_it() -> None:
    fleet = both(facts(api_release=NEW), whole(target="1.38.0"), said("w1", containerd="1.7.27"))(sound())
    assert "w1: 1.7.27, /usr/bin/containerd says" in of(stops(checks(fleet)), "containerd.version")[0].seen
    assert of(checks(said("w1", containerd="1.7.27")(sound())), "containerd.version") == []
    brought = both(old_containerd("w1", "1.7.27-1"), facts(api_release=NEW), whole(target="1.38.0"))(sound())
    assert [one.state for one in of(checks(brought), "containerd.version")] == ["ok"], "the upgrade brings it"
    assert "from 1.7.27-1 to 2.3.4-1 on w1" in of(checks(brought), "containerd.follows")[0].seen


def old_containerd(name: str, version: str) -> Change:
    """A node whose containerd.io is that one."""
    return lambda fleet: both(
        facts(name, packages={**facts_of(fleet.facts)[name].packages, "containerd.io": version}),
        said(name, containerd=version.partition("-")[0]),
    )(fleet)


@pytest.mark.parametrize(
    ("wish", "resumed", "state"),
    [("patch", False, "note"), ("next", False, "stop"), ("next", True, "stop"), ("keep", False, "")],
)
def test_a_containerd_that_is_left_is_named_and_stops_only_who_asked_for_it(
    wish: Following, resumed: bool, state: str
) -> None:
    fleet = said("w2", process=Process("/usr/local/bin/containerd", "process"))(sound())
    fleet = replace(fleet, choices=Choices(containerd=wish), resumed=resumed)
    left = of(checks(fleet), "containerd.left")
    assert [one.state for one in left] == [state] * bool(state)
    assert all("containerd on w2" in one.seen and "/usr/local/bin/containerd" in one.seen for one in left)


def test_a_control_plane_says_on_what_it_relies() -> None:
    (note,) = of(checks(old_containerd("cp1", "2.3.1-1")(sound())), "containerd.follows")
    assert note.state == "note" and "on cp1, which is not drained" in note.seen and "KillMode=process" in note.seen


def test_the_tables_agree_with_each_other() -> None:
    for minor, change in changes.CHANGES.items():
        assert not change.gates & set(change.locked), minor
        assert set(change.apis) <= set(change.dropped), minor
        assert minor in changes.SUPPORT
        assert changes.numbers(changes.etcd_of(minor))
    assert list(changes.between("1.36.4", "1.38.0")) == ["1.37", "1.38"]
    assert list(changes.between("1.36.4", "1.36.9")) == []
    assert changes.next_minor("1.36.4") == "1.37"


def test_none_of_our_own_manifests_is_of_an_api_that_goes() -> None:
    env = environment()
    ctx = context(env, control_plane(env))
    used = {document["apiVersion"] for name in NAMES for document in yamls.documents(manifest(name, ctx).text)}
    assert used and not used & {api for change in changes.CHANGES.values() for api in change.dropped}


def test_of_several_etcds_the_newest_is_named() -> None:
    fleet = both(etcd(version="3.6.8"), etcds(404))(sound())
    for tag in ("3.6.12-0", "3.6.16-0"):
        fleet = image("cp1", f"registry.k8s.io/etcd:{tag}", 200)(fleet)
    assert "3.6.16-0 is rolled in first" in of(checks(fleet), "etcd.patch")[0].seen
    assert of(checks(whole(target="1.36.5")(fleet)), "etcd.patch") == []
