"""The doctor on real nodes: things are broken for real, found by their codes, fixed, and no longer found. Then verify, the same way.

Independent faults are made together, in a round: one exam finds all of them, the next one finds none.

Nodes are containers, so some faults can only be shown, not made: the clock is the host's (`date` lies), and so are swap and
memory (a file is mounted over /proc's), processors (`nproc` lies) and SELinux (`getenforce` lies). These are never broken
here, and have a row in tests/unit/test_doctor.py:

| code | why |
|---|---|
| KF-KRN-CONFIG | the kernel's own /proc/config.gz cannot be taken away from root |
| KF-CRI-OTHER | needs nodes without containerd.io: only `reset --purge` makes them, and installing again takes a minute |
| KF-NET-CLOUDSETUP, -FIREWALLD | Debian does not have these services: units of the same names replace them |
| KF-KRN-CGROUP as an error | the host decides; here it is a note, as the lab tells the kubelet to accept v1 |
| KF-TOK-NONE | there are no packages of 1.5 for real nodes |
| KF-DNS-RESOLVE of real names, KF-REG-UPSTREAM of real registries | the lab is cut off: names that end in .invalid, and registries that /etc/hosts sends to the node itself |
| `ping -M probe` | iputils has it from 20231222 on, Debian 12 has 20221126: nodes here fall back to `-M do` |
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from string import Template
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from lab import nodes as machines
from lab_bed import NO_FIREWALL, Lab, as_root, firewall, hosts

DOCTOR = ("inv", "cluster.doctor", "--env", "lab", "--json")
CP1, W1, W2, NO_NODE = "172.30.44.10", "172.30.44.21", "172.30.44.22", "172.30.44.99"
PACKAGES = "http://172.30.44.2"
# sudo asks for the host's name before each command: the first three servers of a list, which are all that glibc asks, must refuse at once
AT_ONCE = "echo options timeout:1 attempts:1 single-request"
ALL = ("cp1", "w1", "w2")
ERROR, WARNING, NOTE = "error", "warning", "note"


def examine(lab: Lab, *more: str, expect: int = 1, **variables: str) -> dict[str, Any]:
    done = lab.run(*DOCTOR, *more, expect=expect, **variables)
    found: dict[str, Any] = json.loads(done.output)
    return found


def findings(report: dict[str, Any], code: str) -> list[dict[str, Any]]:
    return [f for f in report["findings"] if f["code"] == code]


@dataclass(frozen=True)
class Find:
    """A finding that the report must contain: its code, severity, nodes, and words of its evidence or remedy; `$w2` is w2's host name."""

    code: str
    severity: str
    nodes: tuple[str, ...]
    words: tuple[str, ...] = ()

    def among(self, report: dict[str, Any]) -> bool:
        return any(
            (f["severity"], tuple(f["nodes"])) == (self.severity, self.nodes)
            and all(Template(w).safe_substitute(hosts()) in f"{f['evidence']} {f['remedy']}" for w in self.words)
            for f in findings(report, self.code)
        )


def missing(expected: Iterable[Find], report: dict[str, Any]) -> str:
    return "\n".join(str(found) for found in expected if not found.among(report))


def said(report: dict[str, Any]) -> str:
    return "\n".join(
        f"{f['severity']} {f['code']} {f['nodes']} {f['evidence']} → {f['remedy']}" for f in report["findings"]
    )


@dataclass(frozen=True)
class Break:
    """A fault on `node`: how to make it, how to fix it, and what the doctor must find."""

    node: str
    make: str
    fix: str
    finds: tuple[Find, ...] = ()


@dataclass(frozen=True)
class Round:
    """Breaks that do not hide each other, or a wrong inventory; `until` waits for effects that take time."""

    name: str
    breaks: tuple[Break, ...] = ()
    finds: tuple[Find, ...] = ()
    more: tuple[str, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)
    until: Callable[[Lab], bool] | None = None
    errors: bool = True

    def __str__(self) -> str:
        return self.name

    @property
    def expected(self) -> list[Find]:
        return [*self.finds, *(found for one in self.breaks for found in one.finds)]


def run(node: str, script: str) -> subprocess.CompletedProcess[str]:
    """Run a script as root in a node, with a shell by its full path, which no break can replace; the package server has only sh."""
    shell = "/bin/sh" if node == "packages" else "/bin/bash"
    return machines.exec(node, [shell, "-c", as_root(script)])


@contextmanager
def broken(breaks: tuple[Break, ...]) -> Iterator[None]:
    """Make all breaks for the block. They are fixed in reverse order; a failing fix does not stop the others."""
    made: list[Break] = []
    try:
        for one in breaks:
            made.append(one)
            done = run(one.node, one.make)
            assert done.returncode == 0, f"{one.node}: {one.make}\n{done.stdout}{done.stderr}"
        yield
    finally:
        fixed = [(one, run(one.node, one.fix)) for one in reversed(made)]
    assert not [f"{one.node}: {one.fix}: {done.stderr}" for one, done in fixed if done.returncode], "all is fixed"


# --- ways of breaking


