"""The phases of the 1.5 recipe: the manual's chapters in their order, with its branches (digest P1 to X2).

Same names and same kinds of steps as the modern ones; the commands are those of commands.py.  What has been done is
noted in empty files on the node where nothing else shows it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from shlex import quote

from ..context import Context
from ..identity import MOVE_ETCD, evidence, strange_etcd
from ..inventory import Environment
from ..nodes.facts import STATE, Link, NodeFacts
from ..nodes.observe import parse_links
from ..recipes.flannel import Expected
from ..recipes.kubeadm import answers_ok
from ..recipes.packages import lock_wait
from ..steps import MINUTE, Action, File, Needs, Remedy, Step, Stop, Wait
from ..text.cleaning import listed
from ..text.masking import masked_tail
from .commands import DAEMON, INIT_LIMIT, INTERFACES, JOIN_LIMIT, LINKS, PACKAGES, REBOOT, SOURCES, Manual

SUPPORTED = "Ubuntu 16.04"
STALE = ("cni0", "flannel.1")
LOOKED, REGISTRY, STARTED, DONE, DASHBOARD, MONITORING, RETENTION = (
    "looked",
    "registry",
    "started",
    "done",
    "dashboard",
    "monitoring",
    "retention",
)
NETWORK_HINT = (
    "about a minute is normal; longer or never ending means the AWS network (M2): look in the AWS console at subnet, routes and security "
    "group: the node must reach its own public address on TCP 6443 and 9898"
)


def _note(name: str) -> tuple[str, ...]:
    return (f"install -d -m 0700 {STATE}", f"touch {STATE}/{name}")


def _links(*names: str) -> str:
    return " and ".join(names)


# --- P1, P2


def no_files(environment: Environment) -> Iterable[str]:
    """The manual's preparation writes no file."""
    return ()


def install_files(environment: Environment) -> Iterable[str]:
    """Paths that the install phase compares."""
    return (SOURCES,)


def registry_files(environment: Environment) -> Iterable[str]:
    """Paths that the registry phase compares."""
    return (DAEMON,)


def prep(ctx: Context) -> Iterator[Action]:
    """P1: the interfaces. P2: links of an earlier cluster mean kubeadm reset, Docker's processes stopped, a reboot, another look."""
    facts, manual = ctx.facts, Manual(ctx.environment)
    if facts.os_id != "ubuntu" or facts.os_version != "16.04" or not facts.systemd:
        name = facts.os_name or facts.os_id or "an unknown system"
        reason = f"{name} is not supported: the 1.5 packages are made for {SUPPORTED}"
        fresh = "`inv rehearsal.down` first: the next machines are of 2017; or " if ctx.settings.simulated else ""
        yield Stop("prep.system", reason, f"{fresh}use {SUPPORTED}, or a release from 1.35")
        return
    found = [name for name in STALE if name in facts.links]
    if "/etc/kubernetes/kubelet.conf" in facts.traces or (LOOKED in facts.undo and not found):
        return
    if not found:
        yield from _look("prep.look", "run this again, and prep does that")
        return
    foreign = _foreign_mount(facts)
    if foreign:
        yield _mounted("prep.volumes", foreign)
        return
    if not ctx.choices.agreed:
        yield Stop(
            "prep.leftovers",
            f"{_links(*found)} of an earlier cluster: the manual's rule (P2) is `kubeadm reset`, every Docker process stopped, and a reboot. "
            f"{containers(facts)}",
            f"if all that may go: `inv cluster.bootstrap {ctx.environment.option} --kubernetes 1.5 --yes {ctx.environment.name}`",
        )
        return
    if strange := _strange_etcd("prep", facts):
        yield strange
        return
    reset, stop, _ = manual.commands("P2")
    yield Step(
        "prep.leftovers",
        f"{_links(*found)} of an earlier cluster: kubeadm reset, Docker's processes stopped (P2)",
        (*((reset,) if "kubeadm" in facts.packages else ()), *((stop,) if "docker.io" in facts.packages else ())),
        timeout=300,
    )
    yield from _reboot("prep", facts)
    yield from _look(
        "prep.interfaces", "something else on this node makes that interface; `systemctl list-units` there"
    )


