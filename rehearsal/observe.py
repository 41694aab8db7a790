"""Answers the observing script from the model: each `@@ section` that the script prints has a function here."""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from io import StringIO

from fabfile.nodes.facts import STATE, SWAP_UNITS
from fabfile.nodes.firewall import COUNT
from fabfile.nodes.keeping import CONTAINERD_CONFIG, INDEX, KEPT, NOTE

from . import certificates
from .bash import Shell, Streams, Unmodelled
from .commands import dispatch
from .commands.network import shown
from .commands.runtime import sandbox
from .commands.system import disk_free
from .host import KERNEL, SUSE
from .machine import Machine
from .values import assigned

Values = Mapping[str, str]
Section = Callable[[Machine, Values], str]
_SECTIONS: dict[str, Section] = {}


def answer(machine: Machine, script: str) -> tuple[int, bytes]:
    """What the observing script prints on this machine. Raises Unmodelled for a section without a function."""
    values, asked, names = _taken_apart(script)
    parts = []
    machine.settling.look(machine.host, machine.now)
    if values.get("control_plane") and machine.api_up and machine.host.name == machine.cluster.control:
        machine.settling.everything(machine.now)
    for name in names:
        if name == "end":
            text = ""
        elif name in asked:
            text = _ask(machine, values, *asked[name])
        elif name in _SECTIONS:
            text = _SECTIONS[name](machine, values)
        else:
            raise Unmodelled(f"section @@ {name} of the observing script")
        parts.append(f"@@ {name}\n{text}" + ("\n" if text and not text.endswith("\n") else ""))
    machine.spend(0.8, "observe")
    return 0, "".join(parts).encode()


@lru_cache(maxsize=64)
def _taken_apart(script: str) -> tuple[Values, Mapping[str, tuple[str, str]], tuple[str, ...]]:
    """The values at the script's head, what it asks kubectl (section → how and what), and its sections in order."""
    head = script.split("\nhas()", 1)[0]
    values = {name: assigned(head, name) for name in re.findall(r"^([a-z_]+)=", head, flags=re.M)}
    asked = {name: (how, line) for how, line, name in re.findall(r'\{ (kube|rooted) (.+?) >"\$d/(\w+)"; \} &', script)}
    names = re.findall(r"echo '@@ (\w+)'", script)
    looped = re.search(r'^for s in ([\w ]+); do echo "@@ \$s"', script, flags=re.M)
    if looped:
        at = names.index("end")
        names[at:at] = looped[1].split()
    return values, asked, tuple(names)


def _ask(machine: Machine, values: Values, how: str, arguments: str) -> str:
    """kubectl's answer to a question that only the control plane asks."""
    if (
        not values.get("control_plane")
        or not machine.host.exists("/etc/kubernetes/admin.conf")
        or not machine.host.has("kubectl")
    ):
        return "\n"
    rooted = f" || kubectl --kubeconfig=/etc/kubernetes/super-admin.conf {arguments}" * (how == "rooted")
    text = _run(machine, f"kubectl {arguments}{rooted}", values)
    # where the API answers admin.conf, the script asks it and InfluxDB directly
    return (_direct(text) if machine.api_up and machine.cluster.admins else text) + "\n"


def _direct(text: str) -> str:
    """What kubectl printed as the API has it, in lists of one kind each, and what `influx` printed as InfluxDB's port has it."""
    if text.startswith("name,duration,"):
        return re.sub(r"^(?!name,tags|kubernetes_node)(?=.)", ",,", text, flags=re.M).replace(
            ",,name,", "name,tags,name,", 1
        )
    if not text.startswith("{"):
        return text
    found: dict[str, list[object]] = {}
    answer = json.loads(text)
    for item in answer.get("items", [answer]):  # of 1.5 one object alone is asked for
        found.setdefault(f"{item.pop('kind', 'Node')}List", []).append(item)
    return "".join(f"{json.dumps({'kind': kind, 'items': items})}\n" for kind, items in found.items())


def _section(name: str) -> Callable[[Section], Section]:
    def enter(function: Section) -> Section:
        _SECTIONS[name] = function
        return function

    return enter


