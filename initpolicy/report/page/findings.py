"""What was found, with links to lines and to what the codes mean."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from initpolicy.problems import Location, listed
from initpolicy.report.page.content import Report
from initpolicy.report.page.markup import Markup, code, join, table, tag
from initpolicy.report.page.places import link
from initpolicy.report.summary import count

if TYPE_CHECKING:
    from initpolicy.signals import SignalFinding

MOST_NAMED = 3
MOST_ROWS = 200

Row = tuple[str, str, str, "Location | None"]


def section(report: Report) -> Markup:
    """Findings, then warnings."""
    found = list(_found(report))
    warnings: list[Row] = [
        (one.code, "", _told(one.message, one.hint), one.location) for one in report.plan.warnings
    ]
    return join(
        [
            _table("Findings", found, report)
            if found
            else tag("p", "Nothing was found.", class_="yes"),
            _table("Warnings of the plan", warnings, report) if warnings else None,
            _seen(report),
        ]
    )


def codes(report: Report) -> list[str]:
    """Every code that the page tells of, in order."""
    known = {code for code, *_ in _found(report)} | {one.code for one in report.plan.warnings}
    return sorted(known)


def _found(report: Report) -> Iterable[Row]:
    for one in report.uncovered:
        yield one.code, "", _told(one.message, one.hint), one.location
    for one in report.advice.findings:
        yield (
            one.code,
            listed(one.names, MOST_NAMED),
            f"{one.title}: {one.message}",
            one.rule.location,
        )
    alike: dict[tuple[str, Location | None], list[SignalFinding]] = {}
    for one in report.probe.findings if report.probe else ():
        place = one.rule.location if one.rule else None
        alike.setdefault((one.code, place), []).append(one)
    for (code_, place), same in alike.items():
        told = f"{count(len(same), 'layer')}, of the first: {same[0].message}"
        names = listed((one.name for one in same), MOST_NAMED)
        yield code_, names, _told(told, same[0].because), place


def _told(message: str, hint: str) -> str:
    return f"{message}; {hint}" if hint else message


def _table(caption: str, rows: list[Row], report: Report) -> Markup:
    cells = [
        [
            tag("a", name, href=f"#{name}"),
            code(about) if about else "",
            message,
            link(place, report.folder),
        ]
        for name, about, message, place in rows[:MOST_ROWS]
    ]
    whole = table(caption, ["code", "where", "what", "written in"], cells, class_="findings")
    if len(rows) > MOST_ROWS:
        return join([whole, tag("p", f"and {len(rows) - MOST_ROWS:,} more")])
    return whole


def _seen(report: Report) -> Markup:
    advice = report.advice
    told = "Lint saw the flow through the whole model"
    if not advice.traced:
        told = "Of what follows a layer, lint saw only what containers tell"
    allowed = f"; {advice.allowed:,} allowed by their rules" if advice.allowed else ""
    return tag("p", f"{told}{allowed}.", class_="told")
