"""Which tensors of a model a plan fills, after every objection has been heard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from initpolicy.laws import Law, LawError
from initpolicy.laws.from_file import files_of
from initpolicy.model import Inventory, Slot, uncollected
from initpolicy.plans import Decision, Plan
from initpolicy.problems import InitPolicyError, Problem, listed


class Job(NamedTuple):
    """One tensor to fill."""

    law: Law
    slot: Slot
    name: str
    """The name of its stream."""


@uncollected()
def fitting(plan: Plan, inventory: Inventory) -> list[Job]:
    """Give the tensors to fill, each with its law; raises unless the plan fits the whole model."""
    slots: Sequence[Slot] = inventory.slots
    if len(plan) != len(slots) or not all(map(_alike, plan.decisions, slots)):
        problems = _misfits(plan, inventory)
        if problems:
            raise InitPolicyError(problems)
        slots = [inventory.by_name[decision.name] for decision in plan]  # in another order
    jobs = [
        Job(decision.law, slot, decision.stream or decision.name)
        for decision, slot in zip(plan.decisions, slots, strict=True)
        if decision.law is not None
    ]
    _check_files(jobs)
    return jobs


def _check_files(jobs: list[Job]) -> None:
    """Raise unless every file still has what the plan takes from it."""
    problems: list[Problem] = []
    laws = {id(law): law for law, _, _ in jobs}  # many tensors share one
    reading = {key for key, law in laws.items() if any(True for _ in files_of(law))}
    for law, slot, _ in jobs if reading else ():
        if id(law) in reading:
            try:
                law.validate(slot.shape, slot.dtype)
            except LawError as error:
                problems.append(Problem("IP216", f"{slot.name}: {error.message}", error.hint))
    if problems:
        raise InitPolicyError(problems)


def _misfits(plan: Plan, inventory: Inventory) -> list[Problem]:
    slots = {slot.name: slot for slot in inventory.slots}
    planned = {decision.name: decision for decision in plan}
    hint = "plan it anew for this model"
    problems: list[Problem] = []
    missing = [name for name in planned if name not in slots]
    if missing:
        message = f"the plan has {len(missing)} tensors that the model lacks: {listed(missing)}"
        problems.append(Problem("IP301", message, hint))
    unknown = [name for name in slots if name not in planned]
    if unknown:
        message = f"the model has {len(unknown)} tensors that the plan lacks: {listed(unknown)}"
        problems.append(Problem("IP301", message, hint))
    for name, slot in slots.items():
        if name not in planned or _alike(planned[name], slot):
            continue
        problems += [
            Problem(
                "IP301",
                f"{name}: the plan has {what} {wanted}, the model {found}",
                hint,
            )
            for what, wanted, found in _differences(planned[name], slot)
            if wanted != found
        ]
    return problems


def _alike(decision: Decision, slot: Slot) -> bool:
    facts, sites = slot.measured, slot.sites
    site = sites[0]
    return (
        facts is not None
        and decision.name == site.name
        and decision.shape == facts.shape
        and decision.dtype == facts.dtype
        and decision.kind == site.kind
        and decision.aliases == (tuple([one.name for one in sites[1:]]) if len(sites) > 1 else ())
    )


def _differences(decision: Decision, slot: Slot) -> list[tuple[str, str, str]]:
    # A lazy tensor has no shape that the plan's could be compared with.
    shape, dtype = ("no shape", "no") if slot.lazy else (list(slot.shape), slot.facts.dtype)
    names = decision.name, *decision.aliases
    return [
        ("kind", decision.kind, slot.kind),
        ("dtype", decision.dtype, dtype),
        ("names", ", ".join(names), ", ".join(site.name for site in slot.sites)),
        ("shape", str(list(decision.shape)), str(shape)),
    ]
