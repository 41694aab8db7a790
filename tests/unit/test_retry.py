"""Waiting and retrying with a virtual clock: no test here really waits."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile.run.retry import RealClock, attempt, poll


class Virtual:
    """A clock that only sleeps and probes move."""

    def __init__(self) -> None:
        self.time = 0.0
        self.sleeps: list[float] = []

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.time += seconds


def counting(clock: Virtual, until: int, cost: float = 0.0):
    """A probe that takes `cost` seconds and succeeds at its `until`-th call."""
    calls = []

    def probe() -> int:
        clock.time += cost
        calls.append(clock.time)
        return len(calls)

    return probe, (lambda n: n >= until), calls


def test_a_condition_that_holds_at_once_needs_no_wait() -> None:
    clock = Virtual()
    probe, good, calls = counting(clock, 1)
    assert poll(probe, good, clock=clock, deadline=60, interval=2) == (True, 1)
    assert (len(calls), clock.sleeps) == (1, [])


def test_the_probe_runs_at_every_interval() -> None:
    clock = Virtual()
    probe, good, calls = counting(clock, 4)
    assert poll(probe, good, clock=clock, deadline=60, interval=2) == (True, 4)
    assert calls == [0, 2, 4, 6]


def test_at_the_deadline_the_last_result_is_returned() -> None:
    clock = Virtual()
    probe, good, calls = counting(clock, 99)
    met, seen = poll(probe, good, clock=clock, deadline=10, interval=3)
    assert not met
    assert seen == len(calls) == 5
    assert clock.time == 12


def test_a_slow_probe_uses_up_the_deadline_too() -> None:
    clock = Virtual()
    probe, good, calls = counting(clock, 99, cost=30)
    met, _ = poll(probe, good, clock=clock, deadline=60, interval=1)
    assert not met
    assert len(calls) == 2


@given(st.floats(0.5, 500), st.floats(0.1, 20), st.integers(1, 80))
def test_it_gives_up_at_its_deadline(deadline: float, interval: float, until: int) -> None:
    clock = Virtual()
    probe, good, _calls = counting(clock, until)
    met, seen = poll(probe, good, clock=clock, deadline=deadline, interval=interval)
    assert met == (seen >= until)
    if not met:
        assert deadline <= clock.time < deadline + interval + 1e-6
    assert all(sleep == interval for sleep in clock.sleeps)


def test_a_probes_own_error_passes_through() -> None:
    clock = Virtual()
    with pytest.raises(ZeroDivisionError):
        poll(lambda: 1 // 0, lambda _: True, clock=clock, deadline=9, interval=1)


def test_an_attempt_is_retried_with_growing_waits_and_reported() -> None:
    clock = Virtual()
    retries: list[tuple[str, float]] = []
    tries = []

    def action() -> str:
        tries.append(clock.time)
        if len(tries) < 5:
            raise ConnectionError(f"try {len(tries)}")
        return "done"

    found = attempt(
        action,
        on=ConnectionError,
        clock=clock,
        deadline=60,
        first_wait=1,
        longest_wait=4,
        before_sleep=lambda e, s: retries.append((str(e), s)),
    )
    assert found == "done"
    assert [text for text, _ in retries] == ["try 1", "try 2", "try 3", "try 4"]
    assert clock.sleeps == [s for _, s in retries]
    assert clock.sleeps[0] < clock.sleeps[1] < clock.sleeps[2] <= 4
    assert max(clock.sleeps) <= 4


def test_an_attempt_ends_with_its_last_error() -> None:
    clock = Virtual()

    def action() -> None:
        raise ConnectionError(f"at {clock.time:.0f}")

    with pytest.raises(ConnectionError):
        attempt(action, on=ConnectionError, clock=clock, deadline=10)
    assert clock.time >= 10


def test_another_error_is_not_retried() -> None:
    clock = Virtual()

    def action() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        attempt(action, on=ConnectionError, clock=clock, deadline=60)
    assert clock.sleeps == []


def test_the_real_clock_is_the_machines_monotonic_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    clock = RealClock()
    before = clock.now()
    clock.sleep(5)
    assert slept == [5]
    assert clock.now() >= before