def lying(node: str, tool: str, body: str, *finds: Find) -> Break:
    """Put a tool first in PATH that prints something else."""
    path = f"/usr/local/bin/{tool}"
    return Break(node, f"printf '%s\\n' '#!/bin/bash' '{body}' >{path}; chmod 755 {path}", f"rm {path}", finds)


def covered(node: str, path: str, make: str, *finds: Find) -> Break:
    """Mount another file over one of /proc or /etc; `make` prints its content."""
    own = "/run/kubefab-test" + path.replace("/", "-")
    return Break(node, f"({make}) >{own}; mount --bind {own} {path}", f"umount {path}; rm {own}", finds)


def rewritten(node: str, path: str, make: str, *finds: Find) -> Break:
    """Rewrite a file in place; `make` is a filter for its content."""
    own = "/run/kubefab-test" + path.replace("/", "-")
    return Break(node, f"cp -p {path} {own}; ({make}) <{own} >{path}", f"cat {own} >{path}; rm {own}", finds)


def gone(node: str, tool: str, *finds: Find) -> Break:
    return Break(node, f"mv /usr/bin/{tool} /usr/bin/{tool}.off", f"mv /usr/bin/{tool}.off /usr/bin/{tool}", finds)


def unit(node: str, name: str, *finds: Find) -> Break:
    timer = "--on-active=900 true" if name.endswith(".timer") else "sleep 900"
    return Break(node, f"systemd-run -q --unit={name.removesuffix('.timer')} {timer}", f"systemctl stop {name}", finds)


def certificate(begins: float, ends: float) -> str:
    """A self-signed certificate that is valid between these days from now."""
    key, now = ed25519.Ed25519PrivateKey.generate(), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
    )
    made = (
        built.not_valid_before(now + timedelta(days=begins)).not_valid_after(now + timedelta(days=ends)).sign(key, None)
    )
    return made.public_bytes(Encoding.PEM).decode()


def pki(name: str, text: str, *finds: Find) -> Break:
    return Break(
        "cp1",
        f"cat >/etc/kubernetes/pki/zz-{name}.crt <<'PEM'\n{text}PEM\n",
        f"rm /etc/kubernetes/pki/zz-{name}.crt",
        finds,
    )


def gpg_key(when: str, lifetime: str) -> str:
    """A shell line that prints a signing key created at `when` (in gpg's format)."""
    gpg = f"gpg --homedir $h --batch -q --faked-system-time {when}"
    made = f'{gpg} --passphrase "" --quick-gen-key test ed25519 sign {lifetime} 2>/dev/null; {gpg} --export'
    return f"h=$(mktemp -d); chmod 700 $h; {made}; gpgconf --homedir $h --kill all; rm -rf $h"


def package(node: str, name: str, *finds: Find) -> Break:
    """Really install an empty package with that name."""
    control = (
        f"Package: {name}\\nVersion: 0.1\\nArchitecture: all\\nMaintainer: t <t@t.invalid>\\nDescription: empty\\n"
    )
    make = f"d=$(mktemp -d); mkdir -p $d/p/DEBIAN; printf '{control}' >$d/p/DEBIAN/control; dpkg-deb -b $d/p $d/p.deb >/dev/null; dpkg -i $d/p.deb >/dev/null; rm -r $d"
    return Break(node, make, f"dpkg -P {name} >/dev/null", finds)


UUID = (
    "f=/sys/class/dmi/id/product_uuid; echo 03000200-0400-0500-0006-000700080009 >/run/own-uuid; if [ -e $f ]; then mount --bind /run/own-uuid $f; "
    "else mount -t tmpfs none /sys/class; mkdir -p ${f%/*}; cp /run/own-uuid $f; fi"
)
UNUUID = "rm /run/own-uuid; umount /sys/class/dmi/id/product_uuid 2>/dev/null || umount /sys/class"
MAC = "ip link add dup0 type bridge; ip link set dup0 address 02:42:00:00:00:99"
# held by a process that runs longer than the doctor waits
DPKG_LOCK = (
    'setsid perl -e \'use Fcntl; open(F, ">>", "/var/lib/dpkg/lock-frontend"); '
    'my $lock = pack("s s x4 q q i x4", F_WRLCK, 0, 0, 0, 0); fcntl(F, F_SETLK, $lock) or die; sleep 600\' </dev/null >/dev/null 2>&1 & echo $! >/run/own-lock'
)
STRANGER = 'kubectl create -f - >/dev/null <<<\'{"apiVersion":"v1","kind":"Node","metadata":{"name":"w9"}}\''
NEWER = """kubectl patch node $w1 --subresource=status -p '{"status":{"nodeInfo":{"kubeletVersion":"v1.99.0"}}}' >/dev/null"""
NO_CRI = """sed 's/^disabled_plugins.*//; 1i disabled_plugins = ["io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri"]'"""
ANNOTATE = "kubectl annotate node $w1 --overwrite flannel.alpha.coreos.com/public-ip="


def not_ready(name: str) -> Callable[[Lab], bool]:
    return lambda lab: not lab.ready()[name]


