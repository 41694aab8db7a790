"""What must be known before an upgrade touches anything: pure checks over facts and answers, all of them at once.

In: every node's facts (nodes/facts.py) and answers (nodes/upgrading.py).  Out: `Check`s, each with what was seen.  A `stop` is a reason
not to begin; a `note` is what the upgrade does about it, or what it costs; `ok` says what was looked at.  What was not answered is a
stop: unknown is not fit.  Nodes that are half way (`Fleet.resumed`) are held up by less: the checks of _RESUMED, from facts and what runs.
Sources: kubernetes.io "Version Skew Policy" and kubeadm's phases/upgrade/policy.go; recipes/changes.py for what a release drops;
kubeadm's util/image and staticpods.go (the copy of etcd's data); kubernetes.io "Admission Webhook Good Practices".
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from ..errors import KubefabError
from ..identity import Kind, judge, own_nodes
from ..inventory import Node
from ..nodes.facts import CERTIFICATES, KUBELET_CERTIFICATE, NodeFacts
from ..nodes.upgrading import Answers, Webhook
from ..nodes.workload import selects
from ..recipes.changes import ETCD_BEFORE, etcd_of, minor_of, next_minor, numbers
from ..text.cleaning import listed, spans
from ..text.durations import DAY, ago
from . import dropped, supplies
from .certificates import renewal
from .drain import our_cordon
from .examined import Check, Fleet
from .upgrade import plane_releases

# Stops that are a judgement: an operator may know that nothing important asks, waits or starts meanwhile. The others are never accepted.
JUDGED = frozenset({"apis.requested", "room.left", "webhooks.lock"})
OLDEST = 3  # minor releases that a kubelet may be behind its API server


def checks(fleet: Fleet) -> list[Check]:
    """Everything that is to be known, in the order in which a person would ask; a check that has nothing to look at says nothing.

    Without a target only how the nodes are.
    """
    blind = [*_seen(fleet), *(() if fleet.resumed else _unread(fleet))]
    if not isinstance(fleet.facts.get(fleet.node.name), NodeFacts):
        return blind
    if not fleet.control.initialised or not fleet.release:
        if fleet.resumed and fleet.control.release("kubeadm") == fleet.target:  # that API is what it brings back
            return [*blind, *_skew(fleet), *_half(fleet)]
        return [*blind, *_identity(fleet), _silent(fleet)]
    if not fleet.target:
        return [*blind, *_identity(fleet), *_ready(fleet)]
    asked = [one for one in _ALL if one in _RESUMED or not (fleet.resumed or impossible(fleet))]
    return [*blind, *(_judged(check) for one in asked for check in one(fleet))]


def stops(found: Iterable[Check], accepted: Collection[str] = ()) -> list[Check]:
    """Those for which nothing is begun, but for checks that the operator accepts by their ids (of JUDGED)."""
    return [check for check in found if check.state == "stop" and check.id not in accepted]


def _judged(check: Check) -> Check:
    """A stop that an operator may accept, with how."""
    if check.state != "stop" or check.id not in JUDGED:
        return check
    return replace(check, remedy=f"{check.remedy}. To upgrade all the same: --accept {check.id}")


# --- the nodes


def _seen(fleet: Fleet) -> Iterator[Check]:
    asked = fleet.control.initialised and not fleet.resumed and (fleet.answers or not impossible(fleet))
    for node in fleet.environment.nodes:
        found = [fleet.facts.get(node.name), *([fleet.answers.get(node.name)] if asked else [])]
        error = next((one for one in found if isinstance(one, KubefabError)), None)
        if error is not None or None in found:
            why = error.message.removeprefix(f"{node.name}: ") if error else "it was not asked"
            yield Check(
                "nodes.unseen",
                "stop",
                f"not examined: {why}" if why.startswith(f"{node.name} ") else f"{node.name} was not examined: {why}",
                (error.remedy if error else "") or "an upgrade begins only when every node of hosts.env answers",
            )


def _unread(fleet: Fleet) -> Iterator[Check]:
    """What the API did not say, of the questions and of what was observed: from those ConfigMaps kubeadm upgrades."""
    observed = {
        "ConfigMap kubeadm-config": fleet.control.configured,
        "ConfigMap kubelet-config": fleet.kubelets,
        "DaemonSet kube-proxy": fleet.control.proxy_image,
    }
    lost = [*fleet.said.unread, *(name for name, found in observed.items() if not found and fleet.control.initialised)]
    if lost:
        seen = f"the API did not answer for {listed(lost, 6)}, or with what is not read or too long: what is there is not known"
        remedy = f"run this again; `inv cluster.doctor {fleet.environment.option}` if the API is slow"
        if shown := [name for name in lost if name in observed]:
            remedy += (
                f"; `kubectl -n kube-system get {shown[0].lower()} -o yaml` on {fleet.node.name} shows what is there"
            )
        yield Check("nodes.unread", "stop", seen, remedy)


def _silent(fleet: Fleet) -> Check:
    option = fleet.environment.option
    if not fleet.control.in_cluster:
        seen = f"there is no cluster on {fleet.node.name} yet"
        return Check("nodes.api", "stop", seen, f"`inv cluster.bootstrap {option}` makes one")
    seen = f"the API on {fleet.node.name} does not answer"
    return Check("nodes.api", "stop", seen, f"`inv cluster.doctor {option}` says why")


def _identity(fleet: Fleet) -> Iterator[Check]:
    wrong = False
    for node, facts in fleet.observed:
        control = None if node.control_plane else fleet.control
        verdict = judge(fleet.environment, node, facts, control, fleet.record)
        if verdict.kind != Kind.OURS:
            wrong = True
            remedy = verdict.remedy or f"`inv cluster.status {fleet.environment.option}` says what it is"
            if verdict.kind == Kind.FREE:
                remedy = f"`inv cluster.bootstrap {fleet.environment.option}` first, or take it out of hosts.env"
            seen = f"{node.name} is {verdict.kind}" + (f": {verdict.seen}" if verdict.seen else "")
            yield Check("nodes.identity", "stop", seen, remedy)
    if not wrong:
        yield Check("nodes.identity", "ok", "every machine is this cluster's")


def _ready(fleet: Fleet) -> Iterator[Check]:
    """Whether the nodes that are concerned are in the cluster and Ready; what another one lacks is worth knowing.

    An upgrade that goes on is not held up by the node in which it ended: that one has the new kubeadm, or our cordon, and is the first to go on.
    """
    members = {node["metadata"]["name"]: node for node in fleet.control.nodes}
    own = {facts.hostname for _, facts in fleet.observed}
    within = {
        facts.hostname
        for _, facts in fleet.observed
        if fleet.target and (facts.release("kubeadm") == fleet.target or _closed_by_us(fleet, facts.hostname))
    }
    away = sorted(name for name in members if not fleet.control.node_ready(name))
    out, others = [name for name in away if name in own - within], [name for name in away if name not in own]
    lacking = [node for node, facts in fleet.observed if facts.hostname not in members]
    if out:
        seen = f"{spans(out)} {_is(out)} not Ready: an upgrade drains nodes, and needs the others"
        remedy = (
            f"`inv cluster.doctor {fleet.environment.option}` says why; to leave a worker out: --limit with the others"
        )
        yield Check("nodes.ready", "stop", seen, remedy)
    for node in lacking:
        brings = f"`inv cluster.bootstrap {fleet.environment.option} --limit {node.name}`"
        seen = f"{node.name} is not in the cluster: the API lists no node for {node.name}"
        yield Check("nodes.ready", "stop", seen, f"{brings}, with the release that is there, brings it in")
    if others:
        yield Check("nodes.others", "note", f"{spans(others)} {_is(others)} not Ready, and takes no pods")
    cordoned = sorted(name for name, node in members.items() if node.get("spec", {}).get("unschedulable"))
    if cordoned:
        yield Check("nodes.cordoned", "note", f"{spans(cordoned)} {_is(cordoned)} cordoned, and takes no pods")
    if not out and not lacking:
        yield Check("nodes.ready", "ok", f"{len(own)} node{'s' * (len(own) != 1)} Ready")


def _left(fleet: Fleet) -> Iterator[Check]:
    """Workers that an earlier run of ours left cordoned, and that --limit leaves out: no further one is cordoned before they are done."""
    for node in fleet.left:
        facts = fleet.facts.get(node.name)
        names = own_nodes(fleet.control, node, facts) if isinstance(facts, NodeFacts) else ()
        if any(_closed_by_us(fleet, name) for name in names):
            seen = (
                f"{node.name} was cordoned by a run of ours that did not end, and --limit leaves it out: "
                "no further node is drained before it is back"
            )
            yield Check("nodes.cordoned", "stop", seen, f"--limit with {node.name} as well, or no --limit")


def _closed_by_us(fleet: Fleet, name: str) -> bool:
    return our_cordon(fleet.control.node_object(name) or {}, fleet.environment.name)


def _is(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


# --- versions


def _skew(fleet: Fleet) -> Iterator[Check]:
    now, target = numbers(fleet.release), numbers(fleet.target)
    if len(target) != 3:
        yield Check("versions.skew", "stop", f"{fleet.target} is no release of Kubernetes", "name one like 1.37.2")
        return
    if len(now) != 3:
        return
    if target < now:
        seen = (
            f"the cluster runs {fleet.release}, and Kubernetes does not go back to {fleet.target}: kubeadm would try it, "
            "but etcd's data and the stored objects are the newer release's already"
        )
        releases = {*plane_releases(fleet.control).values(), *(fleet.kubelet(facts) for _, facts in fleet.observed)}
        ends = f"{fleet.command(fleet.release)} ends what was begun; " if releases - {"", fleet.release} else ""
        remedy = (
            f"{ends}the way back is a backup of before: `inv cluster.backups {fleet.environment.option}` lists them"
        )
        yield Check("versions.skew", "stop", seen, remedy)
        return
    if target[0] != now[0] or target[1] > now[1] + 1:
        seen = f"from {fleet.release} to {fleet.target} is more than one minor release: kubeadm does one at a time"
        yield Check("versions.skew", "stop", seen, f"first {fleet.command(next_minor(fleet.release))}")
        return
    kubelets = {
        str(one["metadata"]["name"]): fleet.control.kubelet_release(str(one["metadata"]["name"]))
        for one in fleet.control.nodes
    }
    newer = [name for name, version in kubelets.items() if numbers(version) > target]
    older = [
        name
        for name, version in kubelets.items()
        if fleet.entered and len(numbers(version)) > 1 and numbers(version)[1] < target[1] - OLDEST
    ]
    if newer:
        seen = f"the kubelet of {spans(newer)} is newer than {fleet.target}: a kubelet may never be newer than the API"
        yield Check("versions.skew", "stop", seen, f"{fleet.command(max(kubelets.values(), key=numbers))}")
    if older:
        seen = f"the kubelet of {spans(older)} would be more than {OLDEST} minor releases behind {fleet.target}"
        yield Check("versions.skew", "stop", seen, f"first {fleet.command(minor_of(fleet.release))}, for every node")
    if not newer and not older:
        yield Check("versions.skew", "ok", f"from {fleet.release} to {fleet.target}")


def impossible(fleet: Fleet) -> bool:
    """Whether this cluster does not go to the target at all: what that release needs and drops is no matter then."""
    return bool(fleet.target and stops(_skew(fleet)))


_SHARED = {"kube-proxy": "kube-proxy", "configuration": "kubeadm-config"}  # what all control planes have in common


def _half(fleet: Fleet) -> Iterator[Check]:
    """Releases that differ are an upgrade under way: it may go on, and nothing else may begin.

    That is so in the control plane, between workers, and where a node has a new package and its old kubelet. Workers that are all behind
    by the same are an upgrade of the control plane alone: a minor release is theirs too before the control plane takes another.
    """
    control: dict[str, list[str]] = {}
    kubelets: dict[str, list[str]] = {}
    halves: dict[str, list[str]] = {}
    said = {"the API": fleet.control.api_release}
    for node, facts in fleet.observed:
        running, installed = fleet.kubelet(facts), facts.release("kubelet")
        if node.control_plane:
            said |= {_SHARED.get(name, f"{name} on {node.name}"): one for name, one in plane_releases(facts).items()}
        else:
            kubelets.setdefault(running, []).append(f"the kubelet of {node.name}")
        if numbers(installed) and installed != running:
            halves.setdefault(installed, []).append(f"the package of {node.name}")
            halves.setdefault(running, []).append(f"the kubelet of {node.name}")
    for where, version in said.items():
        if version:
            control.setdefault(version, []).append(where)
    for part in (control, kubelets):
        if len(part) > 1:
            for version, places in part.items():
                halves.setdefault(version, []).extend(places)
    behind = {version: places for version, places in kubelets.items() if version not in control}
    if not halves:
        if behind:
            seen = f"only the control plane was upgraded before: {_places(behind)}"
            late = fleet.entered and any(numbers(version)[:2] < numbers(fleet.release)[:2] for version in behind)
            remedy = (
                f"{fleet.command(fleet.release)} first; --control-plane-only leaves the workers as they are"
                if late
                else ""
            )
            yield Check("versions.half", "stop" if late else "note", seen, remedy)
        else:
            yield Check("versions.half", "ok", "nothing is upgraded by half")
        return
    newest = max({**control, **halves}, key=numbers)
    old = {version: list(dict.fromkeys(places)) for version, places in halves.items() if version != newest}
    seen = f"an upgrade to {newest} is under way ({_places(old or halves)})"
    if newest == fleet.target:
        yield Check("versions.half", "note", f"{seen}: it goes on")
    else:
        yield Check("versions.half", "stop", f"{seen}: it must end before another begins", fleet.command(newest))


def _places(found: Mapping[str, Sequence[str]]) -> str:
    """ "kube-scheduler on cp1 is 1.36.4", of several releases with semicolons."""
    parts = [f"{listed(places, 3)} {_is(places)} {version}" for version, places in sorted(found.items())]
    return listed(parts, 3, "; ")


# --- the way back


def _backup(fleet: Fleet) -> Iterator[Check]:
    age = fleet.now - fleet.latest.made
    if set(plane_releases(fleet.control).values()) == {fleet.target}:
        return  # the control plane is not changed any more
    if fleet.saved:
        yield Check("backup.age", "ok", f"the last backup is {ago(age)} old: {fleet.latest.path}")
    else:
        mine = fleet.latest.of(fleet.control) and age >= 0
        gone = ", and is not there any more" * fleet.latest.gone
        last = f"the last backup is {ago(age)} old{gone}" if mine else "no backup of this cluster was taken from here"
        yield Check("backup.age", "note", f"{last}: the upgrade takes one first")


# --- etcd


def _etcd(fleet: Fleet) -> Iterator[Check]:
    for node, facts, answers in fleet.seen:
        if not node.control_plane:
            continue
        etcd, name = answers.etcd, node.name
        if etcd.healthy is None:
            seen = f"etcd on {name} does not answer on 127.0.0.1:2381"
            yield Check("etcd.health", "stop", seen, f"`crictl logs $(crictl ps -q --name etcd)` on {name}")
            continue
        sick = not etcd.healthy
        if sick:
            seen = f"etcd on {name} is not healthy: {etcd.reason or 'it gives no reason'}"
            remedy = (
                _ALARM if "ALARM" in etcd.reason.upper() else f"`crictl logs $(crictl ps -q --name etcd)` on {name}"
            )
            yield Check("etcd.health", "stop", seen, remedy)
        if halves := [one.name or "one that never started" for one in etcd.members if one.learner or not one.name]:
            sick = True
            seen = f"etcd has members that do not vote: {listed(halves, 5)}"
            yield Check(
                "etcd.members",
                "stop",
                seen,
                "a join that did not end left them: run that join again, or remove the member",
            )
        if etcd.quota and etcd.size > etcd.quota * 8 // 10:
            yield Check(
                "etcd.quota",
                "note",
                f"etcd's database on {name} is {etcd.size >> 20} MiB of {etcd.quota >> 20} that it may have",
            )
        if not sick:
            voters = f", {etcd.voters} voting member{'s' * (etcd.voters != 1)}" * bool(etcd.members)
            yield Check("etcd.health", "ok", f"etcd {etcd.version} on {name} is healthy, without alarms{voters}")
        yield from _etcd_patch(fleet, node, facts, answers)


_ALARM = "kubernetes.io and etcd.io, Space quota: compact, defragment, then disarm the alarm; CORRUPT needs a restore"


def _etcd_patch(fleet: Fleet, node: Node, facts: NodeFacts, answers: Answers) -> Iterator[Check]:
    """Before the line of the target's etcd, every member must be at a certain patch release, which a registry must have."""
    version, name = answers.etcd.version, node.name
    for minor in fleet.entered:
        line = minor_of(etcd_of(minor))
        least = ETCD_BEFORE.get(line, "")
        if not least:
            continue
        need = f"before etcd {line} it must be {least} or later"
        if not numbers(version):
            seen = f"the release of etcd on {name} is not known; {need}"
            yield Check("etcd.patch", "stop", seen, "`crictl ps --name etcd` there shows its image")
        elif numbers(version) >= numbers(least):
            yield Check("etcd.patch", "ok", f"etcd {version} on {name} may go to {line}")
        else:
            yield _rolling(fleet, node, facts, answers, f"etcd on {name} is {version}, and {need}")


