"""Links, routes, firewall, and what curl and similar programs reach."""

from __future__ import annotations

import hashlib
import json
import re
import time
from urllib.parse import urlsplit

from fabfile.inventory.settings import DOCKER_DEB_KEY, DOCKER_RPM_KEY, Settings

from .. import certificates
from ..bash import Call
from ..host import ETCD, Host
from ..machine import Machine
from . import etcd, host2017, program, unmodelled
from .pki import follow_manifests
from .system import rotate

_CHAIN = re.compile(r"^-A (\S+)|-[jg] (\S+)$")
_BUILT_IN = {
    "INPUT",
    "FORWARD",
    "OUTPUT",
    "PREROUTING",
    "POSTROUTING",
    "ACCEPT",
    "DROP",
    "REJECT",
    "RETURN",
    "MASQUERADE",
    "DNAT",
    "LOG",
    "MARK",
}
_OF_CBR0 = re.compile(r'--comment "(?:dnat |snat )?name: \\"cbr0\\" id: ')
_POD_CHAIN = re.compile(r"CNI-(?:DN-|SN-)?[0-9a-f]+")
_DEFAULTS = Settings()


@program("ip")
def ip(machine: Machine, call: Call) -> int:
    words = [w for w in call.argv[1:] if w not in ("-4", "-o", "dev")]
    if "-j" in words and host2017.is_xenial(machine.host):
        return call.fail('Option "-j" is unknown, try "ip -help".', 255)
    links = machine.host.links
    match words:
        case ["-j", "addr"] | ["-j", "addr", "show"] | ["-j", "a"]:
            call.out(json.dumps(_addresses(machine.host)) + "\n")
        case ["-br", "addr"] | ["-br", "a"]:
            for name, link in links.items():
                call.out(f"{name:<16} {'UP' if link.up else 'DOWN':<14} {' '.join(link.addresses)}\n")
        case ["addr"] | ["a"]:
            for number, (name, link) in enumerate(links.items(), 1):
                call.out(f"{number}: {name}: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu {link.mtu}\n")
                call.out("".join(f"    inet {address} scope global {name}\n" for address in link.addresses))
        case ["-j", "link"] | ["-j", "link", "show"]:
            call.out(json.dumps([{"ifname": n, "mtu": k.mtu, "flags": ["UP"]} for n, k in links.items()]) + "\n")
        case (
            ["link", "show", name]
            | ["addr", "show", name]
            | ["-br", "addr", "show", name]
            | ["-br", "link", "show", name]
        ):
            if name not in links:
                return call.fail(f'Device "{name}" does not exist.')
            call.out(
                f"9: {name}: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu {links[name].mtu} qdisc noqueue state UNKNOWN\n"
            )
        case ["link", "delete" | "del", name]:
            if links.pop(name, None) is None:
                return call.fail(f'Cannot find device "{name}"')
        case ["link", "set", name, "down" | "up" as state]:
            if name not in links:
                return call.fail(f'Cannot find device "{name}"')
            links[name].up = state == "up"
        case ["route", "flush", "cache"]:
            pass  # the model keeps no path MTU
        case ["route", "get", address, *_]:
            call.out(
                f"{address} via 10.2.0.1 dev {default_link(machine)} src {machine.host.address} uid 0\n    cache\n"
            )
        case ["route"] | ["route", "show", *_]:
            call.out(f"default via 10.2.0.1 dev {default_link(machine)} proto dhcp metric 100\n")
        case ["-j", "route", "get", address, *_]:
            call.out(
                json.dumps([{"dst": address, "dev": default_link(machine), "prefsrc": machine.host.address}]) + "\n"
            )
        case _:
            raise unmodelled(call)
    return 0


def default_link(machine: Machine) -> str:
    return "ens6" if machine.fault("wrong-nic") is not None else "ens5"


def _addresses(host: Host) -> list[dict[str, object]]:
    result: list[dict[str, object]] = []
    for number, (name, link) in enumerate(host.links.items(), 1):
        flags = ["BROADCAST", "MULTICAST", *(["UP", "LOWER_UP"] if link.up else [])]
        info = [
            {
                "family": "inet6" if ":" in a else "inet",
                "local": a.split("/")[0],
                "prefixlen": int(a.split("/")[1]),
                "scope": "global",
            }
            for a in link.addresses
        ]
        state = "UP" if link.up else "DOWN"
        result.append(
            {"ifindex": number, "ifname": name, "flags": flags, "mtu": link.mtu, "operstate": state, "addr_info": info}
        )
    return result


