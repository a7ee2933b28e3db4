"""What a page tells, as data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from initpolicy.plans import Decision, Plan
from initpolicy.problems import Problem
from initpolicy.report.summary import Leftover, Share, leftovers, shares

if TYPE_CHECKING:
    from initpolicy.linting import Advice
    from initpolicy.signals import Probe

State = Literal["given", "through", "kept", "left", "uncovered"]
"""Values of the policy; values of a tensor that is computed from it; kept by a rule; left, for no
rule speaks of it; left, which the policy calls an error."""


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
    parts: Mapping[str, str] = field(default_factory=dict[str, str])
    """By its name, the tensor that a module computes from another one."""
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

    def state(self, decision: Decision) -> State:
        """What is done to a tensor."""
        if decision.gives_values:
            return "given"
        whole = self.plan.by_name.get(self.parts.get(decision.name, ""))
        if whole is not None and whole.gives_values:
            return "through"
        if decision.winner is not None:
            return "kept"
        return "uncovered" if self.uncovered and decision.kind == "parameter" else "left"

    @cached_property
    def states(self) -> Counter[str]:
        """How many tensors there are of each state."""
        return Counter(map(self.state, self.plan))

    @cached_property
    def leftovers(self) -> list[Leftover]:
        """What is left as it is, and what no rule covers."""
        found = (
            (one, tuple(d for d in one.decisions if self.state(d) != "through"))
            for one in leftovers(self.plan)
        )
        return [replace(one, decisions=decisions) for one, decisions in found if decisions]


def _rule_of(decision: Decision) -> tuple[str, str]:
    winner = decision.winner
    return (winner.rule, winner.location.file) if winner else ("", "")
