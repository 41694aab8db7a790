"""Reset restores what was there before: the operator's kubeconfig, and the files of a machine that was in use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from test_properties import fresh_bed

import rehearsal
from fabfile import phases
from fabfile.context import Choices
from fabfile.run.pipelines import Run
from rehearsal.host import Host
from rehearsal.simulation import Simulation
from rehearsal_bed import Bed, Outcome, inv

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


def test_the_operators_own_context_of_the_same_name_survives(tmp_path: Path) -> None:
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


# --- a machine that was in use

KUBELET_DEFAULTS = "/etc/default/kubelet"
FILES = {
    "/etc/containerd/config.toml": 'version = 2\nimports = ["/etc/containerd/conf.d/*.toml"]\n\n[plugins."io.containerd.grpc.v1.cri"]\n'
    "  max_container_log_line_size = 1\n",
    "/etc/crictl.yaml": "runtime-endpoint: unix:///run/crio/crio.sock\n",
    "/etc/containerd/certs.d/docker.io/hosts.toml": 'server = "https://mirror.mine"\n',
    "/etc/containerd/certs.d/mine.example/hosts.toml": 'server = "https://mine.example"\n',
    KUBELET_DEFAULTS: 'KUBELET_EXTRA_ARGS="--max-pods=90"\n',
    "/etc/fstab": "LABEL=root\t/\text4\tdefaults\t0 1\n/swapfile\tnone\tswap\tsw\t0 0\n# /dev/sdb1 none swap sw 0 0\n",
    "/etc/sysctl.d/60-mine.conf": "net.ipv4.ip_forward = 0\n",
    "/etc/apt/sources.list.d/mine.list": "deb https://mine.example/ ./\n",
}
RULES = [
    "-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT",
    '-A INPUT ! -s 198.51.100.0/24 -p tcp -m tcp --dport 6443 -m comment --comment "KUBE-API only from the office" -j DROP',
    "-A FORWARD -d 10.88.0.5/32 -j CNI-FORWARD",
]
REGISTRY = 'REHEARSAL_REGISTRY="registry.example:5000"\nREHEARSAL_REGISTRY_USER=me\nREHEARSAL_REGISTRY_PASSWORD=pl4nted-s3cret\nREHEARSAL_REGISTRY_MIRRORS=docker.io\n'


def furnish(host: Host, chosen: Iterable[str], packages: Mapping[str, str], held: Sequence[str] = ()) -> None:
    """Turn a new machine into one that was in use."""
    for path in chosen:
        host.write(path, FILES[path], "640" if path == "/etc/containerd/config.toml" else "644")
    host.packages.update(packages)
    host.held = list(held)
    host.rules = list(RULES)
    if "/etc/fstab" in chosen:
        host.swaps = ["/swapfile                               file\t\t2097148\t\t0\t\t-2"]


def picture(host: Host) -> dict[str, object]:
    """Everything that an administrator could have set on a machine."""
    files = {
        path: (file.text, file.mode)
        for path, file in host.files.items()
        if path.startswith(("/etc/", "/var/lib/kubefab"))
    }
    known = {
        path: value
        for path, value in files.items()
        if "/kubernetes" not in path and "kubefab-" not in path.rsplit("/", 1)[-1]
    }
    return {
        "files": known,
        "rules": sorted(host.rules),
        "swaps": host.swaps,
        "held": host.held,
        "packages": dict(host.packages),
    }


def furnished(
    bed: Bed, chosen: Iterable[str], packages: Mapping[str, str], held: Sequence[str] = ()
) -> dict[str, object]:
    with rehearsal.running(bed.environment, workers=1) as simulation:
        host = simulation.hosts["w1"]
        furnish(host, chosen, packages, held)
        return picture(host)


def purge(bed: Bed, **more: Any) -> Outcome:
    return bed.run([phases.RESET], choices=Choices(purge=True), **more)


@hypothesis_settings(
    max_examples=4, deadline=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(
    st.sets(st.sampled_from(sorted(FILES))),
    st.dictionaries(st.sampled_from(["containerd.io", "cri-tools", "curl"]), st.just("1.0-1")),
    st.booleans(),
    st.integers(1, 2),
)
def test_reset_restores_everything_that_was_on_a_machine(
    chosen: set[str], packages: dict[str, str], hold: bool, times: int
) -> None:
    with fresh_bed(REGISTRY) as bed:
        before = furnished(bed, chosen, packages, [*packages][:hold])
        for _ in range(times):
            assert set(bed.bootstrap().states.values()) == {"done"}
        outcome = purge(bed)
        assert set(outcome.states.values()) == {"done"}, outcome.failed
        after = picture(outcome.simulation.hosts["w1"])
        # apt may have upgraded a package that was there: reset cannot undo that
        assert set(after.pop("packages")) == set(before.pop("packages")) | {"iptables"}  # type: ignore[call-overload]
        assert after == before


def test_a_reset_killed_after_each_script_still_restores_everything(bed: Bed) -> None:
    before = furnished(bed, FILES, {"containerd.io": "1.0-1"})
    assert set(bed.bootstrap().states.values()) == {"done"}
    for after in range(1, 9):
        seen = 0

        def cut(simulation: Simulation, run: Run, after: int = after) -> None:
            real = simulation.ask

            def dying(host: Host, text: str) -> tuple[int, bytes]:
                nonlocal seen
                if host.name == "w1" and "reset." in text.split("\n", 1)[0]:
                    seen += 1
                    if seen > after:
                        run.stop()
                return real(host, text)

            simulation.ask = dying  # type: ignore[method-assign]

        purge(bed, hook=cut)
    outcome = purge(bed)
    assert set(outcome.states.values()) == {"done"}, outcome.failed
    after_all = picture(outcome.simulation.hosts["w1"])
    assert after_all["files"] == before["files"]
    assert after_all["rules"] == before["rules"]


def test_after_a_reset_without_purge_a_second_cycle_still_restores_everything(bed: Bed) -> None:
    before = furnished(bed, ["/etc/crictl.yaml"], {})
    for _ in range(2):
        assert set(bed.bootstrap().states.values()) == {"done"}
        assert set(bed.reset().states.values()) == {"done"}
    host = purge(bed).simulation.hosts["w1"]
    assert picture(host)["files"] == before["files"], "not even containerd's own packaged configuration"
    assert set(host.packages) == {"iptables"}
    assert not [path for path in host.files if "kubefab" in path]


def test_a_changed_registry_leaves_no_login_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    first = Bed(tmp_path, REGISTRY)
    first.healthy()
    second = Bed(tmp_path, "")
    outcome = second.bootstrap()
    assert set(outcome.states.values()) == {"done"}
    for host in outcome.simulation.hosts.values():
        assert not any(
            "pl4nted" in file.text or path.startswith("/etc/containerd/certs.d") for path, file in host.files.items()
        )
    assert second.bootstrap().result.steps == 0


def test_packages_that_apt_would_remove_are_named_and_stay(bed: Bed) -> None:
    furnished(bed, [], {"moby-containerd": "1.7-1"})
    outcome = bed.bootstrap()
    assert "in the way: moby-containerd" in outcome.failed["w1"].output
    assert "moby-containerd" in outcome.simulation.hosts["w1"].packages


def test_reset_empties_influxdbs_own_disk(bed: Bed) -> None:
    bed.healthy()
    with rehearsal.running(bed.environment) as simulation:
        host = simulation.hosts["cp1"]
        host.mounts.append("ext4 /var/lib/kubefab/influxdb")
        host.write("/var/lib/kubefab/influxdb/data/k8s/1.tsm", "x")
        host.write("/var/lib/kubefab/influxdb/lost+found/mine", "x")
    outcome = bed.reset()
    assert set(outcome.states.values()) == {"done"}, outcome.failed
    left = [path for path in outcome.simulation.hosts["cp1"].files if path.startswith("/var/lib/kubefab/")]
    assert left == ["/var/lib/kubefab/influxdb/lost+found/mine"]
    assert any("it stays mounted" in line for line in outcome.recorder.lines)
    assert bed.reset().result.steps == 0


def test_reset_restores_selinux_and_leaves_no_rpmsave(bed: Bed) -> None:
    """The same on EL: SELinux's file says enforcing again, and no .rpmsave of ours is left beside the original files."""
    bed.systems = {"w1": "dnf"}
    with rehearsal.running(bed.environment, workers=1, systems=bed.systems) as simulation:
        host = simulation.hosts["w1"]
        host.write("/etc/containerd/config.toml", FILES["/etc/containerd/config.toml"])
        host.write("/etc/sysconfig/kubelet", "KUBELET_EXTRA_ARGS=--v=4\n", "600")
        before = picture(host)
    assert set(bed.bootstrap().states.values()) == {"done"}
    with rehearsal.running(bed.environment) as simulation:
        assert "SELINUX=permissive" in simulation.hosts["w1"].files["/etc/selinux/config"].text
    outcome = purge(bed)
    assert set(outcome.states.values()) == {"done"}, outcome.failed
    after = picture(outcome.simulation.hosts["w1"])
    aside = after["files"].pop("/etc/sysconfig/kubelet.rpmsave", None)  # type: ignore[attr-defined]
    assert aside is None or aside[0] == "KUBELET_EXTRA_ARGS=--v=4\n", "theirs, renamed by rpm itself"
    assert after["files"] == before["files"]
