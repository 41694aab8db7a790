"""The bundle: what it collects, what it never contains, and an index that points to the cause."""

from __future__ import annotations

import base64
import io
import os
import shutil
import subprocess
import tarfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fabfile.errors import KubefabError, Unreachable
from fabfile.inventory import Node
from fabfile.nodes.group import NodeGroup
from fabfile.nodes.hostkeys import KnownHosts
from fabfile.text.masking import MASKED, register
from fabfile.views import evidence
from making import environment

ENV = environment()
SWAP = "failed to run Kubelet: running with swap on is not supported"


def test_the_control_plane_is_asked_more() -> None:
    names = [name for name, _ in evidence.sections(ENV.control_plane)]
    assert {"kubelet.log", "containerd.log", "events", "containers", "interfaces", "routes", "firewall"} <= set(names)
    assert len(names) == len(set(names))
    assert "events" not in [name for name, _ in evidence.sections(ENV.workers[0])]


def test_nothing_secret_is_asked_for() -> None:
    text = evidence.script(ENV.control_plane)
    for forbidden in (
        "admin.conf\n",
        "cat /etc/kubernetes/admin.conf",
        ".key",
        "hosts.toml",
        "get secret",
        "get configmap",
        "ps aux",
        "-o args",
        "/environ",
    ):
        assert forbidden not in text.replace("KUBECONFIG=/etc/kubernetes/admin.conf", ""), forbidden


def test_the_script_is_bash_and_changes_nothing(tmp_path: Path) -> None:
    for node in ENV.nodes:
        text = evidence.script(node)
        assert subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True).stderr == ""
        for word in ("rm -rf", "systemctl stop", "restart", "delete", " > /", "modprobe", "sysctl -w"):
            assert word not in text, word


def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **lines: str) -> tuple[dict[str, str], float]:
    """Run these sections as a node does, ten times faster; returns their answers and the seconds it took."""
    (tmp_path / "run").mkdir()
    for name, value in (
        ("FOLDER", str(tmp_path / "run")),
        ("SECTION", 1),
        ("ENOUGH", 4),
        ("_NODE", tuple(lines.items())),
        ("_CONTROL", ()),
    ):
        monkeypatch.setattr(evidence, name, value)
    path = tmp_path / "script"
    path.write_text(evidence.script(ENV.workers[0]))
    began = time.monotonic()
    output = subprocess.run(
        ["bash", str(path)], capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL
    ).stdout
    assert output.endswith("@@ end\n")
    assert list((tmp_path / "run").iterdir()) == []
    return evidence.parse(output), time.monotonic() - began


