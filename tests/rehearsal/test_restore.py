"""What was there before comes back: the operator's kubeconfig, and the files of a machine that was in use."""

from __future__ import annotations

from pathlib import Path

import yaml

from rehearsal_bed import inv

MINE = """\
# by hand
apiVersion: v1
kind: Config
current-context: rehearsal
clusters:
- name: rehearsal
  cluster: {server: https://198.51.100.7}
users:
- name: me
  user: {token: t}
contexts:
- name: rehearsal
  context: {cluster: rehearsal, user: me}
"""


def test_a_context_of_the_operators_own_of_the_same_name_survives_the_whole_story(tmp_path: Path) -> None:
    mine = tmp_path / "kubeconfig"
    mine.write_text(MINE)
    code, output = inv(tmp_path, "cluster.bootstrap", "--env", "rehearsal", "--workers", "1", "--kubeconfig")
    assert code == 1
    assert "did not put there" in output
    assert "inv cluster.kubeconfig --env rehearsal --context NAME" in " ".join(output.split())
    assert mine.read_text() == MINE
    code, output = inv(tmp_path, "cluster.kubeconfig", "--env", "rehearsal", "--context", "NAME")
    assert code == 0, output
    assert yaml.safe_load(mine.read_text())["current-context"] == "NAME"
    code, output = inv(tmp_path, "cluster.reset", "--env", "rehearsal", "--yes=rehearsal")
    assert code == 0, output
    assert "context NAME" in output
    assert mine.read_text() == MINE
