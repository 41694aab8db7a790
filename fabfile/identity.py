"""Decides whose a machine is: one pure function of facts; all code that destroys, overwrites or adopts asks it.

What we find on a machine is not ours. A machine is ours only if it has the identity file that we wrote while it was free, before
any part of a cluster was created there, and if nothing contradicts that file. Unknown counts as foreign.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from enum import StrEnum
from pathlib import Path

from .backups.contents import RESTORED, RESTORING
from .inventory import Environment, Node
from .nodes.facts import COMPONENT_PATCHES, ETCD_MANIFEST, IDENTITY, LINKS, STATE, TRACES, Identity, NodeFacts
from .nodes.observe import parse_identity, patched
from .records import dataclass
from .steps import Action, File, Step
from .text.whole import write_whole

RECORD = "identity.json"  # in the environment's folder on the operator's machine
KUBELET_CONF, ETCD_DATA = "/etc/kubernetes/kubelet.conf", "/var/lib/etcd/member"
# the second is for 1.5
ETCD_MANIFESTS = frozenset({ETCD_MANIFEST, "/etc/kubernetes/manifests/etcd.json"})
# A reset notes these before kubeadm removes the manifest, because the manifest proves that kubeadm made the etcd.
RESETTING, OWN_ETCD = "reset-started", "etcd"
# Moves the contents and not the folder: it may be a mounted disk, which cannot be renamed.
MOVE_ETCD = "`mkdir -m 700 /var/lib/etcd.kept && find /var/lib/etcd -mindepth 1 -maxdepth 1 -exec mv -t /var/lib/etcd.kept {} +`"
_FILES = frozenset(TRACES) - {STATE, ETCD_DATA}
_PROCESSES = frozenset({"kube-apiserver", "kube-controller", "kube-scheduler", "kube-proxy", "flanneld"})
UP = frozenset({"initialised", "done"})  # marks of a control plane whose init finished, of today's release and of 1.5
_PAST = 20  # number of earlier clusters that the record keeps
_UNINSTALL = {
    "k3s.service": "`k3s-uninstall.sh`",
    "k3s-agent.service": "`k3s-agent-uninstall.sh`",
    "rke2": "`rke2-uninstall.sh`",
    "microk8s": "`snap remove microk8s`",
    "k0s": "`k0s stop`, then `k0s reset`",
    "swarm": "`docker swarm leave --force`",
}


class Kind(StrEnum):
    """Whose a machine is."""

    FREE = "free"
    OURS = "ours"
    BROKEN = "ours, but broken"
    ANOTHER = "another cluster's"
    ELSE = "something else's"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Verdict:
    """Whose a machine is. For people, `seen` says why, and `remedy` what to do if that is not a reset.

    `code` names what is broken, for a Stop's id. `adopt`: ours by the marks of an earlier kubefab, but without an identity file.
    """

    kind: Kind
    seen: str = ""
    remedy: str = ""
    code: str = "foreign"
    adopt: bool = False

    @property
    def workable(self) -> bool:
        """Whether phases that build may continue."""
        return self.kind in (Kind.FREE, Kind.OURS)

    @property
    def proven(self) -> bool:
        """Whether it is proved to be this environment's, so that a reset may remove what is on it."""
        return self.kind in (Kind.OURS, Kind.BROKEN)


_UNREAD = Verdict(
    Kind.UNKNOWN,
    "the API answers, but its cluster's uid (of namespace kube-system) cannot be read",
    "run this again",
    "unread",
)


@dataclass(frozen=True)
class Record:
    """What the operator's machine knows of an environment's cluster: its uid (empty: none), and the uids of earlier clusters.

    A run also works without it, but then asks for more consent.
    """

    uid: str = ""
    past: tuple[str, ...] = ()

    @property
    def uids(self) -> frozenset[str]:
        return frozenset({self.uid, *self.past} - {""})

    def now(self, uid: str) -> Record:
        """The record after the cluster became `uid` (empty: after it was reset)."""
        past = tuple(one for one in (*self.past, self.uid) if one and one != uid)
        return Record(uid, tuple(dict.fromkeys(past))[-_PAST:])


