"""Reports for programs: JSON, one document a run."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TextIO

from initpolicy.report import summary

if TYPE_CHECKING:
    from initpolicy.initializers import Initializer
    from initpolicy.model.facts import Facts
    from initpolicy.plans import Decision, Plan
    from initpolicy.policy import Policy
    from initpolicy.problems import Problem


def write(document: object, to: TextIO) -> None:
    """A JSON document, indented, with a line break after it."""
    # Neither NaN nor Infinity is JSON; were one to appear, to stop is better than to mislead.
    to.write(json.dumps(document, indent=2, allow_nan=False) + "\n")


def problems(found: Iterable[Problem]) -> dict[str, Any]:
    """Every problem that was found."""
    return {"problems": [problem.to_json() for problem in found]}


def applied(decided: Plan, seconds: float, saved: tuple[str, int] | None) -> dict[str, Any]:
    """What `text.applied` tells, and the plan."""
    return {
        "filled": {
            "tensors": len(decided.given),
            "values": sum(decision.numel for decision in decided.given),
        },
        "rules": [
            {
                "rule": share.rule,
                "initializer": share.initializer,
                "law": share.law,
                "tensors": [decision.name for decision in share.decisions],
                "values": share.values,
            }
            for share in summary.shares(decided)
        ],
        "left": [decision.name for decision in decided if not decision.gives_values],
        "seconds": round(seconds, 6),
        "saved": None if saved is None else {"file": saved[0], "bytes": saved[1]},
        "plan": decided.to_json(),
    }


def explanation(
    decision: Decision, facts: Facts, fans: tuple[int, int] | None, steps: tuple[str, ...]
) -> dict[str, Any]:
    """One tensor: what it is, what it begins with, and what every rule said of it."""
    known = {"shape": list(facts.shape), "numel": facts.numel, "ndim": facts.ndim}
    if fans is not None:
        known |= {"fan_in": fans[0], "fan_out": fans[1]}
    return {**decision.to_json(), "facts": known, "steps": list(steps)}


def policies(found: Iterable[tuple[str, Policy]]) -> list[dict[str, Any]]:
    """The built-in policies."""
    return [
        {"name": name, "title": policy.title, "source": policy.source} for name, policy in found
    ]


def initializers(found: Iterable[Initializer]) -> list[dict[str, Any]]:
    """The initializers."""
    return [{"name": item.name, "summary": item.summary} for item in found]


def initializer(shown: Initializer, documentation: str) -> dict[str, Any]:
    """The documentation of one initializer, with its arguments."""
    return {
        "name": shown.name,
        "documentation": documentation,
        "schema": shown.json_schema(),
    }
