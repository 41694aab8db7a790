"""Waiting and retrying: the only place that knows tenacity.

Every policy names what it waits for, has a deadline, and takes the clock from outside, so that the
rehearsal's minutes pass at once and tests need no sleeping.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:  # tenacity brings asyncio with it: a run that waits for nothing need not load it
    from tenacity import RetryCallState

T = TypeVar("T")


class Clock(Protocol):
    """Seconds that pass: real ones, or a rehearsal's."""

    def now(self) -> float: ...

    def sleep(self, seconds: float) -> None: ...

    def advance_to(self, moment: float) -> None:
        """This node waited for another one, which was ready at `moment`: a rehearsal's clock takes that over."""


class RealClock:
    """The machine's monotonic clock."""

    def now(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def advance_to(self, moment: float) -> None:
        """Nothing to do: real nodes share this machine's clock."""


def _stop_at(clock: Clock, deadline: float) -> Callable[[RetryCallState], bool]:
    """A tenacity stop on our clock: tenacity's own deadlines read the machine's."""
    end = clock.now() + deadline
    return lambda state: clock.now() >= end


def poll(
    probe: Callable[[], T],
    satisfied: Callable[[T], bool],
    *,
    clock: Clock,
    deadline: float,
    interval: float,
) -> tuple[bool, T]:
    """Call `probe` every `interval` seconds until `satisfied`, for at most `deadline` seconds.

    Returns whether it was, and the last thing seen.  Exceptions of the probe pass through.
    """
    from tenacity import RetryError, Retrying, retry_if_result, wait_fixed

    policy = Retrying(
        retry=retry_if_result(lambda seen: not satisfied(seen)),
        wait=wait_fixed(interval),
        stop=_stop_at(clock, deadline),
        sleep=clock.sleep,
    )
    try:
        return True, policy(probe)
    except RetryError as gave_up:
        return False, gave_up.last_attempt.result()


def attempt(
    action: Callable[[], T],
    *,
    on: type[Exception] | tuple[type[Exception], ...],
    clock: Clock,
    deadline: float,
    first_wait: float = 0.5,
    longest_wait: float = 5.0,
    before_sleep: Callable[[BaseException, float], None] | None = None,
) -> T:
    """Call `action` again, with growing waits, as long as it raises `on`; the last exception passes through.

    `before_sleep` gets the exception and the seconds until the next try.
    """

    from tenacity import Retrying, retry_if_exception_type, wait_exponential_jitter

    def before(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if before_sleep and error and state.next_action:
            before_sleep(error, state.next_action.sleep)

    policy = Retrying(
        retry=retry_if_exception_type(on),
        wait=wait_exponential_jitter(multiplier=first_wait, max=longest_wait, jitter=first_wait / 2),
        stop=_stop_at(clock, deadline),
        sleep=clock.sleep,
        before_sleep=before,
        reraise=True,
    )
    return policy(action)
