"""Coverage as the tree of modules: what each tensor begins as, and what is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from initpolicy.plans import Decision
from initpolicy.report.page.content import Report
from initpolicy.report.page.markup import Markup, code, details, join, table, tag
from initpolicy.report.page.tree import Branch, Tensors, tree
from initpolicy.report.summary import count, ranged

_LINES = 60
"""Lines of the tree that are seen before anything is opened; of the root all are."""


def section(report: Report) -> Markup:
    """The tree, and what is left as it is."""
    root = tree(report.plan, report.classes)
    opened = _opened(root)
    parts = [
        tag("p", _told(report)),
        _left(report),
        tag("div", _branch(root, report, opened), class_="tree"),
    ]
    return join(parts)


def _told(report: Report) -> str:
    return (
        "Every module that has tensors. A run of like modules is one line, and numbers that differ "
        "between them are ranges."
        if report.plan.decisions
        else "The model has no tensors."
    )


def _left(report: Report) -> Markup | None:
    if not report.plan.decisions:
        return None
    if not report.leftovers:
        return tag("p", "Every tensor gets its values from the policy.", class_="yes")
    rows = [
        [
            join([code(name) for name in one.names], ", "),
            code(one.module_type),
            f"{len(one.decisions):,}",
            _badge(report.state(one.decisions[0]), _reason(one.rule)),
        ]
        for one in report.leftovers
    ]
    heads = ["tensors", "of", "number", "why"]
    return table("Tensors that are left as they are", heads, rows, numbers=(2,))


def _reason(rule: str | None) -> str:
    return f"kept by the rule {rule}" if rule else "no rule covers them"


def _opened(root: Branch) -> set[int]:
    """The branches that are open at first, by `id`: from the root on, while there is room."""
    found: set[int] = set()
    waiting, lines = [root], 0
    for branch in waiting:
        lines += len(branch.tensors) + sum(
            1 + (0 if below.branches else len(below.tensors)) for below in branch.branches
        )
        if found and lines > _LINES:
            break
        found.add(id(branch))
        waiting += branch.branches
    return found


def _branch(branch: Branch, report: Report, opened: set[int]) -> Markup:
    inside = list(branch)
    states = Counter(map(report.state, inside))
    values = sum(decision.numel for decision in inside)
    head = [
        tag("span", branch.title or report.model, class_="name"),
        " ",
        tag("span", branch.type, class_="type") if branch.type else None,
        " ",
        tag("span", f"\N{MULTIPLICATION SIGN} {len(branch.names)}", class_="times")
        if len(branch.names) > 1
        else None,
        " ",
        *_badges(states),
        tag("span", f"{count(len(inside), 'tensor')}, {count(values, 'value')}", class_="count"),
    ]
    tensors = [_tensors(one, report) for one in branch.tensors]
    own = tag("ul", *tensors, class_="tensors") if tensors else None
    if not branch.branches:
        return tag("div", tag("div", *head, class_="head"), own, class_="leaf")
    below = [_branch(one, report, opened) for one in branch.branches]
    return details(join(head), own, *below, open=id(branch) in opened or states["uncovered"] > 0)


_WORDS: dict[str, str] = {
    "through": "set through what is computed from it",
    "kept": "kept",
    "left": "left, no rule",
    "uncovered": "uncovered",
}


def _badges(states: Counter[str]) -> Iterable[Markup]:
    for state in ("kept", "left", "uncovered"):
        if states[state]:
            yield join([_badge(state, f"{states[state]:,} {_WORDS[state]}"), " "])


def _badge(state: str, text: str) -> Markup:
    kind = "uncovered" if state == "uncovered" else "kept"
    return tag("span", text, class_=kind)


def _tensors(one: Tensors, report: Report) -> Markup:
    first = one.decisions[0]
    shape = ranged(shown_shape(decision) for decision in one.decisions)
    state = report.state(first)
    if state == "given":
        anchor = report.anchor(first)
        rule = tag("a", f"rule {anchor.removeprefix('rule-')}", href=f"#{anchor}")
        begins = tag("span", ranged(d.begins_as for d in one.decisions), class_="law")
    else:
        rule = None
        begins = _badge(state, _WORDS[state])
    return tag(
        "li",
        code(one.name),
        " ",
        tag("span", f"{shape} {first.dtype}", class_="shape"),
        " ",
        begins,
        " ",
        rule,
    )


def shown_shape(decision: Decision) -> str:
    """The sizes of a tensor; of one without dimensions the word for it."""
    return " \N{MULTIPLICATION SIGN} ".join(map(str, decision.shape)) or "scalar"
