"""Makes a lock file from the images on a cluster's nodes: each image that the cluster uses, with its digest there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..inventory import images
from ..nodes.facts import NodeFacts
from ..recipes.kubeadm import Recipe
from ..records import dataclass


@dataclass(frozen=True)
class Found:
    """The digests of a cluster's images.

    `pins` maps full image names to digests; `disagreeing` maps images whose digest differs between nodes to each node's
    digest; `missing` are the images that no node has.
    """

    pins: Mapping[str, str]
    disagreeing: Mapping[str, Mapping[str, str]]
    missing: tuple[str, ...]


def collect(recipe: Recipe, control_plane: str, observed: Mapping[str, NodeFacts]) -> Found:
    """Read the digests from the nodes' facts. An image that runs by digest has no name on a node: it is read from the applied manifests."""
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
        elif recipe.pin(image):  # keep the present pin: verify's probe image is on no node before verify has run
            pins[image] = recipe.pin(image)
        else:
            missing.append(image)
    return Found(pins, disagreeing, tuple(missing))


def _applied(control: NodeFacts) -> Iterator[tuple[str, str]]:
    """(image, digest) for the images that our applied manifests name by digest."""
    for item in control.objects:
        pod = item.get("spec", {}).get("template", {}).get("spec", {})
        for container in (*pod.get("initContainers", ()), *pod.get("containers", ())):
            name, _, digest = str(container.get("image", "")).partition("@")
            if digest:
                yield images.full(name), digest
