"""The parser of the observing script, on answers recorded from real nodes (tests/unit/recorded)."""

from __future__ import annotations

import getpass
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabfile.nodes.facts import SWAP_UNITS, NodeFacts, Unit
from fabfile.nodes.influx import Retention, parse_retention
from fabfile.nodes.observe import observe_script, parse_facts, parse_links
from fabfile.recipes.packages import Apt, Dnf, family
from fabfile.steps import File

RECORDED = Path(__file__).parent / "recorded"


def recorded(name: str) -> str:
    return (RECORDED / f"{name}.txt").read_text()


FRESH = [
    ("debian-12", "debian", "12", "bookworm", "w1", Apt),
    ("ubuntu-24.04", "ubuntu", "24.04", "noble", "ip-10-2-3-117", Apt),
    ("rocky-9", "rocky", "9.6", "", "w1.example.com", Dnf),
]


@pytest.mark.parametrize(("name", "os_id", "version", "codename", "hostname", "packages"), FRESH)
def test_a_fresh_machine(name: str, os_id: str, version: str, codename: str, hostname: str, packages: type) -> None:
    facts = parse_facts(recorded(name))
    assert (facts.os_id, facts.os_version, facts.os_codename, facts.hostname) == (os_id, version, codename, hostname)
    assert isinstance(family(facts), packages)
    assert facts.systemd
    assert facts.cpus == 2
    assert facts.memory_kib > 1 << 20
    assert facts.disks == {} and facts.sysctl_lines == ()
    assert not facts.initialised
    assert not facts.joined
    assert not facts.traces
    assert facts.packages == {}
    assert facts.unit("kubelet") == facts.unit("never heard of") == Unit(False, False)


def test_facts_that_differ_on_ubuntu() -> None:
    facts = parse_facts(recorded("ubuntu-24.04"))
    assert facts.swaps == ("/swap.img",)
    assert facts.fstab_swaps == ("/swap.img none swap sw 0 0",)
    assert facts.resolvers == ("127.0.0.53",)
    assert facts.reboot_needed
    assert "docker.io" not in facts.packages, "removed, with its configuration left: not installed"
    assert facts.links["ens5"].mtu == 9001
    assert facts.links["ens5"].addresses == ("10.2.3.117/20", "fe80::84d:1ff:fe02:3/64")


def test_facts_that_differ_on_rocky() -> None:
    facts = parse_facts(recorded("rocky-9"))
    assert facts.os_like == ("rhel", "centos", "fedora")
    assert facts.nft_tables == ("ip flannel-ipv4",)
    assert facts.resolvers == ("10.2.0.2", "10.2.0.3")


def test_a_control_plane_with_everything_on_it() -> None:
    facts = parse_facts(recorded("control-plane"))
    assert facts.initialised
    assert facts.packages["kubelet"] == "1.36.3-1.1"
    assert facts.held == {"containerd.io", "kubeadm", "kubectl", "kubelet"}
    assert facts.unit("containerd") == facts.unit("kubelet") == Unit(True, True)
    assert facts.unit("docker") == Unit(False, False)
    assert set(facts.links) >= {"lo", "eth0", "flannel.1", "cni0"}
    assert facts.ca_hash.startswith("sha256:")
    assert len(facts.ca_hash) == 7 + 64
    assert {n["metadata"]["name"] for n in facts.nodes} == {"cp1", "w1", "w2"}
    assert all(facts.node_ready(n) for n in ("cp1", "w1", "w2"))
    assert not facts.node_ready("w3")
    assert {"kube-flannel-ds", "monitoring-influxdb", "kube-web-view"} <= {o["metadata"]["name"] for o in facts.objects}
    assert facts.retention == Retention(True, "0s", default=True)
    assert facts.reporting == {"cp1", "w1", "w2"}
    assert {"kube-apiserver", "etcd", "kubelet"} <= set(facts.processes)
    assert facts.firewall_rules > 20
    assert facts.pods > 5
    assert facts.certificates == {} and facts.filters == (), "an answer that was recorded before there was the question"
    assert "registry.k8s.io/pause:3.10.2" in facts.images
    assert {"init-started", "initialised", "sysctl"} <= facts.undo