@program("ifconfig")
def ifconfig(machine: Machine, call: Call) -> int:
    links = machine.host.links
    if len(call.argv) == 3 and call.argv[2] in ("down", "up"):
        if call.argv[1] not in links:
            return call.fail(f"{call.argv[1]}: ERROR while getting interface flags: No such device")
        links[call.argv[1]].up = call.argv[2] == "up"
        return 0
    if host2017.is_xenial(machine.host):
        call.out(host2017.ifconfig_text(machine.host, down="-a" in call.argv))
        return 0
    for name, link in links.items():
        if link.up:
            call.out(
                f"{name}: flags=4163<UP,BROADCAST,RUNNING,MULTICAST>  mtu {link.mtu}\n        inet {' '.join(link.addresses)}\n"
            )
    return 0


def _rules(machine: Machine, name: str) -> list[str]:
    return machine.host.rules6 if name.startswith("ip6") else machine.host.rules


def _chains(rule: str) -> list[str]:
    """The chain that a rule is in, and the chain or target that it jumps to."""
    if rule.startswith(":"):
        return [rule[1:].split()[0]]
    return [name for pair in _CHAIN.findall(re.sub(r'"(?:[^"\\]|\\.)*"', "Q", rule)) for name in pair if name]


def cluster_lines(saved: str) -> list[bool]:
    """For each line of iptables-save's output, whether it belongs to a cluster: the Python twin of fabfile.nodes.firewall's awk program."""
    rows = saved.splitlines()
    tables: list[int] = []
    for row in rows:
        tables.append((tables[-1] if tables else 0) + row.startswith("*"))
    named = [bool(_OF_CBR0.search(row)) and any(chain.startswith("CNI-") for chain in _chains(row)) for row in rows]
    own = {
        (t, c)
        for t, row, mine in zip(tables, rows, named, strict=True)
        if mine
        for c in _chains(row)
        if _POD_CHAIN.fullmatch(c)
    }
    return [
        mine or any(chain.startswith(("KUBE-", "FLANNEL-")) or (t, chain) in own for chain in _chains(row))
        for t, row, mine in zip(tables, rows, named, strict=True)
    ]


@program("iptables-save", "ip6tables-save")
def save(machine: Machine, call: Call) -> int:
    rules = _rules(machine, call.argv[0])
    chains = sorted({chain for rule in rules for chain in _chains(rule)} - _BUILT_IN)
    nat = [r for r in rules if r.startswith(("-A PREROUTING", "-A POSTROUTING", "-A CNI-"))]
    for table, chosen, hooks in (
        ("nat", nat, ("PREROUTING", "POSTROUTING")),
        ("filter", [r for r in rules if r not in nat], ("INPUT", "FORWARD")),
    ):
        if not rules:
            continue
        call.out(f"*{table}\n" + "".join(f":{hook} ACCEPT [0:0]\n" for hook in hooks))
        call.out("".join(f":{chain} - [0:0]\n" for chain in chains if any(chain in _chains(r) for r in chosen)))
        call.out("".join(f"{rule}\n" for rule in chosen) + "COMMIT\n")
    return 0


@program("iptables-restore", "ip6tables-restore")
def restore(machine: Machine, call: Call) -> int:
    rules = [line for line in call.input().splitlines() if line.startswith("-A ")]
    if call.argv[0].startswith("ip6"):
        machine.host.rules6 = rules
    else:
        machine.host.rules = rules
    return 0


@program("iptables", "ip6tables")
def iptables(machine: Machine, call: Call) -> int:
    rules = _rules(machine, call.argv[0])
    words = [w for w in call.argv[1:] if w not in ("-w",)]
    if words[:1] == ["-t"]:
        words = words[2:]
    match words:
        case ["-S", *_]:
            call.out("".join(f"{rule}\n" for rule in rules))
        case ["-C", *rest]:
            return int("-A " + " ".join(rest) not in rules)
        case ["-A" | "-I", *rest]:
            rules.append("-A " + " ".join(rest))
        case _:
            raise unmodelled(call)
    return 0


@program("nft")
def nft(machine: Machine, call: Call) -> int:
    tables = machine.host.nft_tables
    match call.argv[1:]:
        case ["list", "tables"]:
            call.out("".join(f"table {name}\n" for name in tables))
        case ["delete", "table", *name]:
            text = " ".join(name)
            if text not in tables:
                return call.fail("Error: No such file or directory")
            tables.remove(text)
        case _:
            raise unmodelled(call)
    return 0


@program("ping")
def ping(machine: Machine, call: Call) -> int:
    call.out(f"1 packets transmitted, 1 received, 0% packet loss ({call.argv[-1]})\n")
    return 0


@program("getent")
def getent(machine: Machine, call: Call) -> int:
    call.out(f"10.2.0.2        {call.argv[-1]}\n")
    return 0


@program("ss")
def ss(machine: Machine, call: Call) -> int:
    ports = [22]
    if machine.host.active("kubelet"):
        ports += [10250]
    if any(p.labels.get("component") == "kube-apiserver" and p.running for p in machine.host.pods):
        ports += [machine.settings.api_port, 2379, 2380, 10257, 10259]
    call.out("".join(f"LISTEN 0 4096 *:{port} *:*\n" for port in ports))
    return 0


