"""The shared scenarios on real nodes: the outcome must be the one of the rehearsal."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from lab import nodes as machines
from lab_bed import BOOTSTRAP, FLANNEL, OFF, Lab
from scenarios import SCENARIOS, Scenario

PATIENCE = {**FLANNEL, "KUBEFAB_LAB_FLANNEL_TIMEOUT": "10"}
# The chapter that must succeed once a fault that stops w2 there is fixed; after other faults, and in the end of a group, it joins.
CHAPTER = {"connecting": "prep", "prep": "prep", "install": "install"}


def _identity(source: str) -> Callable[[Lab], None]:
    def change(lab: Lab) -> None:
        if source == "w1":
            lab.sh("w2", "cp /etc/machine-id /run/machine-id.own")
            value = lab.sh("w1", "cat /etc/machine-id")
            lab.sh("w2", f"echo {value} > /etc/machine-id")
        else:
            lab.sh("w2", "cat /run/machine-id.own > /etc/machine-id; rm /run/machine-id.own")

    return change


def _new_host_key(lab: Lab) -> None:
    lab.sh("w2", "mkdir -p /root/keys && cp -a /etc/ssh/ssh_host_* /root/keys/")
    lab.sh("w2", "rm /etc/ssh/ssh_host_*; ssh-keygen -A >/dev/null; systemctl restart ssh")


def _old_host_key(lab: Lab) -> None:
    lab.sh("w2", "cp -a /root/keys/* /etc/ssh/ && rm -rf /root/keys; systemctl restart ssh")


def _power_on(lab: Lab) -> None:
    machines.start("w2")
    host = next(node.host for node in lab.environment.nodes if node.name == "w2")
    answers = ["bash", "-c", f"exec 3<>/dev/tcp/{host}/22 && head -c 3 <&3"]
    lab.eventually(
        "w2 takes logins",
        lambda: subprocess.run(answers, capture_output=True, check=False, timeout=20).stdout == b"SSH",
    )


WORDS: dict[str, Callable[[Lab], object]] = {
    "power cut": lambda lab: machines.kill("w2"),
    "power on": _power_on,
    "machine-id of w1": _identity("w1"),
    "machine-id of its own": _identity(""),
    "new host key": _new_host_key,
    "forget host key": _old_host_key,
}


def carry_out(lab: Lab, line: str) -> None:
    if line in WORDS:
        WORDS[line](lab)
    else:
        lab.sh("w2", line)


def chapter(scenario: Scenario) -> str:
    """What is run once the fault is fixed: the chapter where w2 stopped, or "" for bootstrap.

    Bootstrap where w2 got further, and after the last of those that start alike: whatever one of them left would stop it there.
    """
    following = SCENARIOS[SCENARIOS.index(scenario) + 1 :][:1]
    alike = [one for one in following if one.phase in CHAPTER and one.purge == scenario.purge]
    return CHAPTER.get(scenario.phase, "") if alike or scenario.purge else ""


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_on_real_nodes(without_w2: Lab, scenario: Scenario) -> None:
    lab = without_w2
    if scenario.purge:
        lab.run(*OFF, "--purge")
    carry_out(lab, scenario.make)
    fixed = False
    try:
        process = lab.start(*BOOTSTRAP, **PATIENCE)
        if scenario.meanwhile:
            lab.until_event(process, scenario.says, lambda event: scenario.says in str(event.get("seen")))
            carry_out(lab, scenario.fix)
            fixed = True
        done = lab.end(process)
        assert done.code == (1 if scenario.phase else 0), str(done)
        ended = {e["node"]: e["phase"] for e in lab.steps() if e["event"] == "node" and e["state"] != "done"}
        assert ended == ({"w2": scenario.phase} if scenario.phase else {}), str(done)
        assert scenario.says in done.output + "".join(map(str, lab.steps())), str(done)
    finally:
        if not fixed:
            carry_out(lab, scenario.fix)
    if scenario.reset:
        lab.run(*OFF, "--foreign", "w2")
    if name := chapter(scenario):
        lab.run("fab", "-H", "all", name, "--env", "lab")
        lab.run(*OFF)
        lab.off = True
    else:
        lab.bootstrap(**FLANNEL)
        lab.eventually("w2 is Ready", lambda: lab.ready() == {"cp1": True, "w1": True, "w2": True})
