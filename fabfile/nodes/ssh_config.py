"""What the operator's own OpenSSH would do to reach a host: `ssh -G` reads ~/.ssh/config, with Include, Match and CanonicalizeHostname.

On a machine without OpenSSH paramiko reads it, which knows less: what it would take wrongly is refused with its line.
"""

from __future__ import annotations

import functools
import getpass
import os
import pwd
import re
import shutil
import socket
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import paramiko

from ..errors import UsageError
from ..records import dataclass
from ..text import cleaning

SYSTEM = "/etc/ssh/ssh_config"
PATIENCE = 20.0  # seconds for `ssh -G`: a Match exec of the operator's, or a name that is looked up
_MANY = {"identityfile", "certificatefile"}  # keywords that count each time they are given
_DEFAULT = re.compile(r"~/\.ssh/id_\w+")
_KNOWN_TO_PARAMIKO = {"all", "canonical", "final", "exec", "host", "originalhost", "user", "localuser"}
# What a distribution's /etc/ssh/ssh_config has, and does not change how a host is reached.
_HARMLESS = {
    "",
    "sendenv",
    "hashknownhosts",
    "gssapiauthentication",
    "gssapidelegatecredentials",
    "forwardx11",
    "forwardx11trusted",
}
_USUAL = (["host", "*"], ["include", "/etc/ssh/ssh_config.d/*.conf"])
_INSTEAD = "write it without that, install OpenSSH's client, which kubefab asks then, or name user=, port=, key= and jump= in hosts.env"


@dataclass(frozen=True)
class Way:
    """How a host is reached. `identities` are what IdentityFile names, "none" among it, empty for the default keys.

    `agent` is IdentityAgent: a socket's path, "none", or empty for $SSH_AUTH_SOCK. `jump` and `command` are ProxyJump and ProxyCommand, of which
    one is empty.
    """

    host: str
    user: str
    port: int
    identities: tuple[str, ...] = ()
    certificates: tuple[str, ...] = ()
    only: bool = False
    agent: str = ""
    jump: str = ""
    command: str = ""


def resolve(name: str, user: str, port: int) -> Way:
    """The way to a host, whose name may be an alias; `user` and `port` go before the files unless they are empty and 0.

    Raises UsageError with file and line for what OpenSSH refuses, and for what kubefab cannot do.
    """
    if _silent():
        return _way(name, user, port, {})
    program = shutil.which("ssh")
    found = _asked(program, name, user, port) if program else _read(name, user, port)
    return _way(name, user, port, found)


def _silent() -> bool:
    """Whether there is no ~/.ssh/config, and the system's says nothing that matters here: then a hundred nodes need no question each."""
    system = Path(SYSTEM)
    try:
        if (home() / ".ssh" / "config").exists():
            return False
        files = (system, *Path(f"{SYSTEM}.d").glob("*.conf"))
        return _harmless(tuple(file.read_text(encoding="utf-8") for file in files if file.exists()))
    except (OSError, UnicodeDecodeError):
        return False


@functools.lru_cache(maxsize=8)  # asked for each of many nodes
def _harmless(texts: tuple[str, ...]) -> bool:
    words = [re.split(r"[\s=]+", line.strip().lower(), maxsplit=1) for text in texts for line in text.splitlines()]
    return all(word[0] in _HARMLESS or word in _USUAL or word[0].startswith("#") for word in words)


