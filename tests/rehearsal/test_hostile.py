"""A node that lies: its words run nowhere, nothing hangs, the other nodes' rows are right, and it cannot control the terminal."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from invoke import Exit

import rehearsal
import tasks
from fabfile.cli.phases import TASKS
from fabfile.run import observer
from rehearsal.faults import TABLE
from rehearsal.hostile import CANARY, KINDS
from rehearsal.simulation import Simulation
from rehearsal_bed import INVENTORY

# A lie in one of REFUSED stops the node, so each is tried alone; the others are left out or shown, so all lie at the same time.
REFUSED = ("os.ID", "host.hostname", "host.machine_id", "host.now", "links.ifname", "links.local", "packages", "rules")
SHOWN = "os.PRETTY_NAME+host.kernel+host.cgroup+swap+fstab+sysctl+resolver+units+files+traces+mounts+processes+images+kubeconfigs+identity+etcd+others+undo"
OF_THE_DOCTOR = (
    "routes",
    "toward",
    "memory",
    "disk",
    "keyrings",
    "subnet+certs+containerd+http+dns+sockets+time+cut+services+tools+vxlan",
)
OF_THE_API = (
    "nodes.name",
    "nodes.podCIDR",
    "nodes.conditions+nodes.address",
    "objects",
    "readyz+uid+influx+made+ca",
    "tokens",
)


RUNNING, RUN = rehearsal.running, Simulation.ask


class Stage:
    """A rehearsal for the real commands, in this process; it records every script that was sent."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "hosts.env").write_text(INVENTORY)
        patch.setenv("KUBEFAB_HOSTS", str(folder / "hosts.env"))
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        patch.setenv("COLUMNS", "200")
        self.faults: tuple[str, ...] = ()
        self.sent: list[tuple[str, str]] = []
        patch.setattr(
            rehearsal, "running", lambda *given, **options: RUNNING(*given, **{**options, "faults": self.faults})
        )

        def noted(simulation: Simulation, host: Any, text: str) -> tuple[int, bytes]:
            self.sent.append((host.name, text))
            return RUN(simulation, host, text)

        patch.setattr(Simulation, "ask", noted)

    def do(self, task: Any, **options: Any) -> int:
        """Run one command; returns its exit code."""
        try:
            task.body(_Context(), **options)
        except Exit as ended:
            return int(ended.code)
        return 0


class _Context:
    config: dict[str, Any] = {"kubefab": {"hosts": ()}}


CLUSTER = tasks.cluster.tasks
PHASES = {task.name: task for task in TASKS}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A stage with a healthy cluster, made by honest nodes."""
    with pytest.MonkeyPatch.context() as patch:
        made = Stage(tmp_path_factory.mktemp("stage"), patch)
        assert made.do(CLUSTER["bootstrap"]) == 0
        yield made


def harmless(stage: Stage, liar: str, shown: str) -> None:
    """Assert that no script for another node contains the liar's words, and that the screen shows no control characters."""
    for node, text in stage.sent:
        assert node == liar or CANARY not in text, (node, text[:400])
    stage.sent.clear()
    assert "Traceback" not in shown
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200b\ud800-\udfff]", shown)


CASES = [
    *(("w1", f"hostile-shell={place}") for place in (*REFUSED, SHOWN, *OF_THE_DOCTOR)),
    *(
        ("w1", f"hostile-{kind}")
        for kind in ("shell", "lines", "escapes", "markup", "numbers", "bytes", "types", "deep", "huge")
    ),
    *(("w1", f"hostile-lines={place}") for place in ("links.local", "toward")),
    *(("w1", f"hostile-types={place}") for place in ("links", "memory+subnet")),
    *(("w1", f"hostile-{kind}={SHOWN}") for kind in ("escapes", "markup", "bytes")),
    *(("cp1", f"hostile-shell={place}") for place in OF_THE_API),
    *(("cp1", f"hostile-{kind}={place}") for kind in ("types", "deep") for place in ("nodes", "objects")),
]


