"""Hooks on simulated nodes: run in order with their variables, stop their node only, and are made up for in the next run."""

from __future__ import annotations

from pathlib import Path

from fabfile import inventory
from rehearsal_bed import Bed

HERE = '#!/bin/sh\necho "$KUBEFAB_PHASE $KUBEFAB_NODE $KUBEFAB_ROLE $KUBEFAB_ENV" >> ../../{}\n'
THERE = '#!/bin/bash\n# a comment\nif test -e /var/lib/{0}; then echo again; fi\nmodprobe zfs && sysctl -w vm.swappiness=1\necho "$KUBEFAB_NODE $KUBEFAB_ADDRESS" > /var/lib/{0}\n'
FAILS = "#!/bin/sh\necho hunter2-of-the-hook\n[ $KUBEFAB_NODE != w2 ] || { echo no quota for this one; exit 7; }\n"


def test_hooks_run_around_their_phase_and_a_failure_stops_that_node(bed: Bed, tmp_path: Path) -> None:
    folder = tmp_path / "project" / "hooks" / "rehearsal"
    folder.mkdir(parents=True)

    def hook(name: str, text: str) -> None:
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
        hosts = tmp_path / "project" / "hosts.env"
        bed.environment = inventory.load("rehearsal", variables={"KUBEFAB_HOSTS": str(hosts)})

    hook("before-prep.local.sh", HERE.format("here"))
    hook("after-install.node.sh", THERE.format("from-a-hook"))
    hook("after-join.local.sh", FAILS)
    first = bed.bootstrap()
    assert first.states == {"cp1": "done", "w1": "done", "w2": "failed"}
    error = first.failed["w2"]
    assert error.message.startswith("w2 (on this machine): hook after-join.local.sh failed (exit code 7)")
    assert error.output.endswith("no quota for this one") and "correct that script" in error.remedy
    here = (tmp_path / "project" / "here").read_text().splitlines()
    assert sorted(here) == ["prep cp1 control-plane rehearsal", "prep w1 worker rehearsal", "prep w2 worker rehearsal"]
    for name, host in first.simulation.hosts.items():
        assert host.read("/var/lib/from-a-hook") == f"{name} {host.address}\n"
        assert not [name for name in host.children("/run") if "hook" in name], "the script is there only while it runs"

    hook("after-join.local.sh", HERE.format("joined"))
    second = bed.bootstrap()
    assert set(second.states.values()) == {"done"}
    assert (tmp_path / "project" / "joined").read_text() == "join w2 worker rehearsal\n", (
        "the node that did not have it"
    )
    assert len((tmp_path / "project" / "here").read_text().splitlines()) == 3, "nothing to do in prep: no hook"
    assert bed.bootstrap().result.steps == 0
    assert set(bed.reset().states.values()) == {"done"}
