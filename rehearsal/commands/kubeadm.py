"""kubeadm: init, join, reset and tokens, and what each leaves on the machine when it succeeds and when it fails."""

from __future__ import annotations

import re
import time
from typing import Any

from fabfile.inventory import components
from fabfile.nodes.facts import COMPONENT_MAPS
from fabfile.text.yamls import dumped

from .. import certificates
from ..bash import Call
from ..cluster import RESERVED, Member, Token, builtin
from ..documents import documents
from ..host import Host, Link
from ..machine import Halted, Machine
from ..values import split_options
from . import legacy, program, unmodelled, upgrades
from .pki import COMPONENTS, ca_hash, certificate, image_of, kubeconfig, static_pod, write_control_plane

HEALTH = 240.0  # seconds that kubeadm waits for kubelet and control plane (controlPlaneComponentHealthCheck)
DNS = "registry.k8s.io/coredns/coredns:v1.13.1"
_RESET_NOTE = (
    "The reset process does not perform cleanup of CNI plugin configuration,\n"
    "network filtering rules and kubeconfig files.\n\nFor information on how to perform this cleanup manually, please see:\n"
    "    https://k8s.io/docs/reference/setup-tools/kubeadm/kubeadm-reset/\n\n"
)


@program("kubeadm")
def kubeadm(machine: Machine, call: Call) -> int:
    words, options = split_options(call.argv[1:], _VALUED)
    if legacy.has_kubeadm_of_2017(machine):
        return legacy.kubeadm(machine, call, words, options)
    match words:
        case ["init", "phase", "preflight"]:
            machine.spend(1, "preflight")
            return _preflight(machine, call, options, joins=False)
        case ["init", "phase", "upload-config", "kubeadm"]:
            if not machine.api_up:
                return _no_api(machine, call)
            machine.cluster.configuration = dumped(_documents(machine, options)["ClusterConfiguration"])
            machine.cluster.touch()
            return 0
        case ["upgrade", "node", "phase", "kubelet-config"]:
            return _kubelet_config(machine, call)
        case ["init", "phase", "certs", "apiserver"]:
            return _api_certificate(machine, call, _documents(machine, options)["ClusterConfiguration"])
        case ["init", "phase", "kubelet-finalize", "enable-client-cert-rotation"]:
            if certificates.of_file(machine.host, certificates.KUBELET):
                text = machine.host.read("/etc/kubernetes/kubelet.conf") or ""
                named = re.sub(r"client-(certificate|key)-data: \S+", rf"client-\1: {certificates.KUBELET}", text)
                machine.host.write("/etc/kubernetes/kubelet.conf", named)
            return 0
        case ["certs", "renew", name] if name in certificates.RENEWED:
            return _renew(machine, call, name)
        case ["certs", "check-expiration"]:
            return _expiration(machine, call)
        case ["kubeconfig", "user"]:
            return _user(machine, call, options)
        case ["upgrade", "apply"]:
            return upgrades.apply(machine, call)
        case ["upgrade", "node"]:
            return upgrades.node(machine, call)
        case ["init", *_]:
            return _init(machine, call, options)
        case ["join", *_]:
            return _join(machine, call, options)
        case ["reset", *_]:
            return reset(machine, call, options)
        case ["token", "create", *_]:
            return _token_create(machine, call, options)
        case ["token", "delete", name]:
            if not machine.api_up:
                return _no_api(machine, call)
            machine.cluster.tokens.pop(name.split(".")[0], None)
            machine.cluster.touch()
            call.out(f'bootstrap token "{name.split(".")[0]}" deleted\n')
            return 0
        case ["token", "list", *_]:
            if not machine.api_up:
                return _no_api(machine, call)
            for name, token in machine.cluster.tokens.items():
                call.out(f"{name}.{token.secret}   {max(0, int(token.expires - machine.now))}s\n")
            return 0
        case ["version", *_]:
            call.out(f"v{machine.host.packages['kubeadm'].split('-')[0]}\n")
            return 0
        case ["config", "images", "pull"]:
            machine.spend(20, "kubeadm pull")
            return 0
        case ["config", "images", "list"]:
            version = options["--kubernetes-version"].removeprefix("v")
            pause = "3.10.1" if version.startswith("1.35.") else "3.10.2"
            names = [
                f"registry.k8s.io/{component}:v{version}"
                for component in (*COMPONENTS, "kube-proxy")
                if component != "etcd"
            ]
            call.out(
                "".join(
                    f"{name}\n" for name in (*names, DNS, f"registry.k8s.io/pause:{pause}", image_of("etcd", version))
                )
            )
            return 0
        case ["config", "validate", *_]:
            return 0
    raise unmodelled(call)


