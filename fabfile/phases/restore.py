"""A restore: etcd's data made again from a backup, keys and configuration where they are missing; what was there is kept beside.

etcd's manifest is taken out before its data are, and comes back last: a machine that restarts in between must not start an etcd
that is empty, because every kubelet would then stop its pods. Each step can be cut off: two marks say whether the data are in place,
and without the second one all is done again from the archive.
"""

from __future__ import annotations

from collections.abc import Iterator
from shlex import quote

from ..backups.contents import CURRENT, ETCDUTL, FILES, RENAMED, RESTORED, RESTORING, SNAPSHOT, Restoring
from ..backups.guide import DATA, PROCESS, restoring
from ..context import Context
from ..identity import OWN_ETCD
from ..nodes.facts import ETCD_MANIFEST, IDENTITY, PKI, STATE, Identity
from ..recipes.flannel import ready_wait
from ..recipes.kubeadm import CRICTL, api_wait
from ..steps import MINUTE, Action, File, Give, Step, Stop, Wait, command
from .guard import refused, whose

WORK, HELD = f"{STATE}/restore", f"{STATE}/etcd.yaml"
FRESH = f"{DATA}/.kubefab-restore"
ALLOWED = frozenset({"empty", "lost", "restore"})  # what may be broken on the machine: a restore is the remedy
RUNS = f"pgrep -f '{PROCESS}' >/dev/null"
_KEYS = (f"{PKI}/sa.key", f"{PKI}/sa.pub")
_OPEN = (".crt", ".pub", "/config.yaml", "/kubeadm-flags.env", "/etc/default/kubelet", "/etc/sysconfig/kubelet")


def restore(ctx: Context) -> Iterator[Action]:
    """Bring the cluster of the archive back on this machine."""
    want = ctx.choices.restoring
    if want is None:
        return
    if stop := refusal(ctx, want):
        yield stop
        return
    if want.restored not in ctx.facts.undo:
        yield from _data(ctx, want)
    yield from _start(ctx, want)


def refusal(ctx: Context, want: Restoring) -> Stop | None:
    """Why this backup is not restored on this machine; None if nothing is against it."""
    facts, record, node = ctx.facts, want.record, ctx.node
    verdict = whose(ctx)
    if not verdict.workable and verdict.code not in ALLOWED:
        return refused(ctx, "restore", verdict)
    claim = facts.identity
    if claim.uid and record.uid and claim.uid != record.uid:
        return Stop(
            "restore.identity",
            f"this machine has cluster {claim.uid}, and the backup is of {record.uid}",
            f"name a backup of this cluster. If that cluster is to go: `inv cluster.reset {ctx.environment.option}` first, then this again",
        )
    if facts.ca_hash and record.ca and facts.ca_hash != record.ca:
        return Stop(
            "restore.ca",
            f"the CA on this machine is {facts.ca_hash[:23]}, and the backup's is {record.ca[:23]}",
            f"`inv cluster.reset {ctx.environment.option}` first, then this again",
        )
    if node.address != record.address:
        return Stop(
            "restore.address",
            f"the backup is of a control plane at {record.address}, which its certificates and the nodes know, and {node.name} is at {node.address}",
            f"give the machine the private address {record.address}, and name it in hosts.env",
        )
    if facts.hostname != record.hostname:
        return Stop(
            "restore.hostname",
            f"the backup is of a machine with the hostname {record.hostname}, and this one's is {facts.hostname}",
            f"`hostnamectl set-hostname {record.hostname}` there, then run this again",
        )
    if facts.minor and facts.minor != record.minor:
        return Stop(
            "restore.minor",
            f"the backup is of Kubernetes {record.minor}, and the packages here are of {facts.minor}",
            f"set KUBERNETES={record.minor} in hosts.env, and install those packages",
        )
    if facts.api_ready and not want.discard_live and want.restored not in facts.undo:
        return Stop(
            "restore.live",
            "the API answers here: what is in this cluster now would be lost",
            "if it is to be lost, add --discard-live",
        )
    return None


