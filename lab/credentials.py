"""The lab's SSH key, certificate authority, server certificate and registry login."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from . import settings
from .paths import state_dir

VALID_DAYS = 365


def ssh_key() -> tuple[Path, str]:
    """Path of the private key, and the public key's line; both are created on first use."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    path = state_dir() / "id_ed25519"
    if not path.exists():
        private = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )
        settings.write_private(path, private.decode())
    key = serialization.load_ssh_private_key(path.read_bytes(), None)
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    line = f"{public.decode()} kubefab-lab"
    path.with_suffix(".pub").write_text(line + "\n")
    return path, line


def registry_files(address: str) -> Path:
    """Folder with ca.crt, server.crt, server.key and htpasswd for a registry at `address`, created on first use."""
    import bcrypt

    folder = state_dir() / "registry"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    marker = folder / "address"
    if not marker.exists() or marker.read_text() != address:
        _certificates(folder, address)
        marker.write_text(address)
    login = folder / "htpasswd"
    if not login.exists():
        hashed = bcrypt.hashpw(settings.password().encode(), bcrypt.gensalt(rounds=5)).decode()
        settings.write_private(login, f"{settings.REGISTRY_USER}:{hashed}\n")
    return folder


def _certificates(folder: Path, address: str) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    now = datetime.datetime.now(datetime.UTC)

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    def certificate(subject: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(name("kubefab lab CA"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
        )

    def pem(key: ec.EllipticCurvePrivateKey) -> str:
        return key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()

    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca = (
        certificate("kubefab lab CA", ca_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    server_key = ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
    server = (
        certificate("kubefab lab registry", server_key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(names, critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    (folder / "ca.crt").write_bytes(ca.public_bytes(encoding))
    (folder / "server.crt").write_bytes(server.public_bytes(encoding))
    settings.write_private(folder / "server.key", pem(server_key))
