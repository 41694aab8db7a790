"""When a value in a component's configuration is the one that was set, and which fields there are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
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
from fabfile.nodes.facts import COMPONENT_PATCHES, STATE, Component, NodeFacts
from fabfile.phases.follow import OF_CLUSTER, changed, configmap, kubelet, note, of_kubeadm, spoke, unexplained
from fabfile.recipes import kubeadm
from fabfile.recipes.kubeadm import merged
from fabfile.steps import Step
from fabfile.text.yamls import documents
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


def recorded(release: str) -> dict[str, dict[str, Any]]:
    """What a real kubeadm of that release puts into the ConfigMaps."""
    kubelet_config, proxy_config = documents((RECORDED / f"kubeadm-{release}.yaml").read_text())
    return {KUBELET: kubelet_config, PROXY: proxy_config}


RECORDED = Path(__file__).parent / "recorded"
OF_KUBEADM, PROXYS = recorded("1.36.1").values()


@pytest.mark.parametrize("release", ["1.36.1", "1.36.3", "1.37.2"])
@pytest.mark.parametrize("component", [KUBELET, PROXY])
def test_the_table_of_what_kubeadm_fills_in_is_a_real_kubeadms(release: str, component: str) -> None:
    """Nothing more and nothing less, but for what differs by cluster and what kubeadm decides on each node."""
    ctx = context(environment(kubernetes=release), control_plane(environment(kubernetes=release)))
    said = {
        path: value
        for path, value in leaves(recorded(release)[component])
        if components.is_set(component, path, value) and value not in ("0s", "0") and path[0] not in OF_CLUSTER
    }
    table = of_kubeadm(ctx, component)
    on_each_node = {("containerRuntimeEndpoint",)} if component == KUBELET else set()
    assert {path: value for path, value in table.items() if path not in on_each_node} == said


@pytest.mark.parametrize(("release", "value"), [("1.36.3", None), ("1.37.2", "iptables")])
def test_a_mode_that_hosts_env_names_no_more_is_kubeadms_again(release: str, value: str | None) -> None:
    """From 1.37 on kubeadm writes one; without it kube-proxy would follow a later release's own choice."""
    env = environment(kubernetes=release)
    held = merged(recorded(release)[PROXY], {"mode": "nftables"})
    facts = control_plane(env, components={PROXY: Component(held, "8")}, followed={PROXY: {"mode": "nftables"}})
    (step,) = (one for one in configmap(context(env, facts), PROXY, "master") if isinstance(one, Step))
    patch = json.loads(next(file.content for file in step.files if file.path == COMPONENT_PATCHES[PROXY]))
    (back,) = documents(patch["data"]["config.conf"])
    assert back.get("mode") == value


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


@pytest.mark.parametrize("release", ["1.36.1", "1.36.3", "1.37.2"])
def test_kubeadms_own_configuration_has_nothing_unexplained(release: str) -> None:
    env, own = environment(kubernetes=release), recorded(release)
    maps = {KUBELET: Component(own[KUBELET], "7"), PROXY: Component(own[PROXY], "8")}
    facts = control_plane(env, components=maps, kubelet_config=own[KUBELET])
    assert all(unexplained(context(env, facts), one, facts) == {} for one in (KUBELET, PROXY))
    assert followed(env, facts) == []
    assert list(kubelet(context(env, member(env, kubelet_config=own[KUBELET]), control=facts), "join")) == []


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
