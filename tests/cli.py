"""Runs our commands for tests, as a person types them in the `.venv` that `make` makes (tools/programs.py): each in its own process, but without half a second of imports for each.

One process (this file, started before the first command) has imported everything and forks for each command; what a command
still had to import or to compile itself, the process has for the next one.  Tests of how the interpreter starts, of its
locale or of the installed scripts use `started`.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pickle
import pkgutil
import re
import select
import signal
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
TIMEOUT = 120  # seconds
LOCALE = {"LC_ALL": "C.UTF-8"}

Done = subprocess.CompletedProcess[str]
_servers: list[subprocess.Popen[str]] = []


def _variables(more: dict[str, str]) -> dict[str, str]:
    """A command's environment variables: the test's home, and nothing of the operator's."""
    return {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], **LOCALE, "COLUMNS": "80", **more}


def started(*argv: str, folder: Path = PROJECT, **more: str) -> Done:
    """Run `inv …` or `fab …` from the installed script, in its own interpreter."""
    words = [str(BIN / argv[0]), *argv[1:]]
    return subprocess.run(
        words,
        cwd=folder,
        env=_variables(more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


def run(*argv: str, folder: Path = PROJECT, out: Path | None = None, **more: str) -> Done:
    """Run `inv …` or `fab …` in `folder`, with its own variables and empty standard input; `out` is a file for its standard output."""
    variables = _variables(more)
    assert not any(name.startswith("PYTHON") for name in more) and variables["LC_ALL"] == LOCALE["LC_ALL"], (
        "for `started`"
    )
    with TemporaryDirectory() as place:
        shown, err = out or Path(place, "out"), Path(place, "err")
        code = _ask({"argv": argv, "folder": str(folder), "variables": variables, "out": str(shown), "err": str(err)})
        text = "" if out else shown.read_text(encoding="utf-8")
        return subprocess.CompletedProcess(argv, code, text, err.read_text(encoding="utf-8"))


def _ask(request: dict[str, Any]) -> int:
    """Ask the server to run one command; returns its exit code. Raises TimeoutError, or EOFError if the server dies."""
    if not _servers:
        variables = {**os.environ, **LOCALE}
        server = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=variables,
            start_new_session=True,
        )
        _servers.append(server)
        atexit.register(_end, server)
    server = _servers[0]
    assert server.stdin and server.stdout
    print(json.dumps(request), file=server.stdin, flush=True)
    if not select.select([server.stdout], [], [], TIMEOUT)[0]:
        _end(server)
        raise TimeoutError(f"{' '.join(request['argv'])}: no end after {TIMEOUT} s")
    answer = server.stdout.readline()
    if not answer:
        _end(server)
        raise EOFError("the process that runs our commands has died")
    return int(answer)


def _end(server: subprocess.Popen[str]) -> None:
    """End the server and the commands it runs."""
    if server in _servers:
        _servers.remove(server)
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def imported() -> None:
    """Import all that a command may import, so that a fork has it."""
    import fabfile
    import lab.entry  # noqa: F401  # tasks.py imports it
    import rehearsal
    from fabfile.manifests import _templates

    for package in (fabfile, rehearsal):  # what a command imports when it runs, too
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)

    for name in _templates().list_templates(extensions=["j2"]):
        _templates().get_template(name)  # compiled once for all commands
    re._MAXCACHE = 1 << 14  # type: ignore[attr-defined]
    gc.freeze()


def serve() -> Callable[[], object]:
    """Fork for each request; returns only in the child, with the function to call."""
    sys.path.insert(0, str(PROJECT))
    from tools import programs

    imported()
    _note_manifests()
    sys.path.remove(str(PROJECT))
    for line in sys.stdin:
        request = json.loads(line)
        learnt, learning = os.pipe()
        child = os.fork()
        if child:
            os.close(learning)
            with open(learnt, "rb") as answer:
                more = answer.read()
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
            _learn(more)
            continue
        os.close(learnt)
        atexit.register(_report, learning, set(sys.modules), set(_compiled), set(_stamped))
        for number, path in enumerate((os.devnull, request["out"], request["err"])):
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            os.dup2(file, number)
            os.close(file)
        sys.stdin, sys.stdout, sys.stderr = (
            open(number, mode, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
            for number, mode in enumerate("rww")
        )
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["variables"])
        sys.argv = [str(BIN / request["argv"][0]), *request["argv"][1:]]
        return partial(programs.run, programs.PROGRAMS[request["argv"][0]])
    sys.exit()


# Python's own memory of patterns, by type, text and flags
_compiled: dict[tuple[type, str | bytes, int], re.Pattern[Any]] = re._cache  # type: ignore[attr-defined]
_seen: set[object] = set()
_stamped: set[str] = set()  # texts of manifests


def _note_manifests() -> None:
    """Keep in `_stamped` which manifests are read and stamped, a tenth of a command's time."""
    from fabfile import manifests

    stamp = manifests._stamped

    def noted(text: str) -> str:
        _stamped.add(text)
        return stamp(text)

    manifests._stamped = noted  # type: ignore[assignment]


def _report(learning: int, modules: set[str], patterns: set[tuple[type, str | bytes, int]], stamped: set[str]) -> None:
    """In the child, at its end: the names of the modules, the patterns and the manifests that it had to load besides what the server had."""
    with open(learning, "wb") as stream:
        fresh = [
            name for name in set(sys.modules) - modules if _is_installed(getattr(sys.modules[name], "__file__", None))
        ]
        pickle.dump((fresh, set(_compiled) - patterns, _stamped - stamped), stream)


def _is_installed(file: str | None) -> bool:
    """Whether a module is Python's or a package's: what a command found beside its project it has to import itself."""
    return file is not None and file.startswith(tuple(sysconfig.get_paths().values()))


def _learn(report: bytes) -> None:
    """Load what a child had to load: modules, and patterns and manifests that come again (those with a secret or a port do not)."""
    if not report:  # the child was killed
        return
    from fabfile import manifests

    modules, patterns, stamped = pickle.loads(report)
    for name in modules:
        with suppress(ImportError):
            importlib.import_module(name)
    for _, pattern, flags in _seen & patterns:
        re.compile(pattern, flags)
    for text in _seen & stamped:
        manifests._stamped(text)
    _seen.update(patterns, stamped)
    gc.freeze()


def end(code: int) -> None:
    """End the child as an interpreter ends, but without freeing its memory: that takes longer than most commands."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    command = serve()
    try:
        command()
    except SystemExit as ended:
        if isinstance(ended.code, int | None):
            end(ended.code or 0)
        raise
