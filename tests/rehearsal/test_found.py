"""Machines as people really have them: what is found there is named before anything is touched, and what is printed works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import rehearsal
from fabfile import phases
from fabfile.context import Choices
from rehearsal_bed import Bed

DOCKER = (
    "deb [arch=amd64 signed-by=/etc/apt/keyrings/docker.asc] https://download.docker.com/linux/ubuntu noble stable\n"
)
XENIAL = "deb https://apt.kubernetes.io/ kubernetes-xenial main\n"
DROP_IN = "/etc/systemd/system/kubelet.service.d/20-old.conf"
LIST = "/etc/apt/sources.list.d/docker.list"


def test_what_is_found_on_machines_is_named_and_what_is_printed_lets_them_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """w1 has Docker's own apt list, w2 the list of Kubernetes' old repository, which no server has any more, w3 an old kubelet's drop-in."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    bed = Bed(tmp_path)
    with rehearsal.running(bed.environment, workers=3) as simulation:
        simulation.hosts["w1"].write(LIST, f"# Docker\n{DOCKER}")
        simulation.hosts["w2"].write("/etc/apt/sources.list.d/kubernetes.list", XENIAL)
        simulation.hosts["w3"].write(DROP_IN, "[Service]\nEnvironment=KUBELET_EXTRA_ARGS=--container-runtime=remote\n")
    first = bed.bootstrap(workers=3)
    assert first.states == {"cp1": "done", "w1": "failed", "w2": "done", "w3": "failed"}, first.failed
    error = first.failed["w1"]
    assert f"{LIST}:2 has the package source" in error.message
    host = first.simulation.hosts["w1"]
    assert host.files[LIST].text.endswith(DOCKER) and not [path for path in host.files if "kubefab-" in path]
    printed = re.findall("`(sed .+?)`", error.remedy)
    assert len(printed) == 1
    assert bed.typed_on("w1", printed[0]).returncode == 0
    error = first.failed["w3"]
    assert f"{DROP_IN}:2 gives the kubelet --container-runtime=remote" in error.message
    assert "kubelet" not in first.simulation.hosts["w3"].packages
    for line in re.findall("`(mv .+?)`", error.remedy):
        assert bed.typed_on("w3", line).returncode == 0
    second = bed.bootstrap(workers=3)
    assert set(second.states.values()) == {"done"}, second.failed
    assert second.simulation.hosts["w1"].files[LIST].text == f"# Docker\n# {DOCKER}"
    # afterwards somebody follows Docker's page on w2: apt there reads no list any more, and a purge works all the same
    with rehearsal.running(bed.environment, workers=3) as simulation:
        simulation.hosts["w2"].write(LIST, DOCKER)
    assert "Conflicting values" in bed.typed_on("w2", "apt-get indextargets").stdout
    choices = Choices(purge=True, whole_cluster=False)
    last = bed.run([phases.RESET], on=("w2",), choices=choices)
    assert last.states == {"w2": "done"}, last.failed
    host = last.simulation.hosts["w2"]
    assert "kubelet" not in host.packages and host.files[LIST].text == DOCKER
    assert bed.facts()["w2"].apt_fault == ""
