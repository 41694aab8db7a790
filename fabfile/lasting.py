"""Settings whose change is refused on a living cluster: compares the cluster's values with the inventory's, before any phase begins.

Some it keeps for its life: kubeadm reads them once, at init, and with another value, flannel, the join and the add-ons would break a
working cluster. Others another command changes (a release is an upgrade), or the operator's word (a shorter RETENTION deletes metrics).
What the control plane shows refuses every node, so that none is changed while another is refused.
Sources: kubernetes.io "kubeadm Configuration (v1beta4)", releases/version-skew-policy (a kubelet may not be newer than its API server);
flannel docs/kubernetes.md (Network must hold every node's podCIDR); kubernetes/website 14870 (without `kubeadm upgrade` the control
plane's pods, kube-proxy and CoreDNS stay old).
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator

from .context import Context, fab
from .inventory import Environment
from .nodes.containerd import lost, named
from .nodes.facts import KUBELET_FLAGS_FILE, NodeFacts
from .nodes.influx import Retention
from .nodes.keeping import CONTAINERD_CONFIG
from .recipes.changes import numbers
from .recipes.kubeadm import Recipe, merged
from .recipes.kubelet import flags
from .recipes.packages import PINNED
from .records import dataclass
from .steps import Stop
from .text import forms
from .text.cleaning import listed
from .text.durations import hours

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
    """The Stop of every phase while a setting differs whose change is refused: the cluster's own, or one that this node shows; else None."""
    return of_cluster(ctx) or _moved(ctx) or _of_machine(ctx, "this node", ctx.facts, ctx.recipe)


def of_recipe(ctx: Context) -> Stop | None:
    """The same for a cluster of ours that the manual's own release made, and today's is asked for, or the reverse: asked before whose it is.

    By the other release's names (admin.conf's cluster is `kubernetes` there) a cluster of ours would look foreign.
    """
    name = ctx.environment.control_plane.name
    for who, facts in (("this node", ctx.facts), (name, ctx.control)):
        ours = facts is not None and facts.identity.environment == ctx.environment.name
        if facts and ours and (stop := another_recipe(ctx.environment, who, facts)):
            return stop
    return None


def of_cluster(ctx: Context) -> Stop | None:
    """What the control plane shows, for every node the same; None where it was not observed, or no cluster lives there."""
    control, environment = ctx.control, ctx.environment
    if ctx.node.control_plane and control is None:
        control = ctx.facts
    found = changes(environment, control)
    if found:
        return Stop(STOP, sentence(found), remedy(environment, found))
    if control is None:
        return None
    who = "this node" if ctx.node.control_plane else environment.control_plane.name
    recipe = ctx.recipe.running(control.release("kubelet")) if control.in_cluster else ctx.recipe
    return _of_machine(ctx, who, control, recipe) or _shorter(environment, control)


def _of_machine(ctx: Context, who: str, facts: NodeFacts, recipe: Recipe) -> Stop | None:
    """What one member of the cluster shows: its release, and where containerd has its data. `who` is it, in the sentence."""
    if not facts.in_cluster:
        return None
    return (None if ctx.choices.upgrading else _release(ctx.environment, who, facts, recipe)) or (
        data_left(STOP, who, facts, recipe)
        if facts.kept.get(CONTAINERD_CONFIG) == "ours" and ctx.settings.release.configured
        else None
    )


def another_recipe(environment: Environment, who: str, facts: NodeFacts) -> Stop | None:
    """A member of a cluster of the manual's own release, judged by today's, or the reverse: nothing of that judgement would be true."""
    there, settings = facts.release("kubelet"), environment.settings
    if not there or not facts.in_cluster or settings.like(there):
        return None
    return Stop(
        STOP,
        f"{who} runs Kubernetes {there} in a cluster, the inventory says {settings.kubernetes}: no upgrade leads from one to the other",
        f"set KUBERNETES={there}, or say `--kubernetes {there}`. Another release needs a new cluster: "
        f"`inv cluster.reset {environment.option} --kubernetes {there}` loses everything in this one",
    )