@pytest.mark.parametrize(
    "hanging",
    [
        "sleep 60",
        "trap '' TERM; sleep 60; sleep 60",
        "(trap '' TERM; sleep 60; sleep 60) & wait",
        "(trap '' TERM; exec sleep 60) | head -n 5",
    ],
    ids=["plain", "deaf", "deaf-child", "deaf-in-a-pipe"],
)
def test_a_section_that_hangs_delays_no_other(hanging: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a section that ignores SIGTERM. Its output until then is kept."""
    mine = f"sleep 60.{os.getpid()}"  # other sleeps may run on this machine
    hanging = hanging.replace("sleep 60", mine)
    files, took = run(tmp_path, monkeypatch, first="echo one", slow=f"echo begun; {hanging}", last="echo three; exit 3")
    assert files == {"first": "one\n", "slow": "begun\n(cut off after 1 s)\n", "last": "three\n(exit code 3)\n"}
    assert took < 5
    left = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert not [line for line in left.splitlines() if line in (mine, f"bash -c echo begun; {hanging}")]


def test_sections_skipped_for_lack_of_time_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, took = run(tmp_path, monkeypatch, **{f"s{n}": "echo begun; sleep 60" for n in range(9)})
    assert len(files) == 9
    assert files["s0"] == "begun\n(cut off after 1 s)\n"
    assert files["s8"].startswith("(skipped: the sections before it took ")
    assert took < 7


def test_the_script_ends_before_the_connections_timeout() -> None:
    assert evidence.ENOUGH + evidence.SECTION + 5 <= evidence.TIMEOUT


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_the_answer_is_split_into_sections() -> None:
    lines = "\n".join(f"echo '@@ {name}'; echo {name} says" for name in ("machine", "kubelet.log")) + "\necho '@@ end'"
    output = subprocess.run(["bash"], input=lines, text=True, capture_output=True).stdout
    assert evidence.parse(output) == {"machine": "machine says\n", "kubelet.log": "kubelet.log says\n"}
    assert evidence.parse("sudo: a password is required") == {"output": "sudo: a password is required"}


def test_the_index_points_to_the_likeliest_cause_and_says_who_was_not_asked() -> None:
    files = {"w1/kubelet.log.txt": f"x\n{SWAP}\nThe kubelet is not healthy\n", "cp1/events.txt": SWAP}
    page = evidence.index(ENV, files, {"w2": "w2: no answer within 10 s"}, 0.0)
    assert page.index("swap is on") < page.index("the kubelet does not start")
    assert "w1/kubelet.log.txt and 1 more" in page
    assert SWAP in page
    assert "w2: w2: no answer" in page
    assert "cp1/events.txt: 1 lines" in page
    assert "None of the known failures" in evidence.index(ENV, {"w1/machine.txt": "all well"}, {}, 0.0)


def test_a_problem_that_has_ended_is_marked() -> None:
    log = SWAP + "\nfine" * 60
    page = evidence.index(ENV, {"w1/kubelet.log.txt": log}, {}, 0.0)
    assert page.index("None of the known failures shows now") < page.index("Seen earlier") < page.index("swap is on")
    both = evidence.clues({"w1/kubelet.log.txt": log, "w2/kubelet.log.txt": SWAP})
    assert [(c.place, c.earlier) for c in both] == [("w2/kubelet.log.txt and 1 more", False)]


def test_the_index_of_a_healthy_cluster_is_empty() -> None:
    text = "failCgroupV1: false\nDiskPressure         False   KubeletHasNoDiskPressure     kubelet has no disk pressure\nevictionHard: {}"
    assert evidence.clues({"cp1/nodes.txt": text}) == []


def test_planted_secrets_are_masked_in_every_file() -> None:
    secret = register("correct-horse-battery")
    planted = f"password {secret}\nbase64 {base64.b64encode(secret.encode()).decode()}\ntoken abcdef.0123456789abcdef\n"
    planted += (
        "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nkubelet eyJhbGciOi.eyJpc3Mi.c2ln\n"
    )
    files = {f"w1/{name}.txt": text for name, text in evidence.parse(f"@@ kubelet.log\n{planted}@@ end\n").items()}
    page = evidence.index(ENV, files, {"w2": f"refused {secret}"}, 0.0)
    data = evidence.bundle([(evidence.INDEX, page), *files.items()], "b", 0.0)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = archive.getmembers()
        assert {m.mode for m in members} == {0o600}
        whole = b"".join(stream.read() for m in members if (stream := archive.extractfile(m))).decode()
    assert MASKED in whole
    for word in (secret, "0123456789abcdef", "MIIE", "eyJhbGciOi", base64.b64encode(secret.encode()).decode()):
        assert word not in whole


class _Group(NodeGroup):
    """Two nodes answer, one does not."""

    def of(self, node: Node) -> Any:
        def root(text: str, timeout: float, *, more: bool = False) -> tuple[int, bytes]:
            if node.name == "w2":
                raise Unreachable("w2: no answer within 10 s")
            return 0, f"@@ kubelet.log\n{node.name}\n@@ end\n".encode()

        return SimpleNamespace(root=root)


def test_an_unreachable_node_is_named_and_the_others_are_collected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fabfile.inventory.model.state_folder", lambda name, origin: tmp_path)
    group = _Group(ENV, ENV.nodes, KnownHosts(tmp_path / "known_hosts"))
    files, unreachable = evidence.collect(ENV, group, ENV.nodes)
    assert files == {"cp1/kubelet.log.txt": "cp1\n", "w1/kubelet.log.txt": "w1\n"}
    assert unreachable == {"w2": "w2: no answer within 10 s"}
    path = tmp_path / "e.tar.gz"
    evidence.write(path, ENV, files, unreachable)
    assert path.stat().st_mode & 0o777 == 0o600
    with tarfile.open(path) as archive:
        assert archive.getnames() == ["e/index.md", "e/cp1/kubelet.log.txt", "e/w1/kubelet.log.txt"]
    with pytest.raises(KubefabError, match="exists"):
        evidence.write(path, ENV, files, unreachable)
