"""Builds programs from Go modules by name, each in a wrapper module of its own."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import LabError, MissingError
from .shell import run

GO_MINIMUM = (1, 26)
_STRIP = "-s -w"


@dataclass(frozen=True)
class GoProgram:
    """One or more commands of one Go module.

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
    def imports(self) -> list[str]:
        """Full import paths of the commands."""
        return [f"{self.module}/{p}" if p else self.module for p in self.packages]


def go_version() -> tuple[int, int]:
    """Major and minor version of the `go` command; raises MissingError when absent or too old."""
    wanted = ".".join(map(str, GO_MINIMUM))
    fix = f"install Go {wanted} or newer (https://go.dev/dl) and have `go` on PATH"
    if shutil.which("go") is None:
        raise MissingError("the lab builds Kubernetes from Go modules, and there is no `go` command", fix)
    text = run(["go", "env", "GOVERSION"]).stdout
    match = re.search(r"go(\d+)\.(\d+)", text)
    found = (int(match[1]), int(match[2])) if match else (0, 0)
    if found < GO_MINIMUM:
        raise MissingError(f"Go {found[0]}.{found[1]} is too old for the lab", fix)
    return found


def download(module: str, version: str) -> Path:
    """Fetch a module into Go's own cache and return its (read-only) folder."""
    text = run(["go", "mod", "download", "-json", f"{module}@{version}"], cwd=Path("/"), check=False).stdout
    found = json.loads(text or "{}")
    if "Dir" not in found:
        raise LabError(f"{module}@{version} cannot be had: {found.get('Error', 'no answer')}")
    return Path(found["Dir"])


def replaced_modules(go_mod: str) -> list[str]:
    """Modules that a go.mod replaces by folders of its own tree (Kubernetes' staging modules)."""
    return re.findall(r"^(?:replace\s+|\s+)(\S+) => \./", go_mod, flags=re.MULTILINE)


def build(program: GoProgram, work: Path, out: Path) -> None:
    """Build `program` in the empty folder `work`, leaving one static binary per package in `out`."""
    lines = ["module kubefab.lab/build", "", "go {}.{}".format(*GO_MINIMUM)]
    if program.staging:
        go_mod = (download(program.module, program.version) / "go.mod").read_text()
        lines += [f"replace {m} => {m} {program.staging}" for m in replaced_modules(go_mod)]
    (work / "go.mod").write_text("\n".join(lines) + "\n")
    tags = ["-tags", program.tags] if program.tags else []
    env = {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false", "GOWORK": "off"}
    targets = [f"{i}@{program.version}" for i in program.imports]
    run(["go", "get", *tags, *targets], cwd=work, env=env, log=work.parent / f"{program.name}.log")
    compile_here(program.imports, work, out, tags=program.tags, stamp=program.stamp, env=env)
    if program.output:
        next(out.iterdir()).rename(out / program.output)


def compile_here(imports: Sequence[str], work: Path, out: Path, *, tags: str, stamp: str, env: Mapping[str, str]) -> None:
    """`go build` the import paths from the module in `work` into the folder `out`."""
    out.mkdir(parents=True, exist_ok=True)
    flags = ["-trimpath", "-buildvcs=false", "-ldflags", f"{_STRIP} {stamp}".strip()]
    if tags:
        flags += ["-tags", tags]
    argv = ["go", "build", *flags, "-o", f"{out}/", *imports]
    run(argv, cwd=work, env=env, timeout=5400, log=work.parent / "go-build.log")


def build_flanneld(version: str, work: Path, out: Path) -> None:
    """Build flanneld without its Tencent backend, whose SDK modules are not served by every module proxy.

    The module is copied, the backend and its two requirements are taken out, and the rest is linked statically
    with cgo, which the udp backend needs.
    """
    tree = work / "flannel"
    shutil.copytree(download("github.com/flannel-io/flannel", version), tree)
    run(["chmod", "-R", "u+w", tree])
    shutil.rmtree(tree / "pkg/backend/tencentvpc")
    main = tree / "main.go"
    main.write_text(without_lines(main.read_text(), "pkg/backend/tencentvpc"))
    for name in ("go.mod", "go.sum"):
        path = tree / name
        path.write_text(without_lines(path.read_text(), "tencentcloud"))
    stamp = f'-X github.com/flannel-io/flannel/pkg/version.Version={version} -extldflags "-static"'
    env = {"CGO_ENABLED": "1", "GOFLAGS": "-buildvcs=false -mod=mod", "GOWORK": "off"}
    compile_here(["."], tree, work / "bin", tags="netgo,osusergo", stamp=stamp, env=env)
    out.mkdir(parents=True, exist_ok=True)
    shutil.copy2(next((work / "bin").iterdir()), out / "flanneld")


def without_lines(text: str, word: str) -> str:
    """`text` without the lines that contain `word`."""
    return "".join(line for line in text.splitlines(keepends=True) if word not in line)
