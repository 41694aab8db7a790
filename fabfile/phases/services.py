"""kube-proxy, which carries Services: whether it is the same on every node, and has written its rules since it was started.

While it is restarted, its node keeps the rules of before: a pod that is drained meanwhile is still asked from there, and refuses.
Source: kubernetes pkg/proxy/healthcheck/proxy_health.go: `status` of /livez has an entry for each family of addresses once its rules were written;
`lastUpdated` of /healthz is always now.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import Any

from ..context import Context
from ..inventory.components import PROXY
from ..steps import Wait, command
from ..text import forms
from ..text.masking import masked_tail

YOUNG = 30  # seconds; one that runs for longer and refuses to be asked from another node is behind a firewall
YOUNGEST = 8  # its DaemonSet replaces one pod after the other: no more of them are as young as to have no rules yet
_PODS = ("kubectl", "-n", "kube-system", "get", "pods", "-l", "k8s-app=kube-proxy")
_NUMBERS = ".metadata.generation .status.observedGeneration .status.desiredNumberScheduled .status.updatedNumberScheduled .status.numberAvailable"
_READY = '{.status.conditions[?(@.type=="Ready")].status}{"\\n"}'
_STARTED = '{"started "}{.spec.nodeName}{" "}{.status.containerStatuses[0].state.running.startedAt}{"\\n"}'
_HINT = (
    "`kubectl -n kube-system get pods -l k8s-app=kube-proxy -o wide` on the control plane: one that crashes says in `kubectl logs` what is "
    "wrong with KUBE_PROXY_CONFIG; a node that is down keeps the others waiting until it is back, or removed"
)
_EVIDENCE = (
    "kubectl -n kube-system get pods -l k8s-app=kube-proxy -o wide 2>&1",
    "kubectl -n kube-system logs -l k8s-app=kube-proxy --tail 3 2>&1",
)


def everywhere(ctx: Context, id: str, title: str, *, whole: bool = False) -> Wait:
    """Its DaemonSet is rolled out, and the youngest of its pods have written their rules, where the API can ask them.

    A rollout that is held up by a node which is not Ready moves no further: it is waited for only with `whole`.
    """
    control = ctx.control or ctx.facts
    numbers = command(
        "kubectl",
        "-n",
        "kube-system",
        "get",
        "daemonset",
        "kube-proxy",
        "-o",
        "jsonpath=" + "".join(f'{{{field}}}{{" "}}' for field in _NUMBERS.split()) + '{"\\n"}',
    )
    nodes = command(
        "kubectl",
        "get",
        "nodes",
        "-o",
        f'jsonpath={{range .items[*]}}{{"node "}}{{.metadata.name}}{{" "}}{_READY}{{end}}',
    )
    pods = command(
        *_PODS, "-o", f'jsonpath={{range .items[*]}}{{"pod "}}{{.spec.nodeName}}{{" "}}{_READY}{_STARTED}{{end}}'
    )
    young = command(*_PODS, "--sort-by=.status.startTime", "-o", "jsonpath={.items[*].spec.nodeName}")
    port = _port(ctx)
    asks = (
        f"for n in $({young} | tr ' ' '\\n' | tail -n {YOUNGEST}); do "
        f'echo "says $n $(kubectl --request-timeout=3s get --raw /api/v1/nodes/$n:{port}/proxy/livez 2>&1 | tail -n 1)"; done'
    )
    return Wait(
        id,
        title,
        probe=f'{numbers} 2>&1; {nodes} 2>/dev/null; {pods} 2>/dev/null; {f"{asks}; " * bool(port)}echo "end $(date -u +%FT%TZ)"',
        until=partial(settled, whole=whole),
        deadline=60 + 60 * len(control.nodes),
        interval=1,
        on="control-plane",
        hint=_HINT,
        evidence=_EVIDENCE,
    )


def written(ctx: Context, id: str) -> Iterator[Wait]:
    """This node's kube-proxy has written its rules since it was started; nothing where KUBE_PROXY_CONFIG has it say so elsewhere."""
    if port := _port(ctx):
        yield Wait(
            id,
            "its kube-proxy has written its rules",
            probe=f"curl -s --max-time 5 http://127.0.0.1:{port}/livez || true",
            until=lambda seen: (
                None if rules(seen) else "it has written none yet" if seen.strip() else "it does not answer"
            ),
            deadline=120,
            interval=1,
            hint=_HINT,
            evidence=(
                "crictl ps -a --name kube-proxy 2>&1",
                "crictl logs --tail 5 $(crictl ps -aq --name kube-proxy | head -n 1) 2>&1",
            ),
        )


def _port(ctx: Context) -> str:
    """Where it says how it is, on every address of its node; empty where that is not known."""
    control = ctx.control or ctx.facts
    held = control.components.get(PROXY)
    said: Mapping[str, Any] = {**(held.config if held else {}), **ctx.settings.kube_proxy_config}
    address = str(said.get("healthzBindAddress") or "0.0.0.0:10256")
    fits = forms.has(address, r"(0\.0\.0\.0|\[::\]):[0-9]{1,5}")
    return address.rpartition(":")[2] if fits else ""


def rules(seen: str) -> bool | None:
    """Whether kube-proxy's answer to /livez says that its rules are written, for each family of addresses; None where it is no such answer."""
    try:
        found = forms.data(seen.strip(), "kube-proxy's health")
    except forms.FormError:
        return None
    if not isinstance(found, dict) or "currentTime" not in found:
        return None
    families = found.get("status") or {}
    return (
        isinstance(families, dict)
        and bool(families)
        and all(isinstance(one, dict) and one.get("healthy") is True for one in families.values())
    )


def settled(seen: str, *, whole: bool) -> str | None:
    """`until` of the wait for all of them: the DaemonSet's numbers, then rows by their first word, and `end` with the time.

    They are `node NAME READY`, `pod NODE READY`, `started NODE TIME`, and `says NODE ANSWER`: kube-proxy's own, or kubectl's error.
    """
    first, _, rest = seen.partition("\n")
    numbers = first.split()
    if len(numbers) < 4 or not all(number.isdigit() for number in numbers):
        return masked_tail(seen) or "no answer"
    made, known, places, new, up = (int(number) for number in [*numbers, "0"][:5])
    if known < made:
        return "not seen by its controller yet"
    rows = [line.split(" ", 2) for line in rest.splitlines()]
    ready = {row[1] for row in rows if row[0] == "node" and row[2:] == ["True"]}
    down = {row[1] for row in rows if row[0] == "pod" and row[1:] and row[2:] != ["True"]}
    if (new < places or up < places) and (whole or not down or down & ready):
        return f"{new} of {places} new, {up} available"
    if not rows or rows[-1][0] != "end":
        return "no whole answer"
    now = _seconds(rows[-1][1])
    young = {row[1] for row in rows if row[0] == "started" and row[2:] and 0 <= now - _seconds(row[2]) < YOUNG}
    said = {row[1]: row[2] if row[2:] else "" for row in rows if row[0] == "says" and row[1:]}
    late = [
        one for one, text in said.items() if rules(text) is False or ("connection refused" in text and one in young)
    ]
    return f"that of {forms.text(late[0], 63)} has not written its rules yet" if late else None


def _seconds(stamp: str) -> float:
    """A time of the API or of `date`, in seconds since 1970; minus infinity for what is none."""
    return (
        datetime.fromisoformat(stamp).timestamp() if forms.has(stamp, r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ") else -math.inf
    )
