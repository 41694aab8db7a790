"""What is measured, part by part: each yields (what, turns) and says what it does."""

from __future__ import annotations

import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from . import environments, machine
from .measuring import Contender, Took, in_turn, once
from .report import DISTANCES, FAR

if TYPE_CHECKING:
    from fabfile.inventory import Environment

PROJECT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
RIVALS = Path(__file__).resolve().parent / "rivals"
DESCRIPTORS = 1024  # open files that a login has by default
Say = Callable[[str], None]
Proof = Callable[[str], str]  # an output in, what is wrong with it out
Found = dict[str, list[Took]]


@dataclass
class Wanted:
    """How much is measured."""

    rounds: int  # turns of what takes seconds
    bare: int  # turns from bare nodes
    say: Say
    versions: dict[str, str] = field(default_factory=dict)
    until: float = float(
        "inf"
    )  # by time.monotonic(): another turn from bare nodes begins only if it will have ended by then


def ours(key: str, *words: str, variables: Mapping[str, str] | None = None, proof: Proof | None = None) -> Contender:
    """A command of ours as it is typed."""
    return Contender(key, ((BIN / words[0], *words[1:]),), PROJECT, variables or {}, proof or (lambda _: ""))


def must(pattern: str) -> Proof:
    """A proof: the output has this; otherwise what was measured is not what is said to be."""
    return lambda output: "" if re.search(pattern, output) else f"the output has no {pattern!r}"


def judged(*none: str) -> Proof:
    """A proof for Ansible's recap: it has every host, unreachable none, and none of these ("changed", "failed") is other than 0."""

    def proof(output: str) -> str:
        for name in ("unreachable", *none):
            counts = re.findall(rf" {name}=(\d+)", output)
            if not counts or any(int(one) for one in counts):
                return f"{name}: {counts}"
        return ""

    return proof


def nothing(output: str) -> str:
    """A proof for pyinfra: no operation ran, as the facts asked for none."""
    return "it ran operations" if re.search(r"Starting operation", output) else ""


# --- on the lab's nodes


@dataclass(frozen=True)
class Rivals:
    """Ansible and pyinfra on the lab's nodes: their programs, and the folder with what they are given."""

    ansible: Path
    pyinfra: Path
    folder: Path

    def playbook(self, key: str, name: str, proof: Proof) -> Contender:
        command = (self.ansible / "ansible-playbook", "-e", "@cluster.json", RIVALS / "ansible" / name)
        return Contender(key, (command,), self.folder, self._ansible(), proof)

    def ansible_floor(self) -> Contender:
        command = (self.ansible / "ansible", "all", "-m", "raw", "-a", "true")
        return Contender("ansible raw true", (command,), self.folder, self._ansible())

    def deploy(self, key: str, name: str, proof: Proof = lambda _: "") -> Contender:
        command = (self.pyinfra / "pyinfra", "-y", "--no-wait", "inventory.py", RIVALS / "pyinfra" / name)
        return Contender(key, (command,), self.folder, self._pyinfra(), proof)

    def pyinfra_floor(self) -> Contender:
        return Contender(
            "pyinfra exec true",
            ((self.pyinfra / "pyinfra", "inventory.py", "exec", "--", "true"),),
            self.folder,
            self._pyinfra(),
        )

    def _ansible(self) -> dict[str, str]:
        return {
            "ANSIBLE_CONFIG": str(RIVALS / "ansible/ansible.cfg"),
            "ANSIBLE_INVENTORY": str(self.folder / "hosts.ini"),
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.folder / "cp"),
            "ANSIBLE_HOME": str(self.folder / "ansible"),
            "PATH": f"{self.ansible}:{os.environ['PATH']}",
        }

    def _pyinfra(self) -> dict[str, str]:
        return {"PYTHONPATH": str(RIVALS / "pyinfra")}

    def forget(self) -> None:
        """End the connections that Ansible keeps, and forget host keys: the machines are replaced."""
        for path in (self.folder / "cp").glob("*"):
            subprocess.run(["ssh", "-O", "exit", "-o", f"ControlPath={path}", "none"], capture_output=True, check=False)
            path.unlink(missing_ok=True)
        (self.folder / "known_hosts").unlink(missing_ok=True)


def ssh_true(environment: Environment) -> Contender:
    """OpenSSH running `true` on every node at once: a process each, no connection that is kept."""
    words = "-o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o IdentitiesOnly=yes -o ControlMaster=no"
    return Contender(
        "ssh true",
        tuple(
            ("ssh", *words.split(), "-i", node.key, "-p", str(node.port), f"{node.user}@{node.host}", "true")
            for node in environment.nodes
        ),
        PROJECT,
    )


