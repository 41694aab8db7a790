"""Which containerd a node gets with an upgrade, from facts and answers alone, and what is done for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile.context import Choices, Following, Runtime
from fabfile.inventory import with_release
from fabfile.nodes.facts import NodeFacts
from fabfile.nodes.upgrading import Answers, Offer, Process
from fabfile.phases import AHEAD, KUBELET, runtimes
from fabfile.phases.upgrade import node_done
from fabfile.steps import Action, Step, Wait
from fabfile.views import upgrades
from making import bare, context, control_plane, environment, ids, member, of_release

END = "~debian.12~bookworm"
DEB = [f"{one}{END}" for one in ("2.2.1-1", "2.2.1-2", "2.2.5-1", "2.2.10-1", "2.3.0-1", "2.4.0~rc.1-1", "1.7.29-1")]
RPM = ["2.2.1-3.1.el9", "2.2.1-3.2.el9", "2.2.10-3.1.el9", "2.3.0-3.1.el9"]
OURS = Process("/usr/bin/containerd", "process")


def facts(version: str = DEB[0], **changed: Any) -> NodeFacts:
    """A node whose containerd.io kubefab brought, and holds."""
    common: dict[str, Any] = {"before": {}, "held": frozenset({"containerd.io"})}
    return NodeFacts(packages={"containerd.io": version} if version else {}, **{**common, **changed})


def answers(version: str = "2.2.1", *, offered: list[str] | None = None, fault: str = "", **changed: Any) -> Answers:
    offer = Offer({"containerd.io": tuple(DEB if offered is None else offered)}, fault)
    return Answers(**{"containerd": version, "process": OURS, "packages": {"containerd": offer}, **changed})


@pytest.mark.parametrize(
    ("present", "offered", "wish", "least", "wanted"),
    [
        (DEB[0], DEB, "patch", 0, DEB[3]),  # numbers, not letters
        (DEB[0], DEB, "next", 0, DEB[4]),  # no candidate of a release
        (DEB[0], DEB[:2], "patch", 0, DEB[1]),  # the package's own revision
        (DEB[4], DEB, "patch", 0, DEB[4]),
        (DEB[3], DEB[3:], "patch", 0, DEB[3]),
        (DEB[4], DEB[:4], "next", 0, DEB[4]),  # never back
        (DEB[6], DEB, "patch", 0, DEB[6]),
        (DEB[6], DEB, "patch", 2, DEB[3]),  # the release asks for it: the first line that is there
        (DEB[6], DEB, "next", 0, DEB[3]),
        (RPM[0], RPM, "patch", 0, RPM[2]),
        (RPM[0], RPM[:2], "patch", 0, RPM[1]),
        (RPM[0], RPM, "next", 0, RPM[3]),
        (DEB[0], DEB, "keep", 0, ""),
    ],
)
def test_which_one(present: str, offered: list[str], wish: Following, least: int, wanted: str) -> None:
    said = answers(present.partition("-")[0], offered=offered)
    found = runtimes.decide(facts(present), said, control_plane=False, wish=wish, least=least)
    assert (found.version, found.why) == (wanted, "")
    assert found.back == (present in offered and bool(wanted))


@pytest.mark.parametrize(
    ("node", "said", "control_plane", "why"),
    [
        (facts(""), answers(), False, "not of the package"),
        (facts(), None, False, "not learned"),
        (facts(), answers(fault="curl: (7)"), False, "curl: (7)"),
        (facts(), answers(packages={}), False, "not learned"),
        (facts(), answers(process=Process("/usr/local/bin/containerd", "process")), False, "/usr/local/bin/containerd"),
        (facts(), answers(process=Process()), False, "not seen"),
        (facts(), answers("2.3.0"), False, "somebody put another program there"),
        (facts(), answers(""), False, "somebody put another program there"),
        (facts(before={"containerd.io": "hi"}), answers(), False, "apt-mark hold"),
        (facts(before=None), answers(), False, "apt-mark hold"),
        (facts(), answers(process=replace(OURS, pins=("/etc/apt/preferences.d/pin",))), False, "/etc/apt/preferences.d/pin pins"),
        (facts(before={"containerd.io": "ii"}), answers(offered=DEB[2:]), False, "nothing shows that"),
        (facts(before=None, held=frozenset()), answers(offered=DEB[2:]), False, "nothing shows that"),
        (facts("2.2.1+mine-1"), answers(), False, "no release that can be compared"),
        (facts(), answers(process=replace(OURS, kills="control-group")), True, "KillMode of its unit is control-group"),
        (facts(), answers(process=replace(OURS, kills="")), True, "KillMode of its unit is not known"),
    ],
)  # fmt: skip
def test_what_is_not_proved_ours_is_left_and_why(
    node: NodeFacts, said: Answers | None, control_plane: bool, why: str
) -> None:
    for wish in ("patch", "next"):
        found = runtimes.decide(node, said, control_plane=control_plane, wish=wish)  # type: ignore[arg-type]
        assert not found.version and why in found.why, found


def test_no_line_is_passed_over() -> None:
    """containerd is compatible with the line before it and no other: DaemonSets' containers run on while it changes."""
    said = answers(offered=[DEB[0], DEB[3], f"2.4.0-1{END}"])
    for wish, version, why in (("next", "", "is 2.4, and containerd goes one line at a time"), ("patch", DEB[3], "")):
        found = runtimes.decide(facts(), said, control_plane=False, wish=wish)  # type: ignore[arg-type]
        assert found.version == version and why in found.why


