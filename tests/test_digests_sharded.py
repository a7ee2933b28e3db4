"""Digests of models that are shared out: those of one process, and one error on every rank."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from distributed import run
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    RowwiseParallel,
    parallelize_module,
)

import initpolicy
from initpolicy import digests
from initpolicy.problems import InitPolicyError

SHAPES = [(8, 4), (5, 3), (1, 3), (3, 1, 5), (0, 2), (7, 2)]
LINE = [[Shard(0)], [Shard(1)], [Replicate()]]
SQUARE = [
    [Shard(0), Shard(1)],
    [Shard(1), Shard(0)],
    [Shard(0), Shard(0)],
    [Shard(1), Shard(1)],
    [Replicate(), Shard(1)],
    [Shard(0), Replicate()],
    [Replicate(), Replicate()],
]
KINDS = [torch.float32, torch.bfloat16, torch.complex64, torch.int64, torch.bool]


def wholes() -> dict[str, torch.Tensor]:
    """A tensor of every shape in every type."""
    generator = torch.Generator().manual_seed(0)
    return {
        f"{shape} {kind}": torch.randn(shape, generator=generator).mul(4).to(kind)
        for shape in SHAPES
        for kind in KINDS
    }


def shared(mesh: Any, placements: list[list[Any]]) -> dict[str, torch.Tensor]:
    """Every tensor in every layout, and as it is."""
    return {
        f"{name} {layout}": distribute_tensor(whole, mesh, layout, src_data_rank=None)
        for name, whole in wholes().items()
        for layout in placements
    } | wholes()


def expected(placements: list[list[Any]]) -> dict[str, str]:
    plain = digests.of_tensors(wholes())
    return plain | {f"{name} {layout}": plain[name] for name in plain for layout in placements}


def build() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 10), nn.GELU(), nn.Linear(10, 12), nn.Linear(12, 12))
    model[3].weight = nn.Parameter(torch.randn(12, 12).bfloat16())
    model.register_buffer("scale", torch.randn(3))
    return model


def line(rank: int, world: int) -> dict[str, str]:
    return digests.of_tensors(shared(init_device_mesh("cpu", (world,)), LINE))


def square(rank: int) -> tuple[dict[str, str], str, str, str, dict[str, str]]:
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "tp"))
    found = digests.of_tensors(shared(mesh, SQUARE))
    model = build()
    plan = {"0": ColwiseParallel(), "2": RowwiseParallel()}
    parallelize_module(model, mesh["tp"], plan, src_data_rank=None)
    parallel = initpolicy.digest(model)  # tensor parallelism alone: two meshes, one for each dp
    for layer in (model[0], model[2]):
        fully_shard(layer, mesh=mesh["dp"])
    both = initpolicy.digest(model)
    # Tensors of crossing meshes, in the order of their names.
    crossing = {
        "a": distribute_tensor(torch.arange(6.0), mesh["dp"], [Shard(0)], src_data_rank=None),
        "b": distribute_tensor(torch.arange(6.0), mesh["tp"], [Shard(0)], src_data_rank=None),
    }
    return found, parallel, both, initpolicy.digest(model.state_dict()), digests.digests(crossing)


@pytest.mark.parametrize("world", [2, 3])
def test_a_line_of_ranks_gives_the_digests_of_one_process(world: int) -> None:
    assert run(line, world, world) == [expected(LINE)] * world


def test_a_square_of_ranks_gives_the_digests_of_one_process() -> None:
    whole = initpolicy.digest(build())
    six = digests.of_tensor(torch.arange(6.0))
    for found, parallel, both, state, crossing in run(square, 4):
        assert found == expected(SQUARE)
        assert (parallel, both, state) == (whole, whole, whole)
        assert crossing == {"a": six, "b": six}


def parts(mesh: Any, rank: int, dim: str, local: torch.Tensor) -> dict[str, torch.Tensor]:
    """Whatever each rank has, said to be copies along one dimension of the mesh."""
    places = [Replicate() if name == dim else Shard(0) for name in mesh.mesh_dim_names]
    whole = DTensor.from_local(local, mesh, places, run_check=False)
    return {"a": distribute_tensor(torch.ones(4), mesh, places, src_data_rank=None), "b": whole}


def copies(mesh: Any, rank: int) -> Mapping[str, torch.Tensor]:
    return parts(mesh, rank, "tp", torch.tensor([1.0, float(rank == 1)]))


def copies_elsewhere(mesh: Any, rank: int) -> Mapping[str, torch.Tensor]:
    """On two meshes, of which rank 3 sees only the one where all is well."""
    differing = DTensor.from_local(
        torch.tensor([float(rank == 0)]), mesh["tp"], [Replicate()], run_check=False
    )
    well = DTensor.from_local(torch.ones(1), mesh["dp"], [Replicate()], run_check=False)
    return {"a": well, "b": differing}


def empty_on_one(mesh: Any, rank: int) -> Mapping[str, torch.Tensor]:
    tensors = parts(mesh, rank, "tp", torch.ones(2))
    return tensors | ({"c": torch.empty(2, device="meta")} if rank == 2 else {})


def other_names(mesh: Any, rank: int) -> Mapping[str, torch.Tensor]:
    tensors = parts(mesh, rank, "tp", torch.ones(2))
    return {f"{name}{rank // 3}": tensor for name, tensor in tensors.items()}


def more_on_one(mesh: Any, rank: int) -> Mapping[str, torch.Tensor]:
    tensors = parts(mesh, rank, "tp", torch.ones(2))
    return {"a": tensors["a"]} if rank == 3 else tensors


def partial(mesh: Any, rank: int) -> Mapping[str, torch.Tensor]:
    return {"a": DTensor.from_local(torch.ones(2), mesh, [Partial(), Replicate()])}


def of_two_ranks(mesh: Any, rank: int) -> Mapping[str, torch.Tensor]:
    """Ranks 2 and 3 have nothing of it."""
    whole = DTensor.from_local(torch.ones(2), DeviceMesh("cpu", [0, 1]), [Shard(0)])
    return {"a": whole, "b": torch.ones(1)}


CASES: list[Callable[[Any, int], Mapping[str, torch.Tensor]]]
CASES = [copies, copies_elsewhere, empty_on_one, other_names, more_on_one, partial, of_two_ranks]


def every_case(rank: int) -> list[str]:
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "tp"))
    said: list[str] = []
    for case in CASES:
        try:
            said.append(initpolicy.digest(case(mesh, rank)))
        except InitPolicyError as error:
            said.append(str(error))
    return said


COPIES = "IP502 ranks that should hold copies of the same tensors hold different values"
ADVICE = "; broadcast them from one rank, or apply the same policy and seed on all"
DIFFERENT = (
    "IP502 the ranks have different tensors, so that there is no digest of all; "
    "give every rank the same model"
)
UNREAD = (
    "IP502 another rank has tensors that it cannot read, so that there is no digest of all; "
    "see what that rank says of them"
)


def test_what_goes_wrong_on_one_rank_is_told_on_all() -> None:
    by_rank = run(every_case, 4)
    wrong, elsewhere, empty, names, more, partials, two = zip(*by_rank, strict=True)
    assert wrong == (f"{COPIES}: b{ADVICE}",) * 4
    assert elsewhere == (*[f"{COPIES}: b{ADVICE}"] * 2, *[f"{COPIES}{ADVICE}"] * 2)
    meta = 'IP501 1 of 3 tensors have no values: c; give `apply` a `device="cpu"`'
    assert empty == (UNREAD, UNREAD, meta, UNREAD)
    assert names == more == (DIFFERENT,) * 4
    assert all(text.startswith("IP503 a holds partial values: ") for text in partials)
    here = initpolicy.digest({"a": torch.ones(4), "b": torch.ones(1)})
    outside = (
        "IP503 this rank holds nothing of the mesh of a; take the digests on the ranks of that mesh"
    )
    assert two == (here, here, outside, outside)
