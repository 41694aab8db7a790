"""A package repository's key, with real gpg: of the fetched file, only the key with the fingerprint is trusted."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fabfile.recipes.packages import _fetch_key

pytestmark = pytest.mark.skipif(not shutil.which("gpg") or not shutil.which("gpgv"), reason="gpg is not installed")


class Keys:
    """A gpg home with the publisher's key (which has a subkey), another allowed one, an expired one and an attacker's."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.home.mkdir(mode=0o700)
        self.primary: dict[str, str] = {}
        for name, expiry in (
            ("publisher", "never"),
            ("second", "never"),
            ("expired", "seconds=1"),
            ("attacker", "never"),
        ):
            made = ("--faked-system-time", "20200101T000000!") if name == "expired" else ()
            self.gpg(
                *made, "--passphrase", "", "--quick-gen-key", f"{name} <{name}@example.org>", "ed25519", "sign", expiry
            )
            self.primary[name] = self._fingerprints(name)[0]
        self.gpg("--passphrase", "", "--quick-add-key", self.primary["publisher"], "ed25519", "sign")
        self.subkey = self._fingerprints("publisher")[1]

    def gpg(self, *args: str) -> bytes:
        return subprocess.run(
            ["gpg", "--homedir", self.home, "--batch", "--quiet", *args], check=True, capture_output=True
        ).stdout

    def _fingerprints(self, name: str) -> list[str]:
        listed = self.gpg("--with-colons", "--list-keys", f"{name}@example.org").decode()
        return [line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr:")]

    def file(self, *names: str, armor: bool = True) -> bytes:
        """A server's key file: the keys one after another."""
        return b"".join(self.gpg(*["--armor"] * armor, "--export", self.primary[name]) for name in names)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keys]:
    made = Keys(tmp_path_factory.mktemp("gpg") / "home")
    yield made
    subprocess.run(["gpgconf", "--homedir", made.home, "--kill", "all"], check=False)


def fetched(folder: Path, served: bytes, allowed: list[str], *, armor: bool) -> tuple[int, str, Path]:
    """Run the step's own lines in bash, with a stand-in for curl; returns exit code, output and the key's path."""
    (folder / "served").write_bytes(served)
    target = folder / "trusted"
    lines = _fetch_key("https://mirror.example/k8s/Release.key?a=1&b=2", allowed, str(target), armor=armor)
    stub = f'curl() {{ while [ $# -gt 1 ]; do [ "$1" = -o ] && cp {folder}/served "$2"; shift; done; }}\n'
    done = subprocess.run(
        ["bash", "-c", "set -eo pipefail\n" + stub + "\n".join(lines)],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "TMPDIR": str(folder)},
    )
    assert not list(folder.glob("tmp.*")) or done.returncode, "the temporary home is removed"
    return done.returncode, done.stdout + done.stderr, target


def trusted(path: Path) -> set[str]:
    """The names of the primary keys in a key file."""
    shown = subprocess.run(
        ["gpg", "--show-keys", "--with-colons", path],
        check=True,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "HOME": str(path.parent)},
    ).stdout
    return {line.split(":")[9].split(" ")[0] for line in shown.splitlines() if line.startswith("uid:")}


@pytest.mark.parametrize("armor", [False, True])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("served", "allowed", "expected"),
    [
        (("publisher",), ("publisher",), {"publisher"}),
        (("publisher", "attacker"), ("publisher",), {"publisher"}),
        (("attacker", "publisher"), ("publisher",), {"publisher"}),
        (("attacker", "second"), ("publisher", "second"), {"second"}),
        (("publisher", "second", "attacker"), ("publisher", "second"), {"publisher", "second"}),
        (("expired",), ("expired",), {"expired"}),
    ],
)
def test_only_the_key_with_the_fingerprint_is_trusted(
    keys: Keys,
    tmp_path: Path,
    served: tuple[str, ...],
    allowed: tuple[str, ...],
    expected: set[str],
    packed: bool,
    armor: bool,
) -> None:
    code, said, target = fetched(
        tmp_path, keys.file(*served, armor=not packed), [keys.primary[name] for name in allowed], armor=armor
    )
    assert code == 0, said
    assert trusted(target) == expected
    assert target.read_bytes().startswith(b"-----BEGIN PGP") == armor, (
        "rpm --import needs armor, apt's signed-by=….gpg must have none"
    )
    assert target.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("what", ["attacker", "subkey", "nothing", "half", "text"])
def test_a_file_without_the_key_is_refused(keys: Keys, tmp_path: Path, what: str) -> None:
    """A subkey's fingerprint does not count: anyone with a copy of the publisher's subkey could bind it to another key."""
    allowed = [keys.subkey if what == "subkey" else keys.primary["publisher"]]
    whole = keys.file("publisher")
    served = {
        "attacker": keys.file("attacker"),
        "subkey": whole,
        "nothing": b"",
        "half": whole[: len(whole) // 2],
        "text": b"fpr:::::::::" + allowed[0].encode() + b":\n",
    }
    code, said, target = fetched(tmp_path, served[what], allowed, armor=False)
    assert code == 65
    assert f"the key at https://mirror.example/k8s/Release.key?a=1&b=2 has not the fingerprint {allowed[0]}" in said
    assert not target.exists()


def test_a_signature_by_another_key_of_the_file_is_refused(keys: Keys, tmp_path: Path) -> None:
    _, _, target = fetched(tmp_path, keys.file("publisher", "attacker"), [keys.primary["publisher"]], armor=False)
    release = tmp_path / "Release"
    release.write_text("Suite: stable\n")
    for name, code in (("publisher", 0), ("attacker", 2)):
        keys.gpg(
            "--local-user", keys.primary[name], "--detach-sign", "--yes", "--output", f"{release}.gpg", str(release)
        )
        seen = subprocess.run(
            ["gpgv", "--keyring", target, f"{release}.gpg", release], capture_output=True, text=True, check=False
        )
        assert seen.returncode == code, seen.stderr


def test_without_fingerprints_every_key_of_the_file_is_trusted(keys: Keys, tmp_path: Path) -> None:
    for armor in (False, True):
        code, said, target = fetched(tmp_path, keys.file("publisher"), [], armor=armor)
        assert code == 0, said
        assert trusted(target) == {"publisher"}
