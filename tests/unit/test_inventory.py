"""hosts.env: layers, checks and names. Every problem comes in one message, with its line and its remedy."""

from __future__ import annotations

import base64
import ipaddress
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import urllib.parse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile import inventory
from fabfile.errors import UsageError
from fabfile.inventory import Environment, Node, load, state_folder, with_nodes
from fabfile.inventory.load import _NAME
from fabfile.text.forms import is_address
from fabfile.text.masking import mask
from fabfile.text.nearest import did_you_mean, nearest

AWS = load("aws", variables={})
GOOD = """\
A_CONTROL_PLANE="192.0.2.1 private=10.2.0.1"
A_WORKER_1=192.0.2.2
A_POD_CIDR=10.44.0.0/16
"""


@pytest.fixture(autouse=True)
def no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail on any connection: reading an inventory must never connect."""

    def refuse(*args: object) -> None:
        raise AssertionError("the inventory connected to something")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """A project folder with these files in it, which is the working folder."""
    monkeypatch.chdir(tmp_path)

    def make(hosts: str | bytes | None = GOOD, **files: str) -> Path:
        if hosts is not None:
            (tmp_path / "hosts.env").write_bytes(hosts if isinstance(hosts, bytes) else hosts.encode())
        for name, text in files.items():
            (tmp_path / name.replace("__", ".")).write_text(text)
        return tmp_path

    return make


def read(name: str, project: Path, variables: dict[str, str]) -> Environment:
    """The environment of the project's hosts.env."""
    return load(name, hosts_file=project / "hosts.env", variables=variables)


