"""From bare nodes to a verified cluster, and again without a change.  Run with --no-wait: no node waits for another but where it must.

An operation is there only where the facts say that it is needed; files go as one archive.
"""

import io
from pathlib import Path

import asking
import jinja2
from pyinfra import host, inventory
from pyinfra.operations import files, python, server

cluster, me = host.data.cluster, host.data.me
leads = me["control_plane"]
preflight = f"--ignore-preflight-errors={','.join(cluster['preflight'])}"
templates = jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent.parent), keep_trailing_newline=True)
PATIENCE = 300  # seconds that a wait may last


def rendered(name: str, **more: str) -> io.StringIO:
    return io.StringIO(templates.get_template(name).render(**cluster, me=me, **more))


def until(line: str) -> str:
    """A shell line that ends once `line` succeeds, or fails after PATIENCE."""
    return f"end=$(($(date +%s) + {PATIENCE})); until {{ {line}; }} >/dev/null 2>&1; do [ $(date +%s) -lt $end ] || exit 1; sleep 0.5; done"


def apt() -> str:
    pinned = [f"{name}={cluster['release']}-*" for name in cluster["pinned"]]
    names = " ".join([*pinned, *(name for name in cluster["packages"] if name not in cluster["pinned"]), "iptables"])
    options = "-qy -o DPkg::Lock::Timeout=60 -o Dpkg::Options::=--force-confold --no-install-recommends --allow-change-held-packages"
    return f"DEBIAN_FRONTEND=noninteractive apt-get {options} install {names}"


# --- every node
changed = not asking.files(cluster)
if changed:
    files.put(name="files, as one archive", src="files.tar", dest="/run/files.tar", mode="600", _sudo=True)
    server.shell(
        name="files in their places", commands=["tar -C / -xpf /run/files.tar && rm /run/files.tar"], _sudo=True
    )
if not asking.kernel(cluster):
    lines = ["modprobe -a overlay br_netfilter", "sysctl -q -p /etc/sysctl.d/99-kubefab.conf", "swapoff -a"]
    server.shell(name="kernel", commands=[" && ".join(lines)], _sudo=True)
if asking.packages(cluster):
    hold = f"apt-mark hold {' '.join(cluster['packages'])}"
    server.shell(name="packages", commands=[f"apt-get -qq update && {apt()} && {hold}"], _sudo=True)
if changed or not asking.services():
    line = f"systemctl {'restart' if changed else 'start'} containerd && systemctl enable containerd kubelet"
    server.shell(name="containerd and the kubelet", commands=[line], _sudo=True)
if missing := asking.images(cluster):
    server.shell(
        name="images", commands=[" && ".join(f"crictl pull {name} >/dev/null" for name in missing)], _sudo=True
    )

inside = asking.member(leads)
lacking = asking.whole(cluster) if leads else []

# --- control plane
if leads and not inside:
    server.shell(
        name="a folder for InfluxDB's data", commands=[f"install -d -m 0700 {cluster['metrics_folder']}"], _sudo=True
    )
    files.put(
        name="kubeadm's configuration",
        src=rendered("kubeadm-init.yaml.j2"),
        dest="/run/kubeadm.yaml",
        mode="600",
        _sudo=True,
    )
    line = f"kubeadm init --config /run/kubeadm.yaml --skip-token-print {preflight}; rc=$?; rm -f /run/kubeadm.yaml; exit $rc"
    server.shell(name="kubeadm init", commands=[line], _sudo=True)
if leads and lacking:
    files.put(name="manifests", src="manifests.yaml", dest="/run/manifests.yaml", mode="600", _sudo=True)
    line = f"{until(f'{asking.KUBECTL} get --raw=/readyz')}; {asking.KUBECTL} apply -f /run/manifests.yaml && rm /run/manifests.yaml"
    server.shell(name="flannel, dashboard, monitoring", commands=[line], _sudo=True)


# --- workers
def join() -> None:
    """A token from the control plane, once the API can be joined, and the node joins."""
    lead = inventory.get_host(cluster["control_plane"])
    ready = until(f"{asking.KUBECTL} -n kube-public get configmap cluster-info")
    done, output = lead.run_shell_command(f"{ready}; kubeadm token create --ttl 10m --print-join-command", _sudo=True)
    words = output.stdout.split()
    if not done or "--token" not in words:
        raise RuntimeError("no token from the control plane")
    token, digest = (words[words.index(option) + 1] for option in ("--token", "--discovery-token-ca-cert-hash"))
    text = rendered("kubeadm-join.yaml.j2", token=token, digest=digest)
    files.put(name="kubeadm's configuration", src=text, dest="/run/kubeadm.yaml", mode="600", _sudo=True)
    line = f"kubeadm join --config /run/kubeadm.yaml {preflight}; rc=$?; rm -f /run/kubeadm.yaml; exit $rc"
    server.shell(name="kubeadm join", commands=[line], _sudo=True)


if not leads and not inside:
    python.call(name="join", function=join)

# --- verified
if not asking.links():
    pods = until("[ $(ip -4 -o addr show | grep -cE ' (flannel.1|cni0) ') -ge 2 ]")
    server.shell(name="flannel.1 and cni0", commands=[pods], _sudo=True)
if leads and lacking:
    members = [node["hostname"] for node in cluster["nodes"].values()]
    kubectl = asking.KUBECTL.replace(" --request-timeout=5s", "")
    nodes = until(f"{kubectl} get {' '.join(f'node/{name}' for name in members)}")
    rollout = " && ".join(
        f"{kubectl} -n {namespace} rollout status {names} --timeout={PATIENCE}s"
        for namespace, names in (
            ("kube-flannel", "ds/kube-flannel-ds"),
            ("kube-system", "deploy/coredns deploy/kube-web-view ds/kube-proxy"),
            ("monitoring", "deploy/monitoring-influxdb ds/telegraf"),
        )
    )
    policy = (
        f'CREATE DATABASE "k8s"; CREATE RETENTION POLICY "default" ON k8s DURATION {cluster["retention"]} REPLICATION 1 '
        'SHARD DURATION 7d DEFAULT; GRANT WRITE ON "k8s" TO "telegraf"; SHOW RETENTION POLICIES'
    )
    arrived = " && ".join(f"case $seen in *node_name={name},*) ;; *) false ;; esac" for name in members)
    lines = {
        "the retention policy": until(f"{asking.INFLUX} '{policy}' | grep default,"),
        "every node is Ready": f"{nodes}; {kubectl} wait --for=condition=Ready --timeout={PATIENCE}s {' '.join(f'node/{name}' for name in members)}",
        "everything runs": rollout,
        "metrics of every node arrive": until(f"seen=$({asking.INFLUX} '{asking.METRICS}') && {arrived}"),
    }
    for name, line in lines.items():
        server.shell(name=name, commands=[line], _sudo=True)
