"""What the lab decides from the machine: node options, hosts.env, network and firewall; without Docker."""

from __future__ import annotations

import fcntl
import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from cli import run
from lab import engine, entry, firewall, host, hostsenv, mounts, nodes, paths, settings, up, versions
from lab.errors import LabError
from lab.host import Host
from lab.settings import Settings

PLAIN = Host(
    cgroup=2,
    capabilities=("CHOWN", "SYS_ADMIN", "SYS_RESOURCE"),
    cpus=4,
    memory_mib=8000,
    bridge_nf=True,
    kernel_config=True,
    privileged=True,
)
NARROW = replace(PLAIN, cgroup=1, capabilities=("CHOWN", "SYS_ADMIN"), privileged=False)
LAB = Settings("172.30.44.0/24", "1.36.3", 2)


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def env_values(machine: Host) -> dict[str, str]:
    return hostsenv.values(LAB, machine, key=Path("/k"), ca=Path("/ca.crt"), password="secret", fingerprint="ABCD")


def test_state_and_cache_follow_xdg(tmp_path: Path) -> None:
    assert paths.hosts_env() == tmp_path / "state/kubefab/lab/hosts.env"
    assert paths.cache_dir() == tmp_path / "cache/kubefab/lab"


def test_addresses_of_the_default_lab() -> None:
    assert LAB.nodes() == {"cp1": "172.30.44.10", "w1": "172.30.44.21", "w2": "172.30.44.22"}
    assert (LAB.packages, LAB.registry) == ("172.30.44.2", "172.30.44.3")


def test_a_usual_machine_needs_few_options() -> None:
    found = env_values(PLAIN)
    assert "LAB_KUBELET_CONFIG" not in found
    assert "LAB_CONTAINERD_CONFIG" not in found
    assert "LAB_IGNORE_PREFLIGHT" not in found
    assert json.loads(found["LAB_KUBE_PROXY_CONFIG"]) == {"conntrack": {"maxPerCore": 0}}


def test_a_restricted_machine_gets_the_options_that_it_needs() -> None:
    found = env_values(replace(NARROW, cpus=1, bridge_nf=False))
    assert json.loads(found["LAB_KUBELET_CONFIG"]) == {"failCgroupV1": False}
    runtime = json.loads(found["LAB_CONTAINERD_CONFIG"])["plugins"]["io.containerd.cri.v1.runtime"]
    assert runtime == {"restrict_oom_score_adj": True}
    ignored = found["LAB_IGNORE_PREFLIGHT"].split(",")
    assert ignored == [
        "SystemVerification",
        "NumCPU",
        "FileContent--proc-sys-net-bridge-bridge-nf-call-iptables",
    ]


def test_hosts_env_text() -> None:
    text = hostsenv.render(env_values(NARROW))
    assert 'LAB_CONTROL_PLANE="172.30.44.10 name=cp1"\n' in text
    assert 'LAB_WORKER_2="172.30.44.22 name=w2"\n' in text
    assert "LAB_REGISTRY=172.30.44.3:5000\n" in text
    assert "LAB_KUBELET_CONFIG='{\"failCgroupV1\": false}'\n" in text


@pytest.mark.parametrize(
    ("value", "quoted"),
    [("plain-1.2:3/4", "plain-1.2:3/4"), ("two words", '"two words"'), ("", '""'), ('{"a": 1}', "'{\"a\": 1}'")],
)
def test_quoting(value: str, quoted: str) -> None:
    assert hostsenv.quote(value) == quoted


def test_node_options_with_real_privileges() -> None:
    options = nodes.node_arguments(PLAIN)
    assert "--privileged" in options
    assert "--cap-add" not in options
    assert options[-2:] == ["--stop-signal", "SIGRTMIN+3"]


def test_node_options_without() -> None:
    options = nodes.node_arguments(NARROW, ["/lib/modules"])
    assert "--privileged" not in options
    assert [options[i + 1] for i, o in enumerate(options) if o == "--cap-add"] == ["CHOWN", "SYS_ADMIN"]
    assert "a *:* rwm" in options
    assert "/lib/modules:/lib/modules:ro" in options


def test_capability_mask() -> None:
    found = host.decode_capabilities("000001fffeffffff")
    assert "SYS_ADMIN" in found
    assert "SYS_RESOURCE" not in found
    assert len(found) == 40


