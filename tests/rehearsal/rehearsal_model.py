"""Simulated machines without servers, whose commands are carried out one by one: to kill a run after any of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

from fabfile.context import Choices, Context
from fabfile.inventory import Environment, Node
from fabfile.nodes.facts import NodeFacts
from fabfile.nodes.observe import observe_script, parse_facts
from fabfile.nodes.script import render
from fabfile.phases import Phase
from fabfile.phases.renew import ports
from fabfile.recipes.kubeadm import recipe_for
from fabfile.steps import Stop, Wait
from fabfile.text.masking import Token
from rehearsal import shell
from rehearsal.cluster import Cluster, Settling
from rehearsal.host import Host
from rehearsal.machine import Machine

TOKEN = Token("abcdef.0123456789abcdef")


class Model:
    """The machines of a cluster without servers: copies are cheap, so each kill begins from the same state."""

    def __init__(self, environment: Environment, hosts: dict[str, Host], cluster: Cluster) -> None:
        self.environment = environment
        self.cluster = Cluster.load(cluster.dump())
        self.hosts = {name: Host.load(host.dump()) for name, host in hosts.items()}
        self.settling = Settling(self.cluster, self.hosts, lambda host, name: None)

    def sh(self, node: Node, text: str) -> str:
        host = self.hosts[node.name]
        machine = Machine(host, self.cluster, self.settling, self.environment.settings, 1, self._latest)
        code, output = shell.run(machine, text)
        answer = output.decode()
        assert code == 0, answer
        return answer.partition("\n")[2] if answer.startswith("##kubefab") else answer

    def _latest(self) -> float:
        return max(host.clock for host in self.hosts.values())

    def facts(self, node: Node) -> NodeFacts:
        served = ports(node.address, self.environment.settings.api_port) if node.control_plane else ()
        return parse_facts(self.sh(node, observe_script(control_plane=node.control_plane, files=(), served=served)))

    def context(self, node: Node, choices: Choices) -> Context:
        facts = self.facts(node)
        control = facts if node.control_plane else self.facts(self.environment.control_plane)
        return Context(self.environment, node, facts, recipe_for(self.environment), control, TOKEN, choices=choices)

    def copy(self) -> Self:
        """The same machines once more, which go their own way."""
        return type(self)(self.environment, self.hosts, self.cluster)

    def carry_out(
        self, phase: Phase, node: Node, choices: Choices, killed: Callable[[Self], None] = lambda model: None
    ) -> list[str]:
        """Carry out the phase's commands, and return them. `killed` gets a copy of the machines as a kill leaves them, for each command after
        which that is another state than the one before."""
        done: list[str] = []
        for action in phase.run(self.context(node, choices)):
            assert not isinstance(action, Stop), action
            target = self.environment.control_plane if action.on == "control-plane" else node
            if isinstance(action, Wait):
                self._awaited(action, target)
                continue
            for count in kills(action.commands):
                model = self.copy()
                model.sh(target, render(action.id, action.commands[:count], action.files))
                killed(model)
            if action.commands:
                self.sh(target, render(action.id, action.commands, action.files))
                done += action.commands
        return done

    def _awaited(self, wait: Wait, target: Node) -> None:
        for _ in range(10):
            seen = wait.until(self.sh(target, render(wait.id, (f"{wait.probe} || true",))))
            if seen is None:
                return
            self.hosts[target.name].clock += 10
        raise AssertionError(f"{wait.id}: {seen}")


def kills(commands: Sequence[str]) -> list[int]:
    """After which commands a kill leaves another state than the one before: not after those that only copy, or take away what is ours."""
    same = ("install -d", "cp -p", "sync", "rm -f /run/")
    return [count for count, command in enumerate(commands, 1) if not command.startswith(same)]
