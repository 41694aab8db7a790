"""Flags and drop-ins that a machine's earlier life gives the kubelet, and what the kubelet itself said when it does not start."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile import phases
from fabfile.nodes.facts import KUBELET_ENV, KUBELET_FLAGS_FILE, KubeletLine, NodeFacts, Unit
from fabfile.nodes.observe import observe_script, parse_facts
from fabfile.recipes.kubelet import SAYS, Flag, flags
from fabfile.steps import Step, Stop
from fabfile.views.signatures import likely
from making import bare, context, environment, installed, member, prepared

ENV = environment()
PLAIN = prepared(ENV)
DEBIAN, RPM = KUBELET_ENV
DROP_IN = "/etc/systemd/system/kubelet.service.d/20-old.conf"


def with_lines(*lines: tuple[str, str], base: NodeFacts = PLAIN, **changes: Any) -> NodeFacts:
    return replace(
        base, kubelet=tuple(KubeletLine(file, n, text) for n, (file, text) in enumerate(lines, 1)), **changes
    )


def planned(facts: NodeFacts) -> list[Any]:
    return list(bare(phases.PREP)(context(ENV, facts)))


# name, lines of files, what the refusal says; empty: none
FOUND: list[tuple[str, list[tuple[str, str]], str]] = [
    ("a flag that is gone", [(DEBIAN, "KUBELET_EXTRA_ARGS=--container-runtime=remote")], f"{DEBIAN}:1 gives the kubelet --container-runtime=remote, which Kubernetes 1.36 does not know"),
    ("in quotes, behind another", [(DEBIAN, 'KUBELET_EXTRA_ARGS="--v=2 --network-plugin=cni"')], "--network-plugin=cni, which"),
    ("without a value", [(DEBIAN, "KUBELET_EXTRA_ARGS=--allow-privileged")], "--allow-privileged, which"),
    ("with underscores", [(DEBIAN, "KUBELET_EXTRA_ARGS=--allow_privileged")], "--allow-privileged, which"),
    ("in a drop-in", [(DROP_IN, 'Environment="KUBELET_EXTRA_ARGS=--pod-infra-container-image=x"')], f"{DROP_IN}:1 gives the kubelet --pod-infra-container-image=x, which"),
    ("in a start line", [(DROP_IN, "ExecStart="), (DROP_IN, "ExecStart=/usr/bin/kubelet --cni-bin-dir=/opt/cni/bin $KUBELET_EXTRA_ARGS")], f"{DROP_IN}:2 gives the kubelet --cni-bin-dir"),
    ("another node's address", [(DEBIAN, "KUBELET_EXTRA_ARGS=--node-ip=10.9.9.9")], "--node-ip=10.9.9.9, and in this cluster it is 10.2.0.11"),
    ("behind a blank", [(DEBIAN, "KUBELET_EXTRA_ARGS=--node-ip 10.9.9.9")], "--node-ip=10.9.9.9, and"),
    ("another name", [(DEBIAN, "KUBELET_EXTRA_ARGS=--hostname-override=old")], "--hostname-override=old, and in this cluster it is w1"),
    ("Docker's socket", [(DEBIAN, "KUBELET_EXTRA_ARGS=--container-runtime-endpoint=unix:///run/cri-dockerd.sock")], "in this cluster it is unix:///run/containerd/containerd.sock"),
    ("another cgroup driver", [(DEBIAN, "KUBELET_EXTRA_ARGS=--cgroup-driver=cgroupfs")], "in this cluster it is systemd"),
    ("another cluster's DNS", [(DROP_IN, 'Environment="KUBELET_DNS_ARGS=--cluster-dns=10.3.0.10 --cluster-domain=a.local"')], "--cluster-dns=10.3.0.10, and in this cluster it is 10.96.0.10; "),
    ("another program", [("/etc/systemd/system/kubelet.service", "ExecStart=/opt/bin/kubelet --v=2")], "/etc/systemd/system/kubelet.service:1 starts /opt/bin/kubelet instead of /usr/bin/kubelet"),
    ("flags that this release knows", [(DEBIAN, 'KUBELET_EXTRA_ARGS="--max-pods=90 --node-labels=a=b,c=d --v 4 --fail-swap-on=false"')], ""),
    ("the same values", [(DEBIAN, "KUBELET_EXTRA_ARGS=--node-ip=10.2.0.11 --hostname-override=w1 --cgroup-driver=systemd --node-ip=10.2.0.11,fd00::1")], ""),
    ("a comment", [(DEBIAN, "# KUBELET_EXTRA_ARGS=--container-runtime=remote"), (DROP_IN, "; --api-servers=x")], ""),
    ("the other family's file", [(RPM, "KUBELET_EXTRA_ARGS=--container-runtime=remote")], ""),
    ("a variable that the unit does not read", [(DEBIAN, "KUBELET_ARGS=--container-runtime=remote")], ""),
    ("a line that a later one replaces", [(DEBIAN, "KUBELET_EXTRA_ARGS=--container-runtime=remote"), (DEBIAN, "KUBELET_EXTRA_ARGS=")], ""),
    ("kubeadm's own file, which it writes again", [(KUBELET_FLAGS_FILE, 'KUBELET_KUBEADM_ARGS="--container-runtime=remote"')], ""),
    ("kubeadm's drop-in of today", [
        (DROP_IN, 'Environment="KUBELET_KUBECONFIG_ARGS=--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf"'),
        (DROP_IN, 'Environment="KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml"'),
        (DROP_IN, "EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env"), (DROP_IN, "ExecStart="),
        (DROP_IN, "ExecStart=/usr/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS"),
    ], ""),
]  # fmt: skip


@pytest.mark.parametrize(("lines", "said"), [row[1:] for row in FOUND], ids=[row[0] for row in FOUND])
def test_prep_names_file_line_and_flag_before_the_kubelet_fails_by_it(lines: list[tuple[str, str]], said: str) -> None:
    made = planned(with_lines(*lines))
    assert [action.id for action in made if isinstance(action, Stop)] == ["prep.kubelet"] * bool(said)
    if said:
        assert said in made[0].reason and len(made) == 1
        assert f"`mv {lines[0][0]} {lines[0][0]}.aside && systemctl daemon-reload`" in made[0].remedy


@pytest.mark.parametrize(("release", "said"), [("1.36.4", ""), ("1.37.1", "which Kubernetes 1.37 does not know")])
def test_a_flag_that_one_release_has_and_the_next_has_not(release: str, said: str) -> None:
    """cAdvisor's flags, which the kubelet of 1.37 no longer has (kubernetes 139870)."""
    env = environment(kubernetes=release)
    facts = with_lines((DEBIAN, "KUBELET_EXTRA_ARGS=--machine-id-file=/etc/machine-id"), base=prepared(env))
    stops = [one for one in bare(phases.PREP)(context(env, facts)) if isinstance(one, Stop)]
    assert [said in one.reason for one in stops] == [True] * bool(said)


