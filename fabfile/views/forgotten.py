"""What a restore forgets: what was made since the snapshot, asked while the API still answers, and what runs on the nodes that the restored
state does not know. Only shown: nothing is decided from it.

A kubelet ends the pods that its API does not know, within seconds after it has listed again; so the nodes are looked at before and after.

Sources: kubernetes pkg/kubelet/kubelet_pods.go (HandlePodCleanups), pkg/kubelet/kuberuntime/labels.go (a sandbox has its pod's annotations;
a static pod's uid in the CRI is its mirror pod's kubernetes.io/config.hash); a resourceVersion is etcd's revision.
"""

from __future__ import annotations

import calendar
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any

from ..backups.contents import Record
from ..errors import KubefabError
from ..inventory import Environment, Node
from ..nodes import script
from ..nodes.connection import outcome
from ..nodes.group import NodeGroup
from ..recipes.kubeadm import CRICTL
from ..records import dataclass
from ..steps import command
from ..text import forms

TIMEOUT = 45.0  # seconds
LIMIT = 8 << 20  # bytes of an answer: what is longer is not judged
NAMED = 3  # names shown of each kind; the others are counted
# What a cluster writes all the time by itself, or derives from other objects.
_BUSY = (
    "pods|events|events[.]events[.]k8s[.]io|leases[.]coordination[.]k8s[.]io|endpoints|endpointslices[.]discovery[.]k8s[.]io|"
    "componentstatuses|controllerrevisions[.]apps|csinodes[.]storage[.]k8s[.]io|ipaddresses[.]networking[.]k8s[.]io|.*[.]metrics[.]k8s[.]io"
)
_HASH = r".metadata.annotations.kubernetes\.io/config\.hash"
KUBECTL = "kubectl --request-timeout=15s"
_VOLUME = re.compile(
    r"/var/lib/kubelet/pods/([0-9a-f-]{32,36})/volumes/kubernetes\.io~(?:csi|local-volume)/([^/\s]+)(?:/mount)?"
)
_INLINE = re.compile(r"csi-[0-9a-f]{64}")  # a volume that lives and dies with its pod has no PersistentVolume


def _rows(*columns: str) -> str:
    return (
        "{range .items[*]}" + '{"|"}'.join(f"{{{one}}}" if one[0] == "." else one for one in columns) + '{"\\n"}{end}'
    )


def _script(name: str, *lines: str) -> str:
    return script.render(name, lines, lock=False, limit=LIMIT)


def _asked(group: NodeGroup, node: Node, name: str, text: str) -> str:
    """What a script prints on a node. Raises KubefabError, also where it fails or prints too much."""
    done = outcome(group.of(node), name, text, TIMEOUT)
    if done.code or len(done.output) >= LIMIT - 4:
        why = forms.text(done.output[-300:]) if done.code else "its answer is too long"
        raise KubefabError(f"{node.name}: {why}")
    return done.output


# --- before: what is lost while the API still has it


@dataclass(frozen=True)
class Since:
    """The objects that were made, or only changed, after a snapshot: by kind, each as `namespace/name`."""

    made: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    changed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def data(self) -> dict[str, Any]:
        """As JSON values."""
        return {name: {kind: list(of) for kind, of in kinds.items()} for name, kinds in vars(self).items()}


_OBJECTS = _rows(
    ".kind", ".metadata.namespace", ".metadata.name", ".metadata.resourceVersion", ".metadata.creationTimestamp"
)
SINCE = _script(
    "restore.since",
    # an aggregated API that does not answer is one kind less
    f"kinds=$({KUBECTL} api-resources --verbs=list -o name | grep -vxE '{_BUSY}' | tr '\\n' ',') || true",
    f'{KUBECTL} get "${{kinds}}pods" -A -o {command(f"jsonpath={_OBJECTS}")} || true',
)


def since(environment: Environment, group: NodeGroup, record: Record, ahead: float) -> Since | str:
    """What the API has that the backup has not, or the reason why that is unknown. `ahead`: seconds by which the node's clock leads ours."""
    try:
        answer = _asked(group, environment.control_plane, "restore.since", SINCE)
    except KubefabError as error:
        return error.message
    return parse_since(answer, record.revision, record.made + ahead)