def recall(environment: Environment) -> Record:
    """Read the operator's record; it is empty if the file is missing or unreadable."""
    try:
        found = json.loads((environment.state / RECORD).read_text(encoding="utf-8"))
        uids = [parse_identity(json.dumps({"uid": uid})).uid for uid in (found["uid"], *found["past"])]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return Record()
    return Record(uids[0], tuple(filter(None, uids[1:])))


def remember(environment: Environment, record: Record) -> None:
    """Write the record with mode 0600; an empty record deletes the file. Raises OSError that names it."""
    path: Path = environment.state / RECORD
    if not record.uids:
        with suppress(FileNotFoundError):
            path.unlink()
        return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_whole(path, json.dumps({"uid": record.uid, "past": list(record.past)}))


def evidence(facts: NodeFacts) -> list[str]:
    """The traces of any cluster on a machine, in short words; empty without any. Packages and firewall rules do not count."""
    found = sorted(facts.traces & _FILES)
    found += [name for name in LINKS if name in facts.links]
    found += sorted(set(facts.processes) & _PROCESSES)
    found += [f"a mount at {mount.target}" for mount in facts.mounts[:1]]
    if facts.pods:
        found.append(f"{facts.pods} pods in containerd")
    if facts.api_ready:
        found.append("an API that answers")
    return found


def judge(
    environment: Environment,
    node: Node,
    facts: NodeFacts,
    control: NodeFacts | None = None,
    record: Record | None = None,
) -> Verdict:
    """Whose the machine of hosts.env's `node` is, by its facts, the control plane's facts (None: not observed) and the record."""
    return _Case(environment, node, facts, None if node.control_plane else control, record or Record()).verdict()


def own_etcd(facts: NodeFacts) -> bool:
    """Whether kubeadm made the etcd in /var/lib/etcd; asked only for a machine that is ours (or named by the operator to be emptied)."""
    return bool(ETCD_MANIFESTS & facts.traces) or OWN_ETCD in facts.undo


def strange_etcd(facts: NodeFacts) -> tuple[str, ...]:
    """The names in /var/lib/etcd that do not belong to kubeadm's etcd."""
    return tuple(name for name in facts.etcd if name != "member" or not own_etcd(facts))


def claimed(
    environment: Environment, node: Node, facts: NodeFacts, control: NodeFacts | None = None, *, joins: bool = False
) -> Identity:
    """The identity file that this machine should have now: its present content, and what is known in addition.

    `joins`: the machine is, or is about to be, in the control plane's cluster. Only for machines that are free or ours.
    """
    known = facts.identity
    uid, ca = known.uid, known.ca
    # an unfinished init will be undone, and its uid with it
    if node.control_plane and facts.api_ready and facts.undo & UP:
        uid, ca = uid or facts.uid, ca or facts.ca_hash
    elif joins and control is not None:
        if not evidence(facts):
            uid = ca = ""
        uid, ca = uid or control.identity.uid or control.uid, ca or control.ca_hash
    return Identity(environment.name, environment.endpoint, node.name, node.role, facts.hostname, uid, ca)


def claim(phase: str, wanted: Identity, facts: NodeFacts, *, adopt: bool) -> Step:
    """The step that writes the identity file."""
    title = (
        "take up a cluster that an earlier kubefab made here: its identity noted"
        if adopt
        else "this cluster's identity noted"
    )
    commands = (f"chmod 0700 {STATE}", f"sync {IDENTITY}")
    return Step(f"{phase}.identity", title, commands, files=(File(IDENTITY, wanted.text(), mode="0600"),))


def after(facts: NodeFacts, actions: Iterable[Action]) -> NodeFacts:
    """The facts after those actions, as far as the identity file and kubeadm's ConfigMaps: so the next phase needs no new observation for it."""
    for action in actions:
        for file in action.files if isinstance(action, Step) else ():
            if file.path == IDENTITY:
                facts = replace(facts, identity=parse_identity(file.content))
            for component, path in COMPONENT_PATCHES.items():
                if file.path == path:
                    facts = replace(facts, components={**facts.components, component: patched(component, file.content)})
    return facts


