"""What changed from one lock to another, tensor by tensor."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from initpolicy.lockfile.document import Calibrated, Entry, Lock, natural
from initpolicy.lockfile.making import lock
from initpolicy.plans import Plan
from initpolicy.problems import Location

FIELDS = (
    "shape",
    "dtype",
    "kind",
    "persistent",
    "law",
    "gain",
    "rule",
    "stream",
    "aliases",
    "steps",
    "digest",
)
"""What of a tensor is compared, its name aside."""


@dataclass(frozen=True)
class Setting:
    """Something that holds for all tensors, and changed; None where it is not there."""

    name: str
    before: str | None
    after: str | None

    def to_json(self) -> dict[str, Any]:
        """The setting as plain data."""
        return {"name": self.name, "before": self.before, "after": self.after}


@dataclass(frozen=True)
class Change:
    """One tensor that is another, or is there only before or only after."""

    before: Entry | None
    after: Entry | None
    fields: tuple[str, ...] = ()
    """What changed, of `FIELDS`; nothing more than the name if it is empty."""

    @property
    def name(self) -> str:
        """The name after the change, or before it if the tensor is gone."""
        entry = self.after or self.before
        assert entry is not None
        return entry.name

    @property
    def what(self) -> str:
        """`added`, `removed`, `renamed` or `changed`."""
        if self.before is None or self.after is None:
            return "added" if self.before is None else "removed"
        return "changed" if self.before.name == self.after.name else "renamed"

    def to_json(self) -> dict[str, Any]:
        """The change as plain data."""
        return {
            "what": self.what,
            "name": self.name,
            "fields": list(self.fields),
            "before": self.before and self.before.to_json(),
            "after": self.after and self.after.to_json(),
        }


Places = Mapping[str, tuple[Location, ...]]


@dataclass(frozen=True)
class Differences:
    """All that changed from one lock to another; nothing if `same` is true.

    Names and titles of policies, and the lines of rules, are no differences: no value depends on
    them, and a comment in a policy moves the lines of every rule after it.
    """

    settings: tuple[Setting, ...]
    changes: tuple[Change, ...]
    rules_before: Places
    """Where the rules stood, for reports."""
    rules_after: Places

    @property
    def same(self) -> bool:
        """Whether nothing changed."""
        return not self.settings and not self.changes

    def to_json(self) -> dict[str, Any]:
        """The differences as plain data."""
        return {
            "same": self.same,
            "settings": [setting.to_json() for setting in self.settings],
            "changes": [
                change.to_json()
                | {
                    "rule_before": _told(change.before, self.rules_before),
                    "rule_after": _told(change.after, self.rules_after),
                }
                for change in self.changes
            ],
        }


def _told(entry: Entry | None, places: Places) -> dict[str, Any] | None:
    if entry is None or entry.rule is None:
        return None
    return {"rule": entry.rule, "at": [str(place) for place in places.get(entry.rule, ())]}


def differences(before: Lock, after: Lock) -> Differences:
    """Compare two locks. Digests are compared if both have them.

    Tensors that are gone, and new ones of the same shape, type and law, are taken to be renamed
    where their names end alike and there is but one way to pair them.
    """
    digests = before.digests == after.digests == "values"
    changes: list[Change] = []
    for name, entry in after.by_name.items():
        other = before.by_name.get(name)
        fields = () if other is None else changed(other, entry, digests)
        if fields:
            changes.append(Change(other, entry, fields))
    removed = {name: entry for name, entry in before.by_name.items() if name not in after.by_name}
    added = {name: entry for name, entry in after.by_name.items() if name not in before.by_name}
    for old, new in _renamed(removed, added):
        # Draws follow the name: other values under another name are what must be.
        changes.append(Change(old, new, changed(old, new, digests=False)))
        del removed[old.name], added[new.name]
    changes += [Change(entry, None) for entry in removed.values()]
    changes += [Change(None, entry) for entry in added.values()]
    changes.sort(key=lambda change: (natural(change.name), change.name))
    return Differences(_settings(before, after), tuple(changes), before.rules, after.rules)


def compare(before: Lock, plan: Plan, *, threads: int | None = None) -> Differences:
    """Compare a lock with a plan, whose values are drawn if the lock has digests."""
    return differences(before, lock(plan, digests=before.digests == "values", threads=threads))


def changed(before: Entry, after: Entry, digests: bool = True) -> tuple[str, ...]:
    """Say which fields of a tensor differ.

    >>> from initpolicy.laws import Constant
    >>> zero = Entry("b", (2,), "float32", "parameter", True, Constant(0.0))
    >>> changed(zero, Entry("b", (2,), "float32", "parameter", True, Constant(-0.0)))
    ('law',)
    """
    return tuple(
        field
        for field in FIELDS
        if _read(field, before) != _read(field, after) and (digests or field != "digest")
    )


def _read(field: str, entry: Entry) -> object:
    return entry.begins if field == "law" else getattr(entry, field)


def _settings(before: Lock, after: Lock) -> tuple[Setting, ...]:
    found = [
        Setting("seed", str(before.seed), str(after.seed)),
        Setting("draws", str(before.draws), str(after.draws)),
    ]
    digests = before.digests == after.digests == "values"
    calls = [[_step(step, digests) for step in lock.steps] for lock in (before, after)]
    for number, told in enumerate(zip_longest(*calls), 1):
        found.append(Setting(f"step {number}", *told))
    for name in sorted({*before.variables, *after.variables}):
        values = (lock.variables.get(name) for lock in (before, after))
        told = (None if value is None else repr(value) for value in values)
        found.append(Setting(f"var {name}", *told))
    return tuple(setting for setting in found if setting.before != setting.after)


def _step(step: Calibrated, digests: bool) -> str:
    data = f", data {step.data}" if digests and step.data else ""
    return f"{step.call} by {step.rule}{data}"


def _renamed(removed: Mapping[str, Entry], added: Mapping[str, Entry]) -> list[tuple[Entry, Entry]]:
    """Pair tensors that are gone with new ones that are alike, the longest common endings first."""
    old, new = dict(removed), dict(added)
    longest = max((name.count(".") + 1 for name in [*old, *new]), default=0)
    pairs: list[tuple[Entry, Entry]] = []
    for segments in range(longest, 0, -1):
        if not old or not new:
            break
        ending = _ending_of(segments)
        befores, afters = _grouped(old.values(), ending), _grouped(new.values(), ending)
        for key, group in befores.items():
            others = afters.get(key, [])
            if len(group) == len(others):
                pairs += zip(group, others, strict=True)
                for one, other in zip(group, others, strict=True):
                    del old[one.name], new[other.name]
    return pairs


def _ending_of(segments: int) -> Callable[[Entry], Hashable]:
    def ending(entry: Entry) -> Hashable:
        end = tuple(entry.name.split(".")[-segments:])
        return end, entry.shape, entry.dtype, entry.kind, entry.persistent, entry.begins

    return ending


def _grouped(
    entries: Iterable[Entry], key: Callable[[Entry], Hashable]
) -> dict[Hashable, list[Entry]]:
    groups: dict[Hashable, list[Entry]] = defaultdict(list)
    for entry in entries:
        groups[key(entry)].append(entry)
    return groups
