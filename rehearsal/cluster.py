"""The model of the control plane: members, tokens, applied objects, and how pods change as virtual time passes.

`Cluster` is what etcd holds.  `Settling` brings machines up to a moment: DaemonSet pods appear, images are pulled,
flannel makes its link, the first pod on the pod network makes cni0.  Nothing happens in the background: the model
catches up when a command looks at it, because nothing can see a difference earlier.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from . import certificates
from .host import Host, Link, Pod
from .store import copied

PULL = 6.0  # seconds to pull an image that the machine does not have
START = 2.0  # seconds for a container to start and become ready
CNI_SEEN = 2.0  # seconds between the CNI configuration appearing and the kubelet reporting Ready
CONFLIST = "/etc/cni/net.d/10-flannel.conflist"
SUBNET = "/run/flannel/subnet.env"
DATABASE = "/var/lib/etcd/member/snap/db"
WRONG_RANGE = ipaddress.ip_network("10.99.0.0/16")
FLANNEL_MTU, WRONG_MTU = 1450, 8951
KUBE_RULES = (
    '-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
    '-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD',
)
FLANNEL_RULES = (
    '-A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG',
    '-A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD',
)
# the bridge plugin writes this rule for a pod; reset must recognise it
CNI_RULE = r'-A POSTROUTING -m comment --comment "name: \"cbr0\" id: \"4f2c\"" -j CNI-0a1b2c3d4e5f60718293a4b5'

RESERVED = {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}  # kubeadm's taint

Object = dict[str, Any]
FaultOf = Callable[[Host, str], str | None]


@dataclass
class Member:
    """A Node object."""

    host: str
    address: str
    pod_cidr: str
    joined: float
    machine_id: str
    cordoned: bool = False
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    taints: list[dict[str, str]] = field(default_factory=list)


@dataclass
class Token:
    """A bootstrap token; `signed` is the virtual second at which the controller manager has signed cluster-info with it."""

    secret: str
    expires: float
    signed: float = 0.0


@dataclass
class Influx:
    """What InfluxDB holds; `failures` is how many more statements a fault refuses, `first` is the first pod that was ever asked.
    `points` are the metrics in k8s, in words, and `incoming` those in the database that a restore makes.

    `users` maps users to passwords (`kubefab` is the admin), `writers` may write to k8s.  `started` maps InfluxDB's pod, and
    each machine's Telegraf pod, to the login it started with: a pod does not see a Secret that changes later.
    """

    policies: dict[str, list[str]] = field(default_factory=dict)
    users: dict[str, str] = field(default_factory=dict)
    writers: list[str] = field(default_factory=list)
    started: dict[str, str] = field(default_factory=dict)
    default: str = ""
    database: bool = False
    failures: int = 0
    first: str = ""
    points: list[str] = field(default_factory=list)
    incoming: list[str] = field(default_factory=list)


@dataclass
class Cluster:
    """All that the control plane knows.

    `ready_at` is the virtual second from which its API answers, -1 without an API.  `skew` is the clock error in seconds at
    which the certificates were made.  `uid` is kube-system's; etcd's file holds it too, and `shelf` keeps the contents of etcds
    whose files were moved away, by uid.  `admins` is True if kubeadm's binding for admin.conf exists; an etcd that was emptied
    lacks it.  `configuration` is the ClusterConfiguration of ConfigMap kubeadm-config.
    """

    ready_at: float = -1.0
    skew: float = 0.0
    version: str = ""
    name: str = ""
    ca: str = ""
    endpoint: str = ""
    control: str = ""
    pod_cidr: str = "10.244.0.0/16"
    service_cidr: str = "10.96.0.0/12"
    generation: int = 0
    members: dict[str, Member] = field(default_factory=dict)
    tokens: dict[str, Token] = field(default_factory=dict)
    objects: dict[str, Object] = field(default_factory=dict)
    applied_at: dict[str, float] = field(default_factory=dict)
    influx: Influx = field(default_factory=Influx)
    pods_made: int = 0
    uid: str = ""
    admins: bool = True
    shelf: dict[str, dict[str, Any]] = field(default_factory=dict)
    configuration: str = ""

    def dump(self) -> dict[str, Any]:
        """The values, nested objects as plain dictionaries. They are shared with the cluster, so write them out at once."""
        return vars(self) | {
            "members": {name: vars(member) for name, member in self.members.items()},
            "tokens": {name: vars(token) for name, token in self.tokens.items()},
            "influx": vars(self.influx),
        }

    @classmethod
    def load(cls, values: dict[str, Any]) -> Cluster:
        """The cluster that `dump` saved; it shares no list with the values."""
        values = copied(values)
        cluster = cls(**values)
        cluster._fill(values)
        return cluster

    def _fill(self, values: dict[str, Any]) -> None:
        self.members = {name: Member(**entry) for name, entry in values["members"].items()}
        self.tokens = {name: Token(**entry) for name, entry in values["tokens"].items()}
        self.influx = Influx(**values["influx"])

    def begin(self, host: Host, salt: str) -> None:
        """Start a new, empty etcd."""
        digits = hashlib.sha256(f"{salt}{self.generation}".encode()).hexdigest()
        self.uid = f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:32]}"
        self.members, self.tokens, self.objects, self.applied_at, self.influx, self.admins = (
            {},
            {},
            {},
            {},
            Influx(),
            True,
        )
        host.write(DATABASE, f"{self.uid}\n", "600")
        self.touch()

    def shelve(self, uid: str) -> None:
        """etcd's folder now holds another etcd, `uid`: set the present contents aside and bring back that one's, if it had any."""
        kept = ("members", "tokens", "objects", "applied_at", "influx", "admins")
        self.shelf[self.uid] = {name: value for name, value in self.dump().items() if name in kept}
        there = self.shelf.pop(uid, None)
        if there is not None:
            self.objects, self.applied_at, self.uid, self.admins = (
                there["objects"],
                there["applied_at"],
                uid,
                there["admins"],
            )
            self._fill(there)
        self.touch()

    def restored(self, uid: str, held: dict[str, Any]) -> None:
        """etcd's data of the cluster `uid` were made again from a snapshot, which had `held` in it."""
        if uid != self.uid:
            self.shelf[uid] = held
        else:
            self.objects, self.applied_at, self.admins = held["objects"], held["applied_at"], held["admins"]
            points = self.influx.points  # in a folder of the machine, and not in etcd
            self._fill(held)
            self.influx.points = points
        self.touch()

    @property
    def exists(self) -> bool:
        return bool(self.control)

    def forget(self) -> None:
        """Remove the control plane and everything that etcd held."""
        fresh = Cluster(generation=self.generation + 1)
        vars(self).update(vars(fresh))

    def touch(self) -> None:
        """Record that something changed, so that it is saved."""
        self.generation += 1

    def pod_range(self, number: int) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
        """The pod range that the controller manager gives to the machine with that number."""
        return _nth(ipaddress.ip_network(self.pod_cidr), number)

    def apply(self, document: Object, now: float) -> str:
        """Server-side apply; returns "created", "unchanged" or "configured"."""
        metadata = document["metadata"]
        key = f"{document['kind']}/{metadata.get('namespace', '')}/{metadata['name']}"
        old = self.objects.get(key)
        uid = old["metadata"]["uid"] if old else f"{self.generation:08x}-0000"
        version = old["metadata"].get("resourceVersion", "1") if old else ""
        document = {**document, "metadata": {**metadata, "uid": uid, "resourceVersion": version}}
        if old and document["kind"] == "PersistentVolume":
            document["spec"] = {
                **document["spec"],
                "claimRef": {**old["spec"]["claimRef"], **document["spec"]["claimRef"]},
            }
        if old == document:
            return "unchanged"
        self.objects[key] = document
        self.applied_at[key] = now
        self.touch()
        document["metadata"]["resourceVersion"] = str(self.generation)
        return "created" if old is None else "configured"

    def workloads(self, kind: str) -> list[Object]:
        return [o for key, o in self.objects.items() if key.startswith(f"{kind}/")]

    def folders(self, document: Object) -> dict[str, str] | None:
        """The machine's folders that the workload's pods mount, by the name of their volume; None while a claim has no volume."""
        found = host_folders(document)
        for volume in document["spec"]["template"]["spec"].get("volumes", []):
            if "persistentVolumeClaim" in volume:
                claim = self.objects.get(
                    f"PersistentVolumeClaim/{document['metadata']['namespace']}/{volume['persistentVolumeClaim']['claimName']}"
                )
                disk = claim and self.objects.get(f"PersistentVolume//{claim['spec']['volumeName']}")
                if (
                    not claim
                    or not disk
                    or disk["spec"]["claimRef"].get("uid", claim["metadata"]["uid"]) != claim["metadata"]["uid"]
                ):
                    return None
                disk["spec"]["claimRef"]["uid"] = claim["metadata"]["uid"]
                found[claim["spec"]["volumeName"]] = disk["spec"]["local"]["path"]
        return found

    def secret(self, namespace: str, reference: Object) -> str | None:
        """The value that a secretKeyRef refers to; None if the Secret or its key is missing."""
        found = self.objects.get(f"Secret/{namespace}/{reference['name']}")
        return None if found is None else found["stringData"].get(reference["key"])


