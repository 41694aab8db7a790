"""kubectl on the cluster's model: the questions of our phases, waits, evidence and proofs."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from ..bash import Call
from ..cluster import Influx, Member, asks_for_login, key_of
from ..documents import documents
from ..host import Host, Pod
from ..machine import Machine
from ..values import split_options
from . import legacy, program, unmodelled
from .network import proxy_health
from .text import stamp

_VALUED = {
    "-n", "--namespace", "-l", "--selector", "-o", "--output", "-f", "--filename", "--field-selector", "--tail", "--timeout",
    "--sort-by", "--image", "--restart", "-c", "--for", "--duration", "--overrides", "--kubeconfig", "--since", "-p",
    "--type", "--patch-file",
}  # fmt: skip
_KINDS = {
    "node": "nodes", "nodes": "nodes", "no": "nodes", "pod": "pods", "pods": "pods", "po": "pods", "event": "events", "events": "events",
    "deploy": "Deployment", "deployment": "Deployment", "deployments": "Deployment", "ds": "DaemonSet", "daemonset": "DaemonSet",
    "daemonsets": "DaemonSet", "secret": "secrets", "secrets": "secrets", "svc": "Service", "service": "Service",
    "services": "Service", "endpoints": "Endpoints", "job": "Job", "jobs": "Job", "configmap": "ConfigMap", "configmaps": "ConfigMap",
    "cm": "ConfigMap",
    "namespace": "Namespace", "namespaces": "Namespace", "persistentvolumes": "PersistentVolume",
    "persistentvolumeclaims": "PersistentVolumeClaim",
    "ns": "Namespace", "persistentvolume": "PersistentVolume",
    "clusterrole": "ClusterRole", "clusterrolebinding": "ClusterRoleBinding", "serviceaccount": "ServiceAccount",
    "lease": "Lease",
    "pdb": "PodDisruptionBudget", "poddisruptionbudgets": "PodDisruptionBudget", "volumeattachments": "VolumeAttachment",
}  # fmt: skip


@program("kubectl")
def kubectl(machine: Machine, call: Call) -> int:
    words, options, tail = _split(call.argv[1:])
    machine.spend(0.15, "kubectl")
    if words[:1] == ["version"]:
        call.out(f"Client Version: v{machine.host.packages['kubectl'].split('-')[0]}\n")
        return 0
    # a login shell names no kubeconfig; in 2017 localhost:8080 answered all the same
    named = "KUBECONFIG" in call.shell.variables or "--kubeconfig" in options or legacy.has_kubeadm_of_2017(machine)
    if machine.host.read(options.get("--kubeconfig", "/etc/kubernetes/admin.conf")) is None or not named:
        return call.fail(
            "The connection to the server localhost:8080 was refused - did you specify the right host or port?"
        )
    if not machine.api_up:
        endpoint = machine.cluster.endpoint or f"{machine.host.address}:{machine.settings.api_port}"
        return call.fail(
            f"The connection to the server {endpoint} was refused - did you specify the right host or port?"
        )
    if (
        not machine.cluster.admins
        and "--raw" not in options
        and machine.host.read(options.get("--kubeconfig", "")) is None
    ):
        return call.fail(
            'Error from server (Forbidden): User "kubernetes-admin" cannot get resource "namespaces" in API group ""'
        )
    verb = words[0] if words else ""
    handler = _VERBS.get(verb)
    if handler is None:
        raise unmodelled(call)
    return handler(machine, call, words[1:], options, tail)


def _split(words: list[str]) -> tuple[list[str], dict[str, str], list[str]]:
    """Positional words, options, and the words after `--`."""
    tail: list[str] = []
    if "--" in words:
        at = words.index("--")
        words, tail = words[:at], words[at + 1 :]
    rest, options = split_options(words, _VALUED)
    for short, long in (("-n", "--namespace"), ("-l", "--selector"), ("-o", "--output"), ("-f", "--filename")):
        if long in options:
            options[short] = options[long]
    if "--all-namespaces" in options:
        options["-A"] = ""
    return rest, options, tail


# --- get


def _get(machine: Machine, call: Call, words: list[str], options: dict[str, str], tail: list[str]) -> int:
    if "--raw" in options:
        path = options["--raw"]
        if path == "/version":
            call.out(json.dumps({"gitVersion": f"v{api_release(machine)}"}) + "\n")
            return 0
        if node := re.fullmatch(r"/api/v1/nodes/(.+):10256/proxy/livez", path):
            member = machine.cluster.members.get(node[1])
            said = proxy_health(machine.settling.hosts[member.host]) if member else ""
            call.out(said)
            return (
                0
                if said
                else call.fail(
                    "Error from server (ServiceUnavailable): the server is currently unable to handle the request"
                )
            )
        call.out("ok" if path.split("?")[0] in ("/readyz", "/livez", "/healthz") else "{}")
        return 0
    if not words and "-f" in options:
        return _get_file(machine, call, options)
    if not words:
        raise unmodelled(call)
    if len(words) > 1 and all("/" in word for word in words):
        there = [item for word in words if (item := _named(machine, call, word, options))]
        return _print(machine, call, there, options, single=False, row=str, head="") if there else 0
    kinds, names = _wanted(call, words)
    if kinds == ["nodes"]:
        return _get_nodes(machine, call, names, options)
    if kinds == ["pods"]:
        return _get_pods(machine, call, names, options)
    if "pods" in kinds:
        return _get_all(machine, call, kinds, options)
    if kinds == ["events"]:
        for _, pod in _pods(machine):
            if pod.trouble:
                call.out(f"{pod.namespace}  5s  Warning  FailedCreatePodSandBox  pod/{pod.name}  {pod.trouble}\n")
        return 0
    if kinds == ["Namespace"] and names == ["kube-system"]:
        item = _named(machine, call, "namespace/kube-system", options) or {}
        return _print(
            machine, call, [item], options, single=True, row=lambda i: "kube-system   Active", head="NAME   STATUS"
        )
    if kinds == ["secrets"]:
        name = names[0]
        if name.removeprefix("bootstrap-token-") in machine.cluster.tokens:
            call.out(f"{name}   bootstrap.kubernetes.io/token   7\n")
            return 0
        if found := machine.cluster.objects.get(f"Secret/{options.get('-n', 'default')}/{name}"):
            data = {key: base64.b64encode(value.encode()).decode() for key, value in found["stringData"].items()}
            return _print(
                machine,
                call,
                [{**found, "data": data}],
                options,
                single=True,
                row=lambda i: f"{name}   Opaque   {len(data)}",
                head="",
            )
        return call.fail(f'Error from server (NotFound): secrets "{name}" not found')
    if kinds == ["ConfigMap"] and names == ["kubeadm-config"]:
        call.out(machine.cluster.configuration)
        return 0
    if kinds == ["Lease"] and options.get("-n") == "kube-node-lease":
        member = machine.cluster.members.get(names[0])
        if member and machine.settling.hosts[member.host].active("kubelet"):
            call.out(stamp(machine))
        return 0
    if kinds == ["Lease"]:
        for _, pod in _pods(machine):
            if pod.labels.get("component") == names[0] and pod.running:
                if "renewTime" in options.get("-o", ""):
                    # the one before still holds it for a while; the simulation's clock runs ahead of the one that dates containers
                    call.out(stamp(machine, 2 if machine.now >= pod.since + 15 else pod.began - time.time() - 5))
                else:
                    call.out(f"{pod.name}_{pod.began}")
        return 0
    if kinds == ["ConfigMap"] and names == ["cluster-info"]:
        data = {f"jws-kubeconfig-{name}": "signed" for name in machine.cluster.tokens}
        return _print(machine, call, [{"data": json.dumps(data)}], options, single=True, row=str, head="")
    if kinds == ["ConfigMap"] and names == ["cluster-info"] and options.get("-n") == "kube-public":
        signed = {
            f"jws-kubeconfig-{name}": "eyJ..signature"
            for name, token in machine.cluster.tokens.items()
            if token.signed <= machine.now
        }
        item = {
            "kind": "ConfigMap",
            "metadata": {"name": "cluster-info"},
            "data": {"kubeconfig": "apiVersion: v1\n", **signed},
        }
        return _print(
            machine,
            call,
            [item],
            options,
            single=True,
            row=lambda i: f"cluster-info   {len(i['data'])}",
            head="NAME   DATA",
        )
    return _get_objects(machine, call, kinds, names, options)


def _named(machine: Machine, call: Call, word: str, options: dict[str, str]) -> dict[str, Any] | None:
    """The object that `configmap/NAME` and the like names, for several at once; None if it is not there and need not be."""
    (kind,), (name,) = _wanted(call, [word])
    if kind == "Namespace" and name == "kube-system":
        return {"kind": "Namespace", "metadata": {"name": name, "uid": machine.cluster.uid}}
    if kind == "ConfigMap" and name == "kubeadm-config" and machine.cluster.configuration:
        data = {"ClusterConfiguration": machine.cluster.configuration}
        return {"kind": kind, "metadata": {"name": name}, "data": data}
    if found := machine.cluster.objects.get(f"{kind}/{options.get('-n', 'default')}/{name}"):
        gate = "featureGates:\n  SidecarContainers: true\n"
        gone = name == "kubelet-config" and machine.fault("gate-gone") is not None
        return {**found, "data": {"kubelet": f"{found['data']['kubelet']}\n{gate}"}} if gone else found
    if "--ignore-not-found" not in options:
        raise unmodelled(call)
    return None


def _get_all(machine: Machine, call: Call, kinds: list[str], options: dict[str, str]) -> int:
    """List several kinds, one after another; the namespaces are those of every cluster and those of its objects."""
    items = []
    cluster = machine.cluster
    pods = [_pod_object(machine, host, pod) for host, pod in _pods(machine)]
    spaces = {item["metadata"].get("namespace", "") for item in (*pods, *cluster.objects.values())} - {""}
    for kind in kinds:
        if kind == "pods":
            items += pods
        elif kind == "nodes":
            items += [node_object(machine, name, member) for name, member in cluster.members.items()]
        elif kind == "Namespace":
            spaces |= {"default", "kube-system", "kube-public", "kube-node-lease"}
            old = {"resourceVersion": "1"}
            applied = {name: cluster.objects.get(f"Namespace//{name}", {}).get("metadata", old) for name in spaces}
            items += [{"kind": kind, "metadata": {**applied[name], "name": name}} for name in sorted(spaces)]
        else:
            items += [{**item, "status": workload_status(machine, item)} for item in cluster.workloads(kind)]
    return _print(machine, call, items, options, single=False, row=str, head="")


def _api_resources(machine: Machine, call: Call, words: list[str], options: dict[str, str], tail: list[str]) -> int:
    """The kinds that can be listed, by their plural names."""
    kinds = {"nodes", "pods", "Namespace", *(key.partition("/")[0] for key in machine.cluster.objects)}
    plural = {kind: name for name, kind in _KINDS.items() if name.endswith("s") and name not in ("ds", "ns")}
    call.out("".join(f"{plural[kind]}\n" for kind in sorted(kinds & plural.keys())))
    return 0


def _wanted(call: Call, words: list[str]) -> tuple[list[str], list[str]]:
    """The kinds and names in `nodes w1`, `deploy/x`, `daemonsets,deployments`."""
    if "/" in words[0]:
        pairs = [word.split("/", 1) for word in words]
        found, names = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    else:
        found, names = words[0].split(","), words[1:]
    kinds = [_KINDS.get(kind.partition(".")[0], "") for kind in dict.fromkeys(found)]
    if "" in kinds:
        raise unmodelled(call)
    return kinds, names


def _get_nodes(machine: Machine, call: Call, names: list[str], options: dict[str, str]) -> int:
    cluster = machine.cluster
    for name in names:
        if name not in cluster.members:
            return call.fail(f'Error from server (NotFound): nodes "{name}" not found')
    chosen = {name: member for name, member in cluster.members.items() if not names or name in names}
    for member in chosen.values():
        machine.settling.machine(machine.settling.hosts[member.host], machine.now)
    items = [node_object(machine, name, member) for name, member in chosen.items()]
    return _print(
        machine,
        call,
        items,
        options,
        single=bool(names),
        row=lambda item: _node_row(machine, item),
        head="NAME   STATUS   ROLES   AGE   VERSION",
    )


def api_release(machine: Machine) -> str:
    """The release of the API server that runs, by its image's tag."""
    pods = machine.settling.hosts[machine.cluster.control].pods
    image = next((pod.images[0] for pod in pods if pod.labels.get("component") == "kube-apiserver"), "")
    return image.rpartition(":v")[2]