def on_lab(wanted: Wanted, parts: set[str]) -> Found:
    """`bare`: from bare nodes to a whole cluster and reset, each in turn. `unchanged`: on kubefab's cluster, all in turn."""
    from . import bed, given

    say = wanted.say
    found: Found = {}

    def note(key: str, took: Took) -> None:
        found.setdefault(key, []).append(took)
        say(f"{key}: {took.wall:.2f} s")

    with bed.lab(say) as environment, TemporaryDirectory(prefix="kubefab-bench-") as scratch:
        folder = Path(scratch)
        given.give(environment, folder)
        shutil.copy(RIVALS / "pyinfra/inventory.py", folder)
        rivals = Rivals(environments.programs("ansible", say), environments.programs("pyinfra", say), folder)
        wanted.versions |= {
            "Ansible": f"ansible-core {machine.version([rivals.ansible / 'ansible', '--version'])}",
            "pyinfra": f"pyinfra {machine.version([rivals.pyinfra / 'pyinfra', '--version'])}",
            "OpenSSH": machine.version(["ssh", "-V"], r"OpenSSH_\S+").replace("_", " "),
            "Kubernetes": f"Kubernetes {environment.settings.kubernetes}",
        }
        longest = 0.0
        try:
            for number in range(wanted.bare if "bare" in parts else 1):
                began = time.monotonic()
                if number:
                    if began + longest > wanted.until:
                        say("no time for another turn from bare nodes")
                        break
                    bed.fresh(say)
                note("kubefab from bare", once(ours("kubefab from bare", "inv", "cluster.bootstrap", "--env", "lab")))
                path = critical(environment)
                bed.prove(environment, "kubefab")
                if "bare" in parts:
                    found.setdefault("critical path", []).append(Took(path, 0, 0))
                else:
                    del found["kubefab from bare"]
                asked = time.monotonic()
                if "unchanged" in parts and not number:
                    found |= in_turn(unchanged(environment, rivals), wanted.rounds, say)
                if "far" in parts and not number:
                    for milliseconds in DISTANCES:
                        found |= far(environment, rivals, milliseconds, wanted)
                began += time.monotonic() - asked
                if "bare" not in parts:
                    continue
                note(
                    "kubefab reset", once(ours("kubefab reset", "inv", "cluster.reset", "--env", "lab", "--yes", "lab"))
                )
                found.setdefault("reset of a node", []).append(Took(slowest(environment), 0, 0))
                for who, first, again in (
                    (
                        "ansible",
                        rivals.playbook("ansible from bare", "site.yml", judged("failed")),
                        rivals.playbook("ansible again", "site.yml", judged("failed", "changed")),
                    ),
                    (
                        "pyinfra",
                        rivals.deploy("pyinfra from bare", "deploy.py"),
                        rivals.deploy("pyinfra again", "deploy.py", nothing),
                    ),
                ):
                    rivals.forget()
                    bed.fresh(say)
                    note(first.key, once(first))
                    bed.prove(environment, who)
                    note(again.key, once(again))
                longest = time.monotonic() - began
        finally:
            rivals.forget()
    return found


def unchanged(environment: Environment, rivals: Rivals) -> list[Contender]:
    """All that is asked of a healthy cluster, and the least that each tool needs for anything at all."""
    return [
        ssh_true(environment),
        ours("kubefab unchanged", "inv", "cluster.bootstrap", "--env", "lab", proof=must("nothing to do")),
        ours("kubefab status", "inv", "cluster.status", "--env", "lab"),
        ours("kubefab plan --observe", "inv", "cluster.plan", "--observe", "--env", "lab"),
        rivals.playbook("ansible checks", "checks.yml", judged("failed", "changed")),
        rivals.ansible_floor(),
        rivals.deploy("pyinfra checks", "checks.py", nothing),
        rivals.pyinfra_floor(),
    ]


def far(environment: Environment, near: Rivals, milliseconds: int, wanted: Wanted) -> Found:
    """What is asked of a healthy cluster whose nodes are that much farther away."""
    from . import given
    from .far import away, variables

    with away(environment, milliseconds) as distant, TemporaryDirectory(prefix="kubefab-bench-") as scratch:
        rivals = replace(near, folder=Path(scratch))
        given.give(distant, rivals.folder)
        shutil.copy(RIVALS / "pyinfra/inventory.py", rivals.folder)
        named = [
            replace(one, key=f"{one.key}, {milliseconds} ms", variables={**one.variables, **variables(environment)})
            for one in unchanged(distant, rivals)
            if one.key in FAR
        ]
        once(next(one for one in named if one.key.startswith("kubefab")))  # its first run takes the host keys
        try:
            return in_turn(named, min(wanted.rounds, 3), wanted.say)
        finally:
            rivals.forget()