def _look(id: str, otherwise: str) -> Iterator[Action]:
    """P1: which interfaces a machine without a cluster has, as the manual names them; then note that they were looked at."""
    yield Wait(
        id,
        f"interfaces looked at: lo 127.x, eth0 10.x or by another name, docker0 172.x; no {' and no '.join(STALE)}, which P2 is for (P1)",
        probe=INTERFACES,
        until=_none_stale,
        deadline=MINUTE,
        hint=f"an earlier cluster's (P2): `kubeadm reset`, every Docker process stopped, a reboot; {otherwise}",
    )
    yield Step("prep.noted", "interfaces noted as looked at", _note(LOOKED))


def containers(facts: NodeFacts) -> str:
    """The Docker containers that are not Kubernetes', for a person."""
    if "?" in facts.docker:
        return "What Docker runs here is not known: it did not answer"
    if not facts.docker:
        return "No container runs here that is not Kubernetes'"
    return f"Docker runs here, and not for Kubernetes: {listed(facts.docker, 8)}"


def _none_stale(output: str) -> str | None:
    links = _seen(output)
    found = [name for name in STALE if name in links]
    return _links(*found) if found else None if links else "no interfaces seen"


def _reboot(phase: str, facts: NodeFacts) -> Iterator[Action]:
    yield Step(f"{phase}.reboot", "reboot", (REBOOT,))
    yield Wait(
        f"{phase}.back",
        "the node is back after its reboot, with another boot id",
        probe="cat /proc/sys/kernel/random/boot_id",
        until=lambda seen: (
            "not rebooted yet" if seen.strip() == facts.boot_id else None if seen.strip() else "no answer"
        ),
        deadline=600,
        interval=3,
        reboots=True,
        hint="look at the machine's console",
    )


# --- I1 to I5, R1, R2


def install(ctx: Context) -> Iterator[Action]:
    """Key, repository, Docker, Kubernetes."""
    facts, manual = ctx.facts, Manual(ctx.environment)
    source = sources_file(manual)
    if all(name in facts.packages for name in ("docker.io", *PACKAGES)) and facts.has_file(
        source.path, source.sha256, source.mode
    ):
        return
    yield lock_wait()
    hint = "are LEGACY_KEY_URL and LEGACY_PACKAGES_URL mirrors that this node reaches? The originals are gone since March 2024"
    yield Step("install.key", "apt key (I1)", manual.commands("I1"), fetches=True, hint=hint)
    yield Step(
        "install.repository", "apt repository (I2, I3)", manual.commands("I3"), files=(source,), fetches=True, hint=hint
    )
    yield Step(
        "install.packages",
        "Docker and Kubernetes (I4, I5)",
        manual.commands("I4", "I5"),
        timeout=1200,
        fetches=True,
        hint=hint,
    )


def sources_file(manual: Manual) -> File:
    """I2."""
    return File(SOURCES, manual.sources)


def registry(ctx: Context) -> Iterator[Action]:
    """Docker's daemon.json with the private registry, then restart Docker."""
    if DAEMON in ctx.facts.files and REGISTRY in ctx.facts.undo:
        return
    yield Step(
        "registry.daemon",
        "private registry for Docker (R1, R2)",
        (*Manual(ctx.environment).commands("R1", "R2"), *_note(REGISTRY)),
        fetches=True,
        hint="is LEGACY_DAEMON_URL right? `journalctl -u docker -n 50` on the node if Docker does not come up",
    )


# --- M1, M2


def master(ctx: Context) -> Iterator[Action]:
    """kubeadm init with the token of hosts.env, until the API answers."""
    facts = ctx.facts
    if facts.initialised:
        return
    if DONE in facts.undo:
        yield Step(
            "master.kubelet", "start Docker and the kubelet", ("systemctl restart docker", "systemctl restart kubelet")
        )
        yield _api(
            f"the control plane was up before: `journalctl -u kubelet -n 50` on the node; if all is lost, {ctx.renew()}"
        )
        return
    if strange := _strange_etcd("master", facts):
        yield strange
        return
    if STARTED in facts.undo:
        yield _take_back("master")
    yield Step(
        "master.init",
        "kubeadm init (M1): about a minute; if it takes longer, look at the network in the AWS console (M2)",
        (*_note(STARTED), *Manual(ctx.environment).commands("M1"), f"touch {STATE}/{DONE}"),
        timeout=INIT_LIMIT + MINUTE,
        hint=NETWORK_HINT,
    )
    yield _api(NETWORK_HINT)


