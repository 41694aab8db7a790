"""Environments and facts for unit tests; one call makes each."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from fabfile.context import Choices, Context
from fabfile.inventory import Environment, Node
from fabfile.inventory.images import full
from fabfile.inventory.settings import KEYS, Settings
from fabfile.manifests import STAMP, manifest
from fabfile.nodes.facts import STATE, SYSCTLS, FileDigest, Identity, Kubeconfig, Link, NodeFacts, Space, Unit
from fabfile.nodes.influx import Retention
from fabfile.phases import Phase
from fabfile.phases.prep import MODULES, SYSCTL
from fabfile.phases.registry import PROOF
from fabfile.phases.suitable import needs
from fabfile.phases.upgrade import COMPONENTS
from fabfile.recipes.kubeadm import Recipe, digest, recipe_for
from fabfile.recipes.packages import WANTED, family
from fabfile.steps import Action, File, Step, Stop, Wait
from fabfile.text.masking import Token

POD_CIDR = "10.44.0.0/16"
CA = "sha256:" + "ab" * 32
OTHER_CA = "sha256:" + "cd" * 32
UID, OTHER_UID = "11111111-2222-3333-4444-555555555555", "99999999-8888-7777-6666-555555555555"


def settings(**texts: str) -> Settings:
    """Settings from texts, parsed like those of hosts.env."""
    texts = {"pod_cidr": POD_CIDR, "retention": "0d", "kubernetes": "1.36.4", **texts}
    return Settings(**{key: KEYS[key.upper()].metadata["parse"](text) for key, text in texts.items()})


def environment(workers: int = 2, name: str = "test", **texts: str) -> Environment:
    """A control plane cp1 behind NAT, and workers w1, w2 … that are not behind NAT."""
    control = Node("cp1", "192.0.2.1", "10.2.0.1", True, user="ops")
    others = tuple(
        Node(f"w{n}", f"10.2.0.{10 + n}", f"10.2.0.{10 + n}", False, user="ops") for n in range(1, workers + 1)
    )
    return Environment(name, (control,), others, settings(**texts))


def address_of(name: str) -> str:
    """The address of a node in `environment()`."""
    return "10.2.0.1" if name == "cp1" else f"10.2.0.{10 + int(name[1:])}" if name[1:].isdigit() else "10.2.0.99"


def fresh(name: str = "w1", **changes: Any) -> NodeFacts:
    """A new Debian machine."""
    return replace(
        NodeFacts(
            os_id="debian",
            os_version="12",
            os_codename="bookworm",
            os_name="Debian GNU/Linux 12 (bookworm)",
            hostname=name,
            kernel="6.1.0",
            arch="x86_64",
            cpus=2,
            memory_kib=4 << 20,
            disks=dict.fromkeys(needs(environment()), Space("/", 50 << 20)),
            machine_id=f"id-{name}",
            cgroup="cgroup2fs",
            resolvers=("10.2.0.2",),
            links={
                "lo": Link("lo", ("127.0.0.1/8",)),
                "eth0": Link("eth0", (f"{address_of(name)}/16", "10.2.0.9/16"), 1500),
            },
        ),
        **changes,
    )


def having(facts: NodeFacts, files: Iterable[File]) -> NodeFacts:
    """The facts after these files were written."""
    return replace(facts, files={**facts.files, **{f.path: FileDigest(f.sha256, f.mode.lstrip("0")) for f in files}})


def prepared(env: Environment, name: str = "w1", **changes: Any) -> NodeFacts:
    """Facts of a node after prep."""
    base = fresh(
        name, overlay=True, bridge_netfilter=True, sysctls=dict.fromkeys(SYSCTLS, "1"), undo=frozenset({"sysctl"})
    )
    return replace(having(base, (MODULES, SYSCTL)), **{"traces": frozenset({STATE}), **changes})


def installed(env: Environment, name: str = "w1", **changes: Any) -> NodeFacts:
    """Facts of a node after prep, install and registry."""
    recipe = recipe_for(env)
    ahead = [image for node in env.nodes if node.name == name for image in recipe.images_ahead(node)]
    packages = dict.fromkeys(WANTED, "1.0-1") | dict.fromkeys(
        ("kubelet", "kubeadm", "kubectl"), f"{recipe.version}-1.1"
    )
    base = prepared(
        env,
        name,
        packages=packages,
        held=frozenset(WANTED),
        images=frozenset(map(full, (*recipe.worker_images, *ahead))),
        units={"containerd": Unit(True, True), "kubelet": Unit(False, True)},
    )
    registry = recipe.registry_files()
    proof = (
        (File(PROOF, digest(recipe.canary, *(f.path + f.content for f in registry)) + "\n", mode="0600"),)
        if registry
        else ()
    )
    made = family(base)
    assert made
    written = (
        recipe.containerd_config(),
        recipe.crictl_config,
        *registry,
        *proof,
        *made.repository_files(base, recipe),
    )
    return replace(having(base, written), **{"before": {}, **changes})


def links(*names: str, inside: str = "10.44.1", node: str = "w1") -> dict[str, Link]:
    """eth0, and the cluster's links with addresses in the pod CIDR."""
    last = {"flannel.1": "0/32", "cni0": "1/24"}
    return {
        "eth0": Link("eth0", (f"{address_of(node)}/16", "10.2.0.9/16"), 1500),
        **{n: Link(n, (f"{inside}.{last.get(n, '1/24')}",), 1450) for n in names},
    }