def key_of(document: Object) -> str:
    return f"{document['kind']}/{document['metadata'].get('namespace', '')}/{document['metadata']['name']}"


def images_of(document: Object) -> list[str]:
    spec = document["spec"]["template"]["spec"]
    return [c["image"] for c in (*spec.get("initContainers", ()), *spec["containers"])]


def fits(document: Object, host: Host, member: Member | None) -> bool:
    """Whether a workload's pods may run on that machine."""
    selector = document["spec"]["template"]["spec"].get("nodeSelector", {})
    if not host.control_plane:
        return RESERVED["key"] not in selector
    return tolerates_control_plane(document) or member is None or RESERVED not in member.taints


def host_folders(document: Object) -> dict[str, str]:
    """The machine's folders that must exist before such a pod starts and that remain after it, by the volume's name."""
    volumes = document["spec"]["template"]["spec"].get("volumes", [])
    return {v["name"]: v["hostPath"]["path"] for v in volumes if v.get("hostPath", {}).get("type") == "Directory"}


def variables(document: Object) -> dict[str, Any]:
    """A workload's environment variables: their values, or the source that each is read from."""
    spec = document["spec"]["template"]["spec"]
    containers = (*spec.get("initContainers", ()), *spec["containers"])
    return {v["name"]: v.get("value", v.get("valueFrom")) for c in containers for v in c.get("env", ())}


