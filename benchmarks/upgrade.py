"""An upgrade of many simulated nodes in batches, in which one node fails: what a person reads at the end, CPU seconds and minutes.

    python benchmarks/upgrade.py                  # 200 workers, a fifth of them at a time
    python benchmarks/upgrade.py --workers 40

The CPU seconds are those of kubefab and of the simulated nodes, which run in the same process.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
INV = Path(sys.executable).parent / "inv"
INVENTORY = """\
REHEARSAL_CONTROL_PLANE="127.0.0.1 name=cp1"
REHEARSAL_SIMULATED=yes
REHEARSAL_POD_CIDR=10.44.0.0/16
REHEARSAL_RETENTION=0d
REHEARSAL_KUBERNETES=1.36.3
"""


def timed(line: str, variables: Mapping[str, str], shown: int) -> None:
    """Run a command line of ours; prints its last lines, its exit code and what it took."""
    began = time.monotonic()
    process = subprocess.Popen(
        [INV, *line.split()], cwd=PROJECT, env={**os.environ, **variables}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    cpu, took = used.ru_utime + used.ru_stime, time.monotonic() - began
    print(f"$ inv {line}", *output.splitlines()[-shown:], sep="\n  ")
    print(f"exit {process.returncode}, {cpu:.1f} CPU seconds, {took / 60:.1f} minutes\n", flush=True)


def main() -> None:
    """Bring the cluster up, upgrade it until a node fails, and again to the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=200)
    parser.add_argument("--batch", default="20%")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        hosts = Path(folder, "hosts.env")
        hosts.write_text(INVENTORY)
        variables = {
            "KUBEFAB_HOSTS": str(hosts),
            "XDG_STATE_HOME": folder,
            "KUBECONFIG": f"{folder}/kubeconfig",
            "COLUMNS": "80",
        }
        upgrade = f"cluster.upgrade --to 1.37 --no-backup --batch {given.batch}"
        timed(f"cluster.bootstrap --workers {given.workers}", variables, 1)
        timed(f"{upgrade} --fault w{max(1, given.workers * 3 // 10)}:kubelet-breaks", variables, 24)
        timed(upgrade, variables, 4)


if __name__ == "__main__":
    main()
