"""What lint finds, as data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from initpolicy.plans import Choice
from initpolicy.problems import Problem, listed

MOST_NAMED = 3


@dataclass(frozen=True)
class Finding:
    """One thing that is probably wrong, with all tensors of which one rule makes it."""

    code: str
    """The page that `initpolicy explain` prints."""
    title: str
    """What is wrong, in a few words: the title of the page."""
    names: tuple[str, ...]
    """The canonical names of the tensors."""
    message: str
    """What is wrong with the first of them."""
    rule: Choice
    """The rule that decides on them."""

    @property
    def problem(self) -> Problem:
        """The finding in the form of every other problem: a warning."""
        about = f"{self.title}, for {listed(self.names, MOST_NAMED)} (rule {self.rule.rule})"
        told = f"{about}: {self.message}"
        return Problem(self.code, told, "", self.rule.location, "warning")

    def __str__(self) -> str:
        return str(self.problem)

    def to_json(self) -> dict[str, Any]:
        """The finding as plain data."""
        return {
            "code": self.code,
            "title": self.title,
            "names": list(self.names),
            "message": self.message,
            "rule": self.rule.rule,
            "initializer": self.rule.initializer,
            "file": self.rule.location.file,
            "line": self.rule.location.line,
        }


@dataclass(frozen=True)
class Advice:
    """What is probably wrong with a policy for one model."""

    policy: str
    findings: tuple[Finding, ...]
    allowed: int
    """How many tensors were found that their rules allow."""
    traced: bool
    """Whether the flow through the whole model is known, or that of its containers alone."""
    reason: str = ""
    """Why the model could not be run on the input that was given; empty if it was."""

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> Iterator[str]:
        """The advice as a person reads it."""
        number = len(self.findings)
        what = f"{number} finding{'' if number == 1 else 's'}" if number else "nothing found"
        allowed = f", {self.allowed} allowed by their rules" if self.allowed else ""
        seen = "" if self.traced else "; of what follows a layer, only its containers tell"
        if self.reason:
            seen += f", since the model cannot be run on the input ({self.reason})"
        yield f"{self.policy}: {what}{allowed}{seen}"
        for found in self.findings:
            yield f"  {found}"

    def to_json(self) -> dict[str, Any]:
        """The advice as plain data."""
        return {
            "lint": 1,
            "ok": self.ok,
            "policy": self.policy,
            "allowed": self.allowed,
            "traced": self.traced,
            "reason": self.reason,
            "findings": [found.to_json() for found in self.findings],
        }
