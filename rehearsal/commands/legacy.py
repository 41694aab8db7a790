"""The programs that only the manual's commands (Kubernetes 1.5, docker) call, as they behaved in early 2017.

kubeadm was 1.6.0-alpha.0.2074: flags instead of files, tokens that do not expire, discovery on TCP 9898, docker for
containers.  These packages and manifests are no longer on the web; the model still accepts them.
"""

from __future__ import annotations

import json

from ..bash import Call
from ..cluster import RESERVED, Member, Object, Token, builtin
from ..host import Link, Pod
from ..machine import Machine
from . import program, unmodelled
from .pki import COMPONENTS, certificate, write_control_plane
from .runtime import sandbox

KUBEADM = "1.6.0-alpha.0-2074-a092d8e0f95f52-00"
PACKAGES = {"kubelet": "1.5.3-00", "kubectl": "1.5.3-00", "kubeadm": KUBEADM, "kubernetes-cni": "0.3.0.1-07a8a2-00"}
FOREVER = 3600.0  # virtual seconds after which the model treats "for ever" as over


def has_kubeadm_of_2017(machine: Machine) -> bool:
    """Whether this machine has the kubeadm of 2017."""
    return machine.host.packages.get("kubeadm") == KUBEADM


@program("apt-key")
def apt_key(machine: Machine, call: Call) -> int:
    if call.argv[1:] != ["add", "-"]:
        raise unmodelled(call)
    if "BEGIN PGP" not in call.input():
        return call.fail("gpg: no valid OpenPGP data found.", 2)
    machine.host.write("/etc/apt/trusted.gpg", "key\n")
    call.out("OK\n")
    return 0


@program("docker")
def docker(machine: Machine, call: Call) -> int:
    host = machine.host
    if not host.unit("docker").active:
        return call.fail("Cannot connect to the Docker daemon. Is the docker daemon running on this host?")
    match call.argv[1:]:
        case ["ps", flags] if "q" in flags:
            call.out("".join(f"{name}\n" for name in (*(sandbox(host, pod) for pod in host.pods), *host.containers)))
        case ["ps", "--format", "{{.Names}}"]:
            call.out("".join(f"{name}\n" for name in (*(f"k8s_POD_{pod.name}" for pod in host.pods), *host.containers)))
        case ["stop", *words]:
            host.containers = [name for name in host.containers if name not in words]
        case ["images", flags] if "q" in flags:
            call.out("".join(f"{image}\n" for image in host.images))
        case ["ps" | "images" | "info" | "version", *_]:
            call.out("\n")
        case ["rm" | "rmi" as verb, *words]:
            names = [word for word in words if not word.startswith("-")]
            if not names:
                return call.fail(f'"docker {verb}" requires at least 1 argument(s).')
            if verb == "rm":
                host.pods = [pod for pod in host.pods if sandbox(host, pod) not in names]
                machine.cluster.touch()
            else:
                host.images = [image for image in host.images if image not in names]
        case ["pull", image]:
            host.images.append(image)
        case _:
            raise unmodelled(call)
    return 0


@program("service")
def service(machine: Machine, call: Call) -> int:
    return call.shell.dispatch(Call(["systemctl", call.argv[2], call.argv[1]], call.streams, call.shell))


@program("reboot")
def reboot(machine: Machine, call: Call) -> int:
    machine.host.reboot()
    machine.host.clock += 45
    return 0


def kubeadm(machine: Machine, call: Call, words: list[str], options: dict[str, str]) -> int:
    """`init`, `join` and `reset` of the kubeadm of 2017."""
    match words:
        case ["init"]:
            return _init(machine, call, options)
        case ["join", address]:
            return _join(machine, call, options, address)
        case ["reset"]:
            return _reset(machine, call)
        case ["token", "generate"]:
            call.out("0123ab.0123456789abcdef\n")
            return 0
    raise unmodelled(call)


def _preflight(machine: Machine, call: Call) -> int:
    host = machine.host
    call.out(
        "[kubeadm] WARNING: kubeadm is in alpha, please do not use it for production clusters.\n[preflight] Running pre-flight checks\n"
    )
    faults = []
    if not host.unit("docker").active:
        faults.append("docker service is not active, please run 'systemctl start docker.service'")
    if not host.unit("kubelet").active:
        faults.append("kubelet service is not active, please run 'systemctl start kubelet.service'")
    if host.exists("/etc/kubernetes/kubelet.conf"):
        faults.append("/etc/kubernetes/kubelet.conf already exists")
    if host.children("/var/lib/kubelet"):
        faults.append("/var/lib/kubelet is not empty")
    if not faults:
        return 0
    return call.fail("[preflight] Some fatal errors occurred:\n" + "".join(f"\t{fault}\n" for fault in faults), 2)


