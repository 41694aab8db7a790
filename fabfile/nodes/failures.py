"""What a person reads when a node cannot be reached or does not let us in: which node, what happened, and what to do."""

from __future__ import annotations

import errno
import re
import resource
import socket

import paramiko

from ..errors import KubefabError, StepFailed, Unreachable
from ..inventory import Node, bracketed
from ..inventory.find import LAB
from ..records import dataclass
from ..text import cleaning
from .hostkeys import KeyRefused

# What sudo says when it refuses: in English, as our commands ask for LC_ALL=C.
SUDO_REFUSED = re.compile(
    rb"a password is required|incorrect (password|authentication) attempt|a terminal is required|no password was provided|"
    rb"not in the sudoers file|may not run|is not allowed to (run|execute)|no tty present|you must have a tty|try again"
)


# What a machine says instead of running a command, what that means, and what to do. A name in it is bounded: it is printed as a setting.
_CLOSED = (
    "it is starting or going down, and lets only root in",
    "wait until it is up. If it is: remove /run/nologin or /etc/nologin there, which is what keeps others out",
)
_NOLOGIN = 254  # sshd's exit code for these files, where PAM does not look at them
_LOGIN_SAYS = (
    (
        r"Please login as the user \W?(?P<name>[a-z_][a-z0-9_-]{0,31})\W? rather than",
        "its image lets {user} run nothing there, and names the user {name}",
        "set SSH_USER={name}, or user={name} in its line in hosts.env",
    ),
    (
        r"This account is currently not available",
        "the login shell of {user} is nologin",
        "as root there: `usermod --shell /bin/bash {user}`; or name another user, SSH_USER",
    ),
    (
        r"System is (booting up|going down)|Unprivileged users are not permitted",
        *_CLOSED,
    ),
    (
        r"no TTY available|Your password has expired|required to change your password immediately|password is expired",
        "the password of {user} has expired, so nothing runs before it is changed",
        "log in there once with `ssh` and choose a new one; a user that logs in by key alone needs none: as root there, `chage -M -1 -d 1 {user}`",
    ),
    (
        r"account has expired; please contact|Account expired",
        "the account of {user} has expired",
        "as root there: `chage -E -1 {user}`",
    ),
)


@dataclass(frozen=True)
class Way:
    """How a node was to be reached: `timeout` in seconds, `proxy_command` as ~/.ssh/config has it (empty without one).

    `user` is who logs in, `through` the bastion's name or address, `said` the server's words outside of SSH: before it begins, or as a banner;
    `tried` which keys were offered, in words. `halfway`: SSH had begun, and its handshake had not ended.
    """

    node: Node
    environment: str
    timeout: float
    proxy_command: str = ""
    user: str = ""
    through: str = ""
    said: str = ""
    tried: str = ""
    halfway: bool = False


def unreachable(error: BaseException, way: Way) -> Unreachable:
    """A transport's error in words."""
    said = _worded(error, way)
    said.silent = _silent(error)
    return said


_NO_ROUTE = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ETIMEDOUT, errno.ECONNREFUSED})


def _silent(error: BaseException) -> bool:
    """Whether nothing took the connection at all: neither the machine's sshd nor anything before it."""
    if isinstance(error, paramiko.ChannelException):
        return error.code == paramiko.common.OPEN_FAILED_CONNECT_FAILED
    if isinstance(error, paramiko.ssh_exception.NoValidConnectionsError):
        return all(getattr(one, "errno", None) in _NO_ROUTE for one in error.errors.values())
    refused = isinstance(error, TimeoutError | socket.timeout | ConnectionRefusedError)
    return refused or (
        isinstance(error, OSError) and not isinstance(error, socket.gaierror) and error.errno in _NO_ROUTE
    )


