"""Runs local commands and turns a failure into a LabError that shows the end of the command's output."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from .errors import LabError


def run(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
    timeout: float = 3600,
    check: bool = True,
    log: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run `argv` without a shell and return its output.

    `env` is added to the process environment, `timeout` is in seconds, and `log` receives the output of a
    failed command. Raises LabError when the command is missing, times out, or (with `check`) fails.
    """
    command = [str(a) for a in argv]
    shown = shlex.join(command)
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env={**os.environ, **env} if env else None,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as error:
        raise LabError(f"command not found: {command[0]}", exit_code=2) from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"gave up after {timeout:.0f} s: {shown}") from error
    if check and done.returncode != 0:
        output = (done.stdout + done.stderr).strip()
        if log is not None:
            log.write_text(f"$ {shown}\n{output}\n")
        tail = "\n".join(output.splitlines()[-12:])
        where = f"\n(full output: {log})" if log is not None else ""
        raise LabError(f"exit {done.returncode} from: {shown[:400]}\n{tail}{where}")
    return done
