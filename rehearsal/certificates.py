"""Certificates of the model: real ones, signed by the key of an authority on the machine, so that what reads them needs no model.

They are made at the machine's date. In the model a file was written when its certificate begins: kubeadm's five minutes are left out.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache

from .host import Host, Pod

PKI, CONF = "/etc/kubernetes/pki", "/etc/kubernetes"
AUTHORITIES = (f"{PKI}/ca.crt", f"{PKI}/etcd/ca.crt", f"{PKI}/front-proxy-ca.crt")
API = f"{PKI}/apiserver.crt"
KUBELET = "/var/lib/kubelet/pki/kubelet-client-current.pem"
YEAR = 365 * 86400.0
# kubeadm's names, with the file and the authority of each
RENEWED = {
    "apiserver": (API, 0),
    "apiserver-kubelet-client": (f"{PKI}/apiserver-kubelet-client.crt", 0),
    "front-proxy-client": (f"{PKI}/front-proxy-client.crt", 2),
    **{f"etcd-{name}": (f"{PKI}/etcd/{name}.crt", 1) for name in ("server", "peer", "healthcheck-client")},
    "apiserver-etcd-client": (f"{PKI}/apiserver-etcd-client.crt", 1),
    **{f"{name}.conf": (f"{CONF}/{name}.conf", 0) for name in ("admin", "super-admin", "controller-manager", "scheduler")},
}  # fmt: skip
# what each static pod reads when it starts
READS = {
    "etcd": [path for name, (path, _) in RENEWED.items() if name.startswith("etcd-")],
    "kube-apiserver": [API, *(f"{PKI}/{name}.crt" for name in ("apiserver-kubelet-client", "apiserver-etcd-client", "front-proxy-client"))],
    "kube-controller-manager": [f"{CONF}/controller-manager.conf"],
    "kube-scheduler": [f"{CONF}/scheduler.conf"],
}  # fmt: skip


def made(
    name: str, key: str, authority: str, begins: float, ends: float, names: Sequence[str] = (), *, above: str = ""
) -> str:
    """A certificate in PEM; `key` and `authority` are the seeds of its key and its signer's. `above` is the signer's common name."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding

    def private(seed: str) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(seed.encode()).digest())

    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    serial = int(hashlib.sha256(f"{key}{begins}".encode()).hexdigest()[:15], 16)
    first, last = (datetime.fromtimestamp(int(one), UTC) for one in (begins, ends))
    built = x509.CertificateBuilder(named(above or name), named(name), private(key).public_key(), serial, first, last)
    if names:
        alternatives = [_alternative(one) for one in names]
        built = built.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    return built.sign(private(authority), None).public_bytes(Encoding.PEM).decode()


def _alternative(name: str):  # type: ignore[no-untyped-def]  # cryptography's classes are imported late
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@lru_cache(maxsize=512)
def dates(pem: str) -> tuple[float, float]:
    """When a certificate begins and ends; (0, 0) for what is none."""
    from cryptography import x509

    try:
        read = x509.load_pem_x509_certificate(pem.encode())
    except ValueError:
        return 0.0, 0.0
    return read.not_valid_before_utc.timestamp(), read.not_valid_after_utc.timestamp()


@lru_cache(maxsize=512)
def alternatives(pem: str) -> tuple[str, ...]:
    """The names and addresses that a certificate is for."""
    from cryptography import x509

    try:
        found = x509.load_pem_x509_certificate(pem.encode()).extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
    except (ValueError, x509.ExtensionNotFound):
        return ()
    return tuple(str(one.value) for one in found.value)


@lru_cache(maxsize=512)
def fingerprint(pem: str) -> str:
    """As openssl prints it; empty for what is no certificate."""
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        return x509.load_pem_x509_certificate(pem.encode()).fingerprint(SHA256()).hex(":").upper()
    except ValueError:
        return ""


def of_file(host: Host, path: str) -> str:
    """The certificate in a file of the machine: PEM, or a kubeconfig's client certificate; empty without one."""
    return _in_text(host.read(path) or "", kubeconfig=path.endswith(".conf"))


@lru_cache(maxsize=512)
def _in_text(text: str, *, kubeconfig: bool) -> str:
    if kubeconfig:
        found = re.search(r"client-certificate-data: (\S+)", text)
        return base64.b64decode(found[1]).decode() if found else ""
    found = re.search(r"-----BEGIN CERTIFICATE-----\n.*?-----END CERTIFICATE-----\n", text, flags=re.S)
    return found[0] if found else ""


