"""`inv cluster.plan`: made from the same phases, without a connection, the same each time, without secrets."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from fabfile.identity import Record, remember
from fabfile.inventory import load
from fabfile.phases import BOOTSTRAP, RESET
from fabfile.steps import File, Step
from fabfile.text.masking import register
from fabfile.views.plan import Planned, alike, as_data, as_text, assumed, difference, plan
from making import ALL_STAMPED, control_plane, environment, ids, member


@pytest.fixture(autouse=True)
def no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("a plan connected to something")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def lines(env: Any, *, commands: bool = False) -> list[str]:
    return [
        f"{p.node} {p.phase}: {line}"
        for p in plan(env, BOOTSTRAP, env.nodes)
        for line in as_text(p, env, commands=commands)
    ]


@pytest.mark.parametrize("name", ["aws", "datacenter", "lab", "rehearsal"])
def test_a_plan_of_a_fresh_cluster_has_every_phase(name: str) -> None:
    env = load(name, variables={})
    if env.settings.kubernetes.startswith("1.5"):
        pytest.skip("another recipe")
    planned = list(plan(env, BOOTSTRAP, env.nodes))
    assert {p.node for p in planned} == {n.name for n in env.nodes}
    assert [p.phase for p in planned if p.node == "cp1"] == [p.name for p in BOOTSTRAP if p.name != "join"]
    assert not any(i.startswith("!") for p in planned for i in ids(p.actions))


def test_a_plan_of_fresh_machines_does_not_depend_on_the_clusters_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    env = environment()
    before = lines(env)
    remember(env, Record("11111111-2222-3333-4444-555555555555"))
    assert lines(env) == before
    bare = {node.name: assumed(node, env) for node in env.nodes}
    assert "!master.lost" in [i for p in plan(env, BOOTSTRAP, env.nodes, bare) for i in ids(p.actions)], (
        "observed nodes are compared with it"
    )


def test_phases_come_in_the_manuals_order_and_the_plan_is_stable() -> None:
    env = environment(workers=3)
    order = [p.name for p in BOOTSTRAP]
    phases = [p.phase for p in plan(env, BOOTSTRAP, env.nodes)]
    assert phases == sorted(phases, key=order.index)
    assert lines(env, commands=True) == lines(env, commands=True)


def test_a_healthy_cluster_has_an_empty_plan() -> None:
    env = environment()
    seen = {
        "cp1": control_plane(env, members=("cp1", "w1", "w2"), stamped=ALL_STAMPED),
        "w1": member(env, "w1"),
        "w2": member(env, "w2"),
    }
    assert list(plan(env, BOOTSTRAP, env.nodes, seen)) == []


def test_a_node_that_could_not_be_observed_is_left_out() -> None:
    env = environment()
    seen = {"cp1": control_plane(env, members=("cp1", "w1", "w2"), stamped=ALL_STAMPED)}
    assert {p.node for p in plan(env, BOOTSTRAP, env.nodes, seen)} <= {"cp1"}


def test_without_an_observed_node_the_plan_is_empty() -> None:
    env = environment()
    assert list(plan(env, BOOTSTRAP, env.nodes, {})) == []


def test_a_reset_of_assumed_fresh_machines_is_empty() -> None:
    env = environment()
    assert list(plan(env, [RESET], env.nodes)) == []


def test_a_plan_as_data_is_json_with_every_step() -> None:
    env = environment()
    data = json.loads(json.dumps([as_data(p, env) for p in plan(env, BOOTSTRAP, env.nodes)]))
    init = next(s for p in data if p["phase"] == "master" for s in p["steps"] if s["id"] == "master.init")
    assert init["kind"] == "step"
    assert any("kubeadm init --config" in line for line in init["commands"])
    assert init["files"] == [{"path": "/run/kubefab-init.yaml", "mode": "0600", "sha256": None, "diff": None}]
    assert {s["kind"] for p in data for s in p["steps"]} == {"step", "wait"}


def test_commands_show_files_sizes_and_remedies() -> None:
    shown = "\n".join(lines(environment(), commands=True))
    assert "write /run/kubefab-init.yaml (0600, secret)" in shown
    assert "write /etc/crictl.yaml (0644, " in shown
    assert "after 60 s: restart the kubelet" in shown
    assert "(on the control plane)" in shown


def test_no_secret_is_in_any_form_of_a_plan() -> None:
    env = environment(
        registry="r:5000", registry_user="kubefab", registry_password="planted-in-a-plan", registry_mirrors="docker.io"
    )
    register("planted-in-a-plan")
    planned = list(plan(env, BOOTSTRAP, env.nodes))
    shown = "\n".join(lines(env, commands=True)) + json.dumps([as_data(p, env) for p in planned])
    for secret in ("planted-in-a-plan", "a3ViZWZhYjpwbGFudGVkLWluLWEtcGxhbg"):
        assert secret not in shown


def test_a_command_with_something_like_a_token_in_it_is_masked() -> None:
    step = Step("join.x", "x", ("kubeadm join --token abcdef.0123456789abcdef",), files=(File("/x", "y\n"),))
    shown = "\n".join(as_text(Planned("w1", "join", (step,)), environment(), commands=True)) + json.dumps(
        as_data(Planned("w1", "join", (step,)), environment())
    )
    assert "0123456789abcdef" not in shown


def test_a_plan_states_its_assumptions() -> None:
    env = environment()
    assert "assumed" in assumed(env.workers[0], env).os_name


def test_nodes_whose_steps_are_alike_are_one_group() -> None:
    env = environment(workers=4)
    groups = alike(plan(env, BOOTSTRAP, env.nodes), env)
    assert [(one.title, one.first.phase) for one in groups if one.first.phase in ("prep", "install", "join")] == [
        ("cp1", "prep"), ("w1–w4 (as on w1)", "prep"), ("cp1, w1–w4", "install"), ("w1–w4 (as on w1)", "join"),
    ]  # fmt: skip
    assert sum(len(one.names) for one in groups) == len(list(plan(env, BOOTSTRAP, env.nodes))), "nothing is left out"


def test_a_node_with_another_step_file_or_command_is_no_part_of_the_group() -> None:
    env = environment(workers=3)

    def step(*commands: str, content: str = "same") -> tuple[Step, ...]:
        return (Step("prep.x", "x", commands, files=(File("/x", content),)),)

    planned = [
        Planned("w1", "prep", step("hello w1")), Planned("w2", "prep", step("hello w2", content="other")), Planned("w3", "prep", step("hello w3")),
    ]  # fmt: skip
    assert [one.names for one in alike(planned, env)] == [("w1", "w3"), ("w2",)]
    before = {("w1", "/x"): "old", ("w3", "/x"): None}
    assert [one.names for one in alike(planned, env, before)] == [("w1",), ("w2",), ("w3",)], "what it changes differs"


@pytest.mark.parametrize(
    ("file", "before", "shown"),
    [
        (File("/x", "a\nb\n"), None, ["--- /dev/null", "+++ /x", "@@ -0,0 +1,2 @@", "+a", "+b"]),
        (File("/x", "a\nc\n"), "a\nb\n", ["--- /x", "+++ /x", "@@ -1,2 +1,2 @@", " a", "-b", "+c"]),
        (File("/x", "a\n"), "a\n", []),
        (File("/x", "p: one\n", mode="0600", secret=True), "p: two\n", ["(a secret: not shown)"]),
        (File("/x", "p: planted-in-a-diff\n"), "p: abcdef.0123456789abcdef\n", ["--- /x", "+++ /x", "@@ -1 +1 @@", "-p: [secret]", "+p: [secret]"]),
    ],
    ids=str,
)  # fmt: skip
def test_a_diff_shows_what_a_file_will_become_without_secrets(file: File, before: str | None, shown: list[str]) -> None:
    register("planted-in-a-diff")
    found = difference(file, before)
    assert not any(word in line for line in found for word in ("planted", "0123456789abcdef", "one", "two"))
    if file.secret or before is None or "[secret]" not in str(shown):
        assert found == shown
    else:
        assert found[:3] == shown[:3] or found == ["(only in what is secret)"]
