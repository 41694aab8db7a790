"""What the accounts that we create in a cluster may do by Kubernetes' own rules, resource by resource."""

from __future__ import annotations

import itertools
import posixpath
from typing import Any
from urllib.parse import unquote

import pytest

import rbac
from fabfile.manifests import NAMES, manifest
from fabfile.text import yamls
from making import context, control_plane, environment
from rbac import Request, accounts, can

VERBS = (
    "get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "impersonate", "escalate", "bind", "approve", "sign",
    "use", "attest", "proxy", "*",
)  # fmt: skip
# Requests that give a secret, another identity, access to a pod or a node, or a new right.
FORBIDDEN = {
    "": (
        "secrets", "serviceaccounts/token", "nodes/proxy", "nodes/exec", "nodes/attach", "nodes/portforward", "nodes/checkpoint", "nodes/configz",
        "nodes/log", "pods/exec", "pods/attach", "pods/portforward", "pods/proxy", "pods/ephemeralcontainers", "pods/eviction", "pods/binding",
        "services/proxy", "users", "groups", "uids", "componentstatuses", "*",
    ),
    "rbac.authorization.k8s.io": ("roles", "clusterroles", "rolebindings", "clusterrolebindings", "*"),
    "certificates.k8s.io": ("certificatesigningrequests", "certificatesigningrequests/approval", "signers", "clustertrustbundles"),
    "authentication.k8s.io": ("tokenreviews", "userextras/scopes", "selfsubjectreviews"),
    "authorization.k8s.io": ("subjectaccessreviews", "localsubjectaccessreviews"),
    "admissionregistration.k8s.io": ("validatingwebhookconfigurations", "mutatingwebhookconfigurations", "validatingadmissionpolicies"),
    "apiregistration.k8s.io": ("apiservices",),
    "coordination.k8s.io": ("leases",),
    "*": ("*", "secrets", "pods/exec"),
}  # fmt: skip
# What may be read everywhere in addition to `view`, and the only thing that an account may write.
CLUSTER_WIDE = {
    ("", "nodes"), ("", "persistentvolumes"), ("storage.k8s.io", "storageclasses"), ("storage.k8s.io", "volumeattachments"),
    ("storage.k8s.io", "csidrivers"), ("storage.k8s.io", "csinodes"), ("networking.k8s.io", "ingressclasses"),
    ("scheduling.k8s.io", "priorityclasses"), ("apiextensions.k8s.io", "customresourcedefinitions"),
    ("metrics.k8s.io", "nodes"), ("metrics.k8s.io", "pods"),
}  # fmt: skip
WRITES = {("kube-flannel/flannel", Request("patch", "", "nodes/status"))}


def documents() -> list[dict[str, Any]]:
    """Every document that we apply under any settings."""
    env = environment()
    ctx = context(env, control_plane(env))
    return [document for name in NAMES for document in yamls.documents(manifest(name, ctx).text)]


ACCOUNTS = accounts(documents())


def test_we_create_no_other_accounts() -> None:
    assert sorted(ACCOUNTS) == [
        "kube-flannel/flannel",
        "kube-system/headlamp",
        "kube-system/kube-web-view",
        "monitoring/telegraf",
    ]


@pytest.mark.parametrize("account", ACCOUNTS)
def test_no_account_may_reach_secrets_identities_or_into_pods_and_nodes(account: str) -> None:
    asked = [
        Request(verb, group, resource, "x")
        for group, names in FORBIDDEN.items()
        for resource in names
        for verb in VERBS
    ]
    assert [one for one in asked if can(ACCOUNTS[account], one)] == []


@pytest.mark.parametrize("account", ACCOUNTS)
def test_only_flannel_writes_and_only_node_annotations(account: str) -> None:
    named = {
        (group, resource) for rule in ACCOUNTS[account] for group in rule["apiGroups"] for resource in rule["resources"]
    }
    asked = [
        Request(verb, group, resource)
        for (group, resource), verb in itertools.product(sorted(named), VERBS)
        if verb not in rbac.READ
    ]
    assert {(account, one) for one in asked if can(ACCOUNTS[account], one)} <= WRITES


