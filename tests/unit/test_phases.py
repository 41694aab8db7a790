"""Each phase as a table: the facts of a node, and the steps that follow."""

from __future__ import annotations

import math
import re
import shlex
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile import phases
from fabfile.context import Choices
from fabfile.inventory import Environment
from fabfile.lasting import STOP, refusal
from fabfile.nodes.facts import LINKS, STATE, TRACES, FileDigest, Link, Mount, NodeFacts, Space, Unit
from fabfile.nodes.influx import Retention, parse_retention
from fabfile.nodes.observe import parse_sysctl
from fabfile.phases import BOOTSTRAP, EVERY
from fabfile.phases.addons import _until_kept
from fabfile.phases.network import _all_running
from fabfile.phases.reset import residue
from fabfile.phases.suitable import needs
from fabfile.recipes.packages import WANTED
from fabfile.steps import Action, Step, Stop, Wait
from making import (
    ALL_STAMPED,
    CA,
    api_node,
    bare,
    context,
    control_plane,
    environment,
    fresh,
    having,
    identity,
    ids,
    installed,
    links,
    member,
    prepared,
    recipe,
    text_of,
)

ENV = environment()
PLAIN = prepared(ENV)
MASTER = installed(ENV, "cp1")


def steps(phase: phases.Phase, facts: NodeFacts, env: Environment = ENV, **more: Any) -> list[Action]:
    return list(bare(phase)(context(env, facts, **more)))


def lasting(phase: phases.Phase, facts: NodeFacts, env: Environment = ENV, **more: Any) -> list[Action]:
    """The same, with what stops every phase of a living cluster."""
    stop = refusal(context(env, facts, **more))
    return [stop] if stop else steps(phase, facts, env, **more)


def only(actions: Sequence[Action]) -> Any:
    assert len(actions) == 1
    return actions[0]


def with_undo(facts: NodeFacts, *names: str, traces: Iterable[str] = (), **changes: Any) -> NodeFacts:
    return replace(facts, undo=facts.undo | set(names), traces=facts.traces | set(traces), **changes)


# --- a healthy cluster

HEALTHY = {
    "cp1": control_plane(ENV, members=("cp1", "w1", "w2"), stamped=ALL_STAMPED),
    "w1": member(ENV, "w1"),
    "w2": member(ENV, "w2"),
}


@pytest.mark.parametrize("phase", BOOTSTRAP, ids=lambda p: p.name)
@pytest.mark.parametrize("node", HEALTHY)
def test_a_healthy_cluster_has_nothing_to_do(phase: phases.Phase, node: str) -> None:
    if ("control-plane" if node == "cp1" else "worker") in phase.roles:
        assert ids(phase.run(context(ENV, HEALTHY[node], control=HEALTHY["cp1"]))) == []


def test_phases_are_in_the_manuals_order() -> None:
    assert [p.name for p in BOOTSTRAP] == ["prep", "install", "registry", "master", "network", "join", "addons"]
    assert set(EVERY) == {*(p.name for p in BOOTSTRAP), "reset"}


# --- prep (P1, P2)


def on(small: str) -> dict[str, Space]:
    """A large disk, but for one folder's own."""
    return {folder: Space(folder, (1 if folder == small else 50) << 20) for folder in needs(ENV)}


PREP: list[tuple[str, NodeFacts, list[str]]] = [
    ("fresh", fresh(), ["prep.modules", "prep.sysctl"]),
    ("prepared", PLAIN, []),
    ("an unknown system", fresh(os_id="alpine", os_like=()), ["!prep.system"]),
    ("no systemd", fresh(systemd=False), ["!prep.system"]),
    (
        "a derivative is recognised by ID_LIKE",
        fresh(os_id="pop", os_like=("ubuntu", "debian")),
        ["prep.modules", "prep.sysctl"],
    ),
    ("an earlier cluster's cni0 (P2)", fresh(links=links("cni0")), ["prep.leftovers", "prep.modules", "prep.sysctl"]),
    (
        "an earlier cluster's flannel.1 (P2)",
        fresh(links=links("flannel.1")),
        ["prep.leftovers", "prep.modules", "prep.sysctl"],
    ),
    (
        "cni0 of the cluster it is in",
        replace(PLAIN, links=links("cni0"), traces=frozenset({"/var/lib/kubelet/config.yaml"})),
        [],
    ),
    ("its address on no interface", fresh("w2", links=links(node="w1")), ["!prep.address"]),
    ("another network's CNI file", fresh(cni_files=("10-calico.conflist",)), ["!prep.cni"]),
    (
        "another network's CNI file in a cluster",
        replace(PLAIN, cni_files=("87-podman.conflist",), traces=frozenset({"/var/lib/kubelet/config.yaml"})),
        [],
    ),
    ("swap on", replace(PLAIN, swaps=("/dev/sda2",)), ["prep.swap"]),
    (
        "swap off now, a generator's or a unit's at the next boot",
        replace(PLAIN, swap_units=("dev-zram0.swap",)),
        ["prep.swap"],
    ),
    ("swap of a service", replace(PLAIN, swap_units=("zramswap.service",)), ["prep.swap"]),
    ("swap off now, on at the next boot", replace(PLAIN, fstab_swaps=("/swap.img none swap sw 0 0",)), ["prep.swap"]),
    ("a full disk", fresh(disks=on("/var/lib/containerd")), ["!prep.disk"]),
    ("a full disk of a member", member(ENV, disks=on("/var/lib/containerd")), []),
    ("no br_netfilter", replace(PLAIN, bridge_netfilter=False), ["prep.modules"]),
    ("our module list changed", replace(PLAIN, files={}), ["prep.modules", "prep.sysctl"]),
    ("forwarding off", replace(PLAIN, sysctls={**PLAIN.sysctls, "net.ipv4.ip_forward": "0"}), ["prep.sysctl"]),
]


DISKS = [
    # GiB free on "/", and on file systems of their own: what is too small
    ({"/": 5.0}, ""),
    ({"/": 3.0}, "3.0 GiB free for /var/lib/containerd, /var/lib/kubelet, /var/log, /usr: at least 3.8 GiB"),
    ({"/": 1.0, "/var/lib/containerd": 50.0}, ""),
    ({"/": 50.0, "/var/lib/containerd": 0.3}, "0.3 GiB free for /var/lib/containerd: at least 3.0 GiB"),
    ({"/": 50.0, "/var/lib/kubelet": 0.1}, "0.1 GiB free for /var/lib/kubelet: at least 0.5 GiB"),
    ({"/": 0.5, "/var/lib/containerd": 4.0, "/var/lib/kubelet": 4.0}, ""),
    ({"/": 50.0, "/var/log": 0.0}, "0.0 GiB free for /var/log: at least 0.1 GiB"),
    ({"/": 50.0, "/var": 3.2}, "3.2 GiB free for /var/lib/containerd, /var/lib/kubelet, /var/log: at least 3.6 GiB"),
    ({"/": 50.0, "/var/lib/etcd": 0.0}, ""),  # a worker has none
]


@pytest.mark.parametrize(("sizes", "said"), DISKS)
def test_each_folder_is_asked_for_its_own_file_system(sizes: dict[str, float], said: str) -> None:
    mounts = {folder: max((m for m in sizes if folder.startswith(m)), key=len) for folder in needs(ENV)}
    disks = {folder: Space(mount, int(sizes[mount] * (1 << 20))) for folder, mount in mounts.items()}
    found = ids(steps(phases.PREP, fresh(disks=disks)))
    assert found == (["!prep.disk"] if said else ["prep.modules", "prep.sysctl"])
    assert not said or only(steps(phases.PREP, fresh(disks=disks))).reason.startswith(said)


def test_the_folder_of_containerd_is_the_inventorys() -> None:
    env = environment(containerd_config='{"root": "/data/containerd"}')
    assert "/data/containerd" in needs(env) and "/var/lib/containerd" not in needs(env)
    assert "/var/lib/containerd" in needs(environment(containerd_config='{"root": "/data; reboot"}'))


CLOCKS = [
    # node, its clock against the operator's, the control plane's: what is refused, in prep and before init or join
    ("w1", (-0.4, 0.6), (-0.5, 0.5), ""),
    ("w1", (-3601.0, -3599.0), (-0.5, 0.5), "its clock is 60 min behind the control plane's"),
    ("w1", (-299.0, -298.0), (-0.5, 0.5), ""),
    ("w1", (-330.0, -270.0), (-0.5, 0.5), ""),  # looking took a minute: perhaps
    ("w1", (3600.0, 3601.0), (-0.5, 0.5), ""),  # certificates are valid there
    ("w1", (-0.5, 0.5), (7209.0, 7211.0), "its clock is 2.0 h behind the control plane's, which is ahead of yours too"),
    ("w1", (7199.0, 7201.0), (7199.0, 7201.0), ""),
    ("cp1", (7300.0, 7301.0), (0.0, 0.0), "its clock is 2.0 h ahead of yours"),
    ("cp1", (-7201.0, -7200.0), (0.0, 0.0), ""),
]