ROUNDS = (
    Round(
        "packets",
        (
            Break("w1", firewall(f"input ip saddr {CP1} udp dport 8472 drop"), NO_FIREWALL, (Find(
                "KF-NET-UDP8472", ERROR, ("w1",),
                ("UDP 8472 from cp1: ", "the other way is open", "from w2 it is open", "security group of w1, inbound UDP 8472 from 172.30.44.0/24"),
            ),)),
            Break("w2", firewall("input udp dport 8472 drop"), NO_FIREWALL, (Find("KF-NET-UDP8472", ERROR, ("w2",), ("from cp1, w1",)),)),
            Break("w2", firewall("input tcp dport 10250 reject with tcp reset"), NO_FIREWALL, (
                Find("KF-NET-TCP10250", ERROR, ("w2",), ("rejected by a firewall",)),
                Find("KF-NET-FILTER", ERROR, ("w2",), ("table inet kubefab_test, chain input (hook input) drops", "by a rule of it")),
            )),
            Break("cp1", firewall(f"input ip saddr {W1} tcp dport 6443 drop"), NO_FIREWALL, (Find(
                "KF-NET-TCP6443", ERROR, ("cp1",),
                ("TCP 6443 from w1: no answer: dropped", "from w2", "it is open", "iptables -I INPUT -p tcp --dport 6443 -s 172.30.44.0/24 -j ACCEPT"),
            ),)),
        ),
    ),
    Round(
        "identity",
        (
            Break("w2", "hostname $w1", "hostname $w2", (
                Find("KF-ID-HOSTNAME", ERROR, ("w1", "w2"), ("the same hostname $w1",)),
                Find("KF-OWN-RENAMED", ERROR, ("w2",), ("node $w2 of the cluster", "hostnamectl set-hostname $w2")),
            )),
            Break("w1", UUID, UNUUID, (Find("KF-ID-UUID", WARNING, ("w1", "w2"), ("03000200-0400",)),)),
            Break("w2", UUID, UNUUID),
            Break("w1", MAC, "ip link delete dup0", (Find("KF-ID-MAC", ERROR, ("w1", "w2"), ("w1/dup0, w2/dup0",)),)),
            Break("w2", MAC, "ip link delete dup0"),
            rewritten("w1", "/etc/machine-id", "echo 0123456789abcdef0123456789abcdef", Find("KF-ID-MACHINE", ERROR, ("w1", "w2"), ("cloned",))),
            rewritten("w2", "/etc/machine-id", "echo 0123456789abcdef0123456789abcdef"),
            covered("w1", "/etc/kubernetes/pki/ca.crt", "cat <<'PEM'\n" + certificate(-1, 300) + "PEM\n", Find("KF-OLD-CLUSTER", ERROR, ("w1",))),
            Break("cp1", STRANGER, "kubectl delete node w9 >/dev/null", (Find("KF-API-STRANGER", NOTE, ("cp1",), ("a node w9",)),)),
        ),
    ),
    Round(
        "machine",
        (
            lying("w1", "date", 'exec /usr/bin/date -d "10 minutes ago" "$@"', Find("KF-TIME-SKEW", ERROR, ("w1",), ("10 min behind", "certificates"))),
            lying("w1", "getenforce", "echo Enforcing", Find("KF-OS-SELINUX", NOTE, ("w1",))),
            lying(
                "w1", "containerd", "[ \"$1\" = --version ] && echo containerd x v1.7.27 x || exec /usr/bin/containerd \"$@\"",
                Find("KF-CRI-OLD", WARNING, ("w1",), ("1.7.27",)),
            ),
            Break("w1", "touch /var/run/reboot-required", "rm /var/run/reboot-required", (Find("KF-OS-REBOOT", WARNING, ("w1",)),)),
            Break("w1", "sysctl -qw net.ipv4.ip_forward=0", "sysctl -qw net.ipv4.ip_forward=1", (Find("KF-KRN-SYSCTL", ERROR, ("w1",), ("ip_forward",)),)),
            Break("w1", "apt-mark unhold kubelet", "apt-mark hold kubelet", (Find("KF-VER-LOOSE", WARNING, ("w1",), ("kubelet is not held",)),)),
            Break(
                "w1", "mount -t tmpfs -o size=4m none /var/log; head -c 3900k /dev/zero >/var/log/fill", "umount -l /var/log",
                (Find("KF-DISK-PRESSURE", ERROR, ("w1",), ("/var/log: 5% free",)),),
            ),
            rewritten("w1", "/etc/resolv.conf", f"printf 'nameserver %s\\n' 172.30.44.2 {CP1} {W2} {NO_NODE}; {AT_ONCE}", Find("KF-DNS-MANY", NOTE, ("w1",))),
            rewritten(
                "w1", "/etc/apt/keyrings/kubefab-kubernetes.gpg", gpg_key("20250101T000000", "1d"),
                Find("KF-KEY-EXPIRED", WARNING, ("w1",), ("expired on 2025-01-02", "install --env lab` fetches it again")),
            ),
            rewritten(
                "w1", "/etc/apt/keyrings/kubefab-containerd.gpg", gpg_key("$(date +%Y%m%dT%H%M%S)", "20d"),
                Find("KF-KEY-EXPIRES", NOTE, ("w1",), ("kubefab-containerd.gpg", "in 20 days")),
            ),
            covered("w2", "/proc/swaps", "cat /proc/swaps; echo /swapfile file 1048576 0 -2", Find("KF-SWAP-ON", WARNING, ("w2",), ("/swapfile", "will not start"))),
            covered("w2", "/proc/meminfo", 'sed "s/^MemAvailable:.*/MemAvailable: 51200 kB/" /proc/meminfo', Find("KF-MEM-PRESSURE", WARNING, ("w2",), ("50 MiB",))),
            Break(
                "w2", "mount -t tmpfs -o size=64m,nr_inodes=40 none /var/log; touch /var/log/{1..38}", "umount -l /var/log",
                (Find("KF-DISK-INODES", WARNING, ("w2",), ("of the inodes are free",)),),
            ),
            Break(
                "w2", "for d in /sys/module /lib/modules; do mount -t tmpfs none $d; done", "umount /sys/module /lib/modules",
                (Find("KF-KRN-MODULE", WARNING, ("w2",), ("vxlan",)),),
            ),
            unit("w2", "firewalld.service", Find("KF-NET-FIREWALLD", NOTE, ("w2",))),
            unit("w2", "nm-cloud-setup.timer", Find("KF-NET-CLOUDSETUP", WARNING, ("w2",))),
            package("w2", "docker.io", Find("KF-CRI-DOCKER", NOTE, ("w2",))),
            rewritten("w2", "/etc/resolv.conf", f"echo nameserver 127.0.0.11; {AT_ONCE}", Find("KF-DNS-LOOP", ERROR, ("w2",), ("Loop detected",))),
            Break(
                "cp1", "kubeadm token create 777777.0123456789abcdef --ttl 0 >/dev/null", "kubeadm token delete 777777 >/dev/null",
                (Find("KF-TOK-FOREVER", WARNING, ("cp1",), ("777777 never expires",)),),
            ),
            Break(
                "cp1", "kubeadm token create 888888.0123456789abcdef --ttl 96h >/dev/null", "kubeadm token delete 888888 >/dev/null",
                (Find("KF-TOK-LONG", NOTE, ("cp1",), ("888888", "4 days")),),
            ),
            pki("expires", certificate(-1, 3.5), Find("KF-CRT-EXPIRES", ERROR, ("cp1",), ("in 3 days", "inv cluster.renew"))),
            pki("soon", certificate(-1, 40), Find("KF-CRT-EXPIRES", WARNING, ("cp1",), ("in 40 days",))),
            pki("expired", certificate(-2, -1), Find("KF-CRT-EXPIRED", ERROR, ("cp1",), ("zz-expired.crt",))),
            pki("future", certificate(1, 300), Find("KF-CRT-FUTURE", ERROR, ("cp1",), ("zz-future.crt",))),
            pki("none", "nothing\n", Find("KF-CRT-UNREADABLE", WARNING, ("cp1",), ("zz-none.crt",))),
            # last, so it is fixed first: apt-mark needs that lock
            Break("w1", DPKG_LOCK, "kill $(cat /run/own-lock); rm /run/own-lock", (Find("KF-PKG-LOCK", WARNING, ("w1",), ("perl (pid",)),)),
        ),
    ),
    Round(
        "cluster",
        (
            Break("cp1", ANNOTATE + f"{NO_NODE} >/dev/null", ANNOTATE + f"{W1} >/dev/null", (Find("KF-FLN-NIC", ERROR, ("w1",), (f"at {NO_NODE}",)),)),
            Break(
                "w1", f"ip link add own0 type bridge; ip addr add {NO_NODE}/32 dev own0; ip link set own0 up; ip route add {CP1}/32 dev eth0 src {NO_NODE}",
                f"ip route delete {CP1}/32; ip link delete own0", (Find("KF-NET-NIC", WARNING, ("w1",), (f"from {NO_NODE} (eth0)", f"private={NO_NODE}")),),
            ),
            Break("w1", "systemctl kill -s STOP kubelet", "systemctl kill -s CONT kubelet"),
            Break("cp1", NEWER, NEWER.replace("99.0", "36.3"), (Find("KF-VER-KUBELET", ERROR, ("w1",), ("1.99.0 is newer",)),)),
            rewritten(
                "w2", "/run/flannel/subnet.env", "sed s,^FLANNEL_SUBNET=.*,FLANNEL_SUBNET=10.44.77.1/24,",
                Find("KF-FLN-SUBNET", ERROR, ("w2",), ("10.44.77.0/24",)), Find("KF-FLN-CNI0", ERROR, ("w2",), ("outside this node's",)),
            ),
            Break(
                "w2", "ip link add own0 type bridge; ip link set own0 up; ip route add 10.44.200.0/24 dev own0", "ip link delete own0",
                (Find("KF-NET-ROUTE", ERROR, ("w2",), ("10.44.200.0/24 dev own0 lies in POD_CIDR",)),),
            ),
            Break(
                # a flanneld that runs would make it again before the doctor looks
                "cp1", "pkill -STOP -x flanneld; ip link delete flannel.1",
                "pkill -CONT -x flanneld; kubectl -n kube-flannel delete pod --field-selector spec.nodeName=$cp1 >/dev/null; until ip link show flannel.1 >/dev/null 2>&1; do sleep 0.2; done",
                (Find("KF-FLN-MISSING", ERROR, ("cp1",)),),
            ),
        ),
    ),
    Round(
        "runtime",
        (
            Break(
                "w1", f"cp -p /etc/containerd/config.toml /run/own.toml; {NO_CRI} /run/own.toml >/etc/containerd/config.toml; systemctl restart containerd",
                "cp -p /run/own.toml /etc/containerd/config.toml; rm /run/own.toml; systemctl restart containerd",
                (Find("KF-CRI-SILENT", ERROR, ("w1",)), Find("KF-CRI-CONFIG", WARNING, ("w1",), ("not the one that this inventory makes",))),
            ),
            Break(
                "w2", "systemctl stop containerd", "systemctl start containerd",
                (Find("KF-CRI-DOWN", ERROR, ("w2",)), Find("KF-API-NOTREADY", ERROR, ("w2",), ("journalctl -u kubelet",))),
            ),
        ),
        until=not_ready("w2"),
    ),
    Round(
        "other",
        (
            gone("w2", "curl", Find("KF-SRC-CURL", ERROR, ("w2",))),
            Break("w1", "hostname renamed", "hostname $w1", (Find("KF-API-UNLISTED", ERROR, ("w1",), ("lists no node renamed",)),)),
            lying("w1", "getenforce", "kill $PPID", Find("KF-DOC-PARTIAL", NOTE, ("w1",), ("not examined: all but the common facts",))),
        ),
        more=("--no-network",),
    ),
    Round("cut-off", (lying("w1", "bash", "exit 3", Find("KF-DOC-UNOBSERVED", ERROR, ("w1",), ("exit code 3", "cut short"))),), more=("--no-network",)),
    Round("one-worker-alone", more=("--no-network", "--on", "w1"), errors=False),
    Round(
        "one-worker-alone-and-no-record", finds=(Find("KF-OLD-UNKNOWN", NOTE, ("w1",)),), more=("--no-network", "--on", "w1"),
        variables={"XDG_STATE_HOME": "{state}"},  # in it, w1 has the address that a NAT would show
    ),
    # --- a wrong inventory
    Round(
        "inventory",
        (
            # the key that the repository offers has expired
            Break(
                "packages",
                "d=/tmp/old/core:/stable:/v1.36/deb; mkdir -p $d; cat >$d/Release.key <<'KEY'\n{key}KEY\n"
                "busybox httpd -f -p 8081 -h /tmp/old </dev/null >/dev/null 2>&1 & echo $! >/tmp/own-httpd",
                "kill $(cat /tmp/own-httpd); rm -r /tmp/old /tmp/own-httpd",
                (Find("KF-KEY-EXPIRED", ERROR, ALL, ("the key that the repository offers", "expired on 2025-01-02")),),
            ),
        ),
        (
            Find("KF-REG-LOGIN", ERROR, ALL, ("refuses the login as kubefab", "HTTP 401")),
            Find("KF-SRC-PACKAGES", ERROR, ALL, ("HTTP 404",)),
            Find("KF-NET-ADDRESS", ERROR, ("w1",), (f"{NO_NODE} is on no interface", f"`{W1} private={W1}`")),
        ),
        ("--no-network",),
        {"KUBEFAB_LAB_REGISTRY_PASSWORD": "not-the-password", "KUBEFAB_LAB_PACKAGES_URL": f"{PACKAGES}:8081", "XDG_STATE_HOME": "{state}"},
    ),
    Round(
        "release", finds=(
            Find("KF-VER-SKEW", WARNING, ALL, ("the inventory says 1.37", "set KUBERNETES=1.36")),
            Find("KF-SET-LASTING", ERROR, ("cp1",), ("this node runs Kubernetes 1.36", "in a cluster, the inventory says 1.37")),
        ), more=("--no-network",), variables={"KUBEFAB_LAB_KUBERNETES": "1.37"},
    ),
    Round(
        "earlier-release", finds=(  # the lab's registry does not have its pause image
            Find("KF-VER-SKEW", ERROR, ALL, ("the inventory says 1.35",)),
            Find("KF-REG-IMAGE", ERROR, ALL, ("the registry has no 172.30.44.3:5000/pause:3.10.1",)),
        ), more=("--no-network",), variables={"KUBEFAB_LAB_KUBERNETES": "1.35"},
    ),
    Round(
        "registry-tls", (
            Break("w1", "echo 127.0.0.1 ghcr.io >>/etc/hosts", "sed '/ghcr.io/d' /etc/hosts >/run/own-hosts; cat /run/own-hosts >/etc/hosts; rm /run/own-hosts",
                  (Find("KF-REG-UPSTREAM", ERROR, ("w1",), ("https://ghcr.io/v2/",)),)),
        ),
        (Find("KF-REG-TLS", ERROR, ALL, ("REGISTRY_CA",)), Find("KF-DNS-RESOLVE", ERROR, ALL, ("nowhere.invalid",))), ("--no-network",),
        {"KUBEFAB_LAB_REGISTRY_CA": "{ca}", "KUBEFAB_LAB_REGISTRY_MIRRORS": "registry.k8s.io,docker.io", "KUBEFAB_LAB_CONTAINERD_URL": "http://nowhere.invalid"},
    ),
    Round(
        "registry-down", finds=(Find("KF-REG-DOWN", ERROR, ALL, ("172.30.44.3:5001",)),), more=("--no-network",), variables={"KUBEFAB_LAB_REGISTRY": "172.30.44.3:5001"},
    ),
)  # fmt: skip


