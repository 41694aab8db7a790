"""A worker leaves its cluster: `kubectl drain`'s output is parsed, budgets are named, a dead kubelet is not waited for."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from fabfile.context import Choices
from fabfile.nodes.facts import NodeFacts, Unit
from fabfile.phases.drain import undrained
from fabfile.phases.leave import gone, leave
from fabfile.steps import Step, Wait
from making import api_node, context, control_plane, environment, ids, links, member, text_of

ENV = environment()
ONE = Choices(whole_cluster=False)


def left(facts: NodeFacts, control: NodeFacts | None, **choices: Any) -> list[Any]:
    return list(leave(context(ENV, facts, control=control, choices=replace(ONE, **choices))))


def listed(status: str = "True") -> NodeFacts:
    node = {
        **api_node("w1"),
        "status": {
            "conditions": [{"type": "Ready", "status": status}],
            "addresses": [{"type": "InternalIP", "address": "10.2.0.11"}],
        },
    }
    return control_plane(ENV, nodes=(api_node("cp1"), node))


@pytest.mark.parametrize("status", ["True", "False"])
def test_a_node_with_a_live_kubelet_is_drained_before_its_deletion(status: str) -> None:
    actions = left(member(ENV), listed(status))
    assert ids(actions) == ["reset.cordon", "…reset.drain", "…reset.volumes", "reset.node"]
    assert all(action.on == "control-plane" for action in actions)
    wait = actions[1]
    assert isinstance(wait, Wait) and not wait.changes, "no lock and no turn: nodes are drained side by side"
    assert "|| true" not in text_of(actions) and "disable-eviction" not in wait.probe
    assert wait.deadline == ENV.settings.drain_timeout == 120


@pytest.mark.parametrize(
    ("facts", "status"), [(member(ENV), "Unknown"), (member(ENV, units={"kubelet": Unit(False, True)}), "True")]
)
def test_a_dead_kubelet_is_not_waited_for_and_this_is_reported(facts: NodeFacts, status: str) -> None:
    (step,) = left(facts, listed(status))
    assert step.id == "reset.node" and "drain" not in " ".join(step.commands) and "not drained" in step.title


def test_no_step_without_a_known_node_object() -> None:
    assert left(member(ENV), None) == left(member(ENV), control_plane(ENV)) == []


def test_another_machines_node_object_of_the_same_name_stays() -> None:
    """w2's machine has the hostname w1."""
    facts = member(ENV, links=links("flannel.1", "cni0", node="w2"))
    clone = context(ENV, facts, node="w2", control=listed(), choices=ONE)
    assert list(leave(clone)) == []
    assert ids(leave(context(ENV, member(ENV), control=listed(), choices=ONE)))[-1] == "reset.node"


@pytest.mark.parametrize(
    ("status", "wanted"), [("Unknown", ["gone.node"]), ("False", ["gone.node"]), ("True", ["!gone.ready"])]
)
def test_only_the_node_of_a_machine_that_is_not_ready_is_deleted_as_gone(status: str, wanted: list[str]) -> None:
    chosen = Choices(gone=frozenset({"w1", "w9"}))
    actions = list(gone(context(ENV, listed(status), node="cp1", choices=chosen)))
    assert ids(actions) == wanted, "and none that the cluster does not have"
    assert all("kubectl delete node w1 " in text_of([action]) for action in actions if isinstance(action, Step))


def test_force_applies_only_to_the_named_node() -> None:
    (_, wait, *_) = left(member(ENV), listed(), force_drain=frozenset({"w2"}))
    assert isinstance(wait, Wait) and "fab -H w1 reset --env test --force-drain w1" in wait.hint
    (_, step, _) = left(member(ENV), listed(), force_drain=frozenset({"w1"}))
    assert isinstance(step, Step) and "--disable-eviction" in step.commands[0]


BLOCKED = """\
node/w2 already cordoned
Warning: ignoring DaemonSet-managed Pods: kube-flannel/kube-flannel-ds-x2bqm, kube-system/kube-proxy-9rkx7
evicting pod default/web-5d9c-abcde
error when evicting pods/"web-5d9c-abcde" -n "default" (will retry after 5s): Cannot evict pod as it would violate the pod's disruption budget.
evicting pod default/web-5d9c-abcde
There are pending pods in node "w2" when an error occurred: error when evicting pods/"web-5d9c-abcde" -n "default": global timeout reached: 8s
pod/web-5d9c-abcde
error: unable to drain node "w2" due to error: error when evicting pods/"web-5d9c-abcde" -n "default": global timeout reached: 8s, continuing command...
"""
# of kubectl 1.36.3; it says the reasons twice
CONSENT = """\
error: unable to drain node "w2" due to error: [cannot delete Pods that declare no controller (use --force to override): shop/bare, \
cannot delete Pods with local storage (use --delete-emptydir-data to override): shop/cache], continuing command...
There are pending nodes to be drained:
 w2
cannot delete Pods that declare no controller (use --force to override): shop/bare
cannot delete Pods with local storage (use --delete-emptydir-data to override): shop/cache
"""
SLOW = 'evicting pod default/db-0\nerror when waiting for pod "db-0" in namespace "default" to terminate: global timeout reached: 8s\n'


def rows(labels: dict[str, str], *budgets: tuple[str, dict[str, Any]]) -> str:
    pods = f"pod default web-5d9c-abcde {json.dumps(labels)}\n"
    return pods + "".join(
        f"budget {place.split('/')[0]} {place.split('/')[1]} {json.dumps(selector)}\n" for place, selector in budgets
    )


@pytest.mark.parametrize(
    ("output", "seen"),
    [
        ("evicting pod default/a\npod/a evicted\nnode/w2 drained\n", None),
        (BLOCKED + rows({"app": "web"}, ("default/web", {"matchLabels": {"app": "web"}}), ("default/db", {"matchLabels": {"app": "db"}})),
         "pod default/web-5d9c-abcde stays: PodDisruptionBudget web allows no disruption"),
        (BLOCKED + rows({"app": "web"}, ("other/web", {"matchLabels": {"app": "web"}})), "stays: a PodDisruptionBudget allows no disruption"),
        (BLOCKED + rows({"app": "web"}, ("default/all", {}), ("default/web", {"matchLabels": {"app": "web"}})), "PodDisruptionBudget all and web allow no"),
        (BLOCKED + rows({"tier": "a"}, ("default/in", {"matchExpressions": [{"key": "tier", "operator": "In", "values": ["a", "b"]}]})), "Budget in allows"),
        (BLOCKED + rows({"tier": "a"}, ("default/out", {"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["a"]}]})), "a PodDisruption"),
        (BLOCKED + rows({}, ("default/no", {"matchExpressions": [{"key": "x", "operator": "DoesNotExist"}]})), "Budget no allows"),
        (BLOCKED + "budget default x {broken\nbudget default y [1]\npod default web-5d9c-abcde {\n", "a PodDisruptionBudget allows no disruption"),
        (CONSENT, "pod shop/bare stays: it has no controller; pod shop/cache stays: it has data in emptyDir"),
        (SLOW, "pod default/db-0 has not ended yet"),
        ("The connection to the server 10.2.0.1:6443 was refused\n", "The connection to the server"),
        ("", "no answer"),
    ],
)  # fmt: skip
def test_drains_output_is_parsed(output: str, seen: str | None) -> None:
    reason = undrained(output)
    assert reason is None if seen is None else reason and seen in reason


def test_only_drains_own_last_line_counts_as_drained() -> None:
    assert undrained('error: pod named "node/w2 drained"\n')
