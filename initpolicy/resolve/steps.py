"""The steps that need data: which layers each of them changes, and which tensors of theirs."""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter

from torch import nn

from initpolicy import calibration
from initpolicy.model import Inventory, class_of
from initpolicy.plans import Step
from initpolicy.policy.model import Calibrate, Policy
from initpolicy.problems import Problem, listed, suggest
from initpolicy.resolve.matching import enclosed


def steps(policy: Policy, inventory: Inventory) -> tuple[list[Step], list[Problem]]:
    """Find the layers of each step of a policy, and what is wrong with them."""
    found: list[Step] = []
    problems: list[Problem] = []
    if not policy.calibrate:
        return found, problems
    modules = list(inventory.named_modules())
    types_at: dict[str, list[type]] = {}
    for name, module in modules:
        types_at.setdefault(name, []).append(class_of(module))
    tensors = _Tensors(inventory)
    for step in policy.calibrate:
        selected = {
            id(module): (name, module)
            for name, module in reversed(modules)  # of a shared module its first name is kept
            if _selects(step, name, module) and enclosed(step, name, types_at)
        }
        layers: list[str] = []
        changed: list[str] = []
        for name, module in reversed(selected.values()):
            own = calibration.changes(step.fn, module)
            if own:
                layers.append(name)
                changed += (one for local in own for one in tensors.names(module, local))
        if not layers:
            if not step.optional:
                problems.append(_no_layer(step, list(selected.values()), inventory))
            continue
        found.append(
            Step(
                fn=step.fn,
                arguments=step.arguments,
                rule=str(step),
                location=step.location,
                layers=tuple(layers),
                tensors=tuple(dict.fromkeys(changed)),
            )
        )
    return found, problems


def _selects(step: Calibrate, name: str, module: nn.Module) -> bool:
    if step.type is not None and not step.type.match(class_of(module)):
        return False
    return step.name is None or step.name.match(name) is not None


def _no_layer(
    step: Calibrate, selected: list[tuple[str, nn.Module]], inventory: Inventory
) -> Problem:
    if selected:
        classes = dict.fromkeys(class_of(module).__name__ for _, module in selected)
        told = f"the selected modules are {listed(classes)}, and it changes none of them"
    else:
        told = "no module matches all of its selectors"
    return Problem(
        "IP221",
        f"step {step}: {step.fn} finds no layer: {told}",
        f"{_meant(step, inventory)}mend its selectors, or write `optional = true` in it",
        step.location,
        "warning" if inventory.is_part else "error",
    )


def _meant(step: Calibrate, inventory: Inventory) -> str:
    """The class that may have been meant, if there is none of that name."""
    classes = dict.fromkeys(class_of(entry.module) for entry in inventory.modules)
    if step.type is None or any(map(step.type.match, classes)):
        return ""
    names = [one.__name__ for one in classes]
    near = [hit for text in step.type.texts for hit in suggest(text, names, n=1)]
    return f"did you mean `{near[0]}`? " if near else ""


class _Tensors:
    """The canonical names of the tensors that modules call by names of their own."""

    def __init__(self, inventory: Inventory) -> None:
        self._by_site: dict[tuple[int, str], str] = {}
        self._by_id: dict[int, str] = {}
        self._sources: dict[str, list[str]] = {}  # of what is computed, what it is computed from
        self._results: dict[str, list[str]] = {}  # of that, what is computed from it
        by_name = inventory.by_name
        for slot in inventory.slots:
            for site in slot.sites:
                self._by_site[id(site.module), site.local_name] = slot.name
                if site.part_of:
                    result = by_name[site.part_of].name if site.part_of in by_name else site.part_of
                    self._sources.setdefault(result, []).append(slot.name)
                    self._results.setdefault(slot.name, []).append(result)
            for tensor in slot.tensors:
                self._by_id.setdefault(id(tensor), slot.name)

    def names(self, module: nn.Module, local_name: str) -> Iterator[str]:
        """The name of a tensor, of what it is computed from, and of all computed from these."""
        name = self._by_site.get((id(module), local_name))
        if name is None:
            name = self._by_id.get(id(attrgetter(local_name)(module)))
        if name is not None:
            written = [name, *self._sources.get(name, ())]
            yield from written
            for one in written:
                yield from self._results.get(one, ())
