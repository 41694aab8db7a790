"""Two files with an environment of the same name: commands for one neither show nor change anything of the other."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

from cli import Done, run

DRILL = "DRILL_CONTROL_PLANE=127.0.0.1\nDRILL_SIMULATED=yes\nDRILL_POD_CIDR=10.44.0.0/16\nDRILL_SIMULATED_WORKERS=1\n"


def test_a_printed_command_works_only_on_the_named_file(tmp_path: Path) -> None:
    first, second = (tmp_path / name / "hosts.env" for name in ("first", "second"))
    for path in (first, second):
        path.parent.mkdir()
        path.write_text(DRILL)

    def typed(line: str, hosts: str = "") -> Done:
        where = {"KUBEFAB_HOSTS": hosts} if hosts else {}
        return run(*shlex.split(line), HOME=str(tmp_path), XDG_STATE_HOME=str(tmp_path / "state"), **where)

    def phases(hosts: Path) -> set[str]:
        rows = json.loads(typed("inv cluster.status --env drill --json", str(hosts)).stdout)
        return {phase["state"] for row in rows for phase in row["phases"].values()}

    failed = typed(f"inv cluster.bootstrap --env drill --hosts-file {first} --fault w1:flannel-missing")
    assert failed.returncode == 1
    commands = re.findall(r"(?:^  |`|: )((?:inv|fab) [^`\n]*--env drill[^`\n]*)", failed.stdout, re.M)
    again, reset = (
        f"inv cluster.bootstrap --env drill --hosts-file {first}",
        f"fab -H w1 reset --env drill --hosts-file {first}",
    )
    assert {again, reset, f"inv cluster.evidence --env drill --hosts-file {first}"} <= set(commands)
    assert all(f"--hosts-file {first}" in command for command in commands), commands
    assert typed(f"{reset} --yes drill").returncode == 0 and typed(again).returncode == 0
    assert phases(first) == {"done"}

    assert not phases(second) & {"done", "broken"}, "nothing that was learned of the first"
    assert "no runs yet" in typed("inv cluster.history --env drill", str(second)).stdout
    assert typed("inv cluster.bootstrap --env drill --only-failed", str(second)).returncode == 2, "no earlier run"
    assert typed("inv cluster.reset --env drill --yes drill", str(second)).returncode == 0
    assert typed("inv rehearsal.down --env drill", str(second)).returncode == 0
    assert phases(first) == {"done"}
    folders = sorted(path.name for path in (tmp_path / "state" / "kubefab").iterdir())
    assert len(folders) == 2 and all(re.fullmatch(r"drill-[0-9a-f]{8}", name) for name in folders)
