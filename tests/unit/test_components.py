"""When a value in a component's configuration is the one that was set, and which fields there are."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile.identity import after
from fabfile.inventory import Environment, components
from fabfile.inventory.components import (
    KUBELET,
    PROXY,
    RELEASES,
    at,
    fields,
    leaves,
    same,
    too_new,
    unknown,
    without,
)
from fabfile.nodes.facts import STATE, Component, NodeFacts
from fabfile.phases.follow import changed, configmap, kubelet, note, spoke, unexplained
from fabfile.recipes import kubeadm
from fabfile.recipes.kubeadm import merged
from fabfile.steps import Step
from making import ALL_STAMPED, context, control_plane, environment, member

SAME = [
    (KUBELET, "syncFrequency", "60s", "1m0s"),
    (KUBELET, "syncFrequency", "1500ms", "1.5s"),
    (KUBELET, "maxPods", 50, 50),
    (KUBELET, "readOnlyPort", 0, None),
    (KUBELET, "serverTLSBootstrap", False, None),
    (KUBELET, "clusterDNS", ["10.96.0.10"], ["10.96.0.10"]),
    (KUBELET, "clusterDNS", [], None),
    (KUBELET, "featureGates", {}, None),
    (KUBELET, "evictionHard.memory.available", "1024Mi", "1Gi"),
    (KUBELET, "reservedMemory", [{"numaNode": 0, "limits": {"memory": "1024Mi"}}], [{"numaNode": 0, "limits": {"memory": "1Gi"}}]),
    (KUBELET, "registerWithTaints", [{"key": "a", "value": "", "effect": "NoExecute"}], [{"key": "a", "effect": "NoExecute"}]),
    (PROXY, "mode", "", ""),
    (PROXY, "conntrack.udpTimeout", "120s", "2m0s"),
]  # fmt: skip
OTHER = [
    (KUBELET, "failSwapOn", False, None),
    (KUBELET, "failSwapOn", False, True),
    (KUBELET, "registryPullQPS", 0, None),
    (KUBELET, "registryPullQPS", 0, 5),
    (KUBELET, "featureGates.X", False, None),
    (KUBELET, "evictionHard.memory", "0", None),
    (KUBELET, "authentication.webhook.enabled", False, None),
    (KUBELET, "maxPods", 1, True),
    (KUBELET, "syncFrequency", "1m", "1s"),
    (KUBELET, "registerWithTaints", [{"key": "a", "value": "b"}], [{"key": "a"}]),
    (PROXY, "conntrack.maxPerCore", 0, None),
]


def _path(name: str) -> tuple[str, ...]:
    first, _, rest = name.partition(".")
    return (first, rest) if first == "evictionHard" else tuple(name.split("."))


@pytest.mark.parametrize(("component", "name", "wanted", "found"), SAME)
def test_a_value_that_kubeadm_spells_its_own_way_is_the_same(
    component: str, name: str, wanted: Any, found: Any
) -> None:
    assert same(component, _path(name), wanted, found)


@pytest.mark.parametrize(("component", "name", "wanted", "found"), OTHER)
def test_a_value_with_another_meaning_is_not(component: str, name: str, wanted: Any, found: Any) -> None:
    assert not same(component, _path(name), wanted, found)


@pytest.mark.parametrize(
    ("component", "config", "says"),
    [
        (KUBELET, {"maxPod": 50}, "maxPod is no field of the KubeletConfiguration. Did you mean maxPods?"),
        (KUBELET, {"authentication": {"anonymus": {"enabled": True}}}, "authentication.anonymus is no field of the KubeletConfiguration. Did you mean authentication.anonymous?"),
        (KUBELET, {"mode": "ipvs"}, "mode is no field of the KubeletConfiguration"),
        (KUBELET, {"authentication": True}, "authentication has fields of its own: "),
        (KUBELET, {"rotateCertificates": False}, "rotateCertificates is always true on a node of kubeadm"),
        (PROXY, {"ipvs": {"strictArp": True}}, "ipvs.strictArp is no field of the KubeProxyConfiguration. Did you mean ipvs.strictARP?"),
        (PROXY, {"ipvs": {"strictARP": True}, "mode": "ipvs", "kind": "KubeProxyConfiguration"}, ""),
        (KUBELET, {"featureGates": {"AnyName": True}, "evictionHard": {"memory.available": "100Mi"}, "logging": None, "rotateCertificates": True}, ""),
    ],
)  # fmt: skip
def test_a_field_that_the_component_does_not_have_is_named(component: str, config: dict[str, Any], says: str) -> None:
    found = unknown(component, config)
    assert found.startswith(says) and bool(found) is bool(says)


def test_a_field_is_taken_from_the_release_on_that_has_it() -> None:
    """kubeadm of an earlier one drops it in silence, and each run would restart the kubelet for it again."""
    assert tuple(kubeadm.RELEASES) == RELEASES, "the fields of each release that kubefab knows are in the tables"
    for name, since in components.SINCE.items():
        assert name in fields(KUBELET)
        for minor in (*RELEASES, "1.99"):
            late = too_new({"maxPods": 50, name: {}}, minor)
            assert late.startswith(name) if minor in RELEASES[: RELEASES.index(since)] else not late, (name, minor)


# --- any change of the file

_NAMES = ("maxPods", "featureGates", "evictionHard", "failSwapOn", "syncFrequency", "readOnlyPort", "cgroupDriver")
_VALUES = {
    "maxPods": st.integers(1, 3),
    "featureGates": st.dictionaries(st.sampled_from("AB"), st.booleans(), max_size=2),
    "evictionHard": st.dictionaries(st.sampled_from(("memory.available", "x")), st.sampled_from(("1Gi", "1024Mi")), max_size=2),
    "failSwapOn": st.booleans(),
    "syncFrequency": st.sampled_from(("60s", "1m0s", "2m0s")),
    "readOnlyPort": st.sampled_from((0, 10255)),
    "cgroupDriver": st.sampled_from(("systemd", "cgroupfs")),
}  # fmt: skip
CONFIGS = st.lists(st.sampled_from(_NAMES), unique=True).flatmap(
    lambda names: st.fixed_dictionaries({name: _VALUES[name] for name in names})
)


@given(CONFIGS, CONFIGS, CONFIGS)
def test_the_map_gets_what_the_file_says_and_loses_what_it_said_and_nothing_else_changes(
    held: dict[str, Any], before: dict[str, Any], now: dict[str, Any]
) -> None:
    held = merged(held, before)
    env = environment()
    object.__setattr__(env.settings, "kubelet_config", now)
    facts = control_plane(
        env, stamped=ALL_STAMPED, components={KUBELET: Component(held, "7")}, followed={KUBELET: before}
    )
    ctx = context(env, facts)
    actions = list(configmap(ctx, KUBELET, "master"))
    then = after(facts, actions).components[KUBELET].config
    for path, value in leaves(now):
        assert same(KUBELET, path, value, at(then, path))
    paths, gone = [path for path, _ in leaves(now)], [path for path, _ in leaves(before)]
    for path in gone:
        if not any(one[: len(path)] == path or path[: len(one)] == one for one in paths):
            assert at(then, path) in (None, "systemd", 0, {}), "kubeadm's own"
    others = [path for path, _ in leaves(held) if not any(one[0] == path[0] for one in (*paths, *gone))]
    assert all(at(then, path) == at(held, path) for path in others)
    assert list(configmap(context(env, after(facts, actions)), KUBELET, "master")) == []
    assert all(isinstance(action, Step) and '"resourceVersion": "7"' in action.files[-1].content for action in actions)


# kubeadm 1.36's own, as `kubectl -n kube-system get configmap kubelet-config` has it
OF_KUBEADM: dict[str, Any] = {
    "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
    "authentication": {"anonymous": {"enabled": False}, "webhook": {"cacheTTL": "0s", "enabled": True}, "x509": {"clientCAFile": "/etc/kubernetes/pki/ca.crt"}},
    "authorization": {"mode": "Webhook", "webhook": {"cacheAuthorizedTTL": "0s", "cacheUnauthorizedTTL": "0s"}},
    "cgroupDriver": "systemd", "clusterDNS": ["10.96.0.10"], "clusterDomain": "cluster.local", "containerRuntimeEndpoint": "",
    "cpuManagerReconcilePeriod": "0s", "crashLoopBackOff": {}, "evictionPressureTransitionPeriod": "0s", "fileCheckFrequency": "0s",
    "healthzBindAddress": "127.0.0.1", "healthzPort": 10248, "httpCheckFrequency": "0s", "imageMaximumGCAge": "0s", "imageMinimumGCAge": "0s",
    "logging": {"flushFrequency": 0, "options": {"json": {"infoBufferSize": "0"}, "text": {"infoBufferSize": "0"}}, "verbosity": 0},
    "memorySwap": {}, "nodeStatusReportFrequency": "0s", "nodeStatusUpdateFrequency": "0s", "rotateCertificates": True, "runtimeRequestTimeout": "0s",
    "shutdownGracePeriod": "0s", "shutdownGracePeriodCriticalPods": "0s", "staticPodPath": "/etc/kubernetes/manifests",
    "streamingConnectionIdleTimeout": "0s", "syncFrequency": "0s", "volumeStatsAggPeriod": "0s",
}  # fmt: skip
PROXYS: dict[str, Any] = {
    "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "bindAddress": "0.0.0.0", "bindAddressHardFail": False,
    "clientConnection": {"acceptContentTypes": "", "burst": 0, "contentType": "", "kubeconfig": "/var/lib/kube-proxy/kubeconfig.conf", "qps": 0},
    "clusterCIDR": "10.44.0.0/16", "configSyncPeriod": "0s", "conntrack": {"maxPerCore": None, "min": None, "tcpCloseWaitTimeout": None},
    "detectLocal": {"bridgeInterface": "", "interfaceNamePrefix": ""}, "detectLocalMode": "", "enableProfiling": False, "healthzBindAddress": "",
    "iptables": {"localhostNodePorts": None, "masqueradeAll": False, "masqueradeBit": None, "minSyncPeriod": "0s", "syncPeriod": "0s"},
    "ipvs": {"excludeCIDRs": None, "strictARP": False, "tcpTimeout": "0s"}, "mode": "", "nodePortAddresses": None, "oomScoreAdj": None, "portRange": "",
}  # fmt: skip


@given(CONFIGS, CONFIGS)
def test_without_a_note_what_neither_hosts_env_nor_kubeadm_put_there_is_said_once_and_stays(
    earlier: dict[str, Any], now: dict[str, Any]
) -> None:
    env = environment()
    object.__setattr__(env.settings, "kubelet_config", now)
    held = merged(merged(OF_KUBEADM, earlier), now)
    maps = {KUBELET: Component(held, "7"), PROXY: Component(PROXYS, "8")}
    facts = control_plane(env, stamped=ALL_STAMPED, components=maps, kubelet_config=held)

    strange = [path for path, value in leaves(earlier) if not same(KUBELET, path, value, at(OF_KUBEADM, path))]
    here = {path for path, _ in leaves(now)}
    lost = {path for path in strange if not any(one[: len(path)] == path or path[: len(one)] == one for one in here)}
    assert set(unexplained(context(env, facts), KUBELET, facts)) == lost
    found = followed(env, facts)
    said = [one.says for one in found if one.says]
    assert len(said) == bool(lost) and all("cannot be known" in one for one in said)
    noted = taken(facts, found)
    assert (KUBELET in noted.followed) == bool(lost or now)
    assert not [one for one in followed(env, noted) if one.says], "said once"
    assert all(at(noted.components[KUBELET].config, path) == at(held, path) for path in lost), "it stays"
    # as it says: named once, then taken out
    object.__setattr__(env.settings, "kubelet_config", merged(earlier, now))
    noted = taken(noted, followed(env, noted))
    object.__setattr__(env.settings, "kubelet_config", now)
    noted = taken(noted, followed(env, noted))
    assert not unexplained(context(env, noted), KUBELET, noted)


def followed(env: Environment, facts: NodeFacts) -> list[Step]:
    """The steps that bring KUBELET_CONFIG to the ConfigMap and to the control plane's own kubelet."""
    ctx = context(env, facts)
    return [one for one in (*configmap(ctx, KUBELET, "master"), *kubelet(ctx, "master")) if isinstance(one, Step)]


