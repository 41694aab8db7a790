"""How old the last backup is, for status and the doctor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..backups.latest import Latest, recall_backup
from ..context import answering
from ..errors import KubefabError
from ..inventory import Environment
from ..nodes.facts import NodeFacts
from ..text.durations import DAY, ago

OLD = 7 * DAY  # a backup that is older deserves a warning: what came since would be lost


def saved(environment: Environment, observed: Mapping[str, NodeFacts | KubefabError], now: float) -> Iterator[str]:
    """One line about the last backup that was written from here, if there is a cluster to save."""
    control = answering(environment, observed)
    if control is not None and control.initialised and environment.settings.release.configured:
        yield overdue(recall_backup(environment), control, now)[0]


def overdue(latest: Latest, control: NodeFacts, now: float) -> tuple[str, bool | None]:
    """What is to be said of the last backup of the cluster that this control plane has, and whether it is too old; None: there is none."""
    if not latest.of(control):
        return "no backup of this cluster was taken from here", None
    age = max(0.0, now - latest.made)
    gone = ", and is not there any more" * latest.gone
    return f"last backup: {ago(age)} ago, {latest.path}{gone}", age > OLD or latest.gone
