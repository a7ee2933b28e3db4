"""Which rules speak of which tensors, and which of them speaks last."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

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
class Selected:
    """A module that the `type` and `name` of a rule select."""

    name: str
    module: nn.Module
    captures: Mapping[str, int]


@dataclass(frozen=True)
class Matching:
    """The outcome: for each site the matches in order of precedence, the winner last."""

    by_site: dict[str, Matches] = field(default_factory=dict[str, Matches])
    """Tensors that are spoken of alike share one tuple."""
    selected: list[list[Selected]] = field(default_factory=list[list[Selected]])
    """For each rule, the modules that it selects by type and name."""

    def of(self, slot: Slot) -> Matches:
        """The matches that decide on a tensor: those of its canonical name."""
        return self.by_site[slot.sites[0].name]

    def distinct(self) -> list[Matches]:
        """Every tuple of matches once."""
        return list({id(matches): matches for matches in self.by_site.values()}.values())


Condition = Callable[[Slot, Site, Rule, Mapping[str, int]], bool]


def match(policy: Policy, inventory: Inventory, holds: Condition) -> Matching:
    """Match every rule with every tensor; `holds` evaluates a rule's `where` for a tensor."""
    matching = Matching()
    # By name and module: in a part of a model, two modules may be given one name.
    rules_of: dict[tuple[str, int], list[tuple[int, Rule, Mapping[str, int]]]] = {}
    modules = list(inventory.named_modules())
    type_of = {id(module): class_of(module) for _, module in modules}
    types = set(type_of.values())
    types_at: dict[str, list[type]] = {}
    for name, module in modules:
        types_at.setdefault(name, []).append(type_of[id(module)])
    for index, rule in enumerate(policy.rules):
        selected: list[Selected] = []
        fitting = types if rule.type is None else {one for one in types if rule.type.match(one)}
        for name, module in modules if fitting else ():
            if type_of[id(module)] not in fitting:
                continue
            captures = {} if rule.name is None else rule.name.match(name)
            if captures is None or not enclosed(rule, name, types_at):
                continue
            selected.append(Selected(name, module, captures))
            rules_of.setdefault((name, id(module)), []).append((index, rule, captures))
        matching.selected.append(selected)
    entries_of = _Entries()
    # What is said of a name in a module depends on nothing else, but for captures and conditions.
    alike = {
        where: tuple(index for index, *_ in speaking)
        for where, speaking in rules_of.items()
        if not any(captures or rule.where is not None for _, rule, captures in speaking)
    }
    shared: dict[tuple[tuple[int, ...], str, str, str], Matches] = {}

    def matches(slot: Slot, site: Site) -> Matches:
        found: list[Match] = []
        for index, rule, captures in rules_of.get((site.module_name, id(site.module)), ()):
            for entry, own in entries_of(rule, site):
                both = {**captures, **own} if own else captures
                if rule.where is None or holds(slot, site, rule, both):
                    found.append(Match(index, rule, entry, both))
        return tuple(found)

    for slot in inventory.slots:
        for site in slot.sites:
            indices = alike.get((site.module_name, id(site.module)))
            if indices is None:
                matching.by_site[site.name] = matches(slot, site)
                continue
            key = (indices, site.kind, site.local_name, site.computed_local_name)
            if key not in shared:
                shared[key] = matches(slot, site)
            matching.by_site[site.name] = shared[key]
    return matching


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
