"""Checks that flannel.1 and cni0 exist and have addresses in the pod CIDR: the manual's N3, N4, J2 and J3 in one place."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import replace
from shlex import quote

from ..inventory.settings import Network, Settings
from ..nodes.facts import LINKS, Link
from ..nodes.observe import parse_links
from ..records import dataclass
from ..steps import Needs, Remedy, Wait
from ..text.forms import UNNAMED, Hostname, text
from ..text.masking import masked_tail

PROBE = "ip -j addr"
RESTART = ("systemctl restart kubelet",)
# containerd watches the folder /etc/cni/net.d itself: one that was deleted and made again, as `kubeadm reset` advises, it never reads again
# (containerd #6490, #11209). Its start makes the folder; flannel's pod, which has the deleted one mounted, comes after it.
READ_AGAIN = (
    "if crictl info 2>/dev/null | grep -q 'cni plugin not initialized'; then systemctl restart containerd; "
    "crictl pods -q --namespace kube-flannel | xargs -r crictl rmp -f; fi",
)
WITHOUT_LINKS = tuple(f"ip link show dev {name} >/dev/null 2>&1 && ip link delete {name} || true" for name in LINKS)


@dataclass(frozen=True)
class Expected:
    """The links that must have an address in the pod CIDR."""

    names: tuple[str, ...]
    pod_cidr: Network
    pods_of: Hostname = (
        UNNAMED  # require cni0 only if this node has a pod in the pod network: the first such pod creates it
    )

    @property
    def probe(self) -> str:
        """The command line whose output `until` parses."""
        if not self.pods_of:
            return PROBE
        path = '{range .items[*]}{.spec.hostNetwork}{" "}{.metadata.name}{"\\n"}{end}'
        return f"{PROBE}; echo; kubectl get pods -A --field-selector spec.nodeName={quote(self.pods_of)} -o jsonpath='{path}'"

    def missing(self, links: Mapping[str, Link]) -> str | None:
        """None if all links are right; otherwise what is wrong, as a short sentence."""
        return "; ".join(fault for name in self.names if (fault := self._fault(links.get(name), name))) or None

    def _fault(self, link: Link | None, name: str) -> str:
        if link is None:
            return f"no {name}"
        own = [ipaddress.ip_interface(a).ip for a in link.addresses]
        if any(address in self.pod_cidr for address in own):
            return ""
        seen = ", ".join(str(a) for a in own if not a.is_link_local) or "no address"
        return f"{name} has {seen}, not in {self.pod_cidr}"

    def until(self, output: str) -> str | None:
        """`until` of a Wait on `probe`: None if all links are right, otherwise what is wrong."""
        links, _, pods = output.partition("\n")
        wanted = self
        if self.pods_of and not any(line.startswith(" ") for line in pods.splitlines()):
            wanted = replace(self, names=tuple(name for name in self.names if name != "cni0"))
        try:
            return wanted.missing(parse_links(links))
        except ValueError:
            return text(masked_tail(output)) or "no answer"


def interface_wait(
    id: str, expected: Expected, *, settings: Settings, hostname: Hostname, renew: str, needs: Needs = ""
) -> Wait:
    """Wait for the links; after FLANNEL_GRACE restart the kubelet (N3, J3), then recreate the node's pods, then advise a reset (N4)."""
    pods = tuple(
        f"kubectl -n {namespace} delete pod -l {label} --field-selector spec.nodeName={quote(hostname)} --wait=false --ignore-not-found"
        for namespace, label in (
            ("kube-flannel", "app=flannel"),
            ("kube-system", "k8s-app=kube-dns"),
            ("monitoring", "'app in (telegraf,monitoring-influxdb)'"),
        )
    )
    return Wait(
        id,
        f"{' and '.join(expected.names)} in {expected.pod_cidr}",
        probe=expected.probe,
        until=expected.until,
        deadline=settings.flannel_timeout,
        interval=1,
        remedies=(
            Remedy("restart the kubelet", RESTART, after=settings.flannel_grace),
            Remedy(
                "recreate flannel's and our other pods on this node",
                pods,
                after=settings.flannel_grace,
                on="control-plane",
            ),
        ),
        hint="is UDP 8472 open between the nodes? `inv cluster.doctor` tests it. If only cni0 is wrong: `ip link delete cni0` on this node, then "
        f"run this again. When nothing else helps, the manual's rule (N4), set this node up again: {renew}",
        needs=needs,
        evidence=(
            "ip -br addr",
            "cat /run/flannel/subnet.env 2>&1",
            "crictl logs --tail 4 $(crictl ps -a --name kube-flannel -q | head -n 1) 2>&1",
            "journalctl -u kubelet -n 200 --no-pager 2>&1 | grep -E ' [EF][0-9]{4} ' | tail -n 4",
        ),
    )


def ready_wait(id: str, *, settings: Settings, hostname: Hostname) -> Wait:
    """Wait until the node is Ready; after FLANNEL_GRACE let containerd read flannel's CNI file, if it says that it has none."""
    name = quote(hostname)
    return Wait(
        id,
        "the node is Ready",
        probe=f"kubectl get node {name} --no-headers 2>&1",
        until=lambda seen: None if is_ready(seen) else masked_tail(seen) or "not listed yet",
        deadline=180,
        interval=1,
        remedies=(
            Remedy(
                "restart containerd and flannel's pod, if no CNI file has been read",
                READ_AGAIN,
                after=settings.flannel_grace,
            ),
        ),
        on="control-plane",
        hint=f"`kubectl describe node {name}` on the control plane names the condition that is not met",
        evidence=(f"kubectl describe node {name} 2>&1 | sed -n '/Conditions/,/Addresses/p'",),
    )


def is_ready(row: str) -> bool:
    """Whether a row of `kubectl get node --no-headers` says that the node is Ready."""
    words = row.split()
    return len(words) > 1 and words[1].split(",")[0] == "Ready"