def complaint(project: Path, name: str = "a", variables: dict[str, str] | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        read(name, project=project, variables=variables or {})
    assert caught.value.exit_code == 2
    return caught.value.message


# --- what the manual says (digest "Environments", E1, E2)

MANUAL = {
    "aws": (
        ("13.124.31.81", "10.2.0.128", "m4.large"),
        [
            ("13.124.19.160", "10.2.3.117"),
            ("13.124.23.229", "10.2.5.98"),
            ("13.124.45.198", "10.2.6.49"),
            ("13.124.7.78", "10.2.7.90"),
        ],
        "10.44.0.0/16",
        "b00af9.5fcddc13c9193dd1",
    ),
    "datacenter": (
        ("13.124.11.58", "10.2.12.139", "m4.large"),
        [
            ("13.124.24.26", "10.2.12.160"),
            ("13.124.54.129", "10.2.2.37"),
            ("13.124.58.8", "10.2.3.28"),
            ("13.124.27.11", "10.2.8.5"),
        ],
        "10.45.0.0/16",
        "07c414.8679e4553a1e7426",
    ),
}


@pytest.mark.parametrize("name", MANUAL)
def test_the_manuals_environments_are_complete(name: str) -> None:
    control, workers, cidr, token = MANUAL[name]
    env = load(name, variables={})
    assert (env.control_plane.host, env.control_plane.address, env.control_plane.instance) == control
    assert [(w.host, w.address) for w in env.workers] == workers
    assert {w.instance for w in env.workers} == {"t2.medium"}
    assert str(env.settings.pod_cidr) == cidr
    assert env.settings.token.reveal() == token
    assert (env.settings.dashboard_port, env.settings.influxdb_port, env.settings.api_port) == (31447, 30315, 6443)
    assert env.settings.retention == "0d"
    assert env.endpoint == f"{control[1]}:6443"
    assert all(node.behind_nat for node in env.nodes)


def test_a_token_in_the_inventory_is_registered_as_a_secret() -> None:
    load("aws", variables={})
    assert mask("kubeadm join --token=b00af9.5fcddc13c9193dd1 x") == "kubeadm join --token=[secret] x"


def test_every_environment_of_the_repository_loads() -> None:
    assert inventory.names() == ["aws", "datacenter", "lab", "rehearsal"]
    for name in inventory.names():
        load(name, variables={})


def test_without_a_name_the_environment_is_the_variables_or_the_rehearsal() -> None:
    assert load(None, variables={}).name == "rehearsal"
    assert load(None, variables={"KUBEFAB_ENV": "AWS"}).name == "aws"
    assert load("datacenter", variables={"KUBEFAB_ENV": "aws"}).name == "datacenter"


# --- one wrong line

BAD_LINES = [
    ("A_WORKER_2=192.0.2.2", "hosts.env:4: address 192.0.2.2 is used twice (also hosts.env:2)"),
    ('A_WORKER_2="192.0.2.9 private=10.2.0.1"', "address 10.2.0.1 is used twice (also hosts.env:1)"),
    ('A_WORKER_2="192.0.2.9 name=w1"', "name w1 is used twice"),
    ("A_WORKER_1=192.0.2.9", "A_WORKER_1 is defined twice (first in line 2)"),
    ("A_WORKER_2=192.0.2.999", "'192.0.2.999' is not an IP address"),
    ("A_WORKER_2=", "'' is not an IP address"),
    ("A_WORKER_2=example.com", "'example.com' is not an IP address"),
    ('A_WORKER_2="192.0.2.9 private=10.2"', "'10.2' is not an IP address"),
    ('A_WORKER_2="192.0.2.9 prot=22"', "did you mean port=…?"),
    ('A_WORKER_2="192.0.2.9 port"', "the inventory has 1 problem"),
    ('A_WORKER_2="192.0.2.9 port=0"', "port '0' is not a port"),
    ('A_WORKER_2="192.0.2.9 port=ssh"', "port 'ssh' is not a port"),
    ('A_WORKER_2="192.0.2.9 jump=me@host:ssh"', "'me@host:ssh' is not a bastion"),
    ('A_WORKER_2="192.0.2.9 jump=me@2001:db8::9"', "is not a bastion"),
    ("A_SSH_JUMP=me@[2001:db8::9]:99999", "'99999' is not a port"),
    ("A_CONNECT_TIMEOUT=0.5", "at least 1 second"),
    ("A_SSH_KEY='a\0b'", "A_SSH_KEY has a NUL character"),
    ("A_SERVICE_CIDR=10.96.0.0/30", "SERVICE_CIDR 10.96.0.0/30 is too small for Kubernetes"),
    ("A_SERVICE_CIDR=11.0.0.0/8", "SERVICE_CIDR 11.0.0.0/8 is too large for Kubernetes"),
    ("A_SERVICE_CIDR=10.96.0.0", "'10.96.0.0' is a single address, not a network"),
    ("A_SERVICE_CIDR=224.0.0.0/16", "'224.0.0.0/16' overlaps 224.0.0.0/4"),
    ("A_SERVICE_CIDR=169.254.0.0/16", "overlaps 169.254.0.0/16"),
    ("A_NODE_CIDR=10.9.0.0/24", "NODE_CIDR 10.9.0.0/24 has the address of no node (cp1 is 10.2.0.1)"),
    ("A_SSH_PORT=２２", "'２２' is not a port"),
    ("A_FLANNEL_GRACE=1e-9", "'1e-9' is not a number of seconds"),
    ("A_FLANNEL_GRACE=inf", "'inf' is not a number of seconds"),
    ("A_WORKER_2=ops@192.0.2.7:2222", "→ write 192.0.2.7 user=ops port=2222"),
    ("A_WORKER_2=[2001:db8::9]:22", "→ write 2001:db8::9 port=22"),
    (
        "A_WORKER_2=w2.example.com",
        "write w2.example.com private=ADDRESS",
    ),
    ('A_WORKER_2="192.0.2.9 key=/nowhere/key"', "no file /nowhere/key"),
    ('A_WORKER_2="192.0.2.9 name=all"', "name 'all' cannot be used"),
    ('A_WORKER_2="192.0.2.9 name=W_2"', "name 'W_2' cannot be used"),
    ("A_MASTER=192.0.2.9", "a second control plane"),
    ("A_WORKER_2=2001:db8::2", "w2: its peers would use 2001:db8::2, and kubefab's clusters are IPv4"),
    ("A_SERVICE_CIDR=fd00:45::/112", "SERVICE_CIDR fd00:45::/112: kubefab's clusters are IPv4"),
    ("A_IGNORE_PREFLIGHT=Mem,all", "does not take `all`"),
    ("A_DASHBOARD_PORT=30315", "DASHBOARD_PORT and INFLUXDB_PORT are both 30315"),
    ("A_API_PORT=10250", "API_PORT 10250 is taken"),
    ("A_API_PORT=22", "API_PORT 22 is taken"),
    ("A_CONTAINERD_KEY_FINGERPRINT=9DC8", "'9DC8' is not a fingerprint"),
    ("A_SERVICE_CIDR=10.44.0.0/20", "POD_CIDR 10.44.0.0/16 overlaps SERVICE_CIDR 10.44.0.0/20"),
    ("A_NODE_CIDR=10.0.0.0/8", "overlaps NODE_CIDR 10.0.0.0/8"),
    ("A_WORKER_2=10.44.3.3", "w2 has an address inside POD_CIDR 10.44.0.0/16"),
    ("A_WORKER_2=10.96.3.3", "w2 has an address inside SERVICE_CIDR 10.96.0.0/12"),
    ("A_POD_CIDR=10.44.0.1/16", "A_POD_CIDR is defined twice"),
    ("SERVICE_CIDR=10.96.0.1/12", "'10.96.0.1/12' is not a network"),
    ("A_TOKEN=b00af9", "A_TOKEN is not a bootstrap token"),
    ("A_TOKEN=B00AF9.5fcddc13c9193dd1", "A_TOKEN is not a bootstrap token"),
    ("A_POD_CDIR=10.44.0.0/16", "did you mean A_POD_CIDR?"),
    ("POD_CDIR=10.44.0.0/16", "did you mean POD_CIDR?"),
    ("A_WROKER_2=192.0.2.3", "did you mean A_WORKER_1?"),
    ("ZZZZZZZ=1", "docs/settings.md lists them all"),
    ("A_SSH_KEY=no-such-file", "A_SSH_KEY: no file"),
    ("A_SSH_KEY=~no-such-user/key", "A_SSH_KEY: no file"),
    ("A_REGISTRY_CA=/no/such/ca.crt", "A_REGISTRY_CA: no file /no/such/ca.crt"),
    ("A_KUBERNETES=latest", "'latest' is not a Kubernetes release"),
    ("A_DASHBOARD_PORT=80", "'80' is not a NodePort (30000 to 32767)"),
    ("A_FORKS=0", "'0' is not a number from 1"),
    ("A_FLANNEL_GRACE=-1", "must be more than 0 seconds"),
    ("A_SIMULATED=perhaps", "write yes or no"),
    ("A_DASHBOARD=grafana", "one of headlamp, kube-web-view, none"),
    ("A_RETENTION=forever", "is not an InfluxDB duration"),
    ("A_KUBELET_CONFIG=[1]", "must be a JSON object"),
    ("A_KUBELET_CONFIG={", "is not JSON"),
    (
        """A_KUBELET_CONFIG='{"defaultPodSysctls": {"net.core.somaxconn": "1024"}}'""",
        "KUBELET_CONFIG: defaultPodSysctls is a field of Kubernetes 1.37 and later, and this is 1.36",
    ),
    ("this is no assignment", "is not KEY=value"),
    ("A_FORKS", "A_FORKS has no value"),
    ("KUBEFAB_ENV=a", "KUBEFAB_ENV is a variable of the process, not a line of a file"),
    ("KUBEFAB_FORKS=3", "`export KUBEFAB_FORKS=…`, or write FORKS=… here"),
    ('A_FORKS="8', "is not KEY=value"),
]


@pytest.mark.parametrize(("line", "message"), BAD_LINES, ids=[line for line, _ in BAD_LINES])
def test_a_bad_line_is_named_with_a_remedy(project: Callable[..., Path], line: str, message: str) -> None:
    found = complaint(project(GOOD + line + "\n"))
    assert message in found
    assert found.splitlines()[1].startswith("hosts.env:4: "), "the line that was written wrong, not a file alone"
    assert "    → " in found


def test_a_range_that_is_too_narrow_is_named_by_its_line_and_a_default_by_its_environments(
    project: Callable[..., Path],
) -> None:
    assert "hosts.env:3: POD_CIDR 10.44.0.0/28 has room" in complaint(project(GOOD.replace("/16", "/28")))
    assert "hosts.env:1: API_PORT 6443 is taken" in complaint(project(GOOD.replace("10.2.0.1", "10.2.0.1 port=6443")))


def test_one_message_lists_all_problems_with_file_line_and_remedy(project: Callable[..., Path]) -> None:
    text = GOOD + "A_POD_CDIR=1\nA_WORKER_2=192.0.2.2\n\n# a comment\nA_TOKEN=short\nA_FORKS=none\n"
    found = complaint(project(text))
    places = [line.split()[0] for line in found.splitlines() if line.startswith("hosts.env:")]
    assert places == ["hosts.env:4:", "hosts.env:5:", "hosts.env:8:", "hosts.env:9:"], "in the order of the lines"
    assert found.startswith("the inventory has 4 problems:")
    assert found.count("    → ") == 4


@pytest.mark.parametrize(
    "text", [GOOD.replace("A_WORKER_1=", "A_WORKER_1='"), b"A_CONTROL_PLANE=192.0.2.1 # caf\xe9\n"]
)
def test_what_cannot_be_read_is_named_before_what_is_missing_therefore(
    project: Callable[..., Path], text: str | bytes
) -> None:
    lines = [line for line in complaint(project(text), "b").splitlines() if line.startswith("hosts.env")]
    assert "is not" in lines[0] and lines[-1].startswith("hosts.env: no environment 'b'")


def test_an_unknown_environment_gets_the_nearest_name(project: Callable[..., Path]) -> None:
    text = GOOD.replace("A_", "STAGING_")
    found = complaint(project(text), "stagnig")
    assert "no environment 'stagnig'" in found
    assert "did you mean staging?" in found


def test_a_file_in_another_encoding_is_reported(project: Callable[..., Path]) -> None:
    assert "is not UTF-8" in complaint(project(b"A_CONTROL_PLANE=192.0.2.1 # caf\xe9\n"))


def test_pod_cidr_must_have_room_for_every_node(project: Callable[..., Path]) -> None:
    workers = "".join(f"A_WORKER_{n}=192.0.2.{n + 10}\n" for n in range(2, 6))
    found = complaint(project(GOOD.replace("10.44.0.0/16", "10.44.0.0/22") + workers))
    assert "has room for 4 nodes, the inventory has 6" in found


# --- layers


def test_the_ranges_that_are_accepted_are_those_that_kubeadm_accepts(project: Callable[..., Path]) -> None:
    """Ten addresses for services at least, 20 bits at most; between the pods' network and a node's /24 16 bits at most."""

    def accepted(pods: str, services: str) -> bool:
        text = GOOD.replace("10.44.0.0/16", pods) + f"A_SERVICE_CIDR={services}\n"
        try:
            read("a", project(text), {})
        except UsageError as error:
            assert "_CIDR" in error.message
            return False
        return True

    for bits in range(33):
        pods = str(ipaddress.ip_network((int(ipaddress.ip_address("64.0.0.0")), bits), strict=False))
        assert accepted(pods, "96.0.0.0/16") == (8 <= bits <= 23), "two nodes"
        services = str(ipaddress.ip_network((int(ipaddress.ip_address("96.0.0.0")), bits), strict=False))
        assert accepted("64.0.0.0/16", services) == (12 <= bits <= 28)


def test_later_layers_win_key_by_key(project: Callable[..., Path]) -> None:
    folder = project(GOOD + "FORKS=1\nA_SSH_PORT=1\nA_RETENTION=1d\n", hosts__local__env="A_FORKS=3\n")
    state = state_folder("a", folder / "hosts.env")
    state.mkdir(parents=True)
    (state / "hosts.env").write_text("A_SSH_PORT=2\nA_FORKS=2\nA_RETENTION=2d\n")
    env = read("a", project=folder, variables={"KUBEFAB_RETENTION": "4d"})
    assert (env.settings.ssh_port, env.settings.forks) == (2, 3)
    assert env.settings.retention == "2d", "the environment's own key is stronger than a key for all environments"
    env = read(
        "a", project=folder, variables={"KUBEFAB_A_RETENTION": "4d", "KUBEFAB_B_WORKER_1": "ignored", "OTHER": "1"}
    )
    assert env.settings.retention == "4d"


def test_an_environments_own_key_overrides_the_common_one(project: Callable[..., Path]) -> None:
    env = read("a", project=project("RETENTION=1d\n" + GOOD + "A_RETENTION=7d\n"), variables={})
    assert env.settings.retention == "7d"


def test_a_node_can_be_a_variable_too(project: Callable[..., Path]) -> None:
    env = read(
        "a",
        project=project(),
        variables={"KUBEFAB_A_WORKER_1": "198.51.100.7 user=ops", "KUBEFAB_A_WORKER_9": "198.51.100.9"},
    )
    assert [(w.name, w.host, w.user) for w in env.workers] == [
        ("w1", "198.51.100.7", "ops"),
        ("w9", "198.51.100.9", ""),
    ]
    assert "environment variable KUBEFAB_A_WORKER_1" in complaint(
        project(), variables={"KUBEFAB_A_WORKER_1": "nowhere"}
    )


def test_a_problem_in_a_variable_names_the_variable(project: Callable[..., Path]) -> None:
    assert "environment variable KUBEFAB_FORKS" in complaint(project(), variables={"KUBEFAB_FORKS": "many"})


def test_a_relative_path_starts_at_its_file(project: Callable[..., Path]) -> None:
    folder = project(GOOD + "A_SSH_KEY=key\n", key="x")
    assert read("a", project=folder, variables={}).control_plane.key == str(folder / "key")


def test_node_words_and_defaults(project: Callable[..., Path]) -> None:
    text = (
        'A_CONTROL_PLANE="192.0.2.1 name=front user=root port=2222 jump=me@198.51.100.1:22"\n'
        "A_SLAVE_10=192.0.2.10\nA_WORKER_2=192.0.2.2\nA_SSH_USER=ops\n"
    )
    env = read("a", project=project(text), variables={})
    assert env.control_plane == Node(
        "front", "192.0.2.1", "192.0.2.1", True, "root", 2222, "", "me@198.51.100.1:22", ""
    )
    assert [(w.name, w.user, w.port) for w in env.workers] == [("w2", "ops", 22), ("w10", "ops", 22)]
    assert not env.control_plane.behind_nat


def test_ssh_may_go_to_an_ipv6_address_and_the_cluster_is_ipv4(project: Callable[..., Path]) -> None:
    env = read("a", project=project('A_CONTROL_PLANE="2001:db8::1 private=10.2.0.1"\n'), variables={})
    assert (env.control_plane.host, env.endpoint) == ("2001:db8::1", "10.2.0.1:6443")


def test_ssh_may_go_to_a_name_and_its_peers_use_the_private_address(project: Callable[..., Path]) -> None:
    project("""A_CONTROL_PLANE="cp1.example.com private=10.2.0.1"
A_WORKER_1="my_box private=10.2.0.2 port=2222"
A_WORKER_2="web private=10.2.0.3"
A_WORKER_3=10.2.0.4
""")
    environment = load("a", variables={})
    assert [(n.host, n.address, n.port) for n in environment.nodes] == [
        ("cp1.example.com", "10.2.0.1", 0), ("my_box", "10.2.0.2", 2222), ("web", "10.2.0.3", 0), ("10.2.0.4", "10.2.0.4", 22)
    ]  # fmt: skip
    assert [n.outside for n in environment.nodes] == ["cp1.example.com", "10.2.0.2", "10.2.0.3", "10.2.0.4"], (
        "kubectl and browsers know no alias of ~/.ssh/config"
    )
    assert environment.select(["web"])[0].name == "w2" and environment.endpoint == "10.2.0.1:6443"
    assert {n.port for n in load("a", variables={"KUBEFAB_A_SSH_PORT": "2200"}).nodes} == {2200, 2222}


@given(st.text(st.sampled_from("aZ09._-@:[]%*?!/ ~"), min_size=1, max_size=12))
def test_what_is_taken_as_a_name_is_no_option_pattern_or_mistyped_address(text: str) -> None:
    if _NAME.fullmatch(text):
        assert not text.startswith("-") and not set(text) & set("@:[]%*?!/ ~") and any(char.isalpha() for char in text)
        assert not is_address(text)


def test_export_quotes_and_comments_are_read_as_dotenv_does(project: Callable[..., Path]) -> None:
    text = "# first\nexport A_CONTROL_PLANE='192.0.2.1 name=x' # why\nA_KUBELET_CONFIG='{\"maxPods\": 50}'\n"
    env = read("a", project=project(text), variables={})
    assert env.control_plane.name == "x"
    assert env.settings.kubelet_config == {"maxPods": 50}


def test_reading_an_inventory_loads_no_library_that_only_a_command_needs() -> None:
    """Completion reads names, and `inv -l` imports the table of contents: neither waits for SSH or the screen."""
    heavy = ("paramiko", "rich", "fabric", "jinja2", "tenacity")
    code = (
        "import sys, fabfile.inventory as i; late = 'dotenv' not in sys.modules; i.names(); i.load('aws'); "
        f"print(late, [name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=inventory.PROJECT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "True []\n"


# --- the model has room for several control planes, the inventory not yet


def test_groups_and_nodes_of_an_environment_with_two_control_planes() -> None:
    second, *workers = AWS.workers
    second = replace(second, name="cp2", control_plane=True)
    both = with_nodes(AWS, [AWS.control_plane, *workers, second])
    assert both.control_planes == (AWS.control_plane, second) and both.workers == tuple(workers)
    assert [n.name for n in both.nodes] == ["cp1", "cp2", "w2", "w3", "w4"]
    assert [n.name for n in both.select(["master"])] == ["cp1", "cp2"]
    assert both.control_plane == AWS.control_plane and both.endpoint == AWS.endpoint


def test_a_second_control_plane_is_refused_with_both_ways_out(project: Callable[..., Path]) -> None:
    found = complaint(project(GOOD + "A_MASTER=192.0.2.9\n"))
    assert "several control planes are not supported yet: take the line out, or make the node a worker" in found


# --- select

SELECTIONS = [
    ("all", "cp1 w1 w2 w3 w4"),
    ("master", "cp1"),
    ("masters", "cp1"),
    ("control-plane", "cp1"),
    ("cp1", "cp1"),
    ("slaves", "w1 w2 w3 w4"),
    ("workers", "w1 w2 w3 w4"),
    ("Workers", "w1 w2 w3 w4"),
    ("slave1", "w1"),
    ("slave-2", "w2"),
    ("worker3", "w3"),
    ("13.124.23.229", "w2"),
    ("10.2.5.98", "w2"),
    ("13.124.31.81", "cp1"),
    ("w4,w1", "w1 w4"),
    ("w1,slaves", "w1 w2 w3 w4"),
    ("master,slave4", "cp1 w4"),
]


@pytest.mark.parametrize(("names", "nodes"), SELECTIONS)
def test_nodes_by_group_name_number_and_address(names: str, nodes: str) -> None:
    assert [n.name for n in AWS.select(names.split(","))] == nodes.split()


@pytest.mark.parametrize(("name", "near"), [("mastr", "master"), ("w11", "w1"), ("slavs", "slaves"), ("al", "all")])
def test_an_unknown_node_gets_the_nearest_name(name: str, near: str) -> None:
    with pytest.raises(UsageError) as caught:
        AWS.select(["w1", name])
    assert f"did you mean {near}?" in caught.value.remedy
    assert "w1, w2" in caught.value.remedy


@given(st.text(min_size=1, max_size=20))
def test_any_other_name_is_a_usage_error(name: str) -> None:
    try:
        assert AWS.select([name])
    except UsageError as error:
        assert "Nodes: cp1, w1" in error.remedy


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["w1", "w2", "slave2", "worker-1", "10.0.0.1", "b"]),
            st.sampled_from(["10.0.0.1", "10.0.0.2", "127.0.0.1"]),
            st.sampled_from(["10.0.0.1", "10.9.0.1", "10.9.0.2"]),
        ),
        min_size=1,
        max_size=6,
        unique_by=lambda node: node[0],
    ),
    st.sampled_from(["w1", "w2", "slave1", "slave2", "worker-1", "10.0.0.1", "10.0.0.2", "127.0.0.1", "10.9.0.1", "b"]),
)
def test_a_word_that_is_no_group_means_one_node_or_is_refused_with_all_their_names(
    made: list[tuple[str, str, str]], typed: str
) -> None:
    """Also where a node has another one's address as its name, and where all are dialled at one address, as simulated ones."""
    nodes = tuple(Node(name, host, address, control_plane=not n) for n, (name, host, address) in enumerate(made))
    env = replace(AWS, control_planes=nodes[:1], workers=nodes[1:])
    number = re.fullmatch(r"(?:slave|worker-)(\d)", typed)
    fitting = [n.name for n in nodes if typed in (n.name, n.host, n.address) or (number and n.name == f"w{number[1]}")]
    if len(fitting) == 1:
        assert [n.name for n in env.select([typed])] == fitting
        return
    with pytest.raises(UsageError) as caught:
        env.select(["all", typed])
    if fitting:
        assert (
            f"{typed} means {len(fitting)} nodes of aws: {', '.join(fitting)}; nothing was touched"
            in caught.value.message
        )
    else:
        assert "no node or group" in caught.value.message