_VALUED = (
    "--org",
    "--client-name",
    "--config",
    "--cri-socket",
    "--kubernetes-version",
    "-o",
    "--skip-phases",
    "--ttl",
    "--token",
)


def _renew(machine: Machine, call: Call, name: str) -> int:
    path, _ = certificates.RENEWED[name]
    machine.spend(0.3, f"renew {name}")
    if not certificates.of_file(machine.host, path):
        call.out(f"MISSING! {name}\n")
        return 0
    if not certificates.issue(machine.host, name, _date(machine)):
        call.out(f"Detected external CA, certificate {name} can't be renewed\n")
        return 0
    call.out(f"certificate {name} renewed\n")
    return 0


def _date(machine: Machine) -> float:
    return time.time() + machine.skew


def _expiration(machine: Machine, call: Call) -> int:
    call.out(
        "CERTIFICATE                EXPIRES                  RESIDUAL TIME   CERTIFICATE AUTHORITY   EXTERNALLY MANAGED\n"
    )
    for name, (path, number) in certificates.RENEWED.items():
        ends = certificates.dates(certificates.of_file(machine.host, path))[1]
        left = max(0.0, ends - _date(machine)) // 86400
        when = time.strftime("%b %d, %Y %H:%M UTC", time.gmtime(ends))
        above = ("ca", "etcd-ca", "front-proxy-ca")[number]
        external = "no" if certificates.seed(machine.host, certificates.AUTHORITIES[number]) else "yes"
        call.out(f"{name:<26} {when:<24} {left:.0f}d            {above:<23} {external}\n")
    return 0


def _api_certificate(machine: Machine, call: Call, config: dict[str, Any]) -> int:
    """`init phase certs apiserver`: a certificate that is there and valid is used, whatever its names are."""
    host, folder = machine.host, str(config.get("certificatesDir", certificates.PKI))
    if not host.exists(f"{folder}/ca.key") or not host.exists(f"{folder}/ca.crt"):
        return call.fail("error execution phase certs/apiserver: failed to load CA certificate")
    if host.exists(f"{folder}/apiserver.crt"):
        call.out("[certs] Using existing apiserver certificate and key on disk\n")
        return 0
    names = _alternatives(machine, config)
    certificates.issue(host, "apiserver", _date(machine), names, into=folder)
    call.out('[certs] Generating "apiserver" certificate and key\n')
    return 0


def _alternatives(machine: Machine, config: dict[str, Any]) -> list[str]:
    own = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", machine.hostname, machine.host.address]
    return list(dict.fromkeys([*own, *config.get("apiServer", {}).get("certSANs", ())]))


def _user(machine: Machine, call: Call, options: dict[str, str]) -> int:
    host, config = machine.host, _documents(machine, options).get("ClusterConfiguration", {})
    if not certificates.seed(host, certificates.AUTHORITIES[0]):
        return call.fail("failed to load the CA's key")
    endpoint = str(config.get("controlPlaneEndpoint", f"{host.address}:{machine.settings.api_port}"))
    name = options["--client-name"]
    pem = certificates.kubelets(host, name.removeprefix("system:node:"), _date(machine))
    call.out(
        certificates.embedded(
            kubeconfig(host.read("/etc/kubernetes/pki/ca.crt") or "", endpoint, "kubernetes", name), pem
        )
    )
    return 0