def parse_since(answer: str, revision: int, made: float) -> Since | str:
    """The answer's objects with a later revision; `made` is when the snapshot was taken, by the node's clock."""
    found: tuple[dict[str, list[str]], dict[str, list[str]]] = ({}, {})
    whole = False
    for line in answer.splitlines():
        words = line.split("|")
        if len(words) != 5 or not re.fullmatch("[A-Z][A-Za-z0-9]{0,62}", words[0]) or not words[3].isdigit():
            continue
        kind, space, name, version, born = words
        if not forms.Name.fits(name.lower().replace(":", "-")) or (space and not forms.Name.fits(space)):
            continue
        whole = whole or (kind, name) == ("Namespace", "default")
        old = bool(born) and _seconds(born) < made - 1
        if int(version[:19]) <= revision or (kind == "Node" and old):  # a Node's status changes all the time
            continue
        found[old].setdefault(kind, []).append(f"{space}/{name}" if space else name)
    if not whole:
        return "the API does not answer"
    return Since(*({kind: tuple(names) for kind, names in sorted(one.items())} for one in found))


def _seconds(stamp: str) -> float:
    try:
        return float(calendar.timegm(time.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ")))
    except ValueError:
        return float("inf")


def since_lines(found: Since | str) -> Iterator[str]:
    """For a person, before they agree."""
    if isinstance(found, str):
        yield f"what was made in it since the backup is not known: {found}"
        return
    for words, kinds in (("made since, and lost", found.made), ("changed since, and as before", found.changed)):
        if kinds:
            yield f"{words}: {'; '.join(_named(kind, names) for kind, names in kinds.items())}"
    if not found.made and not found.changed:
        yield "nothing was made or changed in it since the backup"


def _named(kind: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{kind} {len(names)} ({', '.join(names[:NAMED])}{more})"


# --- the nodes


@dataclass(frozen=True)
class Pod:
    """A pod that a node's container runtime runs; `made` is when its sandbox was, in seconds since 1970 by the node's clock."""

    uid: str
    name: str
    made: float = 0.0


@dataclass(frozen=True)
class Look:
    """What runs on a node: pods that came from the API, and the PersistentVolumes that its kubelet has mounted. `member`: it is in a cluster."""

    hostname: str = ""
    member: bool = False
    pods: tuple[Pod, ...] = ()
    volumes: frozenset[str] = frozenset()


Looks = Mapping[str, Look | KubefabError]
LOOK = _script(
    "restore.look",
    "echo \"hostname $(hostname)\"; if [ -e /etc/kubernetes/kubelet.conf ]; then echo 'member yes'; fi",
    "awk '$2 ~ \"^/var/lib/kubelet/pods/\" {print $3, $2}' /proc/mounts",
    # a machine that is in no cluster runs nothing of it, and its runtime may not answer
    "echo '@@ pods'; if [ -e /etc/kubernetes/kubelet.conf ]; then "
    f"timeout 20 {CRICTL} pods --state Ready -o json 2>/dev/null; fi",
)
_PODS = forms.record(
    {
        "items": forms.many(
            forms.record(
                {
                    "metadata!": forms.record({"name!": forms.name, "namespace!": forms.name, "uid!": forms.string}),
                    "createdAt": forms.string,
                    "annotations": forms.strings,
                }
            )
        )
    }
)


def looks(group: NodeGroup, nodes: Sequence[Node]) -> dict[str, Look | KubefabError]:
    """Look at these nodes; where one does not answer, its error."""
    return group.each(nodes, lambda node: _look(group, node))


def _look(group: NodeGroup, node: Node) -> Look:
    try:
        return parse_look(_asked(group, node, "restore.look", LOOK))
    except forms.FormError as error:
        raise KubefabError(f"{node.name}: {error}") from None


def parse_look(answer: str) -> Look:
    """A node's answer. Raises FormError."""
    head, _, tail = answer.partition("@@ pods\n")
    said = dict(line.split(" ", 1) for line in head.splitlines() if line.startswith(("hostname ", "member ")))
    found = _PODS(forms.data(tail, "pods"), "pods").get("items", []) if tail.strip() else []
    pods = [
        Pod(
            forms.word(one["metadata"]["uid"], "uid", forms.UUID, "a uid"),
            f"{one['metadata']['namespace']}/{one['metadata']['name']}",
            forms.number(one.get("createdAt", "0")[:-9] or "0", "createdAt"),
        )
        for one in found
        if one.get("annotations", {}).get("kubernetes.io/config.source") != "file"  # a static pod's source is its file
    ]
    names = {match[2] for line in head.splitlines() if (match := _VOLUME.search(line))}
    volumes = frozenset(name for name in names if forms.Name.fits(name) and not _INLINE.fullmatch(name))
    return Look(forms.Hostname(said.get("hostname", "")), "member" in said, tuple(pods), volumes)


def started(before: Looks, made: float) -> Iterator[str]:
    """For a person, where no API can be asked: the pods that were started after the backup, which was made at that time by the nodes' clocks."""
    for node, look in before.items():
        if isinstance(look, Look) and (later := [one.name for one in look.pods if one.made > made]):
            yield f"{node} has started since: {_named('pods', later)}"


# --- after: what the restored state does not know


@dataclass(frozen=True)
class Known:
    """What the restored API has: the uids of pods (and of static pods in the CRI), the bound PersistentVolumes, the Nodes."""

    pods: frozenset[str] = frozenset()
    volumes: frozenset[str] = frozenset()
    nodes: frozenset[str] = frozenset()


KNOWN = _script(
    "restore.known",
    f"{KUBECTL} get pods,persistentvolumes,nodes -A -o "
    + command(f"jsonpath={_rows('.kind', '.metadata.name', '.metadata.uid', _HASH, '.status.phase')}"),
)


def known(environment: Environment, group: NodeGroup) -> Known | str:
    """Ask the restored API, or the reason why it cannot be asked."""
    try:
        return parse_known(_asked(group, environment.control_plane, "restore.known", KNOWN))
    except KubefabError as error:
        return error.message


def parse_known(answer: str) -> Known:
    """The answer's objects."""
    rows = [line.split("|") for line in answer.splitlines() if line.count("|") == 4]
    uids = {uid for kind, _, *both, _ in rows for uid in both if kind == "Pod" and uid}
    bound = {name for kind, name, _, _, phase in rows if (kind, phase) == ("PersistentVolume", "Bound")}
    return Known(frozenset(uids), frozenset(bound), frozenset(name for kind, name, *_ in rows if kind == "Node"))


@dataclass(frozen=True)
class Unknown:
    """What the restored state does not know, each as (node, what); of pods also whether they still run.

    `nodes` are machines that are in the cluster and have no Node; `strange` the Nodes that no machine of hosts.env is. `unseen`: nodes that
    could not be looked at; `why`: the API could not be asked.
    """

    pods: tuple[tuple[str, Pod, bool], ...] = ()
    volumes: tuple[tuple[str, str], ...] = ()
    nodes: tuple[tuple[str, str], ...] = ()
    strange: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    why: str = ""

    @property
    def data(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "pods": [{"node": node, "pod": one.name, "uid": one.uid, "runs": runs} for node, one, runs in self.pods],
            "volumes": [{"node": node, "volume": name} for node, name in self.volumes],
            "nodes": [{"node": node, "hostname": name} for node, name in self.nodes],
            "without_machine": list(self.strange),
            "unseen": list(self.unseen),
            "error": self.why,
        }


def unknown(before: Looks, after: Looks, restored: Known | str) -> Unknown:
    """Compare what ran before, and what runs now, with what the restored API knows."""
    unseen = tuple(
        name for name in after if isinstance(before.get(name), KubefabError) and not isinstance(after[name], Look)
    )
    if isinstance(restored, str):
        return Unknown(unseen=unseen, why=restored)
    pods, volumes, nodes, names = [], [], [], set()
    for name in after:
        seen = [one for one in (before.get(name), after[name]) if isinstance(one, Look)]
        runs = {pod.uid for pod in after[name].pods} if isinstance(after[name], Look) else set()  # type: ignore[union-attr]
        every = {pod.uid: pod for look in seen for pod in look.pods if pod.uid not in restored.pods}
        pods += [(name, pod, pod.uid in runs) for pod in every.values()]
        volumes += [
            (name, one) for one in sorted(frozenset().union(*(look.volumes for look in seen)) - restored.volumes)
        ]
        hosts = {look.hostname for look in seen if look.hostname}
        names |= hosts
        if any(look.member for look in seen):
            nodes += [(name, host) for host in sorted(hosts - restored.nodes)]
    strange = tuple(sorted(restored.nodes - names)) if not unseen else ()
    return Unknown(tuple(pods), tuple(volumes), tuple(nodes), strange, unseen)


def unknown_lines(found: Unknown) -> Iterator[str]:
    """For a person, at the end of a restore."""
    if found.why:
        yield f"what runs that the restored state does not know could not be asked: {found.why}"
    for node in dict.fromkeys(node for node, _, _ in found.pods):
        of = [(pod.name, runs) for where, pod, runs in found.pods if where == node]
        running = [pod for pod, runs in of if runs]
        ended = [pod for pod, runs in of if not runs]
        if running:
            yield f"{node} runs what the restored state does not know, and its kubelet ends it: {_named('pods', running)}"
        if ended:
            yield f"{node} ran what the restored state does not know, and has ended it: {_named('pods', ended)}"
    for node, volume in found.volumes:
        yield f"{node} had mounted PersistentVolume {volume}, which is not bound in the restored state: its data are where they were"
    for node, host in found.nodes:
        yield f"{node} was joined after the backup, so the restored state had no Node {host}: it was joined again, without its pods"
    for one in found.strange:
        yield f"Node {one} is in the restored state, and no machine in hosts.env is it: it may have been removed since the backup"
    if found.unseen:
        yield f"not looked at: {', '.join(found.unseen)}"
