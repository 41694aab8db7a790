"""Today's recipe: kubeadm v1beta4, containerd, flannel. Settings in, texts out; it reads only the lock file and the registry's CA.

Sources: kubernetes.io "Creating a cluster with kubeadm" and the v1beta4 reference; containerd docs/hosts.md
and docs/cri/config.md; the manual's intent for each (digest I1 to J1).
"""

from __future__ import annotations

import base64
import hashlib
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import tomli_w

from ..errors import UsageError
from ..inventory import Environment, Node, images
from ..inventory.labels import RESERVED
from ..inventory.places import certificates
from ..inventory.settings import Settings
from ..nodes.facts import API_CERTIFICATE, NodeFacts
from ..nodes.keeping import CONTAINERD_CONFIG, HEAD
from ..records import dataclass
from ..steps import File, Wait
from ..text.masking import Token, masked_tail
from ..text.yamls import dumped

BACKDATE = 300.0  # seconds that kubeadm, and the cluster's signer, set a certificate's beginning back
VALIDITY = 8760 * 3600  # seconds that kubeadm's certificates are valid, where nothing else is asked for
SOCKET = "unix:///run/containerd/containerd.sock"
CRICTL = f"crictl --runtime-endpoint {SOCKET}"  # also where /etc/crictl.yaml is missing or another's
CERTS = "/etc/containerd/certs.d"
_UPSTREAM = "registry.k8s.io"
_ETCD, _DNS, _PROXY, _PAUSE = (f"{_UPSTREAM}/{name}" for name in ("etcd", "coredns/coredns", "kube-proxy", "pause"))
_COMPONENTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy")
TOKEN_TTL = "30m0s"
# What a kubelet may ask the API by default (kubernetes.io "KubeletConfiguration", kubeAPIQPS and kubeAPIBurst). The controller manager's own 20
# and 30 a second make every node wait five seconds for its first start: kubeadm gives each controller a service account of its own.
_PACE = (("kube-api-burst", "100"), ("kube-api-qps", "50"))

# The newest patch and its pause image as of 2026-09 (kubernetes.io/releases; `kubeadm config images list`).
RELEASES = {"1.35": ("1.35.9", "3.10.1"), "1.36": ("1.36.4", "3.10.2"), "1.37": ("1.37.1", "3.10.2")}
DASHBOARDS = {
    "headlamp": "ghcr.io/headlamp-k8s/headlamp:v0.45.0",
    "kube-web-view": "docker.io/hjacobs/kube-web-view:23.8.0",
}