def test_a_member_is_asked_only_while_its_kubelet_does_not_run() -> None:
    """An update left kubeadm's file with a flag that the new kubelet lacks (kubeadm 1927); moving it away would lose its other flags."""
    old = (KUBELET_FLAGS_FILE, 'KUBELET_KUBEADM_ARGS="--node-ip=10.2.0.11 --pod-infra-container-image=pause:3.9"')
    running = with_lines(old, (DEBIAN, "KUBELET_EXTRA_ARGS=--container-runtime=remote"), base=member(ENV))
    assert planned(running) == []
    stop = planned(with_lines(old, base=member(ENV), units={"kubelet": Unit(False, True)}))[0]
    assert f"{KUBELET_FLAGS_FILE}:1 gives the kubelet --pod-infra-container-image=pause:3.9" in stop.reason
    assert "mv " not in stop.remedy and "`systemctl restart kubelet`" in stop.remedy


_WORD = st.sampled_from(
    ["--", "-", "--v", "=", '"', "'", " ", "$A", "--node-ip", "KUBELET_EXTRA_ARGS=", "ExecStart=", "#", "--a--b", "x"]
)


@given(
    st.lists(
        st.tuples(st.sampled_from([DEBIAN, DROP_IN]), st.lists(_WORD).map("".join) | st.text(max_size=40)), max_size=6
    )
)
def test_no_line_of_such_a_file_breaks_the_check(lines: list[tuple[str, str]]) -> None:
    assert all(isinstance(one, Flag) for one in flags(with_lines(*lines).kubelet))
    planned(with_lines(*lines))


