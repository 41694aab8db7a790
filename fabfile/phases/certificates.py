"""Certificates that keep a node or an operator out: what is said of each before `inv cluster.renew` makes them again.

Sources: kubernetes.io "Troubleshooting kubeadm", Kubelet client certificate rotation fails; "Certificate Management with kubeadm";
kubeadm 1447 (a name that the API's certificate lacks).
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterable

from ..context import Context
from ..inventory import Environment
from ..nodes.facts import API_CERTIFICATE, KUBELET_CERTIFICATE, KUBELET_CONF, NodeFacts
from ..recipes.kubeadm import Recipe
from ..steps import Stop


def renewal(environment: Environment) -> str:
    """The command that renews certificates and adds names to the API's."""
    return f"`inv cluster.renew {environment.option}`"


def ended(facts: NodeFacts, *paths: str) -> float:
    """When the first of those certificates ended, by the node's own clock; 0: none has, or none is there."""
    found = [facts.certificates[path].ends for path in paths if path in facts.certificates]
    return min((ends for ends in found if facts.now and ends < facts.now), default=0.0)


def lapsed(ctx: Context, phase: str) -> Stop | None:
    """A kubelet whose client certificate ended while the machine was off, which it cannot renew any more; or an API with such a certificate."""
    facts, control = ctx.facts, ctx.node.control_plane
    kubelet = ended(facts, KUBELET_CERTIFICATE, KUBELET_CONF) if KUBELET_CONF in facts.traces else 0.0
    when = kubelet or (ended(facts, API_CERTIFICATE) if control else 0.0)
    if not when:
        return None
    whose = "the kubelet's" if kubelet else "the API's"
    why = "while it could not renew it: it does not start any more" if kubelet else "so nothing speaks with it any more"
    return Stop(
        f"{phase}.certificate",
        f"{whose} certificate ended on {time.strftime('%Y-%m-%d', time.gmtime(when))}, {why}",
        f"{renewal(ctx.environment)}, then run this again",
    )


def lacking(facts: NodeFacts, names: Iterable[str]) -> list[str]:
    """Those of the names and addresses that the API's certificate is not for; none where it cannot be read."""
    found = facts.certificates.get(API_CERTIFICATE)
    has = {_canonical(name) for name in found.names} if found and found.names else None
    return [name for name in dict.fromkeys(names) if has is not None and _canonical(name) not in has]


def _canonical(name: str) -> str:
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name.lower()


def unnamed(recipe: Recipe, control: NodeFacts) -> tuple[str, str] | None:
    """The address that the operator dials is not in the API's certificate: what kubectl would say, and the command that adds it."""
    host, found = recipe.environment.control_plane.outside, control.certificates.get(API_CERTIFICATE)
    if found is None or not lacking(control, [host]):
        return None
    what = f"the API's certificate is for {', '.join(found.names)} and not for {host}: kubectl refuses it at that address (x509)"
    return what, f"{renewal(recipe.environment)} adds it, then run this again"