@dataclass(frozen=True, eq=False)  # one object for all nodes of a run: what it has worked out is not worked out again
class Recipe:
    """One Kubernetes patch release and the files that bring it up in one environment.

    `base` is the inventory's recipe where this one is of the patch that a cluster runs.
    """

    environment: Environment
    base: Recipe | None = None

    @property
    def settings(self) -> Settings:
        return self.environment.settings

    @cached_property
    def minor(self) -> str:
        return ".".join(self.settings.kubernetes.split(".")[:2])

    @cached_property
    def version(self) -> str:
        """The patch release, like 1.36.4."""
        wanted = self.settings.kubernetes
        newest, _ = self._published
        return wanted if wanted.count(".") == 2 else newest

    def running(self, version: str) -> Recipe:
        """The recipe for a cluster that runs this patch ("1.36.3"): the inventory's, unless KUBERNETES names only its minor release.

        Then the cluster's patch is meant: a newer one is an upgrade, which is more than packages.
        """
        base = self.base or self
        if base.settings.kubernetes != base.minor:
            return base
        known = base._running
        if version not in known:
            if not re.fullmatch(rf"{re.escape(base.minor)}\.[0-9]{{1,3}}", version):
                return base
            known[version] = Recipe(
                replace(base.environment, settings=replace(base.settings, kubernetes=version)), base
            )
        return known[version]

    @cached_property
    def _running(self) -> dict[str, Recipe]:
        return {}

    @property
    def pause(self) -> str:
        return f"registry.k8s.io/pause:{self._published[1]}"

    @property
    def _published(self) -> tuple[str, str]:
        """The newest patch of the minor version, and its pause image."""
        return RELEASES[self.minor]

    @property
    def dashboard_image(self) -> str:
        return self.settings.dashboard_image or DASHBOARDS.get(self.settings.dashboard, "")

    @property
    def worker_images(self) -> tuple[str, ...]:
        """The images that every node needs to become Ready."""
        return (
            self.pause,
            f"registry.k8s.io/kube-proxy:v{self.version}",
            self.settings.flannel_image,
            self.settings.flannel_cni_image,
        )

    def images_ahead(self, node: Node) -> tuple[str, ...]:
        """The images that a node pulls before it is a member. Workers wait for the control plane then, so they pull those of add-ons too.

        The dashboard's one pod goes rather to a node that has its image (kube-scheduler's ImageLocality): to the first worker.
        """
        if node.control_plane:
            return self.worker_images
        dashboard = (self.dashboard_image,) if node in self.environment.workers[:1] and self.dashboard_image else ()
        return (*self.worker_images, self.settings.telegraf_image, *dashboard)

    # --- images by digest

    @cached_property
    def pins(self) -> Mapping[str, str]:
        """Digests by full image name, from IMAGE_DIGESTS; empty for 1.5, whose Docker knows images by tag only."""
        path = self.settings.image_digests
        return (
            images.parse(Path(path).read_text(encoding="utf-8"))[0]
            if path and self.settings.release.runtime == "containerd"
            else {}
        )

    def pin(self, image: str) -> str:
        """The digest that an image must have; empty if it is not pinned."""
        return self.pins.get(images.full(image), "")

    def pinned(self, image: str) -> str:
        """The image as a manifest names it: with its digest if it is pinned, so that containerd accepts no other."""
        digest = self.pin(image)
        return f"{image}@{digest}" if digest else image

    def kubeadm_images(self, *, control_plane: bool, known: Sequence[str] = ()) -> tuple[str, ...]:
        """The images that kubeadm runs on a node, always by tag: its configuration accepts no digests (kubernetes/kubeadm 2680).

        `known` is the list of the node's own kubeadm.  Before kubeadm is installed, etcd and CoreDNS have the lock file's tags.
        """
        guessed = (
            (f"{_UPSTREAM}/{name}:v{self.version}" for name in _COMPONENTS),
            (i for i in self.pins if images.repository(i) in (_ETCD, _DNS)),
        )
        names = dict.fromkeys((self.pause, *(known or chain(*guessed))))
        everywhere = (_PAUSE, _PROXY, _DNS)  # CoreDNS may be rescheduled to workers
        return tuple(name for name in names if control_plane or images.repository(name) in everywhere)

    def images(self, known: Sequence[str] = ()) -> tuple[str, ...]:
        """Every image of the cluster, except those that hosts.env names by digest. Etcd and CoreDNS have no tag until it is known."""
        settings = self.settings
        network, metrics = (
            (settings.flannel_image, settings.flannel_cni_image),
            (settings.influxdb_image, settings.telegraf_image),
        )
        ours = (*network, *metrics, self.dashboard_image, settings.probe_image)
        named = [*self.kubeadm_images(control_plane=True, known=known), *(image for image in ours if image)]
        named += [name for name in (_ETCD, _DNS) if name not in map(images.repository, named)]
        return tuple(dict.fromkeys(image for image in named if "@" not in image))

    def unlisted(self, known: Sequence[str] = ()) -> tuple[str, ...]:
        """The images that nodes of this cluster run and the lock file does not list; empty without a lock file.

        Without the probe image, which `inv cluster.verify` alone runs: on a healthy cluster no node has it.
        """
        if not self.pins:
            return ()
        return tuple(i for i in self.images(known) if i != self.settings.probe_image and not self.pin(i))

    def outdated(self, known: Sequence[str] = ()) -> tuple[tuple[str, str], ...]:
        """(image, line) for images that the lock file lists only with another tag: it was written for another release."""
        lines = {images.repository(image): image for image in self.pins}
        return tuple(
            (image, lines[images.repository(image)])
            for image in self.unlisted(known)
            if images.repository(image) in lines
        )

    @property
    def sandbox(self) -> str:
        """The pause image for containerd's configuration. Pinned, it has no tag: with one the kubelet may prune it (containerd 13314)."""
        digest = self.pin(self.pause)
        return f"{_PAUSE}@{digest}" if digest else self.pause

    @property
    def preflight(self) -> str:
        """kubeadm's flag for the checks that the inventory ignores; empty without any."""
        names = shlex.quote(",".join(self.settings.ignore_preflight))
        return f" --ignore-preflight-errors={names}" if self.settings.ignore_preflight else ""

    # --- containerd

    def containerd_config(self) -> File:
        """containerd 2's complete config.toml: the one in its package switches the CRI plugin off."""
        return self._containerd_config

    @cached_property  # the same for each of thousands of nodes
    def _containerd_config(self) -> File:
        return File(CONTAINERD_CONFIG, _HEAD + tomli_w.dumps(self.containerd_settings()), keep=True)

    def containerd_settings(self) -> dict[str, Any]:
        """What is in it, with CONTAINERD_CONFIG."""
        runtime: dict[str, Any] = {
            "containerd": {
                "runtimes": {
                    "runc": {
                        "runtime_type": "io.containerd.runc.v2",
                        "options": {"SystemdCgroup": True},
                    }
                }
            },
            "cni": {"bin_dirs": ["/opt/cni/bin"], "conf_dir": "/etc/cni/net.d"},
        }
        config: dict[str, Any] = {
            "version": 3,
            "plugins": {
                "io.containerd.cri.v1.images": {
                    "pinned_images": {"sandbox": self.sandbox},
                    "registry": {"config_path": CERTS},
                },
                "io.containerd.cri.v1.runtime": runtime,
            },
        }
        return merged(config, self.settings.containerd_config)

    @property
    def crictl_config(self) -> File:
        return File(
            "/etc/crictl.yaml", f"runtime-endpoint: {SOCKET}\nimage-endpoint: {SOCKET}\ntimeout: 10\n", keep=True
        )

    def registry_files(self) -> tuple[File, ...]:
        """The hosts.toml of the private registry and of each upstream that is mirrored, with its login and CA.

        The login goes to REGISTRY's host and to no other. A registry that answers with a token's realm gets it there: containerd sends
        these headers when it asks for the token (core/remotes/docker/config/hosts.go, WithAuthHeader).
        """
        settings = self.settings
        files: dict[str, File] = {}
        registry = settings.registry
        own = {registry.host: (registry, registry.url, registry.url)} if registry else {}
        mirrored = {name: (at, _upstream(name), at.mirror) for name, at in settings.mirrors.items()}
        for name, (at, server, endpoint) in ({**own, **mirrored} | own).items():
            host: dict[str, Any] = {"capabilities": ["pull", "resolve"]}
            if endpoint != at.url:
                host["override_path"] = True
            private = registry is not None and (at.scheme, at.host) == (registry.scheme, registry.host)
            authorities = settings.registry_ca if private else settings.registry_mirror_ca.get(name, "")
            # plain HTTP with a CA would make containerd try HTTPS first, and fall back
            if authorities and at.scheme == "https":
                ca = f"{CERTS}/{at.host if private else name}/ca.crt"
                host["ca"] = ca
                files[ca] = File(ca, certificates(Path(authorities)), keep=True)
            secret = private and bool(settings.registry_user)
            if secret:
                login = base64.b64encode(settings.registry_login.reveal().encode()).decode()
                host["header"] = {"Authorization": [f"Basic {login}"]}
            path = f"{CERTS}/{name}/hosts.toml"
            text = _HEAD + tomli_w.dumps({"server": server, "host": {endpoint: host}})
            files[path] = File(path, text, mode="0600" if secret else "0644", secret=secret, keep=True)
        return tuple(files.values())

    @property
    def canary(self) -> str:
        """The image that proves registry, login and CA: pause, with the private registry in its name. Without one, of its mirror; or empty."""
        if self.settings.registry:
            return f"{self.settings.registry}/{self.pause.split('/', 1)[1]}"
        return self.pause if _UPSTREAM in self.settings.mirrors else ""

    # --- kubeadm

    def init_config(self, facts: NodeFacts, token: Token) -> str:
        """kubeadm init's v1beta4 file: the private address is advertised, a NAT address goes to certSANs."""
        node = self.environment.control_plane
        init = {
            **_kind("InitConfiguration"),
            "bootstrapTokens": [{"token": token.reveal(), "ttl": TOKEN_TTL, "description": "kubefab"}],
            "localAPIEndpoint": {"advertiseAddress": node.address, "bindPort": self.settings.api_port},
            "nodeRegistration": self._registration(node, facts),
            "timeouts": {"controlPlaneComponentHealthCheck": "4m0s"},
        }
        cluster = self._cluster()
        kubelet = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "cgroupDriver": "systemd",
        }
        proxy = {"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration"}
        documents = [
            init,
            cluster,
            merged(kubelet, self.settings.kubelet_config),
            merged(proxy, self.settings.kube_proxy_config),
        ]
        return dumped(*documents)

    def _cluster(self) -> dict[str, Any]:
        node = self.environment.control_plane
        return {
            **_kind("ClusterConfiguration"),
            "clusterName": self.environment.name,
            "kubernetesVersion": f"v{self.version}",
            "controlPlaneEndpoint": self.environment.endpoint,
            "networking": {
                "podSubnet": str(self.settings.pod_cidr),
                "serviceSubnet": str(self.settings.service_cidr),
                "dnsDomain": self.settings.dns_domain,
            },
            "apiServer": {"certSANs": sorted({node.outside, node.address, node.name})},
            "controllerManager": {"extraArgs": [{"name": name, "value": value} for name, value in _PACE]},
        }

    def certificate_config(self, facts: NodeFacts, names: Iterable[str] = (), folder: str = "") -> str:
        """The file for kubeadm's commands about certificates: as the cluster keeps it, or, where that was not read, from the inventory.

        Where it was not read, a validity that the cluster made shorter is that of the API's certificate.

        They need it (`--config`): without one kubeadm asks an API that may not answer, or takes the default route's address
        (kubeadm 3313).  `names` are more names for the API's certificate, `folder` is where it is made.
        """
        node = self.environment.control_plane
        init = {
            **_kind("InitConfiguration"),
            "localAPIEndpoint": {"advertiseAddress": node.address, "bindPort": self.settings.api_port},
            "nodeRegistration": {"name": facts.hostname, "criSocket": SOCKET},
        }
        installed = facts.packages.get("kubeadm", "").partition("-")[0] or self.version
        cluster = dict(facts.configured) or self._cluster() | {"kubernetesVersion": f"v{installed}", **_validity(facts)}
        api = dict(cluster.get("apiServer") or {})
        api["certSANs"] = sorted({*(str(one) for one in api.get("certSANs") or ()), *names})
        more = {"certificatesDir": folder} if folder else {}
        return dumped(init, {**cluster, "apiServer": api, **more})

    def token_config(self, token: Token) -> str:
        """The file for `kubeadm token create --config`, so that the token is not on the command line."""
        return _token_config(token)

    def join_config(self, node: Node, facts: NodeFacts, token: Token, ca_hash: str) -> str:
        """kubeadm join's v1beta4 file."""
        own = dumped({"nodeRegistration": self._registration(node, facts)})
        return _discovery(token, self.environment.endpoint, ca_hash) + own

    def upgrade_config(self) -> str:
        """kubeadm upgrade's v1beta4 file, for `apply` and for `node`.

        `upgradeManifests` is how long kubeadm waits for each static pod's new hash before it puts the old manifests back.
        On one control plane the API is away meanwhile, and the kubelet may report the pod late (kubernetes/kubeadm 3297): longer than the
        default of 5 minutes, and the kubelet is restarted within it.
        """
        ignored = list(self.settings.ignore_preflight)
        both = {"certificateRenewal": True, "etcdUpgrade": True, "ignorePreflightErrors": ignored}
        both |= {"imagePullPolicy": "IfNotPresent"}
        return dumped(
            {
                **_kind("UpgradeConfiguration"),
                "apply": {"kubernetesVersion": f"v{self.version}", **both},
                "node": both,
                "timeouts": {"upgradeManifests": "10m0s"},
            }
        )

    def _registration(self, node: Node, facts: NodeFacts) -> dict[str, Any]:
        # without the field kubeadm gives a control plane its taint; with it, only what is in it
        shared = node.control_plane and self.environment.pods_on_control_plane
        own = [RESERVED] if node.control_plane and not shared else []
        return {
            "name": facts.hostname,
            "criSocket": SOCKET,
            "kubeletExtraArgs": [{"name": "node-ip", "value": node.address}, *self.resolver(facts)],
            **({"taints": [taint.data() for taint in (*own, *node.taints)]} if node.taints or shared else {}),
        }

    def resolver(self, facts: NodeFacts) -> list[dict[str, str]]:
        """The resolver file for CoreDNS. systemd-resolved's stub is a loopback address: CoreDNS would ask itself ("Loop detected").

        Set for each node: kubeadm would write the control plane's file into the cluster's KubeletConfiguration, and on nodes
        without systemd-resolved that file is missing, so no pod starts there (labring/sealos 1620).
        """
        if "resolvConf" in self.settings.kubelet_config:
            return []
        stub = "127.0.0.53" in facts.resolvers
        return [{"name": "resolv-conf", "value": "/run/systemd/resolve/resolv.conf" if stub else "/etc/resolv.conf"}]


