"""The operator's command is killed, nodes lose power, connections drop, at random instants: the next run always ends healthy.

By default a few of each; `make faults` tries all (half an hour), and the documentation's figures are from there.  The
instants come from KUBEFAB_FAULT_SEED, which is printed at the end: set it to repeat the same instants.  A power cut here
ends every process of a node at once; its disk keeps what was written, synced or not.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import statistics
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from lab import nodes as machines
from lab_bed import BOOTSTRAP, NO_FIREWALL, RECONNECT, TABLE, Done, Lab, dirt, events, firewall

SEED = int(os.environ.get("KUBEFAB_FAULT_SEED", random.randrange(10**6)))
ALL = os.environ.get("KUBEFAB_FAULTS") == "all"
KILLS, RESET_KILLS, ROUNDS = (32, 8, 3) if ALL else (8, 2, 1)
RESET = ("inv", "cluster.reset", "--env", "lab", "--yes", "lab")
WHOLE_RUN = 30.0  # seconds; about as long as a bootstrap of empty machines
# Seconds until a kill, at most: the first in a chain, and the others. By default all kills fall into the making of one cluster.
FIRST, PAUSE = (WHOLE_RUN, WHOLE_RUN / 2) if ALL else (WHOLE_RUN / 4, WHOLE_RUN / 4)
SILENCE = firewall("input tcp dport 22 drop", "output tcp sport 22 drop")


@dataclass
class Figures:
    """The figures that were measured, one line for each kind of fault."""

    lines: list[str] = field(default_factory=list)

    def add(self, what: str, count: int, seconds: list[float], more: str = "") -> None:
        took = (
            f"run that finished it: {min(seconds):.0f} to {max(seconds):.0f} s, median {statistics.median(seconds):.0f} s"
            if seconds
            else ""
        )
        self.lines.append("; ".join(filter(None, (f"{what}: {count}", took, more))))


@pytest.fixture(scope="session")
def figures(request: pytest.FixtureRequest) -> Iterator[Figures]:
    found = Figures()
    yield found
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\nfaults, seed {SEED}:", *found.lines, sep="\n  ")


def cut_short(lab: Lab, argv: tuple[str, ...], after: float) -> tuple[Done, str, float]:
    """Run a command and SIGKILL it after that many seconds; returns its outcome, the step it was in, and the seconds it ran."""
    started = time.monotonic()
    process = lab.start(*argv)
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        process.kill()
    done = lab.end(process)
    took = time.monotonic() - started
    steps = [e for path in lab.journals.glob(f"*-{process.pid}.jsonl") for e in events(path) if e["event"] == "start"]
    return done, str(steps[-1]["step"]) if steps else "connecting", took


def assert_healthy(lab: Lab) -> None:
    """Assert that the cluster is healthy, by kubectl and the nodes themselves and not only by our status."""
    assert lab.ready() == dict.fromkeys(lab.names, True)
    lab.assert_pod_network()
    for row in json.loads(lab.run("inv", "cluster.status", "--env", "lab", "--json").output):
        assert row["ready"], row
        assert {phase["state"] for phase in row["phases"].values()} == {"done"}, row
    assert "nothing to do" in lab.bootstrap().output


def test_a_bootstrap_killed_at_random_instants_ends_healthy(lab: Lab, figures: Figures) -> None:
    """Start from empty machines and kill runs at any point until one finishes; then start from empty machines again."""
    chance = random.Random(SEED)
    where: Counter[str] = Counter()
    finished: list[float] = []
    kills = longest = 0
    while kills < KILLS:
        lab.reset("--purge" if chance.random() < 0.5 else "--keep-images")
        for chain in range(KILLS - kills + 1):
            last = kills == KILLS
            after = 600.0 if last else chance.uniform(0.2, PAUSE if chain else FIRST)
            done, step, took = cut_short(lab, BOOTSTRAP, after)
            if done.code != -signal.SIGKILL:
                assert done.code == 0, f"seed {SEED}, kill {kills}: {done}"
                finished += [took] if chain else []
                break
            kills, longest = kills + 1, max(longest, chain + 1)
            where[step.split(".")[0]] += 1
            time.sleep(chance.choice((0, 0, chance.uniform(0, 3))))
        assert_healthy(lab)
    assert sum(where.values()) == KILLS
    figures.add(
        "kubefab killed in a bootstrap",
        KILLS,
        finished,
        f"up to {longest} in a row; in " + ", ".join(f"{p} {n}" for p, n in where.most_common()),
    )


def test_a_reset_killed_at_random_instants_ends_clean(healthy: Lab, figures: Figures) -> None:
    chance = random.Random(SEED + 1)
    kills, finished = 0, list[float]()
    while kills < RESET_KILLS:
        if finished:
            healthy.bootstrap()
        done, _, took = cut_short(healthy, RESET, chance.uniform(0.2, 4))
        while done.code == -signal.SIGKILL:
            kills += 1
            # the last run may finish: on a busy machine, observing the nodes alone may take these seconds
            done, _, took = cut_short(healthy, RESET, chance.uniform(0.2, 4) if kills < RESET_KILLS else 600.0)
        assert done.code == 0, f"seed {SEED}, kill {kills}: {done}"
        finished.append(took)
        assert [dirt(healthy, name) for name in healthy.names] == [[]] * len(healthy.names)
    figures.add("kubefab killed in a reset", kills, finished)


Cut = tuple[str, str]  # a node, and the step at whose beginning its power goes
# One step of each phase that a node of this kind goes through.
CUTS: dict[str, tuple[str, ...]] = {
    "cp1": (
        "prep.sysctl",
        "install.packages",
        "registry.canary",
        "master.init",
        "network.flannel",
        "addons.monitoring",
    ),
    "w1": ("prep.sysctl", "install.packages", "registry.canary", "join.join", "join.ready", "addons.metrics"),
}
# Runs that are cut, one after another on the same nodes, from nothing. By default one chain for both kinds of nodes; in its second run
# both lose power. A cut at join.join is then test_story.py's.
CHAINS: dict[str, tuple[tuple[Cut, ...], ...]] = {
    "cp1 and w1": ((("cp1", "install.packages"),), (("w1", "registry.canary"), ("cp1", "master.init")))
}
if ALL:
    CHAINS = {victim: tuple(((victim, step),) for step in steps) for victim, steps in CUTS.items()}
# What a node that was cut before that may do by itself once it is on again; and a worker's, where the control plane was faster to its own cut.
ITSELF = {"join.ready", "addons.metrics", "registry.canary"}


# The most that a power cut can interrupt in a step, if not its beginning: dpkg has written a journal, and apt refuses to go on from it.
INSIDE = {
    "install.packages": "timeout 60 bash -c 'until ls /var/lib/dpkg/updates | grep -q \"^[0-9]\"; do sleep 0.02; done' || true"
}
ANSWERS = "until curl -sk --max-time 1 https://127.0.0.1:6443/readyz | grep -qx ok; do sleep 0.05; done"
# kubeadm init starts the kubelet after it has written the static pods, and waits for the API that they make: it is held there.
HOLD = (
    "until [ -e /etc/kubernetes/manifests/kube-apiserver.yaml ] && [ -e /var/lib/kubelet/config.yaml ] && systemctl -q is-active kubelet; "
    "do sleep 0.02; done; pkill -STOP -x kubeadm"
)
LISTED = 'until [ -n "$(kubectl --kubeconfig=/etc/kubernetes/super-admin.conf get nodes -o name)" ]; do sleep 0.2; done'


def interrupt_init(lab: Lab) -> None:
    """cp1 loses power when its API answers and kubeadm init is not done.

    init's last phases create kube-proxy, CoreDNS and what workers need to join: without them a cluster looks alive but never works.
    """

    def cut(process: object) -> None:
        lab.sh("cp1", f"timeout 120 bash -c '{HOLD}; {ANSWERS}'")
        machines.kill("cp1")

    lab.kill_when("master.init", cut, node="cp1", **RECONNECT)
    machines.start("cp1")
    assert "initialised" not in lab.sh("cp1", "ls /var/lib/kubefab").split(), "init was held"
    lab.sh("cp1", f"timeout 240 bash -c '{ANSWERS}; {LISTED}'")


@pytest.mark.parametrize("chain", CHAINS)
def test_a_power_cut_in_each_phase_ends_healthy(lab: Lab, figures: Figures, chain: str) -> None:
    """The run names the nodes that lost power and ends by itself; the next run continues, and does an init again that was interrupted."""
    lab.reset("--purge")
    cut: list[str] = []
    ended = []
    for cuts in CHAINS[chain]:
        off: list[str] = []
        run = lab.stopping(*(f"{step}@{victim}" for victim, step in cuts), **RECONNECT)
        try:
            while at := run.stopped():
                step, _, victim = at.partition("@")
                lab.sh(victim, INSIDE.get(step, "true"))
                machines.kill(victim)
                off.append(victim)
                cut.append(step)
                since = time.monotonic()
                run.process.send_signal(signal.SIGCONT)
            done = run.go_on()
        finally:
            for victim in off:
                machines.start(victim)
        if not off:
            assert done.code == 0 and {step for _, step in cuts} <= ITSELF, str(done)
            continue
        ended.append(time.monotonic() - since)
        assert done.code == 1, str(done)
        for victim in off:
            # of two, the first may have been waiting for the second when its power went
            ended_as = "failed" if victim == off[-1] else "(failed|blocked)"
            assert re.search(rf"^{victim} +{ended_as}", done.output, flags=re.M), str(done)
    missed = {step for cuts in CHAINS[chain] for _, step in cuts} - set(cut)
    assert missed <= ITSELF, missed
    if ALL:
        lab.reset("--keep-images")
    interrupt_init(lab)
    started = time.monotonic()
    done = lab.bootstrap()
    took = time.monotonic() - started
    assert "master.clear" in {e.get("step") for e in lab.steps()}, str(done)
    assert {"coredns", "kube-proxy"} <= set(
        lab.kubectl("-n kube-system get deploy,ds -o jsonpath='{.items[*].metadata.name}'").split()
    )
    assert_healthy(lab)
    figures.add(
        f"power of {chain} cut in {', '.join(cut)}", len(cut), [took], f"the run said so within {max(ended):.0f} s"
    )


@pytest.mark.parametrize("victim", CUTS if ALL else ["w1"])
def test_a_power_cut_in_a_reset_ends_clean(healthy: Lab, figures: Figures, victim: str) -> None:
    done = healthy.kill_when(
        "reset.kubeadm", lambda process: machines.kill(victim), node=victim, argv=RESET, **RECONNECT
    )
    machines.start(victim)
    assert done.code == 1, str(done)
    assert victim in done.output
    healthy.reset()
    assert [dirt(healthy, name) for name in healthy.names] == [[]] * len(healthy.names)
    figures.add(f"power of {victim} cut in a reset", 1, [])


@contextmanager
def meanwhile(what: Callable[[], None], chance: random.Random, pause: tuple[float, float]) -> Iterator[list[float]]:
    """Do `what` repeatedly at random instants during the block; yields the list of those instants."""
    stop = threading.Event()
    times: list[float] = []

    def again() -> None:
        while not stop.wait(chance.uniform(*pause)):
            what()
            times.append(time.monotonic())

    thread = threading.Thread(target=again, daemon=True)
    thread.start()
    try:
        yield times
    finally:
        stop.set()
        thread.join()


def test_dropped_connections_are_reopened_by_the_same_run(lab: Lab, figures: Figures) -> None:
    """sshd's sessions are killed on random nodes every few seconds; no run has to be repeated."""
    chance = random.Random(SEED + 2)
    drops, took = 0, []
    for _ in range(ROUNDS):
        lab.reset("--keep-images")
        names = lab.names
        with meanwhile(
            lambda names=names: lab.sh(chance.choice(names), "pkill -KILL -f '^sshd(-session)?: [^/]' || true"),
            chance,
            (2.0, 7.0),
        ) as times:  # type: ignore[misc]
            started = time.monotonic()
            done = lab.end(lab.start(*BOOTSTRAP))
            took.append(time.monotonic() - started)
        drops += len(times)
        assert done.code == 0, f"seed {SEED}: {done}"
        assert_healthy(lab)
    assert drops >= 2 * ROUNDS
    figures.add("SSH sessions of a node killed", drops, took, "no run had to be repeated")


@pytest.mark.parametrize("seconds", [8, 45] if ALL else [8])
def test_a_silent_connection_is_reopened(healthy: Lab, figures: Figures, seconds: int) -> None:
    """During a step packets are lost, as when a laptop changes its network; 45 s is longer than we wait for a dead peer."""
    lab = healthy
    lab.run("fab", "-H", "w1", "reset", "--env", "lab", "--yes", "lab", "--keep-images")

    def silence(process: object) -> None:
        lab.sh("w1", SILENCE)
        threading.Timer(seconds, lambda: lab.sh("w1", NO_FIREWALL)).start()

    started = time.monotonic()
    done = lab.kill_when("join.join", silence, node="w1")
    took = time.monotonic() - started
    if done.code != 0:  # the node was given up like a dead machine: the run says so, and the next one continues
        assert seconds > 20, str(done)
        assert "w1" in done.output
        lab.eventually("the link is back", lambda: TABLE not in lab.sh("w1", "nft list tables"), 60)
        lab.bootstrap()
    assert_healthy(lab)
    figures.add(
        f"link of w1 silent for {seconds} s",
        1,
        [took],
        "" if done.code == 0 else "that run gave w1 up, the next one finished",
    )
