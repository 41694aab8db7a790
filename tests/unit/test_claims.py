"""Which machine each node is: lines of the inventory that are one machine, or share a hostname."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile.run import claims
from fabfile.run.claims import Claims

NODES = ["cp1", "w1", "w2", "w3"]


def under_way(monkeypatch: pytest.MonkeyPatch, patience: float, *nodes: str) -> Claims:
    """These nodes' pipelines have begun, and each waits for those before it for `patience` seconds."""
    monkeypatch.setattr(claims, "CLAIM_WAIT", patience)
    known = Claims(NODES)
    for node in nodes:
        known.begin(node)
    return known


@given(st.permutations(range(5)), st.lists(st.sampled_from(["", "a", "b", "c"]), min_size=5, max_size=5))
def test_of_nodes_that_are_one_machine_all_but_one_are_named_in_whatever_order_they_answer(
    order: list[int], machines: list[str]
) -> None:
    nodes = [f"n{number}" for number in range(5)]
    known = Claims(nodes)
    said = {number: known.duplicate_of(nodes[number], machine_id=machines[number]) for number in order}
    for machine in {*machines} - {""}:
        same = [number for number in order if machines[number] == machine]
        assert [number for number in same if not said[number]] == same[:1]
        assert {said[number].rpartition(" (")[2] for number in same[1:]} <= {f"{machine})"}
    assert not any(said[number] for number in order if not machines[number]), "what is unknown is like no other"


def test_what_is_shared_and_with_whom_is_named() -> None:
    known = Claims(NODES)
    assert known.duplicate_of("w1", hostname="node-1", machine_id="1") == ""
    assert known.duplicate_of("w2", hostname="node-1", machine_id="2") == "hostname as w1 (node-1)"
    assert known.duplicate_of("w3", hostname="node-3", machine_id="1") == "machine-id as w1 (1)"


def test_a_node_that_is_observed_again_is_no_duplicate_of_itself_or_of_what_it_was() -> None:
    known = Claims(NODES)
    assert known.duplicate_of("w1", hostname="old") == ""
    assert known.duplicate_of("w1", hostname="new") == ""
    assert known.duplicate_of("w2", hostname="old") == ""
    assert known.duplicate_of("w3", hostname="new") == "hostname as w1 (new)"


@pytest.mark.timeout(30)
@pytest.mark.parametrize("order", [("w1", "w2"), ("w2", "w1")])
def test_of_two_under_way_the_earlier_in_the_inventory_goes_on_whichever_answers_first(
    order: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = under_way(monkeypatch, 3600.0, "w1", "w2")
    with ThreadPoolExecutor(2) as pool:
        answers = {node: pool.submit(known.duplicate_of, node, hostname="same") for node in order}
        assert [answers[node].result() for node in ("w1", "w2")] == ["", "hostname as w1 (same)"]


@pytest.mark.timeout(30)
def test_a_node_waits_for_none_that_has_ended_or_comes_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    known = under_way(monkeypatch, 3600.0, *NODES)
    known.end("cp1")
    assert known.duplicate_of("w1", hostname="w1") == ""


@pytest.mark.timeout(30)
def test_a_node_that_does_not_answer_delays_the_others_by_no_more_than_that(monkeypatch: pytest.MonkeyPatch) -> None:
    known = under_way(monkeypatch, 0.01, *NODES)
    assert known.duplicate_of("w3", hostname="w3") == ""
