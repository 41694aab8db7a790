"""The upgrade's decisions, from facts alone: to which release, what is in its way, waves, and what is left on a node."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabfile.context import Choices
from fabfile.errors import UsageError
from fabfile.inventory import Environment, with_release
from fabfile.nodes.facts import NodeFacts
from fabfile.phases import AHEAD, ETCD, KUBELET, PLANE, Phase
from fabfile.phases import upgrade as steps
from fabfile.steps import Action, Step, Stop, Wait
from fabfile.views import upgrades
from making import bare, context, control_plane, environment, ids, member, of_release

OLD, NEW = "1.36.4", "1.37.1"


def run(phase: Phase, facts: NodeFacts, env: Environment, **more: Any) -> list[Action]:
    return list(bare(phase)(context(env, facts, **more)))


def cluster(workers: int = 2, version: str = OLD) -> tuple[Environment, dict[str, NodeFacts]]:
    """An environment of that release, and the facts of its nodes."""
    env = environment(workers, kubernetes=version)
    names = tuple(node.name for node in env.nodes)
    return env, {
        "cp1": of_release(version, control_plane(env, members=names)),
        **{name: member(env, name) for name in names[1:]},
    }


@pytest.mark.parametrize(
    ("file", "to", "there", "wanted"),
    [
        ("1.36.4", "1.37.2", "1.36.4", "1.37.2"),
        ("1.36.4", "v1.37.2", "1.36.4", "1.37.2"),
        ("1.36.4", "1.37", "1.36.4", "1.37.1"),
        ("1.36.4", "1.37", "1.37.9", "1.37.9"),
        ("1.37.2", "", "1.36.4", "1.37.2"),
        ("1.37", "", "1.36.4", "1.37.1"),
        ("1.36", "", "1.36.1", "1.36.4"),
    ],
)
def test_to_which_release(file: str, to: str, there: str, wanted: str) -> None:
    facts = NodeFacts(packages={"kubeadm": f"{there}-1.1"})
    assert upgrades.target(environment(kubernetes=file), to, {"cp1": facts, "w1": UsageError("x", "y")}) == wanted


@pytest.mark.parametrize(
    ("file", "to"),
    [("1.36", "1.5"), ("1.5", ""), ("1.5", "1.36"), ("1.36", "1.99"), ("1.36", "new"), ("1.36", "1.36;x")],
)
def test_what_is_no_release_to_go_to(file: str, to: str) -> None:
    with pytest.raises(UsageError):
        upgrades.target(environment(kubernetes=file), to, {})


@settings(max_examples=30)
@given(
    st.sampled_from([1, 2, 3, 7, 40, 200]),
    st.one_of(st.integers(1, 300).map(str), st.integers(1, 100).map("{}%".format)),
)
def test_every_worker_is_in_one_batch_of_that_size_and_the_control_plane_goes_before(workers: int, text: str) -> None:
    env, facts = _cached(workers)
    size = upgrades.batch_size(text, workers)
    made = upgrades.waves(env, facts, Choices(), only=env.nodes, batch=size, control_plane_only=False)
    assert [wave.phases for wave in made[:2]] == [(AHEAD,), upgrades.CONTROL] and made[0].nodes == env.nodes
    batches = [wave.nodes for wave in made[2:]]
    assert [node for nodes in batches for node in nodes] == list(env.workers)
    assert all(len(nodes) == size for nodes in batches[:-1]) and 1 <= len(batches[-1]) <= size <= max(workers, size)


_made: dict[int, tuple[Environment, dict[str, NodeFacts]]] = {}


def _cached(workers: int) -> tuple[Environment, dict[str, NodeFacts]]:
    if workers not in _made:
        env, facts = cluster(workers)
        _made[workers] = with_release(env, NEW), facts
    return _made[workers]


@pytest.mark.parametrize("text", ["", "0", "-1", "101%", "%", "x", "1.5"])
def test_what_is_no_batch(text: str) -> None:
    with pytest.raises(UsageError):
        upgrades.batch_size(text, 5)


def test_what_is_new_is_left_alone() -> None:
    """A worker that is done is in no wave; with all done there is none; a control plane that is not goes first whatever --limit says."""
    env, facts = cluster(2)
    env = with_release(env, NEW)
    wanted = {"only": env.select(["w2"]), "batch": 1, "control_plane_only": False}
    made = upgrades.waves(env, facts, Choices(), **wanted)
    assert [[node.name for node in wave.nodes] for wave in made] == [["cp1", "w2"], ["cp1"], ["w2"]]
    half = _with(facts["w2"], "kubeadm", "kubelet")
    made = upgrades.waves(env, {**facts, "w2": half}, Choices(), **{**wanted, "only": env.nodes})
    assert [wave.nodes[0].name for wave in made[2:]] == ["w2", "w1"], (
        "what was begun is ended before another is cordoned"
    )
    after = _all_new(2)
    assert upgrades.waves(env, after, Choices(), **wanted) == []
    assert upgrades.line_to_change(environment(kubernetes=OLD), NEW) == f"KUBERNETES={NEW}"
    assert upgrades.line_to_change(environment(kubernetes="1.36"), NEW) == "KUBERNETES=1.37"
    assert upgrades.line_to_change(environment(kubernetes="1.37"), NEW) == ""


def _with(facts: NodeFacts, *names: str, **changed: Any) -> NodeFacts:
    """The facts of a node that has the new release of these packages."""
    return replace(facts, packages={**facts.packages, **dict.fromkeys(names, f"{NEW}-1.1")}, **changed)


_PINNED = ("kubeadm", "kubelet", "kubectl")
# How far a node is: its new packages, whether the kubelet that runs is new, whether our cordon is on it; begun, with something left, or done.
_WORKER = {
    "old": ((), False, False, ""),
    "a person's kubeadm": (("kubeadm",), False, False, ""),
    "cordoned": ((), False, True, ""),
    "at its packages": (("kubeadm",), False, True, "begun"),
    "at its kubelet": (_PINNED, False, True, "begun"),
    "not proved": (_PINNED, True, True, "begun"),
    "done": (_PINNED, True, False, "done"),
}
_PLANE = {
    "old": ((), "", ""),
    "a person's kubeadm": (("kubeadm",), "", ""),
    "kubeadm works": (("kubeadm",), "mark", "begun"),
    "kubeadm was killed": (("kubeadm",), "silent", "begun"),
    "in part": (("kubeadm",), "part", "begun"),
    "done": (_PINNED, "new", "done"),
}


@settings(max_examples=80)
@given(st.sampled_from(sorted(_PLANE)), st.lists(st.sampled_from(sorted(_WORKER)), min_size=1, max_size=3), st.data())
def test_only_what_is_half_way_goes_on_unexamined(plane: str, workers: list[str], data: st.DataObject) -> None:
    """For any mixture: what has not begun is never among it, no worker goes before a control plane that is to begin, and none is forgotten."""
    env, facts = cluster(len(workers))
    env = with_release(env, NEW)
    packages, state, how = _PLANE[plane]
    begun = {"cp1": how, **{f"w{number}": _WORKER[one][3] for number, one in enumerate(workers, 1)}}
    nodes = []
    for node, one in zip(facts["cp1"].nodes, ["", *workers], strict=True):
        runs, closed = _WORKER[one][1:3] if one else (plane == "done", False)
        marks = {"annotations": {"kubefab.dev/cordoned": "test"}} if closed else {}
        info = {"nodeInfo": {"kubeletVersion": f"v{NEW if runs else OLD}"}}
        nodes.append({
            **node, "metadata": {**node["metadata"], **marks}, "status": {**node["status"], **info}, "spec": {"unschedulable": closed},
        })  # fmt: skip
    control = _with(facts["cp1"], *packages, nodes=tuple(nodes))
    control = {
        "mark": lambda: replace(control, undo=control.undo | {f"{steps.BEGUN}{NEW}"}),
        "silent": lambda: replace(control, api_ready=False, api_release="", nodes=()),
        "part": lambda: replace(control, manifests={**control.manifests, "kube-apiserver": f"r/kube-apiserver:v{NEW}"}),
        "new": lambda: replace(of_release(NEW, control), nodes=control.nodes),
    }.get(state, lambda: control)()
    facts = {
        "cp1": control,
        **{name: _with(facts[name], *_WORKER[one][0]) for name, one in zip(sorted(set(facts) - {"cp1"}), workers, strict=True)},
    }  # fmt: skip
    only = data.draw(st.lists(st.sampled_from(env.nodes), unique=True))
    half, later = upgrades.resumed(env, facts, Choices(), only)
    due = {name for name, one in begun.items() if one != "done" and (name == "cp1" or env.select([name])[0] in only)}
    if state == "silent":  # which kubelets run, no API says
        due |= {node.name for node in only}
    names = {node.name for node in half}
    assert names | {node.name for node in later} == due and not set(half) & set(later)
    assert all(begun[name] == "begun" for name in names)
    assert not names or begun["cp1"] != "" or "cp1" not in due
    assert "cp1" in names or begun["cp1"] != "begun", "a control plane that is half way goes on"
    if state == "silent":
        assert names == {"cp1"}, "of the others it cannot be asked yet what they run"
    elif begun["cp1"]:
        assert names == {name for name in due if begun[name] == "begun"}


def test_metrics_of_before_the_new_kubelet_prove_nothing() -> None:
    """They are in the database for a minute; only what was measured after the node's clock was read counts. Where none came before, none is awaited."""
    env, facts = environment(1, kubernetes=NEW), _all_new(1)
    away = [
        {**node, "status": {**node["status"], "conditions": [{"type": "Ready", "status": "False"}]}}
        for node in facts["cp1"].nodes
    ]
    central = replace(facts["cp1"], nodes=tuple(away), reporting=frozenset({"w1"}))
    actions = run(KUBELET, facts["w1"], env, control=central)
    clock, metrics = (next(one for one in actions if one.id == f"kubelet.{name}") for name in ("clock", "metrics"))
    assert isinstance(clock, Wait) and isinstance(metrics, Wait)
    assert clock.until("no such command") and clock.until("1763985600\n") is None
    row = "kubernetes_node,node_name=w1,{}000000000,1\n"
    assert metrics.until(row.format(1763985600)) == "none that was measured since then"
    assert metrics.until(row.format(1763985610)) is None
    silent = run(KUBELET, facts["w1"], env, control=replace(central, reporting=frozenset()))
    assert not [one for one in silent if one.id in ("kubelet.clock", "kubelet.metrics")]


