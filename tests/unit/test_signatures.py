"""Known failures are recognised by the lines that real tools print; ordinary output matches none."""

from __future__ import annotations

import re
import time

import pytest
from rich.console import Console

from fabfile.cli.progress import print_error
from fabfile.errors import StepFailed
from fabfile.nodes.script import Outcome
from fabfile.run.apply import _failure
from fabfile.steps import Step
from fabfile.views.results import cause
from fabfile.views.signatures import TABLE, every, likely

LINES = {
    "SIG-CGROUP-V1": "E1102 run.go:72] command failed: kubelet is configured to not run on a host using cgroup v1. cgroup v1 support is in maintenance mode",
    "SIG-CRI-V1": 'validate CRI v1 runtime API for endpoint "unix:///run/containerd/containerd.sock": rpc error: code = Unimplemented desc = unknown service runtime.v1.RuntimeService',
    "SIG-SWAP": '"command failed" err="failed to run Kubelet: running with swap on is not supported, please disable swap or set --fail-swap-on flag to false"',
    "SIG-IP-FORWARD": "[ERROR FileContent--proc-sys-net-ipv4-ip_forward]: /proc/sys/net/ipv4/ip_forward contents are not set to 1",
    "SIG-BRIDGE": "Failed to check br_netfilter: stat /proc/sys/net/bridge/bridge-nf-call-iptables: no such file or directory",
    "SIG-PORT-IN-USE": "[ERROR Port-10250]: Port 10250 is in use",
    "SIG-FILE-EXISTS": "[ERROR FileAvailable--etc-kubernetes-kubelet.conf]: /etc/kubernetes/kubelet.conf already exists",
    "SIG-SIZE": "[ERROR NumCPU]: the number of available CPUs 1 is less than the required 2",
    "SIG-CLOCK": "tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time 2026-11-24T15:00:00Z is before 2026-11-24T16:00:00Z",
    "SIG-OTHER-CA": 'Unable to connect to the server: x509: certificate signed by unknown authority (possibly because of "crypto/rsa: verification error" while trying to verify candidate authority certificate "kubernetes")',
    "SIG-PROXY-LOGIN": "curl: (56) CONNECT tunnel failed, response 407",
    "SIG-PROXY-REFUSED": 'failed to do request: Head "https://registry.k8s.io/v2/pause/manifests/3.10.2": Forbidden',
    "SIG-PROXY-DOWN": 'failed to do request: Head "https://registry.k8s.io/v2/pause/manifests/3.10.2": proxyconnect tcp: dial tcp: lookup proxy.example: no such host',
    "SIG-REGISTRY-CA": 'failed to pull and unpack image "10.0.0.5:5000/pause:3.10": failed to resolve reference "10.0.0.5:5000/pause:3.10": failed to do request: Head "https://10.0.0.5:5000/v2/pause/manifests/3.10": tls: failed to verify certificate: x509: certificate signed by unknown authority (possibly because of "crypto/rsa: verification error" while trying to verify candidate authority certificate "kubernetes")',
    "SIG-REGISTRY-HTTPS": "unexpected status from HEAD request to http://10.0.0.5:5000/v2/pause/manifests/3.10: 400 Bad Request: Client sent an HTTP request to an HTTPS server.",
    "SIG-TOKEN": 'couldn\'t validate the identity of the API Server: could not find a JWS signature in the cluster-info ConfigMap for token ID "abcdef"',
    "SIG-REGISTRY-LOGIN": "failed to authorize: failed to fetch anonymous token: unexpected status: 401 Unauthorized from GET https://reg:5000/v2/ registry",
    "SIG-RATE-LIMIT": "429 Too Many Requests - Server message: toomanyrequests: You have reached your unauthenticated pull rate limit.",
    "SIG-REGISTRY-HTTP": 'failed to do request: Head "https://10.0.0.5:5000/v2/x/manifests/1": http: server gave HTTP response to HTTPS client',
    "SIG-IMAGE-ABSENT": 'failed to resolve reference "registry.k8s.io/kube-apiserver:v1.99.0": registry.k8s.io/kube-apiserver:v1.99.0: not found',
    "SIG-DISK-FULL": "write /var/lib/containerd/io.containerd.content.v1.content/ingest/x/data: no space left on device",
    "SIG-APT-LOCK": "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 1423 (unattended-upgr)",
    "SIG-DPKG-HALF": "E: dpkg was interrupted, you must manually run 'dpkg --configure -a' to correct the problem.",
    "SIG-KUBELET-FLAG": "failed to parse kubelet flag: unknown flag: --container-runtime",
    "SIG-REPO-OLD": "E: The repository 'https://apt.kubernetes.io kubernetes-xenial Release' does not have a Release file.",
    "SIG-REPO-KEY": "package source of kubefab: W: GPG error: https://pkgs.k8s.io InRelease: The following signatures were invalid: EXPKEYSIG 234654DA9A296436",
    "SIG-REPO-CONFLICT": "E: Conflicting values set for option Signed-By regarding source https://download.docker.com/linux/debian/ bookworm: /a.asc != /b.gpg",
    "SIG-REPO-DEAD": "E: The repository 'http://mirror.example/nowhere xenial Release' does not have a Release file.",
    "SIG-REPO-OTHER": "W: GPG error: https://pkgs.k8s.io InRelease: The following signatures couldn't be verified because the public key is not available: NO_PUBKEY 234654DA9A296436",
    "SIG-DNS": "curl: (6) Could not resolve host: pkgs.k8s.io",
    "SIG-DNS-LOOP": '[FATAL] plugin/loop: Loop (127.0.0.1:55953 -> :1053) detected for zone ".", see https://coredns.io/plugins/loop#troubleshooting.',
    "SIG-CNI-UNREADY": "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized",
    "SIG-CNI0-ADDRESS": 'failed to set bridge addr: "cni0" already has an IP address different from 10.44.2.1/24',
    "SIG-FLANNEL-SUBNET": "failed to load flannel 'subnet.env' file: open /run/flannel/subnet.env: no such file or directory",
    "SIG-FLANNEL-CIDR": 'subnet 10.244.0.0/16 specified in the flannel net config doesn\'t contain "10.44.0.0/24" PodCIDR',
    "SIG-FLANNEL-VXLAN": "failed to set interface flannel.1 to UP state: address already in use",
    "SIG-CNI-PLUGIN": 'plugin type="portmap" failed (add): failed to find plugin "portmap" in path [/opt/cni/bin]',
    "SIG-FLANNEL-NIC": "Failed to find any valid interface to use: failed to get default interface",
    "SIG-ETCD-ADDRESS": "listen tcp 203.0.113.7:2380: bind: cannot assign requested address",
    "SIG-KUBELET-SILENT": "[kubelet-check] The kubelet is not healthy after 4m0.000s",
    "SIG-CONTAINERD-DOWN": 'transport: Error while dialing: dial unix /run/containerd/containerd.sock: connect: no such file or directory"',
    "SIG-API-REFUSED": "The connection to the server 10.2.0.10:6443 was refused - did you specify the right host or port?",
    "SIG-API-DROPPED": 'Get "https://10.2.0.10:6443/api": dial tcp 10.2.0.10:6443: i/o timeout',
    "SIG-OOM": "kernel: Out of memory: Killed process 4223 (kube-apiserver) total-vm:1500000kB",
    "SIG-SUDO": "sudo: a password is required",
    "SIG-NET-OUT": "curl: (28) Failed to connect to pkgs.k8s.io port 443 after 10001 ms: Timeout was reached",
}