@pytest.mark.parametrize(("name", "own", "control", "said"), CLOCKS)
def test_a_clock_by_which_certificates_are_not_yet_valid_stops_before_init_and_join(
    name: str, own: tuple[float, float], control: tuple[float, float], said: str
) -> None:
    last = phases.MASTER if name == "cp1" else phases.JOIN
    for phase, facts in ((phases.PREP, fresh(name, ahead=own)), (last, installed(ENV, name, ahead=own))):
        above = facts if name == "cp1" else control_plane(ENV, ahead=control)
        stops = [a for a in bare(phase)(context(ENV, facts, control=above)) if isinstance(a, Stop)]
        assert [s.id for s in stops] == ([f"{phase.name}.clock"] if said else [])
        assert all(s.reason.startswith(said) and "timedatectl set-ntp true" in s.remedy for s in stops)
    if name == "w1" and control[0] > 300:
        first = installed(ENV, "cp1", ahead=control)
        assert not [a for a in bare(phases.PREP)(context(ENV, fresh(ahead=own), control=first)) if isinstance(a, Stop)]
    living = control_plane(ENV, ahead=own) if name == "cp1" else member(ENV, name, ahead=own)
    above = living if name == "cp1" else control_plane(ENV, members=("cp1", "w1"), ahead=control)
    for phase in (phases.PREP, last):
        assert not [a for a in bare(phase)(context(ENV, living, control=above)) if isinstance(a, Stop)]


BOOT = [
    # lines of sysctl files as the observing script prints them: what is named
    (["99-sysctl.conf /etc/sysctl.conf 3:net.ipv4.ip_forward = 0"], "/etc/sysctl.conf:3 sets net.ipv4.ip_forward to 0"),
    (["99-sysctl.conf /etc/sysctl.conf 3:net/ipv4/ip_forward=0"], "/etc/sysctl.conf:3 sets net.ipv4.ip_forward to 0"),
    (["zz.conf /etc/sysctl.d/zz.conf 1:-net.ipv4.conf.all.forwarding=0"], "/etc/sysctl.d/zz.conf:1 sets net.ipv4.ip_forward to 0"),
    (["zz.conf /usr/lib/sysctl.d/zz.conf 7:net.bridge.bridge-nf-call-iptables = 0"], "/usr/lib/sysctl.d/zz.conf:7 sets net.bridge.bridge-nf-call-iptables to 0"),
    (["10-hard.conf /etc/sysctl.d/10-hard.conf 1:net.ipv4.ip_forward=0"], ""),  # ours is read later
    (["99-sysctl.conf /etc/sysctl.conf 3:net.ipv4.ip_forward=1"], ""),
    (["99-sysctl.conf /etc/sysctl.conf 3:net.ipv4.ip_forward=0", "99-sysctl.conf /etc/sysctl.conf 9:net.ipv4.ip_forward=1"], ""),
    (["zz.conf /etc/sysctl.d/zz.conf 1:net.ipv4.ip_forward=1", "99-sysctl.conf /etc/sysctl.conf 3:net.ipv4.ip_forward=0"], ""),
    (["99-sysctl.conf /etc/sysctl.conf 3:net.ipv4.conf.default.rp_filter=1", "a b c", "zz.conf /etc/x;y 1:net.ipv4.ip_forward=0"], ""),
    (["zz.conf /etc/sysctl.d/zz.conf 1:net.ipv4.conf/all/forwarding=0"], ""),  # that names another key
]  # fmt: skip


@pytest.mark.parametrize(("lines", "said"), BOOT)
def test_a_sysctl_file_that_wins_at_the_next_boot_is_named_with_its_line(lines: list[str], said: str) -> None:
    found = tuple(filter(None, map(parse_sysctl, lines)))
    actions = list(bare(phases.PREP)(context(ENV, replace(PLAIN, sysctl_lines=found))))
    assert ids(actions) == (["!prep.boot"] if said else [])
    if said:
        stop, (path, _, number) = only(actions), said.split(" ")[0].partition(":")
        assert stop.reason.startswith(said) and f"`sed -i '{number}s/^/#/' {path}`" in stop.remedy


@pytest.mark.parametrize(("facts", "wanted"), [row[1:] for row in PREP], ids=[row[0] for row in PREP])
def test_prep(facts: NodeFacts, wanted: list[str]) -> None:
    assert ids(steps(phases.PREP, facts)) == wanted


def test_prep_refuses_a_cloned_machine_and_names_the_duplicate() -> None:
    stop = only(steps(phases.PREP, fresh(), duplicate_of="machine-id as cp1 (abc)"))
    assert "machine-id as cp1" in stop.reason
    assert "systemd-machine-id-setup" in stop.remedy


@pytest.mark.parametrize(
    ("found", "until"),
    [
        (("10-calico.conflist", "87-podman.conflist"), "as 10-calico.conflist comes before 10-flannel.conflist"),
        (("87-podman.conflist",), "until flannel's file is there"),
        (("05 it's.conf",), "as 05 it's.conf comes before 10-flannel.conflist"),
    ],
)
def test_prep_names_the_cni_files_and_moves_none(found: tuple[str, ...], until: str) -> None:
    stop = only(steps(phases.PREP, fresh(cni_files=found)))
    assert stop.reason.endswith(until) and all(name in stop.reason for name in found)
    assert ("(Calico's)" in stop.reason) == ("calico" in found[0]) and ("(podman's)" in stop.reason) == (
        "podman" in found[-1]
    )
    line = re.search("`(.+)`", stop.remedy)
    assert line and shlex.split(line[1])[-1 - len(found) : -1] == [f"/etc/cni/net.d/{name}" for name in found]


def test_prep_keeps_swap_on_if_the_kubelet_is_set_to_allow_it() -> None:
    env = environment(kubelet_config='{"failSwapOn": false}')
    assert ids(steps(phases.PREP, replace(PLAIN, swaps=("/dev/sda2",)), env)) == []


def test_prep_notes_the_former_state_only_once() -> None:
    text = text_of(steps(phases.PREP, fresh(swaps=("/dev/sda2",))))
    assert f"test -e {STATE}/swaps || " in text
    assert f"test -e {STATE}/sysctl || " in text


def test_leftovers_of_our_own_are_removed() -> None:
    """The guard has proved that the machine is ours: prep never runs on another's."""
    text = text_of(steps(phases.PREP, fresh(links=links("cni0", "flannel.1"))))
    assert "ip link delete cni0" in text and "ip link delete flannel.1" in text


# --- install (I1 to I5)

DONE = installed(ENV)
RIGHT_STEPS = ["…install.lock", "install.tools", "install.keys", "install.repository", "install.packages"]
INSTALL: list[tuple[str, NodeFacts, list[str]]] = [
    ("fresh", PLAIN, [*RIGHT_STEPS, "install.containerd", "install.kubelet"]),
    ("installed", DONE, []),
    ("another patch", replace(DONE, packages={**DONE.packages, "kubelet": "1.36.1-1.1"}), RIGHT_STEPS),
    ("a longer version with the same beginning", replace(DONE, packages={**DONE.packages, "kubelet": "1.36.40-1.1"}), RIGHT_STEPS),
    ("one missing", replace(DONE, packages={k: v for k, v in DONE.packages.items() if k != "cri-tools"}), RIGHT_STEPS),
    ("not held", replace(DONE, held=frozenset()), ["install.hold"]),
    ("containerd stopped", replace(DONE, units={**DONE.units, "containerd": Unit(False, True)}), ["install.containerd"]),
    ("its configuration touched", having(replace(DONE, files={**DONE.files, "/etc/containerd/config.toml": FileDigest("0", "644")}), ()), ["install.containerd"]),
    ("kubelet not enabled", replace(DONE, units={**DONE.units, "kubelet": Unit(False, False)}), ["install.kubelet"]),
]  # fmt: skip


@pytest.mark.parametrize(("facts", "wanted"), [row[1:] for row in INSTALL], ids=[row[0] for row in INSTALL])
def test_install(facts: NodeFacts, wanted: list[str]) -> None:
    assert ids(steps(phases.INSTALL, facts)) == wanted


