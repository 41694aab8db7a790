"""What is installed, what may follow, and what is in its way: for `inv cluster.releases`, and the questions that an upgrade asks first.

The checks themselves are phases/upgradable.py; here the nodes are asked, all at the same time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from functools import cached_property, partial
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ..backups.guide import PROCESS
from ..backups.latest import recall_backup
from ..context import Choices, answering
from ..errors import KubefabError
from ..identity import recall
from ..inventory import Environment, Node
from ..inventory.beside import rendered
from ..nodes.asking import login_values, manifest_url
from ..nodes.facts import NodeFacts
from ..nodes.group import NodeGroup
from ..nodes.upgrading import TIMEOUT, Answers, Manifest, images_script, parse_answers, parse_images, upgrade_script
from ..nodes.workload import Workload
from ..nodes.workload import ask as ask_workload
from ..phases.examined import Check, Fleet
from ..phases.supplies import rolled, wanted
from ..phases.upgradable import checks, stops
from ..phases.upgrade import tag
from ..recipes.changes import AS_OF, CHANGES, SUPPORT, minor_of, next_minor, numbers
from ..recipes.kubeadm import Recipe
from ..recipes.packages import RUNTIME, family
from ..records import dataclass
from ..text import forms
from ..text.cleaning import spans
from ..text.masking import mask, masked_tail
from ..text.screen import verdict


def question(environment: Environment, node: Node, facts: NodeFacts, minors: Sequence[str], *, api: bool = True) -> str:
    """The script for one node; `minors` are the releases ("1.37") whose packages are asked for, beside containerd's.

    Without `api` a control plane is asked no more than a worker.
    """
    system = family(facts)
    offers = {minor: system.offered(facts, _recipe(environment, minor)) for minor in minors} if system else {}
    if system and RUNTIME in facts.packages:
        offers["containerd"] = system.offered(facts, _recipe(environment, facts.minor), runtime=True)
    return upgrade_script(
        control_plane=node.control_plane and api,
        offers=offers,
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
    *,
    api: bool = True,
) -> dict[str, Answers | KubefabError]:
    """The answers of every node that was observed, by its name; an error in place of one that is not there or has not its form.

    Without `api` the API is not asked, nor etcd.
    """

    def one(node: Node) -> Answers:
        facts = observed[node.name]
        assert isinstance(facts, NodeFacts)
        _, output = group.of(node).root(question(environment, node, facts, minors, api=api), TIMEOUT)
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
    choices: Choices | None = None,
) -> Fleet:
    """What the checks of an upgrade to `target` ("1.37.2") decide from, but for what runs; `now` is seconds since 1970."""
    addons = tuple(rendered(environment, []))
    latest, record = recall_backup(environment), recall(environment)
    return Fleet(environment, target, observed, answers, latest, record, now, addons, choices=choices or Choices())


def complete(group: NodeGroup, found: Fleet) -> Fleet:
    """With what depends on the target: what registries say of its images, what runs, and what the API would not evict from the nodes that
    are to be drained. It is asked, and nothing is evicted."""
    if not found.control.initialised:
        return found
    with ThreadPoolExecutor(1) as pool:  # at the same time as the images
        running = pool.submit(_workload, group, found)
        names = {
            node.name: (*wanted(found.environment, node, found.target), *rolled(found, node, answers))
            for node, facts, answers in found.seen
            if not found.begun(facts)
        }
        images = group.each(
            [node for node, _, _ in found.seen if node.name in names], partial(_images, group, found.environment, names)
        )
    answered = {name: one for name, one in images.items() if not isinstance(one, KubefabError)}
    return replace(found, images=answered, workload=running.result())


def _images(
    group: NodeGroup, environment: Environment, names: Mapping[str, Sequence[str]], node: Node
) -> dict[str, Manifest]:
    settings = environment.settings
    urls = {image: url for image in names[node.name] if (url := manifest_url(settings, image))}
    if not urls:
        return {}
    _, output = group.of(node).root(images_script(urls, login_values(settings)), TIMEOUT)
    try:
        return parse_images(output.decode("utf-8", "replace"), list(urls))
    except ValueError:  # also a FormError: what it said is not known then
        return {}


def _workload(group: NodeGroup, found: Fleet) -> Workload | KubefabError:
    """What runs, where a node is to be drained; a control plane that is half way may have no API to ask."""
    try:
        return Workload() if not found.draining else ask_workload(group.of(found.node), list(found.draining))
    except KubefabError as error:
        return error


def running(environment: Environment, observed: Mapping[str, NodeFacts | KubefabError]) -> str:
    """The release of the cluster's kubelets as the control plane has it installed ("1.36.4"); empty where it was not observed."""
    control = answering(environment, observed)
    return control.release("kubelet") if control else ""


# --- the report


