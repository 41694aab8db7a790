"""Phase 6: workers join (manual "Slave Node 들에 Master Node 연결", digest J1 to J4)."""

from __future__ import annotations

from collections.abc import Iterator
from shlex import quote

from ..context import LATER, Context
from ..inventory.components import KUBELET
from ..nodes.facts import STATE, NodeFacts
from ..recipes.flannel import WITHOUT_LINKS, Expected, interface_wait, is_ready, ready_wait
from ..recipes.kubelet import SAYS
from ..steps import Action, File, Step, Stop, Wait
from ..text.forms import Hostname
from . import follow
from .certificates import lapsed
from .labels import labels, marking
from .registry import unverified
from .reset import kubeadm_reset
from .suitable import clocks, gone

CONFIG = "/run/kubefab-join.yaml"
TOKEN_CONFIG = "/run/kubefab-token.yaml"
STARTED, DONE = "join-started", "joined"


def join(ctx: Context) -> Iterator[Action]:
    """kubeadm join with a token minted for this run, then flannel.1 in range and the node Ready."""
    facts, control = ctx.facts, ctx.control
    ca_hash = control.ca_hash if control and control.ca_hash else LATER
    if control and control.initialised and not control.ca_hash:
        yield Stop(
            "join.ca",
            f"the CA's certificate on {ctx.environment.control_plane.name} cannot be read, and without its hash a join would trust anybody",
            "`kubeadm certs check-expiration` there shows what is wrong with /etc/kubernetes/pki/ca.crt",
        )
        return
    if control and control.initialised and not control.nodes and facts.joined:  # unknown is not "not listed"
        yield Stop("join.nodes", "which nodes the cluster has cannot be read", "run this again")
        return
    listed = control is not None and control.node_object(facts.hostname) is not None
    member = facts.joined and listed
    lost = _once_in(facts) and control is not None and not control.node_ready(facts.hostname)
    if lost and (stop := gone(ctx, "join") or lapsed(ctx, "join")):
        yield stop
        return
    if control and control.initialised:
        yield from follow.configmap(ctx, KUBELET, "join")
    if not member:
        yield from _enter(ctx, ca_hash, listed)
    expected = Expected(("flannel.1",), ctx.settings.pod_cidr)
    if not member or expected.missing(facts.links) is not None:
        yield interface_wait(
            "join.flannel",
            expected,
            settings=ctx.settings,
            hostname=facts.hostname,
            renew=ctx.renew(),
            needs="network",
        )
    if not member or (control and not control.node_ready(facts.hostname)):
        yield ready_wait("join.ready", settings=ctx.settings, hostname=facts.hostname)
    if member:
        yield from follow.kubelet(ctx, "join")
    if (
        listed or facts.joined or not _once_in(facts)
    ):  # a kubelet that starts again may have a Node that was not seen: the next run looks
        yield from labels(ctx, phase="join", registers=not listed)


def _once_in(facts: NodeFacts) -> bool:
    return DONE in facts.undo and "/etc/kubernetes/kubelet.conf" in facts.traces


def _enter(ctx: Context, ca_hash: str, listed: bool) -> Iterator[Action]:
    facts, recipe = ctx.facts, ctx.recipe
    if _once_in(facts) and not (facts.joined and not listed):
        yield Step("join.kubelet", "start the kubelet", ("systemctl restart kubelet",))
        return
    if stop := clocks(ctx, "join"):
        yield stop
        return
    yield from unverified(ctx)
    if STARTED in facts.undo or facts.traces & {
        "/etc/kubernetes/kubelet.conf",
        "/etc/kubernetes/bootstrap-kubelet.conf",
    }:
        yield Step(
            "join.clear",
            "take back a join that did not end",
            (*kubeadm_reset(facts), *WITHOUT_LINKS, f"rm -f {STATE}/{STARTED} {STATE}/{DONE}"),
        )
    yield Wait(
        "join.api",
        f"the API answers at {ctx.environment.endpoint}",
        probe=f"curl -sk --noproxy '*' --max-time 5 -o /dev/null -w '%{{http_code}}' https://{ctx.environment.endpoint}/readyz 2>&1",
        until=lambda seen: None if seen.strip() in ("200", "401", "403") else f"answer {seen.strip() or 'none'}",
        deadline=60,
        interval=1,
        hint=f"open TCP {ctx.settings.api_port} on the control plane for this node's address {ctx.node.address}",
    )
    if listed and ctx.control and ctx.control.node_ready(facts.hostname):
        yield _silent(facts.hostname)
    token_id = ctx.token.id
    yield minted(ctx, "join")
    # kubeadm looks for the token's signature every 5 s only; joining before it is there costs a whole round
    yield Wait(
        "join.signature",
        "the API's discovery document is signed with it",
        probe="kubectl -n kube-public get configmap cluster-info -o jsonpath='{.data}' 2>&1",
        until=lambda seen: None if f"jws-kubeconfig-{token_id}" in seen else "not yet",
        deadline=60,
        interval=0.5,
        on="control-plane",
        once=True,
        hint="the controller manager signs it: `crictl ps -a` on the control plane shows whether it runs",
    )
    yield Step(
        "join.join",
        "kubeadm join",
        (
            f"install -d -m 0700 {STATE}",
            f"touch {STATE}/{STARTED}",
            *marking(ctx.node),
            f"kubeadm join --config {CONFIG}{recipe.preflight} || {{ rc=$?; rm -f {CONFIG}; exit $rc; }}",
            f"rm -f {CONFIG}",
            f"touch {STATE}/{DONE}",
        ),
        files=(
            File(CONFIG, recipe.join_config(ctx.node, facts, ctx.token, ca_hash), mode="0600", secret=True),
            *follow.note(ctx, KUBELET),
        ),
        timeout=360,
        evidence=(SAYS,),
        hint="run the same command again: a fresh token is minted each time. A time-out is TCP 6443 between this node and the "
        "control plane; 'certificate … not yet valid' is a clock, this node's or the control plane's: `inv cluster.doctor` tells whose",
    )


def _silent(hostname: Hostname) -> Wait:
    """A Node of that name is Ready, though this machine is not in the cluster: a restored state has one of before. kubeadm would refuse it."""
    return Wait(
        "join.silent",
        "the API no longer takes this machine's earlier Node for Ready",
        probe=f"kubectl get node {quote(hostname)} --no-headers 2>&1",
        until=lambda seen: f"Node {hostname} is Ready" if is_ready(seen) else None,
        deadline=180,
        interval=2,
        on="control-plane",
        hint=f"if it stays Ready, another machine has the hostname {hostname}: `kubectl get node {hostname} -o wide` on the control plane shows "
        "its address",
    )


def minted(ctx: Context, phase: str) -> Step:
    """The step that makes this run's join token on the control plane, once for all nodes."""
    return Step(
        f"{phase}.token",
        "a join token for this run, valid 30 minutes",
        (
            f"kubectl -n kube-system get secret bootstrap-token-{ctx.token.id} >/dev/null 2>&1 || "
            f"kubeadm token create --config {TOKEN_CONFIG} >/dev/null",
            f"rm -f {TOKEN_CONFIG}",
        ),
        files=(File(TOKEN_CONFIG, ctx.recipe.token_config(ctx.token), mode="0600", secret=True),),
        on="control-plane",
        once=True,
        mints=True,
    )
