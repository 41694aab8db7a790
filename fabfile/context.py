"""What a phase is given: the cluster as described, this node as observed, and this run's choices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Literal, NamedTuple, TypeVar

from .backups.contents import Restoring
from .identity import Record
from .inventory import Environment, Node
from .inventory.settings import Settings
from .nodes.facts import NodeFacts
from .recipes.kubeadm import Recipe
from .records import dataclass
from .text.masking import Token

T = TypeVar("T")

# A plan shows this where only a run will know the value.
LATER = "<known once the control plane answers>"


def answering_node(environment: Environment, seen: Mapping[str, object]) -> Node | None:
    """The first control plane whose API answers, or else the first that was observed.

    `seen` has facts by the node's name; what is no NodeFacts (an error, None) was not observed.
    """
    found = {node: facts for node in environment.control_planes if isinstance(facts := seen.get(node.name), NodeFacts)}
    return next((node for node, facts in found.items() if facts.api_ready), next(iter(found), None))


def answering(environment: Environment, seen: Mapping[str, object]) -> NodeFacts | None:
    """The facts of that control plane, by which the cluster is judged."""
    node = answering_node(environment, seen)
    facts = seen[node.name] if node else None
    return facts if isinstance(facts, NodeFacts) else None


def fab(environment: Environment, node: Node, *tasks: str) -> str:
    """The command line that runs these tasks on a node: each names the environment, as one that did not would mean the default one."""
    options = f"{environment.option}{environment.settings.release.option}"
    return " ".join(("fab", "-H", node.name, *(f"{task} {options}" for task in tasks)))


def init(environment: Environment, node: Node, facts: NodeFacts) -> str:
    """The command line that makes the API of this control plane answer; on a machine that is not prepared for it, with all that comes first."""
    prepared = facts.identity.environment and "kubeadm" in facts.packages
    return fab(environment, node, *(() if prepared else ("prep", "install", "registry")), "init")


@dataclass(frozen=True)
class Renewal:
    """Which certificates a renewal makes again: those that end within `days`, or `every` one; not those that were written after `since`.

    `since` is when the run began, in seconds since 1970 by the operator's clock; `names` are more names for the API's certificate.
    """

    days: float = 90.0
    every: bool = False
    since: float = float("inf")
    names: tuple[str, ...] = ()


class Runtime(NamedTuple):
    """The containerd.io that a node is to have ("2.3.4-1~debian.12~bookworm"); `back`: its package source has the one of before as well."""

    version: str
    back: bool = False


# What an upgrade does with containerd: fixes of the line that a node has, the next line, or nothing (phases/runtimes.py).
Following = Literal["patch", "next", "keep"]


@dataclass(frozen=True)
class Choices:
    """How this run was asked to behave.

    `foreign` names nodes that are to be emptied although another owner's; `adopt` is the uid of a cluster that replaces the one this
    environment had; `force_drain` names nodes whose pods may be deleted in spite of their
    budgets; `force_pods` names pods ("shop/web-0") that may be deleted though nothing makes them again or a budget keeps them; with
    `delete_emptydir` what pods have in emptyDir volumes may be lost; `gone` names Nodes (by their names in the API) whose machines will
    not come back; `reboots` has the boot that each Node is to leave, by its name in the API. `restoring` is the backup that is restored;
    `metrics`: a backup takes InfluxDB's too. `upgrading`: another release of Kubernetes than the cluster's is what is wanted; `containerd` is
    what it does with that, `runtimes` what each node (by its name) gets of it.
    """

    keep_images: bool = False
    purge: bool = False
    whole_cluster: bool = True
    foreign: frozenset[str] = frozenset()
    adopt: str = ""
    agreed: bool = False  # the environment's name was given: what P2 of 1.5 stops may be stopped
    force_drain: frozenset[str] = frozenset()
    force_pods: frozenset[str] = frozenset()
    delete_emptydir: bool = False
    gone: frozenset[str] = frozenset()
    reboots: Mapping[str, str] = field(default_factory=dict)
    restoring: Restoring | None = None
    metrics: bool = False
    upgrading: bool = False
    containerd: Following = "patch"
    runtimes: Mapping[str, Runtime] = field(default_factory=dict)
    renewal: Renewal = Renewal()


@dataclass(frozen=True)
class Context:
    """Everything that a phase decides from; frozen, so that a phase can only answer with steps.

    `control` is the control plane as last observed (None: not yet).  `duplicate_of` names another node that has the
    same hostname or machine-id.  `token` is this run's join token; `record` is what the operator's side knows of the cluster.
    """

    environment: Environment
    node: Node
    facts: NodeFacts
    recipe: Recipe
    control: NodeFacts | None = None
    token: Token = field(default_factory=Token)
    duplicate_of: str = ""
    choices: Choices = field(default_factory=Choices)
    record: Record = field(default_factory=Record)

    def __post_init__(self) -> None:
        """Take the recipe for the patch that the cluster runs, where the inventory names only a minor release."""
        object.__setattr__(self, "_answers", {})  # no field, so that a changed copy begins without any
        member = next((one for one in (self.facts, self.control) if one and one.in_cluster), None)
        if member:
            object.__setattr__(self, "recipe", self.recipe.running(member.release("kubelet")))

    @property
    def settings(self) -> Settings:
        return self.environment.settings

    def once(self, question: Callable[[Context], T]) -> T:
        """The answer of a pure function of this context, which is worked out once: each phase asks the same."""
        answers: dict[object, T] = vars(self)["_answers"]
        if question not in answers:
            answers[question] = question(self)
        return answers[question]

    def fab(self, *tasks: str) -> str:
        """The command line that runs these tasks on this node, for remedies."""
        return fab(self.environment, self.node, *tasks)

    def init(self) -> str:
        """The command line that makes this control plane's API answer, from what was seen of the machine."""
        return init(self.environment, self.node, self.facts)

    def renew(self) -> str:
        """How this node is set up again, the last of all remedies (the manual's N4): commands, and what they cost.

        A control plane whose API ever answered is never reset alone: that deletes etcd, and with it the cluster.
        """
        again = f"`inv cluster.bootstrap {self.environment.option}{self.settings.release.option}`"
        if not self.node.control_plane:
            return f"`{self.fab('reset')}`, then {again}"
        reset = f"`inv cluster.reset {self.environment.option}{self.settings.release.option}`"
        return f"for the control plane that is the whole cluster, and everything in it is lost: {reset}, then {again}"


class Contexts:
    """Each node's last context. Phases share it while nothing of it has changed, and judge nothing again (`Context.once`)."""

    def __init__(self, environment: Environment, recipe: Recipe) -> None:
        self._environment, self._recipe = environment, recipe
        self._last: dict[str, tuple[tuple[object, ...], Context]] = {}  # by node: what it was made from, and that

    def of(
        self,
        node: Node,
        facts: NodeFacts,
        control: NodeFacts | None,
        token: Token,
        duplicate_of: str,
        choices: Choices,
        record: Record,
    ) -> Context:
        """The context of a node with these, each as in Context."""
        given = (facts, control, token, duplicate_of, choices, record)
        before, ctx = self._last.get(node.name, ((), None))
        if ctx is None or any(one is not other for one, other in zip(given, before, strict=True)):
            ctx = Context(self._environment, node, facts, self._recipe, *given[1:])
            self._last[node.name] = given, ctx
        return ctx