def seed(host: Host, authority: str) -> str:
    """What is used as an authority's private key on this machine; empty where it is not there."""
    found = re.search(
        r"-----BEGIN RSA PRIVATE KEY-----\n(.*?)\n", host.read(f"{authority.removesuffix('.crt')}.key") or ""
    )
    return found[1] if found else ""


def lay(host: Host, ca_seed: str, now: float, names: Sequence[str]) -> None:
    """What kubeadm init makes on a control plane, beside the CA's certificate, which is there."""
    for number, path in enumerate(AUTHORITIES):
        own = ca_seed if number == 0 else f"{ca_seed}/{number}"
        if number:
            host.write(path, made(_TITLES[number], own, own, now, now + 10 * YEAR))
        host.write(
            f"{path.removesuffix('.crt')}.key",
            f"-----BEGIN RSA PRIVATE KEY-----\n{own}\n-----END RSA PRIVATE KEY-----\n",
            "600",
        )
    for name in RENEWED:
        issue(host, name, now, names if name == "apiserver" else ())


_TITLES = ("kubernetes", "etcd-ca", "front-proxy-ca")


def issue(
    host: Host, name: str, now: float, names: Sequence[str] | None = None, *, ends: float = 0.0, into: str = ""
) -> bool:
    """Make one of kubeadm's certificates; False without its authority's key. Without `names` they are those that it has."""
    path, number = RENEWED[name]
    signer = seed(host, AUTHORITIES[number])
    if not signer:
        return False
    before = of_file(host, path)
    names = alternatives(before) if names is None else names
    own = f"{signer}/{name}/{now}"
    pem = made(name, own, signer, now, ends or now + YEAR, names, above=_TITLES[number])
    key = (
        f"-----BEGIN RSA PRIVATE KEY-----\n{hashlib.sha256(own.encode()).hexdigest()}\n-----END RSA PRIVATE KEY-----\n"
    )
    if path.endswith(".conf"):
        text = host.read(path) or ""
        host.write(path, embedded(text, pem, key), "600")
        return True
    target = f"{into or PKI}/{path.removeprefix(f'{PKI}/')}"
    host.write(f"{target.removesuffix('.crt')}.key", key, "600")
    host.write(target, pem)
    return True


def embedded(text: str, pem: str, key: str = "") -> str:
    """A kubeconfig with another client certificate, and its key."""
    text = re.sub(r"(client-certificate-data:) \S+", rf"\1 {base64.b64encode(pem.encode()).decode()}", text)
    return re.sub(r"(client-key-data:) \S+", rf"\1 {base64.b64encode(key.encode()).decode()}", text) if key else text


def kubelets(control: Host, hostname: str, now: float, ends: float = 0.0) -> str:
    """A kubelet's client certificate, signed by the control plane."""
    signer = seed(control, AUTHORITIES[0])
    return made(
        f"system:node:{hostname}", f"{signer}/{hostname}/{now}", signer, now, ends or now + YEAR, above=_TITLES[0]
    )


def begin(host: Host, pod: Pod) -> None:
    """A static pod starts: it reads its files."""
    pod.began = time.time()
    pod.serves = {path: of_file(host, path) for path in READS.get(pod.labels.get("component", ""), ())}


def answers(host: Host) -> bool:
    """Whether what etcd and the API of this machine run with, and the administrator's login, are valid: a model's cluster of 1.5 has none."""
    loaded = {path: pem for pod in host.pods for path, pem in pod.serves.items()}
    needed = [loaded.get(path, "") for path in (API, RENEWED["etcd-server"][0], RENEWED["apiserver-etcd-client"][0])]
    needed.append(of_file(host, RENEWED["admin.conf"][0]))
    now = time.time()
    return all(dates(pem)[1] > now for pem in needed if pem)


def lapsed(host: Host) -> bool:
    """Whether today's kubelet has no certificate that is valid, neither in kubelet.conf nor in its own folder."""
    own = of_file(host, f"{CONF}/kubelet.conf") or of_file(host, KUBELET)
    return host.exists("/var/lib/kubelet/config.yaml") and dates(own)[1] <= time.time()