@pytest.mark.parametrize(
    "one", [pytest.param(one, marks=() if one.breaks else pytest.mark.looks) for one in ROUNDS], ids=str
)
def test_each_break_is_found_by_its_code(healthy: Lab, one: Round, tmp_path: Path) -> None:
    lab = healthy
    (tmp_path / "ca.crt").write_text(certificate(-1, 300))
    # w1 has the address that a NAT would show
    lab.with_line(tmp_path, f"{W1} name=w1", f"{W1} name=w1 private={NO_NODE}")
    variables = {name: value.format(ca=tmp_path / "ca.crt", state=tmp_path) for name, value in one.variables.items()}
    breaks = one.breaks
    if any("{key}" in b.make for b in breaks):
        key = lab.sh("w1", gpg_key("20250101T000000", "1d").replace("--export", "--armor --export")) + "\n"
        breaks = tuple(Break(b.node, b.make.replace("{key}", key), b.fix, b.finds) for b in breaks)
    with broken(breaks):
        if one.until:
            lab.eventually("it shows", lambda: one.until and one.until(lab))
        report = examine(lab, *one.more, expect=1 if one.errors else 0, **variables)
    assert missing(one.expected, report) == "", said(report)
    if (
        not breaks
    ):  # the inventory was wrong for that command only; of the right one, the healthy cluster's test says all
        return
    codes, quick = {found.code for found in one.expected}, ("--no-network",) * ("--no-network" in one.more)
    lab.eventually(
        "all is well again",
        lambda: not codes & {f["code"] for f in json.loads(lab.end(lab.start(*DOCTOR, *quick)).output)["findings"]},
    )


