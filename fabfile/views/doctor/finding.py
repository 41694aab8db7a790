"""What the doctor says: a finding has a stable code, a severity, the nodes, what was seen, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

from ...records import dataclass
from ...text.advice import complete
from ...text.forms import text
from ...text.masking import mask

Severity = Literal["error", "warning", "note"]
ERROR: Severity = "error"
WARNING: Severity = "warning"
NOTE: Severity = "note"
ORDER = (ERROR, WARNING, NOTE)


@dataclass(frozen=True)
class Finding:
    """One thing found. Codes are for scripts and never change their meaning: KF-<topic>-<what>.

    An error makes a bootstrap fail or a cluster not work; a warning will cause trouble later; a note says what could not be
    examined, or is only worth knowing.
    """

    code: str
    severity: Severity
    nodes: tuple[str, ...]
    evidence: str
    remedy: str = ""

    def data(self) -> dict[str, Any]:
        """JSON values, masked."""
        return {
            "code": self.code,
            "severity": self.severity,
            "nodes": list(self.nodes),
            "evidence": mask(self.evidence),
            "remedy": mask(self.remedy),
        }


def guarded(check: Callable[[], Iterable[Finding]], what: str, nodes: tuple[str, ...]) -> Iterator[Finding]:
    """The findings of one check. If the check fails because of a node's answer, one finding says so; all other checks continue."""
    try:
        yield from check()
    except Exception as error:
        yield Finding(
            "KF-DOC-PARTIAL", NOTE, nodes, f"not examined: {what} ({type(error).__name__}: {text(str(error), 100)})"
        )


def merged(findings: Iterable[Finding], order: Sequence[str]) -> list[Finding]:
    """Worst first; the same finding on several nodes is reported once, with its nodes in inventory order."""
    together: dict[tuple[Severity, str, str, str], list[str]] = {}
    for found in findings:
        names = together.setdefault((found.severity, found.code, found.evidence, found.remedy), [])
        names.extend(name for name in found.nodes if name not in names)
    place = {name: index for index, name in enumerate(order)}
    result = [
        Finding(
            code, severity, tuple(sorted(names, key=lambda n: place.get(n, len(place)))), evidence, complete(remedy)
        )
        for (severity, code, evidence, remedy), names in together.items()
    ]
    return sorted(result, key=lambda f: (ORDER.index(f.severity), f.code, [place.get(n, 0) for n in f.nodes]))