@given(
    st.lists(st.from_regex(r"[a-zA-Z][a-z0-9.-]{2,12}", fullmatch=True), min_size=1, max_size=8, unique=True), st.data()
)
def test_the_nearest_name_is_a_known_one_whatever_the_case(known: list[str], data: st.DataObject) -> None:
    word = data.draw(st.sampled_from(known))
    assert nearest(word.swapcase(), known).lower() == word.lower()
    assert did_you_mean(f"{word}{word[-1]}", known, "--to {}").startswith("did you mean --to ")
    assert nearest("%%%", known) == did_you_mean("", known) == ""


def test_a_nodes_own_name_wins_over_a_number_alias(project: Callable[..., Path]) -> None:
    env = read("a", project=project('A_CONTROL_PLANE=192.0.2.1\nA_WORKER_1="192.0.2.2 name=slave2"\n'), variables={})
    assert [n.name for n in env.select(["slave2"])] == ["slave2"]


# --- free-form input


@given(st.text(max_size=200))
def test_any_text_is_an_inventory_or_a_usage_error(text: str) -> None:
    _load_or_complain(text)


@given(st.lists(st.sampled_from([line for line, _ in BAD_LINES] + GOOD.splitlines()), max_size=8))
def test_any_mixture_of_lines_is_an_inventory_or_a_usage_error(lines: list[str]) -> None:
    _load_or_complain("\n".join(lines))