@pytest.mark.parametrize(
    ("node", "said", "control_plane"),
    [
        (facts(), answers(process=replace(OURS, kills="control-group")), False),  # it is drained
        (facts(before={"containerd.io": "ii"}), answers(), False),  # it was there before, and the source has it
        (facts(), answers(offered=DEB[2:]), False),  # the mirror has dropped it, and kubefab brought it
        (facts(), answers(), True),
    ],
)
def test_what_is_proved_ours_follows(node: NodeFacts, said: Answers, control_plane: bool) -> None:
    assert runtimes.decide(node, said, control_plane=control_plane).version == DEB[3]


@given(
    st.lists(st.sampled_from([*DEB, *RPM, "x", "", "2.2.1"])),
    st.sampled_from(DEB),
    st.sampled_from(["patch", "next"]),
)
def test_never_back_and_never_what_is_not_offered(offered: list[str], present: str, wish: Following) -> None:
    said = answers(present.partition("-")[0].partition("~")[0], offered=offered)
    found = runtimes.decide(facts(present), said, control_plane=False, wish=wish)
    if found.version and found.version != present:
        assert found.version in offered and runtimes.ordered(found.version) > runtimes.ordered(present)
        assert wish == "next" or runtimes.ordered(found.version)[:2] == runtimes.ordered(present)[:2]


# --- the change

OLD, NEW = "1.36.4", "1.37.1"
WANTED = {name: Runtime(DEB[3], True) for name in ("cp1", "w1")}


def actions(name: str, *, version: str = DEB[0], release: str = OLD, **changed: Any) -> list[Action]:
    """What the kubelet's phase does on that node; of an upgrade to NEW."""
    env = environment(1, kubernetes=release)
    plane = of_release(release, control_plane(env, members=("cp1", "w1")))
    node = plane if name == "cp1" else member(env, name)
    node = replace(node, packages={**node.packages, "containerd.io": version}, **changed)
    control = node if name == "cp1" else plane
    return list(bare(KUBELET)(context(with_release(env, NEW), node, control=control, choices=Choices(runtimes=WANTED))))


def test_it_comes_after_the_drain_and_before_the_kubelet() -> None:
    found = [one.id for one in actions("w1")]
    at = found.index("kubelet.runtime")
    assert found[at + 1] == "kubelet.answers"
    assert found.index("kubelet.drain") < at < found.index("kubelet.packages") < found.index("kubelet.restart")