def _run(machine: Machine, line: str, values: Values | None = None) -> str:
    """What a command line prints on this machine, without its standard error."""
    out = StringIO()
    shell = Shell(
        lambda call: dispatch(machine, call), machine, {"KUBECONFIG": "/etc/kubernetes/admin.conf", **(values or {})}
    )
    shell.line(f"{line} || true", Streams(StringIO(), {1: out, 2: StringIO()}))
    return out.getvalue()


def _lines(items: list[str]) -> str:
    return "".join(f"{item}\n" for item in items)


@_section("os")
def _os(machine: Machine, values: Values) -> str:
    release = SUSE if machine.fault("unsupported-os") is not None else machine.host.release
    return "".join(f'{key}="{value}"\n' for key, value in release.items())


@_section("host")
def _host(machine: Machine, values: Values) -> str:
    host = machine.host
    now = _run(machine, "date +%s.%N").strip()
    reboot = "yes" if machine.fault("reboot-needed") is not None else ""
    return _lines(
        [
            f"hostname={machine.hostname}",
            f"kernel={KERNEL}",
            "arch=x86_64",
            f"cpus={host.cpus}",
            f"machine_id={machine.settling.shown(host, 'duplicate-machine-id').machine_id}",
            f"product_uuid={host.product_uuid}",
            f"boot_id={host.boot_id}",
            "init=21",
            f"now={now}",
            f"memory_kib={host.memory_kib}",
            f"cgroup={host.cgroup}",
            "systemd=yes",
            f"metrics_disk={'yes' if f'{STATE}/influxdb' in (line.split()[1] for line in host.mounts) else ''}",
            f"reboot={reboot}",
            f"bridge_netfilter={'yes' if 'br_netfilter' in host.modules else ''}",
            f"overlay={'yes' if 'overlay' in host.modules else ''}",
        ]
    )


@_section("swap")
def _swap(machine: Machine, values: Values) -> str:
    return _lines(machine.host.swaps)


@_section("fstab")
def _fstab(machine: Machine, values: Values) -> str:
    text = machine.host.read("/etc/fstab") or ""
    return _lines([line for line in text.splitlines() if re.match(r"[^#]\S*\s+\S+\s+swap(\s|$)", line)])


@_section("swapunits")
def _swap_units(machine: Machine, values: Values) -> str:
    return _run(machine, SWAP_UNITS)


@_section("sysctl")
def _sysctl(machine: Machine, values: Values) -> str:
    return _lines(
        [f"{key}={_run(machine, f'sysctl -n {key} 2>/dev/null').strip()}" for key in values["sysctls"].split()]
    )


@_section("sysctlfiles")
def _sysctl_files(machine: Machine, values: Values) -> str:
    folder, found = "/etc/sysctl.d/", []
    for path in sorted(path for path in machine.host.files if path.startswith(folder)):
        lines = enumerate((machine.host.read(path) or "").splitlines(), 1)
        found += [
            f"{path.removeprefix(folder)} {path} {number}:{line}"
            for number, line in lines
            if re.match(r"\s*-?net[./]", line)
        ]
    return _lines(found)


@_section("disks")
def _disks(machine: Machine, values: Values) -> str:
    return _lines([f"{folder} / {disk_free(machine)}" for folder in values["folders"].split()])


@_section("links")
def _links(machine: Machine, values: Values) -> str:
    return _run(machine, "ip -j addr 2>/dev/null || ip addr 2>/dev/null || ifconfig -a 2>/dev/null")


@_section("resolver")
def _resolver(machine: Machine, values: Values) -> str:
    return machine.host.read("/etc/resolv.conf") or ""


@_section("proxies")
def _proxies(machine: Machine, values: Values) -> str:
    forms = values["proxy_files"].split()
    found = [name for form in forms for name in sorted(fnmatch.filter(machine.host.files, form))]
    lines = [f"{name}:{line}" for name in found for line in (machine.host.read(name) or "").splitlines()]
    shown = [line for line in lines if re.search(r":.*(https?|all|no)_proxy", line, re.I)]
    return _lines([re.sub(r'://[^/@" ]*@', "://", line) for line in shown])


