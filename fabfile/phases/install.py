"""Phase 2: packages and the container runtime (manual "필수 프로그램 설치", digest I1 to I5)."""

from __future__ import annotations

from collections.abc import Iterator

from ..context import Context
from ..recipes.packages import family
from ..steps import Action, Step, Stop


def install(ctx: Context) -> Iterator[Action]:
    """Repositories with their keys, packages at one pinned and held version, containerd configured."""
    facts, recipe = ctx.facts, ctx.recipe
    packages = family(facts)
    if packages is None:
        return
    refused = _release(ctx) or _docker(ctx)
    if refused:
        yield refused
        return
    if not packages.installed(facts, recipe):
        yield from packages.steps(facts, recipe)
    files = (recipe.containerd_config(), recipe.crictl_config)
    if not all(facts.has_file(f.path, f.sha256, f.mode) for f in files) or not facts.unit("containerd").active:
        yield Step(
            "install.containerd",
            "containerd configured and running",
            ("systemctl enable containerd", "systemctl restart containerd", "crictl info >/dev/null"),
            files=files,
            hint="`journalctl -u containerd -n 50` on the node says why it does not answer",
        )
    if not facts.unit("kubelet").enabled:
        yield Step("install.kubelet", "kubelet starts at boot", ("systemctl enable kubelet",))


def _release(ctx: Context) -> Stop | None:
    """Packages of another minor under a living cluster are kubeadm upgrade's business; a kubelet may never be newer than its API server.

    kubernetes.io/releases/version-skew-policy.
    """
    facts, wanted = ctx.facts, ctx.recipe.minor
    there = facts.minor
    if not there or there == wanted or not facts.in_cluster:
        return None
    return Stop(
        "install.release",
        f"this node runs Kubernetes {there} in a cluster, the inventory says {wanted}",
        f"set KUBERNETES={there}, or say `--kubernetes {there}`; a real upgrade is `kubeadm upgrade`, node by node: "
        "https://kubernetes.io/docs/tasks/administer-cluster/kubeadm/kubeadm-upgrade/",
    )


def _docker(ctx: Context) -> Stop | None:
    """containerd.io conflicts with the distribution's containerd: apt would take docker.io away with it, and stop its containers."""
    packages = ctx.facts.packages
    if "docker.io" not in packages or "containerd.io" in packages:
        return None
    return Stop(
        "install.docker",
        "the distribution's docker.io is installed here; containerd.io would push it out, and its containers would stop",
        "if nothing here needs it: `apt-get remove docker.io containerd runc`, then run this again; otherwise take another machine",
    )
