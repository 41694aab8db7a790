"""`inv cluster.evidence`: what a colleague or an issue needs to find the cause, without secrets, with an index.

Read-only: one script a node. Never collected: kubeconfigs, private keys, Secrets, ConfigMaps, hosts.toml (it may hold a login), the environment
of processes.  What is collected goes through the masker, and the bundle is readable by its owner only.
Sources: kubernetes.io "Troubleshooting kubeadm", "Debugging Kubernetes nodes with crictl"; flannel docs/troubleshooting.md.
"""

from __future__ import annotations

import io
import os
import re
import tarfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from ..errors import KubefabError
from ..inventory import Environment, Node
from ..nodes.group import NodeGroup
from ..nodes.script import program, reading, split
from ..records import dataclass
from ..run.journal import journals
from ..text.masking import mask
from .signatures import TABLE, every

TIMEOUT = 90.0  # seconds for one node's script
SECTION = 10  # seconds for one of its sections
ENOUGH = 70  # seconds after which no further section begins
FOLDER = "/run"  # tmpfs, so that this works when the disk is full
LIMIT = 4096  # KiB of a section's output: more than a connection brings back
LINES = 400  # from the end of a log
INDEX = "index.md"
JOURNALS = 3  # runs
RECENT = 40  # lines at a file's end that show the current state

_NODE: tuple[tuple[str, str], ...] = (
    ("machine", "uname -a; cat /etc/os-release; uptime; nproc; free -m; swapon --show; timedatectl 2>/dev/null; stat -fc %T /sys/fs/cgroup"),
    ("disks", "df -h; df -i; findmnt -t ext4,xfs,btrfs,overlay 2>/dev/null | head -n 40"),
    ("processes", "ps -eo pid,ppid,user,stat,etime,rss,comm --sort=-rss | head -n 60"),
    ("packages", "(dpkg -l || rpm -qa) 2>/dev/null | grep -E 'kube|containerd|docker|cri-'"),
    ("units", "systemctl status kubelet containerd docker --no-pager -l -n 0 2>&1; systemctl --failed --no-pager"),
    ("kubelet.log", f"journalctl -u kubelet -n {LINES} --no-pager 2>&1"),
    ("containerd.log", f"journalctl -u containerd -n {LINES} --no-pager 2>&1"),
    ("kernel.log", "dmesg -T 2>/dev/null | tail -n 200"),
    ("kubelet-config.yaml", "cat /var/lib/kubelet/config.yaml /var/lib/kubelet/kubeadm-flags.env 2>&1"),
    ("containers", "crictl ps -a 2>&1; crictl pods 2>&1; crictl images 2>&1"),
    (
        "container-logs",
        "for c in $(crictl ps -a --name 'kube-apiserver|etcd|kube-flannel|kube-proxy|coredns' -q 2>/dev/null | head -n 12); do "
        'echo "== $c"; crictl inspect -o go-template --template "{{.status.metadata.name}} {{.status.state}}" "$c" 2>&1; '
        'crictl logs --tail 60 "$c" 2>&1; done',
    ),
    ("interfaces", "ip -d addr 2>&1; ip -s link 2>&1 | head -n 120"),
    ("routes", "ip route show table all 2>&1 | head -n 200; ip rule 2>&1; ip neigh 2>&1 | head -n 60; bridge fdb show dev flannel.1 2>&1"),
    ("sockets", "ss -lntup 2>&1"),
    ("firewall", "iptables-save 2>&1 | head -n 600; nft list ruleset 2>&1 | head -n 600"),
    ("cni", "ls -l /etc/cni/net.d /opt/cni/bin 2>&1; cat /etc/cni/net.d/*.conflist /run/flannel/subnet.env 2>&1"),
    ("dns", "cat /etc/resolv.conf /etc/hosts; resolvectl status 2>/dev/null | head -n 60"),
    (
        "sysctls",
        "sysctl net.ipv4.ip_forward net.bridge.bridge-nf-call-iptables net.ipv4.conf.all.rp_filter 2>&1; "
        "lsmod | grep -E 'overlay|br_netfilter|vxlan|nf_conntrack'"),
    (
        "certificates",
        "for f in /etc/kubernetes/pki/*.crt /etc/kubernetes/pki/etcd/*.crt /var/lib/kubelet/pki/*.crt; do "
        'echo "$f"; openssl x509 -noout -subject -dates -in "$f" 2>&1 || sed -n "/^-----BEGIN CERT/,/^-----END CERT/p" "$f"; done',
    ),
)  # fmt: skip
_CONTROL: tuple[tuple[str, str], ...] = (
    ("api", "kubectl get --raw='/readyz?verbose' 2>&1; kubectl version 2>&1"),
    ("nodes", "kubectl get nodes -o wide 2>&1; kubectl describe nodes 2>&1 | tail -n 600"),
    ("pods", "kubectl get pods -A -o wide 2>&1; kubectl get daemonsets,deployments,services -A -o wide 2>&1"),
    ("events", f"kubectl get events -A --sort-by=.lastTimestamp 2>&1 | tail -n {LINES}"),
    ("static-pods", "ls -l /etc/kubernetes/manifests /etc/kubernetes/pki 2>&1; du -sh /var/lib/etcd 2>&1"),
)


def sections(node: Node) -> tuple[tuple[str, str], ...]:
    """What is asked on this node: the file's name in the bundle, and the shell line."""
    return (*_NODE, *_CONTROL) if node.control_plane else _NODE