def _rolling(fleet: Fleet, node: Node, facts: NodeFacts, answers: Answers, seen: str) -> Check:
    """Whether there is an etcd to roll in first: the newest that the registry has, or that is on the node."""
    said = fleet.images.get(node.name, {})
    tried = supplies.rolled(fleet, node, answers)
    there = next((one for one in tried if one in facts.images or (one in said and said[one].code == 200)), "")
    if there:
        return Check(
            "etcd.patch", "note", f"{seen}: {there.rpartition(':')[2]} is rolled in first, as a step of its own"
        )
    if tried and all(one in said and said[one].code == 404 for one in tried):
        first, last = tried[-1].rpartition(":")[2], tried[0].rpartition(":")[2]
        remedy = f"put one of registry.k8s.io/etcd:{first} to {last} into the registry from which the nodes pull"
        return Check("etcd.patch", "stop", f"{seen}; the registry has none of those", remedy)
    return Check("etcd.patch", "note", f"{seen}: it is rolled first, as a step of its own")


def _certificates(fleet: Fleet) -> Iterator[Check]:
    ended, soon = [], []
    for node, facts, _ in fleet.seen:
        for path in CERTIFICATES:
            if path in facts.certificates:
                left = facts.certificates[path].ends - facts.now
                if left <= 0:
                    ended.append(f"{path} on {node.name}")
                elif left < DAY and path == KUBELET_CERTIFICATE:
                    soon.append(f"{path} on {node.name}")
    if ended:
        yield Check(
            "certificates.ended",
            "stop",
            f"certificates have ended: {listed(ended, 4)}",
            f"{renewal(fleet.environment)} first",
        )
    elif soon:
        yield Check(
            "certificates.ended",
            "note",
            f"these end within a day, and renew themselves while the kubelet runs: {listed(soon, 4)}",
        )
    else:
        yield Check(
            "certificates.ended", "ok", "no certificate has ended; kubeadm renews the control plane's with the upgrade"
        )