def _load_or_complain(text: str) -> None:
    import tempfile

    folder = Path(tempfile.mkdtemp())
    try:
        (folder / "hosts.env").write_text(text, encoding="utf-8", errors="surrogatepass")
        try:
            assert isinstance(read("a", project=folder, variables={}), Environment)
        except UsageError as error:
            assert error.remedy
    finally:
        shutil.rmtree(folder)


# --- secrets and trust

FORMS = "A_REGISTRY=r.example:5000\nA_REGISTRY_USER=me\nA_REGISTRY_PASSWORD='{}'\n"


def test_a_password_is_registered_in_every_encoding_when_it_is_read(project: Callable[..., Path]) -> None:
    password = "corr'ect \"horse/" + os.urandom(4).hex()
    text = FORMS.format(password.replace("'", "\\'"))
    environment = read("a", project=project(GOOD, hosts__local__env=text), variables={})
    assert environment.settings.registry_password.reveal() == password
    login = base64.b64encode(f"me:{password}".encode()).decode()
    for form in (
        password,
        login,
        json.dumps(password)[1:-1],
        base64.b64encode(password.encode()).decode(),
        urllib.parse.quote(password, safe=""),
    ):
        assert form not in mask(f"x {form} y")
    assert mask(f'Authorization = ["Basic {login}"]').count(login) == 0


