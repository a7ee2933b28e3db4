"""What processes that hold parts of one model tell each other: 32 bytes a tensor, a mesh at a time.

Every process takes part in every exchange, or none would come to an end.
"""
# The stubs of torch.distributed leave its functions without types.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from torch import Tensor

from initpolicy.field.elements import Sums
from initpolicy.model.sharding import Shard
from initpolicy.problems import InitPolicyError, Problem, listed


def settle(meshes: Iterable[Any], shards: Mapping[str, Shard], problems: Sequence[Problem]) -> None:
    """Raise `InitPolicyError` in all processes if one has problems, or other tensors than others.

    `meshes` are those of all tensors, also of those that cannot be read.
    """
    distinct = {hash(mesh): mesh for mesh in meshes if mesh.get_coordinate() is not None}
    different = False
    for key, mesh in distinct.items():
        own = [
            (name, shard.shape, str(shard.local.dtype), shard.split)
            for name, shard in shards.items()
            if hash(shard.mesh) == key
        ]
        hashed = blake2b(repr(own).encode(), digest_size=7).digest()
        number = torch.tensor([int.from_bytes(hashed, "little")], device=mesh.device_type)
        different |= bool(_differs(number, mesh))
    if _anywhere(bool(problems) or different, list(distinct.values())) or problems:
        raise InitPolicyError(problems or _elsewhere(different))


def _elsewhere(different: bool) -> Problem:
    if different:
        message = "the ranks have different tensors, so that there is no digest of all"
        return Problem("IP502", message, "give every rank the same model")
    message = "another rank has tensors that it cannot read, so that there is no digest of all"
    return Problem("IP502", message, "see what that rank says of them")


def reduce(sums: Sums, names: Sequence[str], shards: Mapping[str, Shard]) -> None:
    """Put the sums over whole tensors in place of those over what is held.

    Raises `InitPolicyError` in all processes if what should be copies differs.
    """
    rows: dict[int, list[int]] = {}
    for row, name in enumerate(names):
        if name in shards:
            rows.setdefault(hash(shards[name].mesh), []).append(row)
    differing: list[str] = []
    meshes = [shards[names[some[0]]].mesh for some in rows.values()]
    for mesh, some in zip(meshes, rows.values(), strict=True):
        numbers = torch.tensor(sums[some].view(np.int64), device=mesh.device_type)
        for dim in range(mesh.ndim):
            divided = [k for k, row in enumerate(some) if dim in shards[names[row]].split]
            if divided:
                part = numbers[divided]
                torch.distributed.all_reduce(part, group=mesh.get_group(dim))
                numbers[divided] = part
        sums[some] = numbers.cpu().numpy().view(np.uint64)
        differs = _differs(numbers, mesh).any(1)
        differing += [names[row] for k, row in enumerate(some) if differs[k]]
    if _anywhere(bool(differing), meshes):
        which = f": {listed(differing)}" if differing else ""
        raise InitPolicyError(
            Problem(
                "IP502",
                f"ranks that should hold copies of the same tensors hold different values{which}",
                "broadcast them from one rank, or apply the same policy and seed on all",
            )
        )


def _differs(numbers: Tensor, mesh: Any) -> Tensor:
    """Whether each number is not the same in all processes of a mesh."""
    both = torch.cat([numbers, ~numbers])
    _most(both, mesh)
    return both[: len(numbers)] != ~both[len(numbers) :]


def _anywhere(flag: bool, meshes: Sequence[Any]) -> bool:
    """Whether a flag is up in any process; twice, so that the last mesh reaches the first."""
    for mesh in (*meshes, *meshes):
        told = torch.tensor([int(flag)], device=mesh.device_type)
        _most(told, mesh)
        flag = bool(told)
    return flag


def _most(numbers: Tensor, mesh: Any) -> None:
    """Take the greatest of each number of all processes of a mesh."""
    for dim in range(mesh.ndim):
        torch.distributed.all_reduce(numbers, torch.distributed.ReduceOp.MAX, mesh.get_group(dim))