# --- what would lock the cluster


def _unasked(fleet: Fleet) -> Iterator[Check]:
    if isinstance(fleet.workload, KubefabError) and fleet.draining:
        yield Check("drain.unread", "stop", fleet.workload.message, fleet.workload.remedy or "run this again")


def _drains(fleet: Fleet) -> Iterator[Check]:
    """Pods that a drain meets and cannot simply move (phases/drain.py), on all nodes that would be drained."""
    if isinstance(fleet.workload, KubefabError) or not fleet.draining:
        return
    for row in fleet.hindrances:
        seen = f"{fleet.draining[row.node]}: {row.seen}"
        if row.stops:
            yield Check(f"drain.{row.kind}", "stop", seen, row.remedy)
        elif row.waits and not row.agreed:
            yield Check(f"drain.{row.kind}", "note", f"{seen}; it may, once its other pods are well")
    if all(row.agreed for row in fleet.hindrances):
        yield Check("drain.budget", "ok", "every pod of the nodes that are drained may be evicted")


def _room(fleet: Fleet) -> Iterator[Check]:
    """Whether what a drained node requests fits on the others, in sum: what does not fit waits, and its budget then holds up the next drain."""
    if isinstance(fleet.workload, KubefabError) or not fleet.draining:
        return
    places = {place.name: place for place in fleet.workload.places}
    used: dict[str, list[int]] = {name: [0, 0] for name in places}
    moving: dict[str, list[int]] = {name: [0, 0] for name in places}
    for pod in fleet.workload.pods:
        if pod.node in places and not pod.ended:
            for total in (used,) if pod.fixed else (used, moving):
                total[pod.node][0] += pod.milli
                total[pod.node][1] += pod.memory
    # one that a run of ours left cordoned is back before the next one is drained
    free_again = {place.name for place in places.values() if place.open or _closed_by_us(fleet, place.name)}
    tight, alone = {}, False
    for name in fleet.draining:
        others = [place for place in places.values() if place.name in free_again and place.name != name]
        free = (
            sum(max(0, place.milli - used[place.name][0]) for place in others),
            sum(max(0, place.memory - used[place.name][1]) for place in others),
        )
        wanted = moving.get(name, [0, 0])
        over = [what for what, want, has in zip(("CPU", "memory"), wanted, free, strict=True) if want > has]
        if over and others:
            tight[name] = " and ".join(over)
        elif over:
            alone = True
            yield Check("room.left", "note", f"no other node takes the pods of {name}: they wait until it is back")
    for what, names in supplies.grouped(tight).items():
        seen = f"when {' or '.join(names[:4])} is drained, its pods do not fit on the other nodes: they request more {what} than is free"
        yield Check("room.left", "stop", seen, "add a node, or scale something down for the time of the upgrade")
    if not tight and not alone:
        yield Check("room.left", "ok", "what the pods of each node request is free on the others")