@_section("packages")
def _packages(machine: Machine, values: Values) -> str:
    host = machine.host
    names = [name for name in values["packages"].split() if name in host.packages or name in host.held]
    states = {name: f"{'h' if name in host.held else 'i'}{'i' if name in host.packages else 'n'}" for name in names}
    return _lines([f"{name} {host.packages.get(name, '')} {states[name]}" for name in names])


@_section("units")
def _units(machine: Machine, values: Values) -> str:
    line = "echo {0} $(systemctl is-active {0} 2>/dev/null) $(systemctl is-enabled {0} 2>/dev/null)"
    return "".join(_run(machine, line.format(unit)) for unit in values["units"].split())


@_section("files")
def _files(machine: Machine, values: Values) -> str:
    host = machine.host
    return _lines(
        [
            f"{hashlib.sha256(host.files[path].text.encode()).hexdigest()} {host.files[path].mode} {path}"
            for path in values["files"].split()
            if path in host.files
        ]
    )


def _listed(machine: Machine, values: Values) -> list[str]:
    """The lists of package sources, but for our own, that contain an address that is asked for."""
    asked = values["repositories"].split("\n")
    kinds = r"/etc/apt/sources\.list|/etc/apt/sources\.list\.d/[^/]+\.(list|sources)|/etc/yum\.repos\.d/[^/]+\.repo"
    paths = [path for path in sorted(machine.host.files) if re.fullmatch(kinds, path) and "/kubefab-" not in path]
    return [path for path in paths if any(one in machine.host.files[path].text for one in asked)]


@_section("sources")
def _sources(machine: Machine, values: Values) -> str:
    texts = {path: machine.host.files[path].text for path in _listed(machine, values)}
    return _lines([f"{path}\t{n}\t{row}" for path, text in texts.items() for n, row in enumerate(text.splitlines(), 1)])


@_section("keyrings")
def _keyrings(machine: Machine, values: Values) -> str:
    texts = "".join(machine.host.files[path].text for path in _listed(machine, values))
    named = sorted(set(re.findall(r"/[A-Za-z0-9._/+-]+\.(?:gpg|asc|pgp)", texts)) & set(machine.host.files))
    return _lines([f"{base64.b64encode(machine.host.files[path].text.encode()).decode()} {path}" for path in named])


@_section("kubelet")
def _kubelet(machine: Machine, values: Values) -> str:
    kinds = (
        r"/etc/systemd/system/kubelet\.service(\.d/[^/]+\.conf)?|/run/systemd/system/kubelet\.service\.d/[^/]+\.conf"
    )
    paths = [
        path
        for path in sorted(machine.host.files)
        if path in values["kubelet_files"].split() or re.fullmatch(kinds, path)
    ]
    rows = [(path, n, row) for path in paths for n, row in enumerate(machine.host.files[path].text.splitlines(), 1)]
    return _lines([f"{path}\t{n}\t{row}" for path, n, row in rows if re.search("--|ExecStart|KUBELET_EXTRA_ARGS", row)])


@_section("kubeletconfig")
def _kubelet_config(machine: Machine, values: Values) -> str:
    return machine.host.read("/var/lib/kubelet/config.yaml") or ""


@_section("followed")
def _followed(machine: Machine, values: Values) -> str:
    texts = {name: machine.host.read(f"{values['state']}/{name}") for name in values["followed"].split()}
    return _lines([f"{name} {text.replace(chr(10), '')}" for name, text in texts.items() if text is not None])


def _member(machine: Machine, values: Values) -> bool:
    """Whether the script does not ask for what nothing is decided by on a member."""
    running = machine.host.unit("kubelet").active and machine.host.read("/etc/kubernetes/kubelet.conf") is not None
    return running and not values.get("release")


@_section("apt")
def _apt(machine: Machine, values: Values) -> str:
    if _member(machine, values) or not machine.host.has("apt-get"):
        return ""
    return _run(machine, "apt-get indextargets 2>&1 >/dev/null | grep '^E: ' | head -n 9")


@_section("cni")
def _cni(machine: Machine, values: Values) -> str:
    folder = "/etc/cni/net.d/"
    return _lines(sorted(path.removeprefix(folder) for path in machine.host.files if path.startswith(folder)))