def test_a_new_kubelet_that_is_not_ready_is_proved_before_another_node_is_drained() -> None:
    """A run that was killed between the start of the control plane's kubelet and its proof."""
    env, facts = environment(1, kubernetes=NEW), _all_new(1)
    away = [
        {**node, "status": {**node["status"], "conditions": [{"type": "Ready", "status": "False"}]}}
        for node in facts["cp1"].nodes
    ]
    central = replace(facts["cp1"], nodes=tuple(away))
    assert "…kubelet.ready" in ids(run(KUBELET, central, env, control=central))
    assert ids(run(KUBELET, facts["cp1"], env, control=facts["cp1"])) == []
    half, later = upgrades.resumed(env, {**facts, "cp1": central}, Choices(), env.nodes)
    assert [node.name for node in half] == ["cp1", "w1"] and later == ()


def _all_new(workers: int) -> dict[str, NodeFacts]:
    return cluster(workers, NEW)[1]


def test_a_cordon_of_ours_is_taken_away_only_after_the_proof() -> None:
    """A run that was killed between the kubelet's start and its proof."""
    env = environment(1, kubernetes=NEW)
    facts = _all_new(1)
    (control, worker) = facts["cp1"].nodes
    name = worker["metadata"]["name"]
    ours = {
        **worker,
        "metadata": {**worker["metadata"], "annotations": {"kubefab.dev/cordoned": "test"}},
        "spec": {"unschedulable": True},
    }
    for node, expected in (
        (
            ours,
            [
                "…kubelet.ready",
                "…kubelet.flannel",
                "…kubelet.pods",
                "…kubelet.rules",
                "…kubelet.clock",
                "…kubelet.metrics",
                "…kubelet.uncordon",
            ],
        ),
        ({**ours, "metadata": worker["metadata"]}, []),
    ):
        central = replace(facts["cp1"], nodes=(control, node))
        assert name and ids(run(KUBELET, facts["w1"], env, control=central)) == expected


