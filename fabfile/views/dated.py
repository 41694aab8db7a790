"""When certificates, keys and tokens end: what the calendar and the doctor say of them."""

from __future__ import annotations

import base64
from datetime import datetime

from ..nodes import script
from ..nodes.observe import certificate as pem_certificate
from ..records import dataclass
from ..text import forms

CERTIFICATES = script.program(__file__, "certificates.sh")


@dataclass(frozen=True)
class Dated:
    """What has an end: a certificate (`where` its file), a repository's signing key (its URL or file), a bootstrap token (nowhere).

    Times are seconds since 1970. `ends` 0: a key or token without an end, a certificate that could not be read.
    """

    where: str
    ends: float
    id: str = ""
    begins: float = 0.0


def seconds_of(text: str) -> float:
    """Seconds since 1970 of an ISO time in UTC, as kubeadm prints it; 0 when it is none."""
    try:
        moment = datetime.fromisoformat(text.strip().replace("Z", "+00:00").replace(" +", "+"))
    except ValueError:
        try:
            moment = datetime.strptime(text.strip().removesuffix(" GMT") + " +0000", "%b %d %H:%M:%S %Y %z")
        except ValueError:
            return 0.0
    return min(max(0.0, moment.timestamp()), forms.LATEST)


def certificate(line: str) -> Dated:
    """A line of certificates.sh: `path BASE64` of certificates in PEM, of which the first counts; without times where none can be read."""
    path, _, encoded = line.partition(" ")
    try:
        read = pem_certificate(base64.b64decode(encoded, validate=True).decode("ascii"))
    except ValueError:
        read = None
    return Dated(forms.text(path, 200), read.ends if read else 0.0, begins=read.begins if read else 0.0)
