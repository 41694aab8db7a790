"""kube-web-view, a real read-only web UI from PyPI: in the lab it serves the dashboard's NodePort."""

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

# Debian bookworm's Python, whichever Python runs the build.
PYTHON = "3.11"
GLIBC_TAGS = ("manylinux2014", "manylinux_2_17", "manylinux_2_28")
# Every package has a fixed version: the build chooses none, and compiles none.
PINS = Path(__file__).parent / "files/web-view.txt"
# kube-web-view uses a function that later releases removed. There is no wheel of this release for PYTHON. In the wheel for
# the Python before, the Python part works, and the C part is not loaded because of its file name.
MARKUPSAFE, MARKUPSAFE_PYTHON = "2.0.1", "3.10"


def recipe() -> list[object]:
    """Everything that decides the content of the item."""
    return [PINS.read_text(), MARKUPSAFE, MARKUPSAFE_PYTHON, PYTHON, debian.PYTHON_PACKAGES]


def pip(*args: str | Path) -> None:
    """Run the pip of the Python that runs us, with the index that it is configured with."""
    run([sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *args])


def check_pip(work: Path) -> None:
    """Raise MissingError unless pip is installed and its index answers; `work` is a scratch folder."""
    if importlib.util.find_spec("pip") is None:
        raise MissingError(
            f"the lab fetches kube-web-view with pip, and {sys.executable} has no pip",
            f"{shlex.quote(sys.executable)} -m ensurepip",
        )
    try:
        pip("download", "--no-deps", *wheels(PYTHON), "--dest", work, f"kube-web-view=={versions.WEB_VIEW}")
    except LabError as error:
        remedy = f"check `{shlex.quote(sys.executable)} -m pip config list` and the way to the index"
        raise MissingError(f"pip cannot fetch kube-web-view: {error}", remedy) from error


def wheels(python: str) -> list[str]:
    """pip's options for wheels of that Python on this type of machine: pip never builds a package."""
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
