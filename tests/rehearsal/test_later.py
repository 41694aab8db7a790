"""What an edit of each setting does to a living cluster is what its class says: no setting is ignored in silence.

One cluster, on which every setting that is followed has another value than its default: with any of them back, something is to do. With any
setting of the other classes changed, nothing is, or nothing is touched.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

import rehearsal
from fabfile import phases
from fabfile.inventory import Environment
from fabfile.inventory.settings import KEYS, Later, Settings
from fabfile.lasting import STOP
from fabfile.nodes.facts import NodeFacts
from fabfile.steps import Action, Stop
from fabfile.views.plan import plan
from rehearsal_bed import Bed

CA = Path(__file__).parent.parent / "unit" / "recorded" / "registry-ca.crt"
# each with another value than its default
FOLLOWED = {
    "SCHEDULE_ON_CONTROL_PLANE": "yes",
    "NODE_CIDR": "10.2.0.0/16",  # the proxy's exceptions have it
    "PROXY": "http://proxy.example:3128",
    "NO_PROXY": ".corp.example",
    "REGISTRY": "registry.example:5000",
    "REGISTRY_USER": "bot",
    "REGISTRY_PASSWORD": "s3cr3t-word",
    "REGISTRY_CA": str(CA),
    "REGISTRY_MIRRORS": "registry.k8s.io,ghcr.io=mirror.example/ghcr",
    "REGISTRY_MIRROR_CA": f"ghcr.io={CA}",
    "FLANNEL_IMAGE": "ghcr.io/flannel-io/flannel:v0.28.8",
    "FLANNEL_CNI_IMAGE": "ghcr.io/flannel-io/flannel-cni-plugin:v1.9.1-flannel2",
    "DASHBOARD": "kube-web-view",
    "DASHBOARD_IMAGE": "docker.io/hjacobs/kube-web-view:23.2.0",
    "DASHBOARD_PORT": "31448",
    "INFLUXDB_IMAGE": "docker.io/library/influxdb:1.12.3",
    "INFLUXDB_PORT": "30316",
    "INFLUXDB_LOGIN": "no",
    "TELEGRAF_IMAGE": "docker.io/library/telegraf:1.39.2",
    "RETENTION": "60d",
    "KUBELET_CONFIG": '{"maxPods": 50}',
    "KUBE_PROXY_CONFIG": '{"mode": "nftables"}',
    "CONTAINERD_CONFIG": '{"debug": {"level": "info"}}',
}
REFUSED = {
    "KUBERNETES": "1.35",
    "POD_CIDR": "10.55.0.0/16",
    "SERVICE_CIDR": "10.112.0.0/12",
    "DNS_DOMAIN": "corp.local",
    "API_PORT": "443",
}
OTHERS = {
    "SSH_USER": "ops", "SSH_PORT": "2222", "SSH_KEY": "/root/.ssh/other", "SSH_JUMP": "bastion",
    "CONNECT_TIMEOUT": "3", "RECONNECT_TIMEOUT": "3", "FORKS": "3", "IMAGE_DIGESTS_STRICT": "yes", "FLANNEL_GRACE": "9", "FLANNEL_TIMEOUT": "9",
    "DRAIN_TIMEOUT": "9", "METRICS_GRACE": "9", "RETENTION_SHORTEN": "no", "BACKUP_RECIPIENT": "age1" + "q" * 58, "ETCD_URL": "https://m.example/etcd",
    "ETCD_SHA256": "ab" * 32, "PROBE_IMAGE": "m.example/busybox:1", "SIMULATED": "no", "SIMULATED_WORKERS": "9",
    "PACKAGES_URL": "https://m.example/k8s", "PACKAGES_KEY_FINGERPRINT": "", "CONTAINERD_URL": "https://m.example/d", "CONTAINERD_KEY_FINGERPRINT": "",
    "IGNORE_PREFLIGHT": "Mem", "TOKEN": "abcdef.0123456789abcdef", "MANIFESTS_URL": "https://m.example/m", "LEGACY_KEY_URL": "https://m.example/k",
    "LEGACY_PACKAGES_URL": "https://m.example/p", "LEGACY_SUITE": "kubernetes-trusty main", "LEGACY_DAEMON_URL": "https://m.example/d",
    "LEGACY_INFLUX_IMAGE": "m.example/influx:1",
}  # fmt: skip
# what it takes is a file with the digests of all images that run: tests/rehearsal/test_digests.py has it on a living cluster
ELSEWHERE = {"IMAGE_DIGESTS"}
VALUES = {**FOLLOWED, **REFUSED, **OTHERS}


@pytest.fixture(scope="module")
def living(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Environment, Mapping[str, NodeFacts]]]:
    """A cluster that was made with the defaults, and then got every value of FOLLOWED in one bootstrap."""
    folder = tmp_path_factory.mktemp("later")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        bed = Bed(folder)
        bed.healthy()
        # RETENTION first: the line that edit() replaces
        edited = {"RETENTION": FOLLOWED["RETENTION"], **FOLLOWED, "RETENTION_SHORTEN": "yes"}
        bed.edit("\n".join(f"REHEARSAL_{key}='{value}'" for key, value in edited.items()))
        changed = bed.bootstrap()
        assert set(changed.states.values()) == {"done"}, changed.recorder.lines
        yield changed.simulation.environment, bed.facts()
        rehearsal.down(bed.environment)


def with_(environment: Environment, key: str, value: Any) -> Environment:
    return replace(environment, settings=replace(environment.settings, **{key.lower(): value}))


def actions(environment: Environment, facts: Mapping[str, NodeFacts]) -> dict[str, list[Action]]:
    """What the plan of a bootstrap has for each node, in its order."""
    found: dict[str, list[Action]] = {node.name: [] for node in environment.nodes}
    for one in plan(environment, phases.BOOTSTRAP, environment.nodes, facts):
        found[one.node] += one.actions
    return found


def of(*classes: Later) -> list[str]:
    return [key for key, spec in KEYS.items() if spec.metadata["later"] in classes and key not in ELSEWHERE]


def test_every_setting_has_a_class_and_a_value_to_try() -> None:
    assert {spec.metadata["later"] for spec in KEYS.values()} <= set(get_args(Later))
    assert set(VALUES) | ELSEWHERE == set(KEYS)
    assert set(of("followed")) == set(FOLLOWED) and set(of("refused")) == set(REFUSED)
    defaults = Settings()
    same = [key for key, text in VALUES.items() if KEYS[key].metadata["parse"](text) == getattr(defaults, key.lower())]
    assert same == ["RETENTION_SHORTEN", "SIMULATED"], (
        "no change is tried"
    )  # of those the cluster here has the other value


def test_with_all_of_them_taken_nothing_is_left_to_do(living: tuple[Environment, Mapping[str, NodeFacts]]) -> None:
    environment, facts = living
    assert not any(actions(environment, facts).values())


@pytest.mark.parametrize("key", of("followed"))
def test_a_followed_setting_that_is_changed_is_to_do(
    key: str, living: tuple[Environment, Mapping[str, NodeFacts]]
) -> None:
    environment, facts = living
    default = getattr(Settings(), key.lower())
    found = actions(with_(environment, key, default), facts)
    assert any(not isinstance(action, Stop) for node in found.values() for action in node), "ignored in silence"


@pytest.mark.parametrize("key", of("refused"))
def test_a_refused_setting_touches_nothing_on_any_node(
    key: str, living: tuple[Environment, Mapping[str, NodeFacts]]
) -> None:
    environment, facts = living
    value = KEYS[key].metadata["parse"](REFUSED[key])
    for name, found in actions(with_(environment, key, value), facts).items():
        assert isinstance(found[0], Stop), name
        assert found[0].id == STOP and REFUSED[key] in found[0].reason


@pytest.mark.parametrize("key", of("new nodes", "at once"))
def test_any_other_setting_changes_nothing_on_a_node_that_is_in(
    key: str, living: tuple[Environment, Mapping[str, NodeFacts]]
) -> None:
    environment, facts = living
    found = actions(with_(environment, key, KEYS[key].metadata["parse"](OTHERS[key])), facts)
    assert not [action.id for node in found.values() for action in node]


def test_what_a_node_and_a_cluster_were_made_with_is_refused_where_no_setting_names_it_alone(
    living: tuple[Environment, Mapping[str, NodeFacts]],
) -> None:
    environment, facts = living
    driver = with_(environment, "KUBELET_CONFIG", {"maxPods": 50, "cgroupDriver": "cgroupfs"})
    # the kubelets' own domain may be another one; kubeadm's copy says what the cluster answers for
    domain = with_(with_(environment, "KUBELET_CONFIG", {"clusterDomain": "cluster.local"}), "DNS_DOMAIN", "corp.local")
    for changed, words in (
        (driver, ("cgroupDriver systemd", "cgroupfs")),
        (domain, ("DNS_DOMAIN cluster.local", "corp.local")),
    ):
        for found in actions(changed, facts).values():
            assert isinstance(found[0], Stop) and all(word in found[0].reason for word in words)
    first, *others = environment.workers
    moved = replace(environment, workers=(replace(first, address="10.2.0.222"), *others))
    found_of = actions(moved, facts)
    stop = found_of.pop(first.name)[0]
    assert isinstance(stop, Stop) and stop.id == STOP and first.address in stop.reason and "10.2.0.222" in stop.reason
    assert f"private={first.address}" in stop.remedy
    assert not any(found_of.values()), "no other node has to do with it"
