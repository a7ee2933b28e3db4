"""The outcome of a verification, as data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from initpolicy.plans import Choice, Decision
from initpolicy.showing import Shown

How = Literal["exactly", "to rounding", "by law", "not judged"]

MOST_SHOWN = 20


@dataclass(frozen=True)
class Finding:
    """One thing that contradicts the policy."""

    name: str
    """The tensor's canonical name."""
    code: str
    """The page that `initpolicy explain` prints."""
    message: str
    expected: str = ""
    """The law, as a person reads it."""
    looks_like: str = ""
    """What the values seem to follow instead; empty if nothing known resembles them."""
    rule: Choice | None = None
    """The rule that decided on the tensor."""

    def __str__(self) -> str:
        place = f"{self.rule.location}: " if self.rule else ""
        looks = f"; looks like {self.looks_like}" if self.looks_like else ""
        because = f" (rule {self.rule.rule})" if self.rule else ""
        return f"{place}{self.code} {self.name}{because}: {self.message}{looks}"

    def to_json(self) -> dict[str, Any]:
        """The finding as plain data."""
        return {
            "name": self.name,
            "code": self.code,
            "message": self.message,
            "expected": self.expected,
            "looks_like": self.looks_like,
            "rule": self.rule.rule if self.rule else None,
            "initializer": self.rule.initializer if self.rule else None,
            "file": self.rule.location.file if self.rule else None,
            "line": self.rule.location.line if self.rule else None,
        }


def finding(decision: Decision, code: str, message: str, looks_like: str = "") -> Finding:
    """A finding on the tensor of a decision."""
    expected = "" if decision.law is None else str(decision.law)
    return Finding(decision.name, code, message, expected, looks_like, decision.winner)


@dataclass(frozen=True)
class Judged:
    """How one tensor was judged."""

    name: str
    how: How
    reason: str = ""
    """Why it was not judged, or not exactly; empty otherwise."""
    visible: float | None = None
    """The smallest relative deviation of std that would have been seen with 99 % certainty; None
    where std says nothing, infinite where the values are too few."""
    std: float | None = None
    """The std of the values, or of many of them, evenly spaced; None if it was not measured, or
    is not finite."""
    law_std: float | None = None
    """The std of the law; None where its elements are not alike."""

    def to_json(self) -> dict[str, Any]:
        """The tensor as plain data; an infinite deviation is the text "inf"."""
        visible = "inf" if self.visible == float("inf") else self.visible
        return {
            "name": self.name,
            "how": self.how,
            "reason": self.reason,
            "visible": visible,
            "std": self.std,
            "law_std": self.law_std,
        }


@dataclass(frozen=True)
class Verdict(Shown):
    """Whether values are what a policy says, and what contradicts it."""

    policy: str
    seed: int
    exact: bool
    alpha: float
    """The probability of any false finding in the whole model, where chance is involved."""
    tests: int
    """How many tests of chance share `alpha`."""
    findings: tuple[Finding, ...]
    tensors: tuple[Judged, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self, most: int = MOST_SHOWN) -> Iterator[str]:
        """The verdict as a person reads it, with at most so many findings."""
        kinds: list[How] = ["exactly", "to rounding", "by law", "not judged"]
        counts = {kind: sum(one.how == kind for one in self.tensors) for kind in kinds}
        judged = ", ".join(f"{number} {kind}" for kind, number in counts.items() if number)
        against = f"{self.policy}, seed {self.seed}" if self.exact else self.policy
        what = "as stated" if self.ok else _count(len(self.findings), "finding")
        yield f"{against}: {what} ({_count(len(self.tensors), 'tensor')}: {judged or 'none'})"
        for found in self.findings[:most]:
            yield f"  {found}"
        if len(self.findings) > most:
            yield f"  and {len(self.findings) - most} more"
        yield from self._power()
        reasons: dict[str, list[str]] = {}
        for one in self.tensors:
            if one.reason:
                reasons.setdefault(one.reason, []).append(one.name)
        for reason, names in reasons.items():
            more = f" and {len(names) - 4} more" if len(names) > 4 else ""
            yield f"  {', '.join(names[:4])}{more}: {reason}"

    def _power(self) -> Iterator[str]:
        seen = sorted(one.visible for one in self.tensors if one.visible is not None)
        if not seen:
            return
        chance = f"{self.tests} tests share a false-alarm rate of {self.alpha:g}"
        worst = f"{100 * seen[-1]:.2g} %" if seen[-1] < 10 else "nothing smaller than tenfold"
        yield (
            f"  {chance}; a std off by {100 * seen[0]:.2g} % would have been seen in the largest "
            f"tensor, by {100 * seen[len(seen) // 2]:.2g} % in the median one, by {worst} in the "
            "smallest"
        )

    def to_json(self) -> dict[str, Any]:
        """The verdict as plain data."""
        return {
            "verdict": 1,
            "ok": self.ok,
            "policy": self.policy,
            "seed": self.seed,
            "exact": self.exact,
            "alpha": self.alpha,
            "tests": self.tests,
            "findings": [one.to_json() for one in self.findings],
            "tensors": [one.to_json() for one in self.tensors],
        }


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
