"""Carry out a plan: write values into a model's tensors, after everything has been checked."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch

from initpolicy import field
from initpolicy.laws import Law, LawError, Stacked
from initpolicy.laws.from_file import files_of
from initpolicy.model import Inventory, Slot, class_of
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
    _check_files(slots)
    computed = [job for job in slots if job[1].computed is not None]
    _check_computed(plan.seed, computed)
    counting = _Counting(progress)
    try:
        with torch.no_grad():
            if draws == "torch":
                for law, slot, name in slots:
                    if slot.computed is None:
                        law.write_torch(slot.tensor)
                    else:
                        values = _present(slot, law)
                        law.write_torch(values)
                        slot.computed.assign(values, _seed_of(plan.seed, name))
                    counting(slot.tensor.nbytes)
            else:
                for law, slot, name in computed:
                    assert slot.computed is not None
                    values = _drawn(plan.seed, law, slot, name)
                    slot.computed.assign(values, _seed_of(plan.seed, name))
                    counting(slot.tensor.nbytes)
                plain = [job for job in slots if job[1].computed is None]
                _draw(plan.seed, plain, threads, counting)
            _refresh(plan.seed, slots, inventory)
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

_ROUNDING = 256  # units of precision by which, in norm, a computed tensor may come out otherwise

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


def _check_files(jobs: list[_Job]) -> None:
    """Raise unless every file still has what the plan takes from it."""
    problems: list[Problem] = []
    laws = {id(law): law for law, _, _ in jobs}  # many tensors share one
    reading = {key for key, law in laws.items() if any(True for _ in files_of(law))}
    for law, slot, _ in jobs:
        if id(law) in reading:
            try:
                law.validate(slot.shape, slot.dtype)
            except LawError as error:
                problems.append(Problem("IP216", f"{slot.name}: {error.message}", error.hint))
    if problems:
        raise InitPolicyError(problems)


def _drawn(seed: int, law: Law, slot: Slot, name: str) -> torch.Tensor:
    """Draw the values of a computed tensor, which has no memory of its own."""
    values = _present(slot, law)
    stream = field.stream(seed, name)
    field.fill(law.fills(values, stream))
    law.write(values, stream)
    return values


def _present(slot: Slot, law: Law) -> torch.Tensor:
    """Memory for the values of a computed tensor; a law that keeps a part of them finds them."""
    if isinstance(law, Stacked) and None in law.parts:
        return slot.values().detach().clone()
    return torch.empty(slot.shape, dtype=slot.dtype, device=slot.tensors[0].device)


def _seed_of(seed: int, name: str) -> int:
    """The seed for what a parametrization completes at random."""
    return field.stream(seed, name, "parametrization").key[0]


def _check_computed(seed: int, jobs: list[_Job]) -> None:
    """Raise, before anything is written, if a module would compute other values than it is given.

    Tried on copies, one after the other, with the values that are drawn again afterwards.
    """
    problems: list[Problem] = []
    for law, slot, name in jobs:
        assert slot.computed is not None
        with torch.no_grad():
            values = _drawn(seed, law, slot, name)
            try:
                found = slot.computed.attempt(values, _seed_of(seed, name))
                wrong = _difference(values, found)
            except Exception as error:  # whatever a user's right_inverse raises
                wrong = str(error) or type(error).__name__
        if wrong:
            owner, original = slot.computed.originals[0]
            problems.append(
                Problem(
                    "IP305",
                    f"{slot.name} cannot be {law}: it is computed by {slot.computed.how}; {wrong}",
                    "give it a law that it can follow, or write a rule on "
                    f"`{original}` of {class_of(owner).__name__}, from which it is computed",
                )
            )
    if problems:
        raise InitPolicyError(problems)


def _difference(wanted: torch.Tensor, found: torch.Tensor) -> str:
    """Say how far values are from those that were wanted; empty if that is rounding."""
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return f"set so, it is {found.dtype} of shape {tuple(found.shape)}"
    wide = torch.complex128 if wanted.is_complex() else torch.float64
    distance = math.sqrt(float((found.to(wide) - wanted.to(wide)).abs().square().sum()))
    size = math.sqrt(float(wanted.to(wide).abs().square().sum()))
    if distance <= min(_ROUNDING * torch.finfo(wanted.dtype).eps, 0.03) * size:
        return ""
    if not math.isfinite(distance):
        return "set so, it is NaN or infinite"
    return f"set so, it differs by {distance:.2g}, and its norm is {size:.2g}"


def _refresh(seed: int, jobs: list[_Job], inventory: Inventory) -> None:
    """Renew what is computed from originals that were written themselves."""
    written = {slot.sites[0].part_of for _, slot, _ in jobs}
    for slot in inventory.slots:
        if slot.computed is not None and slot.name in written:
            slot.computed.refresh(_seed_of(seed, slot.name))


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
    on_meta = [slot.name for _, slot, _ in jobs if any(t.is_meta for t in slot.tensors)]
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
    if len(plan) == len(inventory.slots) and all(map(_alike, plan, inventory.slots)):
        return []
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
    return (
        facts is not None
        and decision.name == sites[0].name
        and decision.shape == facts.shape
        and decision.dtype == facts.dtype
        and decision.kind == sites[0].kind
        and decision.aliases == tuple(site.name for site in sites[1:])
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