def _worded(error: BaseException, way: Way) -> Unreachable:
    node = way.node
    where = f"{node.name} ({bracketed(node.host)}:{node.port})"
    if way.proxy_command and not isinstance(error, KeyRefused | paramiko.AuthenticationException):
        return Unreachable(
            f"{where}: no link through ProxyCommand `{way.proxy_command}`: {error}",
            "does `ssh` get through by itself?",
        )
    if isinstance(error, KeyRefused):
        return Unreachable(f"{where}: {error.what}", error.remedy)
    if isinstance(error, paramiko.AuthenticationException):
        if "timeout" in str(error).lower():
            return Unreachable(
                f"{where}: no answer to the login of {way.user} with {way.tried}",
                "something there takes long over a login (PAM, LDAP, DNS): `journalctl -u ssh -u sshd` there says more",
            )
        if re.search("shut down|No existing session|EOF", str(error)):  # the server ended the link: no key was refused
            said = cleaning.line(way.said)
            return _said(where, way.user, way.said) or Unreachable(
                f"{where}: the server ended the login of {way.user} with {way.tried}{f' ({said})' if said else ''}",
                "the user may be locked or kept out there (also by /run/nologin), or too many keys were offered (MaxAuthTries): "
                "`journalctl -u ssh -u sshd` there says more. SSH_KEY, or IdentitiesOnly in ~/.ssh/config, offers one key only",
            )
        if isinstance(error, paramiko.BadAuthenticationType):
            wanted = ", ".join(cleaning.line(kind) for kind in error.allowed_types) or "another way"
            return Unreachable(
                f"{where}: it wants {wanted} from {way.user}, and kubefab logs in by key alone",
                "let that user in by key alone (AuthenticationMethods, PubkeyAuthentication in its sshd_config), or name another one: SSH_USER",
            )
        return Unreachable(
            f"{where}: login as {way.user} with {way.tried} was refused", "check SSH_USER and SSH_KEY in hosts.env"
        )
    if isinstance(error, paramiko.ChannelException):
        return _no_channel(error, where, way)
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return Unreachable(
            f"{where}: Too many open files on your own machine (its limit for a process is {limit})",
            "`ulimit -n 4096` in this shell (as root if it refuses), or a smaller FORKS; then run the same command again",
        )
    if isinstance(error, socket.gaierror):
        return Unreachable(
            f"{where}: {node.host} is neither a name that this machine can look up nor an alias of ~/.ssh/config",
            "correct the name in hosts.env, or write the machine's IP address",
        )
    if (
        way.halfway and str(error) == "No existing session"
    ):  # paramiko, when the time is over: it misses what the handshake would have given
        return Unreachable(
            f"{where}: SSH answers, but its handshake has not ended within {way.timeout:.0f} s",
            "the machine or the way to it is slow: look at its load, or raise CONNECT_TIMEOUT in hosts.env; then run the same command again",
        )
    if isinstance(error, TimeoutError | socket.timeout) or re.search(r"timed out|Timeout", str(error)):
        return Unreachable(
            f"{where}: no answer within {way.timeout:.0f} s",
            "is the machine up, and does its security group let you in on this port?",
        )
    if (
        isinstance(error, ConnectionRefusedError)
        or "refused" in str(error).lower()
        or "Unable to connect" in str(error)
    ):
        hint = "is the lab up? `inv lab.up`" if way.environment == LAB else "is sshd running there, on this port?"
        return Unreachable(f"{where}: connection refused", hint)
    if "protocol banner" in str(error) and isinstance(error.__context__, EOFError | ConnectionError):
        said = cleaning.line(way.said)
        return Unreachable(
            f"{where}: the connection is closed before SSH begins{f' ({said})' if said else ''}",
            "its sshd may have too many logins at once (MaxStartups), or refuse your address for a while (PerSourcePenalties, fail2ban): "
            "`journalctl -u ssh -u sshd` there says more. A smaller FORKS logs in to fewer at once",
        )
    if isinstance(error, paramiko.SSHException | EOFError) and "banner" in str(error).lower():
        return Unreachable(
            f"{where}: something answers, but not an SSH server in time", "is it still booting? look at its console"
        )
    return _other(error, where, way)


# What ends a link, or keeps it from being made: what paramiko or the system says, what that means, and what to do.
_AGAIN = "then run the same command again; it continues from where it stopped"
_JOURNAL = "`journalctl -u ssh -u sshd` there says why"
_ENDS: tuple[tuple[str, str, str], ...] = (
    (
        r"Incompatible version|Indecipherable protocol version|Invalid SSH banner",
        "what answers there speaks no SSH 2",
        "is it the right port? kubefab needs an sshd of protocol 2",
    ),
    (
        r"no acceptable|can't match requested",
        "its sshd and kubefab have no algorithm in common",
        "allow a usual one in its sshd_config (KexAlgorithms, HostKeyAlgorithms, Ciphers, MACs), and reload sshd",
    ),
    (
        r"strict-kex|MAC mismatch|Mismatched MAC|Signature verification|Bad host key|Unknown host key type|Invalid packet|Kex|kex|x25519|InvalidTag",
        "its handshake is not a valid one of SSH",
        f"something between may change what is sent, or its sshd is broken: does `ssh` get through? {_JOURNAL}",
    ),
    (
        r"Negotiation failed|No existing session|EOF|reset by peer|Broken pipe|connection abort|session not active|[Cc]hannel closed|"
        r"Socket is closed",
        "the connection was closed from there, or on the way",
        f"is the machine going down, or its sshd restarting? {_JOURNAL}; {_AGAIN}",
    ),
    (
        r"No route to host|Network is unreachable|Host is down|Network is down",
        "there is no way to it from here",
        f"check the address in hosts.env, and your VPN and routes (`ip route get` with the address); {_AGAIN}",
    ),
    (
        r"Permission denied|Operation not permitted",
        "your own machine forbids this connection",
        "look at its firewall (outgoing rules), or at what confines this process",
    ),
    (
        r"assign requested address|No buffer space|Cannot allocate memory|start new thread|MemoryError",
        "your own machine has no room for another connection",
        f"end other programs, or choose a smaller FORKS; {_AGAIN}",
    ),
)