def test_a_problem_on_another_line_does_not_show_a_password(project: Callable[..., Path]) -> None:
    folder = project(
        GOOD
        + "A_PACKAGES_URL='https://m.example/pass word/s3cr3t-of-a-problem'\nA_REGISTRY_PASSWORD=s3cr3t-of-a-problem\n"
    )
    assert "s3cr3t-of-a-problem" not in complaint(folder)


@pytest.mark.parametrize("password", ["a", "abc"])
def test_a_password_that_is_too_short_to_be_masked_is_refused(project: Callable[..., Path], password: str) -> None:
    said = complaint(project(GOOD, hosts__local__env=FORMS.format(password)))
    assert "A_REGISTRY_PASSWORD has fewer than 4 characters" in said and f"'{password}'" not in said


@pytest.mark.parametrize(
    ("mode", "reported"), [(0o600, False), (0o644, True), (0o640, True), (0o666, True), (0o400, False)]
)
def test_a_secrets_file_that_others_can_read_is_reported_once(
    project: Callable[..., Path], mode: int, reported: bool
) -> None:
    folder = project(GOOD, hosts__local__env=FORMS.format("long-enough") + "A_TOKEN=abcdef.0123456789abcdef\n")
    (folder / "hosts.local.env").chmod(mode)
    remarks = read("a", project=folder, variables={}).remarks
    assert len(remarks) == reported
    if reported:
        assert (
            f"chmod 600 {folder / 'hosts.local.env'}" in remarks[0]
            and f"mode {mode:04o}" in remarks[0]
            and "long-enough" not in remarks[0]
        )


