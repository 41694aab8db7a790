"""Opens an environment for a command and closes it again: connections or simulated nodes, the journal, the locks, Ctrl-C.

What takes long to load (phases, rich) is imported in functions: while a command loads it, its connections are already being opened, and
the nodes looked at. One thread imports, the main one: two that import modules which import each other would wait for each other.
"""

from __future__ import annotations

import errno
import fcntl
import getpass
import os
import re
import resource
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property, partial
from pathlib import Path
from threading import Event, Thread
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import EXIT_INTERRUPTED, KubefabError, Unreachable, UsageError
from ..inventory import Environment, Node, private_folder
from ..inventory.components import RELEASES
from ..nodes.group import NodeGroup, connected, operator
from ..records import dataclass
from ..text.masking import Secret, mask
from .common import Options, described

if TYPE_CHECKING:
    from rich.console import Console

    from ..context import Choices
    from ..phases import Phase
    from ..run.apply import Archive
    from ..run.journal import Journal
    from ..run.observer import Observer
    from ..run.pipelines import Run
    from ..run.result import RunResult
    from ..run.retry import Clock
    from .progress import Progress

FILES = 16384  # open files: enough for thousands of nodes
_UNWRITABLE = frozenset({errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM})
TURN = (
    0.001  # seconds that a thread may work while others wait; Python's own 5 ms are longer than a node's answer takes
)
TOKEN_PATIENCE = 5.0  # seconds to delete the join token when the process must end


class Simulation(Protocol):
    """What a command asks of simulated nodes: rehearsal.simulation has the one implementation."""

    environment: Environment

    def clock(self, name: str) -> Clock:
        """The clock of the node of that name."""


@dataclass
class Session:
    """An environment that is open for work."""

    environment: Environment
    group: NodeGroup
    simulation: Simulation | None
    command: str
    verbose: bool = False
    quiet: bool = False
    json: bool = False
    _journal: Journal | None = None  # of the runs that `held` holds together

    @cached_property
    def console(self) -> Console:
        """Where the command prints; with `json` standard error, as standard output is for the one document."""
        from ..text.screen import Screen

        return Screen(stderr=self.json)

    def clock(self, name: str) -> Clock:
        """The clock by which waits for the node of that name are timed."""
        from ..run.events import real_clock

        return self.simulation.clock(name) if self.simulation else real_clock(name)

    def observer(
        self,
        digests: str | None = None,
        *,
        certificates: bool = False,
        tokens: bool = False,
        journal: Journal | None = None,
    ) -> Observer:
        """What observes the nodes for this command; it changes nothing. `journal` is a run's, all else Observer's."""
        from ..run.events import Events
        from ..run.observer import Observer

        events = Events(journal, self.clock)
        return Observer(
            self.environment, self.group, events=events, digests=digests, certificates=certificates, tokens=tokens
        )

    def run(
        self,
        phases: Sequence[Phase],
        nodes: Sequence[Node],
        choices: Choices | None = None,
        *,
        without_done: str = "",
        archive: Archive | None = None,
    ) -> RunResult:
        """Apply phases to nodes with live progress, journal, locks and Ctrl-C. Prints the failures of nodes, and raises none of them.

        `without_done` is print_failures', `archive` Run's. Raises KubefabError when another run holds one of the locks.
        """
        from ..phases import REGISTRY
        from .notices import warn_of_unlisted

        environment = self.environment
        if REGISTRY in phases:
            warn_of_unlisted(environment)
        with self.held(nodes, phases) as journal:
            observer = self.observer(certificates=any(phase.certificates for phase in phases), journal=journal)
            observer.ahead(nodes)
            from ..run.pipelines import Run
            from .progress import Progress, print_failures

            progress = Progress(
                [n.name for n in nodes],
                width=max(len(n.name) for n in environment.nodes),
                console=self.console,
                simulated=self.simulation is not None,
                verbose=self.verbose,
                quiet=self.quiet,
            )
            held = self.group.of(environment.control_plane).ensure_held
            heard = progress.heard if self.verbose else None
            run = Run(
                environment,
                self.group,
                progress,
                choices=choices,
                held=held,
                heard=heard,
                archive=archive,
                observer=observer,
            )
            with progress, _interruptible(run, self.group, progress):
                result = run.run(phases, nodes)
            progress.crowd_summary()
            journal.write("end", seconds=round(result.seconds, 3), exit=result.exit_code, steps=result.steps)
            result.journal = str(journal.path) if journal.whole else ""
        if result.failed:
            again = _without_faults(self.command)
            print_failures(self.console, result, again, environment.nodes, without_done=without_done)
            if result.journal:
                self.console.print(f"journal: {result.journal}", style="dim", soft_wrap=True)
            self.console.print(
                f"logs for a closer look: inv cluster.evidence {environment.option}", style="dim", soft_wrap=True
            )
        return result

    @contextmanager
    def held(self, nodes: Sequence[Node], phases: Sequence[Phase]) -> Iterator[Journal]:
        """Hold both locks, with one journal, for all runs within. Raises KubefabError when another run holds one of the locks."""
        if self._journal is not None:
            yield self._journal
            return
        environment = self.environment
        with _lock(environment), self._cluster_lock(), _journal(environment, self.command, nodes, phases) as journal:
            self._journal = journal
            try:
                yield journal
            finally:
                self._journal = None

    def summary(self, result: RunResult, phases: Sequence[Phase]) -> None:
        """Print the one closing line of a run that went well."""
        from ..text.screen import verdict
        from .progress import seconds

        count = len(result.nodes)
        nodes = f"{count} node{'s' * (count != 1)}"
        taken = f"{seconds(result.seconds)}{' simulated' if self.simulation else ''}"
        if result.steps == 0:
            text = f"nothing to do on {nodes} ({taken})"
        else:
            what = phases[0].title if len(phases) == 1 else "cluster"
            text = f"{what} done on {nodes}, {result.steps} step{'s' * (result.steps != 1)} ({taken})"
        self.console.print(verdict(True, f"{self.environment.name}: {text}"))

    @contextmanager
    def _cluster_lock(self) -> Iterator[None]:
        """Hold the run lock on the control plane, so that no other operator's run changes this cluster. Simulated nodes need none.

        If the control plane is unreachable, go on without: the other nodes can still be prepared. Raises KubefabError if it
        is reachable and the lock cannot be acquired.
        """
        if self.simulation:
            yield
            return
        control = self.group.of(self.environment.control_plane)
        owner = f"{operator()}@{socket.gethostname()} (process {os.getpid()}) since {time.strftime('%Y-%m-%d %H:%M:%S %Z')}: {self.command}"
        acquiring, holding = Future[None](), ExitStack()

        def acquire() -> None:
            try:
                try:
                    control.open()
                except Unreachable:
                    pass
                else:
                    holding.enter_context(control.hold(owner))
                acquiring.set_result(None)
            except BaseException as error:
                acquiring.set_exception(error)

        with holding:
            Thread(target=acquire, daemon=True, name="run-lock").start()
            from ..run import journal, observer  # noqa: F401  # what the run needs next

            acquiring.result()
            yield


