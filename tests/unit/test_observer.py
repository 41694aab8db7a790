"""Observing: of several control planes, kubefab uses the one whose API answers, for judging and for its steps."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fabfile.errors import StepFailed
from fabfile.inventory import Environment, Node
from fabfile.nodes.facts import NodeFacts
from fabfile.run import observer
from fabfile.run.observer import OBSERVE_TIMEOUT, Observer
from fabfile.steps import Step
from making import environment


def three() -> Environment:
    env = environment(1)
    more = tuple(Node(f"cp{n}", f"192.0.2.{n}", f"10.2.0.{n}", True, user="ops") for n in (2, 3))
    return replace(env, control_planes=(env.control_plane, *more))


class Group:
    """Nodes that answer with their name."""

    def of(self, node: Node) -> Group:
        self.name = node.name
        return self

    def root(self, text: str, timeout: float) -> tuple[int, bytes]:
        return 0, self.name.encode()


@pytest.mark.parametrize(
    ("answering", "order", "chosen"),
    [
        ({"cp1", "cp2"}, ("cp1", "cp2", "cp3"), "cp1"),
        ({"cp2", "cp3"}, ("cp1", "cp3", "cp2"), "cp2"),
        ({"cp3"}, ("cp3", "cp1", "cp2"), "cp3"),
        (set(), ("cp2", "cp1"), "cp1"),
        (set(), ("cp2",), "cp2"),
        (set(), (), "cp1"),
    ],
)
def test_the_control_plane_that_answers_is_used(
    monkeypatch: pytest.MonkeyPatch, answering: set[str], order: tuple[str, ...], chosen: str
) -> None:
    monkeypatch.setattr(observer, "parse_facts", lambda name: NodeFacts(hostname=name, api_ready=name in answering))
    env = three()
    seen = Observer(env, Group())  # type: ignore[arg-type]
    for name in order:
        seen.observe(next(node for node in env.nodes if node.name == name))
    assert seen.control_node.name == chosen
    assert (seen.control.hostname if seen.control else "") == (chosen if order else "")


def test_a_later_answer_of_another_control_plane_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    up: set[str] = {"cp1"}
    monkeypatch.setattr(observer, "parse_facts", lambda name: NodeFacts(hostname=name, api_ready=name in up))
    env = three()
    seen = Observer(env, Group())  # type: ignore[arg-type]
    for node in env.control_planes:
        seen.observe(node)
    up.clear()
    up.add("cp2")
    for node in env.control_planes:
        seen.observe(node)
    assert seen.control_node.name == "cp2"
    assert seen.first is not None and seen.first.hostname == "cp1", "a reset judges by what was there at its start"
    noted = seen.noted(env.control_plane, seen.latest(env.control_plane, NodeFacts()), (Step("master.x", "x"),))
    assert noted.hostname == "cp1" and seen.control_node.name == "cp2"


def test_a_look_that_has_begun_is_the_next_answer_and_no_second_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """`settle` is asked for, as a run does that is about to change the node; a node's error comes when it is asked, and once."""
    asked: list[str] = []

    def parsed(name: str) -> NodeFacts:
        asked.append(name)
        if name == "w2" and asked.count(name) == 1:
            raise ValueError("no sections")
        return NodeFacts(hostname=name)

    monkeypatch.setattr(observer, "parse_facts", parsed)
    env, sent = environment(2), []

    class One:
        def __init__(self, node: Node) -> None:
            self.name = node.name

        def root(self, text: str, timeout: float) -> tuple[int, bytes]:
            sent.append(timeout > OBSERVE_TIMEOUT)
            return 0, self.name.encode()

    class Nodes:
        def of(self, node: Node) -> One:
            return One(node)

    seen = Observer(env, Nodes())  # type: ignore[arg-type]
    seen.ahead(env.nodes)
    assert [seen.observe(node, settle=True).hostname for node in env.nodes[:2]] == ["cp1", "w1"]
    with pytest.raises(StepFailed, match="w2: observing failed"):
        seen.observe(env.nodes[2], settle=True)
    assert sorted(asked) == ["cp1", "w1", "w2"] and all(sent)
    assert seen.observe(env.nodes[2]).hostname == "w2" and len(asked) == 4
    few = replace(env, settings=replace(env.settings, forks=2))
    Observer(few, Nodes()).ahead(few.nodes)  # type: ignore[arg-type]
    assert len(asked) == 4, "FORKS bounds how many nodes are looked at"
