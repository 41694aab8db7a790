"""`fab`'s entry: the manual's phases as tasks, and `run`, each for the nodes that `-H` names."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from invoke import Collection

# `fab` puts this folder, not the project's, on the path; rehearsal/ and lab/ stand beside it.
_PROJECT = str(Path(__file__).resolve().parent.parent)
if _PROJECT not in sys.path:
    sys.path.insert(0, _PROJECT)

# Invoke keeps Python from writing bytecode, so that each command would compile all that it imports again.
sys.dont_write_bytecode = bool(sys.flags.dont_write_bytecode)

if "--complete" in sys.argv:
    from .cli.completion import answer

    def _faults() -> Iterable[str]:
        from rehearsal.faults import TABLE

        return TABLE

    answer(sys.argv, _faults)

from .cli.phases import TASKS  # noqa: E402
from .cli.run import run  # noqa: E402
from .cli.typed import understand  # noqa: E402

ns = Collection(*TASKS, run)
understand("fabric.main")