def _many_files() -> None:
    """Raise the limit of open files as far as this process may: each connection takes one or two."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(hard, FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@contextmanager
def opened(options: Options, environment: Environment | None = None, *, ahead: bool = False) -> Iterator[Session]:
    """Open the environment that `options` name, or that is given. Raises UsageError before anything is connected to.

    With `ahead` the connections to its nodes begin to be opened at once: for a command that needs all of them, and has nothing left to refuse.
    """
    _many_files()
    environment = environment or described(options)
    # from one of more threads than FORKS to the next, a change costs more than waiting for it
    if len(environment.nodes) <= environment.settings.forks:
        sys.setswitchinterval(TURN)
    if ".".join(environment.settings.kubernetes.split(".")[:2]) not in RELEASES:
        from ..recipes.kubeadm import recipe_for

        recipe_for(environment)  # reject an unknown release before a journal is created
    password = _sudo_password() if options.ask_sudo_pass else None
    if options.faults and not environment.settings.simulated:
        raise UsageError(
            "--fault is for simulated nodes", f"environment {environment.name} has real ones: leave it out"
        )
    if options.workers and not environment.settings.simulated:
        raise UsageError("--workers is for simulated nodes", f"the workers of {environment.name} are in hosts.env")
    with _simulated(environment, options) as simulation:
        if simulation is not None:
            environment = simulation.environment
        environment.select(options.on)  # a wrong name is said before thousands of connections are prepared
        on_new_key = partial(_first_use, environment)
        with connected(environment, sudo_password=password, on_new_key=on_new_key, warn=_beside) as group:
            if ahead:
                group.ahead(environment.nodes)
            from .notices import warn

            warn(environment)
            yield Session(
                environment, group, simulation, command_line(), options.verbose, options.quiet, json=options.json
            )


def _sudo_password() -> Secret:
    """The password that the operator types, or that comes on standard input. Raises UsageError without one."""
    try:
        return Secret(getpass.getpass("sudo password: "))
    except EOFError:
        raise UsageError(
            "--ask-sudo-pass, but no password was given", "type it, or send it on standard input"
        ) from None


@contextmanager
def _simulated(environment: Environment, options: Options) -> Iterator[Simulation | None]:
    """Simulated nodes while the command runs; None for an environment of real ones."""
    if not environment.settings.simulated:
        yield None
        return
    import rehearsal

    workers = options.workers or None
    with rehearsal.running(environment, workers=workers, faults=options.faults) as simulation:
        yield simulation


def _first_use(environment: Environment, host: str, fingerprint: str) -> None:
    """Print the key of a host that was never connected to before, to standard error (see _beside)."""
    if not environment.settings.simulated:
        print(f"new host key of {host}: {fingerprint}", file=sys.stderr)


def _beside(text: str) -> None:
    """Print a warning to standard error, so that --json output stays JSON. By `print`: rich's live display shows it above itself."""
    print(f"! {text}", file=sys.stderr)


