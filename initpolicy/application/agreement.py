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

from initpolicy.model import Inventory, mesh_of
from initpolicy.plans import Decision, Plan
from initpolicy.problems import InitPolicyError, Problem

_BITS = (1 << 62) - 1


class Agreement:
    """What this process is about to carry out."""

    def __init__(self) -> None:
        self.decisions: dict[int, list[str]] = {}
        """By mesh, its decisions as text."""

    def on(self, plan: Plan, inventory: Inventory) -> None:
        """State the plan; only tensors that are shared out are compared."""
        for slot in inventory.slots:
            mesh = mesh_of(slot.tensor)
            if mesh is not None:
                self.decisions.setdefault(_key(mesh), [f"seed {plan.seed}"]).append(
                    _text(plan[slot.name])
                )


@contextmanager
def agreement(model: nn.Module) -> Generator[Agreement, None, None]:
    """Let all processes that hold parts of `model` succeed with what is done inside, or none.

    Every one of them must enter. Raises `InitPolicyError` in all of them if it was raised in any,
    or if their plans are not the same. Costs three numbers a mesh, where all is well.
    """
    meshes = _meshes(model)
    agreed = Agreement()
    if not meshes:
        yield agreed
        return
    own: InitPolicyError | None = None
    try:
        yield agreed
    except InitPolicyError as error:
        own = error
    if _differ(meshes, agreed, own is not None):
        others = _told(meshes, agreed, own)
        raise own or InitPolicyError(others)


def _meshes(model: nn.Module) -> list[Any]:
    found: dict[int, Any] = {}
    for tensor in (*model.parameters(), *model.buffers()):
        mesh = mesh_of(tensor)
        if mesh is not None and mesh.get_coordinate() is not None:
            found.setdefault(_key(mesh), mesh)
    return list(found.values())


def _key(mesh: Any) -> int:
    return hash(mesh)


def _text(decision: Decision) -> str:
    law = None if decision.law is None else decision.law.to_json()
    shape = list(decision.shape)
    return json.dumps([decision.name, shape, decision.dtype, decision.stream_name, law])


def _differ(meshes: Sequence[Any], agreed: Agreement, failed: bool) -> bool:
    """Whether any process failed, or has another plan; the same answer in all of them."""
    for once in (True, False):  # again, so that what the last mesh found reaches those of the first
        for mesh in meshes:
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


def _told(meshes: Sequence[Any], agreed: Agreement, own: InitPolicyError | None) -> list[Problem]:
    """What went wrong in other processes."""
    rank = torch.distributed.get_rank()
    said = [str(problem) for problem in own.problems] if own else []
    heard: dict[int, list[str]] = {rank: said}
    plans: dict[int, list[str]] = {}
    for mesh in meshes:
        plans = {rank: agreed.decisions.get(_key(mesh), [])}
        for dimension in range(mesh.ndim):
            group = mesh.get_group(dimension)
            all_of: list[Any] = [None] * mesh.size(dimension)
            torch.distributed.all_gather_object(all_of, (heard, plans), group)
            for more_heard, more_plans in all_of:
                heard |= more_heard
                plans |= more_plans
        if not any(heard.values()) and (first := _first_difference(plans)):
            return [first]
    return [
        Problem(
            "IP307",
            f"rank {other} could not go on, so no rank did: {'; '.join(lines)}",
            "set this right on that rank, or give every rank the same model and policy",
        )
        for other, lines in sorted(heard.items())
        if lines
    ]


def _first_difference(plans: dict[int, list[str]]) -> Problem | None:
    (first, lines), *others = sorted(plans.items())
    for rank, other in others:
        if other != lines:
            pairs = zip([*lines, "nothing"], [*other, "nothing"], strict=False)
            here, there = next((a, b) for a, b in pairs if a != b)
            return Problem(
                "IP307",
                f"ranks {first} and {rank} have different plans, so no rank went on: "
                f"first {here} on rank {first}, {there} on rank {rank}",
                "give every rank the same policy, seed and variables",
            )
    return None