@pytest.mark.parametrize(("liar", "fault"), CASES, ids=lambda value: str(value))
def test_reading_commands_survive_one_lying_node(stage: Stage, liar: str, fault: str, capsys: Any) -> None:
    stage.faults = (f"{liar}:{fault}",)
    code = stage.do(CLUSTER["status"], json=True)
    out, err = capsys.readouterr()
    harmless(stage, liar, err)
    rows = {row["node"]: row for row in json.loads(out)}
    if liar == "w1":
        assert all(rows[name]["ready"] and set(_states(rows[name])) == {"done"} for name in ("cp1", "w2"))
    assert code in (0, 1)
    assert CANARY not in json.dumps([rows[name] for name in rows if name != liar and liar == "w1"])
    stage.do(CLUSTER["doctor"], json=True, network=bool(re.search("links|toward|lines|shell$|types$", fault)))
    out, err = capsys.readouterr()
    harmless(stage, liar, err)
    assert set(json.loads(out)["nodes"]) == {"cp1", "w1", "w2"}


def _states(row: dict[str, Any]) -> list[str]:
    return [phase["state"] for phase in row["phases"].values()]


@pytest.mark.parametrize(
    "fault", ["hostile-escapes", f"hostile-markup={SHOWN}", f"hostile-shell={SHOWN}", "hostile-types=nodes"]
)
def test_every_command_that_reads(stage: Stage, fault: str, capsys: Any) -> None:
    liar = "cp1" if fault.endswith("nodes") else "w1"
    stage.faults = (f"{liar}:{fault}",)
    shown = ""
    for name, options in (
        ("status", {}), ("plan", {"observe": True, "commands": True}), ("plan", {"observe": True, "json": True}), ("doctor", {"matrix": True}),
        ("verify", {}), ("digests", {}), ("info", {}), ("history", {}), ("report", {}), ("kubeconfig", {"file": "/nowhere/at/all"}),
    ):  # fmt: skip
        code = stage.do(CLUSTER[name], **options)
        out, err = capsys.readouterr()
        shown = out + err
        harmless(stage, liar, shown)
        assert code in (0, 1), (name, shown)


@pytest.mark.parametrize("fault", ["hostile-endless", "hostile-silent"])
def test_a_node_that_never_answers_loses_only_its_own_row(
    stage: Stage, fault: str, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observer, "OBSERVE_TIMEOUT", 2.0)
    stage.faults = (f"w1:{fault}",)
    assert stage.do(CLUSTER["status"], json=True) == 1
    rows = {row["node"]: row for row in json.loads(capsys.readouterr()[0])}
    assert rows["w1"]["reason"] == "w1: no end after 2 s"
    assert all(rows[name]["reachable"] for name in ("cp1", "w2"))


@pytest.mark.parametrize(
    ("liar", "fault"),
    [
        ("w1", "hostile-shell=host.hostname"),
        ("w1", "hostile-escapes"),
        ("w1", "hostile-escapes=output"),
        ("w1", "hostile-lines=links.local"),
        ("cp1", "hostile-shell=nodes.name"),
        ("cp1", "hostile-escapes=output"),
    ],
)
def test_bootstrap_and_reset_finish_beside_a_lying_node(
    liar: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """On fresh machines: the lying node is refused by name, and all others finish."""
    stage = Stage(tmp_path, monkeypatch)
    stage.faults = (f"{liar}:{fault}",)
    code = stage.do(CLUSTER["bootstrap"])
    out, err = capsys.readouterr()
    harmless(stage, liar, out + err)
    assert code == 1
    assert f"✗ {liar} · " in out
    if liar == "w1":
        assert re.search(r"^w2 +join +\d+ step", out, re.M), out
        for task in ("prep", "join", "reset"):
            stage.do(PHASES[task], on="w1,w2")
            harmless(stage, liar, "".join(capsys.readouterr()))
    stage.faults = ()
    assert stage.do(CLUSTER["reset"]) == 0
    capsys.readouterr()


def test_every_hostile_fault_is_tried() -> None:
    assert {name for name in TABLE if name.startswith("hostile-")} == set(KINDS)
    tried = {fault.partition("=")[0] for _, fault in CASES} | {"hostile-endless", "hostile-silent"}
    assert tried == set(KINDS)
