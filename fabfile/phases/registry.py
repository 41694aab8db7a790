"""Phase 3: the private registry, proved by a canary pull, and images fetched ahead (manual "Docker Private Registry", digest R1, R2).

With IMAGE_DIGESTS, each image's digest is checked before kubeadm or the kubelet may run it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from shlex import quote

from ..context import Context
from ..inventory import Environment, images
from ..nodes.facts import STATE
from ..nodes.keeping import give_back_others
from ..recipes.kubeadm import CERTS, digest, recipe_for
from ..steps import Action, File, Step, Stop

PROOF = f"{STATE}/canary"


def files(environment: Environment) -> Iterable[str]:
    """Paths that this phase compares: the proof of the canary pull, containerd's registry files."""
    return PROOF, *(file.path for file in recipe_for(environment).registry_files())


def registry(ctx: Context) -> Iterator[Action]:
    """containerd's hosts.toml (no restart needed), one small image pulled through it, then the images this node needs."""
    facts, recipe = ctx.facts, ctx.recipe
    # the kubelet then pulls missing images and prunes unused ones by itself
    running = facts.initialised or facts.joined
    refused = _incomplete(ctx) or (_tampered(ctx) if running else None)
    if refused:
        yield refused
        return
    files = recipe.registry_files()
    old = [path for path in facts.kept if path.startswith(f"{CERTS}/") and path not in {f.path for f in files}]
    if old:
        yield Step(
            "registry.old",
            f"registries of before: {len(old)} file{'s' * (len(old) != 1)} of ours and their logins taken back",
            give_back_others(CERTS, (f.path for f in files)),
        )
    if files:
        # This file proves that the canary was pulled with exactly this configuration.
        proof = File(PROOF, digest(recipe.canary, *(f.path + f.content for f in files)) + "\n", mode="0600")
        if not all(facts.has_file(f.path, f.sha256, f.mode) for f in (*files, proof)):
            what = f"private registry {ctx.settings.registry}" if ctx.settings.registry else "mirrors of registries"
            yield Step("registry.login", what, (f"install -d -m 0700 {STATE}",), files=files)
            if recipe.canary:
                yield Step(
                    "registry.canary",
                    f"canary pull of {recipe.canary}",
                    (f"crictl pull {quote(recipe.canary)}",),
                    timeout=180,
                    hint="401 is REGISTRY_USER or REGISTRY_PASSWORD, x509 is REGISTRY_CA, 'HTTP response to HTTPS client' is a REGISTRY without "
                    "http:// before it, 'not found' is an image that the registry lacks (or has under another path: REGISTRY=host:port/path), "
                    "a time-out is a firewall between this node and the registry, or a proxy",
                )
            yield Step("registry.proof", "canary noted", files=(proof,))
    wanted = [
        image
        for image in dict.fromkeys((*recipe.images_ahead(ctx.node), *_tagged(ctx)))
        if "@" not in image and not _held(ctx, image)
    ]
    if wanted and not running:
        yield from _fetch(ctx, wanted)


def unverified(ctx: Context) -> Iterator[Action]:
    """Fetch and check the pinned images that kubeadm would take by tag and that this node does not have yet.

    After the registry phase there are none: this is for `fab -H master init` and `fab -H w1 join` without it.
    """
    wanted = [image for image in _tagged(ctx) if not _held(ctx, image)]
    if wanted:
        yield from _fetch(ctx, wanted)


def ahead(ctx: Context, phase: str) -> Iterator[Action]:
    """Fetch what this node will run of the recipe's release and does not have, each pinned image held against its digest."""
    if refused := _incomplete(ctx):
        yield replace(refused, id=f"{phase}.{refused.id.partition('.')[2]}")
        return
    recipe, plane = ctx.recipe, ctx.node.control_plane
    known = recipe.kubeadm_images(control_plane=plane, known=ctx.facts.kubeadm_images)
    wanted = [one for one in dict.fromkeys((*recipe.worker_images, *known)) if "@" not in one and not _held(ctx, one)]
    if wanted:
        yield from _fetch(ctx, wanted, phase)


