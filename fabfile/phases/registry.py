"""Phase 3: the private registry, proved by a canary pull, and images fetched ahead (manual "Docker Private Registry", digest R1, R2)."""

from __future__ import annotations

from collections.abc import Iterator

from ..context import Context
from ..facts import STATE
from ..recipes.modern import digest
from ..steps import Action, File, Step

PROOF = f"{STATE}/canary"


def registry(ctx: Context) -> Iterator[Action]:
    """containerd's hosts.toml (no restart needed), one small image pulled through it, then the images this node needs."""
    facts, recipe = ctx.facts, ctx.recipe
    files = recipe.registry_files()
    if files:
        # Stands for "the canary was pulled with exactly this configuration".
        proof = File(PROOF, digest(recipe.canary, *(f.path + f.content for f in files)) + "\n", mode="0600")
        if not all(facts.has_file(f.path, f.sha256, f.mode) for f in (*files, proof)):
            yield Step(
                "registry.login",
                f"private registry {ctx.settings.registry}",
                (f"install -d -m 0700 {STATE}",),
                files=files,
            )
            yield Step(
                "registry.canary",
                f"canary pull of {recipe.canary}",
                (f"crictl pull {recipe.canary}",),
                timeout=180,
                hint="401 is REGISTRY_USER or REGISTRY_PASSWORD, x509 is REGISTRY_CA, 'not found' is an image that the registry "
                "lacks, a time-out is a firewall between this node and the registry",
            )
            yield Step("registry.proof", "canary noted", files=(proof,))
    wanted = [image for image in recipe.worker_images if image not in facts.images]
    running = facts.initialised or facts.joined  # the kubelet then pulls what it lacks, and prunes what it does not use
    if wanted and not running:
        yield Step(
            "registry.images",
            f"{len(wanted)} images ahead",
            tuple(f"crictl pull {image}" for image in wanted),
            timeout=900,
            hint="can the node reach the image registry, and does it hold this version?",
        )