@_section("traces")
def _traces(machine: Machine, values: Values) -> str:
    return _lines([path for path in values["traces"].split() if machine.host.exists(path)])


@_section("mounts")
def _mounts(machine: Machine, values: Values) -> str:
    return _lines([mount for mount in machine.host.all_mounts if "/var/lib/kubelet/" in mount])


@_section("replaced")
def _replaced(machine: Machine, values: Values) -> str:
    host = machine.host
    return "containerd\n" if host.containerd_runs not in ("", host.packages.get("containerd.io", "")) else ""


@_section("processes")
def _processes(machine: Machine, values: Values) -> str:
    return _lines([f"      1 {name}" for name in sorted(machine.host.processes)])


@_section("rules")
def _rules(machine: Machine, values: Values) -> str:
    host = machine.host
    tables = [f"table {name}" for name in host.nft_tables if re.search(r" (kube-proxy|flannel-ipv[46])$", f" {name}")]
    return _lines([_run(machine, f"(iptables-save; ip6tables-save) 2>/dev/null | {COUNT}").strip(), *tables])


@_section("filters")
def _filters(machine: Machine, values: Values) -> str:
    chain = {"family": "inet", "table": "fw", "name": "forward", "type": "filter", "hook": "forward", "policy": "drop"}
    return json.dumps({"nftables": [{"chain": chain}]}) if machine.fault("forward-drops") is not None else ""


@_section("pods")
def _pods(machine: Machine, values: Values) -> str:
    host = machine.host
    if _member(machine, values) or not host.unit("containerd").active or "cri-tools" not in host.packages:
        return ""
    return _lines([sandbox(host, pod) for pod in host.pods])


@_section("images")
def _images(machine: Machine, values: Values) -> str:
    host = machine.host
    if _member(machine, values) or not host.unit("containerd").active or not host.has("ctr"):
        return ""
    return (
        _run(machine, "ctr -n k8s.io images ls | awk 'NR > 1 {print $1, $3}'")
        if values.get("digests")
        else _lines(host.images)
    )


@_section("kubeadm")
def _kubeadm(machine: Machine, values: Values) -> str:
    asked = values.get("release") and machine.host.has("kubeadm")
    return _run(machine, f"kubeadm config images list --kubernetes-version v{values['release']}") if asked else ""


@_section("ca")
def _ca(machine: Machine, values: Values) -> str:
    return machine.host.read("/etc/kubernetes/pki/ca.crt") or machine.host.read("/etc/kubernetes/pki/ca.pem") or ""


@_section("certificates")
def _certificates(machine: Machine, values: Values) -> str:
    found = [(path, certificates.of_file(machine.host, path)) for path in values["certificates"].split()]
    written = {path: int(certificates.dates(pem)[0]) for path, pem in found}
    keys = {path: written[path] for path in written if machine.host.exists(f"{path.removesuffix('.crt')}.key")}
    return "".join(f"file {path} {written[path]} {keys.get(path, '')}\n{pem}" for path, pem in found if pem)


@_section("tokens")
def _tokens(machine: Machine, values: Values) -> str:
    if values["tokens"]:
        raise Unmodelled("when join tokens end, by the calendar")
    return ""


@_section("served")
def _served(machine: Machine, values: Values) -> str:
    return "".join(f"file {at}\n{shown(machine, at)}" for at in values["served"].split())


@_section("running")
def _running(machine: Machine, values: Values) -> str:
    return _run(machine, "crictl ps -o json") if values["served"] and machine.host.has("crictl") else ""


@_section("manifests")
def _manifests(machine: Machine, values: Values) -> str:
    paths = machine.host.glob("/etc/kubernetes/manifests/*.yaml") if values["served"] else []
    found = ((path, re.search(r"^ *image: *(\S+)", machine.host.read(path) or "", flags=re.M)) for path in paths)
    return _lines([f"{path.rpartition('/')[2]} {image[1]}" for path, image in found if image])


