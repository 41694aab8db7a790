"""What the checks before an upgrade decide from, and what they say: values, for phases/upgradable.py and phases/dropped.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from functools import cached_property
from typing import Any, Literal

from ..backups.latest import Latest
from ..context import Choices, answering_node
from ..errors import KubefabError
from ..identity import Record, own_nodes
from ..inventory import Environment, Node
from ..inventory.beside import Addon
from ..inventory.components import KUBELET
from ..nodes.facts import NodeFacts
from ..nodes.upgrading import Answers, Manifest
from ..nodes.workload import Workload
from ..recipes.changes import between, numbers
from ..recipes.packages import PINNED
from ..records import dataclass
from ..text.durations import HOUR
from .drain import Hindrance, hindrances
from .runtimes import due
from .upgrade import plane_releases

State = Literal["ok", "stop", "note"]
FRESH = HOUR  # a backup that is older is taken again


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. `id` is "topic.what"; `remedy` is what to do about a stop."""

    id: str
    state: State
    seen: str
    remedy: str = ""


@dataclass(frozen=True)
class Fleet:
    """All that the checks decide from. `target` is a whole release ("1.37.2"); `now` is seconds since 1970.

    `environment` has the nodes that are concerned; `left` are workers that --limit leaves out, and whose facts are there as well.
    `facts` and `answers` are by the node's name, with the error of a node that could not be asked. `images` has, by the node's
    name, what its registries said of the target's images. `workload` is what runs, and what the API
    would not evict from the nodes in `draining`; `choices` are the operator's consents to a drain. `resumed`: every node of it that has
    something left to do is half way (phases/upgrade.py, begun), and nothing is asked of it but what was observed;
    and, in `asked`, what it has of containerd. `answers` have that too.
    """

    environment: Environment
    target: str
    facts: Mapping[str, NodeFacts | KubefabError]
    answers: Mapping[str, Answers | KubefabError]
    latest: Latest = field(default_factory=Latest)
    record: Record = field(default_factory=Record)
    now: float = 0.0
    addons: Sequence[Addon] = ()
    images: Mapping[str, Mapping[str, Manifest]] = field(default_factory=dict)
    workload: Workload | KubefabError = field(default_factory=Workload)
    choices: Choices = field(default_factory=Choices)
    resumed: bool = False
    left: Sequence[Node] = ()
    asked: Mapping[str, Answers | KubefabError] = field(default_factory=dict)

    def runtime(self, name: str) -> Answers | None:
        """What a node answered of its containerd; None where it was not asked, or did not answer."""
        found = self.answers.get(name) or self.asked.get(name)
        return found if isinstance(found, Answers) else None

    @cached_property
    def node(self) -> Node:
        """The control plane whose API answers."""
        return answering_node(self.environment, self.facts) or self.environment.control_plane

    @cached_property
    def control(self) -> NodeFacts:
        found = self.facts.get(self.node.name)
        return found if isinstance(found, NodeFacts) else NodeFacts()

    @cached_property
    def said(self) -> Answers:
        """What that control plane answered."""
        found = self.answers.get(self.node.name)
        return found if isinstance(found, Answers) else Answers()

    @cached_property
    def observed(self) -> tuple[tuple[Node, NodeFacts], ...]:
        """The nodes that were observed."""
        found = ((node, self.facts.get(node.name)) for node in self.environment.nodes)
        return tuple((node, facts) for node, facts in found if isinstance(facts, NodeFacts))

    @cached_property
    def seen(self) -> tuple[tuple[Node, NodeFacts, Answers], ...]:
        """Those of them that have answered."""
        found = ((node, facts, self.answers.get(node.name)) for node, facts in self.observed)
        return tuple((node, facts, answers) for node, facts, answers in found if isinstance(answers, Answers))

    @property
    def saved(self) -> bool:
        """Whether a backup of this cluster is young enough for an upgrade to begin with it."""
        return self.latest.of(self.control) and not self.latest.gone and 0 <= self.now - self.latest.made < FRESH

    @property
    def release(self) -> str:
        """The release of the API server, "" where it is not known."""
        return self.control.api_release or plane_releases(self.control)["kube-apiserver"]

    @property
    def kubelets(self) -> Mapping[str, Any]:
        """What ConfigMap kubelet-config says, from which kubeadm makes every kubelet's file; empty where it was not read."""
        found = self.control.components.get(KUBELET)
        return found.config if found else {}

    @property
    def entered(self) -> list[str]:
        """The minor releases that the control plane enters."""
        return list(between(self.release, self.target))

    @property
    def lowest(self) -> str:
        """The lowest release of the API server and of the kubelets that are concerned: a worker may have been left out when the others went."""
        found = (self.release, *(self.kubelet(facts) for _, facts in self.observed))
        return min((one for one in found if len(numbers(one)) > 1), key=numbers, default="")

    @property
    def entering(self) -> list[str]:
        """The minor releases that any part of the cluster enters."""
        return list(between(self.lowest, self.target))

    def begun(self, facts: NodeFacts) -> bool:
        """Whether a node has the target's kubelet installed: it takes no more room, and nothing is fetched for it."""
        return facts.release("kubelet") == self.target

    @cached_property
    def draining(self) -> dict[str, str]:
        """The workers that would be drained, as they have another kubelet or get another containerd: the names of their nodes here, by their
        names in the API."""
        return {
            name: node.name
            for node, facts in self.observed
            if not node.control_plane
            and (
                self.kubelet(facts) != self.target
                or any(facts.release(one) != self.target for one in PINNED)
                or due(self.choices, node, facts)
            )
            for name in own_nodes(self.control, node, facts)
        }

    @cached_property
    def hindrances(self) -> list[Hindrance]:
        """What their drains meet, as far as it is known."""
        return [] if isinstance(self.workload, KubefabError) else hindrances(self.workload, self.draining, self.choices)

    def kubelet(self, facts: NodeFacts) -> str:
        """The release of a node's kubelet as it runs, or as it is installed where the API does not say."""
        return self.control.kubelet_release(facts.hostname) or facts.release("kubelet")

    def command(self, to: str) -> str:
        """The command of the upgrade to a release that would come first."""
        return f"`inv cluster.upgrade {self.environment.option} --to {to}`"
