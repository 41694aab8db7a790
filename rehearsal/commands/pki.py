"""What stands for keys and certificates, and the files of a control plane, whichever kubeadm writes them."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping

import yaml

from ..host import Host

COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")


def certificate(salt: str) -> str:
    """What stands for a certificate: the same for the same salt."""
    body = base64.b64encode(hashlib.sha512(salt.encode()).digest() * 3).decode()
    lines = "\n".join(body[i : i + 64] for i in range(0, len(body), 64))
    return f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n"


def ca_hash(ca: str) -> str:
    """What stands for the digest of the CA's public key."""
    return hashlib.sha256(ca.encode()).hexdigest()


def write_control_plane(
    host: Host, ca: str, endpoint: str, name: str, version: str, flags: Mapping[str, Mapping[str, str]] | None = None
) -> None:
    """What kubeadm init leaves under /etc/kubernetes; `flags` are the static pods', by component."""
    key = hashlib.sha256(ca.encode()).hexdigest()
    host.write("/etc/kubernetes/pki/ca.crt", ca)
    for pair in ("ca", "apiserver", "apiserver-kubelet-client", "front-proxy-ca", "sa", "etcd/ca", "etcd/server"):
        host.write(f"/etc/kubernetes/pki/{pair}.key", f"-----BEGIN RSA PRIVATE KEY-----\n{key}\n-----END RSA PRIVATE KEY-----\n", "600")
    for who in ("admin", "super-admin", "controller-manager", "scheduler", "kubelet"):
        host.write(f"/etc/kubernetes/{who}.conf", kubeconfig(ca, endpoint, name, who), "600")
    for component in COMPONENTS:
        command = "".join(f"    - --{flag}={value}\n" for flag, value in (flags or {}).get(component, {}).items())
        text = f"# {component} v{version}\napiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - command:\n    - {component}\n{command}"
        host.write(f"/etc/kubernetes/manifests/{component}.yaml", text, "600")
    host.write("/var/lib/etcd/member/snap/db", "etcd\n", "600")
    host.make_folder("/etc/kubernetes/tmp")


def kubeconfig(ca: str, endpoint: str, cluster: str, user: str) -> str:
    """A kubeconfig as kubeadm writes it."""
    encoded = base64.b64encode(ca.encode()).decode()
    key = base64.b64encode(hashlib.sha256(f"{ca}{user}".encode()).digest() * 4).decode()
    name = f"kubernetes-{user}"
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": cluster, "cluster": {"certificate-authority-data": encoded, "server": f"https://{endpoint}"}}],
            "contexts": [{"name": f"{name}@{cluster}", "context": {"cluster": cluster, "user": name}}],
            "current-context": f"{name}@{cluster}",
            "users": [{"name": name, "user": {"client-certificate-data": encoded, "client-key-data": key}}],
        },
        sort_keys=False,
    )
