"""Which rules speak of which tensors, and which of them speaks last."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import nn

from initpolicy.model import Inventory, Site, Slot, class_of
from initpolicy.policy.model import Entry, Policy, Rule, Selectors


@dataclass(frozen=True)
class Match:
    """One entry of a rule that speaks of one tensor."""

    index: int
    """Of the rule in the policy."""
    rule: Rule
    entry: Entry
    captures: Mapping[str, int]


Matches = tuple[Match, ...]


@dataclass(frozen=True)
class Matching:
    """The outcome: for each site the matches in order of precedence, the winner last."""

    by_site: dict[str, Matches] = field(default_factory=dict[str, Matches])
    """Tensors that are spoken of alike share one tuple."""
    deciding: list[Matches] = field(default_factory=list[Matches])
    """For each slot of the inventory, the matches of its canonical name, which decide on it."""
    selected: list[list[nn.Module]] = field(default_factory=list[list[nn.Module]])
    """For each rule, the modules that it selects by type and name, once for each of their names."""


def distinct(many: Collection[Matches]) -> Iterable[Matches]:
    """Every tuple of matches once."""
    return dict(zip(map(id, many), many, strict=True)).values()


Condition = Callable[[Slot, Site, Rule, Mapping[str, int]], bool]


def match(policy: Policy, inventory: Inventory, holds: Condition) -> Matching:
    """Match every rule with every tensor; `holds` evaluates a rule's `where` for a tensor."""
    matching = Matching(selected=[[] for _ in policy.rules])
    speaking_of = _speaking_of(policy, inventory, matching.selected)
    entries_of = _Entries()

    def matches(speaking: _Speaking, slot: Slot, site: Site) -> Matches:
        found: list[Match] = []
        for index, rule, captures in speaking.rules:
            for entry, own in entries_of(rule, site):
                both = {**captures, **own} if own else captures
                if rule.where is None or holds(slot, site, rule, both):
                    found.append(Match(index, rule, entry, both))
        return tuple(found)

    by_site = matching.by_site
    nobody = _Speaking((), {})
    for slot in inventory.slots:
        for site in slot.sites:
            speaking = speaking_of.get((site.module_name, id(site.module)), nobody)
            known = speaking.known
            if known is None:
                by_site[site.name] = matches(speaking, slot, site)
                continue
            key = (site.kind, site.local_name, site.part_of and site.computed_local_name)
            if key not in known:
                known[key] = matches(speaking, slot, site)
            by_site[site.name] = known[key]
        matching.deciding.append(by_site[slot.sites[0].name])
    return matching


_Selecting = tuple[int, Rule, Mapping[str, int]]
"""A rule that selects a module: its index in the policy, and what it captures of the name."""


class _Speaking(NamedTuple):
    """The rules that select a module."""

    rules: Sequence[_Selecting]
    known: dict[tuple[str, str, str], Matches] | None
    """What they say of a tensor, by what they ask of it; None if they ask for more than names."""


def _speaking_of(
    policy: Policy, inventory: Inventory, selected: list[list[nn.Module]]
) -> dict[tuple[str, int], _Speaking]:
    """Give the rules that select each module under each name, and note in `selected` which do."""
    # By name and module: in a part of a model, two modules may be given one name.
    modules = [(name, module, class_of(module)) for name, module in inventory.named_modules()]
    types_at: dict[str, list[type]] = {}
    if any(rule.within is not None for rule in policy.rules):
        for name, _, own in modules:
            types_at.setdefault(name, []).append(own)
    by_type: dict[type, _Speaking] = {}
    alike: dict[tuple[int, ...], _Speaking] = {}
    speaking_of: dict[tuple[str, int], _Speaking] = {}
    for name, module, own in modules:
        if own not in by_type:
            by_type[own] = _by_type(policy, own)
        speaking = by_type[own]
        if speaking.known is None:  # the rules ask for more than a type
            rules = list(_by_name(speaking.rules, name, types_at))
            indices = tuple([index for index, *_ in rules])
            if any(captures or rule.where is not None for _, rule, captures in rules):
                speaking = _Speaking(rules, None)
            elif indices in alike:
                speaking = alike[indices]
            else:
                speaking = alike[indices] = _Speaking(rules, {})
        for index, *_ in speaking.rules:
            selected[index].append(module)
        speaking_of[name, id(module)] = speaking
    return speaking_of


def _by_type(policy: Policy, own: type) -> _Speaking:
    rules = [
        (index, rule, _NOTHING)
        for index, rule in enumerate(policy.rules)
        if rule.type is None or rule.type.match(own)
    ]
    ask = any(rule.name or rule.within or rule.where is not None for _, rule, _ in rules)
    return _Speaking(rules, None if ask else {})


def _by_name(
    rules: Iterable[_Selecting], name: str, types_at: Mapping[str, Sequence[type]]
) -> Iterator[_Selecting]:
    for index, rule, _ in rules:
        captures = _NOTHING if rule.name is None else rule.name.match(name)
        if captures is not None and enclosed(rule, name, types_at):
            yield index, rule, captures


_NOTHING: Mapping[str, int] = {}


def enclosed(rule: Selectors, name: str, types_at: Mapping[str, Sequence[type]]) -> bool:
    """Whether a module lies within one of the types that the rule asks for."""
    if rule.within is None:
        return True
    while name:
        name = name.rpartition(".")[0]
        if any(map(rule.within.match, types_at.get(name, ()))):
            return True
    return False


def names_whole(entry: Entry, site: Site) -> bool:
    """Whether a key that names a part of a computed tensor names that tensor as well.

    Then it speaks of the tensor, and not of its parts.
    """
    return bool(site.part_of) and entry.glob.match(site.computed_local_name) is not None


class _Entries:
    """The entries of a rule that name a tensor; few names make up most of a model's tensors."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, str, str, str], list[tuple[Entry, dict[str, int]]]] = {}

    def __call__(self, rule: Rule, site: Site) -> list[tuple[Entry, dict[str, int]]]:
        key = (id(rule), site.kind, site.local_name, site.computed_local_name)
        if key not in self._known:
            self._known[key] = [
                (entry, captures)
                for entry in rule.entries
                if entry.kind == site.kind
                and (captures := entry.glob.match(site.local_name)) is not None
                and not names_whole(entry, site)
            ]
        return self._known[key]
