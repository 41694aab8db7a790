"""The end-to-end specs by kubeadm's authors, which none of us wrote: what their report says.

https://github.com/kubernetes/kubernetes/tree/master/test/e2e_kubeadm
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

# Both need another cluster: one of several control planes that share certificates, and one with two families of addresses.
LEFT_OUT = r"\[copy-certs\]"
NOT_FOR_US = ("Skipping because cluster is not dual-stack",)
LEAST = 32  # of 1.36; a later release has more


@dataclass
class Verdict:
    """Names of specs: those that passed, and those that did not with the reason."""

    passed: list[str] = field(default_factory=list)
    wrong: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"  {name}: {why}" for name, why in self.wrong.items()]
        return "\n".join([f"{len(self.passed)} of kubeadm's own specs passed, {len(self.wrong)} did not", *lines])


def verdict(report: Iterable[dict[str, Any]]) -> Verdict:
    """Read a report of ginkgo (`--ginkgo.json-report`). A spec that was skipped counts as wrong, unless it is for another kind of cluster."""
    found = Verdict()
    for spec in (one for suite in report for one in suite["SpecReports"] or []):
        name = " ".join([*(spec.get("ContainerHierarchyTexts") or []), spec.get("LeafNodeText", "")]).strip()
        why = (spec.get("Failure") or {}).get("Message", "")
        if spec["State"] == "passed":
            if spec["LeafNodeType"] == "It":
                found.passed.append(name)
        elif not (spec["State"] == "skipped" and (not why or any(one in why for one in NOT_FOR_US))):
            found.wrong[name] = f"{spec['State']}: {why.strip()[:400]}"
    return found
