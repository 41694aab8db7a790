"""The judges of the lab's tests: what was seen of a service, and what kubeadm's own specs say; without a cluster."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import asking
import pytest
import specs
from asking import EACH, PATIENCE, Probe, Seen
from hypothesis import given
from hypothesis import strategies as st


class World:
    """A service and a clock: each element of `plan` is the seconds that an answer takes, or None for no answer until the asker's patience ends."""

    def __init__(self, plan: list[float | None]) -> None:
        self.now, self.plan = 100.0, iter(plan)
        self.left = len(plan)

    def clock(self) -> float:
        return self.now

    def ask(self) -> str:
        self.left -= 1
        took = next(self.plan)
        self.now += PATIENCE if took is None else took
        if took is None:
            raise TimeoutError("no answer")
        return "web-1"

    def stopped(self, seconds: float) -> bool:
        assert 0 <= seconds <= EACH + 1e-9
        self.now += seconds
        return self.left == 0


def seen_of(plan: list[float | None]) -> tuple[Seen, float]:
    """What is seen of such a service, and the seconds that it took."""
    seen, world = Seen(), World(plan)
    asking.steadily(world.ask, seen, world.stopped, world.clock)
    return seen, world.now - 100.0


@pytest.mark.parametrize(
    ("plan", "failures", "longest"),
    [
        ([0.0] * 10, 0, EACH),
        ([0.1] * 10, 0, EACH),
        ([0.5] * 3, 0, 0.5),
        ([0.0, None, None, 0.0], 2, EACH + 2 * PATIENCE),
        ([None, 0.0], 1, PATIENCE),
        ([0.0, None], 1, EACH + PATIENCE),
        ([None], 1, PATIENCE),
    ],
)
def test_the_longest_time_without_an_answer(plan: list[float | None], failures: int, longest: float) -> None:
    seen, _ = seen_of(plan)
    assert (seen.count, seen.failures) == (len(plan), failures)
    assert seen.longest_gap == pytest.approx(longest, abs=EACH if plan[-1] is None else 1e-6)
    assert seen.longest_gap >= longest - 1e-6
    assert bool(seen.gaps) == (seen.longest_gap > 1)


@given(st.lists(st.one_of(st.none(), st.floats(0, PATIENCE)), min_size=1, max_size=60))
def test_a_gap_is_never_longer_than_the_whole_and_never_shorter_than_its_failures(plan: list[float | None]) -> None:
    seen, took = seen_of(plan)
    assert seen.failures == plan.count(None)
    run = longest = 0
    for one in plan:
        run = run + 1 if one is None else 0
        longest = max(longest, run)
    assert longest * PATIENCE - 1e-6 <= seen.longest_gap <= took + 1e-6
    assert took >= EACH * (len(plan) - 1) - 1e-6, "it asks no faster than that"
    assert str(seen.failures) in str(seen)


def test_a_balancer_asks_the_nodes_in_turn_tries_another_and_leaves_out_the_one_that_did_not_answer() -> None:
    asked: list[str] = []
    dead: set[str] = set()

    def way(name: str) -> Callable[[], str]:
        def ask() -> str:
            asked.append(name)
            if name in dead:
                raise http.client.RemoteDisconnected(name)
            return f"web-{name}"

        return ask

    probe = Probe(through={name: Seen() for name in "abc"})
    ask = asking.balanced({name: way(name) for name in "abc"}, probe.through)
    assert [ask() for _ in range(4)] == ["web-a", "web-b", "web-c", "web-a"]
    asked.clear()
    dead.add("b")
    assert (ask(), asked) == ("web-c", ["b", "c"])
    probe.through["b"].failure("gone")
    asked.clear()
    assert [ask() for _ in range(3)] == ["web-c", "web-a", "web-c"]
    assert "b" not in asked
    dead |= {"a", "c"}
    with pytest.raises(http.client.RemoteDisconnected):
        ask()
    assert "through b: 1 asked, 1 failed" in str(probe)


@pytest.fixture
def service() -> Iterator[int]:
    """The port of a service whose first answer is an error page, and then a pod's name."""

    class Handler(BaseHTTPRequestHandler):
        answers = iter([(503, "web-x"), (200, "somebody else"), *[(200, "web-abc\n")] * 100])

        def do_GET(self) -> None:
            status, text = next(self.answers)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def test_only_a_pods_name_is_an_answer(service: int) -> None:
    for _ in range(2):
        with pytest.raises(http.client.HTTPException):
            asking.get("127.0.0.1", service)
    assert asking.get("127.0.0.1", service) == "web-abc"
    with asking.asking({"here": "127.0.0.1"}, service) as probe:
        while probe.count < 1 or probe.through["here"].count < 1:
            threading.Event().wait(0.01)
    assert (probe.failures, probe.answered_by) == (0, {"web-abc"})


def spec(state: str, name: str = "is there", message: str = "", kind: str = "It") -> dict[str, object]:
    failure = {"Failure": {"Message": message}} if message else {}
    return {"LeafNodeType": kind, "LeafNodeText": name, "ContainerHierarchyTexts": ["cm"], "State": state, **failure}


@pytest.mark.parametrize(
    ("one", "passed", "wrong"),
    [
        (spec("passed"), ["cm is there"], {}),
        (spec("failed", message="not found"), [], {"cm is there": "failed: not found"}),
        (spec("panicked", message="nil"), [], {"cm is there": "panicked: nil"}),
        (spec("timedout"), [], {"cm is there": "timedout: "}),
        (spec("skipped"), [], {}),  # by our own choice
        (spec("skipped", message=specs.NOT_FOR_US[0]), [], {}),
        (spec("skipped", message="version is older"), [], {"cm is there": "skipped: version is older"}),
        (spec("passed", "", kind="BeforeSuite"), [], {}),
        (spec("failed", "", "no API", kind="BeforeSuite"), [], {"cm": "failed: no API"}),
    ],
)
def test_each_spec_passes_or_is_named_with_its_reason(
    one: dict[str, object], passed: list[str], wrong: dict[str, str]
) -> None:
    found = specs.verdict([{"SpecReports": [one]}, {"SpecReports": None}])
    assert (found.passed, found.wrong) == (passed, wrong)
    for name, why in wrong.items():
        assert f"{name}: {why}" in str(found)