def test_install_on_the_other_family() -> None:
    rocky = fresh(os_id="rocky", os_like=("rhel", "centos", "fedora"), os_version="9.6", os_codename="")
    assert ids(steps(phases.INSTALL, rocky)) == [
        "install.keys",
        "install.repository",
        "install.selinux",
        "install.packages",
        "install.containerd",
        "install.kubelet",
    ]
    text = text_of(steps(phases.INSTALL, rocky))
    assert "dnf -y" in text
    assert "kubelet-1.36.4" in text
    assert "apt" not in text


RUNNING = [
    ("a member", member),
    ("a control plane", control_plane),
    ("a member whose kubelet is down", lambda env: member(env, units={})),
]


@pytest.mark.parametrize("make", [row[1] for row in RUNNING], ids=[row[0] for row in RUNNING])
def test_a_living_cluster_does_not_get_another_minor_version(make: Callable[[Environment], NodeFacts]) -> None:
    stop = only(lasting(phases.INSTALL, make(environment(kubernetes="1.37"))))
    assert stop.id == STOP
    assert "runs Kubernetes 1.37.1 in a cluster, the inventory says 1.36.4" in stop.reason
    assert "--kubernetes 1.37.1" in stop.remedy and "does not go back" in stop.reason


@pytest.mark.parametrize("make", [row[1] for row in RUNNING], ids=[row[0] for row in RUNNING])
@pytest.mark.parametrize("patch", ["1.36.1", "1.36.9"])
def test_another_patch_is_an_upgrade_and_is_not_done_half(make: Callable[[Environment], NodeFacts], patch: str) -> None:
    facts = make(environment(kubernetes=patch))
    stop = only(lasting(phases.INSTALL, facts))
    assert stop.id == STOP and "`inv cluster.upgrade --env test" in stop.remedy
    assert (f"--to {patch}" in stop.remedy) is (patch == "1.36.9"), "a later one may be on part of the nodes only"
    assert f"KUBERNETES={patch}, or 1.36 for the patch that the cluster has" in stop.remedy
    for kept in (patch, "1.36"):
        env = environment(kubernetes=kept)
        made = ids(lasting(phases.INSTALL, facts, env))
        assert set(made) <= {"install.containerd", "install.kubelet"}, (
            "what the message says works, and no package moves"
        )


def test_a_kubeadm_that_went_before_is_not_put_back() -> None:
    """The first part of an upgrade by hand: packages of the inventory's patch would undo it."""
    begun = member(ENV)
    begun = replace(begun, packages={**begun.packages, "kubeadm": "1.36.9-1.1"})
    for env in (ENV, environment(kubernetes="1.36")):
        stop = only(lasting(phases.INSTALL, begun, env))
        assert (
            "kubeadm 1.36.9, kubectl 1.36.4, kubelet 1.36.4 are on this node: an upgrade that did not end"
            in stop.reason
        )
        assert "`inv cluster.upgrade --env test --to 1.36.9`" in stop.remedy


def test_a_worker_that_joins_gets_the_patch_that_the_cluster_runs() -> None:
    env = environment(kubernetes="1.36")
    control = control_plane(environment(kubernetes="1.36.1"))
    made = steps(phases.INSTALL, PLAIN, env, control=control)
    assert "kubelet=1.36.1-*" in text_of(made)
    assert "kube-proxy:v1.36.1" in text_of(steps(phases.REGISTRY, PLAIN, env, control=control))
    explicit = steps(phases.INSTALL, PLAIN, environment(kubernetes="1.36.4"), control=control)
    assert "kubelet=1.36.4-*" in text_of(explicit), "an inventory that names a patch has it"
    assert "kubelet=1.36.4-*" in text_of(steps(phases.INSTALL, PLAIN, env)), "a new cluster gets the newest"


def test_a_machine_outside_a_cluster_may_change_its_release() -> None:
    assert "install.packages" in ids(steps(phases.INSTALL, installed(environment(kubernetes="1.37"))))


def test_the_distributions_docker_is_not_replaced() -> None:
    assert (
        only(steps(phases.INSTALL, replace(PLAIN, packages={"docker.io": "20.10", "containerd": "1.6"}))).id
        == "install.docker"
    )
    stop = only(steps(phases.INSTALL, replace(PLAIN, packages={"containerd": "1.6", "runc": "1.1"})))
    assert isinstance(stop, Stop) and stop.id == "install.conflict"
    assert "containerd 1.6 and runc 1.1" in stop.reason and "`apt-get remove containerd runc`" in stop.remedy
    stop = only(steps(phases.INSTALL, replace(PLAIN, os_id="rocky", packages={"runc": "1.1"})))
    assert isinstance(stop, Stop) and "`dnf remove runc`" in stop.remedy
    assert "--no-remove" in text_of(steps(phases.INSTALL, PLAIN))


@pytest.mark.parametrize("docker", [True, False])
def test_purge_leaves_the_containerd_that_docker_needs(docker: bool) -> None:
    facts = replace(DONE, packages={**DONE.packages, **({"docker-ce": "29"} if docker else {})})
    purge = next(a for a in steps(phases.RESET, facts, choices=Choices(purge=True)) if a.id == "reset.packages")
    assert isinstance(purge, Step)
    assert purge.commands[0].startswith("rm -f /etc/apt/sources.list.d/kubefab-"), (
        "the lists first: they may be what apt cannot read"
    )
    assert ("purge containerd.io" in purge.commands[2]) is not docker
    assert "kubelet" in purge.commands[2]


def purge_of(facts: NodeFacts) -> Step | None:
    return next(
        (
            a
            for a in steps(phases.RESET, facts, choices=Choices(purge=True))
            if isinstance(a, Step) and a.id == "reset.packages"
        ),
        None,
    )


@given(
    st.sets(st.sampled_from(WANTED)),
    st.sets(st.sampled_from(WANTED)),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["debian", "rocky"]),
)
def test_purge_removes_exactly_our_packages(
    there: set[str], before: set[str], noted: bool, docker: bool, system: str
) -> None:
    packages = dict.fromkeys(there, "1.0-1") | ({"docker-ce": "29"} if docker else {})
    facts = replace(
        DONE,
        os_id=system,
        packages=packages,
        held=frozenset(there),
        before=dict.fromkeys(before, "ii") if noted else None,
    )
    found = purge_of(facts)
    removed = {
        name
        for line in (found.commands if found else ())
        if " purge " in line or " remove " in line
        for name in line.split()
    } & set(WANTED)
    assert removed == (there - before - ({"containerd.io"} if docker else set()) if noted else set())
    unheld = {
        name
        for a in steps(phases.RESET, facts)
        if isinstance(a, Step)
        for line in a.commands
        if "unhold" in line
        for name in line.split()[2:]
    }
    assert unheld == (there & before if noted else set()), "they were not held before us"


@pytest.mark.parametrize("before", [None, {}, {"containerd.io": "ii"}])
def test_purge_takes_what_an_interrupted_installation_left_half_unpacked(before: dict[str, str] | None) -> None:
    """Only packages that were not there before, and none where that is not known."""
    found = purge_of(replace(DONE, packages={"kubelet": "1.36.4-1.1"}, before=before))
    text = "\n".join(found.commands if found else ())
    forced = re.findall(r"^for p in (.*); do .*--force-remove-reinstreq", text, flags=re.M)
    wanted = [name for name in WANTED if name not in {"kubelet", *before}] if before is not None else []
    assert [names.split() for names in forced] == ([wanted] if wanted else [])


def test_package_holds_by_others_stay() -> None:
    assert "unhold" not in text_of(steps(phases.RESET, replace(DONE, before={"containerd.io": "hi"})))


def test_packages_without_a_note_stay_and_are_reported() -> None:
    step = purge_of(replace(DONE, before=None))
    assert step and "the packages stay" in step.title
    assert "containerd.io stays" in getattr(purge_of(replace(DONE, before={"containerd.io": "ii"})), "title", "")


def test_both_of_dockers_keys_are_accepted() -> None:
    """It signs Debian packages with one and RPMs with another."""
    for facts in (PLAIN, replace(PLAIN, os_id="rocky", os_version="9.4", os_codename="")):
        text = text_of(steps(phases.INSTALL, facts))
        assert "'9DC858229FC7DD38854AE2D88D81803C0EBFCD88|060A61C51B558A7F742B77AAC52FEB6B621E9F35'" in text


