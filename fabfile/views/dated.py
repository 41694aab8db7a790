"""When certificates, keys and tokens end: what the calendar and the doctor share."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ..nodes import script
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
    """Seconds since 1970 of an ISO time in UTC, as openssl and kubeadm print it; 0 when it is none."""
    try:
        moment = datetime.fromisoformat(text.strip().replace("Z", "+00:00").replace(" +", "+"))
    except ValueError:
        try:
            moment = datetime.strptime(text.strip().removesuffix(" GMT") + " +0000", "%b %d %H:%M:%S %Y %z")
        except ValueError:
            return 0.0
    return min(max(0.0, moment.timestamp()), forms.LATEST)


def certificate(line: str) -> Dated:
    """A line of certificates.sh: `path begin|end|`; without its times where openssl could not read it."""
    path, _, rest = line.partition(" ")
    dates = [seconds_of(text) for text in rest.strip("|").split("|")] if rest else []
    begins, ends = [*dates, 0.0, 0.0][:2]
    return Dated(forms.text(path, 200), ends, begins=begins)
