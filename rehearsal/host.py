"""The model of one machine: its disk, what runs, its links. Plain values that are saved as JSON.

Nothing here knows commands or other machines; `cluster` and `commands` change the model.
"""

from __future__ import annotations

import fnmatch
import hashlib
import random
import time
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

from .store import copied

UBUNTU = {
    "NAME": "Ubuntu",
    "PRETTY_NAME": "Ubuntu 24.04.3 LTS",
    "ID": "ubuntu",
    "ID_LIKE": "debian",
    "VERSION_ID": "24.04",
    "VERSION_CODENAME": "noble",
}
ROCKY = {
    "NAME": "Rocky Linux",
    "PRETTY_NAME": "Rocky Linux 9.6 (Blue Onyx)",
    "ID": "rocky",
    "ID_LIKE": "rhel centos fedora",
    "VERSION_ID": "9.6",
}
SUSE = {
    "NAME": "openSUSE Leap",
    "PRETTY_NAME": "openSUSE Leap 15.6",
    "ID": "opensuse-leap",
    "ID_LIKE": "suse opensuse",
    "VERSION_ID": "15.6",
}
APT, DNF = "apt", "dnf"
BASE_TOOLS = {
    "awk bash cat chmod cmp cp curl cut date df dirname du echo env false find flock gpg grep head hostname id install ip ln ip6tables "
    "ip6tables-restore ip6tables-save iptables iptables-restore iptables-save journalctl ls mkdir mktemp modprobe mount mountpoint mv nft nproc "
    "openssl printf ps readlink rm rmdir sed sha256sum sleep sort stat swapoff swapon sync sysctl systemctl tail tee test timeout "
    "ln sync tar pgrep exe etcdctl etcdutl touch tr true umount uname uniq uptime wc xargs lsmod ss getent ping ifconfig service reboot systemd-run"
}
TOOLS = frozenset(" ".join(BASE_TOOLS).split())
KERNEL = "6.8.0-87-generic"
GIB = 1 << 20  # KiB
ETCD, ETCD_PID = "3.6.6", 4242  # etcd's version and the pid of the one that runs
CONTAINERD_PID = 613


@cache
def served(image: str) -> str:
    """The digest behind a name and tag, the same in every registry."""
    return "sha256:" + hashlib.sha256(image.split("/", 1)[-1].encode()).hexdigest()


@cache
def references(image: str) -> tuple[str, ...]:
    """What containerd lists after a pull: name and tag (if it was pulled by tag), and name and digest."""
    name, at, digest = image.partition("@")
    untagged = name.rsplit("/", 1)[0] + "/" + name.rsplit("/", 1)[-1].split(":")[0]
    return (f"{untagged}@{digest}",) if at else (name, f"{untagged}@{served(name)}")


class File(NamedTuple):
    """It never changes: copies of a machine share it, and what is kept of it is compared by identity first."""

    text: str
    mode: str = "644"


@dataclass
class Link:
    addresses: list[str] = field(default_factory=list)
    mtu: int = 1500
    up: bool = True


@dataclass
class Unit:
    active: bool = False
    enabled: bool = False


@dataclass
class Pod:
    """A pod on this machine: its sandbox in containerd, and its state in the API."""

    name: str
    namespace: str
    workload: str
    labels: dict[str, str]
    images: list[str]
    host_network: bool
    created: float
    running: bool = False
    since: float = 0.0
    trouble: str = ""
    kubelet_restarts: int = 0
    volumes: list[str] = field(default_factory=list)  # names of its local PersistentVolumes
    began: float = 0.0  # date at which a static pod's container started
    serves: dict[str, str] = field(default_factory=dict)  # the certificates that it read then, by file