def _take_back(phase: str) -> Step:
    return Step(
        f"{phase}.clear",
        "take back what did not end",
        ("kubeadm reset", "systemctl start kubelet", f"rm -f {STATE}/{STARTED} {STATE}/{DONE}"),
        timeout=300,
    )


def _api(hint: str) -> Wait:
    return Wait(
        "master.api",
        "the API answers (M2)",
        probe="kubectl get --raw=/healthz 2>&1",
        until=answers_ok,
        deadline=MINUTE,
        interval=1,
        hint=hint,
    )


# --- N1 to N4


def network(ctx: Context) -> Iterator[Action]:
    """flannel, every pod Running, cni0 and flannel.1 in range."""
    facts, manual = ctx.facts, Manual(ctx.environment)
    if not facts.initialised:
        yield Stop("network.control-plane", "the API does not answer here", f"first `{ctx.init()}`")
        return
    expected = Expected(("cni0", "flannel.1"), ctx.settings.pod_cidr)
    if expected.missing(facts.links) is None:
        return
    yield Step(
        "network.flannel",
        "apply flannel (N1)",
        manual.commands("N1"),
        fetches=True,
        hint="is MANIFESTS_URL a mirror that this node reaches?",
    )
    yield Wait(
        "network.pods",
        "every pod of kube-system runs (N2)",
        probe=f"{manual.commands('N2')[0]} 2>&1",
        until=all_running,
        deadline=300,
        hint="Pending and ContainerCreating mean wait; if they stay: `kubectl -n kube-system describe pods`",
        evidence=("kubectl -n kube-system get events 2>&1 | tail -n 8",),
    )
    yield _interfaces(ctx, "network.interfaces", expected, "N3")


def all_running(output: str) -> str | None:
    """N2: None when every pod is Running; else up to three that are not, like "kube-dns-1 Pending"."""
    rows = [
        words
        for line in output.splitlines()
        if len(words := line.split()) > 2 and words[0] != "NAME" and "/" in words[1]
    ]
    if not rows:
        return masked_tail(output) or "no pods yet"
    waiting = [f"{row[0]} {row[2]}" for row in rows if row[2] != "Running"]
    return ", ".join(waiting[:3]) or None


def _interfaces(ctx: Context, id: str, expected: Expected, rule: str, needs: Needs = "") -> Wait:
    return Wait(
        id,
        f"{_links(*expected.names)} in {expected.pod_cidr} ({rule})",
        probe=INTERFACES,
        until=lambda output: expected.missing(_seen(output)),
        deadline=MINUTE,
        remedies=(
            Remedy(f"restart the kubelet ({rule})", ("systemctl restart kubelet",), after=ctx.settings.flannel_grace),
        ),
        hint=f"still absent, or in another range: set this node up again (N4): {ctx.renew()}{_all_nodes(ctx)}",
        needs=needs,
        evidence=(INTERFACES, "journalctl -u kubelet -n 6 --no-pager 2>&1"),
    )


def _all_nodes(ctx: Context) -> str:
    """N4 resets every node. For one worker that is the last resort."""
    if ctx.node.control_plane:
        return ""
    again = f"{ctx.environment.option}{ctx.settings.release.option}"
    both = f"`inv cluster.reset {again}`, then `inv cluster.bootstrap {again}`"
    return f". The manual then resets all nodes, and everything in the cluster is lost: {both}"


def _seen(output: str) -> dict[str, Link]:
    try:
        return parse_links(output)
    except ValueError:
        return {}


# --- J1 to J4


