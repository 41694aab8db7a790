"""The one drain: what is in its way is named before anything is changed; a cordon is ours by its annotation alone."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile.cli.draining import forced
from fabfile.context import Choices, Context
from fabfile.nodes.workload import (
    Attachment,
    Budget,
    Place,
    Pod,
    Workload,
    milli,
    parse,
    quantity,
    refusals,
    selects,
    size,
)  # fmt: skip
from fabfile.phases.drain import CORDONED, drained, hindrances, homeless, our_cordon, uncordoned
from fabfile.phases.follow import stays
from fabfile.steps import Step, Wait
from fabfile.text.forms import FormError
from making import api_node, context, control_plane, environment, ids, member

ENV = environment()
WEB = Pod("shop", "web-1", "w1", "ReplicaSet web-5d9c", {"app": "web"})
HELD = "Cannot evict pod as it would violate the pod's disruption budget."
NEVER = Budget("shop", "web", {"matchLabels": {"app": "web"}}, allowed=0, expected=1, desired=1)
SOON = replace(NEVER, expected=2)


def workload(
    *pods: Pod, budgets: tuple[Budget, ...] = (), refused: dict[tuple[str, str], str] | None = None
) -> Workload:
    return Workload(pods, budgets, refused=refused or {})


BARE, SCRATCH = replace(WEB, name="bare", owner=""), replace(WEB, name="cache", scratch=("tmp",))
ROWS: list[tuple[str, Workload, dict[str, Any], list[tuple[str, str, bool]]]] = [
    ("a pod that moves", workload(WEB), {}, []),
    ("another node's", workload(replace(BARE, node="w2")), {}, []),
    ("a DaemonSet's, a static one", workload(replace(SCRATCH, fixed=True)), {}, []),
    ("one that ended", workload(replace(BARE, ended=True)), {}, []),
    ("a budget that never allows", workload(WEB, budgets=(NEVER,), refused={("shop", "web-1"): HELD}), {}, [("budget", "shop/web-1", True)]),
    ("a budget that may allow later", workload(WEB, budgets=(SOON,), refused={("shop", "web-1"): HELD}), {}, [("budget", "shop/web-1", False)]),
    ("one of two budgets never allows", workload(WEB, budgets=(SOON, NEVER), refused={("shop", "web-1"): HELD}), {}, [("budget", "shop/web-1", True)]),
    ("a budget of another namespace is not named", workload(WEB, budgets=(replace(NEVER, namespace="other"),), refused={("shop", "web-1"): HELD}),
     {}, [("refused", "shop/web-1", True)]),
    ("a webhook", workload(WEB, refused={("shop", "web-1"): "admission webhook denied the request"}), {}, [("refused", "shop/web-1", True)]),
    ("a budget, and the pod is named", workload(WEB, budgets=(NEVER,), refused={("shop", "web-1"): HELD}), {"force_pods": frozenset({"shop/web-1"})},
     [("budget", "shop/web-1", False)]),
    ("a bare pod", workload(BARE), {}, [("bare", "shop/bare", True)]),
    ("a bare pod that is named", workload(BARE), {"force_pods": frozenset({"shop/bare"})}, [("bare", "shop/bare", False)]),
    ("another is named", workload(BARE), {"force_pods": frozenset({"shop/other"})}, [("bare", "shop/bare", True)]),
    ("emptyDir", workload(SCRATCH), {}, [("scratch", "shop/cache", True)]),
    ("emptyDir, agreed", workload(SCRATCH), {"delete_emptydir": True}, [("scratch", "shop/cache", False)]),
    ("emptyDir agreed is no consent for a bare pod", workload(BARE), {"delete_emptydir": True}, [("bare", "shop/bare", True)]),
    ("our own dashboard's /tmp", workload(replace(SCRATCH, namespace="kube-system", labels={"app": "headlamp"})), {}, []),
    ("a pod of that label elsewhere", workload(replace(SCRATCH, labels={"app": "headlamp"})), {}, [("scratch", "shop/cache", True)]),
]  # fmt: skip


@pytest.mark.parametrize(("found", "choices", "wanted"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_what_a_drain_meets(found: Workload, choices: dict[str, Any], wanted: list[tuple[str, str, bool]]) -> None:
    rows = hindrances(found, {"w1"}, Choices(**choices))
    assert [(row.kind, row.pod, row.stops) for row in rows] == wanted


@given(st.lists(st.sampled_from([row[1] for row in ROWS]), min_size=1, max_size=4))
def test_the_options_that_a_refusal_names_are_enough(several: list[Workload]) -> None:
    """Of bootstrap, upgrade, reboot and remove alike: typed as it names them, nothing of what it named stops the drain."""
    found = Workload(
        tuple({pod.title: pod for one in several for pod in one.pods}.values()),
        tuple(budget for one in several for budget in one.budgets),
        refused={key: text for one in several for key, text in one.refused.items()},
    )
    rows = hindrances(found, {"w1"}, Choices())
    error = stays(rows, {"w1": "w1"})
    assert (error is None) == (not any(row.stops for row in rows))
    if error:
        named = re.search(r"--force-pods (\S+?);", error.remedy)
        agreed = Choices(
            force_pods=forced(named[1] if named else ""), delete_emptydir="--delete-emptydir-data" in error.remedy
        )
        assert not any(row.stops for row in hindrances(found, {"w1"}, agreed)), error.remedy


def test_a_budgets_row_has_its_budget_how_many_may_go_and_whose_the_pod_is() -> None:
    (row,) = hindrances(workload(WEB, budgets=(NEVER,), refused={("shop", "web-1"): HELD}), {"w1"}, Choices())
    assert (row.node, row.budget, row.allowed, row.whose) == ("w1", "shop/web", 0, "ReplicaSet web-5d9c")
    assert row.seen == "pod shop/web-1 stays: PodDisruptionBudget web allows no disruption"


ROOM = (Place("w1", True, 2000, 4 << 30), Place("w2", True, 1000, 1 << 30), Place("cp1", False, 9000, 9 << 30))


@pytest.mark.parametrize(
    ("pods", "left"),
    [
        ((replace(WEB, milli=500),), []),
        ((replace(WEB, milli=1500),), ["web-1"]),
        ((replace(WEB, memory=2 << 30),), ["web-1"]),
        ((replace(WEB, milli=600), replace(WEB, name="web-2", milli=600)), ["web-2"]),  # one of two has room
        ((replace(WEB, milli=600), replace(WEB, name="db", node="w2", milli=600)), ["web-1"]),  # what is there takes room
        ((replace(BARE, milli=9000), replace(WEB, fixed=True, milli=9000), replace(WEB, ended=True, milli=9000)), []),
    ],
)  # fmt: skip
def test_what_has_room_on_no_other_node(pods: tuple[Pod, ...], left: list[str]) -> None:
    found = Workload(pods, places=ROOM)
    assert [pod.name for pod in homeless(found, {"w1"}, Choices())] == left
    assert homeless(found, {"w1"}, Choices(force_pods=frozenset(pod.title for pod in pods))) == []


@given(st.lists(st.tuples(st.integers(0, 900), st.integers(0, 1 << 30)), max_size=6))
def test_on_the_last_open_node_every_pod_that_moves_is_without_room(asked: list[tuple[int, int]]) -> None:
    pods = tuple(replace(WEB, name=f"p{n}", milli=cpu, memory=memory) for n, (cpu, memory) in enumerate(asked))
    assert len(homeless(Workload(pods, places=ROOM[:1]), {"w1"}, Choices())) == len(pods)


# --- whose a cordon is


def node(cordon: bool, mark: str = "") -> dict[str, Any]:
    found = api_node("w1")
    found["metadata"]["annotations"] = {CORDONED: mark} if mark else {}
    found["spec"] = {"unschedulable": True} if cordon else {}
    return found


def ctx(cordon: bool = False, mark: str = "", **choices: Any) -> Context:
    control = control_plane(ENV, nodes=(api_node("cp1"), node(cordon, mark)))
    return context(ENV, member(ENV), control=control, choices=Choices(whole_cluster=False, **choices))


DRAIN = ["…x.drain", "…x.volumes"]


@pytest.mark.parametrize(
    ("cordon", "mark", "cordons", "undoes", "after", "alone"),
    [
        (False, "", True, True, True, False),
        (False, ENV.name, True, True, True, False),  # somebody took the cordon of a killed run away
        (True, ENV.name, False, True, True, True),  # a run was killed
        (True, "", False, False, False, False),  # another person's
        (True, "other", False, False, False, False),  # another environment's
    ],
)
def test_a_cordon_is_taken_away_only_where_it_is_ours(
    cordon: bool, mark: str, cordons: bool, undoes: bool, after: bool, alone: bool
) -> None:
    seen = ctx(cordon, mark)
    actions = list(drained(seen, "x"))
    assert ids(actions) == ["x.cordon"] * cordons + DRAIN
    assert all((action.undo is not None) == undoes for action in actions if isinstance(action, Step | Wait))
    assert ids(uncordoned(seen, "x", after=True)) == ["…x.uncordon"] * after
    assert ids(uncordoned(seen, "x")) == ["…x.uncordon"] * alone
    assert our_cordon(node(cordon, mark), ENV.name) == (cordon and mark == ENV.name)


def test_our_cordon_and_its_annotation_are_one_patch_and_what_undoes_it_asks_first() -> None:
    step, wait, _ = drained(ctx(), "x")
    assert isinstance(step, Step) and isinstance(wait, Wait) and step.undo == wait.undo and step.undo
    patch = json.dumps({"metadata": {"annotations": {CORDONED: "test"}}, "spec": {"unschedulable": True}})
    assert patch in step.commands[1] and '"$now" != true' in step.commands[1]
    (undo,) = step.undo.commands
    assert undo.startswith('if [ "$(kubectl get node w1') and "= test ]; then kubectl patch" in undo


def test_no_drain_without_a_node_object_and_no_override_of_every_budget() -> None:
    assert list(drained(context(ENV, member(ENV), control=control_plane(ENV)), "x")) == []
    (_, wait, _) = drained(ctx(delete_emptydir=True, force_pods=frozenset({"shop/web-0"})), "x")
    assert isinstance(wait, Wait)
    assert (
        "--force" not in wait.probe and "disable-eviction" not in wait.probe and "--delete-emptydir-data" in wait.probe
    )
    assert "kubectl -n shop delete pods --field-selector spec.nodeName=w1,metadata.name=web-0 " in wait.probe, (
        "only on this node"
    )


@given(st.sets(st.from_regex(r"[a-z]{1,4}/[a-z]{1,4}", fullmatch=True), max_size=4), st.booleans())
def test_only_named_pods_are_deleted(named: set[str], scratch: bool) -> None:
    (_, wait, _) = drained(ctx(delete_emptydir=scratch, force_pods=frozenset(named)), "x")
    assert isinstance(wait, Wait)
    assert wait.probe.count("metadata.name=") == len(named)
    assert ("--delete-emptydir-data" in wait.probe) == scratch


DAEMON = '[{"kind":"DaemonSet","name":"ds","controller":true}]'
SET = '[{"kind":"StatefulSet","name":"db","controller":true}]'


def listing(attachments: str, pods: str = "", volumes: str = "", end: str = "@@ end\n") -> str:
    whose = f"@@ pods\n{pods}@@ volumes\n{volumes}" if attachments else ""
    return f"{attachments}{whose}{end}"


HELD_BY = [
    # the pods of the node, the claim of pv-1, and whether it is waited for
    ("no pod's", "", "shop\tdata", True),
    ("a DaemonSet's", f"shop\tds-1\tRunning\t{DAEMON}\t\tdata other\t\n", "shop\tdata", False),
    ("a static pod's", "shop\tstatic\tRunning\t\t0f1e\tdata\t\n", "shop\tdata", False),
    ("a DaemonSet's own (ephemeral)", f"shop\tds-1\tRunning\t{DAEMON}\t\t\tcache\n", "shop\tds-1-cache", False),
    ("one that moves", f"shop\tdb-0\tRunning\t{SET}\t\tdata\t\n", "shop\tdata", True),
    ("both: it stays with the DaemonSet's", f"shop\tdb-0\tRunning\t{SET}\t\tdata\t\nshop\tds-1\tRunning\t{DAEMON}\t\tdata\t\n", "shop\tdata", False),
    ("a DaemonSet's that ended", f"shop\tds-1\tFailed\t{DAEMON}\t\tdata\t\n", "shop\tdata", True),
    ("a DaemonSet that is no controller", f'shop\tx\tRunning\t{DAEMON.replace("true", "false")}\t\tdata\t\n', "shop\tdata", True),
    ("the same claim's name elsewhere", f"other\tds-1\tRunning\t{DAEMON}\t\tdata\t\n", "shop\tdata", True),
    ("a volume without a claim", f"shop\tds-1\tRunning\t{DAEMON}\t\t\t\n", "\t", True),
]  # fmt: skip


@pytest.mark.parametrize(("pods", "claim", "waited"), [row[1:] for row in HELD_BY], ids=[row[0] for row in HELD_BY])
def test_a_volume_is_not_waited_for_only_where_a_pod_that_stays_is_proved_to_use_it(
    pods: str, claim: str, waited: bool
) -> None:
    (*_, wait) = drained(ctx(), "x")
    assert isinstance(wait, Wait)
    said = listing("csi-1\tw1\tpv-1\n", pods, f"pv-1\t{claim}\npv-2\tshop\tother\n")
    assert wait.until(said) == ("volume pv-1 is still attached" if waited else None)
    inline = said.replace("csi-1\tw1\tpv-1", "csi-1\tw1\t")
    assert wait.until(inline) == "volume csi-1 is still attached", "which volume it is, is not known"


def test_volumes_of_this_node_are_waited_for() -> None:
    (*_, wait) = drained(ctx(), "x")
    assert isinstance(wait, Wait)
    assert wait.until(listing("csi-1\tw2\tpv-1\n")) is None and wait.until(listing("")) is None
    assert wait.until("\n@@ end\n") is None, "echo of an empty list"
    cut = listing("csi-1\tw2\tpv-1\n", end="")
    assert wait.until(cut) and wait.until("") == "no answer", "a list that was cut short proves nothing"
    assert wait.until("error: the server is away\n") == "error: the server is away"


# --- what the API says


SAID = {
    "pods": "shop\tweb-1\tw1\tRunning\t{\"app\":\"web\"}\t[{\"kind\":\"ReplicaSet\",\"name\":\"web-5d9c\",\"controller\":true}]\t\ttmp more\t"
    '{"cpu":"250m","memory":"1Gi"} {"cpu":"1"}\n'
    'kube-system\tetcd-cp1\tcp1\tRunning\t\t[{"kind":"Node","name":"cp1","controller":true}]\t0f1e\t\t\n'
    'kube-flannel\tds\tw1\tRunning\t{}\t[{"kind":"DaemonSet","name":"ds","controller":true}]\t\t\t\n'
    "default\tbare\t\tPending\t\t[{\"kind\":\"Sth\",\"name\":\"o\"}]\t\t\t\n"
    "Warning: something is deprecated\n",
    "budgets": 'shop\tweb\t{"matchLabels":{"app":"web"}}\t0\t1\t1\nshop\tall\t\t\t\t\n',
    "attachments": "csi-1\tw1\tpv-1\n",
    "places": 'w1\t\t{"cpu":"2","memory":"4Gi"}\t\tTrue\ncp1\t\t{}\t[{"key":"a","effect":"NoSchedule"}]\tTrue\nw2\ttrue\t{}\t\tTrue\nw3\t\t{}\t\tUnknown\n',
}  # fmt: skip


def test_the_answer_is_read() -> None:
    found = parse(SAID)
    web, etcd, daemon, bare = found.pods
    assert (web.owner, web.scratch, web.milli, web.memory) == ("ReplicaSet web-5d9c", ("tmp", "more"), 1250, 1 << 30)
    assert etcd.fixed and daemon.fixed and not web.fixed and bare.owner == "" and bare.node == ""
    assert found.budgets[0].covers(web) and not found.budgets[1].covers(web), (
        "a budget without a selector covers nothing"
    )
    assert found.attachments == (Attachment("csi-1", "w1", "pv-1"),)
    assert [place.name for place in found.places if place.open] == ["w1"]
    assert found.places[0] == Place("w1", True, 2000, 4 << 30)


@pytest.mark.parametrize(
    ("section", "row"),
    [
        ("pods", "shop\tweb;reboot\tw1\tRunning\t\t\t\t\t\n"),
        ("pods", "shop\t../../nodes/w1\tw1\tRunning\t\t\t\t\t\n"),
        ("pods", "shop\tweb\tw1\tRunning\n"),
        ("pods", "shop\tweb\tw1\tRunning\t[]\t\t\t\t\n"),
        ("pods", 'shop\tweb\tw1\tRunning\t\t\t\t\t{"cpu":"9e99999"}\n'),
        ("budgets", "shop\tweb\t{}\t-1\t1\t1\n"),
        ("places", "w1\t\t{\"cpu\":\"x\"}\t\tTrue\n"),
        ("attachments", "a\t$(reboot)\tpv\n"),
    ],
)  # fmt: skip
def test_what_has_not_its_form_is_refused(section: str, row: str) -> None:
    with pytest.raises(FormError):
        parse({**SAID, section: row})


@given(st.dictionaries(st.sampled_from(sorted(SAID)), st.text(max_size=300)), st.text(max_size=300))
def test_whatever_comes_is_read_or_refused_with_a_form(said: dict[str, str], trial: str) -> None:
    try:
        parse({**SAID, **said}, [trial])
    except FormError:
        pass


MANY = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
TRIAL = f"""\
node/w1 cordoned (server dry run)
Warning: ignoring DaemonSet-managed Pods: kube-flannel/kube-flannel-ds-x2bqm
evicting pod shop/web-1 (server dry run)
evicting pod shop/db-0 (server dry run)
error when evicting pods/"web-1" -n "shop" (will retry after 5s): {HELD}
There are pending pods in node "w1" when an error occurred: [error when evicting pods/"db-0" -n "shop": {MANY}, error when evicting \
pods/"web-1" -n "shop": global timeout reached: 2s, error when evicting pods/"x;y" -n "shop": no]
pod/db-0
error: unable to drain node "w1" due to error: [error when evicting pods/"db-0" -n "shop": {MANY}, error when evicting \
pods/"web-1" -n "shop": global timeout reached: 2s], continuing command...
"""


def test_a_trials_refusals() -> None:
    assert refusals(TRIAL) == {("shop", "web-1"): HELD, ("shop", "db-0"): MANY}
    assert refusals("node/w1 drained (server dry run)\n") == {}


@pytest.mark.parametrize(
    ("text", "value"),
    [("250m", 0.25), ("1", 1), ("1.5", 1.5), ("1Ki", 1024), ("2e3", 2000), ("1G", 1e9), ("100n", 1e-7), ("1E", 1e18)],
)
def test_quantities(text: str, value: float) -> None:
    assert quantity(text) == pytest.approx(value)
    assert milli(text) >= value * 1000 - 1e-6 and size(text) >= value


def test_an_empty_selector_covers_its_whole_namespace() -> None:
    assert selects({}, {"a": "b"}) and selects({}, {}) and not selects({"matchLabels": 3}, {})
