"""Labels and taints of a node's line: their form, and what is set on a Node, changed and taken off; others' stay."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fabfile.errors import UsageError
from fabfile.inventory import Environment, load
from fabfile.inventory.find import NAME
from fabfile.inventory.labels import RESERVED, Taint, labels, taints
from fabfile.nodes.facts import STATE, NodeFacts, Unit
from fabfile.phases import BOOTSTRAP, EVERY
from fabfile.phases.labels import NOTE, SHARED, mark
from fabfile.phases.labels import labels as labelling
from fabfile.recipes.kubeadm import recipe_for
from fabfile.steps import Step, Stop, Wait
from fabfile.text.masking import Token
from fabfile.views.plan import plan
from making import api_node, bare, context, control_plane, environment, ids, member

# --- the form

WRONG = [
    ("labels=disk=ss!d", "labels at character 8: value 'ss!d'", "labels=disk=ss-d"),
    ("labels=a=b,-c=d", "labels at character 5: key '-c'", "labels=a=b,c=d"),
    ("labels=a=b,,c=d", "labels at character 5: nothing between two commas", "labels=a=b,c=d"),
    ("labels=a=b,a=c", "labels at character 5: a is there twice", "labels=a=b"),
    ("labels=Ex.Com/a=b", "labels at character 1: 'Ex.Com' before the / is not a DNS name in lower case. Write ex.com/a", "labels=ex.com/a=b"),
    (f"labels=a={'x' * 64}", "labels at character 3: value", f"labels=a={'x' * 63}"),
    ("labels=kubernetes.io/hostname=x", "is set by Kubernetes itself or by kubefab", "labels=node-role.kubernetes.io/worker"),
    ("taints=gpu=yes", "taints at character 8: 'no effect' is not one of NoSchedule, PreferNoSchedule, NoExecute. Write gpu=yes:NoSchedule", "taints=gpu=yes:NoSchedule"),
    ("taints=gpu:noschedule", "taints at character 5: 'noschedule' is not one of", "taints=gpu:NoSchedule"),
    ("taints=a:NoExecute,a=b:NoExecute", "taints at character 13: a:NoExecute is there twice", "taints=a:NoExecute,a=b:NoSchedule"),
    ("taints=node.kubernetes.io/unschedulable:NoSchedule", "is set by Kubernetes itself or by kubefab", "taints=x.y/z=1:PreferNoSchedule"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "said", "works"), WRONG, ids=[words[:30] for words, _, _ in WRONG])
def test_a_wrong_label_or_taint_is_named_with_its_place_and_what_works(
    tmp_path: Path, words: str, said: str, works: str
) -> None:
    def read(words: str) -> Environment:
        (tmp_path / NAME).write_text(
            f'A_CONTROL_PLANE=192.0.2.1\nA_WORKER_1="192.0.2.2 {words}"\nA_WORKER_2=192.0.2.3\n'
        )
        return load("a", hosts_file=tmp_path / NAME, variables={})

    with pytest.raises(UsageError) as caught:
        read(words)
    assert "hosts.env:2: A_WORKER_1: " in caught.value.message and said in caught.value.message
    assert read(works).workers[0] != read("").workers[0]


def test_labels_for_1_5_and_taints_on_every_worker_are_refused(tmp_path: Path) -> None:
    text = 'A_CONTROL_PLANE=192.0.2.1\nA_WORKER_1="192.0.2.2 taints=a:NoSchedule"\n'
    for more, said in (("", "so the dashboard's has no place"), ("A_KUBERNETES=1.5\n", "for today's releases")):
        (tmp_path / NAME).write_text(text + more)
        with pytest.raises(UsageError) as caught:
            load("a", hosts_file=tmp_path / NAME, variables={})
        assert said in caught.value.message
    (tmp_path / NAME).write_text(text + "A_DASHBOARD=none\n")
    assert load("a", hosts_file=tmp_path / NAME, variables={}).workers[0].taints == (Taint("a", "NoSchedule"),)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    for read, again in (
        (labels, lambda found: ",".join(f"{k}={v}" for k, v in found)),
        (taints, lambda found: ",".join(map(str, found))),
    ):
        try:
            found = read(text)  # type: ignore[operator]
        except ValueError as error:
            assert "haracter" in str(error) or "at most" in str(error)
            continue
        assert read(again(found)) == found, "what was read is written the same way"  # type: ignore[no-untyped-call,operator]


# --- decisions: what the line says, what the Node has, what is noted as ours


def lined(words: str) -> Environment:
    env = environment(workers=1)
    said = dict(word.split("=", 1) for word in words.split())
    one = replace(
        env.workers[0],
        labels=labels(said["labels"]) if "labels" in said else (),
        taints=taints(said.get("taints", "")) if "taints" in said else (),
    )
    return replace(env, workers=(one,))


def seen(env: Environment, on_node: str, note: str | None, *, marked: bool = False) -> tuple[NodeFacts, NodeFacts]:
    """The worker's facts, and the control plane's with its Node."""
    item: dict[str, Any] = api_node("w1")
    said = dict(word.split("=", 1) for word in on_node.split())
    item["metadata"]["labels"] = {
        "kubernetes.io/hostname": "w1",
        **dict(labels(said["labels"]) if "labels" in said else ()),
    }
    item["spec"] = {"taints": [t.data() for t in taints(said["taints"])] if "taints" in said else []}
    if note is not None:
        noted = dict(word.split("=", 1) for word in note.split())
        text = {
            "labels": dict(labels(noted["labels"]) if "labels" in noted else ()),
            "taints": {t.name: t.value for t in taints(noted["taints"])} if "taints" in noted else {},
        }
        item["metadata"]["annotations"] = {NOTE: json.dumps(text)}
    own = member(env)
    own = replace(own, undo=own.undo | ({mark(env.workers[0])} if marked else set()))
    control = control_plane(env, members=("cp1",))
    return own, replace(control, nodes=(*control.nodes, item))


DECISIONS = [
    # the line, the Node, the note; then what is done on the Node, in order
    ("", "", None, []),
    ("labels=a=1 taints=g=y:NoSchedule", "labels=a=1 taints=g=y:NoSchedule", "labels=a=1 taints=g=y:NoSchedule", []),
    ("labels=a=1", "", None, ["note a", "label a=1"]),
    ("taints=g=y:NoSchedule", "", None, ["note g:NoSchedule", "taint g=y:NoSchedule"]),
    ("labels=a=2", "labels=a=1", "labels=a=1", ["note a", "label a=2"]),
    ("", "labels=a=1 taints=g:NoExecute", "labels=a=1 taints=g:NoExecute", ["label a-", "taint g:NoExecute-", "no note"]),
    ("labels=b=1", "labels=a=1", "labels=a=1", ["note a b", "label b=1 a-", "note b"]),
    # others': left alone, or a refusal where the line wants another value
    ("", "labels=a=1 taints=g:NoExecute", None, []),
    ("", "labels=a=2", "labels=a=1", ["no note"]),
    ("labels=a=1", "labels=a=1", None, []),
    ("labels=b=1", "labels=a=1", None, ["note b", "label b=1"]),
    ("labels=a=2", "labels=a=1", None, ["refused"]),
    ("labels=a=2", "labels=a=3", "labels=a=1", ["refused"]),
    ("taints=g=y:NoSchedule", "taints=g=n:NoSchedule", None, ["refused"]),
    ("taints=g=y:NoSchedule", "taints=g=y:NoExecute", None, ["note g:NoSchedule", "taint g=y:NoSchedule"]),
]  # fmt: skip


def done(actions: list[Any]) -> list[str]:
    if isinstance(actions[0] if actions else None, Stop):
        return ["refused"]
    words = []
    for line in (line for action in actions if isinstance(action, Step) for line in action.commands):
        verb, rest = line.replace(" w1 --overwrite ", " w1 ").split(" w1 ")
        replaces = "annotate" in verb or rest == "a=2"
        assert ("--overwrite" in line) == replaces, "only what was seen there, and is ours, is replaced"
        if verb == "kubectl annotate node" and not rest.endswith("-"):
            said = json.loads(rest.strip("'").removeprefix(f"{NOTE}="))
            words.append("note " + " ".join([*said["labels"], *said["taints"]]))
        else:
            words.append("no note" if "annotate" in verb else f"{verb.split()[1]} {rest}")
    return words


@pytest.mark.parametrize(("line", "node", "note", "wanted"), DECISIONS)
def test_what_is_ours_follows_the_line_and_what_is_others_stays(
    line: str, node: str, note: str | None, wanted: list[str]
) -> None:
    env = lined(line)
    own, control = seen(env, node, note)
    actions = list(labelling(context(env, own, control=control), phase="join", registers=False))
    assert done(actions) == wanted
    if wanted and wanted != ["refused"]:
        assert ids(actions) == ["join.labels", "…join.labelled"], "a wait proves it"


def test_taints_that_the_worker_registered_with_are_ours_by_the_mark_on_the_machine() -> None:
    env = lined("taints=g=y:NoSchedule")
    for marked, wanted in ((False, []), (True, ["note g:NoSchedule"])):
        own, control = seen(env, "taints=g=y:NoSchedule", None, marked=marked)
        assert done(list(labelling(context(env, own, control=control), phase="join", registers=False))) == wanted


@pytest.mark.parametrize(
    "note",
    ["", "[]", "{", '{"labels": {"a; reboot": "1"}, "taints": {"g:Never": "", "x": ""}}', '{"labels": {"a": 1}}', "\0"],
)
def test_a_note_that_was_tampered_with_commands_nothing(note: str) -> None:
    env = lined("")
    own, control = seen(env, "labels=a=1", "")
    control.nodes[-1]["metadata"]["annotations"][NOTE] = note
    assert done(list(labelling(context(env, own, control=control), phase="join", registers=False))) in ([], ["no note"])


def test_another_machines_node_of_that_name_gets_nothing() -> None:
    env = lined("labels=a=1")
    own, control = seen(env, "", None)
    control.nodes[-1]["status"]["nodeInfo"]["machineID"] = "another"
    control.nodes[-1]["status"]["addresses"] = [{"type": "InternalIP", "address": "10.9.9.9"}]
    assert list(labelling(context(env, own, control=control), phase="join", registers=False)) == []


def test_a_kubelet_that_starts_again_gets_its_labels_when_its_node_was_seen() -> None:
    env = lined("labels=a=1")
    own, control = seen(env, "labels=a=2", None)
    stopped = replace(own, units={**own.units, "kubelet": Unit(False, True)})
    unseen = replace(control, nodes=control.nodes[:-1])
    for facts, there, wanted in (
        (stopped, unseen, []),
        (stopped, control, ["!join.labels"]),
        (own, unseen, ["join.labels", "…join.labelled"]),
    ):
        found = ids(bare(EVERY["join"])(context(env, facts, control=there)))
        assert [id for id in found if "label" in id] == wanted


def test_the_wait_says_what_is_still_missing() -> None:
    env = lined("labels=a=1 taints=g=y:NoSchedule")
    own, control = seen(env, "", None)
    _, wait = labelling(context(env, own, control=control), phase="join", registers=False)
    assert isinstance(wait, Wait)
    assert wait.until(json.dumps(control.nodes[-1])) == "label a=1, taint g=y:NoSchedule"
    assert wait.until("Error from server (NotFound)") == "Error from server (NotFound)"
    _, there = seen(env, "labels=a=1 taints=g=y:NoSchedule", "")
    assert wait.until(json.dumps(there.nodes[-1])) is None


# --- kubeadm's file, the plan, our own pods


def test_taints_are_registered_with_the_node_and_the_plan_shows_both() -> None:
    env = lined("labels=disk=ssd taints=g=y:NoSchedule")
    control = replace(env.control_plane, labels=(("zone", "a"),), taints=(Taint("big", "NoExecute"),))
    env = replace(env, control_planes=(control,))
    recipe = recipe_for(env)
    texts = (
        recipe.join_config(env.workers[0], member(env), Token("abcdef.0123456789abcdef"), "x"),
        recipe.init_config(member(env, "cp1"), Token("abcdef.0123456789abcdef")),
    )
    worker, first = (
        next(d for d in yaml.safe_load_all(text) if "nodeRegistration" in d)["nodeRegistration"]["taints"]
        for text in texts
    )
    assert worker == [{"key": "g", "value": "y", "effect": "NoSchedule"}]
    assert first == [
        {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"},
        {"key": "big", "effect": "NoExecute"},
    ]
    planned = {(p.node, p.phase): p.actions for p in plan(env, BOOTSTRAP, env.nodes)}
    for node, phase, title in (
        ("w1", "join", "label disk=ssd, taint g=y:NoSchedule"),
        ("cp1", "master", "label zone=a, taint big:NoExecute"),
    ):
        (step,) = (a for a in planned[node, phase] if isinstance(a, Step) and a.id == f"{phase}.labels")
        assert step.title.endswith(title) and step.on == "control-plane"
        assert not any("kubectl taint" in line for line in step.commands), "it registers with them"
    begun = next(a for a in planned["w1", "join"] if a.id == "join.join")
    assert isinstance(begun, Step) and any(
        line == f"touch /var/lib/kubefab/{mark(env.workers[0])}" for line in begun.commands
    )
    files = "".join(
        f.content
        for p in plan(env, BOOTSTRAP, env.nodes)
        for a in p.actions
        if isinstance(a, Step)
        for f in a.files
        if "manifests" in f.path
    )
    applied = {
        d["metadata"]["name"]: d
        for d in yaml.safe_load_all(files.replace("\napiVersion", "\n---\napiVersion"))
        if d and d.get("kind") == "DaemonSet"
    }
    tolerated = {
        name: {t.get("key"): t.get("effect") for t in d["spec"]["template"]["spec"]["tolerations"]}
        for name, d in applied.items()
    }
    assert tolerated["telegraf"].items() >= {"g": "NoSchedule", "big": "NoExecute"}.items()
    assert tolerated["kube-flannel-ds"]["big"] == "NoExecute"


# --- ordinary pods on the control plane

SCHEDULING = [
    # SCHEDULE_ON_CONTROL_PLANE, workers, the taint is there, kubefab took it off: what is done
    ("", 0, True, False, "taint off"),
    ("", 0, False, True, ""),
    ("", 0, False, False, ""),
    ("", 1, True, False, ""),
    ("", 1, False, True, "taint on"),
    ("", 1, False, False, ""),  # an operator took it off by hand
    ("yes", 1, True, False, "taint off"),
    ("yes", 0, True, True, "taint off"),
    ("yes", 1, False, True, ""),
    ("no", 0, False, False, "taint on"),
    ("no", 1, False, True, "taint on"),
    ("no", 0, True, False, ""),
]


@pytest.mark.parametrize(("asked", "workers", "there", "marked", "wanted"), SCHEDULING)
def test_the_control_planes_taint_follows_the_setting_and_the_workers(
    asked: str, workers: int, there: bool, marked: bool, wanted: str
) -> None:
    env = environment(workers=workers, **({"schedule_on_control_plane": asked} if asked else {}))
    facts = control_plane(env, members=("cp1", "w1")[: workers + 1], stamped=("flannel",))
    facts.nodes[0]["spec"] = {"taints": [RESERVED.data()] if there else []}
    facts = replace(facts, undo=facts.undo | ({SHARED} if marked else set()))
    found = [a for a in bare(EVERY["master"])(context(env, facts)) if a.id == "master.scheduling"]
    taint = f"kubectl taint node cp1 {RESERVED}"
    lines = {
        "": [],
        "taint off": [f"touch {STATE}/{SHARED}", f"{taint}-"],
        "taint on": [taint, f"rm -f {STATE}/{SHARED}"],
    }
    assert [line for a in found if isinstance(a, Step) for line in a.commands] == lines[wanted]
    another = replace(facts, nodes=())
    assert not [a for a in bare(EVERY["master"])(context(env, another)) if a.id == "master.scheduling"]


@pytest.mark.parametrize(
    ("asked", "workers", "shared"), [("", 0, True), ("", 1, False), ("yes", 1, True), ("no", 0, False)]
)
def test_init_registers_the_control_plane_as_the_setting_says_and_the_plan_shows_it(
    asked: str, workers: int, shared: bool
) -> None:
    env = environment(workers=workers, **({"schedule_on_control_plane": asked} if asked else {}))
    text = recipe_for(env).init_config(member(env, "cp1"), Token("abcdef.0123456789abcdef"))
    registration = next(d for d in yaml.safe_load_all(text) if "nodeRegistration" in d)["nodeRegistration"]
    # kubeadm's rule: no field, its own taint; an empty list, none
    assert registration.get("taints") == ([] if shared else None)
    (planned,) = (p for p in plan(env, BOOTSTRAP, env.nodes) if (p.node, p.phase) == ("cp1", "master"))
    (begun,) = (a for a in planned.actions if isinstance(a, Step) and a.id == "master.init")
    assert ("ordinary pods on the control plane" in begun.title) == shared
    assert (f"touch {STATE}/{SHARED}" in begun.commands) == shared


def test_the_setting_counts_the_control_plane_as_a_place_for_pods_and_is_refused_for_1_5(tmp_path: Path) -> None:
    text = 'A_CONTROL_PLANE=192.0.2.1\nA_WORKER_1="192.0.2.2 taints=a:NoSchedule"\nA_SCHEDULE_ON_CONTROL_PLANE='
    (tmp_path / NAME).write_text(f"{text}yes\n")
    assert load("a", hosts_file=tmp_path / NAME, variables={}).pods_on_control_plane
    for more, said in (
        ("no\n", "so the dashboard's has no place"),
        ("yes\nA_KUBERNETES=1.5\n", "hosts.env:3: SCHEDULE_ON_CONTROL_PLANE is for today's"),
    ):
        (tmp_path / NAME).write_text(text + more)
        with pytest.raises(UsageError) as caught:
            load("a", hosts_file=tmp_path / NAME, variables={})
        assert said in caught.value.message


def test_without_labels_and_taints_nothing_is_sent_that_was_not_before() -> None:
    env = environment(workers=1)
    assert "taints" not in recipe_for(env).join_config(
        env.workers[0], member(env), Token("abcdef.0123456789abcdef"), "x"
    )
    assert not any("labels" in a.id for p in plan(env, BOOTSTRAP, env.nodes) for a in p.actions)