@dataclass(frozen=True)
class Report:
    """What `inv cluster.releases` says: of the release that runs, of what its nodes' package repository offers, and of the upgrade to `target`."""

    fleet: Fleet

    @cached_property
    def checks(self) -> list[Check]:
        return checks(self.fleet)

    @cached_property
    def stops(self) -> list[Check]:
        return stops(self.checks)

    def newest(self, minor: str) -> tuple[str, str]:
        """The newest patch release of a minor one that every node's repository offers whole, and why that is not known."""
        offers = [answers.packages[minor] for _, _, answers in self.fleet.seen if minor in answers.packages]
        if not offers:
            return "", "no node was asked"
        if fault := next((one.fault for one in offers if one.fault), ""):
            return "", fault
        everywhere = set.intersection(*(set(one.whole) for one in offers))
        return max(everywhere, key=numbers, default=""), "" if everywhere else "it has none"

    def rows(self) -> Iterator[dict[str, str]]:
        """What is installed, by node; empty where it is not, or was not seen."""
        seen = {node.name: (facts, answers) for node, facts, answers in self.fleet.seen}
        for node in self.fleet.environment.nodes:
            facts, answers = seen.get(node.name, (NodeFacts(), Answers()))
            yield {
                "node": node.name,
                "kubelet": self.fleet.kubelet(facts) if node.name in seen else "",
                "kubeadm": facts.release("kubeadm"),
                "containerd": answers.containerd or facts.release("containerd.io"),
                "etcd": answers.etcd.version or tag(facts.manifests.get("etcd", "")).partition("-")[0],
            }

    def data(self) -> dict[str, Any]:
        """JSON values."""
        minor = minor_of(self.fleet.release)
        following = next_minor(self.fleet.release)
        found = {one: self.newest(one) for one in dict.fromkeys((minor, following, minor_of(self.fleet.target))) if one}
        return {
            "environment": self.fleet.environment.name,
            "release": self.fleet.release,
            "nodes": [{**row, "etcd": row["etcd"] or None} for row in self.rows()],
            "offered": [
                {"minor": one, "newest": newest or None, "support": SUPPORT.get(one), "fault": mask(fault)}
                for one, (newest, fault) in found.items()
            ],
            "tables": AS_OF,
            "target": self.fleet.target,
            "checks": [
                {"id": check.id, "state": check.state, "seen": mask(check.seen), "remedy": mask(check.remedy)}
                for check in self.checks
            ],
        }


def examined(first: Fleet, to: str) -> Fleet:
    """The same for an upgrade to a release ("1.37.2"), or to the newest of a minor one ("1.37") that the nodes can have; "": the next minor one.

    A next one whose repository no node has, while each has that of the present one, is not published yet: it is examined only if it is asked for.
    """
    minor, report = minor_of(to) if to else next_minor(first.release), Report(first)
    offers = [answers.packages[minor] for _, _, answers in first.seen if minor in answers.packages]
    if not to and report.newest(minor_of(first.release))[0] and all(one.fault for one in offers):
        return replace(first, target="")
    target = to if len(numbers(to)) == 3 else report.newest(minor)[0] or (f"{minor}.0" if minor else "")
    return replace(first, target=target)


def supported(minor: str, now: float) -> str:
    """Until when a minor release gets fixes, for people; by kubernetes.io as of `changes.AS_OF`."""
    ends = SUPPORT.get(minor, "")
    if not ends:
        return f"the end of its support is not in kubefab's table of {AS_OF}; about 14 months after its release"
    left = (date.fromisoformat(ends) - date.fromtimestamp(now)).days
    return (
        f"supported until {ends}, {left} days more" if left >= 0 else f"its support ENDED on {ends}, {-left} days ago"
    )


_MARKS = {"stop": ("✗", "bold red"), "note": ("·", "dim"), "ok": ("✓", "green")}


def show(console: Console, report: Report, *, every: bool = False) -> None:
    """Print it; `every`: also the checks that found nothing in the way."""
    now, fleet = time.time(), report.fleet
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("node", "kubelet", "kubeadm", "containerd", "etcd"):
        table.add_column(name, no_wrap=True)
    for row in report.rows():
        table.add_row(*row.values())
    console.print(table)
    console.print()
    minor = minor_of(fleet.release)
    for one in dict.fromkeys(filter(None, (minor, next_minor(fleet.release), minor_of(fleet.target)))):
        newest, fault = report.newest(one)
        offered = f"newest that the nodes can have: {newest}" if newest else f"not to be had: {mask(fault)}"
        says = f"{offered}; {supported(one, now)}"
        if not fleet.target and one != minor:
            says = f"not published yet, or not in this package repository: {mask(fault)}"
        _wrapped(console, Text.assemble((one, "bold"), f"  {says}"), 0)
    console.print()
    if fleet.target:
        _wrapped(console, Text(f"before an upgrade to {fleet.target}:"), 0)
    show_checks(console, report.checks, every=every)
    _closing(console, report)


def show_checks(console: Console, found: Sequence[Check], *, every: bool = False) -> None:
    """Print checks, stops first; those that are ok only with `every`."""
    for state in ("stop", "note", "ok") if every else ("stop", "note"):
        for check in found:
            if check.state == state:
                mark, style = _MARKS[state]
                _wrapped(console, Text.assemble((f"{mark} {check.id}", style), f"  {mask(check.seen)}"), 2)
                if check.remedy:
                    _wrapped(console, Text.assemble(("→ ", "cyan"), mask(check.remedy)), 6)


def _wrapped(console: Console, text: Text, columns: int) -> None:
    """Within the terminal; in a pipe a line stays a line."""
    if console.is_terminal:
        console.print(Padding(text, (0, 0, 0, columns)))
    else:
        console.print(Text(" " * columns).append_text(text), soft_wrap=True)


def _closing(console: Console, report: Report) -> None:
    fleet, count = report.fleet, len(report.stops)
    newest, _ = report.newest(minor_of(fleet.release))
    what = [f"runs {fleet.release}" if fleet.release else "its release is not known"]
    if newest and numbers(newest) > numbers(fleet.release):
        what.append(f"{newest} is there")
    elif newest and not fleet.target:
        what.append("nothing later is there for its nodes")
    if fleet.target:
        blocked = f"{count} thing{'s' * (count != 1)} in the way of {fleet.target}"
        what.append(blocked if count else f"nothing is in the way of {fleet.target}")
    if unseen := [
        node.name for node in fleet.environment.nodes if node.name not in {one.name for one, _, _ in fleet.seen}
    ]:
        what.append(f"{spans(unseen)} not examined")
    console.print(verdict(not report.stops, f"{fleet.environment.name}: {'; '.join(what)}"), soft_wrap=True)
