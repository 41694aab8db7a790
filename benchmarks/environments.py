"""Virtual environments for what kubefab is measured beside: each its own, from a lock with hashes, apart from kubefab's."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import platformdirs

HERE = Path(__file__).resolve().parent
LOCKS = {
    "ansible": HERE / "rivals/ansible/requirements.txt",
    "pyinfra": HERE / "rivals/pyinfra/requirements.txt",
    "plot": HERE / "plot/requirements.txt",
}


def folder() -> Path:
    """Where the environments, and the packages for the nodes, are kept; safe to delete."""
    return platformdirs.user_cache_path("kubefab") / "benchmarks"


def programs(name: str, say: Callable[[str], None]) -> Path:
    """The bin folder of that environment, made on first use and again after its lock has changed."""
    lock = LOCKS[name]
    key = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:12]
    home = folder() / f"{name}-{key}"
    if not (home / "complete").exists():
        say(f"installing {name} into an environment of its own (once)")
        shutil.rmtree(home, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        pip = [str(home / "bin/python"), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
        subprocess.run([*pip, "--require-hashes", "-r", str(lock)], check=True)
        subprocess.run([str(home / "bin/python"), "-m", "compileall", "-q", str(home / "lib")], check=False)
        (home / "complete").touch()
    return home / "bin"
