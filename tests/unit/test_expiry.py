"""The calendar of certificates and tokens."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from fabfile.views.calendar import DAY, Date, lines, parse, script

NOW = 1_790_000_000.0


def test_the_answer_is_parsed() -> None:
    dates = parse(
        "cert /etc/kubernetes/pki/ca.crt Sep 20 12:00:00 2026 GMT|Sep 18 12:00:00 2036 GMT|\ncert /x.crt\ntoken abcdef 2026-11-25T12:00:00Z\ntoken ghijkl \nnoise\n"
    )
    assert [(d.kind, d.name, d.ends > NOW) for d in dates] == [
        ("cert", "/etc/kubernetes/pki/ca.crt", True), ("cert", "/x.crt", False), ("token", "abcdef", True), ("token", "ghijkl", False),
    ]  # fmt: skip
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


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl")
def test_openssls_own_dates_are_read(tmp_path: Path) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-days", "30", "-keyout", str(tmp_path / "k"), "-out", str(tmp_path / "x.crt")],
        check=True, capture_output=True,
    )  # fmt: skip
    text = script().replace("/etc/kubernetes/pki/*.crt", str(tmp_path / "*.crt")).replace('rm -f -- "$0"', "")
    output = subprocess.run(["bash", "-c", text], capture_output=True, text=True, timeout=20).stdout
    (date,) = parse(output)
    assert date.name.endswith("x.crt")
    assert date.ends > 0
