"""A working Docker engine: one that already runs, or one that the lab starts and stops for itself."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import firewall, mounts
from .errors import LabError, MissingError
from .paths import state_dir
from .shell import run

LABEL = "kubefab=lab"
START_TIMEOUT = 60.0
STOP_TIMEOUT = 40.0


@dataclass(frozen=True)
class Engine:
    """A Docker engine by its address ("" is the client's default); `ours` is True if the lab started it."""

    host: str
    ours: bool = False

    def docker(
        self, *args: str | Path, check: bool = True, timeout: float = 600, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the docker client with this engine. Raises LabError if it fails and `check` is set."""
        env = {"DOCKER_HOST": self.host} if self.host else None
        return run(["docker", *args], env=env, check=check, timeout=timeout, stdin=stdin)

    def lines(self, *args: str | Path) -> list[str]:
        """The lines that a docker command prints."""
        return self.docker(*args).stdout.split()


def engine_dir() -> Path:
    """The folder of the lab's own engine: data, socket, pid and log."""
    return state_dir() / "engine"


def _socket() -> Path:
    return engine_dir() / "docker.sock"


def answers(engine: Engine, timeout: float = 15) -> bool:
    """Whether the engine answers a request."""
    try:
        done = engine.docker("version", "--format", "{{.Server.Version}}", check=False, timeout=timeout)
    except LabError:
        return False
    return done.returncode == 0 and bool(done.stdout.strip())


def find() -> Engine | None:
    """The lab's own engine if it runs, else one that the docker client can reach, else None."""
    if shutil.which("docker") is None:
        return None
    own = Engine(f"unix://{_socket()}", ours=True)
    if _socket().exists() and answers(own):
        return own
    default = Engine("")
    return default if answers(default) else None


def ensure() -> Engine:
    """Find an engine or start one; raises MissingError with the remedy if neither is possible."""
    if shutil.which("docker") is None:
        raise MissingError("there is no docker client on PATH", "apt-get install docker.io")
    engine = find()
    if engine is not None:
        return engine
    if os.geteuid() != 0:
        raise MissingError("no Docker engine answers, and only root can start one", "start Docker, or use sudo")
    if shutil.which("dockerd") is None:
        raise MissingError("no Docker engine answers, and there is no dockerd", "apt-get install docker.io")
    other = other_engine(Path("/proc"))
    if other is not None:
        raise MissingError(
            f"a Docker engine runs here (process {other}) but does not answer this client; a second one in the same "
            "network would take away the first one's rules",
            "point DOCKER_HOST at it, stop it, or run the lab in a network namespace of its own",
        )
    return start()


def other_engine(proc: Path) -> int | None:
    """The process id of a dockerd in this process's network namespace, or None."""
    ours = (proc / "self/ns/net").readlink()
    for folder in proc.iterdir():
        try:
            if not folder.name.isdigit() or (folder / "comm").read_text() != "dockerd\n":
                continue
            if (folder / "ns/net").readlink() == ours:
                return int(folder.name)
        except OSError:
            continue
    return None


def dockerd_command(folder: Path) -> list[str]:
    """Arguments of an engine that shares nothing with any other on the machine."""
    return [
        "dockerd",
        "--host",
        f"unix://{folder / 'docker.sock'}",
        "--data-root",
        str(folder / "data"),
        "--exec-root",
        str(folder / "exec"),
        "--pidfile",
        str(folder / "dockerd.pid"),
        "--bridge",
        "none",
        "--oom-score-adjust",
        "0",
    ]


def start() -> Engine:
    """Start the lab's own dockerd, detached from this process; raises LabError if it does not answer in time."""
    folder = engine_dir()
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / firewall.SAVED).exists():
        firewall.save(folder)
    _stop_orphan(folder)
    for stale in ("dockerd.pid", "docker.sock"):
        (folder / stale).unlink(missing_ok=True)
    log = folder / "dockerd.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            dockerd_command(folder),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    engine = Engine(f"unix://{_socket()}", ours=True)
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        if _socket().exists() and answers(engine):
            return engine
        if process.poll() is not None:
            break
        time.sleep(0.2)
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
    raise LabError(f"dockerd did not come up within {START_TIMEOUT:.0f} s:\n{tail}", f"read {log}")


def _pid(path: Path, program: str) -> int | None:
    """The process id in a pid file, if that process is still our `program`; else None."""
    try:
        pid = int(path.read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    ours = program.encode() in command and str(engine_dir()).encode() in command
    return pid if ours else None


def _terminate(pid: int, program: str) -> None:
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        _reap(pid)
        time.sleep(0.1)
    if Path(f"/proc/{pid}").exists():
        raise LabError(f"{program} (process {pid}) does not stop", f"kill -9 {pid}")


def stop() -> bool:
    """Stop the lab's own dockerd and remove its network rules; True if one was running."""
    folder = engine_dir()
    pid = _pid(folder / "dockerd.pid", "dockerd")
    if pid is not None:
        _terminate(pid, "dockerd")
    _stop_orphan(folder)
    if (folder / firewall.SAVED).exists():
        firewall.restore(folder)
    return pid is not None


def _stop_orphan(folder: Path) -> None:
    """Stop a containerd that survived its dockerd: the next dockerd would wait for it in vain."""
    path = folder / "exec/containerd/containerd.pid"
    pid = _pid(path, "containerd")
    if pid is not None:
        _terminate(pid, "containerd")
    path.unlink(missing_ok=True)


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def remove_data() -> None:
    """Delete the data of the lab's own engine, after unmounting what a killed engine left mounted."""
    mounts.remove_tree(engine_dir())


def labelled(engine: Engine, kind: Sequence[str]) -> list[str]:
    """The ids of our objects; `kind` is a listing command such as `ps --all`."""
    return engine.lines(*kind, "--quiet", "--filter", f"label={LABEL}")