def test_versions_are_pinned_and_held() -> None:
    text = text_of(steps(phases.INSTALL, PLAIN))
    assert "kubelet=1.36.4-* kubeadm=1.36.4-* kubectl=1.36.4-*" in text
    hold = "apt-mark hold containerd.io kubelet kubeadm kubectl kubernetes-cni cri-tools"
    assert hold in text
    (alone,) = steps(phases.INSTALL, replace(DONE, held=DONE.held - {"cri-tools"}))
    assert isinstance(alone, Step) and alone.commands[-1] == hold and "apt-get" not in text_of([alone]), (
        "installing again would upgrade containerd.io"
    )


def test_a_repositorys_key_is_checked_unless_switched_off() -> None:
    assert "DE15B14486CD377B9E876E1A234654DA9A296436" in text_of(steps(phases.INSTALL, PLAIN))
    env = environment(packages_key_fingerprint="", containerd_key_fingerprint="")
    assert 'grep "^fpr:' not in text_of(steps(phases.INSTALL, PLAIN, env))


LOCKS = [("", None), ("\n", None), ("unattended-upgr (pid 812)\n", "held by unattended-upgr (pid 812)")]


@pytest.mark.parametrize(("seen", "verdict"), LOCKS)
def test_the_package_locks_holder_is_named(seen: str, verdict: str | None) -> None:
    wait = steps(phases.INSTALL, PLAIN)[0]
    assert isinstance(wait, Wait)
    assert wait.until(seen) == verdict


# --- registry (R1, R2)


def test_without_a_registry_images_are_only_pulled_ahead() -> None:
    assert ids(steps(phases.REGISTRY, DONE)) == []
    assert ids(steps(phases.REGISTRY, replace(DONE, images=frozenset()))) == ["registry.images"]
    some = frozenset(list(recipe(ENV).worker_images)[:1])
    pulls = {
        node.name: text_of(steps(phases.REGISTRY, replace(DONE, images=some), node=node.name)).count("crictl pull")
        for node in ENV.nodes
    }
    assert pulls == {"cp1": 3, "w1": 5, "w2": 4}, (
        "workers pull telegraf while they wait for the control plane, the first one the dashboard"
    )


@pytest.mark.parametrize(("image", "listed"), [
    ("flannel/flannel:v1", "docker.io/flannel/flannel:v1"),
    ("flannel", "docker.io/library/flannel:latest"),
    ("ghcr.io/flannel-io/flannel@sha256:" + "a" * 64, "anything"),
])  # fmt: skip
def test_an_image_is_known_by_its_full_name_and_a_pinned_one_is_left_to_the_kubelet(image: str, listed: str) -> None:
    env = environment(flannel_image=image)
    facts = installed(env)
    facts = replace(facts, images=facts.images - {image} | {listed})
    assert ids(steps(phases.REGISTRY, facts, env)) == []


def test_a_member_is_left_to_its_kubelet() -> None:
    assert ids(steps(phases.REGISTRY, member(ENV, images=frozenset()), control=HEALTHY["cp1"])) == []


PRIVATE = environment(
    registry="10.2.0.5:5000", registry_user="kubefab", registry_password="pässwörd'$x", registry_mirrors="docker.io"
)


def test_a_private_registry_is_tested_by_pulling_an_image() -> None:
    before, after = prepared(PRIVATE), installed(PRIVATE)
    assert ids(steps(phases.REGISTRY, before, PRIVATE))[:3] == ["registry.login", "registry.canary", "registry.proof"]
    assert ids(steps(phases.REGISTRY, after, PRIVATE)) == []
    assert "crictl pull 10.2.0.5:5000/pause:3.10.2" in text_of(steps(phases.REGISTRY, before, PRIVATE))


def test_a_new_password_is_tested_again() -> None:
    env = environment(registry="10.2.0.5:5000", registry_user="kubefab", registry_password="other-password")
    before = installed(PRIVATE)
    assert ids(steps(phases.REGISTRY, before, env)) == ["registry.login", "registry.canary", "registry.proof"]


def test_the_password_is_in_no_command() -> None:
    for action in steps(phases.REGISTRY, prepared(PRIVATE), PRIVATE):
        assert isinstance(action, Step)
        assert "pässwörd" not in "\n".join(action.commands)
        assert all(f.mode == "0600" for f in action.files if f.secret)


# --- master (M1, M2)

ETCD_YAML = "/etc/kubernetes/manifests/etcd.yaml"
API_SERVER = "/etc/kubernetes/manifests/kube-apiserver.yaml"
INIT: list[tuple[str, NodeFacts, list[str]]] = [
    ("ready for it", MASTER, ["master.init", "…master.api"]),
    ("answers", control_plane(ENV), []),
    ("answers, and we never made it", control_plane(ENV, undo=frozenset()), ["master.proof"]),
    (
        "answers, but our init never ended",
        control_plane(ENV, undo=frozenset({"init-started"})),
        ["master.clear", "master.init", "…master.api"],
    ),
    (
        "answers, our init never ended, and its nodes cannot be read",
        control_plane(ENV, undo=frozenset({"init-started"}), nodes=()),
        ["!master.nodes"],
    ),
    ("somebody's etcd", replace(MASTER, etcd=("member",)), ["!master.etcd"]),
    (
        "a foreign etcd, and an init that had just begun",
        with_undo(replace(MASTER, etcd=("member",)), "init-started"),
        ["!master.etcd"],
    ),
    (
        "something beside our etcd",
        with_undo(replace(MASTER, etcd=("default", "member")), "init-started", traces=[ETCD_YAML]),
        ["!master.etcd"],
    ),
    (
        "an init that ended halfway, with its etcd",
        with_undo(replace(MASTER, etcd=("member",)), "init-started", traces=[ETCD_YAML]),
        ["master.clear", "master.init", "…master.api"],
    ),
    (
        "its undoing ended halfway",
        with_undo(replace(MASTER, etcd=("member",)), "init-started", "etcd"),
        ["master.clear", "master.init", "…master.api"],
    ),
    (
        "answers and has members, though we never noted it",
        control_plane(ENV, undo=frozenset({"init-started"}), members=("cp1", "w1")),
        ["master.proof"],
    ),
    (
        "an init of ours that ended halfway",
        with_undo(MASTER, "init-started", traces=[API_SERVER]),
        ["master.clear", "master.init", "…master.api"],
    ),
    (
        "an init of ours that had just begun",
        with_undo(MASTER, "init-started"),
        ["master.clear", "master.init", "…master.api"],
    ),
    ("once up, silent now", control_plane(ENV, api_ready=False), ["master.kubelet", "…master.api"]),
    (
        "once up, its manifests gone",
        with_undo(MASTER, "init-started", "initialised"),
        ["master.kubelet", "…master.api"],
    ),
    ("somebody else's", with_undo(MASTER, traces=[API_SERVER]), ["!master.foreign"]),
    (
        "admin.conf alone proves nothing",
        with_undo(MASTER, traces=["/etc/kubernetes/admin.conf"]),
        ["master.init", "…master.api"],
    ),
    ("too little memory", replace(MASTER, memory_kib=1 << 20), ["!master.memory"]),
]


@pytest.mark.parametrize(("facts", "wanted"), [row[1:] for row in INIT], ids=[row[0] for row in INIT])
def test_master(facts: NodeFacts, wanted: list[str]) -> None:
    assert ids(steps(phases.MASTER, facts)) == wanted


@given(
    st.sets(st.sampled_from(["init-started", "initialised", "joined", "canary"])),
    st.sets(st.sampled_from(TRACES)),
    st.booleans(),
)
def test_a_control_plane_that_was_once_up_is_never_taken_back(undo: set[str], traces: set[str], kubelet: bool) -> None:
    facts = replace(
        MASTER,
        undo=frozenset(undo | {"initialised"}),
        traces=frozenset(traces),
        units={**MASTER.units, "kubelet": Unit(kubelet, True)},
    )
    text = text_of(steps(phases.MASTER, facts))
    assert "kubeadm reset" not in text
    assert "kubeadm init" not in text


def test_memory_is_not_checked_if_kubeadms_check_is_ignored() -> None:
    env = environment(ignore_preflight="Mem,NumCPU")
    actions = steps(phases.MASTER, replace(installed(env, "cp1"), memory_kib=1 << 20), env)
    assert ids(actions) == ["master.init", "…master.api"]
    assert "--ignore-preflight-errors=Mem,NumCPU" in text_of(actions)