_HEAD = f"{HEAD}\n"


def recipe_for(environment: Environment) -> Recipe:
    """The recipe of the inventory's release. Raises UsageError for an unknown release.

    The phases of 1.5 (legacy/) do not use it.
    """
    recipe = Recipe(environment)
    if recipe.minor not in RELEASES and environment.settings.release.configured:
        known = ", ".join(RELEASES)
        raise UsageError(
            f"no recipe for Kubernetes {environment.settings.kubernetes}",
            f"choose one of {known}; or 1.5, the manual's, for new machines",
        )
    return recipe


@lru_cache(1)  # the same for all nodes of a run
def _discovery(token: Token, endpoint: str, ca_hash: str) -> str:
    cluster = {"token": token.reveal(), "apiServerEndpoint": endpoint, "caCertHashes": [ca_hash]}
    return dumped({**_kind("JoinConfiguration"), "discovery": {"bootstrapToken": cluster}})


@lru_cache(1)  # one token for all nodes of a run
def _token_config(token: Token) -> str:
    return dumped(
        {
            **_kind("InitConfiguration"),
            "bootstrapTokens": [
                {
                    "token": token.reveal(),
                    "ttl": TOKEN_TTL,
                    "description": "kubefab",
                    "usages": ["signing", "authentication"],
                    "groups": ["system:bootstrappers:kubeadm:default-node-token"],
                }
            ],
        }
    )


