"""Keys and certificates of the model, and the files of a control plane, for both versions of kubeadm."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache

from fabfile.text.yamls import dumped

from ..certificates import KUBELET, begin
from ..host import Host, Pod

_BEGUN, _ENDS = datetime(2026, 1, 1, tzinfo=UTC), datetime(2036, 1, 1, tzinfo=UTC)
COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
ETCD = "registry.k8s.io/etcd:3.6.6-0"
ETCDS = {"1.37": "registry.k8s.io/etcd:3.7.0-0"}  # by kubeadm's minor release


@cache
def fresh() -> str:
    """A certificate that began an hour ago and ends in a year."""
    begun = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    return certificate("fresh", begun, begun + timedelta(days=365))


@cache
def certificate(salt: str, begun: datetime = _BEGUN, ends: datetime = _ENDS) -> str:
    """A CA's certificate; the same salt always gives the same one."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding

    key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(salt.encode()).digest())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kubernetes")])
    built = x509.CertificateBuilder(name, name, key.public_key(), 1, begun, ends).sign(key, None)
    return built.public_bytes(Encoding.PEM).decode()


def ca_hash(ca: str) -> str:
    """The digest of the CA's public key, in the form that `kubeadm join` compares."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = x509.load_pem_x509_certificate(ca.encode()).public_key()
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def write_control_plane(
    host: Host, ca: str, endpoint: str, name: str, version: str, flags: Mapping[str, Mapping[str, str]] | None = None
) -> None:
    """Write what kubeadm init leaves under /etc/kubernetes; `flags` are the static pods' flags, by component."""
    key = hashlib.sha256(ca.encode()).hexdigest()
    host.write("/etc/kubernetes/pki/ca.crt", ca)
    for pair in (
        "ca",
        "apiserver",
        "apiserver-kubelet-client",
        "front-proxy-ca",
        "sa",
        "etcd/ca",
        "etcd/server",
        "etcd/healthcheck-client",
    ):
        host.write(
            f"/etc/kubernetes/pki/{pair}.key",
            f"-----BEGIN RSA PRIVATE KEY-----\n{key}\n-----END RSA PRIVATE KEY-----\n",
            "600",
        )
    for who in ("admin", "super-admin", "controller-manager", "scheduler", "kubelet"):
        host.write(f"/etc/kubernetes/{who}.conf", kubeconfig(ca, endpoint, name, who), "600")
    for component in COMPONENTS:
        command = "".join(f"    - --{flag}={value}\n" for flag, value in (flags or {}).get(component, {}).items())
        text = f"# {component} v{version}\napiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - command:\n    - {component}\n{command}"
        text += f"    image: {image_of(component, version)}\n"
        host.write(f"/etc/kubernetes/manifests/{component}.yaml", text, "600")
    host.write("/var/lib/etcd/member/snap/db", "etcd\n", "600")
    host.make_folder("/etc/kubernetes/tmp")


def kubeconfig(ca: str, endpoint: str, cluster: str, user: str) -> str:
    """A kubeconfig as kubeadm writes it."""
    encoded = base64.b64encode(ca.encode()).decode()
    secret = base64.b64encode(hashlib.sha256(f"{ca}{user}".encode()).digest() * 4).decode()
    key = base64.b64encode(
        f"-----BEGIN RSA PRIVATE KEY-----\n{secret}\n-----END RSA PRIVATE KEY-----\n".encode()
    ).decode()
    name, login = f"kubernetes-{user}", {"client-certificate-data": encoded, "client-key-data": key}
    rotated = {"client-certificate": KUBELET, "client-key": KUBELET}
    return dumped(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {"name": cluster, "cluster": {"certificate-authority-data": encoded, "server": f"https://{endpoint}"}}
            ],
            "contexts": [{"name": f"{name}@{cluster}", "context": {"cluster": cluster, "user": name}}],
            "current-context": f"{name}@{cluster}",
            "users": [{"name": name, "user": rotated if user == "kubelet" else login}],
        }
    )


def image_of(component: str, version: str) -> str:
    """The image that kubeadm of that release runs for a component of the control plane."""
    return (
        ETCDS.get(version.rpartition(".")[0], ETCD)
        if component == "etcd"
        else f"registry.k8s.io/{component}:v{version}"
    )


def manifest_image(host: Host, component: str) -> str:
    """The image in a static pod's manifest; empty without one, as in those of 2017."""
    found = re.search(r"^ *image: *(\S+)", host.read(f"/etc/kubernetes/manifests/{component}.yaml") or "", flags=re.M)
    return found[1] if found else ""


def follow_manifests(host: Host) -> None:
    """The kubelet sees manifests that changed, and starts those static pods again."""
    for pod in host.pods if host.active("kubelet") else ():
        image = (
            manifest_image(host, pod.labels.get("component", "")) if pod.labels.get("tier") == "control-plane" else ""
        )
        if image and image != pod.images[0]:
            pod.images, pod.running, pod.since = [image], True, host.clock + 2
            host.pull(image)
            begin(host, pod)


def static_pod(host: Host, component: str, version: str) -> Pod:
    """A component of the control plane, as the kubelet runs it from its manifest."""
    image = manifest_image(host, component) or image_of(component, version)
    pod = Pod(
        name=f"{component}-{host.hostname}",
        namespace="kube-system",
        workload=f"Node//{host.hostname}",
        labels={"component": component, "tier": "control-plane"},
        images=[image],
        host_network=True,
        created=host.clock,
        running=True,
        since=host.clock,
    )
    begin(host, pod)
    return pod
