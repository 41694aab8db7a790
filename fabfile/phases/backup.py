"""A backup: etcd's snapshot, verified, with all that a control plane needs beside it, streamed to the operator's machine.

It needs etcd and not the API. The snapshot is in clear on the node only while one script runs, in a folder that the script removes;
what a power cut leaves there the next backup removes first.
"""

from __future__ import annotations

from collections.abc import Iterator
from shlex import quote

from ..backups.contents import CURRENT, ETCDUTL, SNAPSHOT, STATUS, VERSIONS
from ..backups.guide import PROCESS
from ..context import Context
from ..identity import own_etcd
from ..nodes.facts import IDENTITY, PKI, STATE, NodeFacts, Space
from ..steps import MINUTE, Action, Fetch, Step, Stop
from . import metrics

SCRATCH = "backup"  # below STATE
STAGE, TOOLS = f"{STATE}/{SCRATCH}", f"{STATE}/etcd-tools"
ETCDCTL = (
    f"{TOOLS}/etcdctl --endpoints=https://127.0.0.1:2379 --cacert={PKI}/etcd/ca.crt --cert={PKI}/etcd/healthcheck-client.crt "
    f"--key={PKI}/etcd/healthcheck-client.key"
)
# Whatever the static pods may mount from below /etc/kubernetes is there too, like the key of encryption at rest.
NODE_FILES = (
    "/etc/kubernetes/*", "/etc/kubernetes/*/*", f"{PKI}/etcd/*", "/var/lib/kubelet/config.yaml", "/var/lib/kubelet/kubeadm-flags.env",
    "/var/lib/kubelet/instance-config.yaml", CURRENT, "/var/lib/kubelet/pki/kubelet.crt", "/var/lib/kubelet/pki/kubelet.key",
    "/etc/default/kubelet", "/etc/sysconfig/kubelet", IDENTITY, f"{STATE}/init-started", f"{STATE}/initialised",
)  # fmt: skip
SLACK = 256 << 20  # bytes beside the snapshot: etcd's programs, and the archive that they come in


def backup(ctx: Context) -> Iterator[Action]:
    """Get the tools that fit the etcd that runs, then take the snapshot, verify it and send it."""
    facts, name = ctx.facts, ctx.node.name
    if not own_etcd(facts) or not facts.etcd_size:
        yield Stop(
            "backup.etcd",
            "there is no etcd of kubeadm's with data on this machine",
            f"see `inv cluster.status {ctx.environment.option}`",
        )
        return
    needed, space = facts.etcd_size + SLACK, _space(facts)
    if space and space.free_kib * 1024 < needed:
        free, wanted = space.free_kib >> 10, needed >> 20
        yield Stop(
            "backup.disk",
            f"{free} MiB are free on the file system of /var/lib, and the snapshot may need {wanted}",
            f"free space on {name}, then run this again",
        )
        return
    with_metrics = ctx.choices.metrics
    if with_metrics and (stop := metrics.unavailable(ctx, "backup")):
        yield stop
        return
    yield Step(
        "backup.tools",
        "etcdctl and etcdutl of the version of the etcd that runs",
        tools(ctx),
        timeout=5 * MINUTE,
        fetches=True,
        hint=f"set ETCD_URL to a mirror of etcd's releases that {name} reaches, or put etcdctl and etcdutl of that version into /usr/local/bin there",
    )
    yield Fetch(
        "backup.snapshot",
        "snapshot of etcd, verified, and InfluxDB's metrics, sent here"
        if with_metrics
        else "snapshot of etcd, verified and sent here",
        (*_snapshot(ctx), *(metrics.saved(STAGE) if with_metrics else ())),
        timeout=60 * MINUTE,
        hint=f"`crictl logs $(crictl ps -q --name etcd)` on {name} if etcd is not healthy, `df -h /var/lib` if its disk is full",
        sends=(f"{STAGE}/*", *NODE_FILES),
        scratch=(STAGE, metrics.SPOOL) if with_metrics else (STAGE,),
    )


def _space(facts: NodeFacts) -> Space | None:
    """The file system that the scratch folder is on, as far as the known ones show it: the one that is mounted nearest above it."""
    above = [one for one in facts.disks.values() if f"{STAGE}/".startswith(f"{one.mount.rstrip('/')}/")]
    return max(above, key=lambda one: len(one.mount), default=None)


