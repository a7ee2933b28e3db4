"""Processes that hold parts of one model must carry out one plan, or none must."""
# The stubs of torch.distributed leave its functions without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any

import torch
from torch import nn

from initpolicy.model import Inventory, may_be_sharded, mesh_of
from initpolicy.plans import Decision, Plan
from initpolicy.problems import InitPolicyError, Problem, listed

_BITS = (1 << 62) - 1


class Agreement:
    """What this process is about to carry out."""

    def __init__(self) -> None:
        self.decisions: dict[int, list[str]] = {}
        """By mesh, its decisions as text."""

    def on(self, plan: Plan, inventory: Inventory) -> None:
        """State the plan; only tensors that are shared out are compared."""
        for slot in inventory.slots if may_be_sharded() else ():
            mesh = mesh_of(slot.tensor)
            if mesh is not None:
                self.decisions.setdefault(_key(mesh), [f"seed {plan.seed}"]).append(
                    _text(plan[slot.name])
                )


@contextmanager
def agreement(model: nn.Module) -> Generator[Agreement, None, None]:
    """Let all processes that hold parts of `model` succeed with what is done inside, or none.

    Every one of them must enter. What one of them raises, whatever it is, reaches the others as an
    `InitPolicyError`, and so does it all of them if their plans are not the same. Costs three
    numbers a mesh, where all is well.
    """
    meshes = _meshes(model)
    agreed = Agreement()
    if not meshes:
        yield agreed
        return
    try:
        yield agreed
    except Exception as error:  # also a defect: nobody may wait for this process
        _settle(meshes, agreed, _said(error))
        raise
    _settle(meshes, agreed, [])


def _said(error: Exception) -> list[str]:
    if isinstance(error, InitPolicyError):
        return [str(problem) for problem in error.problems]
    return [f"{type(error).__name__}: {error}"]


def _meshes(model: nn.Module) -> list[Any]:
    """Give the meshes that this process is in, in an order in which no two wait for each other."""
    if not may_be_sharded():
        return []
    found: dict[int, Any] = {}
    for tensor in (*model.parameters(), *model.buffers()):
        mesh = mesh_of(tensor)
        if mesh is not None and mesh.get_coordinate() is not None:
            found.setdefault(_key(mesh), mesh)
    return sorted(found.values(), key=_order)


def _key(mesh: Any) -> int:
    return hash(mesh)


def _order(mesh: Any) -> tuple[Any, ...]:
    """The same in all processes, and for the rows of one mesh all before or after its columns."""
    ranks: list[int] = mesh.mesh.flatten().tolist()
    apart = [rank - ranks[0] for rank in ranks]
    return apart, ranks[0], tuple(mesh.shape), tuple(mesh.mesh_dim_names or ())


def _text(decision: Decision) -> str:
    law = None if decision.law is None else decision.law.to_json()
    shape = list(decision.shape)
    return json.dumps([decision.name, shape, decision.dtype, decision.stream_name, law])


def _settle(meshes: Sequence[Any], agreed: Agreement, said: list[str]) -> None:
    """Raise if another process failed or has another plan; `said` is what went wrong in this."""
    if _differ(meshes, agreed, bool(said)):
        problems = _told(meshes, agreed, said)
        if not said:
            raise InitPolicyError(problems)


def _differ(meshes: Sequence[Any], agreed: Agreement, failed: bool) -> bool:
    """Whether any process failed, or has another plan; the same answer in all of them."""
    for mesh, once in _twice(meshes):
        lines = agreed.decisions.get(_key(mesh), []) if once else []
        hashed = blake2b("\n".join(lines).encode(), digest_size=8).digest()
        number = int.from_bytes(hashed, "big") & _BITS
        told = torch.tensor([int(failed), number, -number], device=mesh.device_type)
        for dimension in range(mesh.ndim):
            torch.distributed.all_reduce(
                told, torch.distributed.ReduceOp.MAX, mesh.get_group(dimension)
            )
        anyone, most, least = told.tolist()
        failed = bool(anyone) or most != -least
    return failed


def _twice(meshes: Sequence[Any]) -> list[tuple[Any, bool]]:
    """Every mesh, and once more, so that what the last one found reaches those of the first."""
    return [(mesh, once) for once in (True, False) for mesh in meshes]


def _told(meshes: Sequence[Any], agreed: Agreement, said: list[str]) -> list[Problem]:
    """What went wrong in any process; each takes part in every exchange."""
    rank = torch.distributed.get_rank()
    heard: dict[int, list[str]] = {rank: said} if said else {}
    different: set[str] = set()
    for mesh, once in _twice(meshes):
        plans = {rank: agreed.decisions.get(_key(mesh), []) if once else []}
        for dimension in range(mesh.ndim):
            group = mesh.get_group(dimension)
            all_of: list[Any] = [None] * mesh.size(dimension)
            torch.distributed.all_gather_object(all_of, (heard, plans, different), group)
            for more_heard, more_plans, more_different in all_of:
                heard |= more_heard
                plans |= more_plans
                different |= more_different
        different |= _first_difference(plans)
    if not heard:
        hint = "give every rank the same policy, seed and variables"
        return [Problem("IP307", min(different), hint)]
    alike: dict[str, list[str]] = {}
    for other, lines in sorted(heard.items()):
        alike.setdefault("; ".join(lines), []).append(str(other))
    return [
        Problem(
            "IP307",
            f"rank{'s' * (len(ranks) > 1)} {listed(ranks)} could not go on, so no rank did: {why}",
            "set this right there, or give every rank the same model and policy",
        )
        for why, ranks in alike.items()
    ]


def _first_difference(plans: dict[int, list[str]]) -> set[str]:
    (first, lines), *others = sorted(plans.items())
    for rank, other in others:
        if other != lines:
            pairs = zip([*lines, "nothing"], [*other, "nothing"], strict=False)
            here, there = next((a, b) for a, b in pairs if a != b)
            return {
                f"ranks {first} and {rank} have different plans, so no rank went on: "
                f"first {here} on rank {first}, {there} on rank {rank}"
            }
    return set()
