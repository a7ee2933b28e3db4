"""What each process says it holds, against what torch puts together again over gloo."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from distributed import run
from sharding_cases import Ordered, Seen, check_all, check_one, indices
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    RowwiseParallel,
    parallelize_module,
)
from torch.distributed.tensor.placement_types import Placement, _StridedShard

from initpolicy.model import shard_of


def seen(tensor: torch.Tensor) -> Seen:
    """Compare a tensor that counts its elements with what is said of it."""
    assert isinstance(tensor, DTensor)
    whole = torch.arange(math.prod(tensor.shape)).view(tensor.shape)
    if whole.numel():  # torch puts three rows of nothing together only for some meshes
        assert torch.equal(tensor.full_tensor().detach().long(), whole)
    return check_one(tensor, whole)


def by_dimension(mesh: DeviceMesh) -> list[tuple[Placement, ...]]:
    """Every way to place a matrix by Shard and Replicate, and an order stated by pieces."""
    found = [*itertools.product([Replicate(), Shard(0), Shard(-1)], repeat=mesh.ndim)]
    if mesh.ndim > 1:
        found.append((_StridedShard(0, split_factor=mesh.size(1)), Shard(0)))
    return found


def in_pieces(mesh: DeviceMesh) -> list[tuple[Placement, ...]]:
    """Some ways that no order states, which torch redistributes rightly only to and from whole."""
    strided = _StridedShard(0, split_factor=3)
    return [
        tuple(strided if dim == at else Replicate() for dim in range(mesh.ndim))
        for at in range(mesh.ndim)
    ]


def distribute_and_redistribute(rank: int, meshes: list[tuple[int, ...]]) -> list[Seen]:
    found = []
    for sizes in meshes:
        mesh = init_device_mesh("cpu", sizes)
        for whole in [torch.arange(15).view(5, 3), torch.arange(7).view(1, 7)]:
            everywhere = before = distribute_tensor(whole, mesh)
            for placements in by_dimension(mesh):
                found.append(seen(distribute_tensor(whole, mesh, placements, src_data_rank=None)))
                found.append(seen(before := before.redistribute(mesh, placements)))
            for placements in in_pieces(mesh):
                found.append(seen(distribute_tensor(whole, mesh, placements, src_data_rank=None)))
                found.append(seen(everywhere.redistribute(mesh, placements)))
        orders = list(itertools.permutations(range(len(sizes))))
        for size, order, stated in itertools.product([1, 6, 9], orders, [False, True]):
            found.append(seen(Ordered(size, sizes, order).dtensor(mesh, stated)))
    return found


def check(ranks: list[list[Seen]]) -> None:
    """Check what all ranks hold together, tensor by tensor."""
    for each in zip(*ranks, strict=True):
        check_all(each)


@pytest.mark.parametrize(("world", "meshes"), [(2, [(2,)]), (4, [(4,), (2, 2)])])
def test_what_torch_distributes_is_put_together_from_what_is_said(
    world: int, meshes: list[tuple[int, ...]]
) -> None:
    check(run(distribute_and_redistribute, world, meshes))


class Block(nn.Module):
    """Sizes that no mesh here divides."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(5, 7)
        self.norm = nn.LayerNorm(3)
        self.down = nn.Linear(7, 5)
        self.none = nn.Parameter(torch.empty(3, 0))
        self.even = nn.Parameter(torch.empty(3, 12))


def counting() -> Block:
    """Each parameter counts its elements."""
    model = Block()
    for parameter in model.parameters():
        with torch.no_grad():
            parameter.copy_(torch.arange(parameter.numel()).view_as(parameter))
    return model


def count(model: nn.Module) -> nn.Module:
    """Make each parameter count its elements, by what is said to be held."""
    for parameter in model.parameters():
        held = shard_of(parameter)
        assert held is not None
        held.local.copy_(torch.from_numpy(indices(held)).view_as(held.local))
    return model


def columns(parameter: nn.Parameter) -> Shard | None:
    return Shard(1) if parameter.shape[-1] == 12 else None


def wrap(rank: int, sizes: tuple[int, int]) -> list[Seen]:
    """Shard a model by FSDP2, as it is, over tensor parallelism, and in replicated groups."""
    mesh = init_device_mesh("cpu", sizes, mesh_dim_names=("dp", "tp"))
    flat = init_device_mesh("cpu", (math.prod(sizes),))
    plan = {"up": ColwiseParallel(), "down": RowwiseParallel()}

    both = counting()
    parallelize_module(both, mesh["tp"], plan)
    fully_shard(both, mesh=mesh["dp"])
    assert [type(p) for p in both.up.weight.placements] == [_StridedShard, Shard]
    assert [p.dim for p in both.down.weight.placements] == [0, 1]

    padded = counting()
    fully_shard(padded, mesh=flat, shard_placement_fn=columns)
    groups = counting()
    fully_shard(groups, mesh=mesh)

    with torch.device("meta"):
        later = Block()
    parallelize_module(later, mesh["tp"], plan)
    fully_shard(later, mesh=mesh["dp"])
    count(later.to_empty(device="cpu"))

    models = (both, padded, groups, later)
    return [seen(parameter) for model in models for parameter in model.parameters()]


@pytest.mark.parametrize("sizes", [(2, 2), (3, 2)])
def test_what_fsdp_shards_is_put_together_from_what_is_said(sizes: tuple[int, int]) -> None:
    """Seven rows over 3 x 2 processes are what numbers of pieces, taken one by one, get wrong."""
    check(run(wrap, math.prod(sizes), sizes))
