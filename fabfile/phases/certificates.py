"""Certificates that keep a node or an operator out, and the commands that make them again.

Sources: kubernetes.io "Troubleshooting kubeadm", Kubelet client certificate rotation fails; "Certificate Management with kubeadm";
kubeadm 1447 (a name that the API's certificate lacks), 3313 (`--config` for single phases).
"""

from __future__ import annotations

import time
from shlex import quote

from ..context import Context
from ..nodes.facts import API_CERTIFICATE, KUBELET_CERTIFICATE, NodeFacts
from ..recipes.kubeadm import Recipe
from ..steps import Stop

CONFIG = "/root/kubefab-certificates.yaml"
_PKI = API_CERTIFICATE.rpartition("/")[0]


def _ended(facts: NodeFacts, path: str) -> float:
    """When that certificate ended, by the node's own clock; 0: it has not, or is not there."""
    found = facts.certificates.get(path)
    return found.ends if found and facts.now and found.ends < facts.now else 0.0


def lapsed(ctx: Context, phase: str) -> Stop | None:
    """A kubelet whose client certificate ended while the machine was off: it cannot renew it any more, and does not start."""
    facts = ctx.facts
    ended = _ended(facts, KUBELET_CERTIFICATE)
    if not ended or "/etc/kubernetes/kubelet.conf" not in facts.traces:
        return None
    day = time.strftime("%Y-%m-%d", time.gmtime(ended))
    what = f"the kubelet's certificate ended on {day}, while it could not renew it: it does not start any more"
    if not ctx.node.control_plane:
        return Stop(f"{phase}.certificate", what, f"let this worker join again: {ctx.renew()}")
    return Stop(
        f"{phase}.certificate", what, f"on this machine, as root: `{renewing(ctx.recipe, facts)}`; then run this again"
    )


def renewing(recipe: Recipe, facts: NodeFacts) -> str:
    """The commands that give a control plane's kubelet a certificate by the CA on that machine, and first those of its API if they ended too."""
    lines = [recipe.certificate_config(facts, CONFIG)]
    if _ended(facts, API_CERTIFICATE):
        lines.append(f"kubeadm certs renew all --config {CONFIG}")
    name = quote(f"system:node:{facts.hostname}")
    user = f"kubeadm kubeconfig user --config {CONFIG} --org system:nodes --client-name {name}"
    lines.append(f"(umask 077; {user} >/root/kubelet.conf)")
    lines.append("rm -f /var/lib/kubelet/pki/kubelet-client-* && mv /root/kubelet.conf /etc/kubernetes/kubelet.conf")
    return " && ".join([*lines, "systemctl restart kubelet"])


def unnamed(recipe: Recipe, control: NodeFacts) -> tuple[str, str] | None:
    """The address that the operator dials is not in the API's certificate: what kubectl would say, and the commands that add it."""
    host = recipe.environment.control_plane.outside
    found = control.certificates.get(API_CERTIFICATE)
    if found is None or not found.names or host.lower() in (name.lower() for name in found.names):
        return None
    what = f"the API's certificate is for {', '.join(found.names)} and not for {host}: kubectl refuses it at that address (x509)"
    lines = (
        recipe.certificate_config(control, CONFIG, found.names),
        f"mkdir -p /root/kubefab-pki && mv {_PKI}/apiserver.crt {_PKI}/apiserver.key /root/kubefab-pki/",
        f"kubeadm init phase certs apiserver --config {CONFIG}",
        "crictl stop $(crictl ps -q --name kube-apiserver)",
    )
    return what, f"on the control plane, as root: `{' && '.join(lines)}`; then run this again"