def test_the_token_is_in_a_private_file_and_in_no_command() -> None:
    init = steps(phases.MASTER, MASTER, token="abcdef.0123456789abcdef")[0]
    assert isinstance(init, Step)
    assert "0123456789abcdef" not in "\n".join(init.commands)
    assert [(f.path, f.mode, f.secret) for f in init.files] == [("/run/kubefab-init.yaml", "0600", True)]
    assert "rm -f /run/kubefab-init.yaml" in "\n".join(init.commands)


@pytest.mark.parametrize(
    ("seen", "verdict"),
    [
        ("ok\n", None),
        ("", "nothing"),
        (
            "E1124 memcache\nThe connection to the server 10.2.0.1:6443 was refused\n",
            "The connection to the server 10.2.0.1:6443 was refused",
        ),
    ],
)
def test_only_ok_counts_as_an_answer_of_the_api(seen: str, verdict: str | None) -> None:
    wait = steps(phases.MASTER, MASTER)[-1]
    assert isinstance(wait, Wait)
    assert wait.until(seen) == verdict
    assert "security group" in wait.hint, "M2: what a long wait means"


# --- network (N1 to N4)

NET: list[tuple[str, NodeFacts, list[str]]] = [
    ("no API", MASTER, ["!network.control-plane"]),
    ("not applied", control_plane(ENV), ["network.flannel", "…network.pods", "…network.interfaces"]),
    ("applied, links right", control_plane(ENV, stamped=ALL_STAMPED), []),
    (
        "applied, no cni0: add-ons will see to a first pod",
        control_plane(ENV, stamped=ALL_STAMPED, links=links("flannel.1")),
        [],
    ),
    (
        "applied, no flannel.1",
        control_plane(ENV, stamped=ALL_STAMPED, links=links("cni0")),
        ["…network.pods", "…network.interfaces"],
    ),
    (
        "applied, links right, not Ready",
        replace(control_plane(ENV, stamped=ALL_STAMPED), nodes=(api_node("cp1", ready=False),)),
        ["…network.ready"],
    ),
    (
        "another range (N4)",
        control_plane(ENV, stamped=ALL_STAMPED, links=links("flannel.1", "cni0", inside="10.99.0")),
        ["…network.pods", "…network.interfaces"],
    ),
    (
        "applied with another pod CIDR",
        control_plane(environment(pod_cidr="10.45.0.0/16"), stamped=("flannel",)),
        ["network.flannel", "…network.pods", "…network.interfaces"],
    ),
]


@pytest.mark.parametrize(("facts", "wanted"), [row[1:] for row in NET], ids=[row[0] for row in NET])
def test_network(facts: NodeFacts, wanted: list[str]) -> None:
    assert ids(steps(phases.NETWORK, facts)) == wanted


PODS = [
    ("", "no pods yet"),
    ("No resources found", "No resources found"),
    ("kube-system etcd-cp1 1/1 Running 0 1s", "no flannel pod yet"),
    (
        "kube-flannel kube-flannel-ds-x 1/1 Running 0 1s\nkube-system coredns-a 0/1 ContainerCreating 0 1s",
        "coredns-a ContainerCreating",
    ),
    ("kube-flannel kube-flannel-ds-x 0/1 Running 0 1s", "kube-flannel-ds-x Running"),
    ("kube-flannel kube-flannel-ds-x 1/1 Running 0 1s\nkube-system job-a 0/1 Completed 0 1s", None),
    ("kube-flannel kube-flannel-ds-x 1/1 Running 0 1s\nkube-system etcd-cp1 1/1 Running 2 (3m ago) 1s", None),
    (
        "The connection to the server was refused - did you specify the right host or port?",
        "The connection to the server was refused - did you specify the right host or port?",
    ),
]


@pytest.mark.parametrize(("seen", "verdict"), PODS)
def test_pods_all_run_or_the_first_few_are_named(seen: str, verdict: str | None) -> None:
    assert _all_running(seen) == verdict


# --- join (J1 to J4)

CONTROL = control_plane(ENV, members=("cp1",), stamped=ALL_STAMPED)
LISTED = control_plane(ENV, members=("cp1", "w1"), stamped=ALL_STAMPED)
SICK = replace(LISTED, nodes=(api_node("cp1"), api_node("w1", ready=False)))
KUBELET_CONF = "/etc/kubernetes/kubelet.conf"
ENTER = ["…join.api", "join.token", "…join.signature", "join.join", "…join.flannel", "…join.ready"]
STOPPED = {"containerd": Unit(True, True), "kubelet": Unit(False, True)}
JOIN: list[tuple[str, NodeFacts, NodeFacts | None, list[str]]] = [
    ("ready for it", DONE, CONTROL, ENTER),
    ("planned, no node observed", DONE, None, ENTER),
    ("a join that ended halfway", with_undo(DONE, "join-started"), CONTROL, ["join.clear", *ENTER]),
    (
        "power cut in the middle",
        with_undo(DONE, "join-started", traces=[KUBELET_CONF]),
        CONTROL,
        ["join.clear", *ENTER],
    ),
    (
        "a bootstrap kubeconfig left over",
        with_undo(DONE, traces=["/etc/kubernetes/bootstrap-kubelet.conf"]),
        CONTROL,
        ["join.clear", *ENTER],
    ),
    (
        "taken off since, and in a restored state its Node of then is Ready",
        DONE,
        LISTED,
        ["…join.api", "…join.silent", *ENTER[1:]],
    ),
    ("the same, and the API has noticed", DONE, SICK, ENTER),
    ("a member", member(ENV), LISTED, []),
    ("a member that is not Ready", member(ENV), SICK, ["…join.ready"]),
    ("a member without flannel.1 (J3)", member(ENV, links=links("cni0")), LISTED, ["…join.flannel"]),
    (
        "a member whose kubelet is stopped",
        member(ENV, units=STOPPED),
        LISTED,
        ["join.kubelet", "…join.flannel", "…join.ready"],
    ),
    ("a member that the API forgot", member(ENV), CONTROL, ["join.clear", *ENTER]),
    ("the control plane's CA cannot be read", DONE, replace(CONTROL, ca_hash=""), ["!join.ca"]),
    ("a member, and the list of nodes cannot be read", member(ENV), replace(LISTED, nodes=()), ["!join.nodes"]),
]


@pytest.mark.parametrize(("facts", "control", "wanted"), [row[1:] for row in JOIN], ids=[row[0] for row in JOIN])
def test_join(facts: NodeFacts, control: NodeFacts | None, wanted: list[str]) -> None:
    assert ids(steps(phases.JOIN, facts, control=control)) == wanted


def test_a_node_of_before_is_waited_for_until_it_is_not_ready_or_gone() -> None:
    """kubeadm refuses a name whose Node is Ready."""
    (wait,) = [one for one in steps(phases.JOIN, DONE, control=LISTED) if one.id == "join.silent"]
    assert isinstance(wait, Wait)
    for seen, well in (
        ("w1   Ready   <none>   5m   v1.36.3", False),
        ("w1   Ready,SchedulingDisabled   <none>   5m   v1.36.3", False),
        ("w1   NotReady   <none>   5m   v1.36.3", True),
        ('Error from server (NotFound): nodes "w1" not found', True),
    ):
        assert (wait.until(seen) is None) == well, seen


def test_the_join_token_is_created_once_and_never_shown() -> None:
    token = next(a for a in steps(phases.JOIN, DONE, control=CONTROL) if a.id == "join.token")
    assert isinstance(token, Step)
    assert (token.once, token.on) == (True, "control-plane")
    assert all("0123456789abcdef" not in line for line in token.commands)
    assert all(f.secret for f in token.files)


def test_join_verifies_the_clusters_ca() -> None:
    step = next(a for a in steps(phases.JOIN, DONE, control=CONTROL) if a.id == "join.join")
    assert isinstance(step, Step)
    assert f"- {CA}" in step.files[0].content
    assert "unsafe" not in step.files[0].content.lower()


@pytest.mark.parametrize(
    ("row", "verdict"),
    [
        ("w1   Ready    <none>   1s   v1.36.3", None),
        ("w1   Ready,SchedulingDisabled   <none>   1s   v1.36.3", None),
        ("w1   NotReady   <none>   1s   v1.36.3", "w1   NotReady   <none>   1s   v1.36.3"),
        ("", "not listed yet"),
        ('Error from server (NotFound): nodes "w1" not found', 'Error from server (NotFound): nodes "w1" not found'),
    ],
)
def test_ready_is_what_the_api_says(row: str, verdict: str | None) -> None:
    wait = steps(phases.JOIN, DONE, control=CONTROL)[-1]
    assert isinstance(wait, Wait)
    assert wait.until(row) == verdict


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [("200", None), ("401", None), ("403", None), ("000", "answer 000"), ("", "answer none"), ("502", "answer 502")],
)
def test_any_answer_of_an_api_server_is_enough_before_joining(answer: str, verdict: str | None) -> None:
    wait = steps(phases.JOIN, DONE, control=CONTROL)[0]
    assert isinstance(wait, Wait)
    assert wait.until(answer) == verdict