@dataclass
class Host:
    """One machine. `clock` is its virtual time in seconds since the rehearsal began."""

    name: str
    hostname: str
    address: str
    number: int
    control_plane: bool
    clock: float = 0.0
    release: dict[str, str] = field(default_factory=lambda: dict(UBUNTU))
    cpus: int = 2
    memory_kib: int = 4 * GIB
    disk_kib: int = 24 * GIB
    machine_id: str = ""
    product_uuid: str = ""
    boot_id: str = ""
    files: dict[str, File] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    packages: dict[str, str] = field(default_factory=dict)
    held: list[str] = field(default_factory=list)
    units: dict[str, Unit] = field(default_factory=dict)
    links: dict[str, Link] = field(default_factory=dict)
    sysctls: dict[str, str] = field(default_factory=dict)
    modules: list[str] = field(default_factory=list)
    swaps: list[str] = field(default_factory=list)
    rules: list[str] = field(default_factory=list)
    rules6: list[str] = field(default_factory=list)
    nft_tables: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    pods: list[Pod] = field(default_factory=list)
    mounts: list[str] = field(default_factory=list)
    cri: bool = False
    cni_at: float = -1.0
    cni_unread: bool = False  # containerd has not noticed the file
    kubelet_restarts: int = 0
    lists_from: str = ""
    halted: bool = False
    kubelet_runs: str = ""  # the release of the kubelet that runs; of a package that was installed since, another
    containerd_runs: str = ""  # the package's version with which containerd began
    runs: dict[str, list[str]] = field(default_factory=dict)  # transient units: state, and what was said
    containers: list[str] = field(default_factory=list)  # names of Docker's own containers, not Kubernetes'

    @classmethod
    def new(
        cls, name: str, hostname: str, address: str, number: int, *, control_plane: bool, seed: int, like: str = APT
    ) -> Host:
        """A machine as a cloud hands it out."""
        chance = random.Random(f"{seed}/{name}")

        def digits(count: int) -> str:
            return "".join(chance.choice("0123456789abcdef") for _ in range(count))

        host = cls(name, hostname, address, number, control_plane)
        host.release = dict(UBUNTU if like == APT else ROCKY)
        host.cpus, host.memory_kib = (2, 8 * GIB) if control_plane else (2, 4 * GIB)
        host.memory_kib -= chance.randrange(90_000, 140_000)
        host.disk_kib -= chance.randrange(0, 3 * GIB)
        host.machine_id = digits(32)
        host.product_uuid = f"ec2{digits(5)}-{digits(4)}-{digits(4)}-{digits(4)}-{digits(12)}"
        host.boot_id = f"{digits(8)}-{digits(4)}-{digits(4)}-{digits(4)}-{digits(12)}"
        host.links = {
            "lo": Link(["127.0.0.1/8", "::1/128"], 65536),
            "ens5": Link([f"{address}/16", f"fe80::4{number:02x}/64"], 1500),
        }
        host.sysctls = {"net.ipv4.ip_forward": "0"}
        host.rules = ["-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT"]
        host.write("/etc/fstab", "LABEL=cloudimg-rootfs\t/\t ext4\tdiscard,commit=30,errors=remount-ro\t0 1\n")
        host.write("/etc/resolv.conf", "nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch rehearsal.internal\n")
        host.write("/run/systemd/resolve/resolv.conf", "nameserver 10.2.0.2\nsearch rehearsal.internal\n")
        host.write("/etc/hostname", f"{hostname}\n")
        host.folders = [
            "/etc",
            "/run",
            "/tmp",
            "/root",
            "/var/lib",
            "/var/lib/dpkg" if like == APT else "/var/lib/dnf",
            "/run/systemd/system",
        ]
        if like == DNF:
            host.write("/etc/selinux/config", "SELINUX=enforcing\nSELINUXTYPE=targeted\n")
        else:
            for lock in ("/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/lib/apt/lists/lock"):
                host.write(lock, "")
        return host

    # --- images

    def holds(self, image: str) -> bool:
        """Whether containerd has the image, by name or by digest; the tag it was pulled by does not matter for a digest."""
        return references(image)[0] in (reference for held in self.images for reference in references(held))

    def pull(self, image: str) -> bool:
        """Pull the image unless it is there; False if no registry serves that digest."""
        name, at, digest = image.partition("@")
        if at and digest != served(name) and not self.holds(image):
            return False
        if not self.holds(image):
            self.images.append(references(image)[0])
        return True

    # --- families and tools

    @property
    def family(self) -> str:
        return APT if self.release["ID"] in ("ubuntu", "debian") else DNF

    @property
    def cgroup(self) -> str:
        """The file system at /sys/fs/cgroup: Ubuntu 16.04's systemd knew version 1 only."""
        return "tmpfs" if self.release.get("VERSION_ID") == "16.04" else "cgroup2fs"

    def has(self, tool: str) -> bool:
        """Whether a program with that name is installed."""
        if tool in ("apt-get", "apt-mark", "apt-cache", "dpkg", "dpkg-query", "apt-key"):
            return self.family == APT
        if tool in ("dnf", "rpm", "getenforce", "setenforce", "yum"):
            return self.family == DNF
        if tool == "ifconfig" and self.release["VERSION_ID"] == "16.04":
            return "net-tools" in self.packages
        owners = {
            "kubeadm": "kubeadm",
            "kubectl": "kubectl",
            "kubelet": "kubelet",
            "crictl": "cri-tools",
            "ctr": "containerd.io",
            "containerd": "containerd.io",
            "docker": "docker.io",
        }
        return owners[tool] in self.packages if tool in owners else tool in TOOLS

    # --- disk

    def exists(self, path: str) -> bool:
        path = path.rstrip("/") or "/"
        return path == "/" or path in self.files or self.is_folder(path)

    def is_folder(self, path: str) -> bool:
        path = path.rstrip("/")
        # asked thousands of times: one search in a joined text takes a tenth of a look at each path
        return path in self.folders or f"\n{path}/" in "\n".join(("", *self.files, *self.folders))

    def read(self, path: str) -> str | None:
        """A file's text; None without such a file. The content of /proc and /sys is generated."""
        made = self._kernel_file(path)
        if made is not None:
            return made
        return self.files[path].text if path in self.files else None

    def write(self, path: str, text: str, mode: str = "", *, append: bool = False) -> None:
        old = self.files.get(path)
        self.files[path] = File((old.text if old and append else "") + text, mode or (old.mode if old else "644"))

    def remove(self, path: str) -> bool:
        """Remove a file, or a folder with everything in it; False if there was nothing."""
        path = path.rstrip("/")
        if not self.exists(path):
            return False
        doomed = [name for name in self.files if name == path or name.startswith(f"{path}/")]
        folders = [name for name in self.folders if name == path or name.startswith(f"{path}/")]
        for name in doomed:
            del self.files[name]
        self.folders = [name for name in self.folders if name not in folders]
        return bool(doomed or folders)

    def rename_folder(self, source: str, target: str) -> None:
        """Move a folder with everything in it to a path where nothing is."""

        def moved(name: str) -> str:
            return target + name[len(source) :] if name == source or name.startswith(f"{source}/") else name

        self.files = {moved(name): file for name, file in self.files.items()}
        self.folders = [moved(name) for name in self.folders]

    def make_folder(self, path: str) -> None:
        path = path.rstrip("/")
        if path and path not in self.folders:
            self.folders.append(path)

    def children(self, folder: str) -> list[str]:
        """The names directly under a folder, sorted."""
        prefix = folder.rstrip("/") + "/"
        return sorted(
            {name[len(prefix) :].split("/")[0] for name in (*self.files, *self.folders) if name.startswith(prefix)}
        )

    def glob(self, pattern: str) -> list[str]:
        folder, _, last = pattern.rpartition("/")
        if "*" in folder:
            return sorted(
                path
                for path in self.files
                if path.count("/") == pattern.count("/") and fnmatch.fnmatchcase(path, pattern)
            )
        return [f"{folder}/{name}" for name in self.children(folder) if fnmatch.fnmatchcase(name, last)]

    def inode(self, path: str) -> int:
        return int(hashlib.sha256(path.encode()).hexdigest()[:6], 16)

    def _kernel_file(self, path: str) -> str | None:
        if path == "/proc/swaps":
            return "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n" + "".join(f"{line}\n" for line in self.swaps)
        if path == "/proc/mounts":
            return "".join(
                f"{kind} {target} {kind} rw,relatime 0 0\n" for kind, target in map(str.split, self.all_mounts)
            )
        if path == "/etc/os-release":
            return "".join(f'{key}="{value}"\n' for key, value in self.release.items())
        if path == "/etc/machine-id":
            return f"{self.machine_id}\n"
        if path == f"/proc/{ETCD_PID}/root/usr/local/bin/etcdctl" and "etcd" in self.processes:
            return f"the program etcdctl {ETCD}\n"  # kubeadm's image has it, and lacks etcdutl
        if path == "/proc/1/stat":
            return f"1 (systemd) S{' 0' * 18} 21 0\n"
        if path == "/proc/sys/kernel/random/boot_id":
            return f"{self.boot_id}\n"
        return None

    @property
    def all_mounts(self) -> list[str]:
        """`kind target` of each mount under the kubelet's folder: every running pod's token, and mounts that others made."""
        own = [
            f"tmpfs /var/lib/kubelet/pods/{self.uid(pod)}/volumes/kubernetes.io~projected/kube-api-access"
            for pod in self.pods
            if pod.running
        ]
        volumes = [(pod, volume) for pod in self.pods if pod.running for volume in pod.volumes]
        own += [
            f"ext4 /var/lib/kubelet/pods/{self.uid(pod)}/volumes/kubernetes.io~local-volume/{volume}"
            for pod, volume in volumes
        ]
        return own + self.mounts

    def uid(self, pod: Pod) -> str:
        """A pod's uid; a static pod's is a sum of its manifest, without dashes."""
        text = hashlib.sha256(f"{self.machine_id}/{pod.namespace}/{pod.name}".encode()).hexdigest()
        if pod.labels.get("tier") == "control-plane":
            return text[:32]
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:32]}"

    # --- what runs

    def unit(self, name: str) -> Unit:
        return self.units.get(name.removesuffix(".service"), Unit())

    def active(self, name: str) -> bool:
        """Whether the unit really works: a kubelet without runtime, or without a configuration that it accepts, restarts for ever."""
        if not self.unit(name).active:
            return False
        if name != "kubelet":
            return True
        config = self.read("/var/lib/kubelet/config.yaml")
        modern = config is not None and "\nmaxPods: -" not in config and self.unit("containerd").active
        return modern or ("/etc/kubernetes/kubelet.conf" in self.files and self.unit("docker").active)

    def pod(self, app: str) -> Pod | None:
        """The first pod with the label app=`app`."""
        return next(
            (pod for pod in self.pods if pod.labels.get("app") == app or pod.labels.get("k8s-app") == app), None
        )

    @property
    def processes(self) -> list[str]:
        """Command names as ps shows them: at most 15 letters."""
        found = ["kubelet"] if self.active("kubelet") else []
        names = {
            "etcd": "etcd",
            "kube-apiserver": "kube-apiserver",
            "kube-controller-manager": "kube-controller",
            "kube-scheduler": "kube-scheduler",
            "kube-proxy": "kube-proxy",
            "flannel": "flanneld",
        }
        for pod in self.pods:
            component = pod.labels.get("component") or pod.labels.get("app") or pod.labels.get("k8s-app") or ""
            if pod.running and component in names:
                found.append(names[component])
        return found

    def reboot(self) -> None:
        """Reboot: /run is emptied, cni0 and flannel.1 disappear, enabled units start, and the kubelet starts the static pods."""
        self.boot_id = hashlib.sha256(self.boot_id.encode()).hexdigest()[:36]
        for path in [path for path in self.files if path.startswith(("/run/", "/tmp/")) and "systemd" not in path]:
            del self.files[path]
        for name in ("cni0", "flannel.1"):
            self.links.pop(name, None)
        self.runs, self.kubelet_runs = {}, self.packages.get("kubelet", "").partition("-")[0]
        for name, unit in self.units.items():
            unit.active = unit.enabled
            if name == "containerd" and unit.active:
                self.containerd_runs = self.packages.get("containerd.io", "")
                self.files["/run/containerd/containerd.sock"] = File("")
        self.rules = [rule for rule in self.rules if not any(mark in rule for mark in ("KUBE-", "FLANNEL-", "CNI-"))]
        for pod in self.pods:
            pod.running = pod.labels.get("tier") == "control-plane" and self.active("kubelet")
            pod.began = time.time() if pod.running else 0.0

    # --- to JSON and back

    def dump(self) -> dict[str, Any]:
        """The values, nested objects as plain dictionaries. Lists are shared with the machine, so write them out at once."""
        return vars(self) | {
            "units": {name: vars(unit) for name, unit in self.units.items()},
            "links": {name: vars(link) for name, link in self.links.items()},
            "pods": [vars(pod) for pod in self.pods],
        }

    @classmethod
    def load(cls, values: dict[str, Any]) -> Host:
        """The machine that `dump` saved; it shares no list with the values. Raises TypeError or KeyError for values from another version of
        this model."""
        files = {path: File(*entry) for path, entry in values["files"].items()}
        values = copied({name: value for name, value in values.items() if name != "files"})
        host = cls(**values, files=files)
        host.units = {name: Unit(**entry) for name, entry in values["units"].items()}
        host.links = {name: Link(**entry) for name, entry in values["links"].items()}
        host.pods = [Pod(**entry) for entry in values["pods"]]
        return host
