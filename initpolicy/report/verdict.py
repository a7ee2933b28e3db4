"""A verdict on values, for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from rich.console import Console
from rich.text import Text

from initpolicy.report.text import one_line


class Outcome(Protocol):
    """What is told line by line, and is well or not: a verdict, or advice."""

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        ...

    def lines(self) -> Iterator[str]:
        """It, as a person reads it."""
        ...


def text(verdict: Outcome, to: Console) -> None:
    """What was judged, what was found, and what could have been seen."""
    for number, line in enumerate(verdict.lines()):
        shown = Text(line[: len(line) - len(line.lstrip())] + one_line(line))
        if number == 0:
            shown.stylize("bold green" if verdict.ok else "bold red")
        to.print(shown, soft_wrap=True)
