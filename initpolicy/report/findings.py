"""What was found, in the one form that SARIF, JUnit and GitHub's annotations are made of."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from initpolicy.problems import Location, Problem, Severity, codes, page

if TYPE_CHECKING:
    from initpolicy.plans import Plan
    from initpolicy.signals import Probe
    from initpolicy.verification import Verdict

KINDS = {
    "lock-changed": "a tensor that begins otherwise than before",
    "lock-renamed": "a tensor under another name",
    "lock-added": "a tensor that was not there before",
    "lock-removed": "a tensor that is there no more",
    "lock-setting": "a seed, a version or a variable that is another",
    "policy-key": "a key of a policy that is another",
    "policy-order": "rules in another order",
    "values-missing": "a tensor that the lock has and the values lack",
    "values-unknown": "a tensor that the lock lacks",
    "values-shape": "a tensor of another shape than in the lock",
    "values-dtype": "a tensor of another type than in the lock",
    "values-values": "values that are not those of the lock",
}
"""What is found by comparing, and is no problem with a page."""


@dataclass(frozen=True)
class Found:
    """One thing that was found."""

    severity: Severity
    code: str
    """A problem's code, or one of `KINDS`."""
    message: str
    hint: str = ""
    location: Location | None = None
    tensor: str = ""
    """The tensor that it is about; empty if it is about none, or about many."""

    @property
    def text(self) -> str:
        """The message with tensor and hint.

        >>> Found("error", "IP604", "1 of 2 values differs", "looks like 0", None, "w").text
        'w: 1 of 2 values differs; looks like 0'
        """
        about = f"{self.tensor}: " if self.tensor else ""
        return f"{about}{self.message}" + (f"; {self.hint}" if self.hint else "")


@dataclass(frozen=True)
class Case:
    """One thing that was looked at, and what was found."""

    name: str
    found: tuple[Found, ...] = ()
    skipped: str = ""
    """Why it could not be judged; empty if it was."""
    broken: bool = False
    """Whether nothing could be looked at, because of what was found."""


def every(cases: Iterable[Case]) -> Iterator[Found]:
    """Give all that was found, in order."""
    return (found for case in cases for found in case.found)


def title(code: str) -> str:
    """What a code means, in a line.

    >>> title("IP201"), title("lock-removed")
    ('a parameter that no rule covers', 'a tensor that is there no more')
    """
    return KINDS[code] if code in KINDS else page(code).partition("\n")[0].partition(": ")[2]


def help_of(code: str) -> str:
    """The page of a code, in Markdown."""
    return page(code) if code in codes() else title(code)


def of_problems(name: str, problems: Iterable[Problem], *, broken: bool = False) -> Case:
    """Errors and warnings about one thing, such as a policy."""
    return Case(name, tuple(map(_of_problem, problems)), broken=broken)


def _of_problem(problem: Problem) -> Found:
    place = relative(problem.location)
    return Found(problem.severity, problem.code, problem.message, problem.hint, place)


def of_plan(plan: Plan) -> list[Case]:
    """The warnings of a plan."""
    return [of_problems(plan.policy, plan.warnings)]


def of_verdict(verdict: Verdict) -> list[Case]:
    """Each tensor that was judged, or should have been."""
    found: dict[str, list[Found]] = {}
    for one in verdict.findings:
        hint = f"looks like {one.looks_like}" if one.looks_like else ""
        place = relative(one.rule.location if one.rule else None)
        told = Found("error", one.code, one.message, hint, place, one.name)
        found.setdefault(one.name, []).append(told)
    judged = [
        Case(
            one.name, tuple(found.pop(one.name, ())), one.reason if one.how == "not judged" else ""
        )
        for one in verdict.tensors
    ]
    return judged + [Case(name, tuple(items)) for name, items in found.items()]


def of_probe(probe: Probe, policy: str = "") -> list[Case]:
    """Each layer that was seen; `policy` stands before its name where several were probed."""
    before = f"{policy}: " if policy else ""
    found: dict[str, list[Found]] = {str(layer): [] for layer in probe.layers}
    for one in probe.findings:
        place = relative(one.rule.location if one.rule else None)
        about = before + one.name
        found[one.name].append(Found("error", one.code, one.message, one.because, place, about))
    return [Case(f"{before}{name}", tuple(items)) for name, items in found.items()]


def relative(location: Location | None) -> Location | None:
    """A place as seen from the current folder, if it lies there."""
    if location is None or not os.path.isabs(location.file):
        return location
    try:
        return replace(location, file=Path(location.file).relative_to(Path.cwd()).as_posix())
    except ValueError:
        return location
