"""The problems of one load, over all its files, and the limits after which no more is checked."""

from __future__ import annotations

from dataclasses import dataclass, field

from initpolicy.policy.glob import GlobError
from initpolicy.problems import InitPolicyError, Location, Problem

MOST_BRACED = 1000  # globs
MOST_PROBLEMS = 1000  # after which nothing more is checked


@dataclass
class Mistakes:
    """What was found so far, and how many globs with braces were met on the way."""

    problems: list[Problem] = field(default_factory=list[Problem])
    braced: int = 0

    def error(self, code: str, message: str, hint: str, location: Location) -> None:
        """Add a problem, or raise all of them if this was the last that is looked for."""
        self.problems.append(Problem(code, message, hint, location))
        if len(self.problems) >= MOST_PROBLEMS:
            raise InitPolicyError(self.in_order())

    def in_order(self) -> list[Problem]:
        """Give the problems by file, in the order in which files were met, and then by line."""
        files = list(dict.fromkeys(p.location.file for p in self.problems if p.location))
        return sorted(
            self.problems,
            key=lambda p: (
                (files.index(p.location.file), p.location.line) if p.location else (-1, 0)
            ),
        )

    def count_braces(self, globs: list[str]) -> None:
        """Raise `GlobError` for more globs with braces than anyone writes: each is many globs."""
        self.braced += sum("{" in glob for glob in globs)
        if self.braced > MOST_BRACED:
            told = f'a policy has more than {MOST_BRACED} globs with braces; write "*" in some'
            raise GlobError(globs[0], told)
