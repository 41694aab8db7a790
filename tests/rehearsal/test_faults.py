"""One row for each fault: what the operator sees, what stayed intact, and what the next run without it does."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pytest

import rehearsal
from fabfile.errors import KubefabError, UsageError
from fabfile.phases import RESET
from fabfile.phases.reset import residue
from rehearsal.faults import TABLE
from rehearsal_bed import Bed, Outcome


@dataclass(frozen=True)
class Case:
    """`failed`: node → (message, remedy), as regular expressions; `blocked`: the nodes that wait in vain.

    `follows`: before the next run each command that the failures print is typed, as they print it.  `intact` checks the outcome of the run with
    the fault; the reported notes must contain `notes`.
    """

    switch: str
    failed: dict[str, tuple[str, str]] | None = None
    blocked: tuple[str, ...] = ()
    follows: bool = False
    intact: Callable[[str], Callable[[Bed, Outcome], bool]] = lambda node: lambda bed, outcome: True
    notes: str = ""
    output: str = ""

    def __str__(self) -> str:
        return self.switch

    @property
    def node(self) -> str:
        return self.switch.partition(":")[0]

    def on(self, name: str) -> Case:
        """The same fault on another worker than w2."""
        message, remedy = (self.failed or {"w2": ("", "")})["w2"]
        failed = {name: (message.replace("w2", name), remedy.replace("w2", name))} if self.failed else None
        switch, notes = self.switch.replace("w2", name, 1), self.notes.replace("w2", name)
        return replace(self, switch=switch, failed=failed, notes=notes)


WORKERS = ("w1",)  # beside a control plane with a fault


def untouched(node: str) -> Callable[[Bed, Outcome], bool]:
    """The node was only observed."""
    return lambda bed, outcome: {script for where, script in outcome.simulation.ran if where == node} <= {"observe"}


def no_script(node: str) -> Callable[[Bed, Outcome], bool]:
    return lambda bed, outcome: all(where != node for where, _ in outcome.simulation.ran)


def others_ready(node: str) -> Callable[[Bed, Outcome], bool]:
    return lambda bed, outcome: all(bed.facts()["cp1"].node_ready(name) for name in ("cp1", "w1"))


GAVE_UP = r"gave up waiting: flannel\.1"
CASES = (
    Case(
        "w2:flannel-missing",
        {"w2": (rf"{GAVE_UP}.*last seen: no flannel\.1.*tried .*restart the kubelet", "N4.*fab -H w2 reset")},
        intact=others_ready,
        output="ip -br addr",
    ),
    Case(
        "cp1:flannel-missing",
        {"cp1": ("flannel", "N4|kubectl")},
        WORKERS,
    ),
    Case("w2:cni-unread", notes="w2: the node is Ready: still w2 +NotReady"),
    Case("cp1:cni-unread", notes="restart containerd"),
    Case("w2:flannel-after-restart", notes="restart the kubelet"),
    Case("cp1:flannel-after-restart", notes="restart the kubelet"),
    Case(
        "w2:flannel-wrong-range",
        {"w2": (rf"{GAVE_UP}.*flannel\.1 has 10\.99\.\d+\.0, not in 10\.44\.0\.0/16", "N4.*fab -H w2 reset")},
        follows=True,
        intact=others_ready,
    ),
    Case("cp1:flannel-wrong-range", {"cp1": (r"10\.99\.0\.0, not in 10\.44\.0\.0/16", "N4")}, WORKERS, follows=True),
    Case(
        "w2:stale-cni0",
        {"w2": (r"cni0 exists already.*\(P2\)", "fab -H w2 reset --env rehearsal --foreign w2")},
        follows=True,
        intact=untouched,
    ),
    Case(
        "cp1:stale-cni0",
        {"cp1": ("cni0 exists already", "fab -H cp1 reset --env rehearsal --foreign cp1")},
        WORKERS,
        follows=True,
        intact=untouched,
    ),
    Case("w2:apt-locked", notes=r"held by unattended-upgr \(pid \d+\)"),
    Case("cp1:apt-locked=300", notes=r"held by unattended-upgr \(pid \d+\)"),
    Case(
        "w2:apt-locked=5000",
        {"w2": (r"package lock.*last seen: held by unattended-upgr \(pid \d+\)", "never kills it")},
    ),
    Case(
        "w2:packages-down",
        {"w2": (r"keys of the package repositories failed.*pkgs\.k8s\.io", "proxy, DNS")},
        output="cannot fetch",
    ),
    Case("cp1:packages-down", {"cp1": ("keys of the package repositories failed", "proxy, DNS")}, WORKERS),
    Case("w2:registry-no-login", {"w2": (r"crictl pull", "registry")}, output="authorization failed", follows=True),
    Case("cp1:registry-no-login", {"cp1": ("crictl pull", "registry")}, WORKERS),
    Case(
        "cp1:init-hangs",
        {"cp1": (r"kubeadm init 1\.\d+\.\d+ failed", r"M2.*security group")},
        WORKERS,
        follows=True,
        output="wait-control-plane",
    ),
    Case("cp1:api-late", notes="the API answers"),
    Case("cp1:api-late=900", {"cp1": (r"gave up waiting: the API answers.*was refused", "M2")}, WORKERS),
    Case("w2:token-expired", {"w2": ("kubeadm join failed", "fresh token")}, output="could not find a JWS signature"),
    Case(
        "w2:host-key-changed",
        {"w2": ("host key has CHANGED", r"remove line \d+ from \S+known_hosts")},
        intact=no_script,
    ),
    Case("cp1:host-key-changed", {"cp1": ("host key has CHANGED", "known_hosts")}, WORKERS, intact=no_script),
    Case("w2:host-down", {"w2": ("connection refused", "sshd")}, intact=others_ready),
    Case("cp1:host-down", {"cp1": ("connection refused", "sshd")}, WORKERS),
    Case(
        "w2:dies-in-join",
        {"w2": ("broke in mid-command.*for 30 s since: .*refused", "run the same command again")},
        intact=others_ready,
    ),
    Case("w2:sudo-password", {"w2": ("sudo refused user ops", "NOPASSWD.*--ask-sudo-pass")}, intact=no_script),
    Case(
        "w2:forward-drops",
        {
            "w2": (
                r"table inet fw, chain forward \(hook forward\) drops .*by its policy",
                "nft 'insert rule inet fw forward ip saddr",
            )
        },
        intact=untouched,
    ),
    Case(
        "w2:disk-full",
        {"w2": (r"0\.3 GiB free for /var/lib/containerd, .*: at least 3\.8 GiB", "make room")},
        intact=untouched,
    ),
    Case("cp1:disk-full", {"cp1": ("GiB free for /var/lib/containerd", "make room")}, WORKERS, intact=untouched),
    Case(
        "w2:disk-full=later",
        {"w2": ("containerd and Kubernetes .* failed", "install -f")},
        output="No space left on device",
    ),
    Case(
        "w2:clock-skew",
        {"w2": ("its clock is 60 min behind the control plane's", "timedatectl set-ntp true")},
        intact=untouched,
    ),
    Case(
        "cp1:clock-skew=7300",
        {"cp1": (r"its clock is 2\.0 h ahead of yours", "timedatectl set-ntp true")},
        WORKERS,
        intact=untouched,
    ),
    Case("w2:swap-on"),
    Case("cp1:swap-on"),
    Case("w2:udp-blocked", {"w2": ("metrics arrive in InfluxDB", "UDP 8472")}),
    Case("cp1:influx-flaky", notes="retention policy default"),
    Case("cp1:influx-flaky:12", notes="retention policy default"),
    Case("cp1:influx-stuck", notes=r"recreate the influxdb and telegraf pods \(A5\)"),
    Case("w2:unsupported-os", {"w2": (r"openSUSE Leap 15\.6 is not supported", "Ubuntu 22.04")}, intact=untouched),
    Case(
        "cp1:unsupported-os",
        {"cp1": ("openSUSE Leap .* is not supported", "Debian 12")},
        WORKERS,
        intact=untouched,
    ),
    Case("w2:wrong-nic"),
    Case("cp1:wrong-nic"),
    Case("w2:wrong-mtu"),
    Case("w2:reboot-needed"),
)
# One run shows them all. What is then typed as it is printed may be about the whole cluster, and a wait of an hour is one for every node.
TOGETHER = [case for case in CASES if case.node == "w2" and not case.follows and case.switch != "w2:apt-locked=5000"]


def as_wanted(bed: Bed, outcome: Outcome, cases: Sequence[Case]) -> None:
    """Assert that each case ended as its row says, and that no other node failed."""
    wanted = {name: (case, *texts) for case in cases for name, texts in (case.failed or {}).items()}
    assert set(outcome.failed) == set(wanted), {n: e.message for n, e in outcome.failed.items()}
    assert outcome.blocked == {name for case in cases for name in case.blocked}
    assert outcome.result.exit_code == (1 if wanted else 0)
    for name, (case, message, remedy) in wanted.items():
        error = outcome.failed[name]
        assert error.message.startswith(name), "the node is named first"
        assert re.search(message, error.message, re.S), error.message
        assert re.search(remedy, error.remedy, re.S), error.remedy
        assert re.search(case.output, error.output, re.S), error.output
    for case in cases:
        said = [line for line in outcome.recorder.lines if case.node in line]
        assert re.search(case.notes, "\n".join(said), re.S), (case.switch, said)
        assert case.intact(case.node)(bed, outcome), case.switch


@pytest.mark.parametrize("first", range(3))
def test_faults_of_workers(bed: Bed, first: int) -> None:
    """A third of them, each on a worker of its own, at the same time: none of them shows on another node, and w1 has none."""
    cases = [case.on(f"w{number}") for number, case in enumerate(TOGETHER[first::3], 2)]
    outcome = bed.bootstrap(*(case.switch for case in cases), workers=len(cases) + 1)
    as_wanted(bed, outcome, cases)
    lifted = bed.bootstrap()
    assert set(lifted.states.values()) == {"done"}, {n: e.message for n, e in lifted.failed.items()}
    facts = bed.facts()
    assert all(facts["cp1"].node_ready(name) for name in facts)
    assert bed.bootstrap().result.steps == 0


@pytest.mark.parametrize("case", [case for case in CASES if case not in TOGETHER], ids=str)
def test_a_fault(bed: Bed, case: Case) -> None:
    outcome = bed.bootstrap(case.switch, workers=len(WORKERS) if case.node == "cp1" else None)
    wanted = case.failed or {}
    as_wanted(bed, outcome, [case])
    if case.follows:
        assert bed.follow(outcome)
    lifted = bed.bootstrap()
    assert set(lifted.states.values()) == {"done"}, {n: e.message for n, e in lifted.failed.items()}
    facts = bed.facts()
    assert all(facts["cp1"].node_ready(name) for name in facts)
    if wanted:
        assert bed.bootstrap().result.steps == 0
    if case.follows:
        assert set(bed.run([RESET]).states.values()) == {"done"}
        assert {name: residue(one) for name, one in bed.facts().items()} == {name: [] for name in facts}


@pytest.mark.parametrize("fault", ["duplicate-machine-id", "duplicate-hostname"])
def test_a_cloned_image_is_refused_before_it_joins(bed: Bed, fault: str) -> None:
    outcome = bed.bootstrap(f"w2:{fault}")
    assert len(outcome.failed) == 1, outcome.states
    name, error = next(iter(outcome.failed.items()))
    other = {"w1": "w2", "w2": "w1"}[name]  # the node that shows the identity first keeps it
    assert re.search(rf"has the same (machine-id|hostname) as {other}", error.message)
    assert outcome.states[other] == outcome.states["cp1"] == "done"
    assert untouched(name)(bed, outcome)
    assert set(bed.reset().states.values()) == {"done"}
    assert set(bed.bootstrap().states.values()) == {"done"}


def test_another_networks_cni_file_stops_its_node_until_it_is_moved(bed: Bed) -> None:
    path = "/etc/cni/net.d/10-calico.conflist"
    stopped = bed.run(hook=lambda simulation, run: simulation.hosts["w2"].write(path, "{}"))
    assert (
        set(stopped.failed) == {"w2"}
        and "10-calico.conflist (Calico's) of another network" in stopped.failed["w2"].message
    )
    moved = bed.run(hook=lambda simulation, run: simulation.hosts["w2"].remove(path))
    assert set(moved.states.values()) == {"done"}


def test_every_fault_has_a_case() -> None:
    tested = {case.switch.split(":")[1].split("=")[0] for case in CASES} | {
        "duplicate-machine-id",
        "duplicate-hostname",
        "certificates-ended",  # this and the next are in test_renew.py
        "etcd-stays-down",
        "gate-gone",  # this and the next are in test_releases.py
        "webhook-dead",
        "release-missing",  # this and the next are in test_upgrade.py
        "upgrade-fails",
        "hash-unseen",
        "health-check-late",
        "dies-in-upgrade",
        "kubelet-breaks",
        "containerd-breaks",
    }
    assert tested == {name for name in TABLE if not name.startswith("hostile-")}, "those are in test_hostile.py"


def test_faults_combine(bed: Bed) -> None:
    outcome = bed.bootstrap("w1:packages-down", "w3:host-down", "cp1:influx-flaky=2", "w4:swap-on", workers=5)
    assert set(outcome.failed) == {"w1", "w3"}
    assert {name for name, state in outcome.states.items() if state == "done"} == {"cp1", "w2", "w4", "w5"}
    assert set(bed.bootstrap().states.values()) == {"done"}


@pytest.mark.parametrize(
    ("switch", "message", "remedy"),
    [
        ("w2:flanel-missing", "no fault 'flanel-missing'", "did you mean flannel-missing"),
        ("w9:host-down", "no node or group 'w9'", "Nodes: cp1"),
        ("w2", "not understood", "NODE:FAULT"),
        ("w2:influx-stuck", "is a fault of the control plane", "another node"),
        ("cp1:dies-in-join", "is a fault of a worker", "another node"),
        ("w2:host-down=3", "takes no value", "without '3'"),
        ("w2:apt-locked=soon", "'soon' is not a number", "seconds"),
    ],
)
def test_a_switch_that_is_not_understood(bed: Bed, switch: str, message: str, remedy: str) -> None:
    with pytest.raises(UsageError) as caught, rehearsal.running(bed.environment, faults=[switch]):
        pass
    assert message in caught.value.message
    assert remedy in caught.value.remedy
    assert caught.value.exit_code == 2


def test_two_commands_at_once_are_refused(bed: Bed) -> None:
    refused = pytest.raises(KubefabError, match="another command is using the simulated nodes")
    with rehearsal.running(bed.environment), refused, rehearsal.running(bed.environment):
        pass