def api_node(name: str, ready: bool = True, address: str = "") -> dict[str, Any]:
    """A Node as the API returns it; its address is the one in `environment()`."""
    own = address or address_of(name)
    return {
        "metadata": {"name": name},
        "status": {
            "addresses": [{"type": "InternalIP", "address": own}, {"type": "Hostname", "address": name}],
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
            "nodeInfo": {"machineID": f"id-{name}"},
        },
    }


def identity(env: Environment, name: str, uid: str = UID, ca: str = CA, **changes: str) -> Identity:
    """The identity file of a node of this environment's cluster."""
    node = next(n for n in env.nodes if n.name == name)
    return replace(Identity(env.name, env.endpoint, name, node.role, name, uid, ca), **changes)


def control_plane(
    env: Environment, *, members: Iterable[str] = ("cp1",), stamped: Iterable[str] = (), **changes: Any
) -> NodeFacts:
    """Facts of a control plane that answers; `stamped` names the manifests that are applied."""
    members = tuple(members)
    facts = installed(env, "cp1", ca_hash=CA, api_ready=True, nodes=tuple(api_node(m) for m in members))
    facts = replace(
        facts,
        undo=facts.undo | {"init-started", "initialised", "influxdb", "identity"},
        identity=identity(env, "cp1"),
        uid=UID,
        kubeconfigs={
            "admin": Kubeconfig(env.name, env.endpoint, CA),
            "kubelet": Kubeconfig("kubernetes", env.endpoint, CA),
        },
        etcd=("member",),
        etcd_size=1 << 20,
        units={**facts.units, "kubelet": Unit(True, True)},
        traces=facts.traces
        | {
            "/etc/kubernetes/admin.conf",
            "/etc/kubernetes/kubelet.conf",
            "/etc/kubernetes/manifests/etcd.yaml",
            "/var/lib/etcd/member",
            "/var/lib/kubelet/config.yaml",
        },
        links=links("flannel.1", "cni0", inside="10.44.0", node="cp1"),
        reporting=frozenset(members),
        retention=Retention(True, "0s", default=True),
    )
    ctx = Context(env, env.control_plane, facts, recipe_for(env))
    wanted = [manifest(name, ctx) for name in stamped]
    objects = tuple(
        {"metadata": {"name": m.workload, "annotations": {STAMP: m.stamp}}, "status": {"availableReplicas": 1}}
        for m in wanted
    )
    return replace(facts, **{"objects": objects, **changes})


def of_release(version: str, facts: NodeFacts) -> NodeFacts:
    """A control plane whose every part has that release, and whose API says that of all kubelets."""
    images = {name: f"registry.k8s.io/{name}:v{version}" for name in COMPONENTS}
    etcd = "registry.k8s.io/etcd:3.7.0-0" if version.startswith("1.37") else "registry.k8s.io/etcd:3.6.8-0"
    nodes = tuple(
        {**node, "status": {**node["status"], "nodeInfo": {"kubeletVersion": f"v{version}"}}} for node in facts.nodes
    )
    return replace(
        facts,
        manifests={**images, "etcd": etcd},
        api_release=version,
        proxy_image=f"registry.k8s.io/kube-proxy:v{version}",
        configured={"kind": "ClusterConfiguration", "kubernetesVersion": f"v{version}"},
        nodes=nodes,
    )


ALL_STAMPED = ("flannel", "monitoring", "headlamp")


def member(env: Environment, name: str = "w1", **changes: Any) -> NodeFacts:
    """Facts of a worker that has joined and is healthy."""
    facts = installed(env, name, ca_hash=CA)
    return replace(
        facts,
        **{
            "undo": facts.undo | {"join-started", "joined", "identity"},
            "identity": identity(env, name),
            "kubeconfigs": {"kubelet": Kubeconfig("default-cluster", env.endpoint, CA)},
            "units": {**facts.units, "kubelet": Unit(True, True)},
            "traces": facts.traces
            | {"/etc/kubernetes/kubelet.conf", "/etc/kubernetes/pki/ca.crt", "/var/lib/kubelet/config.yaml"},
            "links": links("flannel.1", "cni0", node=name),
            **changes,
        },
    )


def context(
    env: Environment,
    facts: NodeFacts,
    *,
    node: str = "",
    control: NodeFacts | None = None,
    token: Token | str = "abcdef.0123456789abcdef",
    duplicate_of: str = "",
    choices: Choices | None = None,
) -> Context:
    """A phase's input for the node with that name (default: the hostname in the facts)."""
    chosen = next(n for n in env.nodes if n.name == (node or facts.hostname))
    if chosen.control_plane and control is None:
        control = facts
    return Context(
        env,
        chosen,
        facts,
        recipe(env),
        control=control,
        token=Token(token) if isinstance(token, str) else token,
        duplicate_of=duplicate_of,
        choices=choices or Choices(),
    )


def bare(phase: Phase) -> Callable[[Context], Iterator[Action]]:
    """The phase's own generator without the guard, which has its own tests."""
    return inspect.unwrap(phase.run)


def recipe(env: Environment) -> Recipe:
    return recipe_for(env)


def ids(actions: Iterable[Action]) -> list[str]:
    """The ids of actions; `…` marks a wait, `!` a refusal."""
    marks = {Step: "", Wait: "…", Stop: "!"}
    return [marks[type(action)] + action.id for action in actions]


def text_of(actions: Iterable[Action]) -> str:
    """Every command of some steps, as one text."""
    return "\n".join(line for a in actions if isinstance(a, Step) for line in a.commands)


class VirtualClock:
    """A clock on which sleeping returns at once."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds

    def advance_to(self, moment: float) -> None:
        self.time = max(self.time, moment)
