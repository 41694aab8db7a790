"""The operator's hooks around a phase: which files, when they run, what a machine gets, and scripts on this machine."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fabfile.errors import UsageError
from fabfile.inventory import Environment, load
from fabfile.inventory.beside import CHAPTERS
from fabfile.inventory.find import NAME
from fabfile.inventory.model import Hook
from fabfile.phases import BOOTSTRAP, EVERY
from fabfile.phases.hooks import hooked
from fabfile.run import local
from fabfile.steps import Action, Step, Stop, Wait
from fabfile.text.masking import Secret
from fabfile.views.plan import as_text, plan
from making import context, environment, fresh, ids, member

HOSTS = "A_CONTROL_PLANE=192.0.2.1\nA_WORKER_1=192.0.2.2\nB_CONTROL_PLANE=192.0.2.3\nS_CONTROL_PLANE=127.0.0.1\nS_SIMULATED=yes\n"
SCRIPT = "#!/bin/bash\ntrue\n"


@pytest.fixture
def beside(tmp_path: Path) -> Callable[..., Environment]:
    def make(name: str = "a", *, mode: int = 0o755, **files: str) -> Environment:
        (tmp_path / NAME).write_text(HOSTS)
        for path, text in files.items():
            place = tmp_path / "hooks" / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
            place.chmod(mode)
        return load(name, hosts_file=tmp_path / NAME, variables={})

    return make


# --- which files


def test_the_phases_that_hooks_may_name_are_all_phases() -> None:
    assert set(CHAPTERS) == set(EVERY)


def test_scripts_are_hooks_by_their_names(beside: Callable[..., Environment]) -> None:
    files = (
        "before-join.local.sh",
        "after-install-disks.node.py",
        "a/before-join.local.sh",
        "b/after-join.node",
        "README.md",
        ".x",
    )
    found = beside(**dict.fromkeys(files, SCRIPT))
    assert [(h.when, h.phase, h.label, h.on, h.path.parent.name) for h in found.hooks] == [
        ("after", "install", "disks", "node", "hooks"), ("before", "join", "", "local", "a"),
    ]  # fmt: skip
    assert found.remarks == ()
    assert [h.path.name for h in beside("b").hooks] == [
        "after-install-disks.node.py",
        "after-join.node",
        "before-join.local.sh",
    ]
    remarks = beside(**{"lib.sh": SCRIPT, "old/before-join.node.sh": SCRIPT}).remarks
    assert (
        len(remarks) == 2
        and "lib.sh is no hook: a name begins with before- or after-" in remarks[0]
        and "old/ is not taken" in remarks[1]
    )


def test_simulated_nodes_get_no_common_script_of_this_machine(beside: Callable[..., Environment]) -> None:
    files = ("before-join.local.sh", "after-join.node.sh", "s/before-prep.local.sh")
    found = beside("s", **dict.fromkeys(files, SCRIPT))
    assert [h.path.name for h in found.hooks] == ["after-join.node.sh", "before-prep.local.sh"]
    (remark,) = found.remarks
    assert (
        "before-join.local.sh does not run for simulated nodes" in remark
        and "hooks/s/before-join.local.sh does" in remark
    )


WRONG = [
    ("before-jion.node.sh", SCRIPT, 0o755, "did you mean join? call it like before-join.node.sh"),
    ("before-init.node.sh", SCRIPT, 0o755, "did you mean master? "),
    ("before-join.sh", SCRIPT, 0o755, "call it like before-join.node.sh"),
    ("after-join.node.sh", SCRIPT, 0o644, "is not executable\n    → `chmod u+x "),
    ("after-join.node.sh", "true\n", 0o755, "begin it with a line like #!/bin/bash"),
    ("after-join.node.sh", SCRIPT, 0o757, "everyone may write it\n    → `chmod o-w "),
    ("after-join.node.sh", "#!" + "x" * (2 << 20), 0o755, "at most 1024"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "text", "mode", "said"), WRONG, ids=[f"{n}" for n in range(len(WRONG))])
def test_a_file_that_cannot_be_a_hook_is_refused_with_what_works(
    beside: Callable[..., Environment], file: str, text: str, mode: int, said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        beside(mode=mode, **{file: text})
    assert said in caught.value.message and file in caught.value.message


def test_a_hook_of_another_users_is_refused(beside: Callable[..., Environment], tmp_path: Path) -> None:
    beside(**{"after-join.node.sh": SCRIPT})
    if os.geteuid():
        pytest.skip("chown needs root")
    os.chown(tmp_path / "hooks/after-join.node.sh", 65534, -1)
    with pytest.raises(UsageError) as caught:
        beside()
    assert "belongs to another user" in caught.value.message


# --- when they run

BEFORE, AFTER = Hook("before", "join", "", "local", Path("/x y/before-join.local.sh"), SCRIPT), Hook("after", "join", "", "node", Path("/x/after-join.node.sh"), SCRIPT)  # fmt: skip
STEP, WAIT, STOP = (
    Step("join.join", "join"),
    Wait("join.ready", "ready", "look", lambda seen: None, 1),
    Stop("join.no", "no", "no"),
)
NONE: list[Action] = []
CASES: list[tuple[str, list[Action], list[Hook], bool, list[str]]] = [
    # what the phase has to do, the hooks, whether the mark is there; then the actions
    ("nothing to do", NONE, [BEFORE, AFTER], False, []),
    ("only to wait", [WAIT], [BEFORE, AFTER], False, ["…join.ready"]),
    ("refused", [STEP, STOP], [BEFORE, AFTER], False, ["join.join", "!join.no"]),
    ("both, then a wait", [STEP, WAIT], [BEFORE, AFTER], False, ["join.before-local", "join.hooks", "join.join", "…join.ready", "join.after-node", "…join.hooked"]),
    ("both, then a step", [STEP], [BEFORE, AFTER], False, ["join.before-local", "join.hooks", "join.join", "join.after-node", "join.hooked"]),
    ("before only", [STEP, WAIT], [BEFORE], False, ["join.before-local", "join.join", "…join.ready"]),
    ("left from an earlier run", NONE, [BEFORE, AFTER], True, ["join.after-node", "join.hooked"]),
    ("left, and more to do", [STEP], [BEFORE, AFTER], True, ["join.before-local", "join.join", "join.after-node", "join.hooked"]),
    ("left, the hook is gone", NONE, [], True, ["join.hooked"]),
    ("of another phase", [STEP], [replace(AFTER, phase="prep")], False, ["join.join"]),
]  # fmt: skip


def around(actions: list[Action], hooks: list[Hook], marked: bool, **more: Any) -> list[Action]:
    env = replace(environment(workers=1), hooks=tuple(hooks))
    facts = member(env)
    facts = replace(facts, undo=facts.undo | ({"after-join"} if marked else set()))
    return list(hooked("join", lambda ctx: iter(actions), **more)(context(env, facts)))


@pytest.mark.parametrize(
    ("actions", "hooks", "marked", "wanted"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_hooks_run_where_the_phase_has_something_to_do(
    actions: list[Action], hooks: list[Hook], marked: bool, wanted: list[str]
) -> None:
    assert ids(around(actions, hooks, marked)) == wanted


def test_reset_leaves_no_mark() -> None:
    assert ids(around([STEP], [BEFORE, AFTER], False, lasting=False)) == [
        "join.before-local",
        "join.join",
        "join.after-node",
    ]


def test_what_runs_where_and_with_which_variables() -> None:
    here, _, _, there, _ = around([STEP], [BEFORE, replace(AFTER, text="#!/usr/bin/env  python3 -u\nprint()")], False)
    assert isinstance(here, Step) and isinstance(there, Step)
    variables = "KUBEFAB_ENV=test KUBEFAB_NODE=w1 KUBEFAB_ADDRESS=10.2.0.11 KUBEFAB_HOST=10.2.0.11 KUBEFAB_ROLE=worker KUBEFAB_PHASE=join"
    assert here.commands == (f"cd '/x y' && {variables} ./before-join.local.sh",) and here.on == "operator"
    path = "/run/kubefab-hook-after-join.node.sh"
    run = f"/usr/bin/env 'python3 -u' {path} || {{ rc=$?; rm -f {path}; exit $rc; }}"
    assert there.commands == (f"export {variables}", run, f"rm -f {path}") and there.on == ""
    (file,) = there.files
    assert (file.path, file.mode, file.secret, file.content[-1]) == (path, "0600", False, "\n")


def test_a_known_secret_in_a_hook_keeps_it_out_of_the_plan() -> None:
    secret = Secret("of-a-hook-5f2c")
    *_, there, _ = around([STEP], [replace(AFTER, text=f"{SCRIPT}login {secret.reveal()}\n")], False)
    assert isinstance(there, Step) and there.files[0].secret


def test_the_plan_shows_hooks_of_every_phase_and_a_refused_machine_gets_none() -> None:
    hooks = tuple(replace(hook, phase=phase) for phase in CHAPTERS for hook in (BEFORE, AFTER))
    env = replace(environment(workers=1), hooks=hooks)
    planned = list(plan(env, [*BOOTSTRAP, EVERY["reset"]], env.nodes))
    for item in planned:
        lines = list(as_text(item, env, commands=False))
        if any(isinstance(a, Step) for a in item.actions) and item.phase != "reset":
            assert any(
                f"• {item.phase}.before-local: hook before-join.local.sh (on this machine)" in line for line in lines
            ), item
            assert any(f"• {item.phase}.after-node: hook after-join.node.sh" in line for line in lines), item
    assert {item.phase for item in planned} >= {"prep", "install", "master", "network", "join", "addons"}
    foreign = fresh("w1", others=("unit k3s.service",))
    (refused,) = EVERY["prep"].run(context(env, foreign))
    assert isinstance(refused, Stop)


# --- on this machine


def carried_out(*lines: str, **changes: Any) -> tuple[int, int, str]:
    done = local.carry_out(replace(Step("a.b", "t", lines, on="operator"), **changes))
    return done.code, done.command, done.output


def test_commands_run_in_order_up_to_the_first_that_fails() -> None:
    assert carried_out("echo one", "echo two >&2; exit 3", "echo three") == (3, 2, "one\ntwo\n")
    assert carried_out("A='x y' sh -c 'echo $A; cat'") == (0, 1, "x y\n"), "its input is empty"


def test_the_end_of_long_output_comes_back() -> None:
    code, _, output = carried_out("i=0; while [ $i -lt 9000 ]; do echo 0123456789; i=$((i+1)); done; echo end")
    assert code == 0 and len(output) == 65536 and output.endswith("end\n")


def test_what_runs_too_long_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    stubborn = "sh -c 'trap \"\" TERM; while :; do sleep 1; done'"
    code, _, output = carried_out(f"echo $$ > {tmp_path}/pid; {stubborn} & echo begun; wait", timeout=3)
    assert code == 124 and "begun" in output and "it ran longer than 3 s" in output
    group = (tmp_path / "pid").read_text().strip()
    for _ in range(100):  # a signal takes a moment to arrive
        rows = subprocess.run(["ps", "-A", "-o", "pgid=,stat="], capture_output=True, text=True, check=True).stdout
        living = [row for row in map(str.split, rows.splitlines()) if row[0] == group and row[1][0] != "Z"]
        if not living:
            break
    assert living == []