@pytest.mark.parametrize(
    ("etcd", "kubeadm", "says", "asked", "patched"),
    [
        ("3.6.8-0", NEW, "3.7.0-0", "", True),
        ("3.6.11-0", NEW, "3.7.0-0", "", False),
        ("3.6.8-0", NEW, "3.6.8-0", "", False),
        ("3.7.0-0", NEW, "3.7.0-0", "", False),
        ("3.6.8-0", NEW, "3.7.0-0", "3.6.16-0", False),
        ("3.6.8-0", OLD, "3.6.8-0", "", True),
    ],
    ids=[
        "before 3.6.11",
        "3.6.11",
        "no 3.7 follows",
        "3.7",
        "the configuration names another",
        "an older kubeadm does not know",
    ],
)
def test_etcds_patch_before_3_7(etcd: str, kubeadm: str, says: str, asked: str, patched: bool) -> None:
    env = environment(1, kubernetes=NEW)
    facts = cluster(1)[1]["cp1"]
    local = {"etcd": {"local": {"imageTag": asked}}} if asked else {}
    facts = replace(
        facts,
        manifests={**facts.manifests, "etcd": f"registry.k8s.io/etcd:{etcd}"},
        packages={**facts.packages, "kubeadm": f"{kubeadm}-1.1"},
        kubeadm_images=(f"registry.k8s.io/etcd:{says}",),
        configured={**facts.configured, **local},
    )
    assert ("etcd.patch" in ids(run(ETCD, facts, env))) is patched