@_section("version")
def _version(machine: Machine, values: Values) -> str:
    asks = values["served"] and machine.host.exists("/etc/kubernetes/admin.conf")
    return _run(machine, "kubectl get --raw=/version", values) if asks else ""


@_section("proxy")
def _proxy(machine: Machine, values: Values) -> str:
    asks = values["served"] and machine.host.exists("/etc/kubernetes/admin.conf")
    line = "kubectl -n kube-system get daemonset kube-proxy -o jsonpath='{.spec.template.spec.containers[0].image}'"
    return _run(machine, line, values) if asks else ""


@_section("kubeconfigs")
def _kubeconfigs(machine: Machine, values: Values) -> str:
    found = []
    for name in ("admin", "kubelet", "bootstrap-kubelet"):
        text = machine.host.read(f"/etc/kubernetes/{name}.conf") or ""
        found += [
            f"{name} {key} {value}"
            for key, value in re.findall(r"^ {4}(certificate-authority-data|server|cluster): (.*)", text, flags=re.M)
        ]
    return _lines(found)


@_section("identity")
def _identity(machine: Machine, values: Values) -> str:
    return (machine.host.read(values["identity"]) or "")[:4096]


@_section("etcd")
def _etcd(machine: Machine, values: Values) -> str:
    size = len(machine.host.read("/var/lib/etcd/member/snap/db") or "")
    return _lines([*machine.host.children("/var/lib/etcd")[:20], f"db={size or ''}"])


@_section("others")
def _others(machine: Machine, values: Values) -> str:
    host = machine.host
    patterns = values["other_units"].split()
    units = [f"{name}.service" for name, unit in host.units.items() if unit.active]
    running = [name for name in units if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]
    return _lines(
        [
            *(f"unit {name}" for name in running),
            *(f"path {path}" for path in values["other_paths"].split() if host.exists(path)),
        ]
    )


@_section("made")
def _made(machine: Machine, values: Values) -> str:
    if not values.get("control_plane"):
        return ""
    files = [f"/etc/kubernetes/manifests/{name}.yaml" for name in ("kube-apiserver", "kube-controller-manager")]
    flags = "(advertise-address|secure-port|service-cluster-ip-range|cluster-cidr)"
    found = [match[0] for path in files for match in re.finditer(rf'--{flags}=[^" \n]+', machine.host.read(path) or "")]
    domain = re.search(r"^clusterDomain: *(.*)$", machine.host.read("/var/lib/kubelet/config.yaml") or "", flags=re.M)
    return _lines([*found, *([f"--cluster-domain={domain[1]}"] if domain else [])])


@_section("kept")
def _kept(machine: Machine, values: Values) -> str:
    host, found = machine.host, []
    for path in (host.read(INDEX) or "").split():
        ours, now = host.read(f"{KEPT}/ours{path}"), host.read(path)
        if ours is None:
            continue
        digest = hashlib.sha256((now or "").encode()).hexdigest()
        before = [text for kind in ("was", "stock") if (text := host.read(f"{KEPT}/{kind}{path}")) is not None]
        state = "gone" if now is None else "ours" if digest in ours.split() else "back" if now in before else "changed"
        found.append(f"{state} {path}")
    return _lines(found)


@_section("before")
def _before(machine: Machine, values: Values) -> str:
    note = machine.host.read(NOTE)
    return "" if note is None else f"noted\n{note}"


@_section("containerd")
def _containerd(machine: Machine, values: Values) -> str:
    rows = (machine.host.read(CONTAINERD_CONFIG) or "").splitlines()
    return _lines([row for row in rows if not re.match(r'\s*"?(auth|username|password|identitytoken)"?\s*=', row)])


@_section("confd")
def _confd(machine: Machine, values: Values) -> str:
    return _lines([name for name in machine.host.children(values["confd"]) if name.endswith(".toml")])


@_section("docker")
def _docker(machine: Machine, values: Values) -> str:
    asked = values.get("docker") and machine.host.has("docker")
    return _run(machine, "docker ps --format '{{.Names}}' 2>/dev/null || echo '?'") if asked else ""


@_section("undo")
def _undo(machine: Machine, values: Values) -> str:
    return _lines(machine.host.children(values["state"]))