def test_every_signature_has_a_line_and_is_unique() -> None:
    assert {s.code for s in TABLE} == set(LINES)
    assert len({s.code for s in TABLE}) == len(TABLE)
    for signature in TABLE:
        assert re.compile(signature.pattern)
        assert signature.cause
        assert signature.remedy
        assert signature.source


@pytest.mark.parametrize("code", LINES)
def test_each_signature_is_the_first_match_for_its_line(code: str) -> None:
    text = f"I1124 starting\n  {LINES[code]}\nI1124 more"
    found = likely(text)
    assert found is not None
    assert found.code == code
    assert found.found(text) == LINES[code], "the whole line, to be shown"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "deployment.apps/headlamp created",
        "Setting up kubelet (1.36.3-1.1) ...",
        "node/w1 condition met",
        "[preflight] Running pre-flight checks",
    ],
)
def test_ordinary_output_matches_no_signature(text: str) -> None:
    assert likely(text) is None
    assert every(text) == []


PULL = 'level=error msg="pulling image: failed to pull and unpack image \\"{0}/k8s/pause:3.10.2\\": failed to resolve image: {1}"'
HEAD = 'failed to do request: Head \\"https://{0}/v2/k8s/pause/manifests/3.10.2?ns=registry.k8s.io\\": '


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("SIG-REGISTRY-HTTP", HEAD + "http: server gave HTTP response to HTTPS client"),
        ("SIG-REGISTRY-HTTPS", "unexpected status from HEAD request to http://{0}/v2/k8s/pause/manifests/3.10.2: 400 Bad Request"),
        ("SIG-REGISTRY-CA", HEAD + "tls: failed to verify certificate: x509: certificate signed by unknown authority"),
        ("SIG-IMAGE-ABSENT", "{0}/k8s/pause:3.10.2: not found"),
        ("SIG-REGISTRY-LOGIN", "failed to authorize: failed to fetch anonymous token: unexpected status from GET request to "
         "http://127.0.0.1:5081/token?scope=repository%3Ak8s%2Fpause%3Apull&service=lab+registry: 401 Unauthorized"),
        ("SIG-PROXY-REFUSED", HEAD + "Forbidden"),
        ("SIG-PROXY-LOGIN", HEAD + "Proxy Authentication Required"),
        ("SIG-PROXY-LOGIN", "unexpected status from HEAD request to http://{0}/v2/k8s/pause/manifests/3.10.2: 407 Proxy Authentication Required"),
        ("SIG-PROXY-DOWN", HEAD + "proxyconnect tcp: dial tcp 127.0.0.1:3127: connect: connection refused"),
    ],
)  # fmt: skip
def test_what_crictl_says_of_a_pull_is_never_another_problem(code: str, said: str) -> None:
    """The words of containerd 2.2.1 and crictl, from pulls of plain HTTP, HTTPS and token registries, directly and through a proxy."""
    found = likely(PULL.format("registry.example:5000", said.format("registry.example:5000")))
    assert found and found.code == code


