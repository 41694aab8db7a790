"""What kubefab asks of each node, read only, as pyinfra's facts: one for each kind of thing, and what is asked is judged."""

import json

from pyinfra import host
from pyinfra.facts.server import Command

KUBECTL = "kubectl --kubeconfig /etc/kubernetes/admin.conf --request-timeout=5s"
INFLUX = (
    f"{KUBECTL} -n monitoring exec deploy/monitoring-influxdb -c influxdb -- influx -database k8s -format csv -execute"
)
METRICS = 'SHOW RETENTION POLICIES; SELECT last("cpu_usage_nanocores") FROM "kubernetes_node" WHERE time > now() - 1m GROUP BY "node_name"'
WORKLOADS = {"kube-flannel-ds", "kube-proxy", "coredns", "kube-web-view", "monitoring-influxdb", "telegraf"}


def ask(command: str) -> str:
    """What a shell line prints; its failure is an answer too."""
    return host.get_fact(Command, command=f"{{ {command}; }} 2>/dev/null || true", _sudo=True) or ""


def packages(cluster: dict) -> list[str]:
    names = cluster["packages"]
    seen = ask(f"dpkg-query -W -f '${{db:Status-Abbrev}} ${{Package}}=${{Version}}\\n' {' '.join(names)}").splitlines()
    found = {line.split()[1].split("=")[0]: line.split()[1].split("=")[1] for line in seen if line.startswith("hi ")}
    wrong = [name for name in names if name not in found]
    return wrong + [name for name in cluster["pinned"] if not found.get(name, "").startswith(f"{cluster['release']}-")]


def kernel(cluster: dict) -> bool:
    seen = ask(f"sysctl -n {' '.join(cluster['sysctls'])} && tail -n +2 /proc/swaps")
    return seen.splitlines() == list(cluster["sysctls"].values())


def files(cluster: dict) -> bool:
    names = " ".join(cluster["files"])
    seen = ask(f"sha256sum {names} && stat -c '%a  %n' {names}").splitlines()
    return seen == [f"{value}  {path}" for table in ("files", "modes") for path, value in cluster[table].items()]


def services() -> bool:
    seen = ask("systemctl show -p ActiveState -p UnitFileState containerd kubelet").split()
    return seen == ["ActiveState=active", "UnitFileState=enabled"] * 2


def images(cluster: dict) -> list[str]:
    seen = ask("ctr -n k8s.io images ls -q").splitlines()
    return [name for name in cluster["images"] if name not in seen]


def member(leads: bool) -> bool:
    """Whether kubeadm has brought the node in, with certificates that are valid."""
    more = " /etc/kubernetes/pki/*.crt /etc/kubernetes/pki/etcd/*.crt" if leads else ""
    made = " -a -e /etc/kubernetes/admin.conf -a -e /var/lib/etcd/member/snap/db" if leads else ""
    ends = f"for f in /etc/kubernetes/pki/ca.crt /var/lib/kubelet/pki/kubelet-client-current.pem{more}; do"
    test = f"test -e /etc/kubernetes/kubelet.conf -a -e /var/lib/kubelet/config.yaml{made}"
    return "valid" in ask(
        f'{test} && {{ {ends} openssl x509 -noout -checkend 86400 -in "$f" >/dev/null || exit 0; done; echo valid; }}'
    )


def links() -> bool:
    found = {
        link.get("ifname")
        for link in json.loads(ask("ip -j addr") or "[]")
        if any(address.get("family") == "inet" for address in link.get("addr_info", []))
    }
    return {"flannel.1", "cni0"} <= found


def whole(cluster: dict) -> list[str]:
    """What the cluster lacks, asked on the control plane."""
    members = [node["hostname"] for node in cluster["nodes"].values()]
    wrong = [] if ask(f"{KUBECTL} get --raw=/readyz") == "ok" else ["the API does not answer"]
    path = '{range .items[*]}{.metadata.name} {.status.nodeInfo.kubeletVersion} {.status.conditions[?(@.type=="Ready")].status}{"\\n"}{end}'
    seen = sorted(ask(f"{KUBECTL} get nodes -o jsonpath='{path}'").splitlines())
    if seen != sorted(f"{name} v{cluster['release']} True" for name in members):
        wrong.append("not every node is Ready, with its release")
    items = json.loads(ask(f"{KUBECTL} get daemonsets,deployments -A -o json") or '{"items": []}')["items"]
    running = {
        one["metadata"]["name"]
        for one in items
        if one["status"].get("availableReplicas") or one["status"].get("numberReady") == len(members)
    }
    wrong += [f"{name} does not run" for name in sorted(WORKLOADS - running)]
    metrics = ask(f"{INFLUX} '{METRICS}'")
    if "default," not in metrics:
        wrong.append("no retention policy")
    return wrong + [f"no metrics of {name}" for name in members if f"node_name={name}," not in metrics]
