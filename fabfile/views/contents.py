"""Lists what runs in a cluster before the operator agrees to reset it. Read once, bounded, and only from the API."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

from ..errors import KubefabError
from ..inventory import Environment
from ..manifests import VOLUME
from ..nodes import script
from ..nodes.connection import outcome
from ..nodes.facts import NodeFacts
from ..nodes.group import NodeGroup
from ..records import dataclass
from ..steps import command
from ..text import forms

TIMEOUT = 30.0  # seconds
# bytes of the answer; pods come first, so in a huge cluster the first pods are cut off and no namespace
LIMIT = 1 << 20
NAMED = 3  # names shown of each kind; the others are counted
WIDTH = 80
_NAMESPACES = frozenset({"default", "kube-system", "kube-public", "kube-node-lease", "kube-flannel", "monitoring"})
# By namespace: the values of the labels app, k8s-app and component on kubeadm's and our own pods.
_PODS = {
    "kube-system": frozenset(
        {
            *(
                "etcd",
                "kube-apiserver",
                "kube-controller-manager",
                "kube-scheduler",
                "kube-proxy",
                "kube-dns",
                "headlamp",
                "kube-web-view",
            ),
            # pods of 1.5
            *(
                "kube-discovery",
                "dummy",
                "flannel",
                "kube-flannel",
                "influxdb",
                "monitoring-influxdb",
                "heapster",
                "kubernetes-dashboard",
            ),
        }
    ),
    "kube-flannel": frozenset({"flannel"}),
    "monitoring": frozenset({"monitoring-influxdb", "telegraf"}),
}
_VOLUMES = {("PersistentVolume", "", VOLUME), ("PersistentVolumeClaim", "monitoring", "influxdb")}  # InfluxDB's folder
_COLUMNS = (
    ".kind",
    ".metadata.namespace",
    ".metadata.name",
    ".metadata.labels.app",
    ".metadata.labels.k8s-app",
    ".metadata.labels.component",
)
_PATH = "{range .items[*]}" + '{"|"}'.join(f"{{{column}}}" for column in _COLUMNS) + '{"\\n"}{end}'
_KINDS = "pods,persistentvolumeclaims,persistentvolumes,namespaces"


@dataclass(frozen=True)
class Contents:
    """What is neither Kubernetes' own nor ours, by kind; names in a namespace are `namespace/name`. `cut`: there is more."""

    namespaces: tuple[str, ...] = ()
    pods: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()
    cut: bool = False


def ask(environment: Environment, group: NodeGroup) -> Contents | str:
    """What runs in the cluster, or the reason why that is unknown."""
    control = environment.control_plane
    line = command("timeout", "20", "kubectl", "--request-timeout=15s", "get", _KINDS, "-A", "-o", f"jsonpath={_PATH}")
    text = script.render("reset.contents", (line,), lock=False, limit=LIMIT)
    try:
        done = outcome(group.of(control), "reset.contents", text, TIMEOUT)
    except KubefabError as error:
        return error.message
    found = parse(done.output)
    if done.code or found is None:
        return f"the API on {control.name} does not answer"
    return found


def parse(output: str) -> Contents | None:
    """Parse the answer without our own objects; None if it lacks namespace default, which every cluster has."""
    found: dict[str, list[str]] = {"Namespace": [], "Pod": [], "PersistentVolume": [], "PersistentVolumeClaim": []}
    whole = False
    for line in output.splitlines():
        kind, namespace, name, *labels = line.split("|")[:6] if line.count("|") == 5 else ("", "", "")
        if kind not in found or not forms.Name.fits(name) or (namespace and not forms.Name.fits(namespace)):
            continue
        whole = whole or (kind, name) == ("Namespace", "default")
        if (kind, namespace, name) in _VOLUMES:
            continue
        if (kind == "Namespace" and name in _NAMESPACES) or (kind == "Pod" and standard(namespace, labels)):
            continue
        found[kind].append(f"{namespace}/{name}" if namespace else name)
    if not whole:
        return None
    return Contents(
        namespaces=tuple(found["Namespace"]),
        pods=tuple(found["Pod"]),
        volumes=tuple(found["PersistentVolume"]),
        claims=tuple(found["PersistentVolumeClaim"]),
        cut=len(output) >= LIMIT - 4,
    )


def standard(namespace: str, labels: Iterable[str]) -> bool:
    """Whether a pod with these values of the labels app, k8s-app and component is Kubernetes' own, or ours."""
    return not _PODS.get(namespace, frozenset()).isdisjoint(labels)


def strangers(environment: Environment, control: NodeFacts | None, hostnames: Iterable[str]) -> tuple[str, ...]:
    """The nodes in the API that are not in hosts.env: no address of theirs is in it, and no observed machine has their hostname."""
    known, addresses = (
        set(hostnames),
        {node.address for node in environment.nodes} | {node.host for node in environment.nodes},
    )
    nodes = control.nodes if control else ()
    return tuple(
        node["metadata"]["name"]
        for node in nodes
        if node["metadata"]["name"] not in known
        and not {one.get("address") for one in node.get("status", {}).get("addresses", ())} & addresses
    )


def lines(environment: Environment, found: Contents | str, foreign_nodes: tuple[str, ...]) -> Iterator[str]:
    """The summary for a person, at most 80 columns wide."""
    if isinstance(found, str):
        yield from textwrap.wrap(
            f"what runs in {environment.name} is not known: {found}",
            WIDTH,
            subsequent_indent="  ",
            break_long_words=False,
        )
        return
    theirs = " that {} neither Kubernetes' nor kubefab's"
    rows = [
        *_row(len(found.namespaces), "namespace", found.namespaces),
        *_row(len(found.pods), f"pod{theirs.format('is')}", found.pods, f"pods{theirs.format('are')}", found.cut),
        *_row(len(found.volumes), "PersistentVolume", found.volumes),
        *_row(len(found.claims), "PersistentVolumeClaim", found.claims),
        *_row(len(foreign_nodes), "node that hosts.env lacks", foreign_nodes, "nodes that hosts.env lacks"),
    ]
    if not rows:
        yield f"nothing but Kubernetes' and kubefab's own runs in {environment.name}"
        return
    yield f"in {environment.name} there {'are' if len(rows) > 1 else 'is'}, beside Kubernetes' and kubefab's own:"
    for row in rows:
        yield from textwrap.wrap(row, WIDTH, initial_indent="  ", subsequent_indent="    ", break_long_words=False)


def _row(count: int, one: str, names: tuple[str, ...], many: str = "", cut: bool = False) -> Iterator[str]:
    if not count:
        return
    more = f" and {count - NAMED} more" if count > NAMED else ""
    yield f"{'at least ' * cut}{count} {one if count == 1 else many or f'{one}s'}: {', '.join(names[:NAMED])}{more}"