def _release(environment: Environment, who: str, facts: NodeFacts, recipe: Recipe) -> Stop | None:
    """Another release than a member's: packages of it under a running cluster are only a part of an upgrade."""
    if stop := another_recipe(environment, who, facts):
        return stop
    found = {name: release for name in PINNED if (release := facts.release(name))}
    there, made = found.get("kubelet", ""), environment.settings.release
    if not made.configured:
        return None
    wanted = recipe.version
    if all(release == wanted for release in found.values()):
        return None
    minor = facts.minor or recipe.minor
    newest = max(found.values(), key=numbers)
    option = environment.option
    or_minor = f", or {minor} for the patch that the cluster has" * (minor == recipe.minor)
    keep = f"KUBERNETES={there or wanted}{or_minor}, or say `--kubernetes {there or wanted}`"
    seen = f"{who} runs Kubernetes {there or wanted} in a cluster, the inventory says {wanted}"
    if len(set(found.values())) > 1:
        return Stop(
            STOP,
            f"{listed([f'{name} {release}' for name, release in sorted(found.items())], 4)} are on {who}: an upgrade that did not end",
            f"`inv cluster.upgrade {option} --to {newest}` goes on with it, from what it sees on each node",
        )
    if numbers(there) > numbers(wanted):
        return Stop(
            STOP,
            f"{seen}: Kubernetes does not go back to an earlier release",
            f"set {keep}. If nodes of this cluster are still older, `inv cluster.upgrade {option} --to {there}` ends that upgrade",
        )
    return Stop(
        STOP,
        f"{seen}: that is an upgrade, and nothing of it is done here",
        f"to upgrade: `inv cluster.upgrade {option}`, node by node, the control plane first (with --plan it only shows that); to stay: {keep}",
    )


# Where containerd keeps images and containers by default (containerd docs/ops.md).
_PLACES = {"root": "/var/lib/containerd", "state": "/run/containerd"}


def data_left(id: str, who: str, facts: NodeFacts, recipe: Recipe) -> Stop | None:
    """containerd's configuration on a machine has what ours lacks: data on another disk, which ours would leave there, or a GPU's runtime.

    What a configuration of ours had before is the inventory's to change, except where its data are.
    """
    ours = recipe.containerd_settings()
    theirs = dict(facts.containerd)
    if facts.kept.get(CONTAINERD_CONFIG) == "ours":
        theirs = {key: value for key, value in theirs.items() if key in _PLACES}
    for key, place in _PLACES.items():
        if key in theirs and theirs[key].rstrip("/") == str(ours.get(key, place)).rstrip("/"):
            del theirs[key]
    gone = lost(theirs, ours)
    if not gone:
        return None
    wanted = json.dumps(merged(recipe.settings.containerd_config, gone)).replace("'", "\\u0027")
    return Stop(
        id,
        f"{CONTAINERD_CONFIG} on {who} has {listed(named(gone), 8)}, and kubefab's configuration has not",
        f"to keep that on all nodes: CONTAINERD_CONFIG='{wanted}' in hosts.env; or, if nothing on this machine needs it, "
        f"`mv {CONTAINERD_CONFIG} {CONTAINERD_CONFIG}.aside`, and the data with it; then run this again",
    )


def _shorter(environment: Environment, control: NodeFacts) -> Stop | None:
    """A RETENTION that would delete metrics which the database keeps now: not without the operator's word."""
    kept, settings = control.retention, environment.settings
    wanted = settings.retention
    if not settings.release.configured or not kept.duration or settings.retention_shorten:
        return None
    if not 0 < hours(wanted) < (kept.hours or float("inf")):
        return None
    longer = f"keeps metrics for {kept.duration}" if kept.hours else "keeps metrics for ever"
    meant = f"KUBEFAB_RETENTION_SHORTEN=yes {fab(environment, environment.control_plane, 'addons')}"
    return Stop(
        STOP,
        f"InfluxDB {longer}; RETENTION={wanted} would delete all that are older than that",
        f"if that is meant, once `{meant}`; to keep them, RETENTION={_words(kept)} in hosts.env",
    )


def _words(kept: Retention) -> str:
    """How long it keeps metrics, as the setting has it: "30d" for 720h0m0s."""
    return f"{kept.hours / 24:.0f}d" if kept.hours % 24 == 0 else f"{kept.hours:.0f}h"


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
