"""Prints in one line what a machine lacks for a lab, before anything is built or installed.

`python -m lab.needs` needs only the standard library, no virtual environment.  It exits with 2 if something is missing.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable


def lacking(platform: str, root: bool, has: Callable[[str], bool]) -> str:
    """What a machine of `platform` (as sys.platform) lacks, with the remedy; "" if nothing. `has` says whether a program is installed.

    A Docker engine is not required: the lab starts one, and installs docker.io if apt-get can.
    """
    if not platform.startswith("linux"):
        return f"Linux (this is {platform})"
    wants = []
    if not root:
        wants.append("root (sudo)")
    if not has("dockerd") and not has("docker") and not has("apt-get"):
        wants.append("Docker")
    return " and ".join(wants)


def main() -> None:
    missing = lacking(sys.platform, os.geteuid() == 0, lambda program: shutil.which(program) is not None)
    if missing:
        sys.exit(f"tests on real nodes need {missing}; nothing was built or installed. `make test` runs all others")


if __name__ == "__main__":
    main()