def taken(facts: NodeFacts, steps: list[Step]) -> NodeFacts:
    """The facts after them: the last note that was written, the ConfigMap, and the kubelet's file, which has the same."""
    notes = [file.content for one in steps for file in one.files if file.path == f"{STATE}/followed-kubelet"]
    now = after(facts, steps)
    note = {KUBELET: json.loads(notes[-1])} if notes else facts.followed
    return replace(now, followed=note, kubelet_config=now.components[KUBELET].config)


def test_kubeadms_own_configuration_has_nothing_unexplained() -> None:
    env = environment()
    maps = {KUBELET: Component(OF_KUBEADM, "7"), PROXY: Component(PROXYS, "8")}
    facts = control_plane(env, components=maps, kubelet_config=OF_KUBEADM)
    assert all(unexplained(context(env, facts), one, facts) == {} for one in (KUBELET, PROXY))
    assert followed(env, facts) == []
    assert list(kubelet(context(env, member(env, kubelet_config=OF_KUBEADM), control=facts), "join")) == []


def test_what_cannot_be_read_decides_nothing() -> None:
    env = environment(kubelet_config='{"maxPods": 50}')
    assert list(configmap(context(env, control_plane(env)), KUBELET, "master")) == []


def test_a_cluster_without_such_settings_gets_no_note() -> None:
    env = environment()
    assert note(context(env, control_plane(env)), KUBELET) == ()


