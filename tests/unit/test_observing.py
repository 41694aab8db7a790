"""The observing script in a real bash, in a folder that represents a node, with programs that say that they were started."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import shutil
import socket
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fabfile.nodes.facts import NodeFacts, Unit
from fabfile.nodes.influx import Retention
from fabfile.nodes.observe import observe_script, parse_facts, questions

UID = "2f1b8a9e-1111-4222-8333-444455556666"
KEY, PASSWORD = "-----BEGIN PRIVATE KEY-----\nthe key\n", "s3cr3t_of-Influx"
CSV = (
    "name,tags,name,duration,shardGroupDuration,replicaN,default\n,,autogen,0s,168h0m0s,replicaN,false\n,,default,720h0m0s,24h0m0s,replicaN,true\n\n"
    "name,tags,time,last\nkubernetes_node,node_name=cp1,1795956409000000000,132488769\n"
)


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


ADMIN_CONF = f"""\
apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: {encoded("the CA")}
    server: https://10.2.0.10:6443
  name: kubernetes
contexts:
- context:
    cluster: kubernetes
    user: kubernetes-admin
  name: kubernetes-admin@kubernetes
current-context: kubernetes-admin@kubernetes
kind: Config
preferences: {{}}
users:
- name: kubernetes-admin
  user:
    client-certificate-data: {encoded("its certificate")}
    client-key-data: {encoded(KEY)}
"""


def listed(kind: str, *items: dict[str, object]) -> str:
    return json.dumps({"kind": f"{kind}List", "apiVersion": "v1", "items": items}, separators=(",", ":"))


ANSWERS = {
    "readyz": "ok",
    "nodes": listed("Node", {"metadata": {"name": "cp1"}, "status": {"nodeInfo": {"kubeletVersion": "v1.36.3"}}}),
    "namespaces": listed("Namespace", {"metadata": {"name": "kube-system", "uid": UID}}),
    "configmaps": listed("ConfigMap"),
    "daemonsets": listed("DaemonSet", {"metadata": {"name": "telegraf", "namespace": "monitoring"}}),
    "deployments": listed("Deployment", {"metadata": {"name": "monitoring-influxdb", "namespace": "monitoring"}}),
    "pods": listed("Pod", {"metadata": {"name": "monitoring-influxdb-1"}, "status": {"podIP": "10.44.0.4"}}),
    "secrets": listed("Secret", {"metadata": {"name": "influxdb-login"}, "data": {"kubefab": encoded(PASSWORD)}}),
}
# Names its arguments and what its pipes and standard input have; then writes what it was made to answer.
CURL = r"""
echo "curl $*" >>"$log/said"
while [ $# -gt 0 ]; do case $1 in
  --cacert | --cert | --key) echo "$1 $(/bin/cat "$2")" >>"$log/piped"; shift 2 ;;
  -K) /bin/cat >>"$log/login"; shift 2 ;;
  -o) file=$2; shift 2 ;;
  https:*)
    what=${1#https://*/}; what=${what%%\?*}; what=${what##*/}
    /bin/cat "$log/answer.$what" >"$file" 2>/dev/null; printf '%s ' "$(/bin/cat "$log/code.$what" 2>/dev/null || echo 200)"; shift ;;
  http:*) /bin/cat "$log/answer.influx" 2>/dev/null || exit 22; shift ;;
  *) shift ;;
esac; done
"""
KUBECTL = r"""
case "$*" in
*--raw=*) printf ok ;;
*"get nodes"*) echo '{"kind":"List","items":[{"kind":"Node","metadata":{"name":"by-kubectl"}}]}' ;;
*exec*) printf 'name,duration,shardGroupDuration,replicaN,default\ndefault,0s,168h0m0s,1,true\n' ;;
*get*) echo '{"kind":"List","items":[]}' ;;
esac
"""
SYSTEMCTL = r"""
case "$*" in
*list-unit-files*) echo 'kubelet.service enabled enabled'; echo 'docker.service disabled enabled'; echo 'swapspace.service enabled enabled' ;;
*list-units*) echo 'kubelet.service loaded active running The kubelet'; echo 'docker.service loaded inactive dead Docker'
  echo 'k3s.service loaded activating start k3s'; echo 'etcd.service loaded failed failed etcd' ;;
