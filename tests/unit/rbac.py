"""Kubernetes' RBAC, as far as our accounts need it: what each account may do under all manifests that we render."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

READ = ("get", "list", "watch")
# What `view` aggregates: Kubernetes 1.36.3, plugin/pkg/auth/authorizer/rbac/bootstrappolicy/testdata/cluster-roles.yaml.
_VIEW: dict[str, tuple[str, ...]] = {
    "": (
        "configmaps", "endpoints", "persistentvolumeclaims", "persistentvolumeclaims/status", "pods", "replicationcontrollers",
        "replicationcontrollers/scale", "serviceaccounts", "services", "services/status", "bindings", "limitranges", "namespaces/status",
        "pods/log", "pods/status", "replicationcontrollers/status", "resourcequotas", "resourcequotas/status", "namespaces", "events",
    ),
    "events.k8s.io": ("events",),
    "discovery.k8s.io": ("endpointslices",),
    "apps": (
        "controllerrevisions", "daemonsets", "daemonsets/status", "deployments", "deployments/scale", "deployments/status", "replicasets",
        "replicasets/scale", "replicasets/status", "statefulsets", "statefulsets/scale", "statefulsets/status",
    ),
    "autoscaling": ("horizontalpodautoscalers", "horizontalpodautoscalers/status"),
    "batch": ("cronjobs", "cronjobs/status", "jobs", "jobs/status"),
    "extensions": (
        "daemonsets", "daemonsets/status", "deployments", "deployments/scale", "deployments/status", "ingresses", "ingresses/status",
        "networkpolicies", "replicasets", "replicasets/scale", "replicasets/status", "replicationcontrollers/scale",
    ),
    "policy": ("poddisruptionbudgets", "poddisruptionbudgets/status"),
    "networking.k8s.io": ("ingresses", "ingresses/status", "networkpolicies"),
    "resource.k8s.io": ("resourceclaims", "resourceclaims/status", "resourceclaimtemplates"),
}  # fmt: skip
_BUILT_IN = {
    "view": [{"apiGroups": [group], "resources": list(names), "verbs": list(READ)} for group, names in _VIEW.items()]
}


@dataclass(frozen=True)
class Request:
    """What the API server authorises: the RequestInfo of one request."""

    verb: str
    group: str
    resource: str  # with the subresource, like pods/exec
    name: str = ""


def accounts(documents: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """The rules of each ServiceAccount, by `namespace/name`. Raises KeyError for a role that neither a manifest nor Kubernetes defines."""
    documents = list(documents)
    roles = {d["metadata"]["name"]: d["rules"] for d in documents if d["kind"] in ("Role", "ClusterRole")} | _BUILT_IN
    found: dict[str, list[Mapping[str, Any]]] = {
        f"{d['metadata']['namespace']}/{d['metadata']['name']}": [] for d in documents if d["kind"] == "ServiceAccount"
    }
    for binding in documents:
        if binding["kind"] in ("RoleBinding", "ClusterRoleBinding"):
            for subject in binding["subjects"]:
                assert subject["kind"] == "ServiceAccount", "we bind nothing to users and groups"
                found[f"{subject['namespace']}/{subject['name']}"] += roles[binding["roleRef"]["name"]]
    return found


def can(rules: Iterable[Mapping[str, Any]], request: Request) -> bool:
    """pkg/apis/rbac/v1/evaluation_helpers.go: VerbMatches, APIGroupMatches, ResourceMatches, ResourceNameMatches."""
    base, _, sub = request.resource.partition("/")

    def matches(rule: Mapping[str, Any]) -> bool:
        resources = rule.get("resources", ())
        return (
            bool({"*", request.verb} & set(rule["verbs"]))
            and bool({"*", request.group} & set(rule.get("apiGroups", ())))
            and (bool({"*", request.resource} & set(resources)) or bool(sub and f"*/{sub}" in resources))
            and (not rule.get("resourceNames") or request.name in rule["resourceNames"])
            and bool(base)
        )

    return any(map(matches, rules))


def reading(path: str) -> Request:
    """A GET of this path, split as in apiserver/pkg/endpoints/request/requestinfo.go. Raises ValueError for a path without a resource."""
    parts = [part for part in path.split("?")[0].split("/") if part]
    if parts[:1] == ["api"]:
        group, rest = "", parts[2:]
    elif parts[:1] == ["apis"]:
        group, rest = parts[1], parts[3:]
    else:
        raise ValueError(f"{path} is of no resource")
    if rest[:1] == ["namespaces"] and len(rest) > 2 and rest[2] not in ("status", "finalize"):
        rest = rest[2:]
    resource, name, sub = (*rest, "", "", "")[:3]
    return Request("get" if name else "list", group, f"{resource}/{sub}" if sub else resource, name)