def _data(ctx: Context, want: Restoring) -> Iterator[Action]:
    """Stop what runs, keep etcd's data beside, and make the snapshot's. Only then do missing files come, and last the marks."""
    yield Step(
        "restore.stop",
        "kubelet and control plane stopped, etcd's manifest held back",
        (
            f"install -d -m 0700 {STATE} {WORK}",
            f"rm -f {STATE}/{RESTORING}* {STATE}/{RESTORED}*",
            f"touch {STATE}/{want.restoring}",
            f"if [ -e {ETCD_MANIFEST} ]; then touch {STATE}/{OWN_ETCD}; mv -f {ETCD_MANIFEST} {HELD}; fi",
            "systemctl stop kubelet",
            f'ids=$({CRICTL} pods -q --namespace kube-system --label tier=control-plane); if [ -n "$ids" ]; then {CRICTL} rmp -f $ids; fi',
            f"if {RUNS}; then echo 'etcd still runs'; exit 1; fi",
        ),
        hint=f"`crictl ps` on {ctx.node.name} shows what still runs; then run this again",
    )
    yield Give(
        "restore.send",
        "the snapshot and its etcdutl, sent and verified there",
        (f"{WORK}/{ETCDUTL} snapshot status {WORK}/{SNAPSHOT} -w json",),
        timeout=60 * MINUTE,
        gives=((SNAPSHOT, f"{WORK}/{SNAPSHOT}"), (ETCDUTL, f"{WORK}/{ETCDUTL}")),
        hint="`df -h /var/lib` there, if its disk is full",
    )
    beside = f"{DATA}.before-{want.id}"
    yield Step(
        "restore.etcd",
        f"etcd's data of the snapshot; those of before are kept in {beside}",
        (
            f"install -d -m 0700 {DATA}",
            f'if [ -e {DATA}/member ]; then install -d -m 0700 {beside}; mv {DATA}/member "{beside}/member-$(date +%s)"; fi',
            f"rm -rf --one-file-system {FRESH}",
            restoring(want.record, f"{WORK}/{SNAPSHOT}", f"{WORK}/{ETCDUTL}", FRESH),
            f"mv {FRESH}/member {DATA}/member",
            f"rm -rf --one-file-system {FRESH}",
        ),
        timeout=60 * MINUTE,
        hint="`df -h /var/lib /var/lib/etcd` there, if a disk is full; then run this again: nothing of before is lost",
    )
    yield from _files(ctx, want)


def _files(ctx: Context, want: Restoring) -> Iterator[Action]:
    """Keys and configuration where there are none. sa.key decides whether every ServiceAccount's token lives, so it is the backup's."""
    staged = {path: text for path, text in want.files.items() if text and path not in (IDENTITY, ETCD_MANIFEST)}
    beside = f"/etc/kubernetes.before-{want.id}"
    lines = []
    for path in sorted(staged):
        mode = "0644" if path.endswith(_OPEN) else "0600"
        put = command("install", "-D", "-m", mode, f"{WORK}/{FILES}{path}", path)
        there = f"[ -e {quote(path)} ]"
        if path in _KEYS:
            lines.append(
                f"if {there} && ! cmp -s {quote(f'{WORK}/{FILES}{path}')} {quote(path)}; then "
                f'install -d -m 0700 {beside}; mv {quote(path)} "{beside}/{path.rpartition("/")[2]}-$(date +%s)"; fi'
            )
        lines.append(f"{there} || {put}")
    claim = Identity(
        ctx.environment.name,
        ctx.environment.endpoint,
        ctx.node.name,
        ctx.node.role,
        ctx.facts.hostname,
        want.record.uid,
        want.record.ca,
    )
    lines += [
        f"[ -e {CURRENT} ] || ln -s {RENAMED.rpartition('/')[2]} {CURRENT}",
        f"touch {STATE}/init-started {STATE}/initialised",
        f"chmod 0700 {STATE}",
    ]
    files = [
        File(f"{WORK}/{FILES}{path}", text if text.endswith("\n") else f"{text}\n", mode="0600", secret=True)
        for path, text in staged.items()
    ]
    held = File(f"{WORK}/etcd.yaml", want.files[ETCD_MANIFEST], mode="0600")
    yield Step(
        "restore.files",
        "keys and configuration that are missing",
        tuple(lines),
        files=(*files, held, File(IDENTITY, claim.text(), mode="0600")),
    )
    yield Step(
        "restore.ready",
        "etcd's manifest is back",
        (
            f"if [ -e {HELD} ]; then mv -f {HELD} {ETCD_MANIFEST}; "
            f"elif [ ! -e {ETCD_MANIFEST} ]; then install -D -m 0600 {WORK}/etcd.yaml {ETCD_MANIFEST}; fi",
            f"mv -f {STATE}/{want.restoring} {STATE}/{want.restored}",
        ),
    )


def _start(ctx: Context, want: Restoring) -> Iterator[Action]:
    """Start the kubelet, and wait for the API and the node. The mark goes last: until then a run goes on from here."""
    yield Step(
        "restore.start",
        "the kubelet starts etcd and the control plane",
        (
            f"rm -rf --one-file-system {WORK}",
            f"rm -f {STATE}/{OWN_ETCD}",
            "systemctl enable kubelet",
            "systemctl restart kubelet",
        ),
    )
    yield api_wait(
        "restore.api",
        deadline=300,
        hint="`journalctl -u kubelet -n 50` and `crictl ps -a` there; then run this again",
        more="crictl logs --tail 8 $(crictl ps -a -q --name etcd | head -n 1) 2>&1",
    )
    yield ready_wait("restore.node", settings=ctx.settings, hostname=ctx.facts.hostname)
    yield Wait(
        "restore.done",
        "noted as restored",
        probe=f"rm -f {STATE}/{want.restored} && echo noted",
        until=lambda seen: None if seen.strip().endswith("noted") else seen.strip() or "no answer",
        deadline=30,
        changes=True,
    )