esac
"""
STANDINS = {
    "curl": CURL, "kubectl": KUBECTL, "systemctl": SYSTEMCTL,
    "dpkg-query": "echo 'kubelet 1.36.3-1.1 hi'; echo 'kubeadm 1.36.3-1.1 ii'; echo 'kubectl  hn'",
    "apt-cache": "", "iptables-save": "", "ip6tables-save": "", "nft": "", "ip": "echo '[]'",
}  # fmt: skip
REAL = (
    "awk", "base64", "bash", "cat", "chmod", "cmp", "cut", "date", "find", "flock", "grep", "head", "mktemp", "mountpoint", "nproc", "rm", "sed",
    "sha256sum", "sort", "stat", "tail", "timeout", "tr", "uname",
)  # fmt: skip


@dataclass
class Machine:
    """A folder with its own /etc, /run and /var/lib, and programs that note each start in the folder `log`."""

    root: Path
    started: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        for name in ("etc/kubernetes/pki", "var/lib/kubefab", "run", "bin", "log"):
            (self.root / name).mkdir(parents=True)
        (self.root / "etc/os-release").write_text("ID=debian\nVERSION_ID=12\n")
        for name in REAL:
            self.program(name, f'exec {shutil.which(name)} "$@"')
        for name, body in STANDINS.items():
            self.program(name, body)
        for name, text in ANSWERS.items():
            self.answers(name, text)
        self.answers("influx", CSV)

    def program(self, name: str, body: str) -> None:
        path = self.root / "bin" / name
        path.write_text(f'#!/bin/bash\nlog={self.root}/log\necho {name} >>"$log/started"\n{body}\n')
        path.chmod(0o755)

    def answers(self, what: str, text: str, code: int = 200) -> None:
        (self.root / "log" / f"answer.{what}").write_text(text)
        (self.root / "log" / f"code.{what}").write_text(str(code))

    def said(self, name: str) -> str:
        path = self.root / "log" / name
        return path.read_text() if path.exists() else ""

    def admin_conf(self, text: str = ADMIN_CONF) -> None:
        (self.root / "etc/kubernetes/admin.conf").write_text(text)

    def observe(self, *, control_plane: bool = True, files: Sequence[str] = (), release: str = "") -> NodeFacts:
        text = observe_script(control_plane=control_plane, files=files, settle=True, release=release)
        text = re.sub(r"(?<![\w/])/(etc|run|var/lib)(?=/)", rf"{self.root}/\1", text)
        text = re.sub(r"PATH=\S+", f"PATH={self.root}/bin", text)
        sent = self.root / "sent"
        sent.write_text(text)
        done = subprocess.run(["/bin/bash", str(sent)], capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        self.output = done.stdout
        self.started = Counter(self.said("started").split())
        assert list((self.root / "run").glob("kubefab-look*")) == [], "what was read is removed"
        return parse_facts(done.stdout)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "m")


def test_a_control_plane_is_asked_over_one_connection(machine: Machine) -> None:
    machine.admin_conf()
    facts = machine.observe()
    assert machine.started["kubectl"] == 0
    assert machine.started["curl"] == 2, "the API, and InfluxDB"
    assert facts.api_ready
    assert facts.uid == UID
    assert [node["metadata"]["name"] for node in facts.nodes] == ["cp1"]
    assert [one["metadata"]["name"] for one in facts.objects] == ["telegraf", "monitoring-influxdb"]
    assert (facts.retention, facts.reporting) == (Retention(True, "720h0m0s", default=True), frozenset({"cp1"}))


def test_no_secret_is_an_argument_or_in_the_answer(machine: Machine) -> None:
    machine.admin_conf()
    machine.observe()
    assert machine.said("piped").splitlines() == [
        "--cacert the CA", "--cert its certificate", "--key -----BEGIN PRIVATE KEY-----", "the key"
    ]  # fmt: skip
    assert machine.said("login") == f'user = "kubefab:{PASSWORD}"\n'
    for secret in (KEY, encoded(KEY), PASSWORD, encoded(PASSWORD)):
        assert secret not in machine.said("said")
        assert secret not in machine.output


@pytest.mark.parametrize("what", sorted(set(ANSWERS) - {"configmaps"}))
@pytest.mark.parametrize("code", [403, 404, 500])
def test_an_answer_that_is_not_whole_is_asked_of_kubectl_and_so_is_all_else(
    machine: Machine, what: str, code: int
) -> None:
    machine.admin_conf()
    machine.answers(what, '{"kind":"Status","items":[{"metadata":{"name":"no"}}]}', code)
    facts = machine.observe()
    assert [node["metadata"]["name"] for node in facts.nodes] == ["by-kubectl"]
    assert machine.started["kubectl"] == 5
    assert facts.retention == Retention(True, "0s", default=True)


@pytest.mark.parametrize(
    "text",
    [
        ADMIN_CONF.replace("    server:", "    tls-server-name: other\n    server:"),
        ADMIN_CONF.replace("    server:", "    proxy-url: http://10.0.0.1\n    server:"),
        ADMIN_CONF.replace("    client-key-data:", "    token: abc\n    client-key-data:"),
        ADMIN_CONF.replace("client-key-data:", "client-key:"),
        ADMIN_CONF.replace("https:", "http:"),
        ADMIN_CONF + "- name: second\n  user:\n    client-key-data: eA==\n",
        "",
    ],
)
def test_a_kubeconfig_that_says_more_or_less_than_kubeadms_is_left_to_kubectl(machine: Machine, text: str) -> None:
    machine.admin_conf(text)
    machine.observe()
    assert (machine.started["curl"], machine.started["kubectl"]) == (0, 5)


@pytest.mark.parametrize(
    ("pods", "answer"),
    [
        (listed("Pod"), CSV),
        (ANSWERS["pods"].replace("]", ',{"status":{"podIP":"10.44.0.5"}}]'), CSV),
        (ANSWERS["pods"].replace("10.44.0.4", "evil.example/?"), CSV),
        (ANSWERS["pods"], "error\ndatabase not found: k8s\n"),
        (ANSWERS["pods"], ""),
    ],
)
def test_what_influxdbs_port_does_not_say_its_own_client_is_asked(machine: Machine, pods: str, answer: str) -> None:
    machine.admin_conf()
    machine.answers("pods", pods)
    machine.answers("influx", answer)
    facts = machine.observe()
    assert machine.started["kubectl"] == 1
    assert facts.retention == Retention(True, "0s", default=True)
    assert facts.api_ready


@pytest.mark.parametrize(
    "password", ['a"b', 'x"\noutput = "/etc/cron.d/x', "x\nurl = file:///etc/shadow", "a\\", "비밀"]
)
def test_a_login_that_curl_would_read_as_options_is_left_to_influxdbs_own_client(
    machine: Machine, password: str
) -> None:
    """Those who may write that Secret are not root on the node."""
    machine.admin_conf()
    machine.answers("secrets", listed("Secret", {"data": {"kubefab": encoded(password)}}))
    facts = machine.observe()
    assert machine.said("login") == ""
    assert facts.retention == Retention(True, "0s", default=True)


def test_a_link_to_a_volume_that_is_not_mounted_is_found(machine: Machine) -> None:
    for folder, name in (("var/lib/etcd", "member"), ("var/lib/etcd", "..data"), ("etc/cni/net.d", "05-other.conf")):
        (machine.root / folder).mkdir(parents=True, exist_ok=True)
        (machine.root / folder / name).symlink_to("/nowhere")
    facts = machine.observe(control_plane=False)
    assert set(facts.etcd) == {"member", "..data"} and "05-other.conf" in facts.cni_files


def test_units_by_two_questions(machine: Machine) -> None:
    facts = machine.observe(control_plane=False)
    assert facts.units == {"containerd": Unit(False, False), "kubelet": Unit(True, True), "docker": Unit(False, False)}
    assert facts.others == ("unit k3s.service",)
    assert facts.swap_units == ("swapspace.service",)
    assert facts.held == {"kubelet", "kubectl"}
    assert machine.started["systemctl"] == 2


@pytest.mark.parametrize("control_plane", [True, False])
@pytest.mark.parametrize("release", ["", "1.36.4"], ids=["a look", "for an upgrade"])
@pytest.mark.parametrize("conf", [True, False], ids=["kubelet.conf", "none"])
@pytest.mark.parametrize("kubelet", ["active", "inactive", "activating", "failed"])
def test_only_a_member_is_not_asked_for_what_nothing_is_decided_by_there(
    machine: Machine, control_plane: bool, release: str, conf: bool, kubelet: str
) -> None:
    """Images, sandboxes and what apt can read are known of every machine that is not `joined`: what is left there is found."""
    machine.program("apt-cache", "echo 'E: The list of sources could not be read.' >&2")
    machine.program("ctr", 'case "$*" in *images*) echo registry.k8s.io/pause:3.10 ;; *) echo a; echo b ;; esac')
    machine.program(
        "systemctl", f'case "$*" in *list-units*) echo "kubelet.service loaded {kubelet} x The kubelet" ;; esac'
    )
    (machine.root / "run/containerd").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        with contextlib.chdir(machine.root / "run/containerd"):  # the whole path would be too long for a socket's
            listening.bind("containerd.sock")
        if conf:
            (machine.root / "etc/kubernetes/kubelet.conf").write_text("x\n")
        facts = machine.observe(control_plane=control_plane, release=release)
    known = bool(release) or not (conf and kubelet == "active")
    assert (facts.pods, facts.images, facts.apt_fault) == (
        (2, {"registry.k8s.io/pause:3.10"}, "The list of sources could not be read.") if known else (0, frozenset(), "")
    )
    assert (machine.started["ctr"], machine.started["apt-cache"]) == ((2, 1) if known else (0, 0))


def test_how_many_programs_an_observation_starts(machine: Machine) -> None:
    """Each costs a node a millisecond or more, and a kubectl fifty: a file, or a certificate, more costs none."""
    machine.observe(control_plane=False)
    alone = machine.started.total()
    (machine.root / "log/started").unlink()
    files = [f"/etc/kubefab/{n}" for n in range(9)]
    for file in files:
        path = machine.root / file[1:]
        path.parent.mkdir(exist_ok=True)
        path.write_text("x\n")
    for name in ("ca.crt", "apiserver.crt", "apiserver.key"):
        (machine.root / "etc/kubernetes/pki" / name).write_text("x\n")
    facts = machine.observe(control_plane=False, files=files)
    assert len(facts.files) == 9
    assert machine.started.total() - alone == 3, "sha256sum, stat of the files, stat of the certificates"
    assert machine.started.total() <= 40
    (machine.root / "log/started").unlink()
    machine.admin_conf()
    machine.observe(files=files)
    assert machine.started.total() <= 52


def test_the_script_and_the_api_are_asked_the_same(machine: Machine) -> None:
    """Each of kubectl's questions has a path, by the section that it answers."""
    text = observe_script(control_plane=True, files=())
    by_kubectl = set(re.findall(r'\{ (?:kube|rooted) .*>"\$d/(\w+)"; \} &', text)) - {"addons", "influx"}
    asked = questions("/readyz", configured=True)
    assert {section for section, _ in asked} - {"influxpod", "influxlogin"} == by_kubectl
    system = re.search(r"^system_objects='(.*)'", text, flags=re.M)
    assert system
    assert [path.rpartition("%3D")[2] for section, path in asked if section == "system"] == [
        word.partition("/")[2] for word in system[1].split()
    ]
