"""Phase 4: the control plane (manual "Master Node에 Cluster Intializing", digest M1, M2)."""

from __future__ import annotations

from collections.abc import Iterator

from ..context import Context
from ..identity import MOVE_ETCD, strange_etcd
from ..inventory.components import KUBELET, PROXY
from ..nodes.facts import STATE
from ..recipes.flannel import WITHOUT_LINKS
from ..recipes.kubeadm import api_wait
from ..recipes.kubelet import SAYS
from ..steps import Action, File, Step, Stop, Wait
from . import follow
from .certificates import lapsed
from .labels import labels, marking, scheduling, sharing
from .registry import unverified
from .renew import names
from .reset import kubeadm_reset
from .suitable import clocks, gone

CONFIG = "/run/kubefab-init.yaml"
STARTED, DONE = "init-started", "initialised"
MINIMUM_MEMORY = 1700 << 10  # KiB; kubeadm's own preflight bound
NETWORK_HINT = (
    "longer than about a minute, or never ending, means the network (M2): does the firewall, on AWS the security group, let this "
    "node reach its own private address on TCP 6443, 2379-2380 and 10250, and reach the image registry? `inv cluster.doctor` tests it"
)


def master(ctx: Context) -> Iterator[Action]:
    """kubeadm init, unless this cluster's API already answers here.

    An init of ours that did not complete is undone first, unless other nodes are in its cluster.  A control plane that was
    once up and does not answer is never taken back: it may hold data.  guard.py has checked whose machine it is.
    """
    facts, recipe, settings = ctx.facts, ctx.recipe, ctx.settings
    once_up = DONE in facts.undo
    half_done = STARTED in facts.undo and not once_up
    # The API answers minutes before init ends: without its last phases there is no kube-proxy, no CoreDNS and no cluster-info to join by.
    if facts.initialised and half_done and not facts.nodes:  # the list of nodes is unknown, so there may be others
        yield Stop(
            "master.nodes",
            "an init that did not end is here, and whether other nodes are in its cluster cannot be read",
            "run this again",
        )
        return
    alone = all(node["metadata"]["name"] == facts.hostname for node in facts.nodes)
    if facts.initialised and not (half_done and alone):
        if DONE not in facts.undo:
            yield Step("master.proof", "noted as initialised", (f"install -d -m 0700 {STATE}", f"touch {STATE}/{DONE}"))
        yield from labels(ctx, phase="master", registers=False)
        yield from scheduling(ctx)
        yield from follow.configmap(ctx, KUBELET, "master")
        yield from follow.kubelet(ctx, "master")
        yield from follow.proxy(ctx, "master")
        yield from names(ctx, "master")
        return
    foreign = "/etc/kubernetes/manifests/kube-apiserver.yaml" in facts.traces and not once_up and not half_done
    if foreign:
        yield Stop(
            "master.foreign",
            "a control plane that kubefab did not make is on this node, and its API does not answer",
            f"fix it (`journalctl -u kubelet -n 50` there); or, if nothing of it is needed, {ctx.renew()}",
        )
        return
    if once_up:
        if stop := gone(ctx, "master") or lapsed(ctx, "master"):
            yield stop
            return
        yield Step("master.kubelet", "start the kubelet", ("systemctl restart kubelet",))
        yield _api(
            180,
            "the control plane was up before and holds the cluster's data, so it is not initialised again: "
            f"`journalctl -u kubelet -n 50` and `crictl ps -a` on the node; if all is lost, {ctx.renew()}",
        )
        return
    checked = {"mem", "all"} & {name.lower() for name in settings.ignore_preflight}
    if facts.memory_kib < MINIMUM_MEMORY and not checked:
        yield Stop(
            "master.memory",
            f"{facts.memory_kib >> 10} MiB of memory: kubeadm wants 1700",
            "take a larger machine: `inv cluster.sizing`",
        )
        return
    strange = strange_etcd(facts)
    if strange:
        yield Stop(
            "master.etcd",
            f"/var/lib/etcd holds data ({', '.join(strange[:3])}), and no etcd of kubeadm is here: an external etcd, or a restored backup?",
            f"nothing of it is touched. If it is needed, move it away ({MOVE_ETCD}) or take another machine; if not, "
            "delete it; then run this again",
        )
        return
    if stop := clocks(ctx, "master"):
        yield stop
        return
    yield from unverified(ctx)
    if half_done:
        yield Step(
            "master.clear",
            "take back an init that did not end",
            (*kubeadm_reset(facts), *WITHOUT_LINKS, f"rm -f {STATE}/{STARTED}"),
        )
    yield Step(
        "master.init",
        f"kubeadm init {recipe.version}{', with ordinary pods on the control plane' * ctx.environment.pods_on_control_plane}",
        (
            f"install -d -m 0700 {STATE}",
            # the mark comes after kubeadm's checks (and its pulls): where they refuse, no init has begun
            f"kubeadm init phase preflight --config {CONFIG}{recipe.preflight} || {{ rc=$?; rm -f {CONFIG}; exit $rc; }}",
            f"touch {STATE}/{STARTED}",
            *marking(ctx.node),
            *sharing(ctx),
            f"kubeadm init --config {CONFIG} --skip-token-print --skip-phases preflight,show-join-command{recipe.preflight} "
            f"|| {{ rc=$?; rm -f {CONFIG}; exit $rc; }}",
            f"rm -f {CONFIG}",
            f"touch {STATE}/{DONE}",
        ),
        files=(
            File(CONFIG, recipe.init_config(facts, ctx.token), mode="0600", secret=True),
            *follow.note(ctx, KUBELET),
            *follow.note(ctx, PROXY),
        ),
        timeout=600,
        hint=NETWORK_HINT,
        mints=True,
        evidence=(SAYS,),
    )
    yield _api(240, NETWORK_HINT)
    yield from labels(ctx, phase="master", registers=True)


def _api(deadline: float, hint: str) -> Wait:
    says = "journalctl -u kubelet -n 200 --no-pager 2>&1 | grep -E ' [EF][0-9]{4} ' | tail -n 6"
    return api_wait("master.api", deadline=deadline, hint=hint, more=says)
