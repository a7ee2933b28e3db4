"""One problem, and the exception that carries all that were found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

Severity = Literal["error", "warning"]


MOST_LISTED = 8


def listed(items: Iterable[str], most: int = MOST_LISTED) -> str:
    """Name the first few, and say how many more there are.

    >>> listed(["a", "b", "c", "d"], most=2)
    'a, b and 2 more'
    """
    names = list(items)
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def suggest(word: str, known: Iterable[str], n: int = 3) -> list[str]:
    """Give the known words that a misspelt one may mean, best first.

    >>> suggest("kaiming_norml", ["xavier_normal", "kaiming_normal", "orthogonal"], n=1)
    ['kaiming_normal']
    >>> suggest("linear", ["Linear", "Bilinear"])
    ['Linear', 'Bilinear']
    """
    spellings: dict[str, list[str]] = {}
    for candidate in sorted(set(known)):
        spellings.setdefault(candidate.casefold(), []).append(candidate)
    close = get_close_matches(word.casefold(), spellings, n=n)
    return [spelling for folded in close for spelling in spellings[folded]][:n]


@dataclass(frozen=True, order=True)
class Location:
    """A line of a file, counted from 1; line 0 stands for the file as a whole."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True)
class Problem:
    """What is wrong, where, and what to write instead.

    >>> print(Problem("IP202", "rule 1 matches nothing", "write `Conv2d`", Location("x.toml", 3)))
    x.toml:3: IP202 rule 1 matches nothing; write `Conv2d`
    """

    code: str
    message: str
    hint: str = ""
    location: Location | None = None
    severity: Severity = "error"

    def __str__(self) -> str:
        place = f"{self.location}: " if self.location else ""
        hint = f"; {self.hint}" if self.hint else ""
        return f"{place}{self.code} {self.message}{hint}"

    def to_json(self) -> dict[str, object]:
        """The problem as plain data."""
        return {
            "code": self.code,
            "severity": self.severity,
            "message": self.message,
            "hint": self.hint,
            "file": self.location.file if self.location else None,
            "line": self.location.line or None if self.location else None,
        }


class InitPolicyError(Exception):
    """A policy, a plan or a model that cannot be used; `problems` holds every reason.

    The text has one line for each problem. Nothing has been written when this is raised.
    """

    problems: tuple[Problem, ...]

    def __init__(self, problems: Problem | Iterable[Problem]) -> None:
        self.problems = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))

    def __reduce__(self) -> tuple[type[InitPolicyError], tuple[tuple[Problem, ...]]]:
        # The default would pickle the text, and lose the problems between processes.
        return type(self), (self.problems,)
