"""A reboot: drained before, proved after; a node that has left its boot is not rebooted once more."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile.context import Choices
from fabfile.phases.drain import CORDONED
from fabfile.phases.reboot import PENDING, noted, reboot
from fabfile.steps import Step, Wait
from making import api_node, context, control_plane, environment, ids, member

ENV = environment()
ONE, TWO = "11111111-2222-3333-4444-555555555555", "99999999-8888-7777-6666-555555555555"
PROOFS = ["…reboot.kubelet", "…reboot.flannel", "…reboot.ready", "…reboot.rules"]
DRAIN, GO, FREE = (
    ["…reboot.services", "reboot.cordon", "…reboot.drain", "…reboot.volumes"],
    ["reboot.reboot", "…reboot.back"],
    ["…reboot.uncordon"],
)


def node(name: str, cordon: bool = False, **annotations: str) -> dict[str, Any]:
    found = api_node(name)
    found["metadata"]["annotations"] = {key.replace("_", "/"): value for key, value in annotations.items()}
    return {**found, "spec": {"unschedulable": True} if cordon else {}}


def marked(boot: str, cordon: bool = False, owner: str = "") -> dict[str, Any]:
    found = node("w1", cordon)
    found["metadata"]["annotations"] = {PENDING: boot} | ({CORDONED: owner} if owner else {})
    return found


@pytest.mark.parametrize(
    ("one", "wanted"),
    [
        (marked(f"{ONE}.7"), [*DRAIN, *GO, *PROOFS, *FREE]),
        (marked(f"{ONE}.7", True, ENV.name), [DRAIN[0], *DRAIN[2:], *GO, *PROOFS, *FREE]),  # killed before the reboot
        (marked(f"{TWO}.7", True, ENV.name), [*PROOFS, *FREE]),  # killed after it
        (
            marked(f"{ONE}.7", True),
            [DRAIN[0], *DRAIN[2:], *GO, *PROOFS, "…reboot.done"],
        ),  # another person's cordon stays
        (marked(f"{TWO}.7", True), [*PROOFS, "…reboot.done"]),
        (
            marked(f"{ONE}.8"),
            [*PROOFS, "…reboot.done"],
        ),  # a container: its kernel is the same, its first process is not
        (node("w1"), [*DRAIN, *GO, *PROOFS, *FREE]),
    ],
)
def test_what_is_left_to_do(one: dict[str, Any], wanted: list[str]) -> None:
    facts = member(ENV, boot_id=ONE, init=7)
    boot = one["metadata"]["annotations"].get(PENDING, facts.booted)
    control = control_plane(ENV, nodes=(api_node("cp1"), one))
    actions = list(reboot(context(ENV, facts, control=control, choices=Choices(reboots={"w1": boot}))))
    assert ids(actions) == wanted
    undone = [action.id for action in actions if isinstance(action, Step | Wait) and action.undo]
    assert all(id in ("reboot.cordon", "reboot.drain", "reboot.volumes") for id in undone), (
        "nothing is undone once it reboots"
    )


def test_a_node_that_was_not_chosen_and_a_cluster_without_its_node_have_nothing_to_do() -> None:
    facts = member(ENV, boot_id=ONE, init=7)
    control = control_plane(ENV, nodes=(api_node("cp1"), node("w1")))
    assert list(reboot(context(ENV, facts, control=control, choices=Choices(reboots={"w2": facts.booted})))) == []
    assert (
        list(reboot(context(ENV, facts, control=control_plane(ENV), choices=Choices(reboots={"w1": facts.booted}))))
        == []
    )


def test_the_only_control_plane_is_not_drained_and_this_is_said() -> None:
    facts = control_plane(ENV, boot_id=ONE, init=7)
    actions = list(
        reboot(context(ENV, facts, node="cp1", control=facts, choices=Choices(reboots={"cp1": facts.booted})))
    )
    assert ids(actions) == [
        *GO,
        "…reboot.kubelet",
        "…reboot.api",
        *PROOFS[1:],
        "…reboot.pods",
        "…reboot.metrics",
        "…reboot.done",
    ]
    assert isinstance(actions[0], Step) and "not drained" in actions[0].title


@pytest.mark.parametrize(
    ("seen", "back"),
    [(f"{ONE}.7\n", False), (f"{TWO}.7\n", True), (f"{ONE}.9\n", True), ("", False), ("Connection refused", False), (f"{TWO}.", False)],
)  # fmt: skip
def test_only_another_boot_is_back(seen: str, back: bool) -> None:
    facts = member(ENV, boot_id=ONE, init=7)
    control = control_plane(ENV, nodes=(api_node("cp1"), node("w1")))
    actions = reboot(context(ENV, facts, control=control, choices=Choices(reboots={"w1": facts.booted})))
    wait = next(action for action in actions if action.id == "reboot.back")
    assert isinstance(wait, Wait) and wait.reboots and (wait.until(seen) is None) == back


@given(st.integers(1, 10**9), st.integers(-3, 3), st.booleans())
def test_metrics_of_before_the_boot_prove_nothing(start: int, later: int, two: bool) -> None:
    facts = control_plane(ENV, boot_id=ONE, init=7)
    actions = list(reboot(context(ENV, facts, node="cp1", choices=Choices(reboots={"cp1": facts.booted}))))
    pods, metrics = (next(one for one in actions if one.id == f"reboot.{name}") for name in ("pods", "metrics"))
    assert isinstance(pods, Wait) and isinstance(metrics, Wait)

    def runs(*seconds: int, state: str = "CONTAINER_RUNNING") -> str:
        return json.dumps({"containers": [{"state": state, "createdAt": str(one * 10**9)} for one in seconds]})

    for text in ("", "[]", "no", '{"containers": null}', runs(start, state="CONTAINER_EXITED"), '{"containers": [{}]}'):
        assert pods.until(text), text
    assert pods.until(runs(start, *([start - 9] if two else []))) is None
    said = f"name,tags,time,last\nkubernetes_node,node_name=cp1,{(start + later) * 10**9},5\nkubernetes_node,node_name=w1,{(start + 99) * 10**9},5\n"
    assert (metrics.until(said) is None) == (later > 0)
    assert metrics.until(said.replace("=cp1", "=other")) == "none in the last minute"


def test_notes_are_written_once() -> None:
    facts = control_plane(ENV, nodes=(api_node("cp1"), marked("a.1"), node("w2")))
    ctx = context(ENV, facts, node="cp1", choices=Choices(reboots={"w1": "a.1", "w2": "b.2", "w9": "c.3"}))
    (step,) = noted(ctx)
    assert isinstance(step, Step) and step.commands == (f"kubectl annotate node w2 {PENDING}=b.2 --overwrite",)
    assert replace(facts, boot_id=ONE, init=3).booted == f"{ONE}.3"