def _webhooks(fleet: Fleet) -> Iterator[Check]:
    """A webhook that must agree to every pod, and whose own pods a drain stops, lets no pod start again: its own neither."""
    wrong = False
    for hook in fleet.said.webhooks:
        if not hook.fails or not hook.service or not (what := _matters(hook)):
            continue
        nodes = fleet.said.endpoints.get(hook.service, ())
        where = f"webhook {hook.name} of {hook.configuration} must agree to {what}"
        if not nodes:
            wrong = True
            yield Check(
                "webhooks.lock",
                "stop",
                f"{where}, and its service {hook.service} has no ready endpoint: they are refused now",
                f"bring {hook.service} back, or set its failurePolicy to Ignore",
            )
        elif (
            len(set(nodes)) == 1
            and "pods" in what
            and selects(hook.selector or {}, fleet.said.namespaces.get(hook.service.partition("/")[0], {}))
        ):
            wrong = True
            yield Check(
                "webhooks.lock",
                "stop",
                f"{where}, its own as well, and all of {hook.service} is on {nodes[0] or 'one node'}: "
                "once that is drained, no pod could start any more",
                "two replicas of it on different nodes, or leave its namespace out in namespaceSelector",
            )
        elif len(set(nodes)) == 1:
            yield Check(
                "webhooks.alone",
                "note",
                f"{where}, and all of {hook.service} is on {nodes[0] or 'one node'}: while that is drained they wait",
            )
    if not wrong:
        yield Check("webhooks.lock", "ok", "no webhook would lock the cluster")


