"""Everything that kubefab sends to a node, as golden files: a commit's diff shows each changed script as the node gets it.

`pytest tests/unit/test_sent.py --update-golden` rewrites them; read the diff before you commit it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest

from fabfile.backups.contents import METRICS_FILE, SNAPSHOT, Record, Restoring
from fabfile.context import Choices
from fabfile.inventory import Environment, with_release
from fabfile.nodes import script
from fabfile.nodes.asking import login_values
from fabfile.nodes.facts import NodeFacts
from fabfile.nodes.observe import observe_script
from fabfile.nodes.upgrading import images_script
from fabfile.phases import BACKUP, BOOTSTRAP, ETCD, KUBELET, METRICS, PLANE, RESET, RESTORE, TOOLS, managed_files
from fabfile.steps import Fetch, Step, Stop, Wait
from fabfile.views import evidence, forgotten, logs, releases, upgrades
from fabfile.views.doctor import between_nodes, clocks, questions
from fabfile.views.plan import Planned, plan
from fabfile.views.verify import proof
from making import CA, UID, control_plane, environment, fresh, links, member, of_release

SYSTEMS = {
    "ubuntu": {
        "os_id": "ubuntu",
        "os_like": ("debian",),
        "os_version": "24.04",
        "os_codename": "noble",
        "os_name": "Ubuntu 24.04 LTS",
    },
    "debian": {
        "os_id": "debian",
        "os_like": (),
        "os_version": "12",
        "os_codename": "bookworm",
        "os_name": "Debian GNU/Linux 12 (bookworm)",
    },
    "rocky": {
        "os_id": "rocky",
        "os_like": ("rhel", "centos", "fedora"),
        "os_version": "9.6",
        "os_codename": "",
        "os_name": "Rocky Linux 9.6",
    },
}
SWAPPING = {"swaps": ("/dev/sdb1",), "fstab_swaps": ("/dev/sdb1 none swap sw 0 0",), "swap_units": ("dev-sdb1.swap",)}


def rendered(planned: Iterable[Planned]) -> str:
    """Each step and wait of a plan, as the script that the node gets."""
    texts = []
    for item in planned:
        for action in item.actions:
            where = f"{item.node} · {action.id}"
            match action:
                case Stop():
                    texts.append(f"#### {where} · stop: {action.reason}\n")
                case Fetch():
                    text = script.sending(action.id, action.commands, action.sends, action.scratch, wait=180)
                    texts.append(f"#### {where} · {action.title}\n{text}")
                case Step():
                    on = " · on the control plane" if action.on else ""
                    texts.append(
                        f"#### {where} · {action.title}{on}\n{script.render(action.id, action.commands, action.files, fetches=action.fetches)}"
                    )
                case Wait():
                    texts.append(
                        f"#### {where} · until: {action.title}\n{script.render(action.id, (f'{action.probe} || true',), lock=action.changes)}"
                    )
                    texts += [
                        f"#### {where} · after {r.after:g} s: {r.title}\n{script.render(action.id, r.commands)}"
                        for r in action.remedies
                    ]
    return "\n".join(texts)


def on(system: str, facts: NodeFacts) -> NodeFacts:
    return replace(facts, **SYSTEMS[system])


@pytest.fixture
def env() -> Environment:
    return environment(workers=1)


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_bootstrap_of_fresh_machines(golden: Callable[[str, str], None], env: Environment, system: str) -> None:
    seen = {name: on(system, fresh(name, **SWAPPING)) for name in ("cp1", "w1")}
    golden(f"sent/bootstrap-{system}.sh", rendered(plan(env, BOOTSTRAP, env.nodes, seen)))


@pytest.mark.parametrize("purge", [False, True], ids=["reset", "purge"])
@pytest.mark.parametrize("system", SYSTEMS)
def test_a_reset(golden: Callable[[str, str], None], env: Environment, system: str, purge: bool) -> None:
    control = control_plane(env, members=("cp1", "w1"))
    seen = {"cp1": on(system, control), "w1": on(system, replace(member(env), links=links("flannel.1", "cni0")))}
    choices = Choices(purge=purge, whole_cluster=False)
    golden(f"sent/{'purge' if purge else 'reset'}-{system}.sh", rendered(plan(env, [RESET], env.nodes, seen, choices)))


def test_a_backup_and_its_restore(golden: Callable[[str, str], None], env: Environment) -> None:
    record = Record(
        "test",
        "cp1",
        "cp1",
        env.control_plane.address,
        env.endpoint,
        UID,
        CA,
        "1.36.4",
        "3.6.8",
        1795929612.0,
        files={SNAPSHOT: "a" * 64, METRICS_FILE: "b" * 64},
    )
    paths = (
        "/etc/kubernetes/manifests/etcd.yaml",
        "/etc/kubernetes/pki/ca.crt",
        "/etc/kubernetes/pki/sa.key",
        "/var/lib/kubelet/config.yaml",
    )
    want = Restoring(record, {path: f"content of {path}\n" for path in paths})
    up = on("debian", control_plane(env))
    lost = replace(up, api_ready=False, etcd=(), etcd_size=0)
    golden("sent/backup.sh", rendered(plan(env, [BACKUP], [env.control_plane], {"cp1": up})))
    golden(
        "sent/restore.sh", rendered(plan(env, [RESTORE], [env.control_plane], {"cp1": lost}, Choices(restoring=want)))
    )
    influx: dict[str, Any] = {"metadata": {"name": "monitoring-influxdb"}, "status": {"availableReplicas": 1}}
    both = Choices(metrics=True, restoring=want)
    measuring = {"cp1": replace(up, objects=(influx,))}
    golden("sent/metrics.sh", rendered(plan(env, [BACKUP, METRICS], [env.control_plane], measuring, both)))


@pytest.mark.parametrize("system", ["debian", "rocky"])
def test_an_upgrade(golden: Callable[[str, str], None], env: Environment, system: str) -> None:
    """To a release before which etcd gets a patch of its own; a worker is drained for it."""
    control = of_release("1.36.4", control_plane(env, members=("cp1", "w1")))
    seen = {"cp1": on(system, control), "w1": on(system, member(env))}
    to = with_release(env, "1.37.1")
    wanted = upgrades.waves(to, seen, Choices(), only=to.nodes, batch=1, control_plane_only=False)
    own = [wave for wave in wanted if wave.phases != upgrades.CONTROL]
    own[1:1] = [
        replace(wave, phases=(TOOLS, ETCD, PLANE, KUBELET)) for wave in wanted if wave.phases == upgrades.CONTROL
    ]
    golden(f"sent/upgrade-{system}.sh", rendered(upgrades.planned(to, own, seen, Choices(upgrading=True))))


def reading(env: Environment) -> dict[str, str]:
    """The scripts that only read, by name."""
    files = managed_files(env)
    first, second = (
        between_nodes.Member(n, overlay=f"10.44.{i}.0", overlay_mtu=1450, tcp=(10250,)) for i, n in enumerate(env.nodes)
    )
    pods = [proof.ProbePod(f"probe-{n}", f"w{n}", f"10.44.{n}.5", True) for n in (1, 2)]
    tests = [between_nodes.Test("cp1", "w1", kind, 10250) for kind in ("tcp", "udp", "overlay", "mtu")]
    return {
        "observe-control-plane": observe_script(control_plane=True, files=files),
        "observe-worker": observe_script(control_plane=False, files=files, settle=True),
        "evidence": evidence.script(env.control_plane),
        "doctor": questions.doctor_script(env, env.control_plane, questions.questions(env, "debian", "bookworm")),
        "doctor-clock": clocks.SCRIPT,
        "doctor-listen": between_nodes.listen_script(first, [8472]),
        "doctor-try": between_nodes.try_script(first, tests, {m.name: m for m in (first, second)}, "kubefab-0123"),
        "doctor-gather": between_nodes.gather_script(),
        "upgrading-control-plane": releases.question(
            env, env.control_plane, on("debian", fresh("cp1")), ("1.36", "1.37")
        ),
        "upgrading-images": images_script(
            {"a": "https://registry.k8s.io/v2/a/manifests/v1"}, login_values(env.settings)
        ),
        "upgrading-dnf": releases.question(env, env.workers[0], on("rocky", fresh()), ("1.37",)),
        "logs-follow": logs.following(logs.arguments("kubelet", "10m", 200)),
        "step-followed": script.render("test.step", ("echo one",), live=True),  # as -v sends each step
        "restore-since": forgotten.SINCE,
        "restore-look": forgotten.LOOK,
        "restore-known": forgotten.KNOWN,
        "verify-pod": proof.inside("w1", pods, "10.96.0.9", "ns", "cluster.local"),
    }


@pytest.mark.parametrize("name", reading(environment(workers=1)))
def test_a_reading_script(golden: Callable[[str, str], None], env: Environment, name: str) -> None:
    golden(f"sent/{name}.sh", reading(env)[name])
