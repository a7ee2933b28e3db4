"""Memory for the tensors of a model on the meta device."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.parameter import Parameter

from initpolicy.field.pieces import overlaps
from initpolicy.laws import keeps_some
from initpolicy.model import Inventory, Slot
from initpolicy.plans import Plan
from initpolicy.problems import InitPolicyError, Problem, listed

NewMemory = list[tuple[Slot, torch.Tensor]]
"""Tensors on the meta device, each with the memory that it will have."""


def check_memory(plan: Plan, inventory: Inventory, device: torch.device | None) -> None:
    """Raise unless every tensor has memory of its own, or is on the meta device and can get it."""
    _check_apart(plan, inventory)
    on_meta = [slot for slot in inventory.slots if slot.tensor.is_meta and _on_meta(slot)]
    if not on_meta:
        return
    if device is None:
        filled = [slot.name for slot in on_meta if plan[slot.name].gives_values]
        if filled:
            are, have = ("tensors are", "have") if len(filled) > 1 else ("tensor is", "has")
            raise InitPolicyError(
                Problem(
                    "IP303",
                    f"{len(filled)} {are} on the meta device and {have} no memory to write to: "
                    f"{listed(filled)}",
                    'give them some with `apply(model, policy, device="cpu")`',
                )
            )
        return
    # What a computed tensor is computed from is set with it.
    set_with = {slot.name for slot in on_meta if slot.computed and plan[slot.name].gives_values}
    renewed = {slot.sites[0].part_of for slot in on_meta if plan[slot.name].gives_values} - {""}
    vectors = _vectors(inventory, set_with | renewed)
    unfilled = [
        slot
        for slot in on_meta
        if _keeps_some(plan, slot)
        or (
            not plan[slot.name].gives_values
            and slot.computed is None
            and slot.sites[0].part_of not in set_with
            and slot.name not in vectors
        )
    ]
    problems: list[Problem] = []
    for kind, way in (
        ("parameter", "write a rule for them: `init.<name> = 0`"),
        (
            "buffer",
            'write a rule for them: `buffer.<name> = 0`, `{ fn = "formula", ... }`, or '
            '`{ recompute = "constructor" }`, if the module\'s own constructor can make them',
        ),
    ):
        names = [
            f"{'a part of ' if _keeps_some(plan, slot) else ''}{slot.name} "
            f"({type(slot.module).__name__})"
            for slot in unfilled
            if slot.kind == kind
        ]
        if names:
            noun = f"{kind}s are" if len(names) > 1 else f"{kind} is"
            problems.append(
                Problem(
                    "IP306",
                    f"{len(names)} {noun} on the meta device, and nothing gives values to "
                    f"{'them' if len(names) > 1 else 'it'}: {listed(names)}",
                    way if len(names) > 1 else way.replace("them", "it"),
                )
            )
    if problems:
        raise InitPolicyError(problems)


@torch.no_grad()
def new_memory(inventory: Inventory, device: torch.device | None) -> NewMemory:
    """Make memory on `device` for every tensor on the meta device; no tensor is changed yet."""
    if device is None:
        return []
    return [
        (slot, torch.empty_like(slot.tensor, device=device))
        for slot in inventory.slots
        if slot.computed is None and slot.tensor.is_meta
    ]


@torch.no_grad()
def give(made: NewMemory) -> None:
    """Give every tensor its memory, with whatever is in it.

    Each tensor stays the object that it is, so that ties and whatever refers to it survive.
    """
    for slot, memory in made:
        moved: dict[int, torch.Tensor] = {}
        for site in slot.sites:
            present = _present(site.module, site.local_name)
            if id(present) not in moved:
                moved[id(present)] = _moved(present, memory)
            _put(site.module, site.local_name, moved[id(present)])


def take_back(made: NewMemory, inventory: Inventory) -> None:
    """Put every tensor that was given memory back onto the meta device."""
    given = [inventory.by_name[slot.name] for slot, _ in made]
    give([(slot, torch.empty_like(slot.tensor, device="meta")) for slot in given])


def _check_apart(plan: Plan, inventory: Inventory) -> None:
    """Raise if elements that get values lie in the same memory, or in none, as of a sparse tensor.

    What a tensor on the meta device will get is dense.
    """
    names = [
        slot.name
        for slot in inventory.slots
        if slot.computed is None and _shares(slot.tensor) and plan[slot.name].gives_values
    ]
    if names:
        raise InitPolicyError(
            Problem(
                "IP303",
                f"{len(names)} tensor{'s have' if len(names) > 1 else ' has'} elements without "
                f"memory of their own: {listed(names)}",
                "make it dense, or `clone` it, before it becomes a parameter or a buffer",
            )
        )


def _keeps_some(plan: Plan, slot: Slot) -> bool:
    """Whether a part of the tensor gets values, and the rest would be what was in memory."""
    law = plan[slot.name].law
    return law is not None and keeps_some(law)


def _shares(tensor: torch.Tensor) -> bool:
    if tensor.layout is not torch.strided:
        return True
    return not tensor.is_contiguous() and not tensor.is_meta and overlaps(tensor)


def _vectors(inventory: Inventory, set_with: set[str]) -> set[str]:
    """Name the singular vectors of spectral norms, which are found anew for a new weight."""
    return {
        slot.name
        for slot in inventory.slots
        if type(slot.module).__name__ == "_SpectralNorm"
        and slot.local_name in ("_u", "_v")
        and any(slot.name.startswith(_parametrization(name)) for name in set_with)
    }


def _parametrization(name: str) -> str:
    module, _, local = name.rpartition(".")
    return f"{module}.parametrizations.{local}.".lstrip(".")


def _on_meta(slot: Slot) -> bool:
    """Whether what holds the values is on the meta device, where outlines of computed ones are."""
    return any(tensor.is_meta for tensor in slot.tensors)


def _present(module: nn.Module, name: str) -> torch.Tensor:
    found = module._parameters.get(name)  # pyright: ignore[reportPrivateUsage]
    if found is None:
        found = module._buffers[name]  # pyright: ignore[reportPrivateUsage]
    assert found is not None
    return found


def _put(module: nn.Module, name: str, tensor: torch.Tensor) -> None:
    if name in module._parameters:  # pyright: ignore[reportPrivateUsage]
        assert isinstance(tensor, Parameter)
        module._parameters[name] = tensor  # pyright: ignore[reportPrivateUsage]
    else:
        module._buffers[name] = tensor  # pyright: ignore[reportPrivateUsage]


def _moved(tensor: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
    """Let a tensor have this memory: the same object, or a new one where torch allows no other."""
    other = (
        Parameter(memory, tensor.requires_grad)
        if isinstance(tensor, Parameter)
        else memory.detach().requires_grad_(tensor.requires_grad)
    )
    if type(other) is not type(tensor) and isinstance(tensor, Parameter):
        other.__class__ = type(tensor)
    for name, mark in vars(tensor).items():  # such as `no_weight_decay`
        setattr(other, name, mark)
    try:
        torch.utils.swap_tensors(tensor, other)  # pyright: ignore[reportUnknownMemberType]
    except RuntimeError:  # something refers weakly to it
        return other
    return tensor