def join(ctx: Context) -> Iterator[Action]:
    """kubeadm join with the same token, flannel.1 after about a minute, and the node listed by the control plane."""
    facts, control, manual = ctx.facts, ctx.control, Manual(ctx.environment)
    listed = bool(control and control.node_object(facts.hostname))
    member = facts.joined and DONE in facts.undo and (listed or not control)
    if DONE in facts.undo and listed and not facts.unit("kubelet").active:
        yield Step("join.kubelet", "start the kubelet", ("systemctl restart kubelet",))
    elif not member:
        if STARTED in facts.undo or "/etc/kubernetes/kubelet.conf" in facts.traces:
            if strange := _strange_etcd("join", facts):
                yield strange
                return
            yield _take_back("join")
        yield Step(
            "join.join",
            "kubeadm join (J1)",
            (*_note(STARTED), *manual.commands("J1"), f"touch {STATE}/{DONE}"),
            timeout=JOIN_LIMIT + MINUTE,
            hint="join asks for ever: open TCP 9898 (discovery) and 6443 on the control plane's public address for this node; and is TOKEN "
            "the one that the control plane was made with?",
        )
    expected = Expected(("flannel.1",), ctx.settings.pod_cidr)
    if not member or expected.missing(facts.links) is not None:
        yield _interfaces(ctx, "join.flannel", expected, "J2, J3", needs="network")
    if not member or (control and not control.node_ready(facts.hostname)):
        yield Wait(
            "join.ready",
            "listed and Ready (J4)",
            probe=f"{manual.commands('J4')[0]} 2>&1",
            until=lambda seen: node_ready(seen, facts.hostname),
            deadline=180,
            on="control-plane",
            hint=f"`kubectl describe node {quote(facts.hostname)}` on the control plane",
        )


def node_ready(output: str, hostname: str) -> str | None:
    """J4: the row of that node says Ready."""
    rows = {words[0]: words[1] for line in output.splitlines() if len(words := line.split()) > 1}
    status = rows.get(hostname)
    if status is None:
        return f"{hostname} is not listed" if "NAME" in rows else masked_tail(output) or "no answer"
    return None if status.split(",")[0] == "Ready" else f"{hostname} is {status}"


# --- A1 to A5


def addons(ctx: Context) -> Iterator[Action]:
    """Dashboard, heapster with InfluxDB, and the retention policy, repeated until it is there."""
    facts, manual = ctx.facts, Manual(ctx.environment)
    if not facts.initialised:
        yield Stop("addons.control-plane", "the API does not answer here", f"first `{ctx.init()}`")
        return
    hint = "is MANIFESTS_URL a mirror that this node reaches?"
    if DASHBOARD not in facts.undo:
        yield Step(
            "addons.dashboard", "dashboard (A1)", manual.commands("A1"), needs="members", fetches=True, hint=hint
        )
        yield Wait(
            "addons.dashboard-answers",
            f"the dashboard answers at {manual.dashboard} (A1)",
            probe=f"curl -s -o /dev/null -w '%{{http_code}}' --max-time 5 {quote(manual.dashboard)}",
            until=lambda seen: None if seen.strip() == "200" else f"answer {seen.strip() or 'none'}",
            deadline=300,
            hint="`kubectl -n kube-system describe pods` on the control plane: an image that cannot be pulled, or no node with room",
            evidence=("kubectl -n kube-system get pods -o wide 2>&1",),
        )
        yield Step("addons.dashboard-noted", "dashboard noted", _note(DASHBOARD))
    if MONITORING not in facts.undo:
        commands = (*manual.commands("A2"), *_note(MONITORING))
        yield Step(
            "addons.monitoring",
            "heapster with InfluxDB, which collects what cAdvisor in each kubelet measures (A2)",
            commands,
            needs="members",
            fetches=True,
            hint=hint,
        )
    if RETENTION in facts.undo:
        return
    yield Wait(
        "addons.retention",
        "retention policy default, without which InfluxDB 1.1.1 mishandles its data (A3, A4)",
        probe=f"{manual.commands('A3')[0]} 2>&1",
        until=policy_fault,
        deadline=120,
        interval=5,
        changes=True,
        needs="members",
        remedies=(Remedy("delete the influxdb and heapster pods (A5)", manual.commands("A5"), after=120),),
        hint="`kubectl -n kube-system get pods` and the logs of influxdb on the control plane",
        evidence=("kubectl -n kube-system get pods -o wide 2>&1",),
    )
    yield Step("addons.noted", "retention policy noted", _note(RETENTION))


