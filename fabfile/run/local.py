"""Runs a step's commands on this machine: the operator's own hooks, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from contextlib import suppress

from ..nodes.script import OUTPUT_LIMIT, Outcome
from ..steps import Step

_TIMED_OUT = 124  # as timeout(1) says it


def carry_out(step: Step) -> Outcome:
    """Run the commands one after the other up to the first that fails; the end of their output comes back.

    They have a session of their own: Ctrl-C lets the step that is running end, as it does on a node.  After the step's `timeout`
    all of its processes are ended.
    """
    with tempfile.TemporaryFile() as log:
        code = at = 0
        for line in step.commands:
            at += 1
            # a hook is a program of the operator's, called by a line that phases/hooks.py quotes
            process = subprocess.Popen(
                ["/bin/sh", "-c", line],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code = process.wait(step.timeout)
            except subprocess.TimeoutExpired:
                _end(process)
                log.seek(0, os.SEEK_END)
                log.write(f"\nended: it ran longer than {step.timeout:.0f} s\n".encode())
                code = _TIMED_OUT
            if code:
                break
        size = log.seek(0, os.SEEK_END)
        log.seek(max(0, size - OUTPUT_LIMIT))
        return Outcome(code, at, log.read().decode("utf-8", "replace"))


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process that we started, with those that it started in its session."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(5)
    with suppress(ProcessLookupError):  # some of them may not end by themselves
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
