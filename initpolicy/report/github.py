"""What was found as annotations that GitHub shows beside the lines of a pull request."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from initpolicy.report.findings import Case, Found, every

_DATA = {"%": "%25", "\r": "%0D", "\n": "%0A"}
_PROPERTY = {**_DATA, ":": "%3A", ",": "%2C"}


def lines(cases: Iterable[Case]) -> Iterator[str]:
    """A workflow command for each thing that was found."""
    return map(line, every(cases))


def line(found: Found) -> str:
    r"""One workflow command.

    >>> line(Found("error", "IP604", "100 % differ\nall"))
    '::error title=IP604::100 %25 differ%0Aall'
    """
    place: dict[str, str] = {}
    if found.location is not None:
        place["file"] = found.location.file
        if found.location.line:
            place["line"] = str(found.location.line)
    place["title"] = found.code
    properties = ",".join(f"{name}={_escaped(told, _PROPERTY)}" for name, told in place.items())
    return f"::{found.severity} {properties}::{_escaped(found.text, _DATA)}"


def _escaped(text: str, table: dict[str, str]) -> str:
    """Text in which nothing ends a line or steers a terminal."""
    return "".join(
        table.get(char) or (char if char.isprintable() else ascii(char)[1:-1]) for char in text
    )