@pytest.mark.parametrize("name", ["cp1", "w1"])
def test_only_where_it_is_behind_or_was_replaced_under_containerd(name: str) -> None:
    """A run that was killed between the package and the restart leaves a program that still runs: it is restarted, and nothing is installed."""
    assert "kubelet.runtime" not in [one.id for one in actions(name, version=DEB[3])]
    assert "kubelet.runtime" not in [one.id for one in actions(name, version=DEB[4])], "never back"
    (step,) = [one for one in actions(name, version=DEB[3], replaced=True) if one.id == "kubelet.runtime"]
    assert isinstance(step, Step) and "systemctl restart containerd" in step.commands
    assert not any("install" in line for line in step.commands)


def test_a_control_plane_is_looked_at_again_before_its_restart() -> None:
    for name, guarded in (("cp1", True), ("w1", False)):
        (step,) = [one for one in actions(name) if one.id == "kubelet.runtime"]
        assert isinstance(step, Step) and ("KillMode" in step.commands[0]) == guarded


def test_a_node_that_has_the_release_is_due_only_by_what_it_was_given() -> None:
    """So `--containerd next` on a finished cluster is an upgrade of containerd alone, drained as any other."""
    assert "kubelet.runtime" in [one.id for one in actions("w1", release=NEW)]
    assert "kubelet.packages" not in [one.id for one in actions("w1", release=NEW)]
    assert actions("w1", release=NEW, version=DEB[3]) == []
    env = environment(1, kubernetes=NEW)
    node = replace(
        of_release(NEW, control_plane(env, members=("cp1", "w1"))),
        packages={**member(env, "w1").packages, "containerd.io": DEB[0]},
    )
    assert not node_done(context(env, node, choices=Choices(runtimes=WANTED))) and node_done(context(env, node))
    assert ids(bare(AHEAD)(context(env, node, choices=Choices(runtimes=WANTED))))[0] == "ahead.runtime"


@pytest.mark.parametrize(("back", "said"), [(True, "puts it back"), (False, "does not have any more")])
def test_the_way_back_is_said_where_there_is_one(back: bool, said: str) -> None:
    env = environment(1, kubernetes=OLD)
    plane = of_release(OLD, control_plane(env, members=("cp1", "w1")))
    node = replace(member(env, "w1"), packages={**member(env, "w1").packages, "containerd.io": DEB[0]})
    chosen = Choices(runtimes={"w1": Runtime(DEB[3], back)})
    found = list(bare(KUBELET)(context(with_release(env, NEW), node, control=plane, choices=chosen)))
    hints = [
        one.hint
        for one in found
        if isinstance(one, Step | Wait) and one.id in ("kubelet.runtime", "kubelet.answers", "kubelet.ready")
    ]
    assert len(hints) == 3 and all(said in hint and DEB[0] in hint for hint in hints)


RUNS = "program /usr/bin/containerd\nversion 2.2.10\nready"


@pytest.mark.parametrize(
    ("seen", "good"),
    [
        (RUNS, True),
        (RUNS.replace("containerd\n", "containerd (deleted)\n"), False),
        (RUNS.replace("2.2.10", "2.2.1"), False),
        (RUNS.removesuffix("ready"), False),
        ("program \n", False),
        ("", False),
    ],
)
def test_a_containerd_that_is_the_new_one(seen: str, good: bool) -> None:
    assert (runtimes._answers(seen, "2.2.10") is None) is good


def test_which_nodes_are_given_one() -> None:
    """A node that has the release keeps its containerd, as it is not drained; unless the operator asks for the next line."""
    env = environment(1, kubernetes=OLD)
    seen = {"cp1": of_release(NEW, control_plane(env, members=("cp1", "w1"))), "w1": member(env, "w1")}
    assert upgrades.undone(with_release(env, OLD), seen, Choices()) <= {"cp1", "w1"}
    done = upgrades.undone(with_release(env, OLD), {"w1": seen["w1"], "cp1": of_release(OLD, seen["cp1"])}, Choices())
    assert done == frozenset()
    assert upgrades.undone(with_release(env, OLD), seen, Choices(containerd="next")) == {"cp1", "w1"}
