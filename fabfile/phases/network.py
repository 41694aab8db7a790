"""Phase 5: flannel on the control plane (manual "Network (Flannel) 구성", digest N1 to N4)."""

from __future__ import annotations

from collections.abc import Iterator
from shlex import quote

from ..context import Context
from ..inventory.settings import Network
from ..manifests import applied, manifest
from ..recipes.flannel import RESTART, Expected, interface_wait, ready_wait
from ..steps import Action, Remedy, Stop, Wait
from ..text.masking import masked_tail


def network(ctx: Context) -> Iterator[Action]:
    """Apply flannel with this cluster's pod CIDR; all pods Running; cni0 and flannel.1 in range."""
    facts = ctx.facts
    if not facts.initialised:
        yield Stop("network.control-plane", "the API does not answer here", f"first `{ctx.init()}`")
        return
    flannel = manifest("flannel", ctx)
    there = applied(flannel, facts)
    if not there:
        yield flannel.step("network.flannel", "apply flannel")
    cidr = ctx.settings.pod_cidr
    if not there or Expected(("flannel.1",), cidr).missing(facts.links) is not None:
        yield from _in_range(ctx, cidr)
    if not facts.node_ready(facts.hostname):
        yield ready_wait("network.ready", settings=ctx.settings, hostname=facts.hostname)


def _in_range(ctx: Context, cidr: Network) -> Iterator[Action]:
    facts = ctx.facts
    yield Wait(
        "network.pods",
        "the control plane's pods run",
        probe=f"kubectl get pods -A --field-selector spec.nodeName={quote(facts.hostname)} --no-headers 2>&1",
        until=_all_running,
        deadline=240,
        interval=1,
        remedies=(Remedy("restart the kubelet", RESTART, after=2 * ctx.settings.flannel_grace),),
        hint="ContainerCreating for long is an image that cannot be pulled, CrashLoopBackOff of coredns a resolver loop: "
        f"`kubectl describe pods -A` on the control plane. When nothing else helps, the manual's rule (N4), set this node up again: {ctx.renew()}",
        evidence=(
            "kubectl get pods -A -o wide 2>&1",
            "kubectl get events -A --sort-by=.lastTimestamp 2>&1 | tail -n 8",
        ),
    )
    yield interface_wait(
        "network.interfaces",
        Expected(("flannel.1", "cni0"), cidr, pods_of=facts.hostname),
        settings=ctx.settings,
        hostname=facts.hostname,
        renew=ctx.renew(),
    )


def _all_running(output: str) -> str | None:
    """The manual's N2: every pod Running. CoreDNS may still be warming up; flannel must be ready, its probe knows the links."""
    rows = [line.split() for line in output.splitlines() if line.strip()]
    if not rows or any(len(row) < 4 or "/" not in row[2] for row in rows):
        return masked_tail(output) or "no pods yet"
    waiting = [
        f"{row[1]} {row[3]}"
        for row in rows
        if row[3] not in ("Running", "Completed") or (row[0] == "kube-flannel" and _part_ready(row[2]))
    ]
    flannel = any(row[0] == "kube-flannel" for row in rows)
    if not flannel:
        return "no flannel pod yet"
    return ", ".join(waiting[:3]) or None


def _part_ready(column: str) -> bool:
    ready, wanted = column.split("/")
    return ready != wanted