def test_a_file_without_secrets_may_be_read_by_all(project: Callable[..., Path]) -> None:
    assert (
        read(
            "a",
            project=project(GOOD, hosts__local__env="A_FORKS=3\n"),
            variables={"KUBEFAB_A_REGISTRY_PASSWORD": "of-a-ci-job"},
        ).remarks
        == ()
    )


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("0.0.0.0", "every machine's address"), ("255.255.255.255", "every machine's address"), ("224.0.0.5", "a multicast address"),
        ("169.254.169.254", "a link-local address"), ("::", "every machine's address"), ("ff02::1", "a multicast address"), ("fe80::1", "a link-local address"),
    ],
)  # fmt: skip
def test_an_address_that_no_machine_can_have_is_refused(project: Callable[..., Path], address: str, why: str) -> None:
    assert f"A_WORKER_1: {address} is {why}" in complaint(project(GOOD.replace("192.0.2.2", address)))
    assert f"A_CONTROL_PLANE: {address} is {why}" in complaint(project(GOOD.replace("10.2.0.1", address)))


def test_loopback_is_allowed_only_in_simulated_environments(project: Callable[..., Path]) -> None:
    said = complaint(project(GOOD.replace("10.2.0.1", "127.0.0.1")))
    assert "cp1: its peers would use 127.0.0.1, which is each machine's own" in said
    read("a", project=project(GOOD.replace("10.2.0.1", "127.0.0.1") + "A_SIMULATED=yes\n"), variables={})
    read("a", project=project("A_CONTROL_PLANE=127.0.0.1\n"), variables={})