def _ready(machine: Machine, member: Member) -> bool:
    return machine.settling.ready(machine.settling.hosts[member.host], machine.now)


def node_object(machine: Machine, name: str, member: Member) -> dict[str, Any]:
    """A Node as the API returns it, with the fields that our code reads."""
    cluster, host = machine.cluster, machine.settling.hosts[member.host]
    ready = _ready(machine, member)
    role = {"node-role.kubernetes.io/control-plane": ""} if host.control_plane else {}
    taints = [*member.taints]
    if not ready:
        taints.append({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"})
    if member.cordoned:
        taints.append({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"})
    silent = host.halted or not host.active("kubelet") or machine.settling.fault(host, "host-down") is not None
    message = (
        "Kubelet stopped posting node status."
        if silent
        else "kubelet is posting ready status"
        if ready
        else "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady"
    )
    flannel = host.pod("flannel")
    annotations = {}
    if flannel and flannel.running:
        annotations = {
            "flannel.alpha.coreos.com/backend-type": "vxlan",
            "flannel.alpha.coreos.com/public-ip": vtep(machine, host),
        }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "uid": host.machine_id,
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
                **role,
                **member.labels,
            },
            "annotations": {**annotations, **member.annotations},
            "creationTimestamp": "2026-11-24T12:00:00Z",
        },
        "spec": {
            "podCIDR": member.pod_cidr,
            "podCIDRs": [member.pod_cidr],
            **({"unschedulable": True} if member.cordoned else {}),
            **({"taints": taints} if taints else {}),
        },
        "status": {
            "addresses": [{"type": "InternalIP", "address": member.address}, {"type": "Hostname", "address": name}],
            "conditions": [
                {"type": "MemoryPressure", "status": "False", "reason": "KubeletHasSufficientMemory", "message": ""},
                {"type": "DiskPressure", "status": "False", "reason": "KubeletHasNoDiskPressure", "message": ""},
                {
                    "type": "Ready",
                    "status": "Unknown" if silent else "True" if ready else "False",
                    "reason": "NodeStatusUnknown" if silent else "KubeletReady" if ready else "KubeletNotReady",
                    "message": message,
                },
            ],
            "nodeInfo": {
                "machineID": member.machine_id,
                "kubeletVersion": f"v{host.kubelet_runs or cluster.version}",
                "containerRuntimeVersion": "containerd://2.3.4",
                "osImage": host.release["PRETTY_NAME"],
                "runningInUserNamespace": False,  # as 1.37 says
            },
            "capacity": {"cpu": str(host.cpus), "memory": f"{host.memory_kib}Ki", "pods": "110"},
            "allocatable": {"cpu": str(host.cpus), "memory": f"{host.memory_kib - 102400}Ki", "pods": "110"},
        },
    }


def vtep(machine: Machine, host: Host) -> str:
    """The address that flannel announces to its peers; its arguments may choose it by reachability of the control plane."""
    flannel = machine.cluster.objects.get("DaemonSet/kube-flannel/kube-flannel-ds", {})
    text = json.dumps(flannel)
    second = host.links.get("ens6")
    if second and second.addresses and "--iface" not in text and machine.settling.fault(host, "wrong-nic") is not None:
        return second.addresses[0].split("/")[0]
    return host.address


def _node_row(machine: Machine, item: dict[str, Any]) -> str:
    name = item["metadata"]["name"]
    member = machine.cluster.members[name]
    status = "Ready" if _ready(machine, member) else "NotReady"
    status += ",SchedulingDisabled" if member.cordoned else ""
    role = "control-plane" if machine.settling.hosts[member.host].control_plane else "<none>"
    return f"{name:<12} {status:<10} {role:<14} {_age(machine, member.joined):<5} {item['status']['nodeInfo']['kubeletVersion']}"


def _age(machine: Machine, since: float) -> str:
    seconds = int(max(0, machine.now - since))
    return f"{seconds}s" if seconds < 120 else f"{seconds // 60}m"


def _pods(machine: Machine) -> list[tuple[Host | None, Pod]]:
    """All pods of the cluster, those without a machine last."""
    machine.settling.everything(machine.now)
    hosts = [machine.settling.hosts[m.host] for m in machine.cluster.members.values()]
    found: list[tuple[Host | None, Pod]] = [(host, pod) for host in hosts for pod in host.pods]
    for document, key in machine.settling.unscheduled():
        metadata = document["metadata"]
        labels = dict(document["spec"]["template"]["metadata"]["labels"])
        waiting = Pod(
            f"{metadata['name']}-{len(found):05d}",
            metadata.get("namespace", "default"),
            key,
            labels,
            [],
            False,
            machine.now,
        )
        waiting.trouble = "0/1 nodes are available"
        found.append((None, waiting))
    return found


def _chosen_pods(machine: Machine, names: list[str], options: dict[str, str]) -> list[tuple[Host | None, Pod]]:
    selector = _selector(options.get("-l", ""))
    fields = dict(one.split("=", 1) for one in options.get("--field-selector", "").split(",") if one)
    place, phase, called = (fields.get(key, "") for key in ("spec.nodeName", "status.phase", "metadata.name"))
    return [
        (host, pod)
        for host, pod in _pods(machine)
        if ("-A" in options or pod.namespace == options.get("-n", "default"))
        and (not names or pod.name in names)
        and called in ("", pod.name)
        and all(pod.labels.get(key) in allowed for key, allowed in selector.items())
        and (not place or (host is not None and machine.settling.node_name(host) == place))
        and (not phase or (phase == "Running") == pod.running)
    ]


def _selector(text: str) -> dict[str, set[str]]:
    """`key=value` and `key in (a,b)` terms, as allowed values by key."""
    terms = re.findall(r"([\w./-]+)\s*(?:=|\sin\s*\()([^,()]+(?:,[^,()=]+)*)\)?(?:,|$)", text)
    return {key: {value.strip() for value in values.split(",")} for key, values in terms}


def _get_pods(machine: Machine, call: Call, names: list[str], options: dict[str, str]) -> int:
    chosen = _chosen_pods(machine, names, options)
    if names and not chosen:
        return call.fail(f'Error from server (NotFound): pods "{names[0]}" not found')
    if not chosen and "json" not in options.get("-o", ""):
        if "-o" not in options or options["-o"] == "wide":
            call.err(
                "No resources found\n"
                if "-A" in options
                else f"No resources found in {options.get('-n', 'default')} namespace.\n"
            )
        return 0
    items = [_pod_object(machine, host, pod) for host, pod in chosen]
    wide = options.get("-o") == "wide"

    def row(item: dict[str, Any]) -> str:
        host, pod = chosen[items.index(item)]
        ready, status = ("1/1", "Running") if pod.running else ("0/1", _pod_status(host, pod))
        front = f"{pod.namespace:<14} " if "-A" in options else ""
        back = f"   {machine.settling.node_name(host) if host else '<none>'}" if wide else ""
        return f"{front}{pod.name:<44} {ready} {status:<18} 0 {_age(machine, pod.created)}{back}"

    head = ("NAMESPACE      " if "-A" in options else "") + "NAME  READY  STATUS  RESTARTS  AGE"
    return _print(
        machine,
        call,
        items,
        {k: v for k, v in options.items() if not wide or k != "-o"},
        single=bool(names),
        row=row,
        head=head,
    )


def _pod_status(host: Host | None, pod: Pod) -> str:
    if host is None:
        return "Pending"
    if pod.trouble.startswith(("CrashLoop", "ImagePull")):
        return pod.trouble.split(":")[0]
    return "ContainerCreating" if pod.workload.startswith(("DaemonSet", "Deployment", "Job")) else "Error"


_OWNER = {"Deployment": "ReplicaSet", "DaemonSet": "DaemonSet", "Job": "Job"}


def _pod_object(machine: Machine, host: Host | None, pod: Pod) -> dict[str, Any]:
    condition = {"type": "Ready", "status": "True" if pod.running else "False"}
    kind, _, owner = pod.workload.partition("/")
    owner = f"{owner.rpartition('/')[2]}-5d9c" if kind == "Deployment" else owner.rpartition("/")[2]
    owners = (
        {"ownerReferences": [{"kind": _OWNER.get(kind, kind), "name": owner, "controller": True}]}
        if kind in _OWNER
        else {}
    )
    static = (
        {"annotations": {"kubernetes.io/config.mirror": "0f1e"}} if pod.labels.get("tier") == "control-plane" else {}
    )
    document = machine.cluster.objects.get(pod.workload, {})
    template = (
        document.get("spec", {})
        if document.get("kind") == "Pod"
        else document.get("spec", {}).get("template", {}).get("spec", {})
    )
    parts = {key: template[key] for key in ("volumes", "containers") if key in template}
    return {
        "kind": "Pod",
        "metadata": {
            "name": pod.name,
            "namespace": pod.namespace,
            "labels": pod.labels,
            **({"uid": host.uid(pod)} if host else {}),
            **owners,
            **static,
        },
        "spec": {
            "nodeName": machine.settling.node_name(host) if host else "",
            **({"hostNetwork": True} if pod.host_network else {}),
            **parts,
        },
        "status": {
            "phase": "Running" if pod.running else "Pending",
            "podIP": pod_address(machine, host, pod) if host else "",
            "hostIP": host.address if host else "",
            "conditions": [condition],
            "containerStatuses": [
                {"ready": pod.running, "restartCount": 0, "image": image} for image in pod.images[-1:]
            ],
        },
    }


def pod_address(machine: Machine, host: Host, pod: Pod) -> str:
    if pod.host_network or not machine.settling.node_name(host):
        return host.address
    bridge = host.links.get("cni0")
    base = bridge.addresses[0].split("/")[0].rsplit(".", 1)[0] if bridge and bridge.addresses else "10.0.0"
    return f"{base}.{2 + host.pods.index(pod)}"


def _get_objects(machine: Machine, call: Call, kinds: list[str], names: list[str], options: dict[str, str]) -> int:
    machine.settling.everything(machine.now)
    _detach(machine)
    selector = _selector(options.get("-l", ""))
    namespace = options.get("-n", "default")
    found = [
        item
        for kind in kinds
        for item in machine.cluster.workloads(kind)
        if ("-A" in options or item["metadata"].get("namespace", namespace) == namespace)
        and (not names or item["metadata"]["name"] in names)
        and all(item["metadata"].get("labels", {}).get(key) in allowed for key, allowed in selector.items())
    ]
    if names and not found and "--ignore-not-found" in options:
        return 0
    if names and not found:
        group = {"Deployment": "deployments.apps", "DaemonSet": "daemonsets.apps"}.get(kinds[0], kinds[0].lower() + "s")
        return call.fail(f'Error from server (NotFound): {group} "{names[0]}" not found')
    items = [
        {**item, "metadata": {"generation": 1, **item["metadata"]}, "status": workload_status(machine, item)}
        for item in found
    ]
    return _print(
        machine,
        call,
        items,
        options,
        single=bool(names),
        row=lambda i: f"{i['metadata']['name']}   {i['status']}",
        head="NAME   STATUS",
    )


def _get_file(machine: Machine, call: Call, options: dict[str, str]) -> int:
    """Print the objects of a file that exist in the cluster, in columns."""
    host, source = machine.host, options["-f"]
    inside = [host.read(f"{source}/{name}") for name in host.children(source) if name.endswith(".yaml")]
    text = call.input() if source == "-" else host.read(source) or "\n---\n".join(filter(None, inside))
    if not text and not host.exists(source):
        return call.fail(f'error: the path "{source}" does not exist')
    columns = options.get("-o", "")
    if (
        not columns.startswith("custom-columns=")
        or "--ignore-not-found" not in options
        or "--no-headers" not in options
    ):
        raise unmodelled(call)
    machine.settling.everything(machine.now)
    for document in documents(text):
        found = machine.cluster.objects.get(key_of(placed(document)))
        if found:
            found = {**found, "status": workload_status(machine, found)}
            paths = [column.partition(":")[2] for column in columns.removeprefix("custom-columns=").split(",")]
            call.out("   ".join(_jsonpath(call, f"{{{path}}}", found) or "<none>" for path in paths) + "\n")
    return 0


def _marked(machine: Machine, call: Call, words: list[str], options: dict[str, str], tail: list[str], verb: str) -> int:
    """`label|annotate|taint node NAME key=value… key-…` on a Node, as kubectl does: without --overwrite no value is changed."""
    name = words[1]
    member = machine.cluster.members.get(name)
    if member is None:
        return call.fail(f'Error from server (NotFound): nodes "{name}" not found')
    if verb == "taint":
        values = {f"{one['key']}:{one['effect']}": one.get("value", "") for one in member.taints}
    else:
        values = dict(member.labels if verb == "label" else member.annotations)
    for word in words[2:]:
        key, equals, value = word.partition("=")
        if verb == "taint":
            value, _, effect = value.rpartition(":") if equals else ("", "", "")
            key = f"{key}:{effect}" if equals else key
        if not equals and word.endswith("-"):
            if values.pop(word[:-1], None) is None and verb == "taint":
                return call.fail(f'error: taint "{word[:-1]}" not found')
            continue
        if values.get(key, value) != value and "--overwrite" not in options:
            return call.fail(f"error: '{key}' already has a value ({values[key]}), and --overwrite is false")
        values[key] = value
    if verb == "taint":
        member.taints = [
            {"key": key.rpartition(":")[0], "effect": key.rpartition(":")[2], **({"value": value} if value else {})}
            for key, value in values.items()
        ]
    elif verb == "label":
        member.labels = values
    else:
        member.annotations = values
    machine.cluster.touch()
    call.out(f"node/{name} {'labeled' if verb == 'label' else 'annotated' if verb == 'annotate' else 'tainted'}\n")
    return 0


def _label(machine: Machine, call: Call, words: list[str], options: dict[str, str], tail: list[str]) -> int:
    """`label KIND NAME key=value`."""
    if words[0] in ("node", "nodes"):
        return _marked(machine, call, words, options, tail, "label")
    key, _, value = words[-1].partition("=")
    (kind,), (name,) = _wanted(call, words[:-1])
    found = machine.cluster.objects.get(f"{kind}/{options.get('-n', '')}/{name}")
    if found is None or not value:
        return call.fail(f'Error from server (NotFound): {words[0]} "{name}" not found')
    found["metadata"].setdefault("labels", {})[key] = value
    machine.cluster.touch()
    call.out(f"{words[0]}/{name} labeled\n")
    return 0


def workload_status(machine: Machine, document: dict[str, Any]) -> dict[str, Any]:
    """A workload's status counts; as in the API, `availableReplicas` is absent while no replica is available."""
    key = key_of(document)
    hosts = [machine.settling.hosts[m.host] for m in machine.cluster.members.values()]
    pods = [pod for host in hosts for pod in host.pods if pod.workload == key]
    running = sum(pod.running for pod in pods)
    if document["kind"] == "DaemonSet":
        return {
            "desiredNumberScheduled": len(pods),
            "currentNumberScheduled": len(pods),
            "numberReady": running,
            "numberAvailable": running,
            "updatedNumberScheduled": len(pods),
            "observedGeneration": document["metadata"].get("generation", 1),
        }
    if document["kind"] == "PersistentVolume":
        claim = document.get("spec", {}).get("claimRef", {})
        there = f"PersistentVolumeClaim/{claim.get('namespace')}/{claim.get('name')}" in machine.cluster.objects
        return {"phase": "Bound" if there else "Released" if claim.get("uid") else "Available"}
    if document["kind"] == "PodDisruptionBudget":
        return _allowance(machine, document)
    if document["kind"] != "Deployment":
        return {}
    counts = {"availableReplicas": running, "readyReplicas": running, "updatedReplicas": len(pods)} if running else {}
    made = document["metadata"].get("generation", 1)
    return {"replicas": document["spec"].get("replicas", 1), "observedGeneration": made, **counts}


def _print(
    machine: Machine,
    call: Call,
    items: list[dict[str, Any]],
    options: dict[str, str],
    *,
    single: bool,
    row: Any,
    head: str,
) -> int:
    """Print in the format that -o names: json, jsonpath or name; rows without -o."""
    form = options.get("-o", "")
    if form == "json":
        call.out(
            json.dumps(items[0] if single and len(items) == 1 else {"apiVersion": "v1", "kind": "List", "items": items})
            + "\n"
        )
    elif form.startswith("jsonpath="):
        call.out(_jsonpath(call, form.removeprefix("jsonpath="), items[0] if single else {"items": items}))
    elif form == "name":
        call.out("".join(f"{item.get('kind', '').lower()}/{item['metadata']['name']}\n" for item in items))
    elif form in ("", "wide"):
        if "--no-headers" not in options and items:
            call.out(head + "\n")
        call.out("".join(row(item) + "\n" for item in items))
    else:
        raise unmodelled(call)
    return 0


def _jsonpath(call: Call, path: str, item: dict[str, Any]) -> str:
    """`{.a.b}`, `{.items[*].a.b}`, `{.items[0].a}`, and `{range .items[*]}{.a}{" "}{.b}{"\\n"}{end}`."""
    if match := re.fullmatch(r"\{range \.items\[\*\]\}(.*)\{end\}", path):
        return "".join(_jsonpath(call, match[1], one) for one in item["items"])
    result = ""
    for part in re.findall(r"\{([^}]*)\}", path):
        if part.startswith('"'):
            result += part.strip('"').replace("\\n", "\n").replace("\\t", "\t")
            continue
        values: list[Any] = [item]
        for step in re.findall(r"\.((?:[^.\[\\]|\\.)+)|\[(\*|\d+|\?\([^)]*\))\]", part):
            name, index = step
            if name:
                key = name.replace("\\.", ".")
                values = [value[key] for value in values if isinstance(value, dict) and key in value]
            elif index == "*":
                values = [one for value in values for one in value]
            elif index.isdigit():
                values = [value[int(index)] for value in values if len(value) > int(index)]
            elif there := re.fullmatch(r"\?\(@\.(\w+)\)", index):
                values = [one for value in values for one in value if there[1] in one]
            elif condition := re.fullmatch(r"\?\(@\.(\w+)==[\"'](\w+)[\"']\)", index):
                values = [one for value in values for one in value if one.get(condition[1]) == condition[2]]
            else:
                raise unmodelled(call)
        result += " ".join(value if isinstance(value, str) else json.dumps(value) for value in values)
    return result


# --- change


def _apply(machine: Machine, call: Call, words: list[str], options: dict[str, str], tail: list[str]) -> int:
    source = options.get("-f", "")
    text = call.input() if source == "-" else machine.host.read(source)
    if text is None:
        if source.startswith("http"):
            return _apply_legacy(machine, call, source)
        return call.fail(f'error: the path "{source}" does not exist')
    for document in map(placed, documents(text)):
        if "--create" in options and key_of(document) in machine.cluster.objects:
            kind, name = document["kind"].lower() + "s", document["metadata"]["name"]
            return call.fail(
                f'Error from server (AlreadyExists): error when creating "STDIN": {kind} "{name}" already exists'
            )
        old = machine.cluster.objects.get(key_of(document), {})
        what = machine.cluster.apply(document, machine.host.clock)
        if what == "configured" and old.get("spec", {}).get("template") != document.get("spec", {}).get("template"):
            _roll(machine, key_of(document))
        what = "serverside-applied" if "--server-side" in options else what
        call.out(f"{document['kind'].lower()}/{document['metadata']['name']} {what}\n")
    machine.spend(1, "kubectl apply")
    return 0


_WITHOUT_NAMESPACE = {
    "Namespace", "PersistentVolume", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "StorageClass", "PriorityClass",
    "IngressClass",
}  # fmt: skip


def placed(document: dict[str, Any]) -> dict[str, Any]:
    """The object as the API stores it: in namespace `default` where its file names none and its kind needs one."""
    metadata = document["metadata"]
    if "namespace" in metadata or document["kind"] in _WITHOUT_NAMESPACE:
        return document
    return {**document, "metadata": {**metadata, "namespace": "default"}}


def _wait(machine: Machine, call: Call, words: list[str], options: dict[str, str], tail: list[str]) -> int:
    """`wait --for=condition=Established crd/NAME`."""
    for word in words:
        if f"CustomResourceDefinition//{word.removeprefix('crd/')}" not in machine.cluster.objects:
            return call.fail(
                f'Error from server (NotFound): customresourcedefinitions.apiextensions.k8s.io "{word}" not found'
            )
        call.out(f"customresourcedefinition.apiextensions.k8s.io/{word.removeprefix('crd/')} condition met\n")
    return 0


def _roll(machine: Machine, key: str) -> None:
    """The template changed: replace the workload's pods."""
    for host in machine.settling.hosts.values():
        for pod in [pod for pod in host.pods if pod.workload == key]:
            machine.settling.replace(host, pod, machine.host.clock)


def _apply_legacy(machine: Machine, call: Call, url: str) -> int:
    for document in legacy.documents_of(url, machine):
        machine.cluster.apply(document, machine.host.clock)
        call.out(f'{document["kind"].lower()} "{document["metadata"]["name"]}" created\n')
    return 0


def _delete(machine: Machine, call: Call, words: list[str], options: dict[str, str], tail: list[str]) -> int:
    cluster = machine.cluster
    if not words and "-f" in options:
        text = call.input() if options["-f"] == "-" else machine.host.read(options["-f"]) or ""
        for document in documents(text):
            _delete_object(machine, key_of(document))
            call.out(f'{document["kind"].lower()} "{document["metadata"]["name"]}" deleted\n')
        return 0
    kinds, names = _wanted(call, words)
    if kinds == ["nodes"]:
        for name in names:
            if cluster.members.pop(name, None) is None and "--ignore-not-found" not in options:
                return call.fail(f'Error from server (NotFound): nodes "{name}" not found')
            cluster.touch()
            call.out(f'node "{name}" deleted\n')
        return 0
    if kinds == ["pods"]:
        for host, pod in _chosen_pods(machine, names, options):
            if host is not None:
                machine.settling.replace(host, pod, machine.host.clock)
                call.out(f'pod "{pod.name}" deleted from {pod.namespace} namespace\n')
        stored = cluster.objects.get("Deployment/monitoring/monitoring-influxdb")
        if "influxdb" in options.get("-l", "") and not (stored and cluster.folders(stored)):
            cluster.influx = Influx(first=cluster.influx.first)
            cluster.touch()
        return 0
    scope = (
        ""
        if kinds[0] in ("Namespace", "PersistentVolume", "ClusterRole", "ClusterRoleBinding")
        else options.get("-n", "default")
    )
    for name in names:
        inside = [key for key in cluster.objects if key.split("/")[1] == name] if kinds == ["Namespace"] else []
        for key in (*inside, f"{kinds[0] if kinds[0] != 'secrets' else 'Secret'}/{scope}/{name}"):
            _delete_object(machine, key)
    return 0


def _delete_object(machine: Machine, key: str) -> None:
    cluster = machine.cluster
    cluster.objects.pop(key, None)
    cluster.applied_at.pop(key, None)
    cluster.touch()
    for host in machine.settling.hosts.values():
        host.pods = [pod for pod in host.pods if pod.workload != key]


def _drain(machine: Machine, call: Call, words: list[str], options: dict[str, str], tail: list[str]) -> int:
    member = machine.cluster.members.get(words[0])
    if member is None:
        return call.fail(f'error: error when getting node "{words[0]}": nodes "{words[0]}" not found')
    trial = options.get("--dry-run") == "server"
    host = machine.settling.hosts[member.host]
    patience = float(options.get("--timeout", "0s").removesuffix("s"))
    going = [
        pod
        for pod in host.pods
        if not pod.workload.startswith("DaemonSet/") and pod.labels.get("tier") != "control-plane"
    ]
    missing = {
        "Pods with local storage (use --delete-emptydir-data to override)": [
            pod for pod in going if "--delete-emptydir-data" not in options and _scratch(machine, pod)
        ],
        "Pods that declare no controller (use --force to override)": [
            pod for pod in going if "--force" not in options and pod.workload.split("/")[0] not in _OWNER
        ],
    }
    if not trial and not member.cordoned:
        member.cordoned = True
        machine.cluster.touch()
    if refusals := [
        f"cannot delete {why}: {', '.join(f'{p.namespace}/{p.name}' for p in pods)}"
        for why, pods in missing.items()
        if pods
    ]:
        why = refusals[0] if len(refusals) == 1 else f"[{', '.join(refusals)}]"
        return call.fail(f'error: unable to drain node "{words[0]}" due to error: {why}, continuing command...')
    refused, slow = [], []
    for pod in going:
        call.out(f"evicting pod {pod.namespace}/{pod.name}{' (server dry run)' if trial else ''}\n")
        if "--disable-eviction" not in options and _protected(machine, pod):
            refused.append(pod)
        elif trial:
            continue
        elif not host.active("kubelet"):
            slow.append(pod)  # deleted in the API, but no kubelet runs there to end it
        else:
            machine.settling.replace(host, pod, machine.host.clock)
            call.out(f"pod/{pod.name} evicted\n")
    if not refused and not slow:
        machine.spend(0.5 if trial else 6, "drain")
        call.out(f"node/{words[0]} drained{' (server dry run)' if trial else ''}\n")
        return 0
    machine.host.clock += patience
    for pod in refused:
        again = "(will retry after 5s): Cannot evict pod as it would violate the pod's disruption budget."
        call.err(f'error when evicting pods/"{pod.name}" -n "{pod.namespace}" {again}\n')
    for pod in slow:
        call.err(
            f'error when waiting for pod "{pod.name}" in namespace "{pod.namespace}" to terminate: global timeout reached: {patience:.0f}s\n'
        )
    return call.fail(
        f'error: unable to drain node "{words[0]}" due to error: global timeout reached: {patience:.0f}s, continuing command...'
    )


def _scratch(machine: Machine, pod: Pod) -> list[str]:
    """The names of a pod's emptyDir volumes."""
    document = machine.cluster.objects.get(pod.workload, {})
    spec = document.get("spec", {})
    volumes = (spec if document.get("kind") == "Pod" else spec.get("template", {}).get("spec", {})).get("volumes", [])
    return [volume["name"] for volume in volumes if "emptyDir" in volume]


def _detach(machine: Machine) -> None:
    """Volumes are detached from a node on which nothing runs any more but what belongs to it, unless their object is `stuck`."""
    for key, found in [
        (key, one) for key, one in machine.cluster.objects.items() if key.startswith("VolumeAttachment/")
    ]:
        member = machine.cluster.members.get(found["spec"]["nodeName"])
        pods = machine.settling.hosts[member.host].pods if member else []
        if not found["spec"].get("stuck") and not any(pod.workload.startswith("Deployment/") for pod in pods):
            del machine.cluster.objects[key]
            machine.cluster.touch()


def _allowance(machine: Machine, budget: dict[str, Any]) -> dict[str, int]:
    """A budget's status: how many of its pods there should be, are well, must be, and may go now."""
    labels = budget["spec"]["selector"]["matchLabels"].items()
    hosts = [machine.settling.hosts[m.host] for m in machine.cluster.members.values()]
    own = [
        pod
        for host in hosts
        for pod in host.pods
        if pod.namespace == budget["metadata"]["namespace"] and labels <= pod.labels.items()
    ]
    wanted = [
        one["spec"].get("replicas", 1)
        for one in machine.cluster.workloads("Deployment")
        if one["metadata"].get("namespace") == budget["metadata"]["namespace"]
        and labels <= one["spec"]["template"]["metadata"]["labels"].items()
    ]
    healthy, desired = sum(pod.running for pod in own), budget["spec"]["minAvailable"]
    allowed = max(0, healthy - desired)
    return {
        "expectedPods": sum(wanted) or len(own),
        "currentHealthy": healthy,
        "desiredHealthy": desired,
        "disruptionsAllowed": allowed,
    }


def _protected(machine: Machine, pod: Pod) -> bool:
    """Whether a PodDisruptionBudget of its namespace forbids evicting this pod now."""
    return any(
        not _allowance(machine, budget)["disruptionsAllowed"]
        for budget in machine.cluster.workloads("PodDisruptionBudget")
        if budget["metadata"]["namespace"] == pod.namespace
        and budget["spec"]["selector"]["matchLabels"].items() <= pod.labels.items()
    )


def _patch(machine: Machine, call: Call, words: list[str], options: dict[str, str], tail: list[str]) -> int:
    """`patch node NAME --type=merge -p JSON`: annotations, and whether it takes pods; and `patch configmap`, `patch secret`."""
    if "--patch-file" in options:
        return _patch_map(machine, call, words, options)
    if words[0] == "secret" and options.get("--type") == "merge":
        found = machine.cluster.objects.get(f"Secret/{options.get('-n', 'default')}/{words[1]}")
        if found is None:
            return call.fail(f'Error from server (NotFound): secrets "{words[1]}" not found')
        found["stringData"] = {**found["stringData"], **json.loads(options["-p"])["stringData"]}
        machine.cluster.touch()
        call.out(f"secret/{words[1]} patched\n")
        return 0
    if words[0] not in ("node", "nodes") or options.get("--type") != "merge":
        raise unmodelled(call)
    member = machine.cluster.members.get(words[1])
    if member is None:
        return call.fail(f'Error from server (NotFound): nodes "{words[1]}" not found')
    change = json.loads(options["-p"])
    for key, value in change.get("metadata", {}).get("annotations", {}).items():
        member.annotations.pop(key, None)
        if value is not None:
            member.annotations[key] = value
    if "unschedulable" in change.get("spec", {}):
        member.cordoned = bool(change["spec"]["unschedulable"])
    machine.cluster.touch()
    call.out(f"node/{words[1]} patched\n")
    return 0


def _patch_map(machine: Machine, call: Call, words: list[str], options: dict[str, str]) -> int:
    """`patch configmap NAME --type=merge --patch-file FILE`."""
    (kind,), (name,) = _wanted(call, words)
    found = machine.cluster.objects.get(f"{kind}/{options.get('-n', 'default')}/{name}")
    if found is None:
        return call.fail(f'Error from server (NotFound): configmaps "{name}" not found')
    patch = json.loads(machine.host.read(options["--patch-file"]) or "")
    version = patch["metadata"].get("resourceVersion", "")
    if version and version != found["metadata"]["resourceVersion"]:
        return call.fail(
            f'Error from server (Conflict): Operation cannot be fulfilled on configmaps "{name}": the object has been modified; '
            "please apply your changes to the latest version and try again"
        )
    machine.cluster.touch()
    found["metadata"]["resourceVersion"] = str(machine.cluster.generation)
    found["data"] = {**found["data"], **patch["data"]}
    call.out(f"configmap/{name} patched\n")
    return 0


def _cordon(machine: Machine, call: Call, words: list[str], options: dict[str, str], tail: list[str]) -> int:
    return _schedulable(machine, call, words[0], cordoned=True)


def _uncordon(machine: Machine, call: Call, words: list[str], options: dict[str, str], tail: list[str]) -> int:
    return _schedulable(machine, call, words[0], cordoned=False)


def _schedulable(machine: Machine, call: Call, name: str, *, cordoned: bool) -> int:
    if name not in machine.cluster.members:
        return call.fail(f'Error from server (NotFound): nodes "{name}" not found')
    machine.cluster.members[name].cordoned = cordoned
    machine.cluster.touch()
    call.out(f"node/{name} {'' if cordoned else 'un'}cordoned\n")
    return 0


# --- look closer


def _describe(machine: Machine, call: Call, words: list[str], options: dict[str, str], tail: list[str]) -> int:
    kinds, names = _wanted(call, words)
    if kinds == ["nodes"]:
        member = machine.cluster.members.get(names[0])
        if member is None:
            return call.fail(f'Error from server (NotFound): nodes "{names[0]}" not found')
        item = node_object(machine, names[0], member)
        call.out(f"Name:  {names[0]}\nConditions:\n")
        call.out(
            "".join(
                f"  {c['type']:<16} {c['status']:<6} {c['reason']}  {c['message']}\n"
                for c in item["status"]["conditions"]
            )
        )
        call.out(f"Addresses:\n  InternalIP:  {member.address}\n")
        return 0
    for host, pod in _chosen_pods(machine, names, options):
        call.out(
            f"Name: {pod.name}\nNode: {machine.settling.node_name(host) if host else '<none>'}\nEvents: {pod.trouble or '<none>'}\n"
        )
    return 0


def _logs(machine: Machine, call: Call, words: list[str], options: dict[str, str], tail: list[str]) -> int:
    if words:
        name = words[0].split("/", 1)[-1]
        pods = [
            pod
            for _, pod in _pods(machine)
            if pod.namespace == options.get("-n", "default") and pod.name.startswith(name)
        ]
    elif "-l" in options:
        name = options["-l"]
        pods = [pod for _, pod in _chosen_pods(machine, [], options)]
    else:
        return call.fail(
            "error: expected 'logs [-f] [-p] (POD | TYPE/NAME) [-c CONTAINER]'.\nPOD or TYPE/NAME is a required argument"
        )
    if not pods:
        return call.fail(f'error: error from server (NotFound): "{name}" not found')
    call.out("".join(f"{pod.trouble or 'started'}\n" for pod in pods[:1]))
    return 0


def _exec(machine: Machine, call: Call, words: list[str], options: dict[str, str], tail: list[str]) -> int:
    name = words[0].split("/", 1)[-1]
    pods = [
        (host, pod)
        for host, pod in _pods(machine)
        if pod.namespace == options.get("-n", "default") and (pod.name == name or pod.workload.endswith(f"/{name}"))
    ]
    if not pods:
        return call.fail(f'Error from server (NotFound): deployments.apps "{name}" not found')
    running = [(host, pod) for host, pod in pods if pod.running]
    if not running:
        return call.fail(
            f'error: unable to upgrade connection: container not found ("{pods[0][1].labels.get("app", name)}")'
        )
    host, pod = running[0]
    if tail[:1] == ["influx"]:
        return _influx(machine, call, tail[1:], pod)
    if tail[:1] == ["influxd"]:
        return _influxd(machine, call, tail[1:], host)
    return in_pod(machine, call, tail, host, pod)


def in_pod(machine: Machine, call: Call, words: list[str], host: Host | None, pod: Pod) -> int:
    """Run a command inside a pod: resolving names and reaching other pods, because a broken overlay shows there."""
    raise unmodelled(call)


def _influxd(machine: Machine, call: Call, words: list[str], host: Host | None) -> int:
    """influxd's own backup and restore, which write and read in the pod's volume: a folder of its machine."""
    influx = machine.cluster.influx
    folder = words[-1].replace("/var/lib/influxdb", "/var/lib/kubefab/influxdb")
    assert host is not None
    match words[:-1]:
        case ["backup", "-portable", "-db", "k8s"]:
            machine.spend(2, "influxd backup")
            host.write(f"{folder}/20261129.manifest", json.dumps(influx.points))
        case ["restore", "-portable", "-db", "k8s", "-newdb", "kubefab_restored"]:
            machine.spend(2, "influxd restore")
            text = host.read(f"{folder}/20261129.manifest")
            if text is None or influx.incoming:
                return call.fail(
                    "restore: no backup files found"
                    if text is None
                    else "restore: DB metadata not changed. database may already exist"
                )
            influx.incoming = json.loads(text)
            machine.cluster.touch()
        case _:
            raise unmodelled(call)
    return 0


def _influx(machine: Machine, call: Call, words: list[str], pod: Pod) -> int:
    """The `influx` client in the InfluxDB pod; it prints csv."""
    control = machine.settling.hosts[machine.cluster.control]
    influx = machine.cluster.influx
    refused = (
        'Failed to connect to http://localhost:8086: Get "http://localhost:8086/ping": dial tcp [::1]:8086: connect: connection refused\n'
        "Please check your connection settings and ensure 'influxd' is running."
    )
    flaky = machine.settling.fault(control, "influx-flaky")
    if not influx.first:
        influx.first, influx.failures = pod.name, int(flaky or 3) if flaky is not None else 0
        machine.cluster.touch()
    if machine.settling.fault(control, "influx-stuck") is not None and influx.first == pod.name:
        return call.fail(refused)
    if influx.failures and flaky is not None:
        influx.failures -= 1
        machine.cluster.touch()
        return call.fail(refused)
    statements = words[words.index("-execute") + 1] if "-execute" in words else ""
    if asks_for_login(machine.cluster.objects.get(pod.workload)):
        password = influx.started.get("", "")
        if not password:
            return call.fail("ERR: unable to parse authentication credentials")
        if influx.users.get("kubefab") != password:
            return call.fail("ERR: authorization failed")
    for statement in (part.strip() for part in statements.split(";")):
        code = _statement(machine, call, influx, statement)
        if code:
            return code
    return 0


def _statement(machine: Machine, call: Call, influx: Influx, statement: str) -> int:
    """Answer one statement as InfluxDB 1.6.7 does; the caller stops at the first that is refused."""
    upper = statement.upper()
    if statement == 'DROP DATABASE "kubefab_restored"':
        influx.incoming = []
    elif statement.startswith('SELECT * INTO "k8s"."default".:MEASUREMENT FROM "kubefab_restored"."default"./.*/'):
        influx.points = sorted({*influx.points, *influx.incoming})
    elif upper.startswith("CREATE DATABASE"):
        influx.database = True
        influx.policies.setdefault("autogen", ["0s", "168h0m0s"])
        influx.default = influx.default or "autogen"
    elif match := re.match(
        r'(CREATE|ALTER) RETENTION POLICY "?(\w+)"? ON "?k8s"? DURATION (\w+)(?: REPLICATION \d+)?(?: SHARD DURATION (\w+))?( DEFAULT)?',
        statement,
        re.I,
    ):
        if not influx.database:
            return call.fail("ERR: database not found: k8s")
        verb, name, duration, shard, default = match.groups()
        lasts = _hours(duration)
        usual = "168h" if not lasts or lasts >= 180 * 24 else "24h" if lasts >= 48 else "1h"
        old = influx.policies.get(name)
        kept = old[1] if old and verb.upper() == "ALTER" else _go_duration(usual)
        wanted = [_go_duration(duration), _go_duration(shard) if shard else kept]
        if verb.upper() == "CREATE" and old and old != wanted:
            return call.fail("ERR: retention policy already exists")
        if verb.upper() == "ALTER" and not old:
            return call.fail(f"ERR: retention policy not found: {name}")
        if 0 < lasts < _hours(wanted[1]):
            return call.fail("ERR: retention policy duration must be greater than the shard duration")
        influx.policies[name] = wanted
        influx.default = name if default else influx.default
    elif match := re.match(r'GRANT WRITE ON "?k8s"? TO "?(\w+)"?$', statement, re.I):
        if match[1] not in influx.users:
            return call.fail("ERR: user not found")
        influx.writers = sorted({*influx.writers, match[1]})
    elif match := re.match(r"SET PASSWORD FOR \"?(\w+)\"? = '(\w+)'$", statement, re.I):
        if match[1] not in influx.users:
            return call.fail("ERR: user not found")
        influx.users[match[1]] = match[2]
    elif upper.startswith("SHOW USERS"):
        call.out("user,admin\n" + "".join(f"{user},{str(user == 'kubefab').lower()}\n" for user in influx.users))
        return 0
    elif upper.startswith("SHOW RETENTION POLICIES"):
        if not influx.database:
            return call.fail("ERR: database not found: k8s")
        call.out("name,duration,shardGroupDuration,replicaN,default\n")
        for name, (duration, shard) in influx.policies.items():
            call.out(f"{name},{duration},{shard},1,{'true' if name == influx.default else 'false'}\n")
        return 0
    elif upper.startswith("SHOW MEASUREMENTS"):
        if influx.database and _metrics(machine):
            call.out(
                "name,name\nmeasurements,cpu\nmeasurements,kubernetes_node\nmeasurements,kubernetes_pod_container\nmeasurements,mem\n"
            )
        return 0
    elif upper.startswith("SHOW DATABASES"):
        call.out("name,name\ndatabases,_internal\n" + ("databases,k8s\n" if influx.database else ""))
        return 0
    elif upper.startswith("SELECT") or upper.startswith("SHOW TAG VALUES"):
        if not influx.database:
            return call.fail("ERR: database not found: k8s")
        rows = [
            f"kubernetes_node,node_name={name},{int(time.time() * 1e9)},41234567\n"
            for name in sorted(reporting(machine))
        ]
        call.out("".join(["name,tags,time,last\n", *rows]) if rows else "")
        return 0
    elif statement:
        raise unmodelled(call)
    machine.cluster.touch()
    return 0


def _hours(text: str) -> float:
    return sum(
        float(n) * {"w": 168, "d": 24, "h": 1, "m": 1 / 60, "s": 1 / 3600}[u]
        for n, u in re.findall(r"(\d+)([wdhms])", text)
    )


def _go_duration(text: str) -> str:
    hours = _hours(text)
    return f"{int(hours)}h0m0s" if hours else "0s"


def reporting(machine: Machine) -> list[str]:
    """The nodes whose metrics arrive: Telegraf has run there for one flush interval, and its packets reach InfluxDB."""
    hosts = [machine.settling.hosts[m.host] for m in machine.cluster.members.values()]
    return [
        machine.settling.node_name(host)
        for host in hosts
        if (pod := host.pod("telegraf"))
        and pod.running
        and machine.now >= pod.since + 10
        and machine.settling.fault(host, "udp-blocked") is None
        and _may_write(machine, host)
    ]


def _may_write(machine: Machine, host: Host) -> bool:
    """Whether InfluxDB accepts the login of that machine's Telegraf."""
    influx = machine.cluster.influx
    if not asks_for_login(machine.cluster.objects.get("Deployment/monitoring/monitoring-influxdb")):
        return True
    return "telegraf" in influx.writers and influx.started.get(host.name, "") == influx.users.get("telegraf")


def _metrics(machine: Machine) -> bool:
    return bool(reporting(machine))


def _rollout(machine: Machine, call: Call, words: list[str], options: dict[str, str], tail: list[str]) -> int:
    if words[0] == "restart":
        (kind,), (name,) = _wanted(call, words[1:])
        key = f"{kind}/{options.get('-n', 'default')}/{name}"
        if key not in machine.cluster.objects:
            return call.fail(f'Error from server (NotFound): {kind.lower()}s.apps "{name}" not found')
        metadata = machine.cluster.objects[key]["metadata"]
        metadata["generation"] = metadata.get("generation", 1) + 1
        _roll(machine, key)
    call.out("restarted\n")
    return 0


def _create(machine: Machine, call: Call, words: list[str], options: dict[str, str], tail: list[str]) -> int:
    if words[:1] == ["token"]:
        call.out("eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzeXN0ZW0ifQ.c2lnbmF0dXJl\n")
        return 0
    if "-f" in options:
        return _apply(
            machine, call, words, options if options["-f"].startswith("http") else {**options, "--create": ""}, tail
        )
    raise unmodelled(call)


def _run(machine: Machine, call: Call, words: list[str], options: dict[str, str], tail: list[str]) -> int:
    """The manual's influxcli: a pod that runs one statement and is removed."""
    if words != ["influxcli"]:
        raise unmodelled(call)
    influxes = [pod for _, pod in _pods(machine) if pod.workload.endswith("/monitoring-influxdb") and pod.running]
    if not influxes:
        return call.fail(
            "Failed to connect to http://monitoring-influxdb.kube-system:8086\nPlease check your connection settings"
        )
    machine.cluster.influx.database = True  # heapster created it
    machine.spend(4, "kubectl run")
    statement = tail[tail.index("--execute") + 1]
    return _influx(machine, call, ["-execute", statement], influxes[0])


_VERBS: dict[str, Callable[..., int]] = {
    "get": _get, "apply": _apply, "create": _create, "delete": _delete, "drain": _drain, "cordon": _cordon, "uncordon": _uncordon,
    "describe": _describe, "annotate": partial(_marked, verb="annotate"), "taint": partial(_marked, verb="taint"), "wait": _wait, "patch": _patch,
    "api-resources": _api_resources, "label": _label, "logs": _logs, "exec": _exec, "rollout": _rollout, "run": _run,
}  # fmt: skip
