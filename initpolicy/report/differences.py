"""What changed, for people: each change once, with all the tensors that it happened to."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from initpolicy.lockfile.document import Entry, natural
from initpolicy.report.summary import count, ranged, skeleton
from initpolicy.report.text import one_line

if TYPE_CHECKING:
    from rich.console import Console

    from initpolicy.lockfile.differences import Change, Differences, Places, Setting
    from initpolicy.lockfile.policies import PolicyDifferences
    from initpolicy.lockfile.values import ValueDifference, ValueDifferences

MOST_NAMES = 4
"""Patterns of names that are told, of tensors with the same change."""

_NOTHING = "nothing"
_ORDER = ("changed", "renamed", "added", "removed")


def patterns(names: Iterable[str]) -> list[str]:
    """Names as globs: segments that are numbers become `*` where several names differ in them.

    >>> patterns(["h.0.w", "h.1.w", "h.10.w", "wte", "wpe.0"])
    ['h.*.w', 'wpe.0', 'wte']
    """
    alike: dict[tuple[str, ...], list[str]] = {}
    for name in sorted(names, key=natural):
        alike.setdefault(tuple(_NUMBER.sub("*", name).split(".")), []).append(name)
    return sorted(map(_pattern, alike.values()), key=natural)


_NUMBER = re.compile(r"[0-9]+")


def _pattern(names: list[str]) -> str:
    columns = zip(*(name.split(".") for name in names), strict=True)
    return ".".join(
        column[0] if len(set(column)) == 1 else _NUMBER.sub("*", column[0]) for column in columns
    )


def differences(found: Differences, to: Console, *, every: bool = False) -> None:
    """What changed from one lock to another; with `every` each tensor under its own name."""
    if found.same:
        to.print("Nothing changed.")
        return
    _print_settings(found.settings, to)
    for what in _ORDER:
        changes = [change for change in found.changes if change.what == what]
        for group in _groups(changes):
            names = _names_of(group, every)
            _print_entry(f"{what} {count(len(group), 'tensor')}", names, _rows(group, found), to)


def locked(
    file: str,
    tensors: int,
    found: Differences | None,
    to: Console,
    *,
    written: bool,
    every: bool = False,
) -> None:
    """A lock that was written or checked, and what changed since it was written before."""
    if found is not None and not found.same:
        differences(found, to, every=every)
        to.print()
    if written:
        told = f"Wrote {one_line(file)}: {count(tensors, 'tensor')}."
    elif found is None or found.same:
        told = f"{one_line(file)} is up to date: {count(tensors, 'tensor')}."
    else:
        told = f"{one_line(file)} is outdated; `initpolicy lock` writes it anew."
    to.print(Text(told), soft_wrap=True)


def _print_settings(settings: Iterable[Setting], to: Console) -> None:
    for setting in settings:
        told = f"  {arrow(setting.before, setting.after)}"
        to.print(Text.assemble((one_line(setting.name), "bold"), told), soft_wrap=True)


def arrow(before: str | None, after: str | None) -> str:
    """What something was and is.

    >>> arrow("0", None)
    '0 -> nothing'
    """
    return one_line(f"{before or _NOTHING} -> {after or _NOTHING}")


def _print_entry(
    title: str, names: Sequence[str], rows: Iterable[tuple[str, str]], to: Console
) -> None:
    """A heading with names, and below it what is said of them."""
    shown = one_line(", ".join(names))
    to.print(Text.assemble((title, "bold"), f": {shown}"), soft_wrap=True)
    for label, told in rows:
        to.print(Text.assemble((f"  {label}  ", "dim"), one_line(told)), soft_wrap=True)


def _listed(names: Iterable[str], every: bool) -> list[str]:
    if every:
        return list(names)
    shown = patterns(names)
    more = len(shown) - MOST_NAMES
    return [*shown[:MOST_NAMES], f"and {more} more like these"] if more > 0 else shown


def _names_of(group: Sequence[Change], every: bool) -> list[str]:
    if group[0].what != "renamed":
        return _listed((change.name for change in group), every)
    pairs: dict[str, None] = {}
    for change in group:
        assert change.before is not None
        old, new = change.before.name, change.name
        if not every:
            old, new = (_NUMBER.sub("*", name) if len(group) > 1 else name for name in (old, new))
        pairs[f"{old} -> {new}"] = None
    shown = list(pairs)
    more = len(shown) - MOST_NAMES
    return [*shown[:MOST_NAMES], f"and {more} more"] if more > 0 and not every else shown


def _groups(changes: Iterable[Change]) -> list[list[Change]]:
    """Changes of the same fields, by the same rules, from laws alike to laws alike."""
    groups: dict[Hashable, list[Change]] = {}
    for change in changes:
        sides = [_likeness(entry, change.fields) for entry in (change.before, change.after)]
        groups.setdefault((change.fields, *sides), []).append(change)
    return list(groups.values())


def _likeness(entry: Entry | None, fields: tuple[str, ...]) -> Hashable:
    if entry is None:
        return None
    law = skeleton(_law(entry)) if "law" in fields or not fields else ""
    return law, entry.rule, *(_TOLD[field][1](entry) for field in fields if field in _TOLD)


_TOLD: dict[str, tuple[str, Callable[[Entry], str]]] = {
    "shape": ("shape", lambda entry: str(list(entry.shape))),
    "dtype": ("type", lambda entry: entry.dtype),
    "kind": ("kind", lambda entry: entry.kind),
    "persistent": ("saved", lambda entry: "yes" if entry.persistent else "no"),
    "gain": ("gain", lambda entry: entry.gain or _NOTHING),
    "stream": ("drawn as", lambda entry: entry.stream or "itself"),
    "aliases": ("is also", lambda entry: ", ".join(entry.aliases) or _NOTHING),
    "steps": ("then", lambda entry: ", ".join(entry.steps) or _NOTHING),
}


def _rows(group: Sequence[Change], found: Differences) -> Iterator[tuple[str, str]]:
    fields, change = group[0].fields, group[0]
    before = [one.before for one in group if one.before is not None]
    after = [one.after for one in group if one.after is not None]
    if change.what != "changed":
        yield "law", _laws(before or after)
    elif "law" in fields:
        yield "law", _moved(before, after)
    for field, (label, told) in _TOLD.items():
        if field in fields and change.before and change.after:
            yield label, f"{told(change.before)} -> {told(change.after)}"
    if fields == ("digest",):
        yield "values", "others, under the same law"
    yield "rule", _rules(change, found)


def told(change: Change, found: Differences) -> str:
    """What one change is, in a line."""
    return "; ".join(f"{label} {what}" for label, what in _rows([change], found))


def _law(entry: Entry) -> str:
    return entry.begins if entry.law is None else str(entry.law)


def _laws(entries: Iterable[Entry]) -> str:
    return ranged(map(_law, entries))


def _moved(before: Sequence[Entry], after: Sequence[Entry]) -> str:
    old, new = _laws(before), _laws(after)
    if old == new:  # numbers of few digits hide what changed
        old, new = (ranged(entry.begins for entry in side) for side in (before, after))
    return f"{old} -> {new}"


def _rules(change: Change, found: Differences) -> str:
    old = _rule(change.before, found.rules_before)
    new = _rule(change.after, found.rules_after)
    if change.before is None or change.after is None:
        return new if change.before is None else old
    return new if old == new else f"{old} -> {new}"


def _rule(entry: Entry | None, places: Places) -> str:
    if entry is None or entry.rule is None:
        return "none"
    return " ".join([entry.rule, ", ".join(map(str, places.get(entry.rule, ())))]).rstrip()


def policy_differences(found: PolicyDifferences, to: Console) -> None:
    """What changed from one policy to another, as they are written."""
    if found.same:
        to.print("Nothing changed.")
        return
    _print_settings(found.settings, to)
    rule = None
    for change in found.keys:
        if change.rule != rule:
            to.print(Text(one_line(f"rule {change.rule}"), "bold"), soft_wrap=True)
            rule = change.rule
        line = Text.assemble(f"  {one_line(change.key)}  ", arrow(change.before, change.after))
        places = [at for at in (change.at_before, change.at_after) if at is not None]
        line.append(f"  {one_line(' -> '.join(map(str, places)))}", "dim")
        to.print(line, soft_wrap=True)
    if found.reordered:
        told = f"in another order, and the last that matches wins: {', '.join(found.reordered)}"
        to.print(Text(one_line(told)), soft_wrap=True)


def value_differences(found: ValueDifferences, to: Console, *, every: bool = False) -> None:
    """Which values of a model are not those of its lock."""
    groups: dict[Hashable, list[ValueDifference]] = {}
    for one in found.differences:
        groups.setdefault((one.what, one.told, one.rule, skeleton(one.law)), []).append(one)
    for group in groups.values():
        first = group[0]
        laws = ranged(one.law for one in group)
        names = _listed((one.name for one in group), every)
        rows = (("told", first.told), ("law", laws), ("rule", first.rule))
        shown = [row for row in rows if row[1]]
        _print_entry(f"{count(len(group), 'tensor')} {_VALUES[first.what]}", names, shown, to)
    held = f"{count(found.compared, 'tensor')} compared"
    if found.unjudged:
        held += f", {found.unjudged:,} not, whose values the lock does not decide"
    to.print(
        f"{held}: {'nothing differs' if found.same else f'{len(found.differences):,} differ'}."
    )


_VALUES = {
    "missing": "missing",
    "unknown": "that the lock lacks",
    "shape": "of another shape",
    "dtype": "of another type",
    "values": "with other values",
}