ROUTES = """default via 192.0.2.1 dev eth0
172.17.0.0/16 dev docker0 proto kernel scope link
172.30.40.0/21 dev vpn0
local 127.0.0.0/8 dev lo table local
unreachable 10.0.0.0/8
"""


def test_subnet_clash() -> None:
    assert host.clash("172.30.44.0/24", ROUTES) == "172.30.40.0/21 dev vpn0"
    assert host.clash("10.9.0.0/24", ROUTES) == "unreachable 10.0.0.0/8"
    assert host.clash("172.31.0.0/24", ROUTES) == ""


@pytest.mark.parametrize("subnet", ["nonsense", "172.30.44.0/28", "8.8.8.0/24", "fd00::/64"])
def test_bad_subnets_are_usage_errors(subnet: str) -> None:
    with pytest.raises(LabError) as caught:
        settings.check(Settings(subnet, "1.36.3", 1))
    assert caught.value.exit_code == 2


def test_missing_programs_become_packages_once() -> None:
    assert host.missing_programs({"gpg": None, "gpgconf": None, "tar": "/bin/tar"}) == ["gnupg"]


def test_settings_and_password_survive_and_are_private() -> None:
    settings.save(LAB)
    assert settings.load() == LAB
    first = settings.password()
    assert settings.password() == first
    path = paths.state_dir() / "registry-password"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_second_up_adds_workers_and_never_drops_them() -> None:
    assert up.choose(None, 2, "", "") == LAB
    assert up.choose(LAB, 3, "", "").workers == 3
    assert up.choose(LAB, 1, "", "") == LAB
    assert up.choose(LAB, 2, "1.37", "").releases == ("1.37.2",)
    with pytest.raises(LabError) as caught:
        up.choose(LAB, 2, "", "10.1.0.0/16")
    assert caught.value.exit_code == 2


def test_hosts_env_names_the_first_release_or_the_one_that_an_upgrade_left_there() -> None:
    several = up.choose(None, 2, "1.36.1,1.36,1.37", "")
    assert several.releases == ("1.36.1", "1.36.3", "1.37.2")
    settings.save(several)
    assert settings.load() == several
    found = hostsenv.values(several, PLAIN, key=Path("/k"), ca=Path("/ca"), password="p", fingerprint="F")
    path = paths.state_dir() / "hosts.env"
    assert hostsenv.release(path) == ""
    settings.write_private(path, hostsenv.render(found))
    assert hostsenv.release(path) == "1.36.1"
    assert up.choose(several, 2, "", "", "1.36.1") == several
    assert up.choose(several, 2, "", "", "1.37.2").releases == ("1.37.2", "1.36.1", "1.36.3")
    assert up.choose(several, 2, "", "", "1.35.4") == several, "it is not served"
    assert up.choose(several, 2, "1.36.3,1.36.1", "", "1.37.2").releases == ("1.36.3", "1.36.1")


SAVED = """*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:MINE - [0:0]
-A FORWARD -j MINE
-A FORWARD -o br0 -j DOCKER
-A DOCKER -j RETURN
COMMIT
"""


def test_firewall_restore_takes_only_dockers_new_chains() -> None:
    assert firewall.policy(SAVED) == "DROP"
    assert firewall.chains(SAVED) == ["DOCKER", "MINE"]
    assert firewall.removal(SAVED, []) == [
        ["-D", "FORWARD", "-o", "br0", "-j", "DOCKER"],
        ["-F", "DOCKER"],
        ["-X", "DOCKER"],
    ]
    assert firewall.removal(SAVED, ["DOCKER"]) == []


def test_our_engine_shares_no_folder_with_another(tmp_path: Path) -> None:
    command = engine.dockerd_command(tmp_path)
    for option in ("--data-root", "--exec-root", "--pidfile"):
        assert command[command.index(option) + 1].startswith(str(tmp_path))


def test_the_registry_login_and_certificate(tmp_path: Path) -> None:
    from cryptography import x509

    from lab import credentials

    folder = credentials.registry_files("172.30.44.3")
    ca = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
    server = x509.load_pem_x509_certificate((folder / "server.crt").read_bytes())
    server.verify_directly_issued_by(ca)
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(a) for a in names.get_values_for_type(x509.IPAddress)] == ["172.30.44.3"]
    assert (folder / "htpasswd").read_text().startswith("kubefab:$2b$")
    before = (folder / "server.crt").read_bytes()
    credentials.registry_files("172.30.44.3")
    assert (folder / "server.crt").read_bytes() == before