def _documents(machine: Machine, options: dict[str, str]) -> dict[str, Any]:
    """The documents of the --config file, by kind."""
    text = machine.host.read(options.get("--config", "")) or ""
    return {document["kind"]: document for document in documents(text)}


def _no_api(machine: Machine, call: Call) -> int:
    endpoint = machine.cluster.endpoint or f"{machine.host.address}:{machine.settings.api_port}"
    return call.fail(f"The connection to the server {endpoint} was refused - did you specify the right host or port?")


def _preflight(machine: Machine, call: Call, options: dict[str, str], *, joins: bool) -> int:
    """kubeadm's own checks; exit code 2 if one fails, as in the real kubeadm."""
    host = machine.host
    passed = {name.lower() for name in options.get("--ignore-preflight-errors", "").split(",")}
    faults: list[tuple[str, str]] = []
    if host.cpus < 2 and not joins:
        faults.append(("NumCPU", f"the number of available CPUs {host.cpus} is less than the required 2"))
    if host.memory_kib < 1700 * 1024 and not joins:
        faults.append(("Mem", f"the system RAM ({host.memory_kib // 1024} MB) is less than the minimum 1700 MB"))
    if not host.unit("containerd").active or not host.cri:
        faults.append(
            (
                "CRI",
                "container runtime is not running: output: validate service connection: CRI v1 runtime API is not implemented",
            )
        )
    if host.sysctls.get("net.ipv4.ip_forward") != "1":
        faults.append(
            ("FileContent--proc-sys-net-ipv4-ip_forward", "/proc/sys/net/ipv4/ip_forward contents are not set to 1")
        )
    if host.exists("/etc/kubernetes/kubelet.conf"):
        faults.append(("FileAvailable--etc-kubernetes-kubelet.conf", "/etc/kubernetes/kubelet.conf already exists"))
    if host.exists("/etc/kubernetes/pki/ca.crt") and joins:
        faults.append(("FileAvailable--etc-kubernetes-pki-ca.crt", "/etc/kubernetes/pki/ca.crt already exists"))
    for component in COMPONENTS:
        if not joins and host.exists(f"/etc/kubernetes/manifests/{component}.yaml"):
            faults.append(
                (
                    f"FileAvailable--etc-kubernetes-manifests-{component}.yaml",
                    f"/etc/kubernetes/manifests/{component}.yaml already exists",
                )
            )
    if not joins and host.children("/var/lib/etcd"):
        faults.append(("DirAvailable--var-lib-etcd", "/var/lib/etcd is not empty"))
    faults = [fault for fault in faults if fault[0].lower() not in passed]
    call.out("[preflight] Running pre-flight checks\n")
    if not faults:
        return 0
    call.err("error execution phase preflight: [preflight] Some fatal errors occurred:\n")
    call.err("".join(f"\t[ERROR {name}]: {text}\n" for name, text in faults))
    call.err(
        "[preflight] If you know what you are doing, you can make a check non-fatal with `--ignore-preflight-errors=...`\n"
    )
    return 2


