"""`inv cluster.info --token` and `--reveal`: they ask the cluster over SSH, as a person types them."""

from __future__ import annotations

import json
import re
from pathlib import Path

from cli import Done, run


def test_a_running_cluster_creates_a_token(tmp_path: Path) -> None:
    def inv(*words: str) -> Done:
        return run("inv", *words, HOME=str(tmp_path), XDG_STATE_HOME=str(tmp_path / "state"))

    before = inv("cluster.info", "--token")
    assert before.returncode == 1 and "inv cluster.status" in before.stderr
    assert inv("cluster.bootstrap").returncode == 0
    found = json.loads(inv("cluster.info", "--token", "--json").stdout)
    assert found["Token"]["value"].count(".") == 2 and found["Token"]["value"] in found["Header"]["proof"]
    kept = "".join(path.read_text() for path in (tmp_path / "state").rglob("*.jsonl") if "journal" in str(path))
    assert kept and found["Token"]["value"] not in kept
    hidden, shown = (
        json.loads(inv("cluster.info", *more, "--json").stdout)["Login"]["value"] for more in ((), ("--reveal",))
    )
    assert "--reveal shows it" in hidden and re.fullmatch(r"user kubefab, password [0-9a-f]{64}", shown)
    kept = "".join(path.read_text() for path in (tmp_path / "state").rglob("*.jsonl") if "journal" in str(path))
    assert shown.split()[-1] not in kept + hidden
    assert inv("rehearsal.down").returncode == 0
