"""`fab` and `inv` of the `.venv` that `make` makes: Fabric's and Invoke's own programs, and two things that those decide before they load tasks.

`fab -H w1,w2 -- COMMAND` is the task `run`: Fabric's own would load neither our tasks nor fabric.yml, ask no hosts.env, connect to
the words as addresses and accept any host key.  `--version` shows kubefab's too.  `python -m tools.programs` writes the scripts.
"""

from __future__ import annotations

import gc
import importlib
import os
import re
import sys
from pathlib import Path
from types import ModuleType

# A fifth of the time until a command begins to work goes into looking for garbage among what is loaded, and into unittest.mock with
# asyncio and ssl, which Invoke loads for the test double of its Context: no command uses that. Invoke also has a copy of PyYAML, which
# we load ourselves.
gc.set_threshold(50_000, *gc.get_threshold()[1:])
sys.modules.setdefault("invoke.vendor.yaml", importlib.import_module("yaml"))
if "unittest.mock" not in sys.modules:
    sys.modules["unittest.mock"] = ModuleType("unittest.mock")
    vars(sys.modules["unittest.mock"])["__getattr__"] = lambda name: object
    importlib.import_module("invoke.context")
    del sys.modules["unittest.mock"]

from invoke.exceptions import ParseError  # noqa: E402
from invoke.parser import Parser  # noqa: E402

PROJECT = Path(__file__).resolve().parents[1]
PROGRAMS = {"fab": "fabric.main", "inv": "invoke.main", "invoke": "invoke.main"}
_SCRIPT = '''\
{first}
"""{module}'s program with kubefab's rules, written by `make` (tools/programs.py)."""
import os
import sys

project = os.fsdecode({project!r})  # bytes: in an ASCII locale the path's letters cannot be text
try:
    (project + sys.prefix).encode()
except UnicodeEncodeError:
    if not sys.flags.utf8_mode:  # from 3.12 on Python loads no compiled module from a path that is not text: again, with UTF-8 paths
        if sys.stdout:
            os.environ.setdefault("PYTHONIOENCODING", f"{{sys.stdout.encoding}}:{{sys.stdout.errors}}")
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
sys.path.insert(0, project)
from tools.programs import run

del sys.path[0]
run({module!r})
'''


def run(module: str) -> None:
    """Run the program of `fabric.main` or `invoke.main` with the command line of this process, and end the process with its exit code."""
    try:
        try:
            _run(module)
        finally:
            if sys.stdout:
                sys.stdout.flush()
    except BrokenPipeError:  # the reader of a list or a help text has what it wanted: `inv -l | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes once more
        sys.exit(1)


def _run(module: str) -> None:
    program = importlib.import_module(module).program
    try:
        core = Parser(initial=program.initial_context, ignore_unknown=True).parse_argv(sys.argv[1:])
    except ParseError as error:  # an option before the tasks; Invoke itself would end with 1, as a run that failed
        option = re.search(r"<Argument: ([\w-]+)(?: \(([\w-]+)\))?", str(error))
        what = f"--{max(option.groups(''), key=len)} needs a value" if option else str(error)
        print(f"\n✗ {Path(sys.argv[0]).name}: {what}", file=sys.stderr)
        sys.exit(2)
    options = core[0].args
    if options.version.value:
        import tomllib

        project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        print(f"{project['name']} {project['version']}")
    elif "hosts" in options and core.remainder and not core.unparsed and not options.complete.value:
        sys.argv.insert(sys.argv.index("--"), "run")
    sys.exit(program.run())


def write(folder: Path, python: str = sys.executable) -> None:
    """Write the scripts into the folder of a virtual environment's programs, in place of those that pip made."""
    direct = len(python.encode()) < 120 and not any(
        map(str.isspace, python)
    )  # what a kernel accepts after #!; as pip does it
    first = f"#!{python}" if direct else f"#!/bin/sh\n'''exec' \"{python}\" \"$0\" \"$@\"\n' '''"
    for name, module in PROGRAMS.items():
        beside = folder / f".{name}.kubefab"
        beside.write_text(_SCRIPT.format(first=first, module=module, project=os.fsencode(PROJECT)), encoding="utf-8")
        beside.chmod(0o755)
        beside.replace(folder / name)


if __name__ == "__main__":
    write(Path(sys.executable).parent)
