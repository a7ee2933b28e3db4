"""A plan, a verdict or a probe as a notebook shows it: small, whatever the model's size."""

from __future__ import annotations

from initpolicy.plans import Plan
from initpolicy.problems import listed
from initpolicy.report.page.charts import draw
from initpolicy.report.page.document import style
from initpolicy.report.page.markup import Markup, code, join, number, table, tag
from initpolicy.report.page.signals import charts, conditions
from initpolicy.report.summary import count, leftovers, shares, totals
from initpolicy.signals import Probe
from initpolicy.verification import Verdict

MOST_ROWS = 10
MOST_LAYERS = 120

_LONGEST = 160


def html(value: object) -> str:
    """What `_repr_html_` gives."""
    if isinstance(value, Plan):
        shown = _plan(value)
    elif isinstance(value, Verdict):
        shown = _verdict(value)
    elif isinstance(value, Probe):
        shown = _probe(value)
    else:
        raise TypeError(f"there is no table for {type(value).__name__}")
    return tag("div", tag("style", Markup(style("notebook.css"))), *shown, class_="initpolicy")


def _plan(plan: Plan) -> list[Markup | None]:
    given = shares(plan)
    rows = [
        [
            _cut(one.rule or "unnamed"),
            join([code(_cut(name)) for name in one.names[:4]], ", "),
            code(_cut(one.law)),
            f"{len(one.decisions):,}",
            f"{one.values:,}",
        ]
        for one in given[:MOST_ROWS]
    ]
    heads = ["rule", "tensors", "begin as", "number", "values"]
    left = [
        tag(
            "p",
            f"Left as {'it is' if len(one.decisions) == 1 else 'they are'}: ",
            code(_cut(listed((d.name for d in one.decisions), 3))),
            f" ({_cut(one.module_type)}): {_cut(one.reason)}",
        )
        for one in leftovers(plan)[:3]
    ]
    return [
        _title(_cut(plan.title or plan.policy), f"seed {plan.seed}", None),
        table(f"It fills {totals(plan)}", heads, rows, numbers=(3, 4)),
        _more(len(given)),
        *left,
    ]


def _verdict(verdict: Verdict) -> list[Markup | None]:
    how: dict[str, int] = {}
    for one in verdict.tensors:
        how[one.how] = how.get(one.how, 0) + 1
    judged = ", ".join(f"{number:,} {name}" for name, number in how.items())
    rows = [
        [
            code(_cut(one.name)),
            one.code,
            _cut(one.message),
            code(_cut(one.expected)),
            _cut(one.looks_like),
            _cut(str(one.rule.location)) if one.rule else "",
        ]
        for one in verdict.findings[:MOST_ROWS]
    ]
    heads = ["tensor", "code", "what is wrong", "law", "looks like", "written in"]
    found = count(len(verdict.findings), "finding") if rows else "as stated"
    told = f"{count(len(verdict.tensors), 'tensor')} judged: {judged or 'none'}"
    return [
        _title(_cut(verdict.policy), found, verdict.ok),
        tag("p", told),
        table("Findings", heads, rows) if rows else None,
        _more(len(verdict.findings)),
    ]


def _probe(probe: Probe) -> list[Markup | None]:
    told = f"{count(len(probe.seeds), 'draw')}, {count(len(probe.layers), 'layer')}"
    grown = "; ".join(
        f"{name} {number(one.factor)} a layer"
        for name, one in (("forwards", probe.forwards), ("backwards", probe.backwards))
        if one is not None
    )
    return [
        _title(_cut(probe.policy), "healthy" if probe.ok else "not healthy", probe.ok),
        tag("p", "; ".join(filter(None, (told, grown)))),
        conditions(probe, most=3, anchors=False),
        *(draw(*chart) for chart in charts(probe, MOST_LAYERS)[:2]),
    ]


def _title(name: str, told: str, ok: bool | None) -> Markup:
    kind = None if ok is None else "yes" if ok else "no"
    return tag("p", tag("strong", name), " ", tag("span", told, class_=kind), class_="title")


def _more(number: int) -> Markup | None:
    return tag("p", f"and {number - MOST_ROWS:,} more") if number > MOST_ROWS else None


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."
