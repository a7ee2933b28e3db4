"""What changed from one policy to another, as they are written."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, NamedTuple

from initpolicy.lockfile.differences import Setting
from initpolicy.policy.model import Policy, Rule
from initpolicy.problems import Location


@dataclass(frozen=True)
class KeyChange:
    """One key of a rule, such as `init.weight`, with what it says; None where it is not there."""

    rule: str
    key: str
    before: str | None
    after: str | None
    at_before: Location | None
    at_after: Location | None

    def to_json(self) -> dict[str, Any]:
        """The change as plain data."""
        return {
            "rule": self.rule,
            "key": self.key,
            "before": self.before,
            "after": self.after,
            "at_before": self.at_before and str(self.at_before),
            "at_after": self.at_after and str(self.at_after),
        }


@dataclass(frozen=True)
class PolicyDifferences:
    """All that changed from one policy to another; nothing if `same` is true.

    Rules are the same rule if their selectors are. Titles, sources and the policies' own names are
    no differences.
    """

    settings: tuple[Setting, ...]
    keys: tuple[KeyChange, ...]
    reordered: tuple[str, ...]
    """Rules of both policies that do not stand in the same order: the last that matches wins."""

    @property
    def same(self) -> bool:
        """Whether nothing changed."""
        return not self.settings and not self.keys and not self.reordered

    def to_json(self) -> dict[str, Any]:
        """The differences as plain data."""
        return {
            "same": self.same,
            "settings": [setting.to_json() for setting in self.settings],
            "rules": [change.to_json() for change in self.keys],
            "reordered": list(self.reordered),
        }


def policy_differences(before: Policy, after: Policy) -> PolicyDifferences:
    r"""Compare two policies, each with those that it extends.

    >>> from initpolicy.policy import parse
    >>> old = parse('format = 1\n[[rule]]\ntype = "Linear"\ninit.weight = 0')
    >>> new = parse('format = 1\n[[rule]]\ntype = "Linear"\ninit.weight = 1')
    >>> [(change.before, change.after) for change in policy_differences(old, new).keys]
    [('constant(val=0)', 'constant(val=1)')]
    """
    old, new = _rules(before), _rules(after)
    keys: list[KeyChange] = []
    for identity in dict.fromkeys([*new, *old]):
        one, other = old.get(identity), new.get(identity)
        keys += _changes(one, other)
    return PolicyDifferences(_settings(before, after), tuple(keys), _reordered(old, new))


def _rules(policy: Policy) -> dict[Hashable, Rule]:
    """The rules by their selectors; of equal ones the first, the second and so on."""
    seen: Counter[Hashable] = Counter()
    found: dict[Hashable, Rule] = {}
    for rule in policy.rules:
        selectors = tuple(
            selector and selector.texts for selector in (rule.type, rule.name, rule.within)
        )
        identity = (*selectors, rule.where and rule.where.text)
        found[identity, seen[identity]] = rule
        seen[identity] += 1
    return found


class _Said(NamedTuple):
    """What a key says: as a person reads it, in full, and where."""

    short: str
    full: str
    location: Location


def _said(rule: Rule | None) -> dict[str, _Said]:
    if rule is None:
        return {}
    said = {
        entry.key: _Said(str(entry.value), _full(entry.value.to_value()), entry.location)
        for entry in rule.entries
    }
    if rule.optional:
        said["optional"] = _Said("true", "true", rule.location)
    if rule.note is not None:
        said["note"] = _Said(rule.note, rule.note, rule.location)
    return said


def _full(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _changes(before: Rule | None, after: Rule | None) -> list[KeyChange]:
    rule = after or before
    assert rule is not None
    old, new = _said(before), _said(after)
    changes: list[KeyChange] = []
    for key in dict.fromkeys([*new, *old]):
        one, other = old.get(key), new.get(key)
        if one and other and one.full == other.full:
            continue
        # Numbers are shown with few digits, unless that hides what changed.
        alike = one is not None and other is not None and one.short == other.short
        changes.append(
            KeyChange(
                str(rule),
                key,
                one and (one.full if alike else one.short),
                other and (other.full if alike else other.short),
                one and one.location,
                other and other.location,
            )
        )
    return changes


def _reordered(old: dict[Hashable, Rule], new: dict[Hashable, Rule]) -> tuple[str, ...]:
    before = [identity for identity in old if identity in new]
    after = [identity for identity in new if identity in old]
    return tuple(
        str(new[there]) for here, there in zip(before, after, strict=True) if here != there
    )


def _settings(before: Policy, after: Policy) -> tuple[Setting, ...]:
    old, new = _values(before), _values(after)
    return tuple(
        Setting(name, old.get(name), new.get(name))
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name)
    )


def _values(policy: Policy) -> dict[str, str]:
    written = policy.to_dict()
    values = {"seed": str(policy.seed), "uncovered": policy.uncovered}
    values |= {f"var {name}": _full(value) for name, value in written["vars"].items()}
    steps = enumerate(written.get("calibrate", ()), 1)
    return values | {f"step {number}": _full(step) for number, step in steps}