@pytest.mark.parametrize(
    ("code", "line"),
    [
        (
            "SIG-PROXY-LOGIN",
            "E: Failed to fetch http://deb.example/InRelease  407  Proxy Authentication Required [IP: 10.0.0.9 3128]",
        ),
        ("SIG-PROXY-LOGIN", "curl: (22) The requested URL returned error: 407"),
        ("SIG-PROXY-REFUSED", "curl: (56) CONNECT tunnel failed, response 403"),
        ("SIG-PROXY-DOWN", "curl: (5) Could not resolve proxy: proxy.example"),
    ],
)
def test_what_apt_and_curl_say_of_a_proxy(code: str, line: str) -> None:
    found = likely(line)
    assert found and found.code == code


@pytest.mark.parametrize("more", [0, 200, 1000])
def test_a_cause_in_a_long_line_is_found_and_its_end_is_shown(more: int) -> None:
    """As on real nodes: klog's and crictl's words in front of it take more than an error quotes of a line."""
    said = PULL.format(
        "registry.example:5000", HEAD.format("r:5000") + "http: server gave HTTP response to HTTPS client"
    )
    error = _failure("w1", Step("a.b", "pull", ("crictl pull x",)), Outcome(1, 1, "x" * more + said))
    known = cause(error)
    assert known and known.code == "SIG-REGISTRY-HTTP"
    assert "HTTPS client" in error.output and len(error.output) <= 300


def test_the_specific_comes_before_the_general() -> None:
    text = f"{LINES['SIG-KUBELET-SILENT']}\n{LINES['SIG-SWAP']}"
    assert [s.code for s, _ in every(text)] == ["SIG-SWAP", "SIG-KUBELET-SILENT"]


def test_an_error_names_its_likely_cause() -> None:
    console = Console(record=True, width=200)
    print_error(console, StepFailed("w1: kubeadm join failed", "hint", LINES["SIG-SWAP"]))
    text = console.export_text()
    assert "likely: swap is on" in text
    console = Console(record=True, width=200)
    print_error(console, StepFailed("w1: something else", "hint", "no idea"))
    assert "likely" not in console.export_text()


@pytest.mark.parametrize(
    "seed", ["/v2/", "127.0.0.1:10248/healthz", ":6443", "x509: ", "listen tcp ", "a", "401 Unauthorized"]
)
def test_a_very_long_line_is_cut_before_it_is_searched(seed: str) -> None:
    """A line is cut before it is searched, so a longer one adds only the time to read it."""

    def work(size: int) -> float:
        text, spent = (seed * size)[:size], []
        for _ in range(3):
            begin = time.process_time()
            every(text)
            spent.append(time.process_time() - begin)
        return min(spent)

    assert work(1 << 18) < 3 * max(work(1 << 14), 1e-3)
