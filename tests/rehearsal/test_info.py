"""`inv cluster.info --token`: made by the cluster, over SSH, as a person types it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from fabfile.inventory import PROJECT


def test_a_token_is_made_by_a_cluster_that_is_up(tmp_path: Path) -> None:
    variables = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state"), "LC_ALL": "C.UTF-8"}

    def inv(*words: str) -> subprocess.CompletedProcess[str]:
        program = str(Path(sys.executable).parent / "inv")
        return subprocess.run([program, *words], cwd=PROJECT, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)

    before = inv("cluster.info", "--token")
    assert before.returncode == 1 and "inv cluster.status" in before.stderr
    assert inv("cluster.bootstrap").returncode == 0
    found = json.loads(inv("cluster.info", "--token", "--json").stdout)
    assert found["Token"]["value"].count(".") == 2 and found["Token"]["value"] in found["Header"]["proof"]
    kept = "".join(path.read_text() for path in (tmp_path / "state").rglob("*.jsonl") if "journal" in str(path))
    assert kept and found["Token"]["value"] not in kept
    assert inv("rehearsal.down").returncode == 0