@dataclass(frozen=True)
class _Case:
    environment: Environment
    node: Node
    facts: NodeFacts
    control: NodeFacts | None
    record: Record

    def verdict(self) -> Verdict:
        facts, claim = self.facts, self.facts.identity
        if living := self._others("unit "):
            return living
        if claim.environment:
            return self._claimed(claim)
        if left := self._others("path "):
            return left
        shown = evidence(facts)
        if shown:
            return self._unclaimed(shown)
        return self._lost() or Verdict(Kind.FREE)

    @property
    def _cluster_name(self) -> str:
        """The cluster's name in admin.conf, which we set for kubeadm; for 1.5 it is fixed."""
        return self.environment.name if self.environment.settings.release.configured else "kubernetes"

    # --- another kind of cluster

    def _others(self, kind: str) -> Verdict | None:
        """k3s and similar. A separate etcd or Patroni conflicts only with a control plane."""
        found = [word.removeprefix(kind) for word in self.facts.others if word.startswith(kind)]
        if not self.node.control_plane or self.facts.identity.uid:
            found = [name for name in found if name not in ("etcd.service", "patroni.service")]
        if not found:
            return None
        what = f"{found[0]} runs here" if kind == "unit " else f"{found[0]} is here: another kind of cluster"
        ways = [way for word, way in _UNINSTALL.items() if word in found[0]]
        return Verdict(
            Kind.ELSE,
            f"{what}, and kubefab did not make it",
            f"if it is not needed, take it off by its own means ({ways[0] if ways else f'`systemctl disable --now {found[0]}`'}), then run "
            "this again; otherwise take another machine. `reset` does not touch it",
        )

    # --- with our identity file

    def _claimed(self, claim: Identity) -> Verdict:
        facts, name = self.facts, self.environment.name
        if claim.environment != name:
            return Verdict(
                Kind.ANOTHER, f"this machine is {_role(claim)} of environment {claim.environment}, not of {name}"
            )
        if fault := self._authority(claim) or self._uid(claim):
            return fault
        if RESETTING in facts.undo:
            return Verdict(Kind.BROKEN, "a reset of this machine did not end", code="reset")
        if any(mark.startswith((RESTORING, RESTORED)) for mark in facts.undo):
            again = f"`inv cluster.restore FILE {self.environment.option}` again, with the same file: it goes on"
            return Verdict(Kind.BROKEN, "a restore of this machine did not end", again, "restore")
        shown = evidence(facts)
        if shown and claim.role and claim.role != self.node.role:
            return Verdict(
                Kind.BROKEN,
                f"this machine is {_role(claim)} of this cluster, and hosts.env names it as {self.node.name}, a {self.node.role}",
                "correct the addresses in hosts.env",
                "role",
            )
        if self.node.control_plane and (empty := self._empty(claim)):
            return empty
        if not shown:
            return Verdict(Kind.OURS)
        if claim.endpoint and claim.endpoint != self.environment.endpoint:
            return self._moved(claim.endpoint)
        if claim.hostname and facts.hostname != claim.hostname:
            return self._renamed(claim.hostname)
        return Verdict(Kind.OURS)

    def _authority(self, claim: Identity) -> Verdict | None:
        """The CA on the machine must be the one in the identity file, or the control plane's if the file names none yet."""
        facts = self.facts
        here = {facts.ca_hash, *(one.ca for one in facts.kubeconfigs.values())} - {""}
        wanted = claim.ca
        if not self.node.control_plane and not wanted and self.control:
            wanted = self.control.identity.ca or self.control.ca_hash
        if wanted and here - {wanted}:
            return Verdict(
                Kind.ANOTHER,
                f"the CA on this machine is {_short(min(here - {wanted}))}, this cluster's is {_short(wanted)}",
            )
        if KUBELET_CONF in facts.traces and not here and claim.ca:
            return Verdict(Kind.UNKNOWN, "kubelet.conf is here, and the CA's certificate in it cannot be read")
        admin = facts.kubeconfigs.get("admin")
        if (
            self.node.control_plane
            and not claim.uid
            and admin
            and admin.cluster
            and admin.cluster != self._cluster_name
        ):
            return Verdict(
                Kind.ANOTHER,
                f"a control plane of a cluster named {admin.cluster} is here (admin.conf), not of {self.environment.name}",
            )
        return None

    def _uid(self, claim: Identity) -> Verdict | None:
        """The uid in the identity file must be that of the environment's cluster."""
        if self.node.control_plane:
            if not self.record.uid or not claim.uid or self.record.uid == claim.uid:
                return None
            return Verdict(
                Kind.ANOTHER,
                f"the cluster here is {claim.uid}, and {self.environment.name}'s cluster was {self.record.uid} when it was last worked on from here",
                f"if another person has recreated it: `inv cluster.bootstrap {self.environment.option} --adopt {claim.uid}`. If not, hosts.env "
                "names another cluster's machine",
                "record",
            )
        if not evidence(self.facts):
            return None
        if not claim.uid:
            if KUBELET_CONF in self.facts.traces and not (self.control and self.control.ca_hash):
                return Verdict(
                    Kind.UNKNOWN,
                    "this machine joined a cluster after kubefab had prepared it, but it is unknown which one",
                )
            return None
        current, ours = self._current(), self.record.uids
        if claim.uid not in ours | {current}:
            what = (
                f"this environment's is {current}"
                if current
                else "which is this environment's is not known (no record here, no control plane)"
            )
            return Verdict(
                Kind.ANOTHER if current else Kind.UNKNOWN,
                f"this machine is {_role(claim)} of cluster {claim.uid}; {what}",
            )
        if current and claim.uid != current:
            seen = f"this machine is {_role(claim)} of an earlier cluster of this environment ({claim.uid}; now it is {current})"
            return Verdict(Kind.BROKEN, seen, code="earlier")
        return None

    def _current(self) -> str:
        """The uid of the environment's cluster: from the control plane if its machine is proved to be ours, else from the record."""
        central, control = self.environment.control_plane, self.control
        if control and judge(self.environment, central, control, None, self.record).proven:
            return control.identity.uid or control.uid or self.record.uid
        return self.record.uid

    def _empty(self, claim: Identity) -> Verdict | None:
        """A control plane that had a cluster whose data are missing from its etcd."""
        facts = self.facts
        back = (
            f"bring back a backup: `inv cluster.restore FILE {self.environment.option}`; or put its data back on {self.node.name}: "
            "`systemctl stop kubelet; crictl stop $(crictl ps -q)`, then the disk of /var/lib/etcd; then run this again. If all is lost: "
            f"`inv cluster.reset {self.environment.option}`, and begin again"
        )
        # the uid can be read before the API calls itself ready: a new one is proof enough
        if claim.uid and facts.uid and facts.uid != claim.uid:
            seen = f"the API shows another, new cluster ({facts.uid}) than the one that was made here ({claim.uid}): its etcd began empty"
            return Verdict(Kind.BROKEN, seen, back, "empty")
        if claim.uid and facts.api_ready and not facts.uid:
            return replace(
                _UNREAD,
                remedy=f"run this again. If that stays, etcd may have begun empty, and admin.conf is refused: {back}",
            )
        if not facts.api_ready and (claim.uid or facts.undo & UP) and not facts.etcd_size:
            return Verdict(
                Kind.BROKEN,
                "this control plane had a cluster, and the data of its etcd are gone from /var/lib/etcd",
                back,
                "empty",
            )
        return None if claim.uid or facts.undo & UP else self._lost()

    def _lost(self) -> Verdict | None:
        """The record knows a cluster, but the control plane's machine has no trace of it."""
        if not self.node.control_plane or not self.record.uid or self.facts.api_ready:
            return None
        name = self.environment.name
        return Verdict(
            Kind.BROKEN,
            f"{name} had a cluster ({self.record.uid}), and nothing of it is on this machine",
            f"is it the right machine, with the right disk? If the cluster is gone: `inv cluster.reset {self.environment.option}`, then begin again",
            "lost",
        )

    # --- without our identity file

    def _unclaimed(self, shown: list[str]) -> Verdict:
        """A cluster without our identity file: an earlier kubefab made it if our marks are there and everything else agrees."""
        facts, control = self.facts, self.control
        server = next(
            (
                facts.kubeconfigs[name].server
                for name in ("admin", "kubelet", "bootstrap-kubelet")
                if name in facts.kubeconfigs
            ),
            "",
        )
        where = f" (its API: {server})" if server else ""
        what = f"{', '.join(shown[:3])}{' …' * (len(shown) > 3)}"
        if self.node.control_plane:
            admin = facts.kubeconfigs.get("admin")
            marked = bool(facts.undo & {"init-started", *UP})
            if marked and admin and admin.cluster == self._cluster_name:
                if admin.server != self.environment.endpoint and self.environment.settings.release.configured:
                    return self._moved(admin.server)
                if facts.api_ready and not facts.uid:
                    return _UNREAD
                if self.record.uid and facts.uid and facts.uid != self.record.uid:
                    return self._uid(Identity(uid=facts.uid)) or Verdict(Kind.UNKNOWN)
                return self._empty(Identity()) or Verdict(Kind.OURS, adopt=True)
            if facts.api_ready:
                members = ", ".join(str(one["metadata"]["name"]) for one in facts.nodes[:5])
                named = f" named {admin.cluster}" if admin and admin.cluster else ""
                nodes = f"a cluster{named} with nodes {members or 'unknown'}"
                return Verdict(Kind.ANOTHER, f"an API answers here that kubefab did not make{where}: {nodes}")
            if "/etc/kubernetes/manifests/kube-apiserver.yaml" in facts.traces:
                return Verdict(
                    Kind.UNKNOWN,
                    "a control plane that kubefab did not make is on this machine, and its API does not answer",
                )
        elif control is not None and control.ca_hash:
            here = {facts.ca_hash, *(one.ca for one in facts.kubeconfigs.values())} - {""}
            if here - {control.ca_hash}:
                return Verdict(
                    Kind.ANOTHER,
                    f"this machine is a node of another cluster{where}: its CA is {_short(min(here - {control.ca_hash}))}",
                )
            trusted = judge(self.environment, self.environment.control_plane, control, None, self.record)
            if here and facts.undo & {"join-started", "joined"} and trusted.kind == Kind.OURS:
                name = next(
                    (str(one["metadata"]["name"]) for one in control.nodes if is_machine(one, self.node, facts)), ""
                )
                return self._renamed(name) if name and name != facts.hostname else Verdict(Kind.OURS, adopt=True)
        if set(shown) <= set(LINKS):
            plural = "s" * (len(shown) == 1)
            seen = f"{' and '.join(shown)} exist{plural} already: an earlier cluster of an unknown owner was not removed from this node (P2)"
            return Verdict(Kind.UNKNOWN, seen, code="leftovers")
        return Verdict(Kind.UNKNOWN, f"what is here was not made by this environment's kubefab{where}: {what}")

    # --- broken

    def _moved(self, endpoint: str) -> Verdict:
        own = (
            "this control plane was made"
            if self.node.control_plane
            else "this node joined a control plane that was made"
        )
        return Verdict(
            Kind.BROKEN,
            f"{own} for {endpoint}, and hosts.env says {self.environment.endpoint}: kubeadm cannot change that",
            f"give the control plane the old address back ({endpoint}), on the machine and in hosts.env; or "
            f"`inv cluster.reset {self.environment.option}`, and begin again",
            "address",
        )

    def _renamed(self, name: str) -> Verdict:
        off = f"`fab -H {self.node.name} reset {self.environment.option}`"
        again = "" if self.node.control_plane else f"; or take it off ({off}) and let it join again"
        return Verdict(
            Kind.BROKEN,
            f"this machine is node {name} of the cluster, and its hostname is now {self.facts.hostname}",
            f"set the name back (`hostnamectl set-hostname {name}`, then `systemctl restart kubelet`){again}",
            "renamed",
        )


def is_machine(node_object: object, node: Node, facts: NodeFacts) -> bool:
    """Whether the API's Node is exactly this machine: by its addresses, or by its machine-id if it has no address."""
    status = node_object.get("status", {}) if isinstance(node_object, dict) else {}
    addresses = {one.get("address") for one in status.get("addresses", ()) if one.get("type") != "Hostname"}
    own = {node.address, node.host, *(ip for link in facts.links.values() for ip in link.ips)}
    if addresses:
        return bool(addresses & own)
    return bool(facts.machine_id) and status.get("nodeInfo", {}).get("machineID") == facts.machine_id


def own_nodes(control: NodeFacts, node: Node, facts: NodeFacts) -> Iterator[str]:
    """The names of the control plane's Node objects that are exactly this machine."""
    names = {facts.hostname, facts.identity.hostname}
    return (
        str(one["metadata"]["name"])
        for one in control.nodes
        if one["metadata"]["name"] in names and is_machine(one, node, facts)
    )


def _role(claim: Identity) -> str:
    return f"{'the control plane' if claim.role == 'control-plane' else 'worker'} {claim.node}".strip()


def _short(digest: str) -> str:
    return digest[:23]
