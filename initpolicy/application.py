"""Carry out a plan: write values into a model's tensors, after everything has been checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch

from initpolicy import field
from initpolicy.laws import Law
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
    counting = _Counting(progress)
    try:
        with torch.no_grad():
            if draws == "torch":
                for law, slot, _ in slots:
                    law.write_torch(slot.tensor)
                    counting(slot.tensor.nbytes)
            else:
                _draw(plan.seed, slots, threads, counting)
    except KeyboardInterrupt:
        total = sum(slot.tensor.nbytes for _, slot, _ in slots)
        raise KeyboardInterrupt(
            f"stopped after {counting.written:,} of {total:,} bytes: some tensors have their new "
            "values, others their old ones; apply the policy again to fill them all"
        ) from None


class _Counting:
    """Counts the bytes that are written, and hands them on."""

    def __init__(self, progress: Progress | None) -> None:
        self.progress = progress
        self.written = 0

    def __call__(self, count: int) -> None:
        self.written += count
        if self.progress is not None:
            self.progress(count)


_Job = tuple[Law, Slot, str]  # what a tensor begins with, and the name of its stream

_NO_STREAM = field.Stream((0, 0), (0, 0))


def _draw(seed: int, slots: list[_Job], threads: int | None, counting: _Counting) -> None:
    fills: list[field.Fill] = []
    rest: list[tuple[Law, Slot, field.Stream, bool]] = []
    for law, slot, name in slots:
        stream = field.stream(seed, name) if law.is_drawn else _NO_STREAM
        own = law.fills(slot.tensor, stream)
        fills += own
        rest.append((law, slot, stream, bool(own)))
    field.fill(fills, threads=threads, progress=counting)
    for law, slot, stream, filled in rest:
        law.write(slot.tensor, stream)
        if not filled:
            counting(slot.tensor.nbytes)


def _fitting(plan: Plan, inventory: Inventory) -> list[_Job]:
    """The tensors to fill, each with its law; raises unless the plan fits the whole model."""
    problems = list(_misfits(plan, inventory))
    if problems:
        raise InitPolicyError(problems)
    slots = {slot.name: slot for slot in inventory.slots}
    jobs = [
        (decision.law, slots[decision.name], decision.stream_name)
        for decision in plan
        if decision.law is not None
    ]
    on_meta = [slot.name for _, slot, _ in jobs if slot.tensor.is_meta]
    if on_meta:
        raise InitPolicyError(
            Problem(
                "IP303",
                f"{len(on_meta)} tensors are on the meta device and have no memory to write to: "
                f"{listed(on_meta)}",
                'give them some first, with `model.to_empty(device="cpu")`',
            )
        )
    return jobs


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
    return (
        not slot.lazy
        and decision.shape == slot.shape
        and decision.dtype == slot.facts.dtype
        and decision.kind == slot.kind
        and len(decision.aliases) + 1 == len(slot.sites)
        and all(a == b.name for a, b in zip(decision.aliases, slot.aliases, strict=True))
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
