"""Carry out a plan: write values into a model's tensors, after everything has been checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch

from initpolicy import field
from initpolicy.model import Inventory, Slot
from initpolicy.plans import Decision, Plan
from initpolicy.problems import InitPolicyError, Problem, listed

Draws = Literal["initpolicy", "torch"]
Progress = Callable[[int], None]


def carry_out(
    plan: Plan,
    inventory: Inventory,
    *,
    draws: Draws = "initpolicy",
    threads: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Give every tensor of a model the values that `plan` decided on.

    With `draws="torch"` the values come from torch's functions and its global generators, tensor
    by tensor in the order of the plan; otherwise no generator is touched. `threads` is how many
    may draw (by default as many as torch uses), and `progress` is told the bytes just written.
    Raises `InitPolicyError`, with no tensor changed, if the plan does not fit the model.
    """
    if draws not in ("initpolicy", "torch"):
        raise InitPolicyError(
            Problem("IP304", f"there are no draws {draws!r}", 'write "initpolicy" or "torch"')
        )
    slots = _fitting(plan, inventory)
    with torch.no_grad():
        if draws == "torch":
            for decision, slot in slots:
                assert decision.law is not None
                decision.law.write_torch(slot.tensor)
                if progress is not None:
                    progress(slot.tensor.nbytes)
        else:
            _draw(plan.seed, slots, threads, progress)


def _draw(
    seed: int,
    slots: list[tuple[Decision, Slot]],
    threads: int | None,
    progress: Progress | None,
) -> None:
    jobs: list[field.Fill] = []
    rest: list[tuple[Decision, Slot, field.Stream, bool]] = []
    for decision, slot in slots:
        assert decision.law is not None
        stream = field.stream(seed, decision.stream_name)
        fills = decision.law.fills(slot.tensor, stream)
        jobs += fills
        rest.append((decision, slot, stream, bool(fills)))
    field.fill(jobs, threads=threads, progress=progress)
    for decision, slot, stream, drawn in rest:
        assert decision.law is not None
        decision.law.write(slot.tensor, stream)
        if progress is not None and not drawn:
            progress(slot.tensor.nbytes)


def _fitting(plan: Plan, inventory: Inventory) -> list[tuple[Decision, Slot]]:
    """The tensors to fill, each with its decision; raises unless the plan fits the whole model."""
    problems = list(_misfits(plan, inventory))
    if problems:
        raise InitPolicyError(problems)
    slots = {slot.name: slot for slot in inventory.slots}
    pairs = [(decision, slots[decision.name]) for decision in plan.filled]
    on_meta = [slot.name for _, slot in pairs if slot.tensor.is_meta]
    if on_meta:
        raise InitPolicyError(
            Problem(
                "IP303",
                f"{len(on_meta)} tensors are on the meta device and have no memory to write to: "
                f"{listed(on_meta)}",
                'give them some first, with `model.to_empty(device="cpu")`',
            )
        )
    return pairs


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
        if name not in planned:
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
