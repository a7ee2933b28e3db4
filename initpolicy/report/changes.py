"""What changed, or is not as in a lock, as findings."""

from __future__ import annotations

from collections.abc import Iterator

from initpolicy.lockfile import Differences, Lock, PolicyDifferences, ValueDifferences
from initpolicy.report import differences
from initpolicy.report.findings import KINDS, Case, Found, relative


def of_differences(
    found: Differences | PolicyDifferences | ValueDifferences, lock: Lock | None = None
) -> list[Case]:
    """All that is another: each tensor, setting or rule a case.

    `lock` is the later one of two, or the one that values are compared with.
    """
    if isinstance(found, Differences):
        cases = [*_settings(found), *_changes(found)]
    elif isinstance(found, PolicyDifferences):
        cases = [*_settings(found), *_keys(found)]
    else:
        cases = list(_values(found, lock))
    named = {case.name for case in cases}
    same = [] if lock is None else [Case(entry.name) for entry in lock if entry.name not in named]
    return cases + same


def _settings(found: Differences | PolicyDifferences) -> Iterator[Case]:
    for setting in found.settings:
        told = f"{setting.name} {differences.arrow(setting.before, setting.after)}"
        yield Case(setting.name, (Found("error", "lock-setting", told),))


def _changes(found: Differences) -> Iterator[Case]:
    for change in found.changes:
        entry = change.after or change.before
        places = found.rules_after if change.after else found.rules_before
        at = places.get(entry.rule, ()) if entry and entry.rule else ()
        told = f"{change.what}: {differences.told(change, found)}"
        place = relative(next(iter(at), None))
        code = f"lock-{change.what}"
        yield Case(change.name, (Found("error", code, told, "", place, change.name),))


def _keys(found: PolicyDifferences) -> Iterator[Case]:
    for change in found.keys:
        told = f"{change.key} {differences.arrow(change.before, change.after)}"
        place = relative(change.at_after or change.at_before)
        name = f"rule {change.rule}"
        yield Case(name, (Found("error", "policy-key", f"{name}: {told}", "", place),))
    if found.reordered:
        told = f"in another order, and the last that matches wins: {', '.join(found.reordered)}"
        yield Case("order", (Found("error", "policy-order", told),))


def _values(found: ValueDifferences, lock: Lock | None) -> Iterator[Case]:
    for one in found.differences:
        law = f"it should follow {one.law}" if one.law else ""
        told = "; ".join(filter(None, (KINDS[f"values-{one.what}"], one.told, law)))
        rule = lock.by_name[one.name].rule if lock and one.name in lock.by_name else None
        at = lock.rules.get(rule, ()) if lock and rule else ()
        rule_told = f"rule {one.rule}" if one.rule else ""
        place = relative(next(iter(at), None))
        item = Found("error", f"values-{one.what}", told, rule_told, place, one.name)
        yield Case(one.name, (item,))