def test_a_path_with_a_smaller_mtu_than_its_interfaces(healthy: Lab) -> None:
    """One interface has a smaller MTU: the path to it drops large packets, and flannel's MTU is too large."""
    lab = healthy
    # fixed last: for ten minutes the kernel remembers the smaller path MTU
    fix = tuple(Break(name, "true", "ip route flush cache") for name in lab.names)
    with broken((*fix, Break("w1", "ip link set eth0 mtu 1400", "ip link set eth0 mtu 1500"))):
        report = examine(lab)
    for found in (
        Find("KF-NET-MTU", WARNING, ("w1",), ("w1: 1400",)),
        Find("KF-FLN-MTU", ERROR, ("w1",), ("VXLAN takes 50",)),
        Find("KF-NET-PMTU", ERROR, ("w1",), ("of 1500 bytes get through", "ip route flush cache")),
    ):
        assert found.among(report), said(report)
    lab.eventually(
        "all is open",
        lambda: {r["state"] for r in json.loads(lab.end(lab.start(*DOCTOR)).output)["pairs"]} == {"open"},
    )


@pytest.mark.looks
def test_a_healthy_cluster_has_no_errors_and_every_pair_is_open(healthy: Lab) -> None:
    report = examine(healthy, expect=0)
    assert {f["code"] for f in report["findings"]} <= {"KF-KRN-CGROUP", "KF-TIME-NOSYNC", "KF-BAK-OLD"}, (
        "only containers have the first two, and no backup was taken"
    )
    assert {f["severity"] for f in report["findings"]} <= {NOTE}
    assert {r["state"] for r in report["pairs"]} == {"open"}
    tested = {(r["from"], r["to"], r["what"]) for r in report["pairs"]}
    assert {
        ("w1", "w2", "UDP 8472"),
        ("w2", "w1", "UDP 8472"),
        ("w1", "cp1", "TCP 6443"),
        ("cp1", "w2", "TCP 10250"),
    } <= tested
    assert {("w1", "w2", "MTU nic"), ("w1", "w2", "MTU overlay"), ("you", "w1", "TCP 31447")} <= tested


