"""Printed commands are complete: what a message tells a person to type works as it is typed.

Some texts are written where the environment is not known: the table of known failures, a constant, a hint that several phases share. Where
such a text becomes an error, a finding or a check, each command line in backticks gets what it lacks: ours the environment and
the release that were asked for; kubectl the administrator's kubeconfig, which root's shell on a control plane does not name.
"""

from __future__ import annotations

import re

ADMIN_CONF = "/etc/kubernetes/admin.conf"
# Commands that are not about one environment, and those that take a release; `fab` has both options for each of its tasks.
NO_ENVIRONMENT = frozenset({"cluster.list", "cluster.check", "cluster.version", "rehearsal.faults"})
RELEASES = frozenset({"cluster.bootstrap", "cluster.reset", "cluster.plan", "cluster.status", "cluster.info", "cluster.security-group"})  # fmt: skip
_LINE = re.compile(r"(?<=`)(?:inv (?:cluster|rehearsal)\.|fab -H |kubectl )[^`\n]*(?=`)")


class _Asked:
    """What the command line asked for, for one process: options as they are typed, each empty where it was not named."""

    environment = ""
    release = ""


_asked = _Asked()


def asked(environment: str, release: str = "") -> None:
    """Note the options that printed commands repeat: `--env staging`, `--kubernetes 1.5`."""
    _asked.environment, _asked.release = environment.strip(), release.strip()


def complete(text: str) -> str:
    """The text, with the options added that its command lines lack. A complete text is returned as it is."""
    return _LINE.sub(lambda found: _line(found[0]), text)


def _line(line: str) -> str:
    program, *words = line.split()
    if program == "kubectl":
        return line if "--kubeconfig" in line or ADMIN_CONF in line else f"kubectl --kubeconfig {ADMIN_CONF}{line[7:]}"
    if words[0] in NO_ENVIRONMENT or "--" in words:
        return line
    more = []
    if _asked.environment and not {"--env", "-e"} & set(words):
        more.append(_asked.environment)
    if _asked.release and (program == "fab" or words[0] in RELEASES) and not {"--kubernetes", "--recipe"} & set(words):
        more.append(_asked.release)
    return " ".join((line, *more))
