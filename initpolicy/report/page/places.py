"""Where something is written: links to lines of files, and the lines themselves."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from initpolicy.policy.files import builtin_folder
from initpolicy.problems import Location
from initpolicy.report.findings import relative
from initpolicy.report.page.markup import Markup, code, join, tag

_LARGEST = 1 << 20
_MOST_LINES = 16


def link(location: Location | None, folder: Path, *, short: bool = False) -> Markup:
    """A place as text; and as a link from `folder`, if the file lies in the current folder.

    Other files, such as those of a package, will hardly lie there where the page is read. `short`
    is for a further line of the same file.
    """
    shown = relative(location)
    if location is None or shown is None:
        return Markup()
    try:
        file = Path(location.file).resolve()
        known = file.is_file() and file.is_relative_to(Path.cwd())
        target = quote(Path(os.path.relpath(file, folder.resolve())).as_posix()) if known else ""
    except (OSError, ValueError):  # such as a name with a zero, or another drive
        target = ""
    told = code(f":{shown.line}" if short and shown.line else shown)
    return tag("a", told, href=target) if target else told


def excerpt(locations: Iterable[Location]) -> Markup | None:
    """The table of a policy that these lines of one file belong to, with its lines marked."""
    places = sorted(set(locations))
    if not places or not places[0].line:
        return None
    lines = _lines(places[0].file)
    marked = {place.line for place in places}
    first, last = min(marked), max(marked)
    if last > len(lines):
        return None
    while first > 1 and not lines[first - 1].startswith("[") and lines[first - 2].strip():
        first -= 1
    while last < len(lines) and lines[last].strip() and not lines[last].startswith("["):
        last += 1
    shown = [
        tag("mark", line) if number in marked else line
        for number, line in enumerate(lines[first - 1 : last], first)
    ]
    if len(shown) > _MOST_LINES:
        shown = [*shown[:_MOST_LINES], "..."]
    return tag("pre", tag("code", join(shown, "\n")), tabindex="0")


def _lines(file: str) -> list[str]:
    """The lines of a file; none if it is not there any more."""
    try:
        path = Path(file)
        if not path.exists() and path.parent == Path("policies"):
            path = builtin_folder() / path.name  # as messages name the policies of the package
        if not path.is_file() or path.stat().st_size > _LARGEST:
            return []
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return []