@pytest.mark.looks
def test_it_leaves_nothing_behind_and_shows_no_secret(healthy: Lab) -> None:
    lab = healthy
    trace = (
        "ls -A /tmp /run | grep -v systemd; ss -Hlntu | awk '{print $1, $5}' | sort; "
        "ps -eo comm=,args= | grep -E '^(perl|socat|python3|curl|gpg)|kubefab'| grep -v grep; "
        "find /etc /root /home /opt /usr/local /var/lib/kubefab -path '*/influxdb' -prune -o -newer /run/own-stamp ! -type d -print"
    )
    for name in lab.names:
        lab.sh(name, "touch /run/own-stamp")
    try:
        before = {name: lab.sh(name, trace, check=False) for name in lab.names}
        with lab.watching_processes():
            done = lab.run(*DOCTOR)
        after = {name: lab.sh(name, trace, check=False) for name in lab.names}
    finally:
        for name in lab.names:
            lab.sh(name, "rm /run/own-stamp")
    assert after == before
    assert lab.secrets
    for secret in lab.secrets:
        assert secret not in done.output
        assert not [line for line in lab.command_lines if secret in line]


@pytest.mark.looks
@pytest.mark.parametrize("tool", ["perl", "socat"])
def test_the_doctor_uses_the_installed_tool(healthy: Lab, tool: str) -> None:
    with broken(tuple(gone("w2", name) for name in ("perl", "socat") if name != tool)):
        report = examine(healthy, expect=0)
    assert {r["state"] for r in report["pairs"]} == {"open"}


