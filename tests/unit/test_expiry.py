"""The calendar of certificates and tokens."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from fabfile.views.calendar import DAY, Date, lines, parse, script

NOW = 1_790_000_000.0


def pem(begins: float, ends: float, key: Ed25519PrivateKey | None = None) -> str:
    """A certificate that begins and ends at these seconds since 1970."""
    key = key or Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    at = [datetime.fromtimestamp(seconds, UTC) for seconds in (begins, ends)]
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, *at).sign(key, None)
    return made.public_bytes(Encoding.PEM).decode()


def test_the_answer_is_parsed() -> None:
    good = base64.b64encode(pem(NOW, NOW + DAY).encode()).decode()
    dates = parse(
        f"cert /etc/kubernetes/pki/ca.crt {good}\ncert /x.crt\ncert /y.crt bm90aGluZw==\ncert /z.crt \xff=\n"
        "token abcdef 2026-11-25T12:00:00Z\ntoken ghijkl \nnoise\n"
    )
    assert [(d.kind, d.name, d.ends) for d in dates[:4]] == [
        ("cert", "/etc/kubernetes/pki/ca.crt", NOW + DAY), ("cert", "/x.crt", 0), ("cert", "/y.crt", 0), ("cert", "/z.crt", 0),
    ]  # fmt: skip
    assert [(d.kind, d.name, d.ends > NOW) for d in dates[4:]] == [
        ("token", "abcdef", True),
        ("token", "ghijkl", False),
    ]
    assert parse("") == ()


@pytest.mark.parametrize(
    ("dates", "words"),
    [
        (
            (Date("cert", "a.crt", NOW + 300 * DAY), Date("cert", "b.crt", NOW + 3000 * DAY)),
            ["first to end is a.crt on cp1", "in 300 days"],
        ),
        ((Date("cert", "a.crt", NOW + 5 * DAY),), ["certificate a.crt on cp1 ends", "in 5 days"]),
        ((Date("cert", "a.crt", NOW - DAY),), ["a.crt on cp1 ENDED"]),
        ((Date("token", "abcdef", NOW + 1800),), ["join token abcdef ends", "in 30 min"]),
        ((Date("token", "abcdef", 0),), ["join token abcdef never ends"]),
        ((Date("cert", "a.crt", 0),), []),
    ],
)
def test_the_calendar_warns_by_remaining_time(dates: tuple[Date, ...], words: list[str]) -> None:
    text = "\n".join(lines({"cp1": dates, "w1": ()}, NOW))
    assert all(word in text for word in words), text
    assert bool(text) == bool(words)


def test_dates_are_read_on_a_node_without_openssl_and_its_key_stays_there(tmp_path: Path) -> None:
    """The script itself, in bash, with nothing but the programs that every node has."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bash", "sed", "head", "base64", "rm", "cut", "tr", "kubectl", "timeout"):
        if found := shutil.which(name):
            (tools / name).symlink_to(found)
    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    for name in ("a.crt", "b.crt"):
        (tmp_path / name).write_text(secret + "Subject: x\n" + pem(NOW, NOW + DAY, key) + pem(0, 1))
    text = script().replace("/etc/kubernetes/pki/*.crt", str(tmp_path / "*.crt")).replace('rm -f -- "$0"', "")
    text = re.sub("PATH=[^ ]+", f"PATH={tools}", text)
    output = subprocess.run(["bash", "-c", text], capture_output=True, text=True, timeout=20, check=True).stdout
    assert [(Path(d.name).name, d.ends) for d in parse(output)] == [("a.crt", NOW + DAY), ("b.crt", NOW + DAY)]
    sent = [base64.b64decode(line.split()[2]).decode() for line in output.splitlines()]
    assert all("PRIVATE" not in one and "CERTIFICATE" in one for one in sent)
