"""The pages of problems' codes as HTML: of Markdown what the pages use."""

from __future__ import annotations

import re
from collections.abc import Iterable

from initpolicy.problems import page
from initpolicy.report.page.markup import Markup, code, details, join, tag

_PIECE = re.compile(r"`([^`]+)`")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def section(codes: Iterable[str]) -> Markup:
    """The page of each code, closed until somebody asks."""
    return join(
        details(join([code(name), " ", inline(_title(name))]), _body(name), id=name, class_="code")
        for name in codes
    )


def _title(name: str) -> str:
    return page(name).partition("\n")[0].partition(": ")[2]


def _body(name: str) -> Markup:
    text = page(name).partition("\n")[2]
    parts: list[Markup] = []
    end = 0
    for fence in _FENCE.finditer(text):
        parts += _paragraphs(text[end : fence.start()])
        parts.append(tag("pre", tag("code", fence[2].rstrip("\n")), tabindex="0"))
        end = fence.end()
    return join([*parts, *_paragraphs(text[end:])])


def _paragraphs(text: str) -> list[Markup]:
    found: list[Markup] = []
    for block in re.split(r"\n\s*\n", text.strip()):
        if block.startswith("## "):
            found.append(tag("h3", block[3:]))
        elif block:
            found.append(tag("p", inline(block)))
    return found


def inline(text: str) -> Markup:
    """A paragraph, in which backticks stand around code.

    >>> inline("write `a < b`")
    'write <code>a &lt; b</code>'
    """
    parts = _PIECE.split(text)
    return join(code(part) if place % 2 else part for place, part in enumerate(parts))
