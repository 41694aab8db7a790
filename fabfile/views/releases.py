"""What is installed, what may follow, and what is in its way: for `inv cluster.releases`, and the questions that an upgrade asks first.

The checks themselves are phases/upgradable.py; here the nodes are asked, all at the same time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..backups.guide import PROCESS
from ..backups.latest import recall_backup
from ..context import answering
from ..errors import KubefabError
from ..identity import recall
from ..inventory import Environment, Node
from ..inventory.beside import rendered
from ..nodes.facts import NodeFacts
from ..nodes.group import NodeGroup
from ..nodes.upgrading import TIMEOUT, Answers, parse_answers, upgrade_script
from ..phases.examined import Fleet
from ..recipes.changes import CHANGES
from ..recipes.kubeadm import Recipe
from ..recipes.packages import family
from ..text import forms
from ..text.masking import masked_tail


def question(environment: Environment, node: Node, facts: NodeFacts, minors: Sequence[str]) -> str:
    """The script for one node; `minors` are the releases ("1.37") whose packages are asked for."""
    system = family(facts)
    return upgrade_script(
        control_plane=node.control_plane,
        offers={minor: system.offered(facts, _recipe(environment, minor)) for minor in minors} if system else {},
        gone=[api for minor in minors if minor in CHANGES for api in CHANGES[minor].apis],
        etcd_process=PROCESS,
    )


def _recipe(environment: Environment, minor: str) -> Recipe:
    """For the addresses of its packages only: no release of it needs to be known."""
    return Recipe(replace(environment, settings=replace(environment.settings, kubernetes=minor)))


def ask(
    group: NodeGroup,
    environment: Environment,
    observed: Mapping[str, NodeFacts | KubefabError],
    minors: Sequence[str],
) -> dict[str, Answers | KubefabError]:
    """The answers of every node that was observed, by its name; an error in place of one that is not there or has not its form."""

    def one(node: Node) -> Answers:
        facts = observed[node.name]
        assert isinstance(facts, NodeFacts)
        _, output = group.of(node).root(question(environment, node, facts, minors), TIMEOUT)
        text = output.decode("utf-8", "replace")
        try:
            return parse_answers(text)
        except forms.FormError as error:
            raise KubefabError(f"its answer has not the form that it must have: {error}", error.remedy) from None
        except ValueError as error:
            last = forms.text(masked_tail((text.strip().splitlines() or ["nothing"])[-1], 100))
            raise KubefabError(f"{error}; it ends with: {last}", "run this again") from None

    found = group.each([n for n in environment.nodes if isinstance(observed.get(n.name), NodeFacts)], one)
    return {
        node.name: found[node.name] if node.name in found else _refused(observed.get(node.name))
        for node in environment.nodes
    }


def _refused(error: NodeFacts | KubefabError | None) -> KubefabError:
    return error if isinstance(error, KubefabError) else KubefabError("it was not asked", "run this again")


def fleet(
    environment: Environment,
    observed: Mapping[str, NodeFacts | KubefabError],
    answers: Mapping[str, Answers | KubefabError],
    target: str,
    now: float,
) -> Fleet:
    """What the checks of an upgrade to `target` ("1.37.2") decide from; `now` is seconds since 1970."""
    return Fleet(
        environment,
        target,
        observed,
        answers,
        recall_backup(environment),
        recall(environment),
        now,
        tuple(rendered(environment, [])),
    )


def running(environment: Environment, observed: Mapping[str, NodeFacts | KubefabError]) -> str:
    """The release of the cluster's kubelets as the control plane has it installed ("1.36.4"); empty where it was not observed."""
    control = answering(environment, observed)
    return control.release("kubelet") if control else ""
