"""known_hosts, read as OpenSSH reads it: we find what `ssh-keygen -F` finds, and refuse what it would refuse."""

from __future__ import annotations

import base64
import shutil
import subprocess
from pathlib import Path

import paramiko
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paramiko.hostkeys import HostKeys

from fabfile.errors import KubefabError
from fabfile.nodes.hostkeys import KeyRefused, KnownHosts, canonical, parse
from rehearsal.server import key_from

RIGHT, OTHER, THIRD = (key_from(bytes([number]) * 32) for number in range(3))
RSA = paramiko.RSAKey.generate(1024)
HOST, PORTED = "192.0.2.7", "[192.0.2.7]:2222"


def line(hosts: str, key: paramiko.PKey = RIGHT, marker: str = "") -> str:
    return f"{marker} {hosts} {key.get_name()} {key.get_base64()}".strip() + "\n"


def known(folder: Path, text: str) -> KnownHosts:
    path = folder / "known_hosts"
    path.write_text(text)
    return KnownHosts(path)


def hashed(name: str) -> str:
    # a random salt would give each pytest process other test names
    return HostKeys.hash_host(name, "MDEyMzQ1Njc4OWFiY2RlZmdoaWo=")


# (the line's hosts, the requested host, whether the line matches it)
PATTERNS = [
    (HOST, HOST, True), (f"a.example,{HOST}", HOST, True), (hashed(HOST), HOST, True), (hashed(PORTED), PORTED, True), (hashed("192.0.2.8"), HOST, False),
    ("192.0.2.*", HOST, True), ("192.0.2.?", HOST, True), ("192.0.2.??", HOST, False), ("*", PORTED, True), ("[192.0.2.*]:2222", PORTED, True),
    ("[192.0.2.7]:2222", HOST, False), ("192.0.2.7", PORTED, False), ("192.0.2.*,!192.0.2.7", HOST, False), ("!192.0.2.7,192.0.2.*", HOST, False),
    ("!192.0.2.7", "192.0.2.8", False), ("192.0.2.*,!192.0.2.7", "192.0.2.8", True), ("A.Example", "a.example", True), ("a.example", "A.EXAMPLE", True),
    ("2001:db8::1", "2001:DB8:0::1", True), ("2001:DB8::1", "2001:db8::1", True), ("[2001:DB8::1]:2222", "[2001:db8:0:0::1]:2222", True),
    (hashed("2001:db8::1"), "2001:DB8::1", True), ("192.0.2.7.example", HOST, False), ("[abc]*", "a7", False),
]  # fmt: skip


@pytest.mark.parametrize(("hosts", "asked", "found"), PATTERNS)
def test_a_line_matches_the_hosts_that_openssh_matches(tmp_path: Path, hosts: str, asked: str, found: bool) -> None:
    keys = known(tmp_path, line(hosts))
    keys.check(asked, RIGHT)
    if found:
        with pytest.raises(KeyRefused, match="CHANGED") as caught:
            keys.check(asked, OTHER)
        assert f"remove line 1 from {keys.path}" in caught.value.remedy
    else:
        assert keys.path.read_text().count("\n") == 2, "unknown until now: noted"


@pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="ssh-keygen is not installed")
@pytest.mark.parametrize(
    ("hosts", "asked", "found"),
    [case for case in PATTERNS if not case[0].startswith(("2001", "[2001")) and "DB8" not in case[1]],
)
def test_openssh_itself_agrees(tmp_path: Path, hosts: str, asked: str, found: bool) -> None:
    (tmp_path / "f").write_text(line(hosts))
    seen = subprocess.run(["ssh-keygen", "-F", asked.lower(), "-f", tmp_path / "f"], capture_output=True, check=False)
    assert (b"found" in seen.stdout) == found


@given(st.text("ab.*?!,1", min_size=1, max_size=8), st.text("ab.1", min_size=1, max_size=6))
def test_a_negated_pattern_never_matches_its_host(pattern: str, host: str) -> None:
    text = f"{pattern},!{host} {RIGHT.get_name()} {RIGHT.get_base64()}"
    assert not any(entry.matches([canonical(host)]) for entry in parse(text, Path("k")))


_NAMES = (
    "a",
    "A",
    "b.c",
    "B.c",
    "10.0.0.1",
    "::1",
    "0:0::1",
    "[a]:22",
    "[::1]:7",
    "[0::1]:7",
    "*",
    "?",
    "a*",
    "!a",
    "!b.c",
)


def test_the_lines_of_a_host_are_those_that_match_it_in_their_order() -> None:
    """Among thousands they are found by name; what is found is what a look at each line finds."""
    lines = [*_NAMES, hashed("a"), *(f"{one},{other}" for one in _NAMES for other in _NAMES)]
    entries = parse("".join(map(line, lines)), Path("known_hosts"))
    keys = KnownHosts(Path("/dev/null"))
    for entry in entries:
        keys._know(entry)
    for asked in _NAMES:
        names = (canonical(asked), asked.lower(), asked)
        assert keys._of(asked) == [entry for entry in entries if entry.matches(names)], asked