def test_a_worker() -> None:
    facts = parse_facts(recorded("worker"))
    assert facts.joined
    assert not facts.initialised
    assert facts.nodes == ()
    assert facts.ca_hash == parse_facts(recorded("control-plane")).ca_hash
    path = "/etc/containerd/certs.d/docker.io/hosts.toml"
    assert facts.has_file(path, facts.files[path].sha256, "0600")
    assert not facts.has_file(path, facts.files[path].sha256, "0644")
    assert not facts.has_file(path, "0" * 64, "0600")
    assert all(mount.kind == "tmpfs" for mount in facts.mounts)


@pytest.mark.parametrize("name", ["debian-12", "ubuntu-24.04", "rocky-9", "control-plane", "worker"])
def test_a_truncated_answer_is_refused(name: str) -> None:
    """Phases would act on incomplete facts: no prefix of an answer is accepted."""
    whole = recorded(name)
    for cut in [0, 1, len(whole) // 2, *range(len(whole) - 120, len(whole) - len("@@ end\n"))]:
        with pytest.raises(ValueError, match="cut short"):
            parse_facts(whole[:cut])


@given(st.text(max_size=300))
def test_any_text_is_refused_with_a_value_or_lookup_error(text: str) -> None:
    """The runner turns only these two errors into one that names the node."""
    try:
        parse_facts(text + "\n@@ end\n")
    except (ValueError, LookupError):
        pass


@settings(max_examples=200)
@given(st.sampled_from(["debian-12", "ubuntu-24.04", "rocky-9"]), st.data())
def test_a_garbled_line_raises_no_other_error(name: str, data: st.DataObject) -> None:
    lines = recorded(name).splitlines(keepends=True)
    number = data.draw(st.integers(0, len(lines) - 2))
    lines[number] = data.draw(st.text(max_size=30)) + "\n"
    try:
        assert isinstance(parse_facts("".join(lines)), NodeFacts)
    except (ValueError, LookupError):
        pass


def test_no_links() -> None:
    assert parse_links("") == {}
    assert parse_links("[{}]") == {}


IP_OF_2016 = """\
1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN group default qlen 1
    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00
    inet 127.0.0.1/8 scope host lo
       valid_lft forever preferred_lft forever
    inet6 ::1/128 scope host
       valid_lft forever preferred_lft forever
4: flannel.1: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 8951 qdisc noqueue state UNKNOWN group default
    link/ether 6e:a1:9c:5a:27:11 brd ff:ff:ff:ff:ff:ff
    inet 10.44.0.0/16 scope global flannel.1
       valid_lft forever preferred_lft forever
5: cni0: <NO-CARRIER,BROADCAST,MULTICAST> mtu 1500 qdisc noqueue state DOWN group default qlen 1000
    link/ether 0a:58:0a:2c:00:01 brd ff:ff:ff:ff:ff:ff
7: veth1a2b3c@if3: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 8951 qdisc noqueue master cni0 state UP group default
    link/ether aa:61:2d:0e:2e:d0 brd ff:ff:ff:ff:ff:ff link-netnsid 0
"""
IFCONFIG_OF_2016 = """\
cni0      Link encap:Ethernet  HWaddr 0a:58:0a:2c:00:01
          inet addr:10.44.0.1  Bcast:0.0.0.0  Mask:255.255.255.0
          inet6 addr: fe80::1cd4:7fff:fe1e:a9d6/64 Scope:Link
          UP BROADCAST RUNNING MULTICAST  MTU:8951  Metric:1
          RX packets:102 errors:0 dropped:0 overruns:0 frame:0

flannel.1 Link encap:Ethernet  HWaddr 6e:a1:9c:5a:27:11
          BROADCAST MULTICAST  MTU:8951  Metric:1
"""
IFCONFIG_OF_TODAY = """\
docker0: flags=4099<UP,BROADCAST,MULTICAST>  mtu 1500
        inet 172.17.0.1  netmask 255.255.0.0  broadcast 172.17.255.255
        ether 02:42:ac:11:00:01  txqueuelen 0  (Ethernet)

eth0: flags=4163<UP,BROADCAST,RUNNING,MULTICAST>  mtu 9001
        inet 10.2.0.128  netmask 255.255.240.0  broadcast 10.2.15.255
        inet6 fe80::42:aff:fe02:80  prefixlen 64  scopeid 0x20<link>
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (IP_OF_2016, {"lo": (("127.0.0.1/8", "::1/128"), 65536, True), "flannel.1": (("10.44.0.0/16",), 8951, True), "cni0": ((), 1500, False), "veth1a2b3c": ((), 8951, True)}),
        (IFCONFIG_OF_2016, {"cni0": (("10.44.0.1/24", "fe80::1cd4:7fff:fe1e:a9d6/64"), 8951, True), "flannel.1": ((), 8951, False)}),
        (IFCONFIG_OF_TODAY, {"docker0": (("172.17.0.1/16",), 1500, True), "eth0": (("10.2.0.128/20", "fe80::42:aff:fe02:80/64"), 9001, True)}),
    ],
    ids=["ip of Ubuntu 16.04", "ifconfig of Ubuntu 16.04", "ifconfig of today"],
)  # fmt: skip
def test_links_from_an_ip_command_without_json(
    text: str, expected: dict[str, tuple[tuple[str, ...], int, bool]]
) -> None:
    assert {name: (link.addresses, link.mtu, link.up) for name, link in parse_links(text).items()} == expected


@given(st.text(max_size=200))
def test_links_from_any_text_are_links_or_a_value_error(text: str) -> None:
    try:
        parse_links(text)
    except ValueError:
        pass


def test_the_script_itself_runs_here_and_only_reads(tmp_path: Path) -> None:
    """Run the real script on this machine: the parser must accept what it prints."""
    known = tmp_path / "known"
    known.write_text("x\n")
    known.chmod(0o640)
    text = observe_script(control_plane=False, files=[str(known), str(tmp_path / "not there")])
    sent = tmp_path / "sent"
    sent.write_text(text)
    done = subprocess.run(["bash", str(sent)], capture_output=True, text=True, timeout=60, check=True)
    facts = parse_facts(done.stdout)
    assert facts.hostname
    assert facts.files.keys() == {str(known)}
    assert facts.has_file(str(known), File("/x", "x\n").sha256, "0640")
    assert {p.name for p in tmp_path.iterdir()} == {"known"}, "the script deletes itself and leaves nothing"


@pytest.mark.parametrize("line", ["set -e", "rm -rf /", "mkdir", "systemctl start", "systemctl restart", "apt-get"])
def test_the_observing_script_has_nothing_that_changes_a_node(line: str) -> None:
    text = observe_script(control_plane=True, files=["/etc/x"], settle=True)
    assert line not in text


def test_paths_are_quoted() -> None:
    text = observe_script(control_plane=False, files=["/etc/x; touch /tmp/y"])
    assert "files='/etc/x; touch /tmp/y'" in text


# --- lines of the observing script, in a real bash


def test_swap_units_that_the_next_boot_would_start(tmp_path: Path) -> None:
    """Units of generators and enabled units count; units that are masked, disabled or no longer in fstab do not."""
    generated, own = tmp_path / "run/systemd/generator.late", tmp_path / "etc/systemd/system"
    for path in (generated / "dev-sda3.swap", generated / "dev-zram0.swap", own / "srv-swap.swap", own / "off.swap"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("[Swap]\n")
    (own / "swap.target.wants").mkdir()
    (own / "swap.target.wants/srv-swap.swap").symlink_to(own / "srv-swap.swap")
    (own / "dev-sda3.swap").symlink_to("/dev/null")
    line = SWAP_UNITS.replace("/run/systemd", f"{tmp_path}/run/systemd").replace(
        "/etc/systemd", f"{tmp_path}/etc/systemd"
    )
    assert subprocess.run(["bash", "-c", line], capture_output=True, text=True).stdout.split() == [
        "dev-zram0.swap",
        "srv-swap.swap",
    ]
    assert (
        subprocess.run(
            ["bash", "-c", SWAP_UNITS.replace("/run/systemd", "/nowhere").replace("/etc/systemd", "/nowhere")],
            capture_output=True,
        ).stdout
        == b""
    )


MOUNTINFO = """\
24 1 259:1 / / rw,relatime shared:1 - ext4 /dev/root rw
95 24 0:52 / /var/lib/kubelet/pods/1/volumes/kubernetes.io~projected/token rw,relatime shared:40 master:2 - tmpfs tmpfs rw,size=170Mi
96 24 259:1 /var/lib/kubelet/pods/1/volumes/kubernetes.io~configmap/c/a.ini /var/lib/kubelet/pods/1/volume-subpaths/c/x/0 ro,relatime - ext4 /dev/root rw
97 24 259:9 / /var/lib/kubelet-of-somebody rw - ext4 /dev/sdb rw
"""


def test_mounts_below_the_kubelets_folder_with_what_they_show(tmp_path: Path) -> None:
    (tmp_path / "mountinfo").write_text(MOUNTINFO)
    line = next(line for line in observe_script(control_plane=False, files=()).splitlines() if "@@ mounts" in line)
    done = subprocess.run(
        ["bash", "-c", line.replace("/proc/self/mountinfo", f"{tmp_path}/mountinfo")], capture_output=True, text=True
    )
    assert done.stdout.splitlines()[1:] == [
        "tmpfs /var/lib/kubelet/pods/1/volumes/kubernetes.io~projected/token /",
        "ext4 /var/lib/kubelet/pods/1/volume-subpaths/c/x/0 /var/lib/kubelet/pods/1/volumes/kubernetes.io~configmap/c/a.ini",
    ]


def test_scripts_left_by_a_broken_connection_are_deleted(tmp_path: Path) -> None:
    """Only old files of the login user with exactly our name's format: a new one may still be arriving."""
    line = next(
        line
        for line in observe_script(control_plane=False, files=[], settle=True).splitlines()
        if line.lstrip().startswith("find /tmp")
    )
    ours, secret = ".kubefab-0123456789abcdef", tmp_path / "secret"
    secret.write_text("theirs")
    names = {
        ours: True,
        ".kubefab-0123456789abcdeF": False,
        ".kubefab-0123456789abcdef0": False,
        "x.kubefab-0123456789abcdef": False,
        ".kubefab-aaaaaaaaaaaaaaaa": False,
    }
    for name in names:
        (tmp_path / name).write_text("Basic a3ViZWZhYg==")
        os.utime(tmp_path / name, (0, 0) if name != ".kubefab-aaaaaaaaaaaaaaaa" else None)
    (tmp_path / ".kubefab-bbbbbbbbbbbbbbbb").symlink_to(secret)
    (tmp_path / ".kubefab-cccccccccccccccc").mkdir()
    sweep = line.replace("find /tmp", f"find {tmp_path}").replace("'/tmp/", f"'{tmp_path}/")
    for user, gone in (("nobody", False), ("root", True)):
        subprocess.run(
            ["bash", "-c", sweep],
            check=True,
            env={"PATH": "/usr/bin:/bin", "SUDO_USER": user if os.getuid() == 0 else getpass.getuser()},
        )
        assert (tmp_path / ours).exists() != gone or os.getuid() != 0
    assert not (tmp_path / ours).exists()
    left = {name for name, swept in names.items() if not swept} | {
        ".kubefab-bbbbbbbbbbbbbbbb",
        ".kubefab-cccccccccccccccc",
        "secret",
    }
    assert {path.name for path in tmp_path.iterdir()} == left


def test_observing_deletes_no_scripts() -> None:
    head = observe_script(control_plane=False, files=[]).split('if [ -n "$settle" ]')[0]
    assert "settle=''" in head and "-delete" not in head


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("default,720h0m0s,24h0m0s,1,true", Retention(True, "720h0m0s", default=True)),
        ("default,0s,168h0m0s,1,false", Retention(True, "0s")),
        ("default,$(reboot),168h0m0s,1,true", Retention(True)),
        ("default,1h; DROP DATABASE k8s,168h0m0s,1,true", Retention(True)),
        (f"default,{'9' * 40}h,168h0m0s,1,true", Retention(True)),
        ("default,1h", Retention(True)),
        ("ERR: database not found: k8s", Retention(True)),
        ("", Retention()),
    ],
)
def test_a_malformed_retention_policy_is_no_policy(row: str, expected: Retention) -> None:
    found = parse_retention(f"name,duration,shardGroupDuration,replicaN,default\n{row}\n" if row else row)
    assert found == expected
    assert found.hours == {"720h0m0s": 720.0}.get(expected.duration, 0.0)
