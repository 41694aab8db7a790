"""Gates: the only way for nodes to wait for each other."""

from __future__ import annotations

from threading import Event, Thread
from time import sleep

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile.run.gates import Blocked, Gates, Turns
from fabfile.run.slots import Slots


def never() -> bool:
    return False


def test_an_open_gate_returns_the_time_at_which_it_opened() -> None:
    gates = Gates()
    gates.open("master", at=12.5)
    assert gates.wait("master") == 12.5
    assert gates.settled("master")
    assert not gates.settled("network")


def test_a_failed_gate_raises_its_reason() -> None:
    gates = Gates()
    gates.fail("master", "cp1 (master failed)")
    with pytest.raises(Blocked, match=r"cp1 \(master failed\)"):
        gates.wait("master")


def test_a_stop_ends_the_waiting() -> None:
    gates = Gates()
    gates.open("network")
    gates.stop()
    with pytest.raises(Blocked, match="stopped"):
        gates.wait("master")
    gates.wait("network")


def test_an_opened_gate_lets_all_waiting_threads_through() -> None:
    gates, passed = Gates(), []
    threads = [Thread(target=lambda: passed.append(gates.wait("m"))) for _ in range(20)]
    for thread in threads:
        thread.start()
    gates.open("m", at=3.0)
    for thread in threads:
        thread.join(10)
    assert passed == [3.0] * 20


def test_a_stop_reaches_threads_that_are_already_waiting() -> None:
    gates, ended = Gates(), list[str]()

    def wait() -> None:
        try:
            gates.wait("m")
        except Blocked as blocked:
            ended.append(str(blocked))

    thread = Thread(target=wait)
    thread.start()
    gates.stop()
    thread.join(10)
    assert ended == ["the run was stopped"]


@given(st.lists(st.sampled_from(["open", "fail one", "fail two"]), min_size=1))
def test_the_first_outcome_of_a_gate_is_final(words: list[str]) -> None:
    gates = Gates()
    for word in words:
        gates.open("g") if word == "open" else gates.fail("g", word)
    if words[0] == "open":
        gates.wait("g")
    else:
        with pytest.raises(Blocked, match=words[0]):
            gates.wait("g")


def test_a_turn_is_one_nodes_until_it_ends_and_the_next_one_begins_no_earlier() -> None:
    turns, order = Turns(), list[str]()
    assert turns.take("kubelets", "w1", never) == 0.0
    assert turns.take("kubelets", "w1", never) == 0.0, "it has it already"
    assert not turns.free("kubelets") and turns.free("others")

    def second() -> None:
        assert turns.take("kubelets", "w2", never) == 7.5
        order.append("w2")

    thread = Thread(target=second)
    thread.start()
    order.append("w1")
    turns.end("w1", "kubelets", 5.0)  # its next action has the same turn
    assert not turns.free("kubelets")
    turns.end("w1", "", 7.5)
    thread.join(5)
    assert order == ["w1", "w2"]


def test_a_node_at_which_it_failed_keeps_the_others_from_it_and_from_nothing_else() -> None:
    turns = Turns()
    turns.take("kubelets", "w1", never)
    turns.take("reboots", "w2", never)
    turns.end("w3", "", 1.0, "w3, at which it failed")
    turns.end("w1", "", 2.0, "w1, at which it failed")
    with pytest.raises(Blocked, match="w1, at which it failed"):
        turns.take("kubelets", "w2", never)
    turns.end("w2", "", 3.0)
    assert turns.take("reboots", "w1", never) == 3.0
    stopped = Event()
    turns.take("drains", "w1", never)
    stopped.set()
    with pytest.raises(Blocked, match="stopped"):
        turns.take("drains", "w2", stopped.is_set)


@given(st.integers(1, 4), st.lists(st.integers(0, 2), min_size=1, max_size=12))
def test_a_free_slot_goes_to_the_lowest_rank_then_to_the_one_that_waits_longest(number: int, ranks: list[int]) -> None:
    slots, order = Slots(number), list[tuple[int, int]]()
    for _ in range(number):
        slots.acquire(0)  # free: none waits

    def work(place: int, rank: int) -> None:
        with slots.held(rank):
            order.append((rank, place))

    threads = [Thread(target=work, args=(place, rank)) for place, rank in enumerate(ranks)]
    for waiting, thread in enumerate(threads, 1):
        thread.start()
        while slots.waiting < waiting:
            sleep(0)
    slots.release()  # one at a time, however many there are
    for thread in threads:
        thread.join(10)
    assert order == sorted(order) and len(order) == len(ranks)
