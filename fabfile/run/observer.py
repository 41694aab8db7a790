"""Looks at nodes and changes nothing: one script a node, one `NodeFacts` of it.

`looking` opens an environment to look at it; commands, tests and benchmarks use the same `Observer`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from threading import Lock

from ..context import answering, answering_node
from ..errors import KubefabError, Malformed, StepFailed
from ..identity import after
from ..inventory import Environment, Node
from ..nodes import script
from ..nodes.facts import NodeFacts
from ..nodes.group import NodeGroup, connected
from ..nodes.observe import observe_script, parse_facts
from ..phases import managed_files
from ..phases.renew import ports
from ..phases.suitable import needs
from ..recipes.kubeadm import recipe_for
from ..steps import Action
from ..text.forms import FormError
from ..text.masking import masked_tail
from .events import Events
from .retry import Clock

OBSERVE_TIMEOUT = 60.0  # seconds
Survey = dict[str, NodeFacts | KubefabError]


class Observer:
    """Observes the nodes of one environment over an open group.

    `events` is the run's journal, if there is a run; `digests` is the Kubernetes version whose images' digests are asked
    for, like "1.36.4" (default: the inventory's, where it pins images).  With `certificates`, which may be set later too, a control
    plane's ports are asked for theirs; with `tokens` its API for the join tokens.
    """

    def __init__(
        self,
        environment: Environment,
        group: NodeGroup,
        *,
        events: Events | None = None,
        digests: str | None = None,
        certificates: bool = False,
        tokens: bool = False,
    ) -> None:
        recipe = recipe_for(environment)
        self.environment, self.group, self.certificates = environment, group, certificates
        self._tokens = tokens and environment.settings.release.configured
        self.events = events or Events()
        self._files, self._folders = managed_files(environment), tuple(needs(environment))
        urls = (environment.settings.packages_url, environment.settings.containerd_url)
        self._repositories = [url.partition("://")[2] for url in urls if environment.settings.release.signed_packages]
        self._release = recipe.version if self.environment.settings.release.configured else ""
        self._digests = (recipe.version if recipe.pins else "") if digests is None else digests
        self._guard = Lock()
        self._looks = count(1)
        self._control: dict[str, tuple[int, NodeFacts]] = {}  # by control plane: the number of the look, its facts
        self._first: dict[str, NodeFacts] = {}
        # by node: a look that has begun and that no caller has asked for yet
        self._ahead: dict[str, Future[NodeFacts]] = {}

    @property
    def control(self) -> NodeFacts | None:
        """The facts of a control plane whose API answers, or else of the first that was observed; None: none was."""
        return answering(self.environment, self._seen())

    @property
    def control_node(self) -> Node:
        """The control plane that `control` is about; before any was observed, the one that init runs on."""
        return answering_node(self.environment, self._seen()) or self.environment.control_plane

    @property
    def first(self) -> NodeFacts | None:
        """The same from each one's first observation: a reset judges by that, because later there is little left to see."""
        return answering(self.environment, self._first)

    def _seen(self) -> dict[str, NodeFacts]:
        with self._guard:
            return {name: facts for name, (_, facts) in self._control.items()}

    def ahead(self, nodes: Iterable[Node]) -> None:
        """Begin to look at these nodes, each in a thread, and return at once: the next `observe` of each has the answer, or the error.

        For a run, which asks each node once before it changes anything there. More than FORKS of them are left until they are asked.
        """
        nodes = list(nodes)
        if len(nodes) > self.environment.settings.forks:
            return
        pool = ThreadPoolExecutor(max(1, len(nodes)))
        self._ahead |= {node.name: pool.submit(self._look, node, settle=True) for node in nodes}
        pool.shutdown(wait=False)

    def observe(self, node: Node, *, settle: bool = False) -> NodeFacts:
        """Gather one node's facts; with `settle`, wait first for a step of an earlier run that is still running there.

        Raises Unreachable, Malformed for an answer that has not the form that it must have, or StepFailed when the script
        itself does not work there.
        """
        begun = self._ahead.pop(node.name, None)
        return begun.result() if begun else self._look(node, settle=settle)

    def _look(self, node: Node, *, settle: bool = False) -> NodeFacts:
        release = self.environment.settings.release
        asks = self.certificates and node.control_plane
        text = observe_script(
            control_plane=node.control_plane,
            files=self._files,
            settle=settle,
            ready=release.health,
            digests=self._digests,
            docker=release.runtime == "docker",
            folders=self._folders,
            repositories=self._repositories,
            served=ports(node.address, self.environment.settings.api_port) if asks else (),
            release=self._release if self.certificates else "",
            configured=release.configured,
            tokens=self._tokens and node.control_plane,
        )
        started, look = self.events.now(node.name), next(self._looks)
        before = time.time()
        code, output = self.group.of(node).root(text, OBSERVE_TIMEOUT + (script.LOCK_WAIT if settle else 0))
        after_it = time.time()
        try:
            facts = parse_facts(output.decode("utf-8", "replace"))
            facts = replace(facts, ahead=(facts.now - after_it, facts.now - before))
        except Exception as error:  # caused by what this node said: it costs this node's row alone
            raise _misread(node, code, output, error) from error
        self.events.log("observed", node=node.name, seconds=self.events.since(node.name, started), later=True)
        if node.control_plane:
            with self._guard:
                self._first.setdefault(node.name, facts)
                if look > self._control.get(node.name, (0, facts))[0]:  # of two observations keep the later one
                    self._control[node.name] = look, facts
        return facts

    def begin(self, nodes: Iterable[Node]) -> Callable[[], Survey]:
        """Begin to observe several nodes at the same time. What is returned waits for the answers, as `survey` has them."""
        return self.group.begin(nodes, self.observe)

    def survey(self, nodes: Iterable[Node]) -> Survey:
        """Observe several nodes at the same time; a node that cannot be observed has its error instead.

        Returns what was seen by the node's name, in the order of `nodes`.
        """
        return self.group.each(nodes, self.observe)

    def noted(self, node: Node, facts: NodeFacts, actions: Sequence[Action]) -> NodeFacts:
        """The facts with what these applied actions are known to have written; a control plane's are remembered."""
        if node.control_plane:
            with self._guard:
                if node.name in self._control:
                    look, seen = self._control[node.name]
                    self._control[node.name] = look, after(seen, actions)
        return after(facts, actions)

    def latest(self, node: Node, facts: NodeFacts) -> NodeFacts:
        """The node's facts, or for a control plane a later observation, where another node's pipeline made one."""
        return self._control[node.name][1] if node.name in self._control else facts


@contextmanager
def looking(environment: Environment, *, clock: Callable[[str], Clock] | None = None) -> Iterator[Observer]:
    """Connect to all nodes of an environment to look at them. Raises UsageError for a release without a recipe."""
    with connected(environment) as group:
        yield Observer(environment, group, events=Events(clock=clock))


def _misread(node: Node, code: int, output: bytes, error: Exception) -> StepFailed:
    """The error for a node's answer that could not be read."""
    if isinstance(error, FormError):
        remedy = (
            error.remedy
            or f"look on that node what says so; nothing was decided from it, and nothing is done on {node.name} until it is right"
        )
        return Malformed(
            f"{node.name}: its answer has not the form that it must have: {error}", remedy, field=error.field
        )
    why = error if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
    return StepFailed(
        f"{node.name}: observing failed with exit code {code}: {why}",
        "log in there and run something simple as root; is it a Linux machine with bash?",
        masked_tail(output.decode("utf-8", "replace"), 2000),
    )
