"""Phase 2: packages and the container runtime (manual "필수 프로그램 설치", digest I1 to I5)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..context import Context
from ..inventory import Environment
from ..lasting import data_left
from ..nodes.facts import STATE, NodeFacts
from ..nodes.keeping import CONTAINERD_CONFIG, give_back
from ..recipes import proxies
from ..recipes.kubeadm import digest, recipe_for
from ..recipes.packages import Apt, Family, family
from ..steps import Action, File, Step, Stop


def files(environment: Environment) -> Iterable[str]:
    """Paths that this phase compares: containerd's and crictl's configuration, the repositories of either family."""
    recipe = recipe_for(environment)
    yield from (recipe.crictl_config.path, recipe.containerd_config().path)
    yield from (*proxies.KEPT, proxies.APT, proxies.PROOF)
    for facts in (NodeFacts(os_id="debian"), NodeFacts(os_id="rocky")):
        packages = family(facts)
        yield from (file.path for file in packages.repository_files(facts, recipe)) if packages else ()


def install(ctx: Context) -> Iterator[Action]:
    """Repositories with their keys, packages at one pinned and held version, containerd configured."""
    facts, recipe = ctx.facts, ctx.recipe
    packages = family(facts)
    if packages is None:
        return
    refused = _docker(ctx) or _in_the_way(ctx) or _settings(ctx)
    if refused:
        yield refused
        return
    yield from _proxy(ctx, packages)
    if not packages.installed(facts, recipe):
        yield from packages.steps(facts, recipe)
    yield from runtime(ctx, "install")
    if not facts.unit("kubelet").enabled:
        yield Step("install.kubelet", "kubelet starts at boot", (_enabled("kubelet"),))


def runtime(ctx: Context, phase: str) -> Iterator[Action]:
    """containerd with this release's configuration, of which the pause image is a part."""
    facts, recipe = ctx.facts, ctx.recipe
    files = (recipe.containerd_config(), recipe.crictl_config)
    if not all(facts.has_file(f.path, f.sha256, f.mode) for f in files) or not facts.unit("containerd").active:
        yield Step(
            f"{phase}.containerd",
            f"containerd configured and running{_kept(ctx)}",
            (_enabled("containerd"), "systemctl restart containerd", "crictl info >/dev/null"),
            files=files,
            hint="`journalctl -u containerd -n 50` on the node says why it does not answer",
        )


def _enabled(unit: str) -> str:
    """The shell line for a unit that is to start at boot. Some packages see to that; to ask costs less than systemd's reload after each change."""
    return f"systemctl is-enabled --quiet {unit} || systemctl enable {unit}"


def _proxy(ctx: Context, packages: Family) -> Iterator[Action]:
    """The proxy's files as PROXY says, or none of them; containerd, which keeps its containers meanwhile, is restarted for them.

    The last file proves that it was: a run that was cut off between files and restart does both again.
    """
    facts = ctx.facts
    ours, packaged = proxies.files(ctx.environment), packages.proxy_files(facts, ctx.recipe)
    restart = ["systemctl daemon-reload"]
    if facts.unit("containerd").active:
        restart += [
            "systemctl restart containerd",
            *(["crictl info >/dev/null"] if "cri-tools" in facts.packages else []),
        ]
    hint = "`journalctl -u containerd -n 50` on the node says why it does not answer"
    if ours:
        # the repositories' files may be written later, so they are no part of the proof
        proof = File(proxies.PROOF, digest(*(f.path + f.content for f in ours)) + "\n", mode="0600")
        if not all(facts.has_file(f.path, f.sha256, f.mode) for f in (*ours, *packaged, proof)):
            title = f"proxy {ctx.settings.proxy} for containerd and for what fetches packages"
            yield Step("install.proxy", title, tuple(restart), files=(*ours, *packaged), hint=hint)
            yield Step("install.proxied", "proxy noted", (f"install -d -m 0700 {STATE}",), files=(proof,))
    elif proxies.PROOF in facts.files or proxies.APT in facts.files or set(proxies.KEPT) & set(facts.kept):
        lines = (*give_back(proxies.KEPT), f"rm -f {proxies.APT}", *restart, f"rm -f {proxies.PROOF}")
        yield Step(
            "install.proxy-off", "PROXY is not set any more: its files taken back", lines, files=packaged, hint=hint
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


def _in_the_way(ctx: Context) -> Stop | None:
    """containerd.io takes the place of the distribution's containerd and runc: rpm's Obsoletes does it without asking, apt would with -y."""
    packages = ctx.facts.packages
    found = [name for name in ("containerd", "runc") if name in packages]
    if not found or "containerd.io" in packages:
        return None
    remove = "apt-get remove" if isinstance(family(ctx.facts), Apt) else "dnf remove"
    return Stop(
        "install.conflict",
        f"{' and '.join(f'{name} {packages[name]}' for name in found)} of the distribution {'are' if len(found) > 1 else 'is'} installed here; "
        "containerd.io would push that out, and what runs by it (podman, say) would stop",
        f"if nothing here needs it: `{remove} {' '.join(found)}`, then run this again; otherwise take another machine",
    )


def _settings(ctx: Context) -> Stop | None:
    """Its own configuration has what ours lacks, or cannot be read."""
    if ctx.facts.containerd.get("unread"):
        return Stop(
            "install.containerd-unread",
            f"{CONTAINERD_CONFIG} on this node is not TOML, or has more of its own than can be shown here: it may keep containerd's data "
            "on another disk",
            "put it right, or move it away, then run this again",
        )
    return data_left("install.containerd-settings", "this node", ctx.facts, ctx.recipe)


def _kept(ctx: Context) -> str:
    """A note for the title where a configuration that kubefab did not write is kept."""
    facts = ctx.facts
    theirs = (
        CONTAINERD_CONFIG in facts.files
        and facts.kept.get(CONTAINERD_CONFIG) not in ("ours", "gone")
        and "containerd.io" in facts.packages
    )
    return "; the configuration that was here is kept, and reset gives it back" if theirs else ""
