"""Builds programs from Go modules by name, each set in a wrapper module of its own."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from . import versions
from .errors import LabError, MissingError
from .shell import run

GO_MINIMUM = (1, 26)
LOCKED = Path(__file__).parent / "go"
# All programs use the same flags, so that shared packages (above all the standard library) are compiled once. The linker
# strips debugging data anyway; compiling without it is faster and gives the same code.
FLAGS = ("-trimpath", "-buildvcs=false", "-gcflags=all=-dwarf=false")
_STRIP = "-s -w"
_GIB = 2**30


@dataclass(frozen=True)
class GoProgram:
    """One or more commands of one Go module, or of several with `lock`.

    `packages` are import paths below `module` ("" is the module's root); `stamp` is extra linker flags;
    `staging` pins the module's own staging modules to that version; `output` renames a single command.
    """

    name: str
    module: str
    version: str
    packages: tuple[str, ...]
    tags: str = ""
    stamp: str = ""
    staging: str = ""
    output: str = ""

    @property
    def imports(self) -> tuple[str, ...]:
        """Full import paths of the commands."""
        return tuple(f"{self.module}/{p}" if p else self.module for p in self.packages)


@dataclass(frozen=True)
class GoTests(GoProgram):
    """The tests of one package, as a program that runs them."""


@dataclass(frozen=True)
class Addons:
    """Commands of several modules, compiled together with one set of dependencies, which `LOCKED` names with hashes.

    `imports` are the commands' import paths. `edited` maps a command's name to the source files of a module it is made
    from; lines of these files that contain a word of `left_out` are dropped.
    """

    name: str
    versions: tuple[tuple[str, str], ...]
    imports: tuple[str, ...]
    edited: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
    left_out: tuple[str, ...] = ()
    tags: str = ""
    stamp: str = ""


Program = GoProgram | Addons


def commands(program: Program) -> list[str]:
    """The names of the files that `build` leaves."""
    renamed = program.output if isinstance(program, GoProgram) else ""
    return [renamed or i.rsplit("/", 1)[-1] for i in program.imports]


def go_version() -> tuple[int, int]:
    """Major and minor version of the `go` command; raises MissingError when absent or too old."""
    wanted = ".".join(map(str, GO_MINIMUM))
    remedy = f"install Go {wanted} or newer (https://go.dev/dl) and have `go` on PATH"
    if shutil.which("go") is None:
        raise MissingError("the lab builds Kubernetes from Go modules, and there is no `go` command", remedy)
    text = run(["go", "env", "GOVERSION"]).stdout
    match = re.search(r"go(\d+)\.(\d+)", text)
    found = (int(match[1]), int(match[2])) if match else (0, 0)
    if found < GO_MINIMUM:
        raise MissingError(f"Go {found[0]}.{found[1]} is too old for the lab", remedy)
    return found


def cache_folders() -> list[Path]:
    """Go's own folders for compiled packages and for modules, which a build fills."""
    return [Path(p) for p in run(["go", "env", "GOCACHE", "GOMODCACHE"]).stdout.splitlines()]


def check_registry(module: str, version: str) -> None:
    """Raise MissingError unless the module registry that Go is configured with answers."""
    done = run(["go", "list", "-m", f"{module}@{version}"], cwd=Path("/"), env=environment(), check=False, timeout=120)
    if done.returncode != 0:
        raise MissingError(
            f"Go cannot fetch {module}@{version}: {done.stderr.strip()}", "check `go env GOPROXY` and the way to it"
        )


def download(module: str, version: str) -> Path:
    """Fetch a module into Go's own cache and return its (read-only) folder."""
    text = run(
        ["go", "mod", "download", "-json", f"{module}@{version}"], cwd=Path("/"), env=environment(), check=False
    ).stdout
    found = json.loads(text or "{}")
    if "Dir" not in found:
        raise LabError(f"{module}@{version} cannot be fetched: {found.get('Error', 'no answer')}")
    return Path(found["Dir"])


def wrapper(go_mod: str, module: str, version: str, staging: str) -> str:
    """The go.mod of a module that builds `module`'s commands with exactly the dependencies in its own `go_mod`.

    Where `go_mod` replaces a module by a folder, the wrapper uses the version `staging`, or the required one without it.
    """
    lines = ["module kubefab.lab/build"]
    for line in go_mod.splitlines():
        folder = re.match(r"(\s*(?:replace\s+)?)(\S+)(?: v\S+)? => \.", line)
        if folder and staging:
            lines.append(f"{folder[1]}{folder[2]} => {folder[2]} {staging}")
        elif not folder and not line.startswith("module "):
            lines.append(re.sub(r" v0\.0\.0(?=\s|$)", f" {staging}", line) if staging else line)
    return "\n".join([*lines, "", f"require {module} {version}", ""])


def fetch(program: Program, work: Path) -> None:
    """Turn the empty folder `work` into the wrapper module of `program`, and fetch what it needs into Go's module cache."""
    if isinstance(program, Addons):
        for name in ("go.mod", "go.sum"):
            shutil.copyfile(LOCKED / name, work / name)
        edit_sources(program, work)
    else:
        folder = download(program.module, program.version)
        text = wrapper((folder / "go.mod").read_text(), program.module, program.version, program.staging)
        (work / "go.mod").write_text(text)
        if (folder / "go.sum").exists():
            shutil.copyfile(folder / "go.sum", work / "go.sum")
    run(
        [
            "go",
            "list",
            *_options(program),
            "-deps",
            *(["-test"] if isinstance(program, GoTests) else []),
            *program.imports,
        ],
        cwd=work,
        env=environment(),
        log=_log(work, program),
    )


def edit_sources(program: Addons, work: Path) -> None:
    """Write the commands in `work` that are made from edited files of their modules."""
    for name, module, files in program.edited:
        tree = download(module, dict(program.versions)[module])
        (work / name).mkdir()
        for file in files:
            text = without_lines((tree / file).read_text(), program.left_out)
            (work / name / Path(file).name).write_text(
                re.sub(r"^package \w+", "package main", text, count=1, flags=re.MULTILINE)
            )


def build(program: Program, work: Path, out: Path) -> None:
    """Build the wrapper module that `fetch` left in `work`: one static binary per command in `out`."""
    out.mkdir(parents=True, exist_ok=True)
    flags = [*FLAGS, "-ldflags", f"{_STRIP} {program.stamp}".strip(), *_options(program)]
    verb = ["test", "-c"] if isinstance(program, GoTests) else ["build"]
    argv = ["go", *verb, *flags, "-o", f"{out}/", *program.imports]
    run(
        argv,
        cwd=work,
        env=environment() | collector(os.environ, _memory(), os.cpu_count() or 1),
        timeout=5400,
        log=_log(work, program),
    )
    if isinstance(program, GoProgram) and program.output:
        next(out.iterdir()).rename(out / program.output)


def _options(program: Program) -> list[str]:
    mod = "-mod=readonly" if isinstance(program, Addons) else "-mod=mod"
    return [mod, "-tags", program.tags] if program.tags else [mod]


def _log(work: Path, program: Program) -> Path:
    return work.parent / f"{program.name}.log"


def environment() -> dict[str, str]:
    """The environment variables of a build; they override the operator's environment and `go env -w`."""
    arch = versions.debian_arch(platform.machine())
    return {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false", "GOWORK": "off", "GOOS": "linux", "GOARCH": arch}


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def collector(environ: Mapping[str, str], memory: int, cores: int) -> dict[str, str]:
    """The compiler's garbage collection setting: with `memory` free bytes for each of `cores`, it uses more and runs faster."""
    if "GOGC" in environ:
        return {}
    each = memory / cores
    return {"GOGC": "400"} if each >= 6 * _GIB else {"GOGC": "200"} if each >= 3 * _GIB else {}


def without_lines(text: str, words: tuple[str, ...]) -> str:
    """`text` without the lines that contain one of `words`."""
    return "".join(line for line in text.splitlines(keepends=True) if not any(w in line for w in words))
