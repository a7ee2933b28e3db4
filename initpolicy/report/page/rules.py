"""Each rule: where it is written, what it gives to which tensors, and how the values look."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from initpolicy.laws import Constant
from initpolicy.plans import Decision
from initpolicy.report.page import drawing
from initpolicy.report.page.content import Report, Ruled
from initpolicy.report.page.coverage import shown_shape
from initpolicy.report.page.markup import Markup, code, details, join, table, tag
from initpolicy.report.page.pictures import picture
from initpolicy.report.page.places import excerpt, link
from initpolicy.report.summary import Share, count

MOST_PICTURES = 48
"""Pictures on a page."""

MOST_ROWS = 4000
"""Tensors that the rules of a page list."""


def section(report: Report) -> Markup:
    """Every rule that gives values."""
    budget = _Budget()
    return join([_told(report), *(_rule(rule, report, budget) for rule in report.rules)])


def _told(report: Report) -> Markup:
    if not report.rules:
        return tag("p", "No rule gives values.")
    given = sum(decision.numel for decision in report.plan.given)
    rows = [
        [
            tag("a", rule.rule or "no rule is named", href=f"#{rule.anchor}"),
            f"{len(rule.decisions):,}",
            f"{(values := sum(decision.numel for decision in rule.decisions)):,}",
            tag("span", class_="meter", style=f"--part:{100 * values / max(1, given):.1f}%"),
        ]
        for rule in report.rules
    ]
    return table("What each rule gives", ["rule", "tensors", "values", ""], rows, numbers=(1, 2))


class _Budget:
    """What is left of a page's room for pictures and rows."""

    def __init__(self) -> None:
        self.pictures = MOST_PICTURES
        self.rows = MOST_ROWS


def _rule(rule: Ruled, report: Report, budget: _Budget) -> Markup:
    decisions = rule.decisions
    locations = {decision.winner.location for decision in decisions if decision.winner}
    values = sum(decision.numel for decision in decisions)
    head = tag(
        "h3", tag("span", f"Rule {rule.number}", class_="number"), " ", rule.rule or "unnamed"
    )
    told = f"{count(len(decisions), 'tensor')}, {count(values, 'value')}"
    places = [
        link(place, report.folder, short=number > 0)
        for number, place in enumerate(sorted(locations))
    ]
    where = tag("p", *([join(places, ", "), ": "] if places else []), told, class_="where")
    return tag(
        "section",
        head,
        where,
        excerpt(locations),
        *(_share(one, report, budget) for one in rule.shares),
        details(f"{count(len(decisions), 'tensor')} of rule {rule.number}", _list(rule, budget)),
        id=rule.anchor,
        class_="rule",
    )


def _share(one: Share, report: Report, budget: _Budget) -> Markup:
    constant = all(isinstance(decision.law, Constant) for decision in one.decisions)
    names = join([code(name) for name in one.names], ", ")
    written = "" if constant or not one.initializer else f", written as {one.initializer}"
    begins = tag("p", names, ": ", tag("span", one.law, class_="law"), written, class_="share")
    return join([begins, *_pictures(one, report, budget)])


def _pictures(one: Share, report: Report, budget: _Budget) -> Iterator[Markup]:
    looked = drawing.chosen(one.decisions)
    drawn = [decision for decision in one.decisions if not isinstance(decision.law, Constant)]
    if not looked:
        if any(decision.law is not None and decision.numel > 1 for decision in drawn):
            told = f"None is shown: they are made whole, of over {drawing.WHOLE:,} elements."
            yield tag("p", told, class_="told")
        return
    if budget.pictures <= 0:
        yield tag("p", "No picture: the page has enough of them.", class_="told")
        return
    figures = [
        picture(sample)
        for decision in looked
        for sample in drawing.samples(decision, report.plan.seed)
    ]
    budget.pictures -= len(figures)
    yield tag("div", *figures, class_="figures")


def _list(rule: Ruled, budget: _Budget) -> Markup:
    decisions = rule.decisions
    shown = decisions[: max(0, budget.rows)]
    budget.rows -= len(shown)
    rows: Iterable[list[object]] = (
        [code(_names(decision)), shown_shape(decision), decision.dtype, decision.begins_as]
        for decision in shown
    )
    heads = ["tensor", "shape", "type", "begins as"]
    whole = table(f"Tensors of rule {rule.number}", heads, rows)
    if len(shown) == len(decisions):
        return whole
    more = f"and {len(decisions) - len(shown):,} more, which `initpolicy plan` lists"
    return join([whole, tag("p", more)])


def _names(decision: Decision) -> str:
    return " = ".join((decision.name, *decision.aliases))
