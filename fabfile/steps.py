"""What a phase may yield. Values only: nothing here touches a node.

`Step` changes something, `Wait` watches something until it is so. run/ renders both to
scripts, sends them, times them and journals them; `plan` prints the same objects.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable
from dataclasses import fields
from typing import Any, Literal

from .records import dataclass
from .text.masking import mask

MINUTE = 60.0

# where an action runs: on the node itself, on the control plane for it, or (a step) on the operator's machine
Target = Literal["", "control-plane", "operator"]
Gate = Literal["seen", "master", "network", "members", "addons"]  # what nodes wait for in each other: see run/gates.py
Needs = Gate | Literal[""]


class _Masked:
    """The repr of a dataclass with every text in it masked: files hold logins and tokens, and commands of 1.5 its token."""

    def __repr__(self) -> str:
        values = (f"{field.name}={_shown(getattr(self, field.name))}" for field in fields(self))  # type: ignore[arg-type]
        return f"{type(self).__name__}({', '.join(values)})"


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_shown, value))})"
    return repr(mask(value) if isinstance(value, str) else value)


@dataclass(frozen=True, repr=False)
class File(_Masked):
    """A whole file that a step writes, atomically, before its commands.

    `mode` is octal text as for chmod; a file with a secret in it sets `secret`, which keeps its
    content out of plans, and its mode must then be 0600.  With `keep`, what was there before is kept on
    the node, and reset gives it back (keeping.py).
    """

    path: str
    content: str
    mode: str = "0644"
    secret: bool = False
    keep: bool = False

    def __post_init__(self) -> None:
        if self.secret and self.mode != "0600":
            raise ValueError(f"{self.path} holds a secret: its mode must be 0600, not {self.mode}")

    @property
    def sha256(self) -> str:
        """The digest that the facts report for this file once it is written."""
        return hashlib.sha256(self.content.encode()).hexdigest()


@dataclass(frozen=True, repr=False)
class Step(_Masked):
    """A change on one node: files first, then commands, one shell line each, stopping at the first failure.

    `id` is stable and names the phase (`install.repository`); `title` is what a person reads while it
    runs; `timeout` is in seconds; `hint` is the next action when it fails.  `on` delegates it to the
    control plane (`"control-plane"`) and `once` lets only the first of several nodes run it in a run.
    `needs` names a gate that must be open first (run/gates.py).  `mints` says that it makes the run's join token,
    which is then deleted at the end of the run.  `evidence` are read-only lines whose output explains a failure.
    `fetches` says that it gets something from outside: it alone has a proxy's variables.
    `says` is a sentence that a person must read, which the run prints when the step is done.
    `undo` takes it back: it is carried out if the node's run ends, for whatever reason, in this action or before the next one that is
    carried out without an `undo` has begun.
    Actions of one `turn` that follow each other are one node's turn: no other node begins them meanwhile, nor after one at which they failed.
    """

    id: str
    title: str
    commands: tuple[str, ...] = ()
    files: tuple[File, ...] = ()
    timeout: float = 5 * MINUTE
    hint: str = ""
    on: Target = ""
    once: bool = False
    needs: Needs = ""
    mints: bool = False
    evidence: tuple[str, ...] = ()
    fetches: bool = False
    says: str = ""
    undo: Step | None = None
    turn: str = ""

    @property
    def phase(self) -> str:
        return self.id.split(".", 1)[0]


@dataclass(frozen=True, repr=False)
class Fetch(Step):
    """A step that, after its commands, sends files of the node to the archive of this run, as a stream.

    `sends` are the files' absolute paths, or patterns of them in the form of the shell.  `scratch` are folders in which the commands
    make what is sent: they are removed when the script ends, however it ends, so that nothing of it stays on the node.
    """

    sends: tuple[str, ...] = ()
    scratch: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False)
class Give(Step):
    """A step that, before its commands, writes files of the archive of this run to the node, as streams.

    `gives` are pairs of a file's name in the archive and the absolute path on the node, where it gets mode 0700.
    """

    gives: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, repr=False)
class Remedy(_Masked):
    """What a `Wait` does when its condition has not come after `after` seconds: each is tried once, in order.

    `on` is as in a `Step`: the node that waits unless it says otherwise, wherever the Wait's own probe runs.
    """

    title: str
    commands: tuple[str, ...]
    after: float
    on: Target = ""


@dataclass(frozen=True, repr=False)
class Wait(_Masked):
    """Repeat `probe` (one shell line) until `until(output)` is satisfied.

    `until` gets the probe's output and returns None when it is, or a short sentence that says what was
    seen instead: shown live, and in the error on giving up.  `deadline` and `interval` are seconds; the
    deadline begins again after each remedy.  `changes` says that the probe itself changes the node (a
    command that is repeated until it works), `reboots` that the node goes away meanwhile.  `evidence` are
    read-only lines whose output explains a failure.  `undo` and `turn` are as in a `Step`.
    """

    id: str
    title: str
    probe: str
    until: Callable[[str], str | None]
    deadline: float
    interval: float = 2.0
    remedies: tuple[Remedy, ...] = ()
    hint: str = ""
    on: Target = ""
    once: bool = False
    needs: Needs = ""
    changes: bool = False
    reboots: bool = False
    evidence: tuple[str, ...] = ()
    undo: Step | None = None
    turn: str = ""

    @property
    def phase(self) -> str:
        return self.id.split(".", 1)[0]


@dataclass(frozen=True, repr=False)
class Stop(_Masked):
    """The phase will not go on with this node: `reason` is what was seen, `remedy` what to do."""

    id: str
    reason: str
    remedy: str

    @property
    def phase(self) -> str:
        return self.id.split(".", 1)[0]


Action = Step | Wait | Stop


def command(*argv: str) -> str:
    """One shell line from words, quoted where the shell would otherwise take them apart."""
    return shlex.join(argv)