def _other(error: BaseException, where: str, way: Way) -> Unreachable:
    """Every other error, in our words, with the original ones behind them."""
    named = isinstance(error, OSError | paramiko.SSHException | EOFError | RuntimeError)
    why = cleaning.line(str(error)) if named else f"{type(error).__name__}: {cleaning.line(str(error))}"
    why = why or type(error).__name__
    for pattern, what, remedy in _ENDS:
        if re.search(pattern, why):
            return Unreachable(f"{where}: {what} ({why})", remedy)
    return Unreachable(
        f"{where}: the connection failed ({why})", f"does `ssh` get through by itself? {_JOURNAL}; {_AGAIN}"
    )


def _no_channel(error: paramiko.ChannelException, where: str, way: Way) -> Unreachable:
    """A channel that the bastion, or the node itself, does not open."""
    said = cleaning.line(error.text) or "it does not say why"
    if not way.through:
        return Unreachable(
            f"{where}: its sshd opens no session: {said}", "look at its sshd's journal: `journalctl -u ssh -u sshd`"
        )
    if error.code == paramiko.common.OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED:
        return Unreachable(
            f"{where}: the bastion {way.through} forwards no connection to it: its sshd forbids that",
            f"in /etc/ssh/sshd_config of {way.through}, AllowTcpForwarding must be yes or local, DisableForwarding no, and PermitOpen, if there, "
            "name the node; then reload sshd there. Or choose another bastion: SSH_JUMP",
        )
    return Unreachable(
        f"{where}: the bastion {way.through} does not reach it: {said}",
        f"is the machine up, and does its security group let {way.through} in on this port?",
    )


def _said(where: str, user: str, text: str) -> Unreachable | None:
    """What a machine says instead of running commands, in words; None if it is not known."""
    for pattern, what, remedy in _LOGIN_SAYS:
        if found := re.search(pattern, text):
            words = {"user": user, **found.groupdict()}
            return Unreachable(f"{where}: {what.format(**words)}", remedy.format(**words), text)
    return None


def login_refused(way: Way, code: int | None, output: bytes) -> Unreachable:
    """A login that is accepted, but does not run the command that we send: `code` is its exit code (None or -1 if it did not end)."""
    node, text = way.node, output.decode("utf-8", "replace")
    where = f"{node.name} ({bracketed(node.host)}:{node.port})"
    ended = f"it ends with exit code {code}" if code is not None and code >= 0 else "no answer in time"
    if code == _NOLOGIN:
        return Unreachable(f"{where}: {_CLOSED[0]}", _CLOSED[1], text)
    return _said(where, way.user, text) or Unreachable(
        f"{where}: the login of {way.user} runs no command of ours: {ended}",
        f"log in there as {way.user} with `ssh` and look at its login shell (`getent passwd {way.user}`), at start files that run another shell "
        "(.bashrc), and at command= in ~/.ssh/authorized_keys",
        text,
    )


def no_session(node: str, held: int, before: bool) -> KubefabError:
    """sshd that allows no further session over a link: we hold so many (the run lock's), and had one more `before`."""
    more = "write MaxSessions 10, sshd's default, where its /etc/ssh/sshd_config or a file in sshd_config.d sets it, and reload sshd"
    if before:
        return Unreachable(
            f"{node}: its sshd allows no further session (MaxSessions): an earlier command still has one",
            f"run the same command again; to have more of them, {more}",
        )
    needs = "a run needs two there: the run lock holds one of them" if held else "a run needs one at least"
    return KubefabError(f"{node}: MaxSessions of its sshd is {held}, and {needs}", more)


def broken(node: str) -> Unreachable:
    """A connection that broke while a command ran."""
    return Unreachable(
        f"{node}: the connection broke in mid-command",
        f"look at {node} (rebooting? powered off?), then run the same command again: it continues from there",
    )


def no_end(node: str, seconds: float) -> StepFailed:
    """A command that ran longer than it may."""
    return StepFailed(
        f"{node}: no end after {seconds:.0f} s",
        "it may still run there: the next run waits for it, then looks at what it did",
    )


def sudo_refused(node: str, user: str, output: bytes) -> StepFailed:
    """sudo that did not let the user in."""
    if b"you must have a tty" in output:
        return StepFailed(
            f"{node}: sudo refused user {user}: it wants a terminal there (requiretty)",
            f"as root there: `echo 'Defaults:{user} !requiretty' >/etc/sudoers.d/zz-kubefab-tty`",
            output.decode("utf-8", "replace"),
        )
    if b"password is expired" in output:
        return StepFailed(
            f"{node}: sudo refused user {user}, whose password has expired",
            f"log in there once with `ssh` and choose a new one, or as root there: `chage -M -1 -d 1 {user}`",
            output.decode("utf-8", "replace"),
        )
    return StepFailed(
        f"{node}: sudo refused user {user}",
        "let it run without a password (NOPASSWD), or pass --ask-sudo-pass; "
        "a wrong password given there looks the same",
        output.decode("utf-8", "replace"),
    )
