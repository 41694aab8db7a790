"""`inv cluster.releases`: what is installed, what the nodes could have, and what is in the way of the next release."""

from __future__ import annotations

import time

from ..errors import UsageError
from .common import Options, command, described, exit_unless, print_json


@command(
    "env", "workers", "fault", "json", "ask_sudo_pass", "verbose",
    help={
        "to": "the release whose upgrade is examined, like 1.37 or 1.37.2; default: the next minor one",
        "verbose": "also the checks that found nothing in the way",
    },
)  # fmt: skip
def releases(*, to: str = "", options: Options) -> None:
    """What may follow the installed release, and what is in the way; it only reads."""
    from ..recipes.changes import minor_of, next_minor, numbers
    from ..views import releases as viewing
    from .session import opened

    environment = described(options)
    if not environment.settings.release.configured:
        raise UsageError("1.5 is the manual's release: nothing follows it", "a new cluster has a later one")
    if to and len(numbers(to)) not in (2, 3):
        raise UsageError(f"--to {to} is no release of Kubernetes", "--to 1.37 or --to 1.37.2")
    with opened(options) as session:
        environment = session.environment
        with session.console.status("observing") as live:
            observed = session.observer(certificates=True).survey(environment.nodes)
            release = viewing.running(environment, observed)
            minors = [minor for minor in dict.fromkeys((minor_of(release), next_minor(release), minor_of(to))) if minor]
            if not options.json and session.console.is_terminal:
                live.update("asking each node, and through it its package repository")
            answers = viewing.ask(session.group, environment, observed, minors)
            found = viewing.examined(viewing.fleet(environment, observed, answers, "", time.time()), to)
            report = viewing.Report(viewing.complete(session.group, found))
        if options.json:
            print_json(report.data())
        else:
            viewing.show(session.console, report, every=options.verbose)
    exit_unless(not report.stops)