@pytest.mark.looks
def test_without_a_tool_the_doctor_says_so_instead_of_guessing(healthy: Lab) -> None:
    with broken((gone("w2", "perl"), gone("w2", "socat"))):
        report = examine(healthy, expect=0)
    states = {(r["from"], r["to"], r["what"]): (r["state"], r["detail"]) for r in report["pairs"]}
    assert states["w1", "w2", "UDP 8472"] == ("not tested", "no listener tool on w2")
    assert states["w2", "w1", "UDP 8472"][0] == "open"
    assert Find("KF-NET-UNTESTED", NOTE, ("w2",), ("no listener tool on w2",)).among(report)


def test_a_frozen_node_is_a_finding_and_delays_no_other(healthy: Lab) -> None:
    lab = healthy
    machines.pause("w2")
    try:
        started = time.monotonic()
        report = examine(lab, KUBEFAB_LAB_CONNECT_TIMEOUT="4")
        took = time.monotonic() - started
    finally:
        machines.unpause("w2")
    assert [f["nodes"] for f in findings(report, "KF-SSH-UNREACHABLE")] == [["w2"]]
    assert took < 200, "a frozen node accepts no connection, and TCP itself gives up after fifteen minutes"
    assert {(r["from"], r["to"]) for r in report["pairs"]} >= {("w1", "cp1"), ("cp1", "w1")}
    lab.eventually("w2 is Ready", lambda: lab.ready()["w2"])


def test_a_stale_cni0_on_a_node_outside_the_cluster(without_w2: Lab) -> None:
    lab = without_w2
    stale = Break("w2", "ip link add cni0 type bridge && ip addr add 10.77.1.1/24 dev cni0", "ip link delete cni0")
    with broken((stale,)):
        assert Find("KF-OLD-LEFTOVERS", ERROR, ("w2",), ("cni0",)).among(examine(lab))
    with broken((Break("w2", "mkdir -p /var/lib/cni/networks/cbr0", "rm -r /var/lib/cni"),)):
        assert Find("KF-OLD-CLUSTER", ERROR, ("w2",), ("/var/lib/cni/networks/cbr0",)).among(
            examine(lab, "--no-network")
        )
    with broken((Break("w2", "iptables -N KUBE-EARLIER", "iptables -X KUBE-EARLIER"),)):
        assert Find("KF-OLD-RESIDUE", WARNING, ("w2",), ("1 firewall rules", "reboot")).among(
            examine(lab, "--no-network", expect=0)
        )
    report = examine(lab, expect=0)
    udp = {(r["from"], r["to"]): r for r in report["pairs"] if r["what"] == "UDP 8472"}
    assert udp["w1", "w2"]["state"] == "open", "to a node without flannel the datagram goes straight"
    assert udp["w2", "w1"]["state"] == "not tested"
    lab.off = True


# --- verify

VERIFY = ("inv", "cluster.verify", "--env", "lab", "--json")


def spaces(lab: Lab) -> str:
    return lab.kubectl("get namespaces -l kubefab.dev/verify=true -o name")


@pytest.mark.looks
def test_verify_passes_on_a_healthy_cluster_and_removes_its_objects(healthy: Lab) -> None:
    report = json.loads(healthy.run(*VERIFY).output)
    assert {c["state"] for c in report["checks"]} == {"ok"}, report
    assert len(report["checks"]) == 12
    assert spaces(healthy) == ""


def test_verify_names_the_unreachable_node(healthy: Lab) -> None:
    lab = healthy
    with broken((Break("w1", firewall("input udp dport 8472 drop"), NO_FIREWALL),)):
        report = json.loads(lab.run(*VERIFY, expect=1, KUBEFAB_LAB_DASHBOARD="none").output)  # its answer takes long
    checks = {c["check"]: c for c in report["checks"]}
    assert f"all of them concern {lab.hosts['w1']}:" in checks["pod to pod"]["likely"]
    assert checks["cleaned up"]["state"] == "ok"
    assert "probe pods answer" not in checks, "that would be a different fault"
    assert spaces(lab) == ""


