"""Where images come from: a registry as hosts.env writes it, and the certificates that it is checked by.

Sources: the OCI distribution specification (`/v2/`, names of repositories); containerd docs/hosts.md (override_path).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from ..records import dataclass

HOST = r"[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?(\.[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?)*"  # RFC 1123
AUTHORITY = rf"({HOST}|\[[0-9a-fA-F:.]+\])(:\d{{1,5}})?"
# The OCI distribution's grammar (distribution/reference): [host[:port]/]path[:tag][@digest], at most 255 characters before the tag.
COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PREFIX = r"[A-Za-z0-9._~-]+"  # of an API that is not at the root of its host
# Ends of names that no public resolver knows (RFC 6761, 6762, 8375; ICANN's list of names that are not delegated).
_INSIDE = ("local", "localhost", "localdomain", "internal", "intranet", "lan", "home", "corp", "private", "home.arpa")


@dataclass(frozen=True)
class Place:
    """A registry, and where in it: `http://host:port/prefix/v2/project`, of which all but the host may be left out.

    Without `/v2` the whole path is in front of the images' names (`harbor.example/project`); what is in front of `/v2` is where the
    API is. The text of it is what images of it begin with: "harbor.example/project".
    """

    host: str  # "harbor.example:8443"
    scheme: str = "https"  # "http" only where that is written: nothing falls back to it
    prefix: str = ""  # "/artifactory/api/docker/images"
    project: str = ""  # "project/k8s"

    def __str__(self) -> str:
        return f"{self.host}/{self.project}" if self.project else self.host

    @property
    def name(self) -> str:
        """The host without its port: "harbor.example"."""
        return re.sub(r":\d+$", "", self.host)

    @property
    def url(self) -> str:
        """The registry as containerd has it: without `/v2` where that is at the root, as it is then added."""
        return f"{self.scheme}://{self.host}{f'{self.prefix}/v2' if self.prefix else ''}"

    @property
    def api(self) -> str:
        """Where its API answers: "https://harbor.example/v2"."""
        return f"{self.scheme}://{self.host}{self.prefix}/v2"

    @property
    def mirror(self) -> str:
        """Where it has the images of another registry: "https://harbor.example/v2/project"."""
        return f"{self.api}/{self.project}" if self.project else self.url


def place(text: str) -> Place:
    """Read a registry. Raises ValueError, which says what is to be written instead."""
    if "@" in text:  # without the value, which must not be shown
        raise ValueError(
            "holds a login (user:password@): write REGISTRY_USER, and REGISTRY_PASSWORD in hosts.local.env"
        )
    form = re.fullmatch(rf"(?:(?P<scheme>https?)://)?(?P<host>{AUTHORITY})(?P<path>(?:/{_PREFIX})*)/?", text)
    if not form:
        raise ValueError(f"{text!r} is not a registry, like registry.example:5000 or http://10.0.0.5:5000/project")
    if (port := re.search(r":(\d+)$", form["host"])) and not 0 < int(port[1]) < 65536:
        raise ValueError(f"{text!r}: {port[1]} is not a port (1 to 65535)")
    words = form["path"].split("/")[1:]
    at = words.index("v2") if "v2" in words else None
    prefix, project = (words[:at], words[at + 1 :]) if at is not None else ([], words)
    if wrong := next((word for word in project if not re.fullmatch(COMPONENT, word)), ""):
        raise ValueError(
            f"{text!r}: {wrong!r} cannot be in an image's name, which has small letters, digits, dots, _ and -"
        )
    if {".", ".."} & set(prefix):
        raise ValueError(f"{text!r}: write the path without dots")
    return Place(form["host"], form["scheme"] or "https", "".join(f"/{word}" for word in prefix), "/".join(project))


def inside(host: str) -> bool:
    """Whether a host (without port) is surely of a private network: by its address, or by a name that the internet does not know."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_private
    except ValueError:
        name = host.lower().rstrip(".")
        return "." not in name or name.endswith(tuple(f".{end}" for end in _INSIDE))


def certificates(path: Path) -> str:
    """The certificates in a file, each once, as PEM. The file has one or several, as PEM (other text between them is left out), DER or PKCS#7.

    Raises ValueError that says why there are none.
    """
    from cryptography import x509  # here: most commands need no certificate
    from cryptography.hazmat.primitives.serialization import Encoding

    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    if b"PRIVATE KEY-----" in data:
        raise ValueError(f"{path} holds a private key, which no node needs: name a file with the certificate alone")

    def readers() -> Iterator[Callable[[bytes], list[x509.Certificate]]]:
        yield x509.load_pem_x509_certificates
        yield lambda der: [x509.load_der_x509_certificate(der)]
        from cryptography.hazmat.primitives.serialization import pkcs7  # loads email's parser, which PEM does without

        yield pkcs7.load_pem_pkcs7_certificates
        yield pkcs7.load_der_pkcs7_certificates

    for read in readers():
        try:
            found = read(data)
        except Exception:  # each reader has its own kinds of errors for what is not its form
            continue
        return "".join(dict.fromkeys(one.public_bytes(Encoding.PEM).decode() for one in found))
    raise ValueError(f"{path} holds no certificate: neither PEM nor DER nor PKCS#7")
