"""`inv cluster.digests`: the images that a running cluster was made of, as a file that pins them (IMAGE_DIGESTS)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import KubefabError, UsageError
from .common import Options, command, described, print_json, print_text

if TYPE_CHECKING:
    from ..nodes.facts import NodeFacts


@command(
    "env",
    "json",
    "ask_sudo_pass",
    help={"file": "write it there, whole or not at all; IMAGE_DIGESTS then names it. Default: print it"},
)
def digests(*, file: str = "", options: Options) -> None:
    """A running cluster's image digests. Reads only."""
    from ..inventory import images
    from ..recipes.kubeadm import recipe_for
    from ..text.screen import Screen
    from ..text.whole import write_whole
    from ..views.digests import collect
    from .session import opened

    if described(options).settings.release.runtime == "docker":
        raise UsageError("1.5's Docker knows images by tag only", "digests are for 1.35 and later")
    target = Path(file).expanduser() if file else None
    if target and not target.parent.is_dir():
        raise UsageError(f"no folder {target.parent}", "make it, or name another file")
    with opened(options) as session:
        environment = session.environment
        recipe = recipe_for(environment)
        seen = session.observer(digests=recipe.version).survey(environment.nodes)
        found = collect(recipe, environment.control_plane.name, {name: _facts(seen[name]) for name in seen})
    notes = Screen(stderr=True)
    if found.disagreeing:
        which = "\n".join(
            f"{image}: " + ", ".join(f"{node} has {digest}" for node, digest in held.items())
            for image, held in sorted(found.disagreeing.items())
        )
        raise KubefabError(
            f"the nodes hold different images under one tag\n{which}",
            "find out which is the right one before you trust either",
        )
    if not found.pins:
        raise KubefabError(
            "no node holds an image of this cluster", f"`inv cluster.bootstrap {environment.option}` first"
        )
    if options.json:
        print_json({"images": found.pins, "missing": found.missing})
    elif target is None:
        print_text(images.render(found.pins))
    if target:
        write_whole(target, images.render(found.pins), 0o644)
        notes.print(f"{target}: {len(found.pins)} images", soft_wrap=True)
    if found.missing:
        notes.print(f"! on no node, so left out: {', '.join(found.missing)}", style="yellow", soft_wrap=True)


def _facts(found: NodeFacts | KubefabError) -> NodeFacts:
    """The facts, or the error raised: operators would trust a file made from half the nodes like one from all of them."""
    if isinstance(found, KubefabError):
        raise found
    return found