def _fetch(ctx: Context, wanted: list[str], phase: str = "registry") -> Iterator[Action]:
    recipe, tagged = ctx.recipe, _tagged(ctx)
    pinned = [image for image in wanted if image in tagged]
    yield Step(
        f"{phase}.images",
        f"{len(wanted)} image{'s' * (len(wanted) != 1)} ahead",
        tuple(f"crictl pull {quote(image if image in pinned else recipe.pinned(image))}" for image in wanted),
        timeout=900,
        hint="can the node reach the image registry, and does it hold this version?"
        + f" 'not found' behind @sha256: it does not serve the image that {_lock_file(ctx)} pins" * bool(recipe.pins),
    )
    if pinned:
        yield Step(
            f"{phase}.digests",
            f"hold {len(pinned)} image{'s' * (len(pinned) != 1)} against {_lock_file(ctx)}",
            tuple(checked(image, recipe.pin(image)) for image in pinned),
            timeout=60,
            hint="that tag now names another image than the one that was pinned: it is removed from the node, and nothing of it ran. Find "
            f"out who pushed it; only if it is the right one, put its digest into {_lock_file(ctx)}. Then run this again",
        )


def _lock_file(ctx: Context) -> str:
    return Path(ctx.settings.image_digests).name


def _tagged(ctx: Context) -> list[str]:
    """The pinned images that this node runs by tag. Our own manifests name images by digest, so containerd checks those."""
    recipe = ctx.recipe
    named = recipe.kubeadm_images(control_plane=ctx.node.control_plane, known=ctx.facts.kubeadm_images)
    return [image for image in named if recipe.pin(image)]


def _held(ctx: Context, image: str) -> bool:
    """Whether the node has the image; a pinned one, with its digest."""
    facts, pin = ctx.facts, ctx.recipe.pin(image)
    if not pin:
        return images.full(image) in facts.images
    by_digest = f"{images.repository(image)}@{pin}"
    return facts.digests.get(images.full(image)) == pin or (image not in _tagged(ctx) and by_digest in facts.digests)


def checked(image: str, pin: str) -> str:
    """The shell line that fails where the image that was pulled is not the pinned one, and takes it off the node then."""
    name, serves = quote(image), quote(f"{image}: the registry serves")
    return (
        f"seen=$(ctr -n k8s.io images ls name=={name} 2>/dev/null | grep -oE 'sha256:[0-9a-f]{{64}}' | head -n 1) || seen=nothing; "
        f'[ "$seen" = {pin} ] || {{ echo {serves} "$seen, pinned is {pin}"; crictl rmi {name} >/dev/null 2>&1; exit 65; }}'
    )


def _tampered(ctx: Context) -> Stop | None:
    """Stop where an image that runs here, or would run after a restart, differs from the pinned one."""
    for image in _tagged(ctx):
        seen = ctx.facts.digests.get(images.full(image), "")
        if seen and seen != ctx.recipe.pin(image):
            return Stop(
                "registry.tampered",
                f"{image} on this node is {seen}, pinned is {ctx.recipe.pin(image)}",
                f"it may run here already: find out where it came from. If it is the right one, put its digest into {_lock_file(ctx)} "
                f"(`inv cluster.digests`); if not, do not trust this node, and set it up again: {ctx.renew()}",
            )
    return None


def _incomplete(ctx: Context) -> Stop | None:
    """Stop where the lock file was made for another release, or, with IMAGE_DIGESTS_STRICT, leaves images out."""
    recipe, known, lock = ctx.recipe, ctx.facts.kubeadm_images, _lock_file(ctx)
    for image, line in recipe.outdated(known):
        return Stop(
            "registry.outdated",
            f"{lock} pins {line}, and this cluster uses {image}, which it does not pin",
            f"add that image's line (`inv cluster.digests` on a cluster of that release writes it), or take the old one out of {lock}",
        )
    unlisted = recipe.unlisted(known)
    if unlisted and ctx.settings.image_digests_strict:
        return Stop(
            "registry.unlisted",
            f"{lock} lacks {', '.join(unlisted)}",
            "add their lines (`inv cluster.digests` on a healthy cluster writes them all), or set IMAGE_DIGESTS_STRICT=no",
        )
    return None
