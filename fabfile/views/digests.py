"""A lock file from what a cluster's nodes hold: every image that this cluster uses, with the digest behind its name there."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..inventory import images
from ..nodes.facts import NodeFacts
from ..recipes.kubeadm import Recipe


@dataclass(frozen=True)
class Found:
    """What was found.

    `pins` are by full image name; `disagreeing` are images whose digest differs between nodes, with who has which;
    `missing` are those that no node holds.
    """

    pins: Mapping[str, str]
    disagreeing: Mapping[str, Mapping[str, str]]
    missing: tuple[str, ...]


def collect(recipe: Recipe, control_plane: str, observed: Mapping[str, NodeFacts]) -> Found:
    """Read the digests out of the nodes' facts. What runs by digest has no name on a node: it is in the manifests that are applied."""
    control = observed.get(control_plane, NodeFacts())
    applied = dict(_applied(control))
    pins: dict[str, str] = {}
    disagreeing: dict[str, Mapping[str, str]] = {}
    missing = []
    for image in map(images.full, recipe.images(control.kubeadm_images)):
        pinned = applied.get(image, "")
        held = (
            {node: facts.digests[image] for node, facts in observed.items() if image in facts.digests}
            if not pinned
            else {}
        )
        if pinned:
            pins[image] = pinned
        elif len(set(held.values())) > 1:
            disagreeing[image] = held
        elif held:
            pins[image] = next(iter(held.values()))
        elif recipe.pin(image):  # as before: verify's probe image is on no node until it has run
            pins[image] = recipe.pin(image)
        else:
            missing.append(image)
    return Found(pins, disagreeing, tuple(missing))


def _applied(control: NodeFacts) -> Iterator[tuple[str, str]]:
    """Images that our manifests name by digest."""
    for item in control.objects:
        pod = item.get("spec", {}).get("template", {}).get("spec", {})
        for container in (*pod.get("initContainers", ()), *pod.get("containers", ())):
            name, _, digest = str(container.get("image", "")).partition("@")
            if digest:
                yield images.full(name), digest


def write(path: Path, text: str) -> None:
    """Put a lock file in place, whole or not at all: the one that is there is in use while this command runs."""
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
    ) as stream:
        stream.write(text)
    Path(stream.name).chmod(0o644)
    Path(stream.name).replace(path)
