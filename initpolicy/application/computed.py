"""Setting tensors that a module computes from others."""

from __future__ import annotations

import math

import torch

from initpolicy import field
from initpolicy.application.fitting import Job
from initpolicy.laws import Law, keeps_some
from initpolicy.model import Inventory, Slot, class_of, is_sharded
from initpolicy.problems import InitPolicyError, Problem

_ROUNDING = 256  # units of precision by which, in norm, a computed tensor may come out otherwise


def drawn(seed: int, law: Law, slot: Slot, name: str) -> torch.Tensor:
    """Draw the values of a computed tensor, which has no memory of its own."""
    values = present(slot, law)
    stream = field.stream(seed, name)
    field.fill(law.fills(values, stream))
    law.write(values, stream)
    return values


def present(slot: Slot, law: Law) -> torch.Tensor:
    """Memory for the values of a computed tensor; a law that keeps a part of them finds them."""
    if keeps_some(law):
        return slot.values().detach().clone()
    return torch.empty(slot.shape, dtype=slot.dtype, device=slot.tensors[0].device)


def seed_of(seed: int, name: str) -> int:
    """The seed for what a parametrization completes at random."""
    return field.stream(seed, name, "parametrization").key[0]


def check_computed(seed: int, jobs: list[Job]) -> None:
    """Raise, before anything is written, if a module would compute other values than it is given.

    Tried on copies, one after the other, with the values that are drawn again afterwards.
    """
    problems: list[Problem] = []
    for law, slot, name in jobs:
        assert slot.computed is not None
        if any(map(is_sharded, slot.tensors)):
            problems.append(_sharded(slot))
            continue
        with torch.no_grad():
            values = drawn(seed, law, slot, name)
            try:
                found = slot.computed.attempt(values, seed_of(seed, name))
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


def refresh(seed: int, jobs: list[Job], inventory: Inventory) -> None:
    """Renew what is computed from originals that were written themselves."""
    if not inventory.computed:
        return
    written = {slot.sites[0].part_of for _, slot, _ in jobs}
    for slot in inventory.computed:
        if slot.computed is not None and slot.name in written:
            slot.computed.refresh(seed_of(seed, slot.name))


def _sharded(slot: Slot) -> Problem:
    assert slot.computed is not None
    return Problem(
        "IP305",
        f"{slot.name} cannot be set: it is computed by {slot.computed.how} from tensors of which "
        "each process holds a part",
        "initialize the model before it is sharded",
    )