def test_the_way_back_is_said_as_it_is() -> None:
    env, facts = environment(1, kubernetes=NEW), cluster(1)[1]["cp1"]
    minor = [
        one
        for one in run(PLANE, facts, env)
        if isinstance(one, Step | Wait) and one.id in ("plane.applied", "plane.ended")
    ]
    assert all("an older one does not open its data" in one.hint for one in minor)
    patch = [
        one
        for one in run(PLANE, facts, environment(1, kubernetes="1.36.9"))
        if isinstance(one, Step) and one.id == "plane.ended"
    ]
    assert "etcd's data are of the same release" in patch[0].hint and not any(isinstance(one, Stop) for one in patch)


SEEN = 'etcd_server_version{{server_version="{}"}} 1\n{{"health":"{}","reason":""}}'


@pytest.mark.parametrize(
    ("seen", "good"),
    [
        (SEEN.format("3.6.16", "true"), True),
        (SEEN.format("3.6.16", "false"), False),
        (SEEN.format("3.6.8", "true"), False),
        ("", False),
    ],
)
def test_an_etcd_that_3_7_may_follow(seen: str, good: bool) -> None:
    assert (steps._etcd_safe(seen) is None) is good


MANAGER, SCHEDULER = "kube-controller-manager 1795970908", "kube-scheduler 1795970908"


@pytest.mark.parametrize(
    ("seen", "waits"),
    [
        (f"{MANAGER} 2026-11-29T16:48:29.000000Z\n{SCHEDULER} 2026-11-29T16:50:00.123456Z\nasked", None),
        ("asked", None),  # neither elects a leader
        (f"{MANAGER} 2026-11-29T16:48:28.999999Z\nasked", "kube-controller-manager waits for its lease"),  # its predecessor's
        (f"{MANAGER} 2026-11-29T16:48:29.000000Z\n{SCHEDULER} 2026-11-29T16:48:20.000000Z\nasked", "kube-scheduler waits for its lease"),
        (f"{MANAGER} \nasked", "kube-controller-manager waits for its lease"),
        (f"{MANAGER} 2026-11-29\nasked", "kube-controller-manager waits for its lease"),
        ("kube-scheduler  2026-11-29T16:48:29.000000Z\nasked", "kube-scheduler does not run"),
        ("", "no answer"),
        (f"{MANAGER} 2026-11-29T16:48:29.000000Z", "no answer"),
    ],
)  # fmt: skip
def test_the_controllers_that_a_drain_needs(seen: str, waits: str | None) -> None:
    """A lease that was renewed after the container of now was made: by it, or on another control plane."""
    assert steps._leads(seen) == waits


@pytest.mark.parametrize(
    ("rows", "good"),
    [
        ("kube-proxy-x 1/1 Running 0 5s\nkube-flannel-y 1/1 Running 1 (5s ago) 3d", True),
        ("kube-proxy-x 1/1 Running 0 5s\nkube-flannel-y 0/1 CrashLoopBackOff 1 3d", False),
        ("kube-proxy-x 1/1 Running 0 5s\nkube-flannel-y 0/1 Running 1 3d", False),
        ("", False),
        ("The connection to the server was refused", False),
    ],
)
def test_the_nodes_own_pods_run(rows: str, good: bool) -> None:
    assert (steps._pods_run(rows) is None) is good


BEFORE, SINCE = "0b" * 16, "1c" * 16


@pytest.mark.parametrize(
    "seen, good",
    [
        (f"asked\nwants {SINCE}\nruns {SINCE}\nok", True),
        (f"asked\nwants {SINCE}\nruns {SINCE}\nUnable to connect to the server", False),
        (f"asked\nwants {SINCE}\nruns {BEFORE}\nok", False),  # the API that answers is about to go
        (f"asked\nwants {SINCE}\nruns {SINCE}\nruns {BEFORE}\nok", False),
        (f"asked\nruns {BEFORE}\nok", False),  # the kubelet asks the API who may see its pods
        (f"runs {BEFORE}\nok", True),  # its port is another
        ("", False),
        ("asked\nok", False),
    ],
)
def test_the_control_planes_pods_are_the_new_kubelets(seen: str, good: bool) -> None:
    assert (steps._is_settled(seen) is None) == good