@program("curl")
def curl(machine: Machine, call: Call) -> int:
    """GET one address: the API, a NodePort, or a package source."""
    values, urls, flags = dict[str, str](), list[str](), ""
    words = iter(call.argv[1:])
    for word in words:
        if word in (
            "-o",
            "-w",
            "--max-time",
            "--connect-timeout",
            "--retry",
            "-H",
            "-m",
            "-X",
            "-d",
            "--data-urlencode",
            "--retry-delay",
            "--noproxy",
            "--cert",
            "--key",
        ):
            values[word] = next(words)
        elif word.startswith("-"):
            flags += word
        else:
            urls.append(word)
    status, body, error = fetch(machine, urls[-1])
    machine.spend(0.3, "curl")
    if status and status >= 400 and "f" in flags.replace("--fail", "f"):
        status, error, body = 0, f"curl: (22) The requested URL returned error: {status}", ""
    target = values.get("-o", "")
    if target and target != "/dev/null" and status:
        machine.write_file(target, body)
    elif not target:
        call.out(body)
    if "-w" in values:
        call.out(values["-w"].replace("%{http_code}", f"{status:03d}").replace("\\n", "\n"))
    if not status:
        if "S" in flags or "s" not in flags:
            call.err(f"{error}\n")
        match = re.search(r"\((\d+)\)", error)
        return int(match[1]) if match else 7
    return 0


def etcd_release(host: Host) -> str:
    """The release of the etcd that runs, by its image's tag."""
    image = next((pod.images[0] for pod in host.pods if pod.labels.get("component") == "etcd"), "")
    return image.rpartition(":")[2].partition("-")[0]


def proxy_health(host: Host) -> str:
    """What kube-proxy of a machine says to /livez; empty where it does not run."""
    rules = {"IPv4": {"lastUpdated": "2026-11-29T09:00:00Z", "healthy": True}}
    runs = any(pod.labels.get("k8s-app") == "kube-proxy" and pod.running for pod in host.pods)
    return json.dumps({"currentTime": "2026-11-29T09:00:01Z", "healthy": True, "status": rules}) if runs else ""