def _asked(program: str, name: str, user: str, port: int) -> dict[str, list[str]]:
    """What `ssh -G` says, by keyword."""
    own = str(home())
    words, text = [program, "-T", "-G"], ""
    if own != _entry():  # OpenSSH does not ask $HOME
        words += ["-F", "/dev/stdin"]
        text = f'Include "{own}/.ssh/config"\nMatch all\nInclude {SYSTEM}\n'
    words += ["-l", user] * bool(user) + ["-p", str(port)] * bool(port)
    try:
        done = subprocess.run(
            [*words, "--", name], input=text, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        raise UsageError(
            f"`ssh -G {name}` has no end: ~/.ssh/config asks something that does not answer (Match exec, CanonicalizeHostname)",
            "run it by itself, and take out of ~/.ssh/config what it waits for",
        ) from None
    if done.returncode != 0:
        said = [
            line for line in done.stderr.splitlines() if re.search(r"line \d+|owner or perm|denied|failed", line)
        ] or done.stderr.splitlines()
        raise UsageError(
            f"OpenSSH cannot read your ssh_config: {cleaning.line('; '.join(said)) or 'it does not say why'}",
            f"correct it there; `ssh -G {name}` shows whether OpenSSH reads it",
        )
    found: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        key, _, value = line.partition(" ")
        found.setdefault(key, []).append(value)
    return found


def home() -> Path:
    """The operator's home; a folder that is not there for a user without one."""
    try:
        return Path.home()
    except RuntimeError:
        return Path("/nonexistent")


def _entry() -> str:
    """The home in this user's entry; empty without one."""
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return ""


class _Unexpanded(paramiko.SSHConfig):
    """paramiko's reader, that leaves %h and the like to `_expanded`."""

    TOKENS_BY_CONFIG_KEY = {  # paramiko's own name
        key: paramiko.SSHConfig.TOKENS_BY_CONFIG_KEY[key] for key in ("hostname", "match-exec")
    }


def _read(name: str, user: str, port: int) -> dict[str, list[str]]:
    """The same by paramiko, without what it cannot know."""
    over = [f"  User {user}"] * bool(user) + [f"  Port {port}"] * bool(port)
    config = _Unexpanded.from_text("\n".join(["Host *", *over]))
    for file in (home() / ".ssh" / "config", Path(SYSTEM)):
        try:
            text = file.read_text(encoding="utf-8")
            for number, what in _unknown(text):
                raise UsageError(f"{file}:{number}: {what} is not supported here", _INSTEAD)
            config.parse(text.splitlines(True))
        except FileNotFoundError:
            continue
        except (paramiko.ConfigParseError, UnicodeDecodeError, OSError) as error:
            raise UsageError(f"{file} cannot be read: {cleaning.line(str(error))}", _INSTEAD) from None
    try:
        values = config.lookup(name)
    except (paramiko.SSHException, KeyError, ImportError, OSError) as error:
        raise UsageError(f"~/.ssh/config has no answer for {name}: {cleaning.line(str(error))}", _INSTEAD) from None
    found = {key: list(value) if isinstance(value, list) else [str(value)] for key, value in values.items()}
    if "proxyjump" in found and "proxycommand" in found:  # the first counts
        del found[max("proxyjump", "proxycommand", key=list(found).index)]
    return found


def _unknown(text: str) -> Iterator[tuple[int, str]]:
    """The lines that paramiko would pass over, or take for a match: (number, what)."""
    for number, line in enumerate(text.splitlines(), 1):
        keyword, *words = re.split(r"[\s=]+", line.strip()) if line.strip() else [""]
        if keyword.lower() == "include" and any(
            any((home() / ".ssh" / _under_home(word)).parent.glob(Path(word).name)) for word in words
        ):
            yield number, "Include"
        criteria = iter(words) if keyword.lower() == "match" else iter(())
        for word in criteria:
            kind = word.lstrip("!").lower()
            if kind not in _KNOWN_TO_PARAMIKO:
                yield number, f"Match {word}"
                break
            if kind not in ("all", "canonical", "final"):
                next(criteria, None)
            if kind == "exec":
                break


def _way(name: str, user: str, port: int, found: Mapping[str, list[str]]) -> Way:
    first = {key: values[0] for key, values in found.items() if values}
    host = first.get("hostname", name)
    user = user or first.get("user", "") or getpass.getuser()
    if not port and not re.fullmatch(r"\d{1,5}", first.get("port", "22")):
        raise UsageError(f"~/.ssh/config: Port {first['port']} for {name} is not a port", "write a number")
    port = port or int(first.get("port", "22"))
    if first.get("proxyusefdpass", "no").lower() == "yes" and "proxycommand" in first:
        raise UsageError(
            f"~/.ssh/config: ProxyUseFdpass for {name} is not supported",
            "write a ProxyCommand that carries the bytes itself, as nc does",
        )
    tokens = {"%": "%", "h": host, "n": name, "p": str(port), "r": user, "u": getpass.getuser(), "d": str(home()),
              "i": str(os.getuid()), "l": socket.gethostname(), "L": socket.gethostname().partition(".")[0]}  # fmt: skip
    files = [value for value in found.get("identityfile", []) if value]
    if len(files) > 3 and all(_DEFAULT.fullmatch(value) for value in files):
        files = []  # none is named
    command = first.get("proxycommand", "")
    jump = first.get("proxyjump", "")
    return Way(
        host=host,
        user=user,
        port=port,
        identities=tuple(_paths(files, tokens, "IdentityFile")),
        certificates=tuple(_paths(found.get("certificatefile", []), tokens, "CertificateFile")),
        only=first.get("identitiesonly", "no").lower() == "yes",
        agent=next(_paths([first.get("identityagent", "")], tokens, "IdentityAgent"), ""),
        jump="" if jump.lower() == "none" else jump,
        command="" if command.lower() == "none" else _expanded(command, tokens, "ProxyCommand"),
    )


def _paths(values: Iterable[str], tokens: Mapping[str, str], keyword: str) -> Iterator[str]:
    for value in values:
        if value in ("", "SSH_AUTH_SOCK"):
            continue
        yield (value if value == "none" else _under_home(os.path.expandvars(_expanded(value, tokens, keyword))))


def _under_home(text: str) -> str:
    return str(home() / text[2:]) if text.startswith("~/") else text


def _expanded(text: str, tokens: Mapping[str, str], keyword: str) -> str:
    """The text with its %h and the like. Raises UsageError for one that kubefab does not know."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in tokens:
            raise UsageError(
                f"~/.ssh/config: %{match[1]} in {keyword} is not supported",
                f"write it out, or use one of {' '.join(f'%{token}' for token in tokens)}",
            )
        return tokens[match[1]]

    return re.sub(r"%(.)", value, text)