def policy_fault(output: str) -> str | None:
    """None when SHOW RETENTION POLICIES lists `default`, and as the database's default."""
    for line in output.splitlines():
        words = line.replace(",", " ").split()
        if len(words) > 3 and words[0] == "default":
            return None if words[-1] == "true" else "the policy is not the database's default"
    return masked_tail(output) or "no answer from InfluxDB"


# --- X1, X2


def reset(ctx: Context) -> Iterator[Action]:
    """The manual's list, then the reboot that ends it."""
    facts, manual = ctx.facts, Manual(ctx.environment)
    purging = ctx.choices.purge and any(name in facts.packages for name in PACKAGES)
    if not residue(facts) and not purging:
        return
    foreign = _foreign_mount(facts)
    if foreign:
        yield _mounted("reset.volumes", foreign)
        return
    if not (evidence(facts) or facts.identity.environment or purging):
        yield Step("reset.notes", "what kubefab noted here", (f"rm -rf {STATE}",))
        return
    if strange := _strange_etcd("reset", facts):
        yield strange
        return
    lines = [line for line in manual.commands("X1") if _package(line) in ("", *facts.packages)]
    if ctx.choices.keep_images:
        lines = [line for line in lines if "docker rmi" not in line]
    yield Step(
        "reset.all",
        "everything that the manual takes back (X1)",
        (*lines, f"rm -rf {STATE}"),
        timeout=600,
        hint="run this again; what docker refuses to remove is in use by something that is not Kubernetes",
    )
    if purging:
        yield Step(
            "reset.packages",
            "remove the packages and their repository",
            (
                f"apt-get purge -y {' '.join(n for n in ('docker.io', *PACKAGES) if n in facts.packages)}",
                f"rm -f {SOURCES} {DAEMON}",
            ),
            timeout=600,
        )
    yield from _reboot("reset", facts)


def _package(line: str) -> str:
    """The package without which this line of X1 cannot run, or empty: a node may have stopped in mid-install."""
    for package, mark in (
        ("kubeadm", "kubeadm "),
        ("kubelet", " kubelet"),
        ("docker.io", "docker rm"),
        ("docker.io", " docker"),
    ):
        if mark in line:
            return package
    return ""


def residue(facts: NodeFacts) -> list[str]:
    """What an observed node still shows of a cluster. A running kubelet does not count: the manual starts it at the end of reset."""
    found = [f"interface {name}" for name in LINKS if name in facts.links and name != "docker0"]
    found += [f"file {path}" for path in sorted(facts.traces) if not path.startswith("/var/lib/kubelet/")]
    found += [f"process {name}" for name in facts.processes if name not in ("kubeadm", "kubelet")]
    return found + [f"mount {mount.target}" for mount in facts.mounts]


def _strange_etcd(phase: str, facts: NodeFacts) -> Stop | None:
    """Stop where /var/lib/etcd holds foreign data: `kubeadm reset` of 1.5 empties the folder, and no option prevents that."""
    found = strange_etcd(facts)
    if not found:
        return None
    return Stop(
        f"{phase}.etcd",
        f"/var/lib/etcd holds data ({', '.join(found[:3])}) that no etcd of kubeadm's made here, and kubeadm 1.5 would delete it",
        f"move it away ({MOVE_ETCD}), then run this again",
    )


def _foreign_mount(facts: NodeFacts) -> str:
    """A volume that is not the kubelet's own: kubeadm 1.5 empties it even if it cannot unmount it."""
    return next(
        (
            f"{mount.kind} {mount.target}"
            for mount in facts.mounts
            if mount.kind not in ("tmpfs", "overlay", "shm", "aufs")
        ),
        "",
    )


def _mounted(id: str, mount: str) -> Stop:
    return Stop(
        id,
        f"a volume is mounted under the kubelet's folder: {mount}",
        "its data is not ours to delete, and kubeadm 1.5 would: delete the pods that use it, then run this again",
    )