def _init(machine: Machine, call: Call, options: dict[str, str]) -> int:
    host, cluster = machine.host, machine.cluster
    code = _preflight(machine, call)
    if code:
        return code
    name, _, secret = options.get("--token", "0123ab.0123456789abcdef").partition(".")
    address = options.get("--api-advertise-addresses", host.address).split(",")[0]
    machine.spend(15, "init certs")
    ca = certificate(f"{machine.seed}/{host.machine_id}/{host.clock}")
    write_control_plane(host, ca, f"{address}:6443", "kubernetes", "1.5.3")
    for later in ("super-admin", "controller-manager", "scheduler"):
        host.remove(f"/etc/kubernetes/{later}.conf")
    host.write("/etc/kubernetes/pki/tokens.csv", f"{secret},kubeadm-node-csr,uuid,system:kubelet-bootstrap\n", "600")
    call.out(
        f'[tokens] Token used: "{name}.{secret}"\n[certificates] Generated Certificate Authority key and certificate.\n'
    )
    if machine.fault("init-hangs") is not None:
        host.clock += FOREVER
        return call.fail("[apiclient] Created API client, waiting for the control plane to become ready", 124)
    for component in COMPONENTS:
        pod = Pod(
            f"{component}-{host.hostname}",
            "kube-system",
            f"Node//{host.hostname}",
            {"component": component, "tier": "control-plane"},
            [f"gcr.io/google_containers/{component}-amd64:v1.5.3"],
            True,
            host.clock,
            running=True,
            since=host.clock,
        )
        host.pods.append(pod)
    machine.spend(40, "init wait")
    cluster.ready_at, cluster.version, cluster.ca, cluster.control = host.clock, "1.5.3", ca, host.name
    cluster.endpoint = f"{address}:6443"
    cluster.pod_cidr = options.get("--pod-network-cidr", "10.244.0.0/16")
    cluster.begin(host, ca)
    cluster.tokens = {name: Token(secret, float("inf"))}
    _enrol(machine)
    cluster.apply(
        builtin("DaemonSet", "kube-proxy", "gcr.io/google_containers/kube-proxy-amd64:v1.5.3", host_network=True),
        host.clock,
    )
    cluster.apply(builtin("Deployment", "kube-dns", "gcr.io/google_containers/kubedns-amd64:1.9"), host.clock)
    call.out(
        "Your Kubernetes master has initialized successfully!\n\nYou can now join any number of machines by running the following on "
    )
    call.out(f"each node:\n\nkubeadm join --token={name}.{secret} {address}\n")
    return 0


def _enrol(machine: Machine) -> None:
    host, cluster = machine.host, machine.cluster
    cluster.members[machine.hostname] = Member(
        host.name, host.address, str(cluster.pod_range(host.number)), host.clock, host.machine_id,
        taints=[RESERVED] if host.control_plane else [],
    )  # fmt: skip
    cluster.touch()


def _join(machine: Machine, call: Call, options: dict[str, str], address: str) -> int:
    host, cluster = machine.host, machine.cluster
    code = _preflight(machine, call)
    if code:
        return code
    name, _, secret = options.get("--token", ".").partition(".")
    token = cluster.tokens.get(name)
    if not machine.api_up or token is None or token.secret != secret or address != cluster.endpoint.split(":")[0]:
        host.clock += FOREVER
        return call.fail(
            f'[discovery] Failed to request cluster info, will try again: Get "http://{address}:9898/cluster-info/v1/?token-id={name}"',
            124,
        )
    machine.spend(10, "join")
    host.write("/etc/kubernetes/kubelet.conf", "apiVersion: v1\nkind: Config\n", "600")
    host.write("/etc/kubernetes/pki/ca.pem", cluster.ca)
    _enrol(machine)
    call.out("Node join complete:\n* Certificate signing request sent to master and response\n  received.\n")
    return 0


def _reset(machine: Machine, call: Call) -> int:
    """Reset: it stops the kubelet and leaves CNI files, links and rules."""
    host, cluster = machine.host, machine.cluster
    machine.spend(5, "kubeadm reset")
    if "kubelet" in host.units:
        host.units["kubelet"].active = False
    host.pods.clear()
    for path in (
        "/etc/kubernetes/manifests",
        "/etc/kubernetes/pki",
        "/etc/kubernetes/admin.conf",
        "/etc/kubernetes/kubelet.conf",
        "/var/lib/etcd",
    ):
        host.remove(path)
    for name in host.children("/var/lib/kubelet"):
        host.remove(f"/var/lib/kubelet/{name}")
    if cluster.control == host.name:
        cluster.forget()
    cluster.touch()
    call.out(
        "[preflight] Running pre-flight checks\n[reset] Stopping the kubelet service\n[reset] Removing kubernetes-managed containers\n"
    )
    return 0


def bridge(machine: Machine) -> None:
    """Make docker's own link, as docker does whenever it starts."""
    machine.host.links.setdefault("docker0", Link(["172.17.0.1/16"], 1500)).up = True


def documents_of(url: str, machine: Machine) -> list[Object]:
    """The manual's manifests, by their web address: the parts that the model can show."""
    kind = url.split("?")[0].rsplit("/", 1)[-1]
    if kind == "flannel":
        network = url.partition("network=")[2] or machine.cluster.pod_cidr
        flannel = _workload(
            "DaemonSet", "kube-flannel-ds", "flannel", "quay.io/coreos/flannel-git:v0.6.1", host_network=True
        )
        config = {
            "kind": "ConfigMap",
            "metadata": {"name": "kube-flannel-cfg", "namespace": "kube-system"},
            "data": {"net-conf.json": json.dumps({"Network": network})},
        }
        return [config, flannel]
    if kind == "dashboard":
        return [
            _workload(
                "Deployment",
                "kubernetes-dashboard",
                "kubernetes-dashboard",
                "gcr.io/google_containers/kubernetes-dashboard-amd64:v1.5.1",
            )
        ]
    if kind == "monitoring":
        return [
            _workload("Deployment", "monitoring-influxdb", "influxdb", "kubernetes/heapster_influxdb:v1.1.1"),
            _workload("Deployment", "heapster", "heapster", "kubernetes/heapster:canary"),
        ]
    return []


def _workload(kind: str, name: str, app: str, image: str, *, host_network: bool = False) -> Object:
    document = builtin(kind, name, image, host_network=host_network)
    labels = {"app": app, "k8s-app": app}
    document["metadata"]["labels"] = labels
    document["spec"]["template"]["metadata"]["labels"] = dict(labels)
    if kind == "Deployment":
        del document["spec"]["template"]["spec"]["tolerations"]
    return document
