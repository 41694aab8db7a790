"""The calendar of certificates and tokens."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from fabfile.nodes.facts import Certificate, NodeFacts
from fabfile.nodes.observe import observe_script, parse_tokens
from fabfile.views.calendar import DAY, Date, lines, of
from fabfile.views.dated import CERTIFICATES, certificate

NOW = 1_790_000_000.0


def pem(begins: float, ends: float, key: Ed25519PrivateKey | None = None) -> str:
    """A certificate that begins and ends at these seconds since 1970."""
    key = key or Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    at = [datetime.fromtimestamp(seconds, UTC) for seconds in (begins, ends)]
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, *at).sign(key, None)
    return made.public_bytes(Encoding.PEM).decode()


def test_a_nodes_certificates_and_tokens_are_its_calendar() -> None:
    facts = NodeFacts(
        certificates={"/etc/kubernetes/pki/ca.crt": Certificate(NOW + DAY)},
        tokens={"abcdef": "2026-11-25T12:00:00Z", "ghijkl": ""},
    )
    assert [(d.kind, d.name, d.ends) for d in of(facts)] == [
        ("cert", "/etc/kubernetes/pki/ca.crt", NOW + DAY),
        ("token", "abcdef", 1795608000.0),
        ("token", "ghijkl", 0.0),
    ]
    assert of(NodeFacts()) == ()


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def secret(name: str, half: str, end: str | None) -> dict[str, Any]:
    """A bootstrap token as the API has it."""
    data = {
        "auth-extra-groups": "g",
        "description": '{"data":{',
        **({} if end is None else {"expiration": end}),
        "token-id": name,
    }
    fields = {"f:data": {".": {}, **{f"f:{key}": {} for key in data}}}
    return {
        "metadata": {"name": f"bootstrap-token-{name}", "managedFields": [{"fieldsV1": fields}]},
        "data": {key: encoded(value) for key, value in (data | {"token-secret": half, "usage-bootstrap-signing": "true"}).items()},
        "type": "bootstrap.kubernetes.io/token",
    }  # fmt: skip


IDS = st.text("abcdef0123456789", min_size=6, max_size=6)


@settings(max_examples=20)
@given(
    st.dictionaries(
        IDS, st.none() | st.sampled_from(["2026-11-25T12:00:00Z", "2031-01-01T00:00:00+09:00"]), max_size=3
    ),
    st.booleans(),
)
def test_tokens_are_read_from_the_apis_answer_and_their_secret_halves_stay_on_the_node(
    tokens: dict[str, str | None], spaced: bool
) -> None:
    half = "0123456789abcdef"
    answer = json.dumps(
        {"kind": "SecretList", "items": [secret(name, half, end) for name, end in tokens.items()]},
        separators=None if spaced else (",", ":"),
    )
    function = re.search(
        r"^join_tokens\(\) \{.*?^}", observe_script(control_plane=True, files=(), tokens=True), re.M | re.S
    )
    assert function
    with TemporaryDirectory() as folder:
        Path(folder, "jointokens.20").write_text(answer)
        text = f"d={folder}\n{function[0]}\njoin_tokens"
        output = subprocess.run(["bash", "-c", text], capture_output=True, text=True, timeout=20, check=True).stdout
    assert parse_tokens(output.splitlines()) == {name: end or "" for name, end in tokens.items()}
    assert half not in output and encoded(half) not in output


@given(st.lists(st.text(max_size=40) | st.text("YWJjZGVmMTIzNDU2= ", max_size=40)))
def test_what_is_no_token_is_left_out(lines: list[str]) -> None:
    for name, end in parse_tokens(lines).items():
        assert re.fullmatch("[a-z0-9]{6}", name) and len(end) <= 40
    assert parse_tokens([f"{encoded('abcdef')} "]) == {"abcdef": ""}


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
    """What the doctor asks, in bash, with nothing but the programs that every node has."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bash", "sed", "head", "base64", "rm", "cut", "tr", "kubectl", "timeout"):
        if found := shutil.which(name):
            (tools / name).symlink_to(found)
    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    for name in ("a.crt", "b.crt"):
        (tmp_path / name).write_text(secret + "Subject: x\n" + pem(NOW, NOW + DAY, key) + pem(0, 1))
    text = CERTIFICATES.replace("/etc/kubernetes/pki/*.crt", str(tmp_path / "*.crt")) + "\ncertificates; true"
    text = f"PATH={tools}\n{text}"
    output = subprocess.run(["bash", "-c", text], capture_output=True, text=True, timeout=20, check=True).stdout
    read = [certificate(line) for line in output.splitlines()]
    assert [(Path(one.where).name, one.ends) for one in read] == [("a.crt", NOW + DAY), ("b.crt", NOW + DAY)]
    sent = [base64.b64decode(line.split()[1]).decode() for line in output.splitlines()]
    assert all("PRIVATE" not in one and "CERTIFICATE" in one for one in sent)
