"""Phase 2: packages and the container runtime (manual "필수 프로그램 설치", digest I1 to I5)."""

from __future__ import annotations

from collections.abc import Iterator

from ..context import Context
from ..recipes.packages import family
from ..steps import Action, Step


def install(ctx: Context) -> Iterator[Action]:
    """Repositories with their keys, packages at one pinned and held version, containerd configured."""
    facts, recipe = ctx.facts, ctx.recipe
    packages = family(facts)
    if packages is None:
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
