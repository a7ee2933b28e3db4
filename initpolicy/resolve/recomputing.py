"""The values that a plan leaves to the constructors of the model's modules."""

from __future__ import annotations

from torch import Tensor

from initpolicy.model import Inventory, ModelError, Slot, recomputed
from initpolicy.plans import Plan
from initpolicy.problems import InitPolicyError, Problem


def recompute(plan: Plan, inventory: Inventory) -> dict[str, Tensor]:
    """Give the values of every buffer that a constructor recomputes, by canonical name.

    They are on the CPU, whole, and of the types of the buffers. A module is built once for all of
    its buffers; the model, which may be on the meta device, is left as it is. Raises
    `InitPolicyError` with every module that cannot be built again.
    """
    wanted: dict[int, list[Slot]] = {}
    for decision in plan.recomputed:
        slot = inventory.by_name[decision.name]
        wanted.setdefault(id(slot.module), []).append(slot)
    values: dict[str, Tensor] = {}
    problems: list[Problem] = []
    for slots in wanted.values():
        try:
            found = recomputed(slots[0].module, [slot.local_name for slot in slots])
        except ModelError as error:
            where = slots[0].module_name
            told = f"{where}: {error.message}" if where else error.message
            problems.append(Problem("IP218", told, error.hint))
            continue
        values |= {slot.name: found[slot.local_name] for slot in slots}
    if problems:
        raise InitPolicyError(problems)
    return values