def _init(machine: Machine, call: Call, options: dict[str, str]) -> int:
    host = machine.host
    documents = _documents(machine, options)
    init, config = documents.get("InitConfiguration", {}), documents.get("ClusterConfiguration", {})
    version = str(config.get("kubernetesVersion", options.get("--kubernetes-version", "v0"))).removeprefix("v")
    call.out(f"[init] Using Kubernetes version: v{version}\n")
    checked = "preflight" in options.get("--skip-phases", "").split(",")
    if code := 0 if checked else _preflight(machine, call, options, joins=False):
        machine.spend(1, "preflight")
        return code
    endpoint = str(config.get("controlPlaneEndpoint", f"{host.address}:{machine.settings.api_port}"))
    advertise = init.get("localAPIEndpoint", {}).get("advertiseAddress", host.address)
    machine.spend(8, "init certs")
    call.out('[certs] Generating "ca" certificate and key\n[kubeconfig] Writing "admin.conf" kubeconfig file\n')
    seed = f"{machine.seed}/{host.machine_id}/{host.clock}"
    ca = certificate(seed)
    name = str(config.get("clusterName", "kubernetes"))
    networking = config.get("networking", {})
    services = str(networking.get("serviceSubnet", "10.96.0.0/12"))
    bind = str(init.get("localAPIEndpoint", {}).get("bindPort", 6443))
    flags = {
        "kube-apiserver": {
            "advertise-address": str(advertise),
            "secure-port": bind,
            "service-cluster-ip-range": services,
        },
        "kube-controller-manager": {"cluster-cidr": str(networking["podSubnet"])} if "podSubnet" in networking else {},
    }
    write_control_plane(host, ca, endpoint, name, version, flags)
    certificates.lay(host, seed, _date(machine), _alternatives(machine, config))
    machine.cluster.configuration = dumped(config)
    kubelet = _component("kubelet", documents.get("KubeletConfiguration", {}))
    _kubelet_files(host, host, machine.hostname, _filled(kubelet, config))
    host.units["kubelet"].active, host.kubelet_runs = True, host.packages["kubelet"].partition("-")[0]
    if machine.fault("init-hangs") is not None or host.swaps or not _has_address(host, str(advertise)):
        host.clock += HEALTH
        call.out(
            "[kubelet-check] Waiting for a healthy kubelet at http://127.0.0.1:10248/healthz. This can take up to 4m0s\n"
        )
        if host.swaps:
            host.units["kubelet"].active = False
            return call.fail(
                "error execution phase wait-control-plane: failed while waiting for the kubelet to start: The HTTP call equal to "
                "'curl -sSL http://127.0.0.1:10248/healthz' returned error: connection refused (running with swap on is not supported)"
            )
        host.pods += [static_pod(host, component, version) for component in COMPONENTS]
        for pod in host.pods:
            pod.running = pod.labels["component"] == "etcd"
            pod.trouble = "" if pod.running else "context deadline exceeded"
        return call.fail(
            "[control-plane-check] kube-apiserver is not healthy after 4m0s\n"
            "error execution phase wait-control-plane: failed while waiting for the control plane to start: "
            f"[kube-apiserver check failed at https://{advertise}:{machine.settings.api_port}/livez: Get "
            f'"https://{advertise}:{machine.settings.api_port}/livez?timeout=10s": context deadline exceeded]'
        )
    host.pods += [static_pod(host, component, version) for component in COMPONENTS]
    images = [image for pod in host.pods for image in pod.images if image not in host.images]
    machine.spend(26, "init wait")
    host.images += list(dict.fromkeys(images))
    late = machine.fault("api-late")
    _begin(
        machine, ca, endpoint, name, version, init, config, host.clock + (0.0 if late is None else float(late or 60))
    )
    proxy = _component("kube-proxy", documents.get("KubeProxyConfiguration", {}))
    for component, document in (("kubelet", _filled(kubelet, config)), ("kube-proxy", proxy)):
        _keep_component(machine, component, document)
    for token in init.get("bootstrapTokens", ()):
        _keep_token(machine, token)
    call.out("[addons] Applied essential addon: CoreDNS\n[addons] Applied essential addon: kube-proxy\n\n")
    call.out("Your Kubernetes control-plane has initialized successfully!\n")
    return 0


def _begin(
    machine: Machine,
    ca: str,
    endpoint: str,
    name: str,
    version: str,
    init: dict[str, Any],
    config: dict[str, Any],
    ready: float,
) -> None:
    """Reset the cluster's model: a new control plane starts with an empty etcd."""
    host, cluster = machine.host, machine.cluster
    networking = config.get("networking", {})
    cluster.ready_at, cluster.version, cluster.name, cluster.ca, cluster.endpoint = ready, version, name, ca, endpoint
    cluster.control, cluster.skew = host.name, machine.skew
    cluster.pod_cidr = str(networking.get("podSubnet", "10.244.0.0/16"))
    cluster.service_cidr = str(networking.get("serviceSubnet", "10.96.0.0/12"))
    cluster.begin(host, ca)
    _enrol(machine, machine.hostname, init)
    now = host.clock
    dns = builtin("Deployment", "coredns", DNS, replicas=2)
    dns["metadata"]["labels"]["k8s-app"] = dns["spec"]["template"]["metadata"]["labels"]["k8s-app"] = "kube-dns"
    proxy = builtin("DaemonSet", "kube-proxy", f"registry.k8s.io/kube-proxy:v{version}", host_network=True)
    cluster.apply(dns, now)
    cluster.apply(proxy, now)


