"""What a command did, and what ended it, as data for scripts: the same shape wherever it is printed (docs/schema/results.json)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import KubefabError, StepFailed
from .signatures import Signature, likely

if TYPE_CHECKING:  # what prints an error needs no SSH
    from ..run.result import RunResult


def cause(error: KubefabError) -> Signature | None:
    """The known failure that a node's words show; None for other errors, whose messages are our own words."""
    from_node = bool(error.output) or isinstance(error, StepFailed)
    return likely(f"{error.message}\n{error.whole or error.output}") if from_node else None


def of_error(error: KubefabError, where: str = "") -> dict[str, Any]:
    """One error as JSON values; `where` is the node and the step, like "w1 · join.join", where it is one node's."""
    known = cause(error)
    return {
        "code": error.code,
        "what": error.message,
        "where": where,
        "likely": f"{known.cause} ({known.source})" if known else "",
        "next": [text for text in (known.remedy if known else "", error.remedy) if text],
        "output": error.output,
    }


def of_nodes(unseen: Mapping[str, KubefabError]) -> list[dict[str, Any]]:
    """The errors of nodes that could not be looked at."""
    return [of_error(error, name) for name, error in unseen.items()]


def document(error: KubefabError) -> dict[str, Any]:
    """The whole result of a command that an error ended."""
    return {"error": of_error(error), "exit": error.exit_code}


def of_run(environment: str, result: RunResult) -> dict[str, Any]:
    """How a run ended, node by node: bootstrap, reset, and each phase."""
    nodes = [
        {
            "node": one.node,
            "state": one.state,
            "phase": one.phase,
            "step": one.step,
            "steps": one.steps,
            "seconds": {phase: round(taken, 3) for phase, taken in one.seconds.items()},
            "error": of_error(one.error, f"{one.node} · {one.step or one.phase}") if one.error else None,
        }
        for one in result.nodes.values()
    ]
    return {
        "environment": environment,
        "exit": result.exit_code,
        "seconds": round(result.seconds, 3),
        "steps": result.steps,
        "journal": result.journal,
        "nodes": nodes,
    }
