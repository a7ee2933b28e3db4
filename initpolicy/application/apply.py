"""From a model to its first values: read it, decide, check everything, and only then write."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import nn

from initpolicy.application.agreement import agreement
from initpolicy.application.calibrating import calibrate, check_steps, rehearse
from initpolicy.application.carry_out import Draws, Progress, carry_out
from initpolicy.application.computed import check_computed
from initpolicy.application.fitting import Job, fitting
from initpolicy.application.memory import check_memory, give, new_memory, take_back
from initpolicy.application.rebuilding import rebuild
from initpolicy.batches import Input
from initpolicy.model import (
    Inventory,
    ModelError,
    Slot,
    is_sharded,
    may_be_sharded,
    reshard,
    shard_of,
    uncollected,
)
from initpolicy.plans import Plan
from initpolicy.problems import InitPolicyError, Problem, listed


def apply(
    model: nn.Module,
    read: Callable[[nn.Module], Inventory],
    decide: Callable[[Inventory], Plan],
    *,
    device: str | torch.device | None = None,
    draws: Draws = "initpolicy",
    data: Input | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Plan:
    """Read `model`, decide on a plan for it, carry it out, and return it.

    Tensors on the meta device get memory on `device`. `data` is for the steps of the plan. Raises
    `InitPolicyError`, with no tensor changed, if anything speaks against it; of a model that is
    shared out, in every process. A step that the data make fail leaves the draws, and the steps
    before it.
    """
    reshard(model)
    with agreement(model) as agreed, uncollected():
        inventory = read(model)
        plan = decide(inventory)
        where = _device(device)
        jobs = fitting(plan, inventory)
        agreed.on(plan, inventory)
        _check_draws(draws, jobs)
        check_memory(plan, inventory, where)
        plan, batch = check_steps(model, plan, inventory, data)
        _check_shards(inventory)
        rebuilt = rebuild(plan, inventory)
        computed = [job for job in jobs if job.slot.computed is not None]
        later = {job.slot.name for job in computed if _has_no_memory(job.slot)}
        check_computed(plan.seed, [job for job in computed if job.slot.name not in later])
        made = new_memory(inventory, where)
        if not made:
            rehearse(model, plan, inventory, batch)
    if made:
        give(made)
        inventory = read(model)
        jobs = fitting(plan, inventory)
        try:
            check_computed(plan.seed, [job for job in jobs if job.slot.name in later])
            rehearse(model, plan, inventory, batch)
        except InitPolicyError:
            take_back(made, inventory)
            raise
    carry_out(plan.seed, jobs, inventory, draws=draws, threads=threads, progress=progress)
    rebuilt.write(inventory)
    return calibrate(model, plan, inventory, batch, progress)


def calibrated_values(
    model: nn.Module, plan: Plan, read: Callable[[nn.Module], Inventory], data: Input
) -> dict[str, torch.Tensor]:
    """Make the tensors that a plan's steps change, in a copy of `model`, which may be on meta.

    Raises `InitPolicyError` as `apply` does.
    """
    with torch.inference_mode(False):  # in which tensors are made that no step may change
        twin = _copied(model)
        apply(twin, read, lambda inventory: plan, device="cpu", data=data)
    slots = read(twin).by_name
    return {name: slots[name].values().detach() for name in plan.calibrated}


def _copied(model: nn.Module) -> nn.Module:
    """A copy of a model; what its modules computed in earlier passes is copied without a graph."""
    held = (value for module in model.modules() for value in vars(module).values())
    computed = [one for one in held if isinstance(one, torch.Tensor) and not one.is_leaf]
    try:
        return copy.deepcopy(model, {id(one): one.detach().clone() for one in computed})
    except Exception as error:  # whatever a module holds that cannot be copied
        told = f"a copy of the model is to be calibrated, and it cannot be copied: {error}"
        hint = "leave out `data`; what the steps changed is then not judged"
        raise InitPolicyError(Problem("IP601", told, hint)) from error


def _device(device: str | torch.device | None) -> torch.device | None:
    if device is None:
        return None
    try:
        found = torch.device(device)
        if found.type == "meta":
            raise RuntimeError("tensors on it have no memory")
        torch.empty(0, device=found)
    except (RuntimeError, TypeError, AssertionError, NotImplementedError) as error:
        raise InitPolicyError(
            Problem(
                "IP304",
                f"there is no device {str(device)!r} to write to: {error}",
                'write one that this process has, such as `device="cpu"`',
            )
        ) from error
    return found


def _has_no_memory(slot: Slot) -> bool:
    return any(tensor.is_meta and not is_sharded(tensor) for tensor in slot.tensors)


def _check_draws(draws: Draws, jobs: list[Job]) -> None:
    if draws not in ("initpolicy", "torch"):
        raise InitPolicyError(
            Problem("IP304", f"there are no draws {draws!r}", 'write "initpolicy" or "torch"')
        )
    if draws == "initpolicy":
        return
    sharded = [job.slot.name for job in jobs if is_sharded(job.slot.tensor)]
    if sharded:
        raise InitPolicyError(
            Problem(
                "IP304",
                "torch's generator gives a tensor other values when it is shared out: "
                f"{listed(sharded)}",
                "leave out `draws`, or draw before the model is sharded",
            )
        )


def _check_shards(inventory: Inventory) -> None:
    problems: list[Problem] = []
    for slot in inventory.slots if may_be_sharded() else ():
        try:
            shard_of(slot.tensor, slot.name)
        except ModelError as error:
            problems.append(Problem("IP308", error.message, error.hint))
    if problems:
        raise InitPolicyError(problems)
