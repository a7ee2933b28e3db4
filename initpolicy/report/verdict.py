"""A verdict on values, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from initpolicy.report.text import one_line

if TYPE_CHECKING:
    from initpolicy.verification import Verdict


def text(verdict: Verdict, to: Console) -> None:
    """What was judged, what was found, and what could have been seen."""
    for number, line in enumerate(verdict.lines()):
        shown = Text(line[: len(line) - len(line.lstrip())] + one_line(line))
        if number == 0:
            shown.stylize("bold green" if verdict.ok else "bold red")
        to.print(shown, soft_wrap=True)