# --- addons (A1 to A5)

NEW = [
    "addons.dashboard",
    "addons.monitoring",
    "…addons.influxdb-ready",
    "…addons.retention",
    "…addons.dashboard-ready",
    "…addons.metrics",
]
WHOLE = control_plane(ENV, members=("cp1", "w1"), stamped=ALL_STAMPED)
ADDONS: list[tuple[str, NodeFacts, list[str]]] = [
    ("none yet", control_plane(ENV, stamped=("flannel",), reporting=frozenset(), retention=Retention()), NEW),
    (
        "nothing of it",
        control_plane(
            ENV, stamped=("flannel",), undo=WHOLE.undo - {"influxdb"}, reporting=frozenset(), retention=Retention()
        ),
        [NEW[0], "addons.storage", *NEW[1:]],
    ),
    ("all there", WHOLE, []),
    (
        "InfluxDB's folder was taken away",
        replace(WHOLE, undo=WHOLE.undo - {"influxdb"}),
        ["addons.storage", "…addons.influxdb-ready", "…addons.retention"],
    ),
    ("no API", MASTER, ["!addons.control-plane"]),
    (
        "InfluxDB does not answer",
        replace(WHOLE, retention=Retention()),
        ["addons.login", "…addons.influxdb-ready", "…addons.retention"],
    ),
    (
        "the policy is missing",
        replace(WHOLE, retention=parse_retention("autogen,0s,168h0m0s,1,true")),
        ["…addons.influxdb-ready", "…addons.retention"],
    ),
    (
        "the policy has another duration",
        replace(WHOLE, retention=Retention(True, "720h0m0s", default=True)),
        ["…addons.influxdb-ready", "…addons.retention"],
    ),
    (
        "the dashboard has no pod",
        replace(WHOLE, objects=tuple({**o, "status": {}} for o in WHOLE.objects)),
        ["…addons.dashboard-ready"],
    ),
    ("no cni0", replace(WHOLE, links=links("flannel.1")), ["…addons.interfaces"]),
    ("no metrics lately", replace(WHOLE, reporting=frozenset({"w1"})), ["…addons.metrics"]),
]


@pytest.mark.parametrize(("facts", "wanted"), [row[1:] for row in ADDONS], ids=[row[0] for row in ADDONS])
def test_addons(facts: NodeFacts, wanted: list[str]) -> None:
    found = ids(steps(phases.ADDONS, facts))
    assert found == wanted or (found[0].startswith("!") and found[:1] == wanted)


def test_addons_on_a_worker_are_only_its_interfaces_and_metrics() -> None:
    assert ids(steps(phases.ADDONS, member(ENV), control=WHOLE)) == []
    assert ids(steps(phases.ADDONS, member(ENV, links=links("flannel.1")), control=WHOLE)) == ["…addons.interfaces"]
    assert ids(steps(phases.ADDONS, member(ENV), control=replace(WHOLE, reporting=frozenset({"cp1"})))) == [
        "…addons.metrics"
    ]


def test_the_dashboard_can_be_left_out() -> None:
    env = environment(dashboard="none")
    assert not any("dashboard" in i for i in ids(steps(phases.ADDONS, control_plane(env, stamped=("flannel",)), env)))


PATIENCE: list[tuple[dict[str, float], str, list[float], float]] = [
    ({}, "addons.interfaces", [60, 60], 60),
    ({}, "addons.retention", [45], 90),
    ({}, "addons.metrics", [45], 90),
    ({"flannel_grace": 5, "flannel_timeout": 7}, "addons.interfaces", [5, 5], 7),
    ({"metrics_grace": 4}, "addons.retention", [4], 8),
    ({"metrics_grace": 4}, "addons.metrics", [4], 8),
]


@pytest.mark.parametrize(("given", "id", "after", "deadline"), PATIENCE)
def test_seconds_until_a_remedy_and_until_giving_up(
    given: dict[str, Any], id: str, after: list[float], deadline: float
) -> None:
    env = environment(**{key: str(seconds) for key, seconds in given.items()})
    facts = replace(WHOLE, links=links("flannel.1"), retention=Retention(), reporting=frozenset())
    wait = next(action for action in steps(phases.ADDONS, facts, env) if action.id == id)
    assert isinstance(wait, Wait)
    assert [remedy.after for remedy in wait.remedies] == after
    assert wait.deadline == deadline


HEAD = "name,duration,shardGroupDuration,replicaN,default\n"
RETENTION = [
    (HEAD + "autogen,0s,168h0m0s,1,false\ndefault,0s,168h0m0s,1,true\n", "0d", None),
    (HEAD + "default,0s,168h0m0s,1,true\n", "INF", None),
    (HEAD + "default,720h0m0s,24h0m0s,1,true\n", "30d", None),
    (HEAD + "default,216h0m0s,24h0m0s,1,true\n", "1w2d", None),
    (HEAD + "default,720h0m0s,24h0m0s,1,true\n", "0d", "its duration is 720h0m0s, not 0d"),
    (HEAD + "default,0s,168h0m0s,1,false\n", "0d", "the policy is not the database's default"),
    (HEAD + "autogen,0s,168h0m0s,1,true\n", "0d", (HEAD + "autogen,0s,168h0m0s,1,true").strip()),
    ("", "0d", "no answer from InfluxDB"),
    ("ERR: database not found: k8s", "0d", "ERR: database not found: k8s"),
]


@pytest.mark.parametrize(("seen", "wanted", "verdict"), RETENTION)
def test_show_retention_policies_is_read(seen: str, wanted: str, verdict: str | None) -> None:
    assert _until_kept(seen, wanted) == verdict


def test_the_manuals_command_is_repeated_and_then_the_pods_are_recreated_once() -> None:
    wait = next(a for a in steps(phases.ADDONS, control_plane(ENV, stamped=("flannel",))) if a.id == "addons.retention")
    assert isinstance(wait, Wait)
    assert "DURATION 0d REPLICATION 1 SHARD DURATION 7d DEFAULT; " in wait.probe
    assert "SHOW RETENTION POLICIES" in wait.probe
    assert wait.changes
    assert [r.title for r in wait.remedies] == ["recreate the influxdb and telegraf pods (A5)"]
    login, delete, rollout, again = wait.remedies[0].commands
    assert "get secret influxdb-login -o name >/dev/null 2>&1 || " in login, "made only if it is gone"
    assert "delete pods -l 'app in (telegraf,monitoring-influxdb)'" in delete
    assert "rollout status" in rollout
    assert "RETENTION POLICY" in again, "it may be a fresh one"


def statement(wanted: str, seen: str, **more: str) -> str:
    env = environment(retention=wanted, **more)
    facts = control_plane(env, stamped=("flannel",), retention=parse_retention(seen))
    wait = next(a for a in steps(phases.ADDONS, facts, env) if a.id == "addons.retention")
    assert isinstance(wait, Wait)
    return re.sub(r"""^.*-execute '(.*)' 2>&1$""", r"\1", wait.probe)


def having_kept(duration: str) -> str:
    return f"{HEAD}autogen,0s,168h0m0s,1,false\ndefault,{duration},24h0m0s,1,true\n"


# InfluxDB 1.6.7 refuses, and then stops: CREATE of an existing policy with another duration; ALTER to less than the shards' duration.
@pytest.mark.parametrize(
    ("seen", "wanted", "verb", "shard"),
    [
        ("", "30d", "CREATE", "1d"),
        ("autogen,0s,168h0m0s,1,true", "30d", "CREATE", "1d"),
        (having_kept("720h0m0s"), "0d", "ALTER", "7d"),
        (having_kept("72h0m0s"), "180d", "ALTER", "7d"),
        (having_kept("72h0m0s"), "179d", "ALTER", "1d"),
        (having_kept("1h0m0s"), "47h", "ALTER", "1h"),
        (having_kept("720h0m0s"), "INF", "ALTER", "7d"),
        (having_kept("1h0m0s"), "2d", "ALTER", "1d"),
    ],
)
def test_an_existing_policy_is_altered_together_with_its_shard_duration(
    seen: str, wanted: str, verb: str, shard: str
) -> None:
    policy = f'{verb} RETENTION POLICY "default" ON k8s DURATION {wanted} REPLICATION 1 SHARD DURATION {shard} DEFAULT'
    assert (
        statement(wanted, seen)
        == f'CREATE DATABASE "k8s"; {policy}; GRANT WRITE ON "k8s" TO "telegraf"; SHOW RETENTION POLICIES'
    )
    assert statement(wanted, seen, influxdb_login="no") == f'CREATE DATABASE "k8s"; {policy}; SHOW RETENTION POLICIES'