@contextmanager
def _journal(
    environment: Environment, command: str, nodes: Sequence[Node], phases: Sequence[Phase]
) -> Iterator[Journal]:
    """A journal of this run, closed at its end."""
    from ..run.journal import Journal

    names, chapters = [n.name for n in nodes], [p.name for p in phases]
    journal = Journal(environment.state / "journal", command, nodes=names, phases=chapters, warn=_beside)
    try:
        yield journal
    finally:
        journal.close()


@contextmanager
def _lock(environment: Environment) -> Iterator[None]:
    """Let one run at a time change an environment from this machine. The kernel releases the lock when its process ends.

    Where the state folder cannot be written, a run goes on with the control plane's run lock alone. Raises KubefabError that names the
    run which holds the lock.
    """
    path: Path = environment.state / "lock"
    try:
        private_folder(path.parent)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        _beside(f"{path} cannot be written ({error.strerror}); the run goes on without it")
        yield
        return
    with open(descriptor, "r+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise KubefabError(
                f"another run works on {environment.name}: {stream.read().strip() or 'it has just begun'}",
                "wait for it to end; nothing was touched",
            ) from None
        who = f"pid {os.getpid()} of {operator()}, since {time.strftime('%H:%M:%S')}: {command_line()}\n"
        with suppress(OSError):  # on a full disk the lock is held without its text
            os.ftruncate(stream.fileno(), 0)
            os.pwrite(stream.fileno(), who.encode("utf-8", "replace"), 0)
        yield


@contextmanager
def _interruptible(run: Run, group: NodeGroup, progress: Progress) -> Iterator[None]:
    """While it runs: the first Ctrl-C, SIGTERM or SIGHUP stops after the running steps. A second one ends the process at once.

    Before that the join token is deleted, if it takes no longer than TOKEN_PATIENCE.  CI sends SIGTERM when a job is cancelled,
    a terminal that is closed sends SIGHUP.
    """
    leaving = Event()

    def leave(code: int) -> None:
        if not leaving.is_set():  # a third Ctrl-C does not wait
            leaving.set()
            run.stop()
            deleting = Thread(target=run.tokens.delete, daemon=True)
            deleting.start()
            deleting.join(TOKEN_PATIENCE)
        progress.restore_terminal()
        closing = Thread(target=group.close, daemon=True)
        closing.start()
        closing.join(1)
        os._exit(code)

    def handler(number: int, frame: FrameType | None) -> None:
        if run.stopping.is_set():
            leave(EXIT_INTERRUPTED if number == signal.SIGINT else 128 + number)
        run.stop()
        progress.note("stopping after the steps that are under way; Ctrl-C again stops at once (both can be resumed)")

    before: dict[int, Any] = {}
    try:
        for number in map(int, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)):
            # under nohup, SIGHUP stays ignored
            if number == signal.SIGINT or signal.getsignal(number) == signal.SIG_DFL:
                before[number] = signal.signal(number, handler)
    except ValueError:  # signals can be handled in the main thread only: a test, or a program that imports this
        yield
        return
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def _without_faults(command: str) -> str:
    """The command to run again, without the faults of a rehearsal: they are in force for one command."""
    return re.sub(r" --fault[= ]\S+", "", command)


def command_line() -> str:
    """The command line as typed, for hints, without secrets."""
    return mask(" ".join([Path(sys.argv[0]).name, *sys.argv[1:]]))