def _enrol(machine: Machine, name: str, document: dict[str, Any]) -> None:
    """Create the Node object, with its pod range and the taints that kubeadm's file registers it with."""
    host, cluster = machine.host, machine.cluster
    address = host.address
    flags = host.read("/var/lib/kubelet/kubeadm-flags.env") or ""
    if machine.fault("wrong-nic") is not None and "node-ip" not in flags:
        address = next(iter(host.links.get("ens6", Link(["10.2.0.1/16"])).addresses)).split("/")[0]
    given = [RESERVED] if host.control_plane else []
    taints = document.get("nodeRegistration", {}).get("taints", given)
    pods = str(cluster.pod_range(host.number))
    cluster.members[name] = Member(host.name, address, pods, host.clock, host.machine_id, taints=taints)
    cluster.touch()


def _has_address(host: Host, address: str) -> bool:
    return any(a.split("/")[0] == address for link in host.links.values() for a in link.addresses)


def _kubelet_files(host: Host, control: Host, hostname: str, config: dict[str, Any]) -> None:
    host.write("/var/lib/kubelet/config.yaml", dumped(config))
    host.write(
        "/var/lib/kubelet/kubeadm-flags.env",
        f'KUBELET_KUBEADM_ARGS="--hostname-override={hostname} --node-ip={host.address}"\n',
    )
    host.write(certificates.KUBELET, certificates.kubelets(control, hostname, time.time()), "600")


def _component(component: str, document: dict[str, Any]) -> dict[str, Any]:
    """A component's configuration as kubeadm writes it: without what its types do not know, and without zeros that say nothing."""
    kept: dict[str, Any] = {"apiVersion": document.get("apiVersion", ""), "kind": document.get("kind", "")}
    for path, value in components.leaves(document):
        above = kept
        known = not components.unknown(component, _nested(path, value)) or path[0] in components.DECIDED[component]
        if known and components.is_set(component, path, value):
            for name in path[:-1]:
                above = above.setdefault(name, {})
            above[path[-1]] = _spelled(value)
    return kept


