"""kube-web-view, a real read-only web UI, from PyPI: it stands behind the dashboard's NodePort in the lab."""

from __future__ import annotations

import importlib.util
import platform
import shlex
import shutil
import sys
from pathlib import Path

from . import debian, versions
from .errors import LabError, MissingError
from .shell import run

# Debian bookworm's, whatever Python runs the build.
PYTHON = "3.11"
GLIBC_TAGS = ("manylinux2014", "manylinux_2_17", "manylinux_2_28")
# Every package with its version: none is chosen on the day of the build, and none is compiled.
PINS = Path(__file__).parent / "files/web-view.txt"
# kube-web-view uses a function that later releases dropped. There is no wheel for PYTHON: of the one for the Python before,
# the part in Python works, and the part in C is passed over because of its name.
MARKUPSAFE, MARKUPSAFE_PYTHON = "2.0.1", "3.10"


def recipe() -> list[object]:
    """Everything that decides the content of the item."""
    return [PINS.read_text(), MARKUPSAFE, MARKUPSAFE_PYTHON, PYTHON, debian.PYTHON_PACKAGES]


def pip(*args: str | Path) -> None:
    """Run the pip of the Python that runs us, with whatever index it is configured with."""
    run([sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *args])


def check_pip(work: Path) -> None:
    """Raise MissingError unless there is a pip and its index answers; `work` is scratch."""
    if importlib.util.find_spec("pip") is None:
        raise MissingError(
            f"the lab fetches kube-web-view with pip, and {sys.executable} has no pip",
            f"{shlex.quote(sys.executable)} -m ensurepip",
        )
    try:
        pip("download", "--no-deps", *wheels(PYTHON), "--dest", work, f"kube-web-view=={versions.WEB_VIEW}")
    except LabError as error:
        fix = f"check `{shlex.quote(sys.executable)} -m pip config list` and the way to the index"
        raise MissingError(f"pip cannot fetch kube-web-view: {error}", fix) from error


def wheels(python: str) -> list[str]:
    """pip's options for wheels of that Python on this kind of machine: nothing is ever built."""
    targets = [f"--platform={tag}_{platform.machine()}" for tag in GLIBC_TAGS]
    return ["--only-binary", ":all:", "--python-version", python, *targets]


def make_web_view(work: Path, out: Path, inputs: dict[str, Path]) -> None:
    """Leave a tree with Python in /usr and the application in /opt/web-view in `out`."""
    debian.unpack(inputs["debian"] / "parts", debian.PYTHON_PACKAGES, out)
    debian.slim(out)
    site = out / "opt/web-view"
    into = ("install", "--no-deps", "--no-compile", "--target")
    pip(*into, site, *wheels(PYTHON), "--requirement", PINS)
    pip(*into, work / "older", *wheels(MARKUPSAFE_PYTHON), f"markupsafe=={MARKUPSAFE}")
    shutil.move(work / "older/markupsafe", site / "markupsafe")