def script(node: Node) -> str:
    """The collecting script. Every section has its own time limit, so that one that hangs does not stop the others.

    If many hang, the remaining ones are listed as skipped: the whole script always ends before `TIMEOUT`.
    """
    values = {"each": str(SECTION), "enough": str(ENOUGH), "limit": str(LIMIT), "folder": FOLDER}
    asked = "".join(f"section {name} {_quoted(line)}\n" for name, line in sections(node))
    return reading("evidence", f'{program(__file__, "evidence.sh")}{asked}echo "@@ end"\n', values)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def parse(output: str) -> dict[str, str]:
    """The sections of a node's answer that were asked for, masked; an answer without any is kept whole."""
    asked = "|".join(re.escape(name) for name, _ in (*_NODE, *_CONTROL))
    found = {name: text for name, text in split(mask(output), asked) if name != "end" and text.strip()}
    return found or {"output": mask(output)}


@dataclass(frozen=True)
class Clue:
    """A known failure, and where it appears. `earlier`: only further up in a log, so that it may be over now."""

    place: str
    code: str
    cause: str
    remedy: str
    source: str
    line: str
    earlier: bool = False


def clues(files: Mapping[str, str]) -> list[Clue]:
    """Known failures in the files, one clue per signature: those at the files' ends first, then in the table's order."""
    places: dict[str, list[tuple[bool, str, str]]] = {}
    known = {signature.code: signature for signature in TABLE}
    for place, text in files.items():
        end = "\n".join(text.splitlines()[-RECENT:])
        recent = {signature.code: line for signature, line in every(end)}
        for signature, line in every(text):
            code = signature.code
            places.setdefault(code, []).append((code not in recent, place, recent.get(code, line)))
    found = []
    for code, seen in places.items():
        seen.sort(key=lambda item: item[0])  # stable: files in their order
        earlier, place, line = seen[0]
        s = known[code]
        more = f" and {len(seen) - 1} more" if len(seen) > 1 else ""
        found.append(Clue(place + more, code, s.cause, s.remedy, s.source, line[:200], earlier))
    order = list(known)
    return sorted(found, key=lambda clue: (clue.earlier, order.index(clue.code)))


def _described(found: Iterable[Clue]) -> Iterator[str]:
    for clue in found:
        yield f"- **{clue.cause}** ({clue.code}) in {clue.place}"
        yield f"  - seen: `{clue.line.replace('`', chr(39))}`"
        yield f"  - do: {clue.remedy}"
        yield f"  - source: {clue.source}"


def index(environment: Environment, files: Mapping[str, str], unreachable: Mapping[str, str], when: float) -> str:
    """The bundle's first page: likely causes, the nodes that could not be asked, and the list of files."""
    stamp = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(when))
    lines = [
        f"# Evidence of {environment.name}, {stamp}",
        "",
        f"Kubernetes {environment.settings.kubernetes}; secrets are taken out.",
        "",
    ]
    found = clues(files)
    lines += ["## Likely causes", "", *_described(clue for clue in found if not clue.earlier)]
    if all(clue.earlier for clue in found):
        lines.append(
            "None of the known failures shows now. Begin with `kubelet.log` of the node that is not Ready, then `events`."
        )
    if any(clue.earlier for clue in found):
        lines += ["", "## Seen earlier, perhaps over since", "", *_described(clue for clue in found if clue.earlier)]
    if unreachable:
        lines += ["", "## Not asked", ""]
        lines += [f"- {name}: {mask(why)}" for name, why in unreachable.items()]
    lines += ["", "## Files", ""]
    lines += [f"- {name}: {len(text.splitlines())} lines" for name, text in files.items()]
    return mask("\n".join(lines)) + "\n"


def bundle(pages: Sequence[tuple[str, str]], folder: str, when: float) -> bytes:
    """A .tar.gz of text files under one folder."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, text in pages:
            data = text.encode()
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size, info.mode, info.mtime = len(data), 0o600, int(when)
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def collect(environment: Environment, group: NodeGroup, nodes: Sequence[Node]) -> tuple[dict[str, str], dict[str, str]]:
    """Files by name, and why some nodes could not be asked. All nodes at the same time; a node that does not answer does not delay the others."""

    def one(node: Node) -> dict[str, str]:
        return parse(group.of(node).root(script(node), TIMEOUT)[1].decode("utf-8", "replace"))

    files: dict[str, str] = {}
    unreachable: dict[str, str] = {}
    for name, seen in group.each(nodes, one).items():
        if isinstance(seen, KubefabError):
            unreachable[name] = seen.message
        else:
            files.update({f"{name}/{section}.txt": text for section, text in seen.items()})
    for path in journals(environment.state / "journal")[-JOURNALS:]:
        files[f"journal/{path.name}"] = mask(path.read_text(encoding="utf-8", errors="replace"))
    return files, unreachable


def write(path: Path, environment: Environment, files: Mapping[str, str], unreachable: Mapping[str, str]) -> None:
    """The bundle, readable by its owner only. Raises KubefabError if the file is there already."""
    when = time.time()
    pages = [(INDEX, index(environment, files, unreachable, when)), *files.items()]
    data = bundle(pages, path.name.removesuffix(".gz").removesuffix(".tar").removesuffix(".tgz"), when)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise KubefabError(f"{path}: {error.strerror}", "name another file with --out") from None
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
    except OSError as error:
        path.unlink()
        raise KubefabError(f"{path}: {error.strerror}", "name another file with --out") from None