def _matters(hook: Webhook) -> str:
    """Which of pods, nodes and leases its rules match, for people; "" if none."""
    found = []
    for groups, resources, operations in hook.rules:
        everything = "*" in groups
        if (everything or "" in groups) and resources & {"pods", "*", "*/*"} and operations & {"CREATE", "*"}:
            found.append("pods")
        changed = operations & {"UPDATE", "*"}
        if (everything or "" in groups) and resources & {"nodes", "nodes/status", "*", "*/*"} and changed:
            found.append("nodes")
        if (everything or "coordination.k8s.io" in groups) and resources & {"leases", "*", "*/*"} and changed:
            found.append("the nodes' leases")
    return " and ".join(dict.fromkeys(found))


_ALL: tuple[Callable[[Fleet], Iterator[Check]], ...] = (
    _identity, _skew, _half, _ready, _left, _backup, _etcd, supplies.space, supplies.packages, supplies.images,
    dropped.unlisted, dropped.settings, dropped.kubelets, dropped.apis, supplies.runtimes, dropped.cgroup,
    _certificates, _unasked, _drains, _room, _webhooks,
)  # fmt: skip
# the others were looked at before these nodes began, and must not keep them half done
_RESUMED = frozenset({_skew, _half, _ready, _left, dropped.kubelets, _unasked, _drains, supplies.runtimes})
