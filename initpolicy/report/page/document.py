"""The whole page."""

from __future__ import annotations

from importlib.resources import files

from initpolicy.plans import Step
from initpolicy.report.page import codes, coverage, findings, rules, signals
from initpolicy.report.page.content import Report
from initpolicy.report.page.markup import Markup, code, details, join, tag
from initpolicy.report.summary import count

_STYLE = "style.css"

# What a browser is told of the page: that nothing comes from elsewhere, and nothing runs.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'"


def style(name: str = _STYLE) -> str:
    """A style sheet of this package."""
    return files("initpolicy.report.page").joinpath(name).read_text(encoding="utf-8")


def document(report: Report) -> str:
    """The report as one file of HTML, which needs no other.

    The same report gives the same text: nothing in it tells when or where it was written.
    """
    sections = [
        ("summary", "Summary", _summary(report)),
        ("findings", "Findings", findings.section(report)),
        ("coverage", "Coverage", coverage.section(report)),
        ("rules", "Rules and values", rules.section(report)),
        ("signals", "Signals", signals.section(report)),
    ]
    told = findings.codes(report)
    if told:
        sections.append(("codes", "What the codes mean", codes.section(told)))
    title = report.plan.title or report.plan.policy
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{title} on {report.model}"),
        tag("style", Markup(style())),
    )
    links = [tag("li", tag("a", name, href=f"#{anchor}")) for anchor, name, _ in sections]
    body = tag(
        "body",
        tag("a", "Skip to the report", href="#report", class_="skip"),
        tag(
            "header",
            tag("p", "How this model begins", class_="kicker"),
            tag("h1", title),
            tag("p", code(report.model), " under ", code(report.plan.policy), class_="subject"),
            tag("p", report.plan.source, class_="source") if report.plan.source else None,
        ),
        tag("nav", tag("ul", *links), aria_label="Sections"),
        tag(
            "main",
            *(
                tag("section", tag("h2", name), content, id=anchor, class_="part")
                for anchor, name, content in sections
            ),
            id="report",
        ),
        tag("footer", tag("p", "Written by ", code("initpolicy report"), _versions(report))),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def _versions(report: Report) -> str:
    told = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    return f": {told}." if told else "."


def _summary(report: Report) -> Markup:
    plan = report.plan
    values = sum(decision.numel for decision in plan.given)
    states = report.states
    left = states["kept"] + states["left"] + states["uncovered"]
    tiles = [
        ("tensors", f"{states['given']:,}", f"of {states['given'] + left:,} get values"),
        ("values", f"{values:,}", f"by {count(len(report.rules), 'rule')}"),
        ("left as they are", f"{left:,}", "as the constructor made them" if left else "no tensor"),
    ]
    shown = [
        tag("div", tag("dt", name), tag("dd", tag("strong", large), " ", small))
        for name, large, small in tiles
    ]
    return join(
        [
            tag("ul", *(tag("li", one) for one in _verdicts(report)), class_="verdicts"),
            tag("dl", *shown, class_="tiles"),
            tag("dl", *_facts(report), class_="facts"),
            _steps(report),
        ]
    )


def _verdicts(report: Report) -> list[Markup]:
    uncovered = report.states["uncovered"]
    left = report.states["kept"] + report.states["left"]
    if uncovered:
        told = [("no", f"{count(uncovered, 'tensor')} that no rule covers")]
    elif left:
        told = [("kept", f"{count(left, 'tensor')} left as the constructor made them")]
    else:
        told = [("yes", "Every tensor is covered")]
    number = len(report.advice.findings)
    found = count(number, "finding") if number else "nothing found"
    told.append(("no" if number else "yes", f"Lint: {found}"))
    if report.probe is not None:
        failed = sum(not condition.ok for condition in report.probe.conditions)
        holds = f"{count(failed, 'condition')} failed" if failed else "all conditions hold"
        told.append(("no" if failed else "yes", f"Signals: {holds}"))
    if report.plan.warnings:
        told.append(("no", count(len(report.plan.warnings), "warning")))
    return [tag("span", text, class_=kind) for kind, text in told]


def _facts(report: Report) -> list[Markup]:
    plan = report.plan
    facts: list[tuple[str, object]] = [("seed", str(plan.seed))]
    if plan.variables:
        given = ", ".join(f"{name} = {value:g}" for name, value in plan.variables.items())
        facts.append(("variables", code(given)))
    if report.digest:
        facts.append(("digest of all values", code(report.digest)))
    facts += [(name, version) for name, version in report.versions.items()]
    return [tag("div", tag("dt", name), tag("dd", value)) for name, value in facts]


def _steps(report: Report) -> Markup | None:
    """What is done with data after the draws."""
    if not report.plan.steps:
        return None
    items = [tag("li", code(step), _results(step)) for step in report.plan.steps]
    told = "After the draws come steps with data. Pictures of values show them before that."
    return join([tag("p", told), tag("ol", *items)])


def _results(step: Step) -> Markup | None:
    if not step.results:
        return None
    return details("What it did", tag("ul", *(tag("li", line) for line in step.results)))