def fetch(machine: Machine, url: str) -> tuple[int, str, str]:
    """(HTTP status, body, "") or (0, "", curl's error)."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    refused = f"curl: (7) Failed to connect to {host} port {port} after 2 ms: Couldn't connect to server"
    if (host, port) == ("127.0.0.1", 10248):
        return (200, "ok", "") if machine.host.unit("kubelet").active else (0, "", refused)
    if (host, port, parts.path) == ("127.0.0.1", 10250, "/pods"):
        if not machine.host.unit("kubelet").active:
            return 0, "", refused
        static = [pod for pod in machine.host.pods if pod.labels.get("tier") == "control-plane"]
        # who may ask is the API's to say
        return (
            (200, json.dumps({"items": [{"metadata": {"uid": machine.host.uid(pod)}} for pod in static]}), "")
            if machine.api_up
            else (401, "Unauthorized", "")
        )
    if (port, parts.path) == (10256, "/livez"):
        health = proxy_health(machine.host)
        return (200, health, "") if health else (0, "", refused)
    if component := {2381: "etcd", 10257: "kube-controller-manager", 10259: "kube-scheduler"}.get(port):
        follow_manifests(machine.host)
        up = any(pod.labels.get("component") == component and pod.running for pod in machine.host.pods)
        if up and parts.path == "/metrics" and port == 2381:
            return 200, f'etcd_server_version{{server_version="{etcd_release(machine.host)}"}} 1\n', ""
        return (200, '{"health":"true","reason":""}' if port == 2381 else "ok", "") if up else (0, "", refused)
    if host in _control_addresses(machine) and port == machine.settings.api_port:
        if not machine.api_up:
            return 0, "", refused
        return 200, "ok", ""
    if port in (machine.settings.dashboard_port, machine.settings.influxdb_port) and (
        host in _control_addresses(machine) or host == machine.host.address
    ):
        return _node_port(machine, port, refused)
    if parts.path.endswith(("Release.key", "repomd.xml.key", "/gpg", "apt-key.gpg")):
        if machine.fault("packages-down") is not None:
            machine.spend(30, "curl retries")
            return 0, "", f"curl: (28) Failed to connect to {host} port {port} after 10002 ms: Timeout was reached"
        docker = DOCKER_RPM_KEY if "/centos/" in parts.path or "/rhel/" in parts.path else DOCKER_DEB_KEY
        ours = docker if parts.path.endswith("/gpg") else _DEFAULTS.packages_key_fingerprint[0]
        return 200, _armor([ours]), ""
    if url.startswith(f"{machine.settings.etcd_url.rstrip('/')}/v"):
        if machine.fault("packages-down") is not None:
            return 0, "", f"curl: (28) Failed to connect to {host} port {port} after 10002 ms: Timeout was reached"
        digest = hashlib.sha256(etcd.archive_text().encode()).hexdigest()
        name = f"etcd-v{ETCD}-linux-amd64.tar.gz"
        return (200, f"{digest}  {name}\n", "") if parts.path.endswith("SHA256SUMS") else (200, etcd.archive_text(), "")
    if url.startswith(machine.settings.manifests_url):
        return 200, "{}\n", ""
    if host.endswith(("pkgs.k8s.io", "docker.com", "registry.k8s.io", "ghcr.io", "docker.io", "kubernetes.io")):
        if machine.fault("packages-down") is not None and host.endswith(("pkgs.k8s.io", "docker.com")):
            return 0, "", f"curl: (28) Failed to connect to {host} port {port} after 10002 ms: Timeout was reached"
        return 200, "", ""
    return 0, "", f"curl: (6) Could not resolve host: {host}"


def _control_addresses(machine: Machine) -> set[str]:
    control = machine.settling.hosts.get(machine.cluster.control) if machine.cluster.exists else None
    own = {host.address for host in machine.settling.hosts.values() if host.control_plane}
    return own | {control.address if control else "", "127.0.0.1", "localhost"}


def _node_port(machine: Machine, port: int, refused: str) -> tuple[int, str, str]:
    influx = port == machine.settings.influxdb_port
    apps = {"monitoring-influxdb", "influxdb"} if influx else {machine.settings.dashboard, "kubernetes-dashboard"}
    if machine.api_up:
        machine.settling.everything(machine.now)
    for host in machine.settling.hosts.values():
        for pod in host.pods:
            if pod.labels.get("app") in apps and pod.running:
                return 200, f"<html><title>{pod.labels['app']}</title></html>\n", ""
    return 0, "", refused


@program("gpg")
def gpg(machine: Machine, call: Call) -> int:
    """Import and list keys; in the model, a key file is armor around one line per primary key: its fingerprint."""
    words = call.argv
    home = words[words.index("--homedir") + 1] if "--homedir" in words else "/root/.gnupg"
    ring = f"{home}/pubring.kbx"
    if "--list-keys" in words:
        for key in (machine.host.read(ring) or "").split():
            call.out(f"pub:-:4096:1:{key[-16:]}:1700000000:::-:::scSC::::::23::0:\nfpr:::::::::{key}:\n")
        return 0
    if "--export" in words:
        wanted = [key for key in (machine.host.read(ring) or "").split() if key in words]
        machine.write_file(words[words.index("-o") + 1], _armor(wanted))
        return 0
    text = machine.host.read(words[-1])
    if text is None or "BEGIN PGP" not in text:
        return call.fail("gpg: no valid OpenPGP data found.", 2)
    if "--import" in words:
        machine.write_file(ring, "".join(f"{line}\n" for line in text.splitlines() if not line.startswith("-")))
        return 0
    if "--dearmor" in words:
        machine.write_file(words[words.index("-o") + 1], text)
        return 0
    raise unmodelled(call)


def _armor(keys: list[str]) -> str:
    return "\n".join(["-----BEGIN PGP PUBLIC KEY BLOCK-----", *keys, "-----END PGP PUBLIC KEY BLOCK-----", ""])


def shown(machine: Machine, at: str) -> str:
    """The certificate that a port of this machine shows: the one that its process read when it started."""
    port = int(at.rpartition(":")[2])
    files = {machine.settings.api_port: certificates.API, 2379: certificates.RENEWED["etcd-server"][0]}
    path = files.get(port, certificates.RENEWED["etcd-peer"][0] if port == 2380 else "")
    return "".join(pod.serves.get(path, "") for pod in machine.host.pods if pod.running)


@program("openssl")
def openssl(machine: Machine, call: Call) -> int:
    if call.argv[1:2] == ["rand"]:
        call.out("5f" * 16 + "\n")
        return 0
    match call.argv[1:]:
        case ["s_client", "-connect", at]:
            call.out(shown(machine, at))
            return 0
        case ["x509", "-noout", "-checkend", "0", "-in", path]:
            rotate(machine)
            return int(certificates.dates(certificates.of_file(machine.host, path))[1] <= time.time())
        case ["x509", "-noout", "-fingerprint", "-sha256", *where]:
            pem = certificates.of_file(machine.host, where[1]) if where else call.input()
            if not (digest := certificates.fingerprint(pem)):
                return call.fail("Could not read certificate")
            call.out(f"sha256 Fingerprint={digest}\n")
            return 0
    raise unmodelled(call)
