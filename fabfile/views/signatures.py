"""The texts that known failures leave in command output and logs, with the likely cause and the remedy.

At 3 a.m. a person reads kubeadm's forty lines and misses the important one; this table finds it.  Each entry names where the text and
its cause are described.  `likely` takes text, so that errors, evidence bundles and tests use the same table.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from ..recipes.packages import OURS_FAILED
from ..records import dataclass
from ..text.advice import complete


@dataclass(frozen=True)
class Signature:
    """A known failure: `pattern` is a regular expression, `source` says where the text and its cause are described."""

    code: str
    pattern: str
    cause: str
    remedy: str
    source: str

    def found(self, text: str) -> str:
        """The line of `text` that matches; "" if none does."""
        match = re.search(self.pattern, text, flags=re.I | re.M)
        if not match:
            return ""
        begin = text.rfind("\n", 0, match.start()) + 1
        end = text.find("\n", match.end())
        return text[begin : len(text) if end < 0 else end].strip()


GAP = 300  # most characters that a pattern's `.*` may span
LINE = 2000  # characters of a line that are searched: a node's text may have lines of any length


def _s(code: str, pattern: str, cause: str, remedy: str, source: str) -> Signature:
    return Signature(code, pattern.replace(".*", f".{{0,{GAP}}}"), cause, remedy, source)


# Specific before general: the first match is the likeliest cause.
TABLE: tuple[Signature, ...] = (
    _s(
        "SIG-CGROUP-V1",
        r"kubelet is configured to not run on a host using cgroup v1|cgroups? v1 support.*(unsupported|not supported)",
        "the host boots with cgroup v1, which the kubelet of 1.35 and later refuses",
        "boot with systemd.unified_cgroup_hierarchy=1 (Ubuntu 22.04, EL 9 and later have v2 by default)",
        "kubernetes KEP-5573; kubeadm preflight SystemVerification",
    ),
    _s(
        "SIG-CRI-V1",
        r"unknown service runtime\.v1\.(RuntimeService|ImageService)|validate CRI v1 (runtime|image) API",
        "containerd's CRI plugin is off (the config.toml of Docker's package disables it) or containerd is too old",
        "`fab -H NODE install` writes config.toml and restarts containerd",
        "containerd docs/cri/config.md; kubernetes.io Container Runtimes",
    ),
    _s(
        "SIG-SWAP",
        r"running with swap on is not supported|\[ERROR Swap\]|failed to run Kubelet: running with swap",
        "swap is on",
        "`fab -H NODE prep` switches swap off, and reset gives it back",
        "kubernetes.io Swap memory management; kubeadm preflight Swap",
    ),
    _s(
        "SIG-IP-FORWARD",
        r"ip_forward contents are not set to 1|FileContent--proc-sys-net-ipv4-ip_forward",
        "net.ipv4.ip_forward is 0: packets are not routed to pods",
        "`fab -H NODE prep`; another sysctl file may set it back at boot: `grep -r ip_forward /etc/sysctl.d`",
        "kubeadm preflight FileContent",
    ),
    _s(
        "SIG-BRIDGE",
        r"Failed to check br_netfilter|"
        r"bridge-nf-call-iptables (does not exist|contents are not set)|stat /proc/sys/net/bridge/bridge-nf-call-iptables: no such file",
        "the kernel module br_netfilter is not loaded",
        "`fab -H NODE prep` loads it, now and at each boot; `modprobe br_netfilter` there shows why it cannot be loaded",
        "kubeadm preflight FileContent; flannel docs/troubleshooting.md; kubeadm #1062",
    ),
    _s(
        "SIG-PORT-IN-USE",
        r"\[ERROR Port-(\d+)\]|listen tcp [^ ]*:(6443|10250|2379|2380|10257|10259): bind: address already in use",
        "a port of the cluster is taken: an earlier cluster, or another program",
        "`ss -ltnp` on the node names the holder; of an earlier cluster: `fab -H NODE reset`",
        "kubeadm preflight Port",
    ),
    _s(
        "SIG-FILE-EXISTS",
        r"\[ERROR (FileAvailable|DirAvailable)-",
        "files of an earlier kubeadm run are there",
        "whose are they? `inv cluster.doctor` says so. `fab -H NODE reset` removes what is this cluster's, then `inv cluster.bootstrap`",
        "kubeadm preflight FileAvailable, DirAvailable",
    ),
    _s(
        "SIG-SIZE",
        r"\[ERROR (NumCPU|Mem)\]",
        "the machine is smaller than kubeadm allows (2 processors, 1700 MB on a control plane)",
        "a larger machine (`inv cluster.sizing`), or IGNORE_PREFLIGHT=NumCPU,Mem for a trial",
        "kubeadm preflight NumCPU, Mem",
    ),
    _s(
        "SIG-CLOCK",
        r"certificate has expired or is not yet valid|x509:.*current time .* is (before|after)|Release file .* is not valid yet",
        "a clock is wrong, or a certificate has run out",
        "`inv cluster.doctor` tells which, and whose clock (KF-TIME-SKEW, KF-CRT-EXPIRED); on that node "
        "`timedatectl set-ntp true`, or `kubeadm certs check-expiration`",
        "kubernetes.io Certificate Management with kubeadm; apt-secure(8)",
    ),
    _s(
        "SIG-PROXY-LOGIN",
        r"\bProxy Authentication Required|proxy.*\b407\b|CONNECT tunnel failed, response 407|returned error: 407\b",
        "the proxy wants a login, or refuses the one that it got",
        "PROXY=http://USER:PASSWORD@HOST:PORT in hosts.local.env, then `fab -H NODE install`; `inv cluster.doctor` (KF-NET-PROXY) names proxies "
        "that files on the node set",
        "RFC 9110, 15.5.8; curl(1); net/http transport.go",
    ),
    _s(
        "SIG-PROXY-REFUSED",
        r"CONNECT tunnel failed, response [45]\d\d|Received HTTP code [45]\d\d from proxy|Invalid response from proxy|"
        r"https://\S+: (Forbidden|Bad Gateway|Service Unavailable|Gateway Time-?out)\W*$",
        "the proxy does not let that address through, or does not reach it",
        "an address inside belongs into NO_PROXY in hosts.env, then `fab -H NODE install`; for one outside, ask who runs the proxy",
        "curl(1); net/http transport.go; apt methods/connect.cc",
    ),
    _s(
        "SIG-PROXY-DOWN",
        r"proxyconnect tcp: |Could not resolve proxy|curl: \(5\)",
        "the proxy is not reached",
        "is it PROXY of hosts.env? `curl -v http://HOST:PORT` on the node, with its host and port. Else a file on the node sets it: "
        "`inv cluster.doctor` (KF-NET-PROXY) names it",
        "net/http transport.go; curl(1)",
    ),
    _s(
        "SIG-REGISTRY-CA",
        r"failed to (do request|pull|resolve|fetch).*/v2/.*x509: ",
        "the registry's certificate is not accepted: of a CA that the node does not know (a registry's own, or a proxy's), or for another name",
        "is it REGISTRY? Then REGISTRY_CA names the file with its CA's certificate (REGISTRY_MIRROR_CA for another mirror), and REGISTRY the "
        "host as the certificate has it; then `fab -H NODE registry`",
        "containerd docs/hosts.md",
    ),
    _s(
        "SIG-OTHER-CA",
        r"x509: certificate signed by unknown authority.*(crypto/rsa|kubernetes|6443)|cluster CA found in .* is invalid|none of the public keys",
        "the node, or this command, holds the CA of another (an earlier) cluster",
        "`fab -H NODE reset` for that worker, then `inv cluster.bootstrap`; for kubectl: `inv cluster.kubeconfig`",
        "kubernetes.io Troubleshooting kubeadm, TLS certificate errors",
    ),
    _s(
        "SIG-TOKEN",
        r"token id .* is invalid for this cluster or it has expired|could not find a JWS signature|failed to get config map: Unauthorized",
        "the join token is unknown to the control plane: expired, or of another cluster",
        "`inv cluster.bootstrap` again: it makes a new token for each run",
        "kubernetes.io kubeadm join; kubeadm #668",
    ),
    _s(
        "SIG-REGISTRY-LOGIN",
        r"pull access denied|401 Unauthorized.*(/v2/|registry)|/v2/.*401|no basic auth credentials|authorization failed|"
        r"failed to authorize: failed to fetch \w+ token: .*\b40[13]\b",
        "the registry refuses the login",
        "is it REGISTRY? Then REGISTRY_USER in hosts.env, REGISTRY_PASSWORD in hosts.local.env, and `fab -H NODE registry`; "
        "another registry wants no login for public images: look at the image's name, or at a proxy between",
        "containerd docs/hosts.md; distribution spec, authorization",
    ),
    _s(
        "SIG-RATE-LIMIT",
        r"toomanyrequests|429 Too Many Requests|reached your (un)?authenticated pull rate limit",
        "the registry limits pulls from this address (Docker Hub counts by address)",
        "wait an hour, or mirror the images and set REGISTRY and REGISTRY_MIRRORS",
        "docs.docker.com Docker Hub pull usage and limits",
    ),
    _s(
        "SIG-REGISTRY-HTTP",
        r"http: server gave HTTP response to HTTPS client",
        "the registry speaks plain HTTP where HTTPS is expected",
        "is it REGISTRY? Then REGISTRY=http://HOST:PORT in hosts.env if plain HTTP is meant, or give it a certificate; then `fab -H NODE registry`",
        "containerd docs/hosts.md",
    ),
    _s(
        "SIG-REGISTRY-HTTPS",
        r"Client sent an HTTP request to an HTTPS server|The plain HTTP request was sent to HTTPS port|request to http://\S+/v2/\S+ 400 Bad Request",
        "the registry speaks HTTPS where plain HTTP is expected",
        "take http:// out of REGISTRY in hosts.env; REGISTRY_CA names its CA's certificate; then `fab -H NODE registry`",
        "net/http server.go; nginx error 497",
    ),
    _s(
        "SIG-IMAGE-ABSENT",
        r"manifest unknown|failed to resolve (reference|image)\b.*: not found|no match for platform in manifest",
        "the image, or its form for this processor, is not in the registry",
        "check tag and mirror: `kubeadm config images list`; a mirror must hold every platform that the nodes have",
        "distribution spec, errors",
    ),
    _s(
        "SIG-DISK-FULL",
        r"no space left on device|ephemeral-storage.*evict|DiskPressure\s+True|NodeHasDiskPressure|EvictionThresholdMet",
        "the disk is full",
        "`df -h` names the full file system; `journalctl --vacuum-size=200M`; once containerd runs there, `crictl rmi --prune`",
        "kubernetes.io Node-pressure Eviction",
    ),
    _s(
        "SIG-APT-LOCK",
        r"Could not get lock /var/lib/(dpkg|apt)|dpkg frontend lock|is another process using it\?|Waiting for process with pid \d+ to finish",
        "another package manager is at work (unattended-upgrades after the first boot)",
        "wait until it ends (`ps -ef | grep -E 'apt|dnf|unattended'`), then run again",
        "apt's documentation of DPkg::Lock::Timeout",
    ),
    _s(
        "SIG-DPKG-HALF",
        r"dpkg was interrupted, you must manually run",
        "an earlier installation was cut off",
        "`dpkg --configure -a` on the node, then run again",
        "dpkg(1)",
    ),
    _s(
        "SIG-REPO-OLD",
        r"apt\.kubernetes\.io|packages\.cloud\.google\.com/(apt|yum/repos)|\bkubernetes-xenial\b",
        "a list of Kubernetes' old package repository is there, which was removed in March 2024",
        "`grep -rlE 'apt.kubernetes.io|packages.cloud.google.com' /etc/apt /etc/yum.repos.d` on the node names it: delete it, kubefab adds "
        "a list of its own; for 1.5, LEGACY_PACKAGES_URL has to name a mirror",
        "kubernetes/release #3484; kubernetes.io/blog/2023/08/31/legacy-package-repository-deprecation",
    ),
    _s(
        "SIG-REPO-KEY",
        rf"{OURS_FAILED}: .*(NO_PUBKEY|EXPKEYSIG|is not signed|couldn't be verified)|GPG check FAILED",
        "the repository's key is missing, has expired, or is another",
        "`fab -H NODE install` fetches it again; a mirror needs PACKAGES_KEY_FINGERPRINT of its own key",
        "kubernetes/release #3818; apt-secure(8)",
    ),
    _s(
        "SIG-REPO-OTHER",
        r"NO_PUBKEY|EXPKEYSIG|repository .* is not signed|signatures couldn't be verified",
        "the key of a package source of this machine is missing, has expired, or is another",
        "the line names the address; `grep -rnF ADDRESS /etc/apt` names the list that has it: renew its key as its publisher says, or switch it off",
        "kubernetes/release #3564; apt-secure(8)",
    ),
    _s(
        "SIG-REPO-CONFLICT",
        r"Conflicting values set for option (Signed-By|Trusted) regarding source",
        "two lists have the same package source with different keys, and apt reads none of its lists",
        "`grep -rnF ADDRESS /etc/apt` names both: switch off the one that is not needed; `fab -H NODE prep` says which of them would be in our way",
        "docker/for-linux #1349; sources.list(5)",
    ),
    _s(
        "SIG-REPO-DEAD",
        r"does not have a Release file|apt got nothing from",
        "a package source of this machine does not answer as one",
        "`grep -rnF ADDRESS /etc/apt` names the list that has it: switch it off there; of kubefab's own lists, PACKAGES_URL, CONTAINERD_URL and "
        "KUBERNETES make the address",
        "kubernetes/kubernetes #123673; apt-secure(8)",
    ),
    _s(
        "SIG-DNS",
        r"Temporary failure (in name resolution|resolving)|Could not resolve host|no such host|server misbehaving",
        "a name does not resolve on the node",
        "`resolvectl status`, /etc/resolv.conf; UDP and TCP 53 to the resolver",
        "resolv.conf(5); kubernetes.io Debugging DNS Resolution",
    ),
    _s(
        "SIG-DNS-LOOP",
        r"plugin/loop: Loop \(.*\) detected|Loop .* detected for zone",
        "CoreDNS asks itself: the node's resolv.conf names a 127.x address",
        'KUBELET_CONFIG=\'{"resolvConf": "/run/systemd/resolve/resolv.conf"}\', or a real resolver in /etc/resolv.conf',
        "coredns plugin/loop README",
    ),
    _s(
        "SIG-CNI-UNREADY",
        r"cni plugin not initialized|NetworkPluginNotReady|No networks found in /etc/cni/net\.d",
        "flannel has not written its CNI file on that node (yet)",
        "`kubectl -n kube-flannel get pods -o wide` and `kubectl -n kube-flannel logs -l app=flannel --prefix` on the control plane",
        "kubernetes.io Troubleshooting CNI plugin-related errors",
    ),
    _s(
        "SIG-CNI0-ADDRESS",
        r"cni0\"? already has an IP address different from",
        "cni0 is left from an earlier cluster with another subnet",
        "`kubectl drain NODE --ignore-daemonsets --delete-emptydir-data`, `ip link delete cni0` there, "
        "`kubectl uncordon NODE`; or for a worker `fab -H NODE reset`, then `inv cluster.bootstrap`",
        "containernetworking/plugins bridge; kubernetes #39557",
    ),
    _s(
        "SIG-FLANNEL-SUBNET",
        r"/run/flannel/subnet\.env: no such file|node \"?[^ ]+\"? pod cidr not assigned|failed to acquire lease",
        "flannel does not run on that node, or the node has no pod CIDR (POD_CIDR was not given to kubeadm init)",
        "`kubectl get nodes -o custom-columns=N:.metadata.name,C:.spec.podCIDR` on the control plane; `fab -H master network`",
        "flannel docs/troubleshooting.md",
    ),
    _s(
        "SIG-FLANNEL-CIDR",
        r"specified in the flannel net config doesn't contain|flannel net config doesn't contain .*PodCIDR",
        "flannel's network is not the one that the cluster was made with: POD_CIDR changed after kubeadm init",
        "set POD_CIDR back: `inv cluster.doctor` shows the cluster's (KF-SET-LASTING), then `inv cluster.bootstrap`",
        "flannel docs/troubleshooting.md",
    ),
    _s(
        "SIG-FLANNEL-VXLAN",
        r"flannel\.1.*address already in use|failed to (create|ensure) vxlan.*(in use|exists)",
        "another VXLAN interface holds UDP 8472 (Cilium or an earlier network)",
        "`ip -d link show type vxlan` there; `ip link delete LINK` for the one that is left over",
        "flannel docs/troubleshooting.md",
    ),
    _s(
        "SIG-CNI-PLUGIN",
        r"failed to find plugin \"?\w+\"? in path",
        "a CNI plugin is missing under /opt/cni/bin",
        "`dpkg -L kubernetes-cni` or `rpm -ql kubernetes-cni`; `fab -H NODE install` installs it",
        "flannel README; containernetworking/plugins",
    ),
    _s(
        "SIG-FLANNEL-NIC",
        r"failed to find (any valid )?interface|Could not find valid interface matching|unable to determine path to destination",
        "flannel finds no interface to use: the node's address in hosts.env is on none",
        "`ip -br addr` there against hosts.env; `inv cluster.doctor` compares them",
        "flannel docs/configuration.md",
    ),
    _s(
        "SIG-ETCD-ADDRESS",
        r"listen tcp \S+:23(79|80): bind: cannot assign requested address",
        "the control plane's address is on none of its interfaces (a public address behind NAT)",
        "private= in hosts.env must be the machine's own address, host= the one to dial",
        "kubeadm #1390",
    ),
    _s(
        "SIG-KUBELET-FLAG",
        r"failed to parse kubelet flag: unknown flag: (--\S+)|unknown (shorthand )?flag: '?--?[a-z].*kubelet",
        "the kubelet is given a flag that this release does not know",
        "on the node, `systemctl cat kubelet` shows its units and drop-ins; /etc/default/kubelet, /etc/sysconfig/kubelet and "
        "/var/lib/kubelet/kubeadm-flags.env have more flags: take that one out, `systemctl daemon-reload`, then run again",
        "kubernetes #115824; kubeadm #1927; kubelet --help",
    ),
    _s(
        "SIG-KUBELET-SILENT",
        r"kubelet (is not healthy|isn't running or healthy)|127\.0\.0\.1:10248/healthz.*(refused|deadline)|localhost:10248/healthz",
        "the kubelet does not start: most often swap, cgroups or containerd",
        "`journalctl -u kubelet -n 50` on the node; `inv cluster.doctor` looks at all three",
        "kubernetes.io Troubleshooting kubeadm",
    ),
    _s(
        "SIG-CONTAINERD-DOWN",
        r"dial unix \S*containerd\.sock: (connect: )?(no such file|connection refused)",
        "containerd does not run",
        "`systemctl status containerd`, `journalctl -u containerd -n 50` on the node",
        "containerd docs/getting-started.md",
    ),
    _s(
        "SIG-API-REFUSED",
        r"(connection to the server|dial tcp) \S+:\d+ was refused|dial tcp \S+:6443: connect: connection refused",
        "nothing answers there: the API server does not run, or does not listen yet",
        "`crictl ps -a | grep -E 'apiserver|etcd'` and `crictl logs ID` on the control plane",
        "kubernetes.io Troubleshooting kubeadm",
    ),
    _s(
        "SIG-API-DROPPED",
        r"dial tcp \S+:6443: i/o timeout|\S:6443.*(deadline exceeded|Client\.Timeout|no route to host)",
        "TCP 6443 of the control plane is not reached: a security group or firewall drops it",
        "open TCP 6443 from the workers; `inv cluster.doctor` tests it and names the rule",
        "kubernetes.io Ports and Protocols",
    ),
    _s(
        "SIG-OOM",
        r"Out of memory: Killed process|oom-kill:|OOMKilled",
        "the machine, or a container's limit, has too little memory",
        "`free -m`; a larger machine (`inv cluster.sizing`)",
        "kubernetes.io Node-pressure Eviction",
    ),
    _s(
        "SIG-SUDO",
        r"sudo: a (terminal|password) is required|is not in the sudoers file",
        "the login user may not use sudo without a password",
        "NOPASSWD for that user, or --ask-sudo-pass",
        "sudoers(5)",
    ),
    _s(
        "SIG-NET-OUT",
        r"Failed to connect to \S+ port \d+|Connection timed out after \d+|TLS handshake timeout|curl: \((6|7|28|35)\)",
        "the node does not reach the outside: no route, a firewall, or a proxy is needed",
        "`curl -IL URL` on the node, with the address that failed; PROXY in hosts.env where only a proxy leads outside; the settings whose name "
        "ends in _URL, and REGISTRY, for a mirror inside",
        "curl(1), exit codes",
    ),
)


def likely(text: str) -> Signature | None:
    """The first known failure in `text`, or None."""
    return next((known for known, _ in _known(text)), None)


def every(text: str) -> Sequence[tuple[Signature, str]]:
    """All known failures in `text`, likeliest first, each with its matching line."""
    return [*_known(text)]


def _known(text: str) -> Iterator[tuple[Signature, str]]:
    text = "\n".join(line[:LINE] for line in text.splitlines())
    for s in TABLE:
        if line := s.found(text):
            yield replace(s, remedy=complete(s.remedy)), line