def asks_for_login(document: Object | None) -> bool:
    """Whether that InfluxDB refuses requests without a login."""
    return bool(document) and variables(document or {}).get("INFLUXDB_HTTP_AUTH_ENABLED") is not None


def tolerates_control_plane(document: Object) -> bool:
    tolerations = document["spec"]["template"]["spec"].get("tolerations", [])
    return any(t.get("operator") == "Exists" and t.get("key") in (None, RESERVED["key"]) for t in tolerations)


def builtin(kind: str, name: str, image: str, *, replicas: int = 1, host_network: bool = False) -> Object:
    """CoreDNS and kube-proxy, as kubeadm itself applies them."""
    return {
        "kind": kind,
        "metadata": {"name": name, "namespace": "kube-system", "labels": {"k8s-app": name}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"k8s-app": name}},
            "template": {
                "metadata": {"labels": {"k8s-app": name}},
                "spec": {
                    "hostNetwork": host_network,
                    "tolerations": [{"operator": "Exists"}],
                    "containers": [{"name": name, "image": image}],
                },
            },
        },
    }


class Settling:
    """Brings machines up to a moment. The simulation has one; callers hold the simulation's lock."""

    def __init__(self, cluster: Cluster, hosts: dict[str, Host], fault: FaultOf) -> None:
        self.cluster, self.hosts, self.fault = cluster, hosts, fault
        self._names: dict[str, str] = {}
        self._names_at = -1
        self._all_placed = -1  # the cluster's generation at which every pod had a machine

    def api_up(self, now: float) -> bool:
        """Whether the API answers: kubeadm initialised it, its static pods run, and the machine is on."""
        cluster = self.cluster
        if not cluster.exists or now < cluster.ready_at:
            return False
        host = self.hosts.get(cluster.control)
        if host is not None:
            self._etcd(host)
        return (
            host is not None
            and DATABASE in host.files
            and any(p.labels.get("component") == "kube-apiserver" and p.running for p in host.pods)
            and certificates.answers(host)
        )

    def _etcd(self, host: Host) -> None:
        """etcd serves what is in its folder; in an empty folder it starts with nothing."""
        cluster = self.cluster
        there = (host.read(DATABASE) or "").strip()
        runs = host.active("kubelet") and any(p.labels.get("component") == "etcd" and p.running for p in host.pods)
        if there == cluster.uid or not (there or runs):
            return
        name = next((name for name, member in cluster.members.items() if member.host == host.name), host.hostname)
        own = cluster.members.get(name)
        cluster.shelve(there)
        if not there:
            cluster.begin(host, cluster.ca)
            cluster.admins = False
            if own:
                cluster.members[name] = own

    def node_name(self, host: Host) -> str:
        """The name of this machine's Node object; empty without one."""
        if self._names_at != self.cluster.generation:
            self._names = {member.host: name for name, member in self.cluster.members.items()}
            self._names_at = self.cluster.generation
        return self._names.get(host.name, "")

    def member_of(self, host: Host) -> Member | None:
        return self.cluster.members.get(self.node_name(host))

    def _cordoned(self, host: Host) -> bool:
        member = self.member_of(host)
        return member is not None and member.cordoned

    def shown(self, host: Host, fault: str) -> Host:
        """The machine whose identity this one shows: itself, or with the fault the first other worker."""
        if self.fault(host, fault) is None:
            return host
        others = [other for other in self.hosts.values() if other is not host and not other.halted]
        return min(others, key=lambda other: (other.control_plane, other.number), default=host)

    def ready(self, host: Host, now: float) -> bool:
        """Whether the Node's Ready condition is True."""
        return (
            not host.halted
            and self.fault(host, "host-down") is None
            and host.active("kubelet")
            and CONFLIST in host.files
            and not host.cni_unread
            and now >= host.cni_at + CNI_SEEN
        )

    def look(self, host: Host, now: float) -> None:
        """Bring one machine up to `now`. The scheduler works first: it may give pods to this machine."""
        if self.cluster.exists and self._all_placed != self.cluster.generation:
            if self.unscheduled():
                self.everything(now)
            else:
                self._all_placed = self.cluster.generation
        self.machine(host, now)

    def everything(self, now: float) -> None:
        """Bring all members up to `now`, then schedule the pods without a machine, then bring the machines that got one up again."""
        if self.api_up(now):
            for host in self._member_hosts():
                self._pods_of(host, now)
        for name in self._schedule(now):
            self.machine(self.hosts[name], now)

    def machine(self, host: Host, now: float) -> None:
        """Bring one machine's own pods up to `now`."""
        if self.api_up(now):
            self._pods_of(host, now)

    def _pods_of(self, host: Host, now: float) -> None:
        member = self.member_of(host)
        if member is None or not host.active("kubelet"):
            return
        # a kubelet ends what its API does not know, as after a restore to an earlier state
        lost = ("DaemonSet/", "Deployment/")
        host.pods = [p for p in host.pods if not p.workload.startswith(lost) or p.workload in self.cluster.objects]
        for document in self.cluster.workloads("DaemonSet"):
            if not fits(document, host, member):
                continue
            key = key_of(document)
            created = max(self.cluster.applied_at[key], member.joined)
            if created <= now and not any(p.workload == key for p in host.pods):
                host.pods.append(self.new_pod(host, document, created))
        for pod in sorted(host.pods, key=lambda p: not p.host_network):
            if not pod.running and not self.stays_down(host, pod):
                self._start(host, pod, now)

    def stays_down(self, host: Host, pod: Pod) -> bool:
        """Whether a fault keeps this static pod from starting."""
        return pod.labels.get("component") == "etcd" and self.fault(host, "etcd-stays-down") is not None

    def unscheduled(self) -> list[tuple[Object, str]]:
        """The Deployments that lack pods, repeated for each missing pod."""
        wanted = {key_of(document): document for document in self.cluster.workloads("Deployment")}
        have = Counter(p.workload for host in self._member_hosts() for p in host.pods if p.workload in wanted)
        return [
            (document, key)
            for key, document in wanted.items()
            for _ in range(document["spec"].get("replicas", 1) - have[key])
        ]

    def _member_hosts(self) -> list[Host]:
        return [self.hosts[m.host] for m in self.cluster.members.values()]

    def _schedule(self, now: float) -> set[str]:
        """Give each pod of a Deployment the first Ready machine that may run it; returns the machines that got one."""
        placed: set[str] = set()
        for document, key in self.unscheduled():
            fit = [
                host
                for host in self._member_hosts()
                if self.ready(host, now) and not self._cordoned(host) and fits(document, host, self.member_of(host))
            ]
            if fit:
                host = min(fit, key=lambda h: (h.cni_at, h.number))
                created = max(self.cluster.applied_at[key], host.cni_at + CNI_SEEN)
                host.pods.append(self.new_pod(host, document, created))
                placed.add(host.name)
        return placed

    def replace(self, host: Host, pod: Pod, now: float) -> None:
        """Delete a pod; its controller makes another one at once."""
        host.pods.remove(pod)
        document = self.cluster.objects.get(pod.workload)
        if document and document["kind"] == "DaemonSet":
            host.pods.append(self.new_pod(host, document, now))
        elif document:
            self.cluster.applied_at[pod.workload] = now  # the next look schedules its replacement
            self.cluster.touch()

    def new_pod(self, host: Host, document: Object, created: float) -> Pod:
        """A new pod of a workload, not started yet."""
        key = key_of(document)
        self.cluster.pods_made += 1
        self.cluster.touch()
        metadata = document["metadata"]
        spec = document["spec"]["template"]["spec"]
        letters = "bcdfghjklmnpqrstvwxz2456789"
        number, suffix = self.cluster.pods_made * 7919 + 104729, ""
        for _ in range(5):
            number, digit = divmod(number, len(letters))
            suffix += letters[digit]
        middle = "" if document["kind"] == "DaemonSet" else f"-{(len(key) * 40503) % 0xFFFFF:x}{len(key)}"
        return Pod(
            name=f"{metadata['name']}{middle}-{suffix}",
            namespace=metadata.get("namespace", "default"),
            workload=key,
            labels=dict(document["spec"]["template"]["metadata"]["labels"]),
            images=images_of(document),
            host_network=bool(spec.get("hostNetwork")),
            created=created,
            kubelet_restarts=host.kubelet_restarts,
        )

    def _start(self, host: Host, pod: Pod, now: float) -> None:
        begins = pod.created
        document = self.cluster.objects.get(pod.workload)
        folders = self.cluster.folders(document) if document else {}
        if folders is None or not all(map(host.exists, folders.values())):
            pod.trouble = (
                "ContainerCreating: MountVolume.SetUp failed: path does not exist"
                if folders
                else "Pending: unbound claim"
            )
            return
        if document and not self._secrets(document):
            pod.trouble = "CreateContainerConfigError: secret not found"
            return
        if not pod.host_network:
            if CONFLIST not in host.files:
                pod.trouble = "no CNI configuration"
                return
            begins = max(begins, host.cni_at)
        missing = [image for image in dict.fromkeys(pod.images) if not host.holds(image)]
        ready = begins + START + PULL * len(missing)
        if self.fault(host, "disk-full") is not None and missing:
            pod.trouble = "ImagePullBackOff: no space left on device"
            return
        if ready > now:
            return
        if not all(host.pull(image) for image in missing):
            pod.trouble = "ImagePullBackOff: not found"
            return
        if pod.workload.endswith("/kube-flannel-ds"):
            if not self._flannel(host, pod, ready):
                return
        elif not pod.host_network and not self._bridge(host, pod):
            return
        elif pod.labels.get("k8s-app") == "kube-proxy":
            _add(host.rules, KUBE_RULES)
        if document and pod.namespace == "monitoring":
            pod.volumes = list(folders.keys() - host_folders(document).keys())
            self._logins(document, host)
        pod.running, pod.since, pod.trouble = True, ready, ""
        certificates.begin(host, pod)

    def _secrets(self, document: Object) -> bool:
        """Whether every Secret that its environment variables read exists."""
        namespace = document["metadata"].get("namespace", "")
        wanted = [
            v["secretKeyRef"] for v in variables(document).values() if isinstance(v, dict) and "secretKeyRef" in v
        ]
        return all(one.get("optional") or self.cluster.secret(namespace, one) is not None for one in wanted)

    def _logins(self, document: Object, host: Host) -> None:
        """Note the login that a pod of InfluxDB or Telegraf starts with. InfluxDB's init container creates the Secret's users first.

        It makes no database: here A3 always does, as with a Secret that has no policy.
        """
        influx, given = self.cluster.influx, variables(document)
        from_secret = {
            name: v["secretKeyRef"] for name, v in given.items() if isinstance(v, dict) and "secretKeyRef" in v
        }
        values = {name: self.cluster.secret("monitoring", reference) or "" for name, reference in from_secret.items()}
        if document["metadata"]["name"] == "telegraf":
            influx.started[host.name] = values.get("INFLUXDB_PASSWORD", "")
        elif document["metadata"]["name"] == "monitoring-influxdb":
            influx.started[""] = values.get("INFLUX_PASSWORD", "")
            if "ADMIN" in values:
                influx.users |= {"kubefab": values["ADMIN"], "telegraf": values["TELEGRAF"]}
        self.cluster.touch()

    def _flannel(self, host: Host, pod: Pod, at: float) -> bool:
        """flanneld starts: it makes its link and subnet.env; the manifest decides whether the CNI configuration comes before or after."""
        document = self.cluster.objects[pod.workload]
        before = "10-flannel.conflist" in str(document["spec"]["template"]["spec"].get("initContainers", ""))
        if before:
            self._configure_cni(host, at)
        if self.fault(host, "flannel-missing") is not None:
            pod.trouble = "CrashLoopBackOff"
            return False
        if self.fault(host, "flannel-after-restart") is not None and host.kubelet_restarts <= pod.kubelet_restarts:
            pod.trouble = "waiting for the kubelet"
            return False
        member = self.member_of(host)
        subnet = ipaddress.ip_network(member.pod_cidr if member else "10.0.0.0/24")
        network = ipaddress.ip_network(self.cluster.pod_cidr)
        if self.fault(host, "flannel-wrong-range") is not None:
            network, subnet = WRONG_RANGE, _nth(WRONG_RANGE, host.number % 256)
        mtu = WRONG_MTU if self.fault(host, "wrong-mtu") is not None else FLANNEL_MTU
        host.write(
            SUBNET,
            f"FLANNEL_NETWORK={network}\nFLANNEL_SUBNET={subnet[1]}/{subnet.prefixlen}\nFLANNEL_MTU={mtu}\nFLANNEL_IPMASQ=true\n",
        )
        host.links["flannel.1"] = Link([f"{subnet[0]}/32"], mtu)
        _add(host.rules, FLANNEL_RULES)
        self._configure_cni(host, at)
        return True

    def _configure_cni(self, host: Host, at: float) -> None:
        if CONFLIST not in host.files:
            host.write(
                CONFLIST,
                '{"name": "cbr0", "cniVersion": "0.3.1", "plugins": [{"type": "flannel"}, {"type": "portmap"}]}\n',
            )
            host.cni_at = at
            host.cni_unread = self.fault(host, "cni-unread") is not None

    def _bridge(self, host: Host, pod: Pod) -> bool:
        """The flannel CNI plugin sets up its first pod, which makes cni0; False if it cannot."""
        subnet = host.read(SUBNET)
        if subnet is None:
            pod.trouble = f"failed to load flannel 'subnet.env' file: open {SUBNET}: no such file or directory"
            return False
        values = dict(line.split("=", 1) for line in subnet.splitlines())
        address = values["FLANNEL_SUBNET"]
        old = host.links.get("cni0")
        if old and address not in old.addresses:
            pod.trouble = f'failed to set bridge addr: "cni0" already has an IP address different from {address}'
            return False
        host.links["cni0"] = Link([address], int(values["FLANNEL_MTU"]))
        host.write(f"/var/lib/cni/flannel/{host.uid(pod)}", '{"cniVersion":"0.3.1"}\n', "600")
        host.write("/var/lib/cni/networks/cbr0/last_reserved_ip.0", address.split("/")[0] + "\n")
        host.write(f"/var/lib/cni/results/cbr0-{host.uid(pod)}-eth0", "{}\n", "600")
        _add(host.rules, (CNI_RULE,))
        return True


def _nth(
    network: ipaddress.IPv4Network | ipaddress.IPv6Network, number: int
) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """The number-th /24 (or /64) of a network, without listing the ones before it."""
    prefix = max(24 if network.version == 4 else 64, network.prefixlen)
    step = 1 << ((32 if network.version == 4 else 128) - prefix)
    base = int(network.network_address) + number * step
    return (
        ipaddress.ip_network(f"{ipaddress.ip_address(base)}/{prefix}")
        if network.version == 4
        else ipaddress.ip_network((base, prefix))
    )


def _add(rules: list[str], new: Iterable[str]) -> None:
    for rule in new:
        if rule not in rules:
            rules.append(rule)
