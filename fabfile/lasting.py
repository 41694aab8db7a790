"""Settings that cannot change during a cluster's life: compares the cluster's values with the inventory's.

kubeadm reads them once, at init. With another value, flannel, the join and the add-ons would break a working cluster.
Sources: kubernetes.io "kubeadm Configuration (v1beta4)"; flannel docs/kubernetes.md (Network must hold every node's podCIDR).
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .context import Context
from .inventory import Environment
from .nodes.facts import KUBELET_FLAGS_FILE, NodeFacts
from .recipes.kubelet import flags
from .steps import Action, Stop
from .text import forms

STOP = "cluster.settings"
ADDRESS = "the control plane's private address"
DRIVER = (
    "KUBELET_CONFIG's cgroupDriver"  # another one needs every pod made again: each node reset, the control plane too
)


@dataclass(frozen=True)
class Change:
    """One setting: its key, the cluster's value, and the inventory's."""

    key: str
    made: str
    says: str
    proof: str = ""  # where else the cluster shows its value


def lives(control: NodeFacts) -> bool:
    """Whether the cluster was ever up. An unfinished init does not count: it is undone and repeated with the present settings."""
    once_up = bool(control.undo & {"initialised", "done"})
    return once_up or (control.api_ready and ("init-started" not in control.undo or len(control.nodes) > 1))


def changes(environment: Environment, control: NodeFacts | None) -> tuple[Change, ...]:
    """The settings that differ. An unknown value (control plane not observed, or no value found) does not count as different."""
    if control is None or not lives(control):
        return ()
    return tuple(_differing(environment, control))


def _differing(environment: Environment, control: NodeFacts) -> Iterator[Change]:
    made, settings, node = control.made, environment.settings, environment.control_plane
    if made.pod_cidrs and settings.pod_cidr not in made.pod_cidrs:
        yield Change("POD_CIDR", ",".join(map(str, made.pod_cidrs)), str(settings.pod_cidr), _shares(control))
    elif not made.pod_cidrs:
        for name, share in control.pod_cidrs.items():
            if share.version == settings.pod_cidr.version and not share.subnet_of(settings.pod_cidr):  # type: ignore[arg-type]
                yield Change("POD_CIDR", f"one that holds {share}", str(settings.pod_cidr), f"node {name} has {share}")
                break
    if not settings.release.configured:  # the kubeadm of 1.5 gets none of the other settings
        return
    if made.service_cidrs and settings.service_cidr not in made.service_cidrs:
        yield Change("SERVICE_CIDR", ",".join(map(str, made.service_cidrs)), str(settings.service_cidr))
    # the kubelet's own is KUBELET_CONFIG's to change; kubeadm's copy, if it was read, has what CoreDNS answers for
    networking = control.configured.get("networking")
    kept = networking.get("dnsDomain") if isinstance(networking, dict) else None
    seen = "" if "clusterDomain" in settings.kubelet_config else made.dns_domain
    domain = forms.text(kept, 253) if isinstance(kept, str) else seen
    if domain and domain != settings.dns_domain:
        yield Change("DNS_DOMAIN", domain, settings.dns_domain)
    if made.api_port and made.api_port != settings.api_port:
        yield Change("API_PORT", str(made.api_port), str(settings.api_port))
    kubelets = control.components.get("kubelet")
    driver = kubelets.config.get("cgroupDriver") if kubelets else None
    says = str(settings.kubelet_config.get("cgroupDriver", "systemd"))
    if isinstance(driver, str) and driver != says:
        yield Change(DRIVER, forms.text(driver, 20), says)
    if made.address is not None and made.address != ipaddress.ip_address(node.address):
        yield Change(ADDRESS, str(made.address), node.address)


def _shares(control: NodeFacts) -> str:
    return next((f"node {name} has {share}" for name, share in control.pod_cidrs.items()), "")


def sentence(found: tuple[Change, ...]) -> str:
    """The difference in words: the cluster's values, then the inventory's."""
    made = ", ".join(f"{change.key} {change.made}{f' ({change.proof})' * bool(change.proof)}" for change in found)
    says = ", ".join(change.says if len(found) == 1 else f"{change.key} {change.says}" for change in found)
    return f"this cluster was made with {made}; the inventory says {says}. A living cluster cannot change it"


def remedy(environment: Environment, found: tuple[Change, ...]) -> str:
    """First the remedy that keeps the cluster: restore the value. Last a new cluster, and what is lost then."""
    back = [
        f"{change.key}={change.made}"
        for change in found
        if change.key not in (ADDRESS, DRIVER) and not change.made.startswith("one ")
    ]
    words = [f"set {' and '.join(back)} again"] if back else []
    words += ["set POD_CIDR back"] if any(change.made.startswith("one ") for change in found) else []
    words += [f"set cgroupDriver {change.made} again" for change in found if change.key == DRIVER]
    moved = next((change for change in found if change.key == ADDRESS), None)
    if moved:
        words.append(
            f"give {environment.control_plane.name} its address {moved.made} back, on the machine and in hosts.env (private={moved.made})"
        )
    return (
        f"{', and '.join(words)}; then the same command works. Other values need a new cluster: `inv cluster.reset {environment.option}`, "
        f"which loses everything in this one, then `inv cluster.bootstrap {environment.option}`"
    )


def refusal(ctx: Context) -> Stop | None:
    """The Stop of a phase if a lasting setting differs, or the address that this worker joined with; else None."""
    found = changes(ctx.environment, ctx.control)
    return Stop(STOP, sentence(found), remedy(ctx.environment, found)) if found else _moved(ctx)


def _moved(ctx: Context) -> Stop | None:
    """A worker's address is in its kubelet's flags, which kubeadm writes at the join alone."""
    if ctx.node.control_plane or "joined" not in ctx.facts.undo:
        return None
    joined = [one.value for one in flags(ctx.facts.kubelet) if (one.file, one.name) == (KUBELET_FLAGS_FILE, "node-ip")]
    if not joined or not joined[-1] or not forms.is_address(joined[-1]) or joined[-1] == ctx.node.address:
        return None
    return Stop(
        STOP,
        f"this node joined with the address {joined[-1]} (its kubelet's --node-ip), and hosts.env says {ctx.node.address}",
        f"set private={joined[-1]} in its line again; or, if the machine has another address now, let it join again: {ctx.renew()}",
    )


def kept(run: Callable[[Context], Iterator[Action]]) -> Callable[[Context], Iterator[Action]]:
    """The phase, but it stops before its first action if a lasting setting differs."""

    @functools.wraps(run)
    def guarded(ctx: Context) -> Iterator[Action]:
        refused = refusal(ctx)
        if refused:
            yield refused
            return
        yield from run(ctx)

    return guarded