def residue(facts: NodeFacts) -> list[str]:
    """What a backup left in clear on the node; empty means nothing."""
    return [f"folder {STAGE}"] if SCRATCH in facts.undo else []


def tools(ctx: Context) -> tuple[str, ...]:
    """Shell lines that leave etcdctl and etcdutl of exactly the running etcd's version in TOOLS: from its own image, from
    /usr/local/bin, or from etcd's release archive with its digest checked.

    kubeadm's etcd image has etcdctl and lacks etcdutl; etcdctl of 3.6 can neither restore nor verify a snapshot.
    """
    url = ctx.settings.etcd_url.rstrip("/")
    archive = f"etcd-v$v-linux-{ctx.facts.debian_arch or 'amd64'}"
    fetch = "curl -fsSL --retry 3 --connect-timeout 10"
    pins = ctx.settings.etcd_sha256
    listed = (
        f"printf '%s\\n' {' '.join(pins)} | grep -qx \"$s\""
        if pins
        else f'{fetch} -o {TOOLS}/SHA256SUMS {quote(url)}"/v$v/SHA256SUMS" && grep -qx "$s  {archive}.tar.gz" {TOOLS}/SHA256SUMS'
    )
    # `grep -q` would end at the first line, and what still writes then fails by SIGPIPE
    return (
        f"install -d -m 0700 {STATE} {TOOLS}",
        f"p=$(pgrep -o -f '{PROCESS}') || {{ echo 'etcd does not run'; exit 1; }}",
        "v=$(/proc/$p/exe --version | sed -n 's/^etcd Version: //p')",
        """echo "$v" | grep -qxE '[0-9]+[.][0-9]+[.][0-9]+' || { echo "etcd's version is $v"; exit 1; }""",
        f"for t in etcdctl etcdutl; do for c in {TOOLS}/$t /proc/$p/root/usr/local/bin/$t /usr/local/bin/$t; do "
        'if "$c" version 2>/dev/null | grep -xF "$t version: $v" >/dev/null; then '
        f'if [ "$c" != {TOOLS}/$t ]; then install -m 0700 "$c" {TOOLS}/$t; fi; break; fi; done; done',
        f'if ! {{ {TOOLS}/etcdctl version && {TOOLS}/etcdutl version; }} 2>/dev/null | grep -xF "etcdutl version: $v" >/dev/null; then '
        f'{fetch} -o {TOOLS}/{archive}.tar.gz {quote(url)}"/v$v/{archive}.tar.gz"; '
        f"s=$(sha256sum {TOOLS}/{archive}.tar.gz | cut -d' ' -f1); "
        f'{{ {listed}; }} || {{ rm -f {TOOLS}/{archive}.tar.gz; echo "the digest $s of {archive}.tar.gz is not expected"; exit 1; }}; '
        f"tar -xzf {TOOLS}/{archive}.tar.gz -C {TOOLS} --strip-components=1 --no-same-owner {archive}/etcdctl {archive}/etcdutl; "
        f"rm -f {TOOLS}/{archive}.tar.gz {TOOLS}/SHA256SUMS; fi",
        f'for t in etcdctl etcdutl; do {TOOLS}/$t version | grep -xF "$t version: $v" >/dev/null || {{ echo "there is no $t of $v"; exit 1; }}; done',
    )


def _snapshot(ctx: Context) -> tuple[str, ...]:
    uid = ctx.facts.identity.uid or ctx.facts.uid
    # an etcd that began empty must not pass for the cluster, and push the good backups out
    same = (
        f"{ETCDCTL} get /registry/namespaces/kube-system --print-value-only | grep -aF {quote(uid)} >/dev/null || "
        f"{{ echo 'etcd here does not hold cluster {uid}'; exit 1; }}"
    )
    return (
        f"rm -rf -- {STAGE}",
        f"install -d -m 0700 {STAGE}",
        f"{ETCDCTL} endpoint health",
        *((same,) if uid else ()),
        f"{ETCDCTL} snapshot save {STAGE}/{SNAPSHOT}",
        f"{TOOLS}/etcdutl snapshot status {STAGE}/{SNAPSHOT} -w json >{STAGE}/{STATUS}",
        f"install -m 0700 {TOOLS}/etcdutl {STAGE}/{ETCDUTL}",
        f"{TOOLS}/etcdutl version | sed -n 's/^etcdutl version: /etcd=/p' >{STAGE}/{VERSIONS}",
    )
