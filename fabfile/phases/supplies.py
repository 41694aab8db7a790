"""What an upgrade takes, and must be there before it begins: room on each node's disks, packages and images of the new release, containerd.

Sources: kubeadm's util/image and phases/upgrade/staticpods.go (the copy of etcd's data); `kubeadm config images list` (recipes/changes.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..inventory import Environment, Node, with_release
from ..nodes.upgrading import TMP, Answers
from ..recipes.changes import CONTAINERD, ETCD_BEFORE, ETCD_STEPS, IMAGES, etcd_of, minor_of, numbers
from ..recipes.kubeadm import RELEASES, Recipe
from ..recipes.packages import RUNTIME
from ..text.cleaning import listed, spans
from .examined import Check, Fleet
from .runtimes import Verdict, decide, short
from .upgrade import COMPONENTS

MIB = 1 << 10  # KiB
# KiB that the packages and images of a release take: measured with 1.36 and 1.37 (four images of 30 to 100 MB unpacked, and etcd's).
PACKAGES_SIZE = 400 * MIB
IMAGES_SIZE = {True: 1536 * MIB, False: 512 * MIB}  # by whether it is a control plane


def space(fleet: Fleet) -> Iterator[Check]:
    """What kubeadm copies, what is unpacked, each on its file system."""
    short = False
    for node, facts, answers in fleet.seen:
        needs: dict[str, dict[str, int]] = {}

        def need(
            folder: str, size: int, what: str, answers: Answers = answers, needs: dict[str, dict[str, int]] = needs
        ) -> None:
            if folder in answers.free:
                needs.setdefault(answers.mounts.get(folder, folder), {})[what] = size

        if fleet.begun(facts):
            continue
        if node.control_plane:
            need(TMP, answers.data + answers.data // 10, f"kubeadm's copy of etcd's data in {TMP}")
        need("/usr", PACKAGES_SIZE, "the packages")
        need("/var/lib/containerd", IMAGES_SIZE[node.control_plane], "the images")
        for mount, sizes in needs.items():
            free = min(answers.free[f] for f in answers.free if answers.mounts.get(f, f) == mount)
            wanted = sum(sizes.values())
            if free < wanted:
                short = True
                parts = ", ".join(f"{size // MIB} for {what}" for what, size in sizes.items())
                seen = f"{free // MIB} MiB are free on {mount} of {node.name}, and {wanted // MIB} are needed: {parts}"
                copies = (
                    f"remove older copies of etcd's data in {TMP} there, or "
                    if any(TMP in what for what in sizes)
                    else ""
                )
                yield Check("space.disk", "stop", seen, f"{copies}make room or enlarge that disk")
        if not answers.free:
            short = True
            yield Check("space.disk", "stop", f"the free space of {node.name} is not known", "`df -h` there")
    if not short:
        yield Check(
            "space.disk",
            "ok",
            "every node has room for packages and images, and the control plane for kubeadm's copy of etcd's data",
        )


def packages(fleet: Fleet) -> Iterator[Check]:
    minor = minor_of(fleet.target)
    lacking: dict[str, list[str]] = {}
    faults: dict[str, str] = {}
    for node, facts, answers in fleet.seen:
        if all(facts.release(name) == fleet.target for name in ("kubelet", "kubeadm", "kubectl")):
            continue
        offer = answers.packages.get(minor)
        if offer is None or offer.fault:
            faults[node.name] = offer.fault if offer else "it was not asked"
        elif fleet.target not in offer.whole:
            newest = offer.whole[-1] if offer.whole else "nothing"
            lacking.setdefault(newest, []).append(node.name)
    for why, names in grouped(faults).items():
        seen = f"the package repository of {minor} cannot be used by {spans(names)}: {why}"
        yield Check(
            "packages.there",
            "stop",
            seen,
            "the words are apt's or dnf's, or curl's of the key; PACKAGES_URL names the repository",
        )
    for newest, names in lacking.items():
        seen = f"the package repository has no whole {fleet.target} for {spans(names)}; the newest of {minor} there is {newest}"
        remedy = (
            f"{fleet.command(newest)}" if numbers(newest) > numbers(fleet.release) else "wait until the mirror has it"
        )
        yield Check("packages.there", "stop", seen, remedy)
    if not faults and not lacking:
        yield Check("packages.there", "ok", f"every node's package repository has {fleet.target}")


def wanted(environment: Environment, node: Node, target: str) -> tuple[str, ...]:
    """The images that kubeadm of that release runs on a node, as far as they are known; none for a release that kubefab does not know."""
    minor = minor_of(target)
    if minor not in IMAGES or minor not in RELEASES:
        return ()
    names = [f"registry.k8s.io/{name}:v{target}" for name in (*COMPONENTS, "kube-proxy")]
    names += [f"registry.k8s.io/{name}" for name in IMAGES[minor]]
    recipe = Recipe(with_release(environment, target))
    return recipe.kubeadm_images(control_plane=node.control_plane, known=names)


def rolled(fleet: Fleet, node: Node, answers: Answers) -> tuple[str, ...]:
    """The images of etcd of which one must be rolled in on a control plane before the target's etcd, newest first; none where none is needed."""
    version = numbers(answers.etcd.version)
    if not node.control_plane or not version:
        return ()
    lines = [line for minor in fleet.entered if (line := minor_of(etcd_of(minor))) in ETCD_BEFORE]
    needed = [line for line in lines if version < numbers(ETCD_BEFORE[line])]
    return tuple(f"registry.k8s.io/etcd:{tag}" for line in needed for tag in ETCD_STEPS[line])


