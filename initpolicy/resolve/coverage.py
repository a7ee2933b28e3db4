"""What a policy promised and the model does not have, and the other way round."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from torch import nn

from initpolicy.model import Inventory, Kind, Slot, class_of, declared
from initpolicy.policy.glob import NameSelector, TypeSelector
from initpolicy.policy.model import Entry, Keep, Policy, Rule
from initpolicy.problems import Location, Problem, listed, suggest
from initpolicy.resolve.matching import Matching, distinct, names_whole


def unmatched(policy: Policy, inventory: Inventory, matching: Matching) -> Iterator[Problem]:
    """Rules that select no module, and keys that name no tensor of the selected modules.

    A part of a model need not have what the whole has: there they are warnings.
    """
    for problem in _unmatched(policy, inventory, matching):
        yield replace(problem, severity="warning") if inventory.is_part else problem


def _unmatched(policy: Policy, inventory: Inventory, matching: Matching) -> Iterator[Problem]:
    spoken = {
        (match.index, match.entry.key)
        for matches in distinct(matching.by_site.values())
        for match in matches
    }
    for index, rule in enumerate(policy.rules):
        if rule.optional:
            continue
        selected = matching.selected[index]
        if not selected:
            yield _no_module(rule, inventory)
            continue
        if rule.where is not None:
            if not any((index, entry.key) in spoken for entry in rule.entries):
                yield Problem(
                    "IP202",
                    f"rule {rule}: its condition holds for no tensor of the modules it selects",
                    "mend the rule, or write `optional = true` in it",
                    rule.location,
                )
            continue
        for entry in rule.entries:
            if (index, entry.key) in spoken:
                continue
            # A parameter that is declared as None, such as the bias of Conv2d(bias=False), is
            # known to the module: a rule on it is no slip of the pen.
            known = _names(entry, selected, inventory)
            if not any(entry.glob.match(name) is not None for name in known):
                every = list(dict.fromkeys(_names(entry, selected, inventory)))
                yield _no_tensor(rule, entry, every, len(selected))


def _names(entry: Entry, modules: Iterable[nn.Module], inventory: Inventory) -> Iterator[str]:
    """The local names of what modules hold, of those that a key may speak of."""
    parts = {
        (id(site.module), site.local_name): site
        for slot in (inventory.slots if inventory.computed else ())
        for site in slot.sites
        if site.part_of
    }
    computed: dict[int, dict[str, Kind]] = {}
    for slot in inventory.computed:
        for site in slot.sites:
            computed.setdefault(id(site.module), {})[site.local_name] = site.kind
    for module in {id(module): module for module in modules}.values():
        for name, kind in (declared(module) | computed.get(id(module), {})).items():
            part = parts.get((id(module), name))
            if kind == entry.kind and not (part and names_whole(entry, part)):
                yield name


def _no_module(rule: Rule, inventory: Inventory) -> Problem:
    types = list(dict.fromkeys(class_of(entry.module).__name__ for entry in inventory.modules))
    owning = list(
        dict.fromkeys(class_of(slot.module).__name__ for slot in inventory.slots if slot.module)
    )
    names = [name for name, _ in inventory.named_modules()]
    if rule.type is not None and not _any_type(rule.type, inventory):
        shown = " or ".join(f"`{text}`" for text in rule.type.texts)
        near = [hit for text in rule.type.texts for hit in suggest(text.lstrip("=!"), types, n=1)]
        meant = f"did you mean `{near[0]}`? " if near else ""
        message = f"no module type matches {shown}; the model has {listed(owning)}"
    elif rule.name is not None and not _any_name(rule.name, names):
        shown = " or ".join(f"`{text}`" for text in rule.name.texts)
        near = [hit for text in rule.name.texts for hit in suggest(text, names, n=2)]
        meant = f"names near it are {listed(near)}; " if near else ""
        message = f"no module name matches {shown}"
    else:
        meant = ""
        message = f"rule {rule}: no module matches all of its selectors"
    return Problem(
        "IP202", message, f"{meant}mend the rule, or write `optional = true` in it", rule.location
    )


def _any_type(selector: TypeSelector, inventory: Inventory) -> bool:
    return any(selector.match(class_of(entry.module)) for entry in inventory.modules)


def _any_name(selector: NameSelector, names: Iterable[str]) -> bool:
    return any(selector.match(name) is not None for name in names)


def _no_tensor(rule: Rule, entry: Entry, known: list[str], selected: int) -> Problem:
    near = suggest(entry.glob.text, known, n=1)
    meant = f"did you mean `{near[0]}`? " if near else ""
    one = selected == 1
    modules = "selected module has" if one else f"{selected} selected modules have"
    have = listed(known) if known else f"no {entry.kind} of {'its' if one else 'their'} own"
    return Problem(
        "IP203",
        f"rule {rule}: no {entry.kind} matches `{entry.key}`",
        f"{meant}the {modules} {have}",
        entry.location,
    )


def overridden(policy: Policy, matching: Matching) -> Iterator[Problem]:
    """Rules of the policy itself of which nothing is left, because later ones say otherwise."""
    every = distinct(matching.by_site.values())
    matched = {match.index for matches in every for match in matches}
    winning = {matches[-1].index for matches in distinct(matching.deciding) if matches}
    for index in sorted(matched - winning):
        rule = policy.rules[index]
        # To be overridden is what the rules of an extended policy are for.
        if not rule.inherited:
            yield Problem(
                "IP204",
                f"rule {rule} decides nothing: of each tensor that it matches, a later rule or the "
                "rule on its first name says otherwise",
                "move it down, or take it out",
                rule.location,
                "warning",
            )


def left(inventory: Inventory, matching: Matching) -> Iterator[Slot]:
    """The parameters that no rule covers.

    A computed tensor is covered if all that it is computed from is, and the other way round.
    """
    decided = list(zip(inventory.slots, matching.deciding, strict=True))
    lacking = [slot for slot, matches in decided if not matches and slot.kind == "parameter"]
    if not lacking:
        return
    covered = {  # in part
        whole for slot, matches in decided if matches and (whole := slot.sites[0].part_of)
    }
    for slot in lacking:
        whole = slot.sites[0].part_of
        if slot.computed is not None and slot.name in covered:
            continue  # whatever part is not covered is named
        if whole and (matching.by_site[whole] or whole not in covered):
            continue  # the computed tensor is covered, or is named
        yield slot


def both(inventory: Inventory, matching: Matching) -> Iterator[Problem]:
    """Rules on a computed tensor, and on what it is computed from."""
    if not inventory.computed:
        return
    for slot, part in zip(inventory.slots, matching.deciding, strict=True):
        name = slot.sites[0].part_of
        whole = matching.by_site[name] if name and part else ()
        if not whole:
            continue
        if isinstance(part[-1].entry.value, Keep) or isinstance(whole[-1].entry.value, Keep):
            continue
        yield Problem(
            "IP214",
            f"{name} is computed from {slot.name}: rule {whole[-1].rule} sets the one, and rule "
            f"{part[-1].rule} the other",
            f'set {name} to "keep" in a later rule, or leave {slot.name} to the rule on it',
            part[-1].entry.location,
        )


def uncovered(policy: Policy, slots: Iterable[Slot]) -> Problem | None:
    """The parameters that no rule covers, in one problem; None if the policy lets them be."""
    left = list(slots)
    if not left or policy.uncovered == "keep":
        return None
    noun = "parameter is" if len(left) == 1 else "parameters are"
    shown = listed(f"{slot.name} ({class_of(slot.module).__name__})" for slot in left)
    return Problem(
        "IP201",
        f"{len(left)} {noun} covered by no rule: {shown}",
        'write a rule for them, with "keep" to leave them as they are, '
        'or `uncovered = "keep"` at the top of the policy',
        Location(policy.name),
        "error" if policy.uncovered == "error" else "warning",
    )