@pytest.mark.parametrize("wanted", ["0d", "30d", "47h"])
def test_a_new_database_begins_with_the_policy_that_a3_then_finds(wanted: str) -> None:
    """It is in the Secret, so that an edit of RETENTION replaces no pod; and is put right before another folder is made for InfluxDB."""
    env = environment(workers=1, retention=wanted)
    other = control_plane(environment(workers=1, retention="999h"), members=("cp1", "w1"), stamped=ALL_STAMPED)
    found = ids(lasting(phases.ADDONS, replace(other, retention=Retention(True, "1h0m0s", default=True)), env))
    assert "…addons.retention" in found and "addons.monitoring" not in found
    words = re.search(r"(DURATION .*) DEFAULT", statement(wanted, ""))
    assert words
    new = lasting(phases.ADDONS, control_plane(env, stamped=("flannel",), retention=Retention()), env)
    (monitoring,) = (one for one in new if one.id == "addons.monitoring")
    assert isinstance(monitoring, Step) and any(f'"policy":"{words[1]}"' in line for line in monitoring.commands)
    whole = control_plane(env, members=("cp1", "w1"), stamped=("flannel", "monitoring"))
    lost = lasting(phases.ADDONS, replace(whole, undo=whole.undo - {"influxdb"}, retention=Retention()), env)
    (storage,) = (one for one in lost if one.id == "addons.storage")
    assert isinstance(storage, Step) and "patch secret" in storage.commands[0] and words[1] in storage.commands[0]
    assert "delete pods" in storage.commands[-1]


KEPT = {"": 0.0, "0s": math.inf, "1h0m0s": 1, "26h0m0s": 26, "72h0m0s": 72, "720h0m0s": 720}
ASKED = {"0d": math.inf, "INF": math.inf, "26h": 26, "3d": 72, "30d": 720}


@pytest.mark.parametrize(("wanted", "said"), tuple(product(ASKED, (False, True))))
def test_metrics_are_deleted_only_with_the_operators_consent(wanted: str, said: bool) -> None:
    env = environment(workers=1, dashboard="none", retention=wanted, retention_shorten="yes" if said else "no")
    base = control_plane(env, stamped=("monitoring",))
    for kept in KEPT:
        found = lasting(phases.ADDONS, replace(base, retention=parse_retention(having_kept(kept) if kept else "")), env)
        alters = any("ALTER RETENTION" in str(vars(action)) for action in found)
        if ASKED[wanted] < KEPT[kept] and not said:
            assert ids(found)[0] == f"!{STOP}" and not alters
            assert isinstance(found[0], Stop) and "KUBEFAB_RETENTION_SHORTEN=yes fab -H cp1 addons" in found[0].remedy
        else:
            assert not any(isinstance(action, Stop) for action in found)
            assert alters == (kept != "" and KEPT[kept] != ASKED[wanted]), "what was not observed is not changed"


OVER: list[tuple[str, str, str, str]] = [
    ("docker0", "172.17.0.1/16", "172.17.0.0/16", "10.244.0.0/16"),
    ("docker0", "172.17.0.1/16", "172.16.0.0/12", "10.244.0.0/16"),
    ("docker0", "172.17.0.1/16", "172.17.4.0/24", ""),  # it is wider: the narrower route wins
    ("br-1f0c", "10.44.3.1/24", "10.44.0.0/16", "10.244.0.0/16"),
    ("vpn", "10.244.9.1/24", "10.244.0.0/16", "10.44.0.0/16"),
    ("cni0", "10.44.3.1/24", "10.44.0.0/16", ""),
    ("flannel.1", "10.44.3.0/32", "10.44.0.0/16", ""),
    ("eth1", "fd00::1/64", "10.44.0.0/16", ""),
]


@pytest.mark.parametrize(("name", "address", "pods", "free"), OVER)
def test_pods_do_not_get_the_addresses_of_another_interface(name: str, address: str, pods: str, free: str) -> None:
    env = environment(pod_cidr=pods)
    facts = fresh(links={**fresh().links, name: Link(name, (address,), 1500)})
    stops = [one for one in steps(phases.PREP, facts, env) if isinstance(one, Stop)]
    assert [one.id for one in stops] == ["prep.overlap"] * bool(free)
    assert all(
        f"{name} on this machine has {address}" in one.reason and f"POD_CIDR={free}" in one.remedy for one in stops
    )
    living = member(env, links={**member(env).links, name: Link(name, (address,), 1500)})
    assert not any(isinstance(one, Stop) for one in steps(phases.PREP, living, env)), "a member has its addresses"


# --- reset (X1, X2)

USED = member(ENV)
RESET = ["reset.kubeadm", "reset.mounts", "reset.network", "reset.files", "reset.images", "reset.undo"]
BARE = ["reset.mounts", "reset.network", "reset.files", "reset.undo"]
SUBPATH = "/var/lib/kubelet/pods/1/volume-subpaths/config/grafana/0"


def subpath(source: str) -> Mount:
    return Mount("ext4", SUBPATH, f"/var/lib/kubelet/pods/1/volumes/{source}")


CLEAN: list[tuple[str, NodeFacts, list[str]]] = [
    ("a fresh machine", fresh(), []),
    ("installed, and it is not known for whom", DONE, ["reset.undo"]),
    ("installed for this cluster, and never in it", replace(DONE, identity=identity(ENV, "w1", uid="", ca="")), RESET),
    ("a member", USED, RESET),
    ("links only", fresh(links=links("cni0")), BARE),
    ("rules only", fresh(firewall_rules=3), []),
    ("a pod's own mounts", replace(USED, mounts=(Mount("tmpfs", "/var/lib/kubelet/pods/1/volumes/x"),)), RESET),
    (
        "somebody's volume",
        replace(USED, mounts=(Mount("ext4", "/var/lib/kubelet/pods/1/volumes/data"),)),
        ["!reset.volumes"],
    ),
    (
        "a ConfigMap by subPath",
        replace(USED, mounts=(subpath("kubernetes.io~configmap/config/..2026/grafana.ini"),)),
        RESET,
    ),
    (
        "the same where the kubelet's folder is a disk of its own",
        replace(
            USED, mounts=(Mount("ext4", SUBPATH, "/pods/1/volumes/kubernetes.io~configmap/config/..2026/grafana.ini"),)
        ),
        RESET,
    ),
    ("an emptyDir by subPath", replace(USED, mounts=(subpath("kubernetes.io~empty-dir/work/a"),)), RESET),
    ("a hostPath by subPath", replace(USED, mounts=(Mount("ext4", SUBPATH, "/srv/data/a"),)), ["!reset.volumes"]),
    (
        "a local volume by subPath",
        replace(USED, mounts=(subpath("kubernetes.io~local-volume/pv/a"),)),
        ["!reset.volumes"],
    ),
    (
        "a network volume",
        replace(USED, mounts=(Mount("nfs4", "/var/lib/kubelet/pods/1/volumes/data"),)),
        ["!reset.volumes"],
    ),
]


@pytest.mark.parametrize(("facts", "wanted"), [row[1:] for row in CLEAN], ids=[row[0] for row in CLEAN])
def test_reset(facts: NodeFacts, wanted: list[str]) -> None:
    assert ids(steps(phases.RESET, facts)) == wanted


def test_reset_of_one_node_takes_it_out_of_the_cluster_first() -> None:
    one = Choices(whole_cluster=False)
    assert ids(steps(phases.RESET, USED, control=LISTED, choices=one))[:4] == [
        "reset.cordon",
        "…reset.drain",
        "…reset.volumes",
        "reset.node",
    ]
    assert "reset.node" not in ids(steps(phases.RESET, USED, control=CONTROL, choices=one))
    assert "reset.node" not in ids(steps(phases.RESET, USED, control=LISTED))


def test_reset_can_keep_images_and_can_purge() -> None:
    assert "reset.images" not in ids(steps(phases.RESET, USED, choices=Choices(keep_images=True)))
    # removing a package deletes its configuration files, even changed ones, so originals are restored after that
    assert ids(steps(phases.RESET, USED, choices=Choices(purge=True)))[-2:] == ["reset.packages", "reset.undo"]
    assert "apt-get" in text_of(steps(phases.RESET, USED, choices=Choices(purge=True)))


