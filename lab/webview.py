"""kube-web-view, a real read-only web UI, from PyPI: it stands behind the dashboard's NodePort in the lab."""

from __future__ import annotations

import platform
import shutil
import sys
import tarfile
from pathlib import Path

from . import debian, versions
from .shell import run

# Debian bookworm's, whatever Python runs the build.
PYTHON = "3.11"
GLIBC_TAGS = ("manylinux2014", "manylinux_2_17", "manylinux_2_28")
# kube-web-view uses a function that later releases dropped; its sources work without their C part.
MARKUPSAFE = "2.0.1"
RECIPE = (versions.WEB_VIEW, MARKUPSAFE, PYTHON, debian.PYTHON_PACKAGES)


def make_web_view(work: Path, out: Path, inputs: dict[str, Path]) -> None:
    """Leave a tree with Python in /usr and the application in /opt/web-view in `out`."""
    debian.unpack(inputs["debian"] / "parts", debian.PYTHON_PACKAGES, out)
    debian.slim(out)
    site = out / "opt/web-view"
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    targets = [f"--platform={tag}_{platform.machine()}" for tag in GLIBC_TAGS]
    options = ["--python-version", PYTHON, "--only-binary", ":all:", "--no-compile", *targets]
    run([*pip, "install", "--target", site, *options, f"kube-web-view=={versions.WEB_VIEW}"])
    source: list[str | Path] = ["--no-deps", "--no-binary", "markupsafe", "--no-build-isolation", "--dest", work]
    run([*pip, "download", *source, f"markupsafe=={MARKUPSAFE}"])
    with tarfile.open(next(work.glob("*.tar.gz"))) as archive:
        archive.extractall(work, filter="data")
    shutil.rmtree(site / "markupsafe")
    shutil.copytree(next(work.glob("MarkupSafe-*/src/markupsafe")), site / "markupsafe")