@pytest.mark.parametrize("which", ["PACKAGES", "CONTAINERD"])
def test_packages_over_http_need_a_fingerprint(project: Callable[..., Path], which: str) -> None:
    bare = f"A_{which}_URL=http://m.example\nA_{which}_KEY_FINGERPRINT=\n"
    assert f"{which}_URL is not https:// and {which}_KEY_FINGERPRINT is empty" in complaint(project(GOOD + bare))
    read("a", project=project(GOOD + bare.replace("http:", "https:")), variables={})
    read("a", project=project(GOOD + bare.replace("FINGERPRINT=", f"FINGERPRINT={'AB' * 20}")), variables={})
    read("a", project=project(GOOD + bare + "A_KUBERNETES=1.5\n"), variables={})


def test_a_machine_in_two_environments_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hosts.env").write_text(
        "PROD_CONTROL_PLANE=203.0.113.1 private=10.0.0.1\nPROD_WORKER_1=10.0.0.2\n"
        "STAGING_CONTROL_PLANE=10.0.0.9\nSTAGING_WORKER_1=10.0.0.1\nSTAGING_WORKER_2=10.0.0.8\n"
    )
    (remark,) = read("staging", project=tmp_path, variables={}).remarks
    assert remark.startswith("w1 (10.0.0.1) is PROD_CONTROL_PLANE as well (hosts.env:1)")
    assert len(read("prod", project=tmp_path, variables={}).remarks) == 1


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ("PROD_CONTROL_PLANE=203.0.113.1 private=10.1.0.1 port=2201", True),
        ("PROD_CONTROL_PLANE=203.0.113.1 private=10.9.0.1 port=2201", True),
        ("PROD_CONTROL_PLANE=203.0.113.1 private=10.9.0.1 port=2202", False),
        ("PROD_CONTROL_PLANE=203.0.113.1 private=10.9.0.1", False),
        ("PROD_SSH_PORT=2201\nPROD_CONTROL_PLANE=203.0.113.1 private=10.9.0.1", True),
        ("PROD_CONTROL_PLANE=203.0.113.9 private=10.1.0.1 port=2202", True),
        ("PROD_CONTROL_PLANE=10.1.0.1", True),
        ("PROD_SIMULATED=yes\nPROD_CONTROL_PLANE=203.0.113.1 private=10.1.0.1 port=2201", False),
        ("PROD_CONTROL_PLANE=127.0.0.1", False),
    ],
)
def test_a_machine_is_the_same_by_address_and_port_or_by_its_address_in_the_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str, same: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    mine = "STAGING_CONTROL_PLANE=203.0.113.1 private=10.1.0.1 port=2201\nSTAGING_WORKER_1=127.0.0.1 private=10.1.0.2 port=2203\n"
    (tmp_path / "hosts.env").write_text(f"{other}\n{mine}")
    remarks = read("staging", project=tmp_path, variables={}).remarks
    assert [remark.split(" (")[0] for remark in remarks] == ["cp1"] * same
    assert all(" is PROD_CONTROL_PLANE as well" in remark for remark in remarks)
