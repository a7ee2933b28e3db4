"""What a page tells, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from initpolicy.plans import Decision, Plan
from initpolicy.problems import Problem
from initpolicy.report.summary import Leftover, Share, leftovers, shares

if TYPE_CHECKING:
    from initpolicy.linting import Advice
    from initpolicy.signals import Probe


@dataclass(frozen=True)
class Ruled:
    """What one rule gives."""

    number: int
    """Counted from 1, in the order in which the rules first decide something."""
    rule: str
    """Its note, or its selectors."""
    shares: tuple[Share, ...]

    @property
    def anchor(self) -> str:
        """Where the page tells of it."""
        return f"rule-{self.number}"

    @property
    def decisions(self) -> list[Decision]:
        """Every tensor that it gives values."""
        return [decision for one in self.shares for decision in one.decisions]


@dataclass(frozen=True)
class Report:
    """A policy and a model, with all that is known of how the one begins the other."""

    model: str
    """As it was named."""
    plan: Plan
    advice: Advice
    classes: Mapping[str, str] = field(default_factory=dict[str, str])
    """The class of each module, by the module's name."""
    uncovered: tuple[Problem, ...] = ()
    """The errors for which the plan cannot be carried out: tensors that no rule covers."""
    probe: Probe | None = None
    digest: str = ""
    """Of all values, if they were drawn."""
    versions: Mapping[str, str] = field(default_factory=dict[str, str])
    folder: Path = field(default_factory=Path)
    """Where the page will be, from which its links lead to other files."""

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.uncovered and self.advice.ok and (self.probe is None or self.probe.ok)

    @property
    def findings(self) -> int:
        """How many things were found; warnings are none."""
        signals = 0 if self.probe is None else len(self.probe.findings)
        return len(self.uncovered) + len(self.advice.findings) + signals

    @cached_property
    def rules(self) -> tuple[Ruled, ...]:
        """What each rule gives."""
        found: dict[tuple[str, str], list[Share]] = {}
        for one in shares(self.plan):
            found.setdefault(_rule_of(one.decisions[0]), []).append(one)
        return tuple(
            Ruled(number, rule, tuple(same))
            for number, ((rule, _), same) in enumerate(found.items(), 1)
        )

    @cached_property
    def _anchors(self) -> dict[tuple[str, str], str]:
        return {_rule_of(one.decisions[0]): one.anchor for one in self.rules}

    def anchor(self, decision: Decision) -> str:
        """Where the page tells of the rule that decided; empty if it gives no values."""
        return self._anchors.get(_rule_of(decision), "") if decision.gives_values else ""

    @cached_property
    def leftovers(self) -> list[Leftover]:
        """What is left as it is."""
        return leftovers(self.plan)


def _rule_of(decision: Decision) -> tuple[str, str]:
    winner = decision.winner
    return (winner.rule, winner.location.file) if winner else ("", "")
