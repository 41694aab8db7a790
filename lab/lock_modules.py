"""`python -m lab.lock_modules`: updates the dependencies of the lab's add-ons after a version in versions.py changed.

`go get` would list every module that any of the programs' modules mentions. Only the modules that the commands are
compiled from are kept: a build then downloads nothing else, and checks each module against the hash in lab/go/go.sum.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from .gobuild import GO_MINIMUM, LOCKED, edit_sources, environment
from .recipes import ADDONS
from .shell import run

_HEAD = "module kubefab.lab/build\n\ngo {}.{}\n"
_MODULES = "{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}}{{end}}{{end}}"


def relock(work: Path) -> None:
    """Write lab/go/go.mod and go.sum; `work` is an empty folder. Takes minutes: hundreds of go.mod files are fetched."""
    env, head, tags = environment(), _HEAD.format(*GO_MINIMUM), ["-tags", ADDONS.tags]
    (work / "go.mod").write_text(head)
    edit_sources(ADDONS, work)
    # not `go get`: it also needs the packages at a module's root, and flanneld's imports the cloud backends, which are left out
    run(["go", "mod", "edit", *(f"-require={m}@{v}" for m, v in ADDONS.versions)], cwd=work, env=env)
    listing = ["go", "list", "-mod=mod", *tags, "-deps"]
    used = run([*listing, "-f", _MODULES, *ADDONS.imports], cwd=work, env=env).stdout.splitlines()
    (work / "go.mod").write_text(lock(head, used))
    (work / "go.sum").write_text("")
    run([*listing, *ADDONS.imports], cwd=work, env=env)
    for name in ("go.mod", "go.sum"):
        shutil.copyfile(work / name, LOCKED / name)


def lock(head: str, used: list[str]) -> str:
    """The go.mod that requires the modules `used` (each `PATH VERSION`; empty lines and repeats do not count)."""
    return head + "\nrequire (\n" + "".join(f"\t{m}\n" for m in sorted(set(filter(None, used)))) + ")\n"


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        relock(Path(folder))