def test_the_observing_script_shows_the_lines_with_flags_and_their_numbers(tmp_path: Path) -> None:
    """The script itself, in bash."""
    (tmp_path / "default").mkdir()
    (tmp_path / "systemd/system/kubelet.service.d").mkdir(parents=True)
    (tmp_path / "default/kubelet").write_text("# mine\n\nKUBELET_EXTRA_ARGS=--container-runtime=remote\n")
    (tmp_path / "systemd/system/kubelet.service.d/20 old.conf").write_text("[Service]\nEnvironment=X=--a\n")
    (tmp_path / "systemd/system/kubelet.service.d/20-old.conf").write_text(
        "[Service]\nEnvironment=SECRET=x\nEnvironment=X=--a=b\n"
    )
    text = observe_script(control_plane=False, files=[]).replace(
        "main() {", "main() {\napt-mark() { :; }", 1
    )  # it is slow
    for folder in ("default", "sysconfig", "systemd"):
        text = text.replace(f"/etc/{folder}", f"{tmp_path}/{folder}")
    sent = tmp_path / "sent"
    sent.write_text(text)
    done = subprocess.run(["bash", str(sent)], capture_output=True, text=True, timeout=60, check=True)
    assert "SECRET" not in done.stdout
    found = [line for line in parse_facts(done.stdout).kubelet if line.file.startswith(str(tmp_path))]
    assert [(Path(line.file).name, line.line) for line in found] == [("kubelet", 3), ("20-old.conf", 3)]


# --- when init or join fails because the kubelet does not start

UNKNOWN = 'E1129 04:52:22.441716   18102 run.go:72] "command failed" err="failed to parse kubelet flag: unknown flag: --container-runtime"'
JOURNAL = f"Started kubelet.service.\nE1129 04:52:12.000000   18101 run.go:72] older\n{UNKNOWN}\nkubelet.service: Main process exited\n"


@pytest.mark.parametrize(
    ("configured", "health", "quoted"),
    [(True, "", True), (True, "ok", False), (False, "", False)],
    ids=["it does not start", "it runs", "kubeadm was not so far"],
)
def test_the_kubelets_last_error_is_quoted_only_when_it_does_not_run(
    configured: bool, health: str, quoted: bool, tmp_path: Path
) -> None:
    (tmp_path / "journal").write_text(JOURNAL)
    if configured:
        (tmp_path / "config.yaml").touch()
    stubs = f"curl() {{ printf '%s' '{health}'; }}\njournalctl() {{ cat {tmp_path}/journal; }}\n"
    line = SAYS.replace("/var/lib/kubelet/config.yaml", f"{tmp_path}/config.yaml")
    done = subprocess.run(
        [shutil.which("bash") or "bash", "-c", f"set -eo pipefail\n{stubs}{{ {line}; }} || true"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == (f"the kubelet does not run; it said last: {UNKNOWN}\n" if quoted else "")


def test_init_and_join_ask_for_it_and_its_flag_is_the_cause_that_is_named() -> None:
    init = [
        a
        for a in bare(phases.MASTER)(context(ENV, installed(ENV, "cp1")))
        if isinstance(a, Step) and a.id == "master.init"
    ]
    join = [a for a in bare(phases.JOIN)(context(ENV, installed(ENV))) if isinstance(a, Step) and a.id == "join.join"]
    assert [step.evidence for step in (*init, *join)] == [(SAYS,), (SAYS,)]
    text = (
        f"[kubelet-check] The kubelet is not healthy after 4m0s\n127.0.0.1:10248/healthz: connection refused\n{UNKNOWN}"
    )
    known = likely(text)
    assert known and known.code == "SIG-KUBELET-FLAG"