def test_verify_sees_that_large_packets_vanish(healthy: Lab) -> None:
    """Only what is longer than 1000 bytes is dropped on its way to w1: everything is Ready, DNS and small answers pass."""
    lab = healthy
    with broken((Break("w1", firewall("input udp dport 8472 meta length gt 1000 drop"), NO_FIREWALL),)):
        report = json.loads(lab.run(*VERIFY, expect=1).output)
    checks = {c["check"]: c for c in report["checks"]}
    assert checks["pod to pod"]["state"] == checks["cluster DNS"]["state"] == "ok"
    assert checks["large packets"]["state"] == "failed"
    assert f"all of them concern {lab.hosts['w1']}:" in checks["large packets"]["likely"]
    assert all(
        f"→{lab.hosts['w1']}" in pair for pair in checks["large packets"]["detail"].partition("not ")[2].split(", ")
    )
    assert spaces(lab) == ""


@pytest.mark.looks
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_verify_cleans_up_when_it_is_stopped(healthy: Lab, number: signal.Signals) -> None:
    lab = healthy
    process = lab.start(*VERIFY)
    lab.eventually("the probes are there", lambda: spaces(lab))
    process.send_signal(number)
    done = lab.end(process)
    assert done.code == 130, str(done)
    assert spaces(lab) == ""


# --- no cluster: last, so that no test needs a cluster afterwards

BARE = (
    Break("w1", firewall(f"input ip saddr {W2} udp dport 8472 drop"), NO_FIREWALL, (Find("KF-NET-UDP8472", ERROR, ("w1",), ("from w2: ",)),)),
    Break("cp1", firewall("input tcp dport 6443 drop"), NO_FIREWALL, (Find("KF-NET-TCP6443", ERROR, ("cp1",), ("w1, w2",)),)),
    Break(
        "w2", "setsid socat TCP4-LISTEN:10250,fork,reuseaddr OPEN:/dev/null </dev/null >/dev/null 2>&1 & echo $! >/run/own-socat", "kill $(cat /run/own-socat); rm /run/own-socat",
        (Find("KF-NET-TAKEN", ERROR, ("w2",), ("TCP 10250 is held by socat (pid",)),),
    ),
    lying("w1", "nproc", "echo 1", Find("KF-CPU-FEW", NOTE, ("w1",))),
    covered(
        "w1", "/proc/meminfo", 'sed "s/^MemTotal:.*/MemTotal: 819200 kB/; s/^MemAvailable:.*/MemAvailable: 409600 kB/" /proc/meminfo',
        Find("KF-MEM-SMALL", WARNING, ("w1",), ("800 MiB",)),
    ),
    rewritten("w1", "/etc/resolv.conf", AT_ONCE, Find("KF-DNS-NONE", ERROR, ("w1",))),
    # a containerd that is asked for its images makes its folder there, which df then takes for the volume of that name that is covered
    Break("w2", "systemctl stop containerd; mount -t tmpfs -o size=500m none /var/lib", "umount /var/lib && { systemctl start containerd || true; }", (Find("KF-DISK-FREE", ERROR, ("w2",), ("0.5 GiB free for /var/lib/containerd, /var/lib/kubelet",)),)),
    rewritten("cp1", "/usr/lib/os-release", "printf 'ID=plan9\\nNAME=Plan9\\n'", Find("KF-OS-UNSUPPORTED", ERROR, ("cp1",), ("is not supported",))),
    *(lying(name, "date", 'exec /usr/bin/date -d "3 minutes ago" "$@"') for name in ALL),
)  # fmt: skip

# each of them hides every other fault of its node
WHOSE = (
    Break("w1", "sysctl -qw kernel.hostname=Not_A_Name", "hostname $w1", (Find("KF-ID-NAME", ERROR, ("w1",), ("not_a_name",)),)),
    Break(
        "cp1", "mkdir -p /etc/kubernetes/manifests; touch /etc/kubernetes/manifests/kube-apiserver.yaml", "rm /etc/kubernetes/manifests/kube-apiserver.yaml",
        (Find("KF-OLD-CONTROL", ERROR, ("cp1",)),),
    ),
)  # fmt: skip


def test_the_doctor_before_there_is_a_cluster(lab: Lab) -> None:
    """The ports are tested with listeners, and everything that would stop a bootstrap is found."""
    lab.reset("--keep-images")
    with broken(BARE):
        report = examine(lab)
    expected = [*(found for one in BARE for found in one.finds), Find("KF-TIME-YOURS", NOTE, (), ("3 min",))]
    assert missing(expected, report) == "", said(report)
    assert not findings(report, "KF-OLD-RESIDUE"), "a control plane that may hold data is not residue"
    assert {
        r["from"] for r in report["pairs"] if (r["what"], r["to"], r["state"]) == ("TCP 6443", "cp1", "closed")
    } == {"you", "w1", "w2"}
    with broken(WHOSE):
        report = examine(lab, "--no-network")
    assert missing((found for one in WHOSE for found in one.finds), report) == "", said(report)
    report = examine(lab, expect=0)
    assert {r["state"] for r in report["pairs"]} == {"open"}
    assert {f["code"] for f in report["findings"]} <= {"KF-KRN-CGROUP", "KF-TIME-NOSYNC", "KF-SWAP-ON"}
    if findings(report, "KF-SWAP-ON"):  # what test_story put into fstab; every reset gives it back
        assert Find("KF-SWAP-ON", NOTE, ("w1",), ("at the next boot",)).among(report), said(report)