def test_fields_are_changed_in_their_places() -> None:
    config = {"a": 1, "b": {"c": 2, "d": 3}, "e": 4}
    assert changed(config, {("b", "c"): 9, ("e",): None, ("f", "g"): 5}) == {
        "a": 1,
        "b": {"c": 9, "d": 3},
        "f": {"g": 5},
    }
    assert list(changed(config, {("a",): 7})) == list(config)
    assert without(config, ("b", "x")) == config
    assert fields(PROXY)["conntrack"].pointers >= {"maxPerCore", "min"}


SINCE, LATER, LINK = "2026-11-29T09:00:00.000001Z", "2026-11-29T09:00:00.000002Z", '[{"ifname": "flannel.1", "addr_info": [{"local": "10.44.1.0", "prefixlen": 32}]}]'  # fmt: skip


@pytest.mark.parametrize(
    ("since", "lease", "ready", "links", "seen"),
    [
        (SINCE, LATER, "True", LINK, None),
        (SINCE, SINCE, "True", LINK, "it has not spoken with the API since it was restarted"),
        (LATER, SINCE, "True", LINK, "it has not spoken with the API since it was restarted"),
        ("", LATER, "True", LINK, "it has not spoken with the API since it was restarted"),
        (SINCE, "9", "True", LINK, "it has not spoken with the API since it was restarted"),
        (SINCE, LATER, "False", LINK, "the node is not Ready"),
        (SINCE, LATER, "", LINK, "the node is not Ready"),
        (SINCE, LATER, "True", "[]", "no flannel.1"),
        ("refused", LATER, "True", LINK, "it did not come up with this configuration, and the one of before was put back"),
    ],
)  # fmt: skip
def test_a_kubelet_is_back_when_it_renewed_its_lease_since(
    since: str, lease: str, ready: str, links: str, seen: str | None
) -> None:
    until = spoke(context(environment(), control_plane(environment())))
    assert until(f"since {since}\nlease {lease}\nready {ready}\n{links}\n") == seen