def test_a_revoked_key_is_refused_whatever_else_the_file_says(tmp_path: Path) -> None:
    for text in (
        line("*", RIGHT, "@revoked") + line(HOST),
        line(HOST) + line("*", RIGHT, "@revoked"),
        line(HOST, RIGHT, "@revoked"),
    ):
        with pytest.raises(KeyRefused, match=r"is revoked \(.*known_hosts:[12]\)"):
            known(tmp_path, text).check(HOST, RIGHT)
    keys = known(tmp_path, line("*", OTHER, "@revoked") + line(HOST))
    keys.check(HOST, RIGHT)
    with pytest.raises(KeyRefused, match="revoked"):
        keys.check("192.0.2.99", OTHER)
    keys.check("192.0.2.99", THIRD)


def test_a_certificate_authority_line_confirms_no_key(tmp_path: Path) -> None:
    keys = known(tmp_path, "# ours\n" + line("*.example", RIGHT, "@cert-authority"))
    with pytest.raises(KeyRefused, match=r"known_hosts:2 trusts it by a certificate authority") as caught:
        keys.check("a.example", OTHER)
    assert "a.example ssh-ed25519" in caught.value.remedy
    with pytest.raises(KeyRefused):
        keys.check("a.example", RIGHT)  # the authority's own key is not a host key
    keys.check("a.other", OTHER)
    keys = known(tmp_path, line("*.example", RIGHT, "@cert-authority") + line("a.example", OTHER))
    keys.check("a.example", OTHER)


def test_comments_blank_lines_and_remarks_are_ignored(tmp_path: Path) -> None:
    keys = known(tmp_path, f"# filled by hand in May\n\n   # more\n\t{line(HOST).strip()} root@console of May\n")
    keys.check(HOST, RIGHT)
    with pytest.raises(KeyRefused, match="CHANGED"):
        keys.check(HOST, OTHER)


WHOLE = line(HOST).strip()


@pytest.mark.parametrize("text", [
    WHOLE[: len(WHOLE) // 2], WHOLE[:-8], WHOLE[:-3], HOST, f"{HOST} ssh-ed25519", f"{HOST} ssh-rsa {RIGHT.get_base64()}", f"@nobody {WHOLE}",
    f"|1|abc|def ssh-ed25519 {RIGHT.get_base64()}", f"{HOST} ssh-ed25519 {base64.b64encode(RIGHT.asbytes()[:19]).decode()}", f"{HOST} 1024 35 12345678901",
    f"{HOST} ssh-ed25519 {'A' * 40}", "somebody wrote a remark without its hash", f"@revoked {HOST}",
])  # fmt: skip
def test_an_unreadable_line_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(KubefabError, match=r"known_hosts:2: this line cannot be read") as caught:
        known(tmp_path, f"{WHOLE}\n{text}\n")
    assert caught.value.remedy


@given(st.integers(1, len(WHOLE) - 1))
def test_a_truncated_line_is_refused(cut: int) -> None:
    """A power failure can leave any beginning of a line: it is refused unless it is complete."""
    with pytest.raises(KubefabError):
        parse(WHOLE[:cut], Path("k"))


@given(st.text(max_size=120))
def test_any_text_is_read_or_refused_with_a_message(text: str) -> None:
    try:
        for entry in parse(text, Path("k")):
            entry.matches(["a"])
    except KubefabError as error:
        assert ":" in error.message


def test_a_binary_file_is_refused_with_a_message(tmp_path: Path) -> None:
    (tmp_path / "known_hosts").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(KubefabError, match="cannot be read"):
        KnownHosts(tmp_path / "known_hosts")


def test_an_added_key_gets_a_line_of_its_own(tmp_path: Path) -> None:
    keys = known(tmp_path, line("a.example").rstrip("\n"))
    keys.check("2001:DB8::1", OTHER)
    lines = keys.path.read_text().splitlines()
    assert lines == [line("a.example").strip(), line("2001:db8::1", OTHER).strip()]
    again = KnownHosts(keys.path)
    with pytest.raises(KeyRefused, match="CHANGED") as caught:
        again.check("2001:db8:0::1", RIGHT)
    assert "line 2" in caught.value.remedy
    with pytest.raises(KeyRefused) as caught:
        keys.check("2001:db8::1", RIGHT)
    assert "line 2" in caught.value.remedy


def test_the_known_key_types_are_requested(tmp_path: Path) -> None:
    keys = known(tmp_path, line(HOST, RSA) + line("b.example") + line("b.example", RSA) + line("*", OTHER, "@revoked"))
    assert keys.algorithms(HOST) == ("rsa-sha2-512", "rsa-sha2-256", "ssh-rsa")
    assert keys.algorithms("b.example") == ("ssh-ed25519", "rsa-sha2-512", "rsa-sha2-256", "ssh-rsa")
    assert keys.algorithms("c.example") == ()