def test_reset_never_flushes_a_firewall_or_deletes_folders_of_others() -> None:
    text = text_of(steps(phases.RESET, USED, choices=Choices(purge=True)))
    assert "iptables -F" not in text
    assert "rm -rf /etc/cni/net.d " not in text
    assert "rm -rf /var/lib/kubelet/*" not in text
    assert "docker" not in text.replace("docker.io/", "")
    assert "reboot" not in text


def test_a_resets_title_names_what_it_leaves() -> None:
    kept = {
        "/etc/containerd/config.toml": "changed",
        "/etc/crictl.yaml": "ours",
        "/etc/containerd/certs.d/a/hosts.toml": "back",
    }
    title = next(
        a.title for a in steps(phases.RESET, replace(USED, kept=kept)) if isinstance(a, Step) and a.id == "reset.undo"
    )
    assert title.endswith("changed by others since, so left: /etc/containerd/config.toml")
    title = next(
        a.title
        for a in steps(phases.RESET, replace(USED, metrics_disk=True))
        if isinstance(a, Step) and a.id == "reset.undo"
    )
    assert "stays mounted" in title


def test_influxdbs_mounted_disk_is_not_residue() -> None:
    left = fresh(traces=frozenset({STATE}), undo=frozenset({"influxdb"}), metrics_disk=True)
    assert residue(left) == []
    assert (
        residue(replace(left, metrics_disk=False))
        == residue(replace(left, undo=frozenset({"influxdb", "swaps"})))
        == [f"file {STATE}"]
    )


OLD_REGISTRY = "/etc/containerd/certs.d/old.example:5000/hosts.toml"


def test_files_of_a_registry_no_longer_in_the_inventory_are_removed() -> None:
    for env in (ENV, environment(registry="new.example:5000")):
        found = list(steps(phases.REGISTRY, replace(installed(env), kept={OLD_REGISTRY: "ours"}), env))
        assert found[0].id == "registry.old", env
        assert "new.example:5000" not in text_of(found[:1]) or "grep -vxF" in text_of(found[:1])
    assert "registry.old" not in ids(steps(phases.REGISTRY, installed(ENV)))


RESIDUE = [
    (fresh(), []),
    (fresh(links={**links(), "cni0": Link("cni0")}), ["interface cni0"]),
    (fresh(traces=frozenset({KUBELET_CONF})), [f"file {KUBELET_CONF}"]),
    (fresh(processes=("kubelet", "kubeadm")), ["process kubelet"]),
    (fresh(mounts=(Mount("tmpfs", "/var/lib/kubelet/x"),)), ["mount /var/lib/kubelet/x"]),
    (fresh(firewall_rules=2), ["2 firewall rules of kube-proxy, flannel or CNI"]),
    (fresh(nft_tables=("ip kube-proxy",)), ["nft table ip kube-proxy"]),
    (fresh(pods=1), ["1 pod sandboxes in containerd"]),
]


@pytest.mark.parametrize(("facts", "found"), RESIDUE)
def test_the_audit_names_every_kind_of_residue(facts: NodeFacts, found: list[str]) -> None:
    assert residue(facts) == found


@given(
    st.sets(st.sampled_from(LINKS)),
    st.sets(st.sampled_from(TRACES)),
    st.integers(0, 3),
    st.integers(0, 3),
    st.sets(st.sampled_from(["kubelet", "etcd"])),
)
def test_reset_has_a_step_for_every_residue_of_the_audit(
    names: set[str], traces: set[str], rules: int, pods: int, processes: set[str]
) -> None:
    facts = fresh(
        links={n: Link(n) for n in names},
        traces=frozenset(traces),
        firewall_rules=rules,
        pods=pods,
        processes=tuple(processes),
    )
    ours = replace(facts, identity=identity(ENV, "w1"))
    assert not residue(ours) or steps(phases.RESET, ours)


# --- rules for all phases


def everything() -> Iterable[tuple[str, Action]]:
    for table in (PREP, INSTALL):
        for name, facts, _ in table:
            for phase in (phases.PREP, phases.INSTALL, phases.REGISTRY, phases.RESET):
                yield from ((name, a) for a in steps(phase, facts))
    for name, facts, _ in (*INIT, *NET, *ADDONS):
        for phase in (phases.MASTER, phases.NETWORK, phases.ADDONS):
            yield from ((name, a) for a in steps(phase, facts))
    for name, facts, control, _ in JOIN:
        yield from ((name, a) for a in steps(phases.JOIN, facts, control=control))
    for name, facts, _ in CLEAN:
        yield from ((name, a) for a in steps(phases.RESET, facts))


EVERYTHING = list(everything())


def test_every_action_belongs_to_its_phase_and_has_a_title_for_people() -> None:
    for _, action in EVERYTHING:
        assert action.phase in EVERY
        text = action.reason if isinstance(action, Stop) else action.title
        assert text
        assert "\n" not in text


def test_every_refusal_and_every_wait_says_what_to_do_next() -> None:
    for name, action in EVERYTHING:
        if isinstance(action, Stop):
            assert action.remedy, name
        if isinstance(action, Wait):
            assert action.hint, action.id
            assert 0 < action.interval <= 5
            assert action.deadline >= 30


def test_no_command_sleeps_and_none_holds_a_token() -> None:
    for _, action in EVERYTHING:
        lines = action.commands if isinstance(action, Step) else (action.probe,) if isinstance(action, Wait) else ()
        for line in lines:
            assert "sleep " not in line
            assert "0123456789abcdef" not in line


def test_a_phase_yields_the_same_steps_for_the_same_facts() -> None:
    for phase in EVERY.values():
        assert ids(steps(phase, DONE, control=CONTROL)) == ids(steps(phase, DONE, control=CONTROL))


# --- swap that a service makes

SWAP_STEP = next(a for a in steps(phases.PREP, replace(PLAIN, swap_units=("zramswap.service",))) if a.id == "prep.swap")
SYSTEMCTL = """\
systemctl() {
  local verb=$1 u; for u; do :; done
  echo "$*" >>"$ROOT/calls"
  case $verb in
  is-active) [ -e "$ROOT/active.$u" ];;
  is-enabled) [ -e "$ROOT/enabled.$u" ];;
  stop) rm -f "$ROOT/active.$u" "$ROOT/swap.$u";;
  start) [ -e "$ROOT/enabled.$u" ] && touch "$ROOT/active.$u" "$ROOT/swap.$u";;
  mask) mv "$ROOT/enabled.$u" "$ROOT/masked.$u";;
  unmask) mv "$ROOT/masked.$u" "$ROOT/enabled.$u";;
  esac
}
swapoff() { for u in zramswap.service; do [ ! -e "$ROOT/active.$u" ] || return 1; done; }
"""


@pytest.mark.parametrize("running", [True, False])
def test_a_service_that_makes_swap_is_named_stopped_before_swapoff_and_given_back_by_reset(
    running: bool, tmp_path: Path
) -> None:
    """The lines of prep and of reset, in bash, over a stand-in for systemctl."""
    assert isinstance(SWAP_STEP, Step)
    assert SWAP_STEP.title == "swap off, zramswap.service too, noted for reset"
    (tmp_path / "enabled.zramswap.service").touch()
    if running:
        (tmp_path / "active.zramswap.service").touch()
    (tmp_path / "swaps").write_text("Filename\n")
    (tmp_path / "fstab").touch()

    def sent(commands: Sequence[str]) -> None:
        text = "\n".join(commands).replace(STATE, f"{tmp_path}/state").replace("/proc/swaps", f"{tmp_path}/swaps")
        text = text.replace("/etc/fstab", f"{tmp_path}/fstab").replace("/run/systemd", "/nowhere")
        done = subprocess.run(
            ["bash", "-c", f"set -eo pipefail\nROOT={tmp_path}\n{SYSTEMCTL}\n{text}"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    sent(SWAP_STEP.commands)
    assert not (tmp_path / "active.zramswap.service").exists() and (tmp_path / "masked.zramswap.service").exists()
    sent(SWAP_STEP.commands)  # cut off and run again, it forgets nothing
    undo = next(a for a in steps(phases.RESET, with_undo(DONE, "swaps")) if a.id == "reset.undo")
    assert isinstance(undo, Step)
    sent([line for line in undo.commands if "swapunits" in line or "swapservices" in line])
    assert (tmp_path / "enabled.zramswap.service").exists(), "it starts at the next boot"
    assert (tmp_path / "active.zramswap.service").exists() is running
