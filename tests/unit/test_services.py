"""kube-proxy carries Services: before a drain it is the same everywhere, and has written its rules since it was started."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from fabfile.inventory.components import PROXY
from fabfile.nodes.facts import Component
from fabfile.phases.services import everywhere, rules, settled, written
from making import context, control_plane, environment, member

# what kube-proxy 1.36.3 answers to /livez: by its code before its first rules, and as it was seen with them
NEVER = '{"lastUpdated":"2026-11-29T16:38:04.5Z","currentTime":"2026-11-29T16:38:04.5Z","healthy":true}'
ONCE = '{"lastUpdated":"2026-11-29T16:38:05Z","currentTime":"2026-11-29T16:38:06Z","healthy":true,"status":{"IPv4":{"lastUpdated":"2026-11-29T16:38:05Z","healthy":true}}}'  # fmt: skip
LATE = ONCE.replace('"healthy":true}}', '"healthy":false}}')


@pytest.mark.parametrize(
    ("seen", "wanted"),
    [(NEVER, False), (ONCE, True), (LATE, False), ("", None), ("{}", None), ("not found", None), ("[1]", None), ('{"currentTime": 1, "status": [1]}', False),
     (ONCE.replace('{"IPv4"', '{"IPv6":{"healthy":false},"IPv4"'), False)],
)  # fmt: skip
def test_what_kube_proxy_says(seen: str, wanted: bool | None) -> None:
    assert rules(seen) is wanted


REFUSED = "Error from server (ServiceUnavailable): error trying to reach service: dial tcp 10.2.0.2:10256: connect: connection refused"
END = "end 2026-11-29T16:38:30Z\n"
NODES = "node cp1 True\nnode w1 True\nnode w9 False\n"
ALL = "pod cp1 True\npod w1 True\npod w9 True\n"
ROWS: list[tuple[str, str, bool, bool]] = [
    # what was seen, whether it goes on, and whether it does where every node must have it
    ("rolled out", f"3 3 3 3 3 \n{NODES}{ALL}", True, True),
    ("not seen by its controller", f"4 3 3 3 3 \n{NODES}{ALL}", False, False),
    ("between two pods", f"3 3 3 2 3 \n{NODES}{ALL}", False, False),
    ("one starts", f"3 3 3 3 2 \n{NODES}pod cp1 True\npod w1 False\npod w9 True\n", False, False),
    ("held up by a node that is down", f"3 3 3 2 2 \n{NODES}pod cp1 True\npod w1 True\npod w9 False\n", True, False),
    ("and one starts", f"3 3 3 2 1 \n{NODES}pod cp1 True\npod w1 \npod w9 False\n", False, False),
    ("nodes that were not said", "3 3 3 2 2 \n", False, False),
    ("no rules yet", f"3 3 3 3 3 \n{NODES}{ALL}says w1 {NEVER}\nsays cp1 {ONCE}\n", False, False),
    ("rules", f"3 3 3 3 3 \n{NODES}{ALL}says w1 {ONCE}\nsays cp1 {ONCE}\n", True, True),
    ("a firewall between", f"3 3 3 3 3 \n{NODES}{ALL}says w1 \nsays cp1\n", True, True),
    (
        "refused, and started just now",
        f"3 3 3 3 3 \n{NODES}{ALL}started w1 2026-11-29T16:38:27Z\nsays w1 {REFUSED}\n",
        False,
        False,
    ),
    ("refused for long", f"3 3 3 3 3 \n{NODES}{ALL}started w1 2026-11-29T16:37:27Z\nsays w1 {REFUSED}\n", True, True),
    (
        "refused, by a clock that is ahead",
        f"3 3 3 3 3 \n{NODES}{ALL}started w1 2026-11-29T16:39:27Z\nsays w1 {REFUSED}\n",
        True,
        True,
    ),
    (
        "refused, and not known when it was started",
        f"3 3 3 3 3 \n{NODES}{ALL}started w1 \nsays w1 {REFUSED}\n",
        True,
        True,
    ),
    ("no answer", "The connection to the server was refused", False, False),
    ("nothing", "", False, False),
]


@pytest.mark.parametrize(("seen", "goes", "whole"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_no_drain_before_the_last_kube_proxy_carries_services(seen: str, goes: bool, whole: bool) -> None:
    assert (settled(seen + END, whole=False) is None) == goes
    assert (settled(seen + END, whole=True) is None) == whole
    assert settled(seen, whole=False), "an answer that is cut short"


@pytest.mark.parametrize(
    ("address", "port"),
    [("", "10256"), ("0.0.0.0:10256", "10256"), ("[::]:11000", "11000"), ("10.2.0.1:10256", ""), ("0.0.0.0:1;x", "")],
)
def test_it_is_asked_where_its_configuration_says(address: str, port: str) -> None:
    env = environment()
    config: dict[str, Any] = {"healthzBindAddress": address}
    control = replace(control_plane(env), components={PROXY: Component(config, "8")})
    ctx = context(env, member(env), control=control)
    assert [f"127.0.0.1:{port}/livez" in wait.probe for wait in written(ctx, "x")] == [True] * bool(port)
    assert (f":{port}/proxy/livez" in everywhere(ctx, "x", "y").probe) == bool(port)
    asked = environment(kube_proxy_config=json.dumps({"healthzBindAddress": "0.0.0.0:9999"}))
    assert "9999" in everywhere(context(asked, member(asked), control=control), "x", "y").probe
