"""A node reboots: drained, rebooted, proved to be back, and only then it takes pods again.

Which boot a node is to leave is noted as an annotation of its Node before the first one is touched, so that a run that was killed anywhere
is gone on with: a node that has left that boot is not rebooted once more, and one whose note is gone is done.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..context import Context
from ..identity import own_nodes
from ..recipes.flannel import Expected, interface_wait, ready_wait
from ..recipes.kubeadm import api_wait
from ..recipes.kubelet import SAYS
from ..steps import Action, Step, Wait, command
from ..text import forms
from . import services
from .addons import metrics_wait
from .drain import drained, our_cordon, uncordoned

PENDING = "kubefab.dev/reboot"  # the annotation: the boot that the node is to leave
BACK = 900.0  # seconds for a machine to come back: servers with much memory test it for minutes
# of containers boot_id is their host's, and the start of their first process tells boots apart
# by a timer, so that the step ends before the connection does; without the accuracy systemd may let a minute more pass
GO = "systemd-run --on-active=3 --timer-property=AccuracySec=100ms systemctl reboot"
BOOTED = "echo \"$(cat /proc/sys/kernel/random/boot_id).$(cut -d' ' -f22 /proc/1/stat)\""


def noted(ctx: Context) -> Iterator[Action]:
    """On the control plane: note of each Node that is to be rebooted which boot it is to leave."""
    for name, boot in sorted(ctx.choices.reboots.items()):
        node = ctx.facts.node_object(name)
        if node is not None and node["metadata"].get("annotations", {}).get(PENDING) != boot:
            mark = command("kubectl", "annotate", "node", name, f"{PENDING}={boot}", "--overwrite")
            yield Step("reboots.note", f"noted that node {name} is to be rebooted", (mark,))


def reboot(ctx: Context) -> Iterator[Action]:
    """Drain the node, reboot it, wait until it is back and works. The only control plane is not drained: nothing takes its place."""
    facts, control = ctx.facts, ctx.control or ctx.facts
    boots = {name: ctx.choices.reboots.get(name) for name in own_nodes(control, ctx.node, facts)}
    name = next((name for name, boot in boots.items() if boot), None)
    if name is None:
        return
    due = boots[name] == facts.booted
    node = control.node_object(name) or {}
    marked = PENDING in node.get("metadata", {}).get("annotations", {})
    if not due and not marked and not our_cordon(node, ctx.environment.name):
        return
    if due:
        if not alone(ctx):
            yield services.everywhere(ctx, "reboot.services", "kube-proxy has written its rules on every node")
            yield from drained(ctx, "reboot")
        yield Step(
            "reboot.reboot",
            "reboot"
            if not alone(ctx)
            else "reboot; not drained, as it is the only control plane: pods elsewhere go on",
            (GO,),
        )
        yield Wait(
            "reboot.back",
            "the node is back after its reboot",
            probe=BOOTED,
            until=lambda seen: _another_boot(facts.booted, seen),
            deadline=BACK,
            interval=2,
            reboots=True,
            hint="look at the machine's console; once it is up, the same command goes on",
        )
    yield from _works(ctx)
    freed = list(uncordoned(ctx, "reboot", after=due and not alone(ctx), also=(PENDING,)))
    yield from freed
    if not freed:  # no cordon of ours, with which the note goes
        gone = command("kubectl", "annotate", "node", name, f"{PENDING}-")
        yield Wait(
            "reboot.done",
            "noted as rebooted",
            probe=f"{gone} >/dev/null 2>&1 && echo ok",
            until=lambda seen: None if seen.strip() == "ok" else "the API does not take it",
            deadline=60,
            interval=1,
            on="control-plane",
            changes=True,
        )


def alone(ctx: Context) -> bool:
    """Whether this is the only control plane."""
    return ctx.node.control_plane and len(ctx.environment.control_planes) == 1


def _another_boot(before: str, seen: str) -> str | None:
    """None for another boot than the one before; a machine that goes down answers with the same one, or not at all."""
    now = seen.strip()
    if now == before:
        return "not rebooted yet"
    return None if forms.has(now, r"[0-9A-Fa-f-]{36}\.[0-9]+") else forms.text(now) or "no answer"


def _works(ctx: Context) -> Iterator[Action]:
    """Each of these is of after the boot: the kubelet runs, flannel has made its link, our pod runs, then the Node is Ready."""
    facts, control, settings = ctx.facts, ctx.control or ctx.facts, ctx.settings
    yield Wait(
        "reboot.kubelet",
        "the kubelet runs",
        probe="systemctl is-active kubelet",
        until=lambda seen: None if seen.strip() == "active" else forms.text(seen, 40) or "no answer",
        deadline=180,
        interval=1,
        reboots=True,
        hint="`systemctl status kubelet` on this node",
        evidence=(SAYS,),
    )
    if ctx.node.control_plane:
        hint = "`crictl ps -a` on this node shows which of the control plane's containers does not run"
        yield api_wait("reboot.api", deadline=300, hint=hint, more=SAYS)
    yield interface_wait(
        "reboot.flannel",
        Expected(("flannel.1",), settings.pod_cidr),
        settings=settings,
        hostname=facts.hostname,
        renew=ctx.renew(),
    )
    yield ready_wait("reboot.ready", settings=settings, hostname=facts.hostname)
    yield from services.written(ctx, "reboot.rules")
    if facts.hostname in control.reporting:
        # what the first wait sees on the node, for the second, which asks InfluxDB: metrics of before the boot are there for a minute
        began: list[float] = []
        yield Wait(
            "reboot.pods",
            "our pod runs on it again",
            probe="crictl ps --name telegraf -o json",
            until=lambda seen: _began(seen, began),
            deadline=180,
            interval=1,
            hint="`crictl ps -a --name telegraf` on this node shows why it does not",
        )
        yield metrics_wait(
            "reboot.metrics", facts.hostname, settings, control.retention, lambda: max(began, default=0.0)
        )


def _began(seen: str, began: list[float]) -> str | None:
    """None once a container of ours runs; `began` then has when it was made, in seconds since 1970 by the node's clock."""
    try:
        found = forms.data(seen, "containers").get("containers") or []
        began[:] = [int(one["createdAt"]) / 1e9 for one in found if one["state"] == "CONTAINER_RUNNING"]
    except (forms.FormError, LookupError, TypeError, ValueError, AttributeError, OverflowError):
        return "an answer that cannot be read"
    return None if began else "not yet"
