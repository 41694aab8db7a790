"""Gates: the only way for nodes to wait for each other."""

from __future__ import annotations

from threading import Event, Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile.run.gates import Blocked, Gates


def never() -> bool:
    return False


def test_an_open_gate_returns_the_time_at_which_it_opened() -> None:
    gates = Gates()
    gates.open("master", at=12.5)
    assert gates.wait("master", never) == 12.5
    assert gates.settled("master")
    assert not gates.settled("network")


def test_a_failed_gate_raises_its_reason() -> None:
    gates = Gates()
    gates.fail("master", "cp1 (master failed)")
    with pytest.raises(Blocked, match=r"cp1 \(master failed\)"):
        gates.wait("master", never)


def test_a_stop_ends_the_waiting() -> None:
    with pytest.raises(Blocked, match="stopped"):
        Gates().wait("master", lambda: True)


def test_an_opened_gate_lets_all_waiting_threads_through() -> None:
    gates, passed = Gates(), []
    threads = [Thread(target=lambda: passed.append(gates.wait("m", never))) for _ in range(20)]
    for thread in threads:
        thread.start()
    gates.open("m", at=3.0)
    for thread in threads:
        thread.join(10)
    assert passed == [3.0] * 20


def test_a_stop_reaches_threads_that_are_already_waiting() -> None:
    gates, stop, ended = Gates(), Event(), []

    def wait() -> None:
        try:
            gates.wait("m", stop.is_set)
        except Blocked as blocked:
            ended.append(str(blocked))

    thread = Thread(target=wait)
    thread.start()
    stop.set()
    thread.join(10)
    assert ended == ["the run was stopped"]


@given(st.lists(st.sampled_from(["open", "fail one", "fail two"]), min_size=1))
def test_the_first_outcome_of_a_gate_is_final(words: list[str]) -> None:
    gates = Gates()
    for word in words:
        gates.open("g") if word == "open" else gates.fail("g", word)
    if words[0] == "open":
        gates.wait("g", never)
    else:
        with pytest.raises(Blocked, match=words[0]):
            gates.wait("g", never)
