"""Phases typed in another order than the manual's: each is refused before it changes a node, and what it prints then works."""

from __future__ import annotations

from printed import own
from rehearsal_bed import Bed


def test_a_phase_before_its_time_names_what_comes_first(bed: Bed) -> None:
    def advised(line: str, *expected: str) -> None:
        """The line fails without a step; the commands that it prints end well, and then so does the line."""
        refused = bed.typed(line)
        assert refused.returncode == 1 and "not found" not in refused.stdout, refused.stdout
        first = [command for command in own(refused.stdout + refused.stderr) if command.startswith("fab ")]
        assert [command.replace(" --env rehearsal", "") for command in first] == [*expected], refused.stdout
        for command in (*first, line):
            done = bed.typed(command)
            assert done.returncode == 0, (command, done.stdout, done.stderr)

    advised("fab -H w2 registry", "fab -H w2 install")
    early = bed.typed("inv cluster.bootstrap --from join")
    assert early.returncode == 1 and own(early.stdout)[0].startswith("fab -H cp1 prep --env rehearsal install ")
    advised("fab -H master init", "fab -H cp1 prep install")
    assert bed.typed("inv cluster.reset").returncode == 0
    advised("fab -H master network", "fab -H cp1 prep install registry init")
    advised("fab -H w1 join", "fab -H w1 prep install")
    assert bed.typed("fab -H w1 reset").returncode == 0
    advised("fab -H w1 join", "fab -H w1 prep install")
    assert set(bed.bootstrap().states.values()) == {"done"}
    assert bed.bootstrap().result.steps == 0