def merged(base: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    """`base` with the values of `extra`, which win; objects are merged key by key."""
    result = dict(base)
    for key, value in extra.items():
        below = result.get(key)
        result[key] = merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return result


def digest(*texts: str) -> str:
    """A short stable hash of some texts; applied objects are annotated with it."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def _kind(kind: str) -> dict[str, str]:
    return {"apiVersion": "kubeadm.k8s.io/v1beta4", "kind": kind}


def _upstream(name: str) -> str:
    return "https://registry-1.docker.io" if name == "docker.io" else f"https://{name}"


def answers_ok(seen: str) -> str | None:
    """None for the `ok` with which the API says that it is ready or healthy; otherwise the last line of what came instead."""
    return None if seen.strip() == "ok" else masked_tail((seen.strip().splitlines() or ["nothing"])[-1])


def _validity(facts: NodeFacts) -> dict[str, str]:
    """How long certificates are valid where that is shorter than kubeadm's default, by the API's own; never longer."""
    found = facts.certificates.get(API_CERTIFICATE)
    lasted = int(found.ends - found.begins - BACKDATE) if found and found.authority and found.begins else 0
    return {"certificateValidityPeriod": f"{lasted}s"} if 0 < lasted < VALIDITY - BACKDATE else {}


def api_wait(id: str, *, deadline: float, hint: str, more: str) -> Wait:
    """Wait until the API on this control plane is ready; `more` is a line whose output explains a failure, beside its containers."""
    return Wait(
        id,
        "the API answers",
        probe="kubectl --request-timeout=5s get --raw=/readyz 2>&1",
        until=answers_ok,
        deadline=deadline,
        interval=1,
        hint=hint,
        evidence=("crictl ps -a 2>&1 | tail -n 12", more),
    )