def test_status_text() -> None:
    assert "inv lab.up" in entry.render_status({"containers": {}})
    found: dict[str, object] = {
        "up": True,
        "kubernetes": "1.36.3",
        "releases": ["1.36.3", "1.37.2"],
        "subnet": "172.30.44.0/24",
        "hosts_env": "/h",
        "containers": {"cp1": {"address": "172.30.44.10", "state": "running"}},
    }
    assert "Kubernetes 1.36.3 (also served: 1.37.2), 172" in entry.render_status(found)
    assert "Kubernetes 1.36.3, 172" in entry.render_status({**found, "releases": ["1.36.3"]})
    assert "inv cluster.bootstrap --env lab" in entry.render_status(found)


def test_importing_the_tasks_is_light() -> None:
    import subprocess
    import sys

    code = (
        "import sys, lab.entry; print([m for m in sys.modules if m.startswith(('cryptography', 'bcrypt', 'lab.up'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_mounts_below_a_folder_are_listed_innermost_first() -> None:
    table = "proc /proc proc rw 0 0\na /x/root tmpfs rw 0 0\nb /x/root/sys\\040fs tmpfs rw 0 0\nc /xy tmpfs rw 0 0\n"
    assert mounts.below(Path("/x"), table) == ["/x/root/sys fs", "/x/root"]


def test_another_engine_counts_only_in_the_same_network_namespace(tmp_path: Path) -> None:
    for pid, command, network in (("self", "python", "net:1"), ("10", "dockerd", "net:2"), ("11", "bash", "net:1")):
        (tmp_path / pid / "ns").mkdir(parents=True)
        (tmp_path / pid / "comm").write_text(f"{command}\n")
        (tmp_path / pid / "ns/net").symlink_to(network)
    assert engine.other_engine(tmp_path) is None
    (tmp_path / "11/comm").write_text("dockerd\n")
    assert engine.other_engine(tmp_path) == 11


def test_a_docker_client_without_a_daemon_is_not_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda program: "/usr/bin/docker" if program == "docker" else None)
    assert host.missing_to_run() == ["docker.io", "iptables", "iproute2"]


def test_a_build_needs_disk_for_each_release_that_is_not_there() -> None:
    def needs(text: str) -> int:
        return up.space(versions.releases(text))

    assert (needs(""), needs("1.36.1,1.36,1.37")) == (up.FIRST_GIB, up.FIRST_GIB + 2 * up.NEXT_GIB)
    (paths.cache_dir() / "items/kubernetes-1.36.1-0123").mkdir(parents=True)
    assert (needs("1.36.1"), needs("1.36.1,1.36"), needs("1.36.1,1.36,1.37")) == (
        up.NEXT_GIB,
        up.NEXT_GIB,
        2 * up.NEXT_GIB,
    )


def test_a_build_is_refused_where_the_disk_is_too_small(tmp_path: Path) -> None:
    folders = [tmp_path, tmp_path / "not yet/there"]
    host.check_space(folders, 10, free=lambda folder: 10.0)
    asked: list[Path] = []

    def little(folder: Path) -> float:
        asked.append(folder)
        return 9.9 if len(asked) > 1 else 50.0

    with pytest.raises(LabError, match=r"needs 10 GiB of disk.*9\.9 GiB left") as caught:
        host.check_space(folders, 10, little)
    assert asked == [tmp_path, tmp_path]
    assert caught.value.exit_code == 2


def test_mount_points_are_read_as_the_kernel_writes_them() -> None:
    table = r"""proc /tmp/한글\040폴더/root/proc proc rw 0 0
tmpfs /tmp/한글\040폴더/a\134b tmpfs rw 0 0
"""
    assert mounts.below(Path("/tmp/한글 폴더"), table) == ["/tmp/한글 폴더/a\\b", "/tmp/한글 폴더/root/proc"]


def test_what_is_mistyped_is_refused_while_another_lab_command_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    paths.cache_dir().mkdir(parents=True)
    with (paths.cache_dir() / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        refused = run("inv", "lab.up", "--kubernetes", "latest", XDG_CACHE_HOME=str(tmp_path))
    assert refused.returncode == 2 and "'latest' is no Kubernetes version" in refused.stderr