@pytest.mark.parametrize("account", ACCOUNTS)
def test_rights_are_named_one_by_one(account: str) -> None:
    for rule in ACCOUNTS[account]:
        assert "nonResourceURLs" not in rule, "system:discovery gives every account what it needs"
        assert not any("*" in word for key in ("verbs", "apiGroups", "resources") for word in rule[key])


def test_the_dashboard_reads_what_view_reads_and_listed_cluster_objects() -> None:
    view = {
        (group, name)
        for rule in rbac.accounts(BOUND_TO_VIEW)["n/a"]
        for group in rule["apiGroups"]
        for name in rule["resources"]
    }
    for account in ("kube-system/headlamp", "kube-system/kube-web-view"):
        named = {
            (group, name) for rule in ACCOUNTS[account] for group in rule["apiGroups"] for name in rule["resources"]
        }
        assert named == view | CLUSTER_WIDE


def test_telegraf_reads_kubelet_statistics_and_nothing_of_the_api() -> None:
    rules = ACCOUNTS["monitoring/telegraf"]
    assert all(can(rules, Request("get", "", f"nodes/{sub}", "w1")) for sub in ("stats", "metrics", "pods"))
    assert not any(
        can(rules, Request(verb, "", name)) for verb in VERBS for name in ("nodes", "pods", "configmaps", "namespaces")
    )


# The four addresses of the dashboard's NodePort and the API paths that 21.2.0 makes of them (kube_web/web.py does not escape the name).
HOSTILE = {
    "namespaces/kube-system/secrets/admin": "/api/v1/namespaces/kube-system/secrets/admin",
    "namespaces/kube-system%2Fsecrets%2Fadmin": "/api/v1/namespaces/kube-system/secrets/admin",
    "nodes/..%2Fnamespaces%2Fkube-system%2Fsecrets%2Fadmin": "/api/v1/namespaces/kube-system/secrets/admin",
    "nodes/w1%2Fproxy%2Fconfigz": "/api/v1/nodes/w1/proxy/configz",
}


@pytest.mark.parametrize(("typed", "asked"), HOSTILE.items())
def test_no_address_of_the_dashboard_reaches_a_secret_or_a_kubelet(typed: str, asked: str) -> None:
    assert posixpath.normpath(f"/api/v1/{unquote(typed)}") == asked
    assert not can(ACCOUNTS["kube-system/kube-web-view"], rbac.reading(asked))


def test_the_rules_are_read_as_kubernetes_reads_them() -> None:
    old = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["list", "get"]}]
    assert all(can(old, rbac.reading(path)) for path in HOSTILE.values()), "which is how they were reached"
    assert can([{"apiGroups": [""], "resources": ["*/proxy"], "verbs": ["*"]}], Request("get", "", "nodes/proxy"))
    assert not can([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}], Request("get", "", "pods/exec"))
    assert not can(
        [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"], "resourceNames": ["a"]}],
        Request("get", "", "pods", "b"),
    )
    assert not can([{"apiGroups": ["apps"], "resources": ["pods"], "verbs": ["get"]}], Request("get", "", "pods", "b"))
    assert rbac.reading("/apis/apps/v1/namespaces/default/deployments?limit=1") == Request(
        "list", "apps", "deployments"
    )


BOUND_TO_VIEW = [
    {"kind": "ServiceAccount", "metadata": {"name": "a", "namespace": "n"}},
    {"kind": "ClusterRoleBinding", "metadata": {"name": "b"}, "roleRef": {"name": "view"},
     "subjects": [{"kind": "ServiceAccount", "name": "a", "namespace": "n"}]},
]  # fmt: skip