def images(fleet: Fleet) -> Iterator[Check]:
    """Whether every node could have the images: it has them, or its registry says so."""
    missing: dict[str, list[str]] = {}
    unsure: dict[str, list[str]] = {}
    asked = False
    for node, facts, _ in fleet.seen:
        for image in () if fleet.begun(facts) else wanted(fleet.environment, node, fleet.target):
            asked = True
            said = fleet.images.get(node.name, {}).get(image)
            if image in facts.images or (said and said.code == 200):
                continue
            if said is None or (said.code in (401, 403) and not fleet.environment.settings.registry_user):
                unsure.setdefault(image, []).append(node.name)
            else:
                why = (
                    "is not in its registry"
                    if said.code == 404
                    else said.error or f"gets HTTP {said.code} from its registry"
                )
                missing.setdefault(f"{image} {why}", []).append(node.name)
    for what, names in missing.items():
        seen = f"{spans(names)} cannot have an image of {fleet.target}: {what}"
        yield Check(
            "images.there",
            "stop",
            seen,
            "push it to the mirror, or wait until it is there; REGISTRY_MIRRORS in hosts.env says where it is asked for",
        )
    if unsure and not missing:
        seen = f"whether the nodes can have {listed(sorted(unsure), 3)} was not learned: the mirror wants a login, or has a CA of its own"
        yield Check("images.there", "note", f"{seen}; they are pulled before a node is drained")
    if not asked:
        yield Check(
            "images.there",
            "note",
            f"the images of {fleet.target} are not known to kubefab: they are pulled before a node is drained",
        )
    elif not missing and not unsure:
        yield Check("images.there", "ok", f"every node has, or could have, the images of {fleet.target}")
    known = wanted(fleet.environment, fleet.environment.control_plane, fleet.target)
    outdated = Recipe(with_release(fleet.environment, fleet.target)).outdated(known) if known else ()
    if outdated:
        old, new = listed([line for _, line in outdated], 2), listed([image for image, _ in outdated], 2)
        seen = f"IMAGE_DIGESTS ({fleet.environment.settings.image_digests}) has {old}, and {fleet.target} runs {new}"
        yield Check(
            "images.pinned", "stop", seen, "add the digests of the new images to that file: a node takes no other"
        )


def needs(fleet: Fleet) -> int:
    """The least major release of containerd with which the new kubelet works; 0 for any."""
    return max((CONTAINERD[minor] for minor in fleet.entering if minor in CONTAINERD), default=0)


def verdicts(fleet: Fleet) -> dict[str, Verdict]:
    """What is decided for each node that was observed, by its name."""
    wish, least = fleet.choices.containerd, needs(fleet)
    return {
        node.name: decide(facts, fleet.runtime(node.name), control_plane=node.control_plane, wish=wish, least=least)
        for node, facts in fleet.observed
    }


def runtimes(fleet: Fleet) -> Iterator[Check]:
    """What becomes of containerd on the nodes that are upgraded, or why it is left; a stop where the release, or the operator, asks for more."""
    found, least, wish = verdicts(fleet), needs(fleet), fleet.choices.containerd
    moves: dict[tuple[bool, str], list[str]] = {}
    left: dict[str, list[str]] = {}
    old: list[str] = []
    for node, facts in fleet.observed:
        answers, verdict = fleet.runtime(node.name), found[node.name]
        present = facts.packages.get(RUNTIME, "")
        if least and answers and numbers(answers.containerd) < (least,) and not verdict.version:
            old.append(f"{node.name}: {answers.containerd}{f', {verdict.why}' * bool(verdict.why)}")
        elif wish != "next" and fleet.kubelet(facts) == fleet.target:
            continue
        elif verdict.version and verdict.version != present:
            moves.setdefault((node.control_plane, f"{short(present)} to {short(verdict.version)}"), []).append(
                node.name
            )
        elif verdict.why:
            left.setdefault(verdict.why, []).append(node.name)
    if old:
        seen = f"containerd is older than {least}.0 ({listed(old, 5)}): a kubelet of {fleet.entering[-1]} does not start pods with it"
        yield Check("containerd.version", "stop", seen, f"install containerd.io {least}.0 or later there")
    elif least:
        yield Check("containerd.version", "ok", f"containerd is {least}.0 or later on every node, or will be")
    for (control_plane, what), names in moves.items():
        how = f"while {'each' if len(names) > 1 else 'it'} is drained"
        if control_plane:
            how = "which is not drained: its containers run on under their shims while containerd restarts (KillMode=process of its unit)"
        yield Check("containerd.follows", "note", f"containerd goes from {what} on {spans(names)}, {how}")
    for why, names in left.items():
        asked = wish == "next"
        remedy = "without --containerd next it is left as it is" if asked else ""
        yield Check(
            "containerd.left",
            "stop" if asked else "note",
            f"containerd on {spans(names)} is left as it is: {why}",
            remedy,
        )


def grouped(found: Mapping[str, str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name, why in found.items():
        groups.setdefault(why, []).append(name)
    return groups