def _nested(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    return {path[0]: _nested(path[1:], value) if path[1:] else value}


def _spelled(value: Any) -> Any:
    """A duration as Go writes it."""
    seconds = re.fullmatch(r"(\d+)s", value) if isinstance(value, str) else None
    return f"{int(seconds[1]) // 60}m{int(seconds[1]) % 60}s" if seconds and int(seconds[1]) >= 60 else value


def _filled(kubelet: dict[str, Any], cluster: dict[str, Any]) -> dict[str, Any]:
    """What kubeadm fills in (componentconfigs/kubelet.go, Default)."""
    domain = cluster.get("networking", {}).get("dnsDomain", "cluster.local")
    return {
        **kubelet,
        "clusterDomain": kubelet.get("clusterDomain", domain),
        "cgroupDriver": kubelet.get("cgroupDriver", "systemd"),
        "rotateCertificates": True,
    }


def _keep_component(machine: Machine, component: str, document: dict[str, Any]) -> None:
    name, key = COMPONENT_MAPS[component]
    metadata = {"name": name, "namespace": "kube-system", "resourceVersion": str(machine.cluster.generation)}
    machine.cluster.apply(
        {"kind": "ConfigMap", "metadata": metadata, "data": {key: dumped(document)}}, machine.host.clock
    )


def _kept_component(machine: Machine, component: str) -> dict[str, Any]:
    name, key = COMPONENT_MAPS[component]
    found = machine.cluster.objects.get(f"ConfigMap/kube-system/{name}", {"data": {key: "{}"}})
    (cluster,) = documents(machine.cluster.configuration) if machine.cluster.configuration else ({},)
    document: dict[str, Any] = next(documents(found["data"][key]), {})
    return _filled(_component(component, document), cluster)


def _kubelet_config(machine: Machine, call: Call) -> int:
    """`upgrade node phase kubelet-config`: the file as the ConfigMap has it now."""
    if not machine.api_up:
        return _no_api(machine, call)
    machine.spend(1, "kubelet-config")
    machine.host.write("/var/lib/kubelet/config.yaml", dumped(_kept_component(machine, "kubelet")))
    call.out("[upgrade/kubelet-config] The kubelet configuration for this node was successfully upgraded!\n")
    return 0


def _keep_token(machine: Machine, entry: dict[str, Any]) -> None:
    name, _, secret = str(entry["token"]).partition(".")
    now = machine.host.clock
    machine.cluster.tokens[name] = Token(secret, now + _duration(str(entry.get("ttl", "24h"))), signed=now + 1)
    machine.cluster.touch()


def _duration(text: str) -> float:
    if text in ("0", "0s"):
        return float("inf")
    return sum(float(n) * {"h": 3600, "m": 60, "s": 1}[unit] for n, unit in re.findall(r"([\d.]+)([hms])", text))


def _token_create(machine: Machine, call: Call, options: dict[str, str]) -> int:
    machine.spend(0.4, "token")
    if not machine.api_up:
        return _no_api(machine, call)
    entries = _documents(machine, options).get("InitConfiguration", {}).get("bootstrapTokens", [])
    for entry in entries:
        if entry["token"].partition(".")[0] in machine.cluster.tokens:
            return call.fail(f'a token with id "{entry["token"].partition(".")[0]}" already exists')
        _keep_token(machine, entry)
        call.out(f"{entry['token']}\n")
    return 0 if entries else call.fail("failed to create a bootstrap token: no token in the configuration")


def _join(machine: Machine, call: Call, options: dict[str, str]) -> int:
    host, cluster = machine.host, machine.cluster
    code = _preflight(machine, call, options, joins=True)
    if code:
        machine.spend(1, "preflight")
        return code
    document = _documents(machine, options).get("JoinConfiguration", {})
    discovery = document.get("discovery", {}).get("bootstrapToken", {})
    endpoint = str(discovery.get("apiServerEndpoint", ""))
    where = f'Get "https://{endpoint}/api/v1/namespaces/kube-public/configmaps/cluster-info?timeout=10s"'
    failed = "error execution phase preflight: couldn't validate the identity of the API Server: failed to request the cluster-info ConfigMap"
    if not machine.api_up or endpoint != cluster.endpoint:
        host.clock += 300
        return call.fail(f"{failed}: {where}: dial tcp {endpoint}: connect: connection refused")
    if machine.skew < cluster.skew - 300:
        machine.spend(5, "join discovery")
        return call.fail(
            f"{failed}: {where}: tls: failed to verify certificate: x509: certificate has expired or is not yet valid: "
            "current time is before the certificate's NotBefore"
        )
    name, _, secret = str(discovery.get("token", "")).partition(".")
    token = cluster.tokens.get(name)
    expired = (
        token is None
        or token.secret != secret
        or token.expires <= machine.now
        or machine.fault("token-expired") is not None
    )
    if expired:
        host.clock += 300
        return call.fail(
            f'{failed}: could not find a JWS signature in the cluster-info ConfigMap for token ID "{name}"'
        )
    if f"sha256:{ca_hash(cluster.ca)}" not in discovery.get("caCertHashes", []):
        machine.spend(3, "join discovery")
        return call.fail(
            "error execution phase preflight: couldn't validate the identity of the API Server: "
            "cluster CA found in cluster-info ConfigMap is invalid: none of the public keys are pinned"
        )
    machine.spend(4, "join discovery")
    if token is not None and token.signed > machine.now:
        host.clock += 5  # join checks for the signature every 5 seconds
    host.write(
        "/etc/kubernetes/bootstrap-kubelet.conf", kubeconfig(cluster.ca, endpoint, cluster.name, "bootstrap"), "600"
    )
    host.write("/etc/kubernetes/pki/ca.crt", cluster.ca)
    call.out(
        '[preflight] Reading configuration from the "kubeadm-config" ConfigMap\n[kubelet-start] Starting the kubelet\n'
    )
    if machine.fault("dies-in-join") is not None:
        raise Halted
    registered = str(document.get("nodeRegistration", {}).get("name", machine.hostname))
    other = cluster.members.get(registered)
    if other is not None and other.host != host.name:
        host.clock += 5
        return call.fail(
            f'error execution phase kubelet-start: a Node with name "{registered}" and status "Ready" already exists in the cluster. '
            "You must delete the existing Node or change the name of this new joining Node"
        )
    _kubelet_files(host, machine.settling.hosts[cluster.control], registered, _kept_component(machine, "kubelet"))
    host.units["kubelet"].active, host.kubelet_runs = True, host.packages["kubelet"].partition("-")[0]
    if host.swaps:
        host.units["kubelet"].active = False
        host.clock += HEALTH
        return call.fail(
            "error execution phase kubelet-start: The HTTP call equal to 'curl -sSL http://127.0.0.1:10248/healthz' returned error: "
            "connection refused (running with swap on is not supported)"
        )
    machine.spend(8, "join bootstrap")
    host.write("/etc/kubernetes/kubelet.conf", kubeconfig(cluster.ca, endpoint, cluster.name, "kubelet"), "600")
    host.remove("/etc/kubernetes/bootstrap-kubelet.conf")
    _enrol(machine, registered, document)
    call.out(
        "This node has joined the cluster:\n* Certificate signing request was sent to apiserver and a response was received.\n"
    )
    return 0


def reset(machine: Machine, call: Call, options: dict[str, str]) -> int:
    """Remove what kubeadm reset removes, and no more: links, CNI files and firewall rules stay.

    It empties /var/lib/etcd on every machine, unless a flag forbids it (kubernetes/kubeadm#3225).
    """
    host, cluster = machine.host, machine.cluster
    machine.spend(9, "kubeadm reset")
    call.out("[preflight] Running pre-flight checks\n")
    if not host.unit("containerd").active or not host.cri:
        call.err(
            "W [reset] Failed to remove containers: could not create a new runtime service: CRI is not implemented\n"
        )
    busy = [line.split()[1] for line in host.mounts if line.split()[0] == "busy"]
    host.mounts = [
        line for line in host.mounts if line.split()[0] == "busy" or not line.split()[1].startswith("/var/lib/kubelet/")
    ]
    if "kubelet" in host.units:
        host.units["kubelet"].active = False
    host.pods.clear()
    cluster.touch()
    for folder in ("/etc/kubernetes/manifests", "/etc/kubernetes/pki"):
        host.remove(folder)
        host.make_folder(folder)
    for name in ("admin", "super-admin", "kubelet", "bootstrap-kubelet", "controller-manager", "scheduler"):
        host.remove(f"/etc/kubernetes/{name}.conf")
    if "remove-etcd-member" not in options.get("--skip-phases", "").split(","):
        host.remove("/var/lib/etcd")
    if busy:
        call.err(
            f"W [reset] Failed to unmount mounted directories in /var/lib/kubelet: {', '.join(busy)}: device or resource busy\n"
        )
    else:
        host.remove("/var/lib/kubelet")
    if cluster.control == host.name:
        cluster.forget()
    call.out("[reset] Stopping the kubelet service\n")
    call.out(f"[reset] Deleting contents of directories: [/etc/kubernetes/manifests /var/lib/kubelet]\n\n{_RESET_NOTE}")
    return 0