def critical(environment: Environment) -> float:
    """Seconds of the newest run's critical path, as its journal shows it."""
    from fabfile.run.journal import journals, read
    from fabfile.views import timing

    run = timing.read_run(read(journals(environment.state / "journal")[-1]))
    return timing.path_seconds(timing.critical_path(run))


def slowest(environment: Environment) -> float:
    """Seconds that the newest run took on the node where it took longest, from its first look to its end."""
    from fabfile.run.journal import journals, read
    from fabfile.views import timing

    run = timing.read_run(read(journals(environment.state / "journal")[-1]))
    own = [[span for span in run.spans if span.node == node] for node in run.nodes]
    return max(max(span.end for span in spans) - min(span.start for span in spans) for spans in own if spans)


# --- on simulated nodes, and without any


def many(wanted: Wanted, sizes: tuple[int, ...]) -> Found:
    """An unchanged bootstrap of clusters of these sizes, whole processes beside a process with the simulated nodes."""
    from .simulated import served

    found: Found = {}
    for nodes in sizes:
        with TemporaryDirectory(prefix="kubefab-bench-") as scratch:
            wanted.say(f"{nodes} simulated nodes")
            with served(Path(scratch), nodes - 1) as variables:
                key = f"{nodes} nodes"
                most = min(DESCRIPTORS, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
                line = f"ulimit -Sn {most}; exec {shlex.quote(str(BIN / 'inv'))} cluster.bootstrap"
                command = ("sh", "-c", line)
                one = Contender(key, (command,), PROJECT, variables, must("nothing to do"))
                once(one)  # its first run takes the host keys
                found |= in_turn([one], min(wanted.rounds, 3) if nodes < 1000 else 1, wanted.say)
    return found


def without_nodes(wanted: Wanted) -> Found:
    """What starting a command costs beside `ansible --version`, and what 5,000 nodes cost that are only named."""
    from .simulated import hosts_text

    ansible = environments.programs("ansible", wanted.say) / "ansible"
    wanted.versions.setdefault("Ansible", f"ansible-core {machine.version([ansible, '--version'])}")
    with TemporaryDirectory(prefix="kubefab-bench-") as scratch:
        hosts, invoke = Path(scratch, "hosts.env"), Path(scratch, "invoke")
        nodes = [f"172.{16 + n // 62500}.{n // 250 % 250}.{n % 250 + 1} name=n{n}" for n in range(5000)]
        hosts.write_text(hosts_text(nodes, NODE_CIDR="172.16.0.0/12", SSH_USER="ops"))
        invoke.mkdir()  # Invoke by itself: what no project can go below
        (invoke / "tasks.py").write_text("import invoke\n\n\n@invoke.task\ndef nothing(c): ...\n")
        big = {"KUBEFAB_HOSTS": str(hosts), "KUBEFAB_ENV": "simulated", "XDG_STATE_HOME": scratch}
        small = [
            Contender("invoke alone", ((BIN / "inv", "-l"),), invoke),
            ours("inv -l", "inv", "-l"),
            ours("Tab after --env", "inv", "--complete", "--", "inv", "cluster.plan", "--env", "r"),
            Contender("ansible --version", ((ansible, "--version"),), PROJECT),
        ]
        large = [ours("plan, 5000 nodes", "inv", "cluster.plan", variables=big), typo(big)]
        return in_turn(small, wanted.rounds, wanted.say) | in_turn(large, 1, wanted.say)


def typo(variables: Mapping[str, str]) -> Contender:
    """`fab -H` with a node that there is not, among 5,000: it must say so, with the nearest name."""
    line = f"{shlex.quote(str(BIN / 'fab'))} -H n499x prep; test $? -eq 2"
    return Contender("fab -H typo, 5000 nodes", (("sh", "-c", line),), PROJECT, variables, must("n499"))


PARTS: dict[str, str] = {
    "unchanged": "an unchanged bootstrap, status and plan --observe, beside ssh true, Ansible and pyinfra (lab)",
    "far": "an unchanged bootstrap beside ssh true, Ansible and pyinfra, nodes 50 and 150 ms away (lab)",
    "bare": "from bare nodes, and reset, beside Ansible and pyinfra (lab)",
    "many": "10, 200 and 1,000 simulated nodes",
    "start": "what starting a command costs, and what 5,000 nodes cost that are only named",
}


def measure(wanted: Wanted, chosen: set[str], *, quick: bool) -> Found:
    """These parts. Raises Failed where something did not do what is measured."""
    found: Found = {}
    if "start" in chosen:
        found |= without_nodes(wanted)
    if "many" in chosen:
        found |= many(wanted, (10, 50) if quick else (10, 200, 1000))
    if chosen & {"unchanged", "far", "bare"}:
        found |= on_lab(wanted, chosen)
    return found
