"""What each rank says it holds, against what torch gave it, over pretended worlds."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.distributed as dist
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sharding_cases import Case, Ordered, bounds, cases, check_world, each_rank, orders
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
from torch.distributed.tensor._dtensor_spec import DTensorSpec, TensorMeta
from torch.distributed.tensor.placement_types import Placement, _StridedShard
from torch.testing._internal.distributed.fake_pg import FakeStore

from initpolicy.model import ModelError, shard_of
from initpolicy.model.sharding import Division, order_of_pieces


def cut(case: Case, mesh: DeviceMesh, device: str = "cpu") -> DTensor:
    """Distribute without sending anything: each rank cuts its own part."""
    return distribute_tensor(case.whole().to(device), mesh, case.placements, src_data_rank=None)


def decodable(case: Case) -> bool:
    """Whether numbers of pieces are those of an order, which is then what is meant."""
    return order_of_pieces(divisions(case), case.sizes) is not None


def divisions(case: Case) -> tuple[Division, ...]:
    return tuple(
        Division(mesh_dim, p.dim % len(case.shape), getattr(p, "split_factor", 1))
        for mesh_dim, p in enumerate(case.placements)
        if not isinstance(p, Replicate)
    )


@given(cases(), st.randoms())
@example(Case((7, 3), (3, 2), (Shard(0), Shard(0))), None)
@example(Case((5,), (4, 4), (Shard(-1), Shard(0))), None)
@example(Case((3, 0, 2), (2, 2), (Shard(2), Shard(1))), None)
def test_shards_are_what_distribute_tensor_cuts(case: Case, random) -> None:
    ranks = list(range(case.world))
    if random is not None:
        random.shuffle(ranks)
    check_world(case.sizes, case.whole(), lambda mesh: cut(case, mesh), ranks)


@given(cases(strided=True).filter(lambda case: not decodable(case)))
@example(Case((7, 3), (2, 2), (_StridedShard(0, split_factor=2), Replicate())))
@example(Case((9, 2), (4,), (_StridedShard(0, split_factor=2),)))
@example(Case((8, 2), (2, 2), (Shard(0), _StridedShard(0, split_factor=2))))
def test_pieces_that_state_no_order_divide_from_left_to_right(case: Case) -> None:
    check_world(case.sizes, case.whole(), lambda mesh: cut(case, mesh))


@given(orders(), st.booleans())
@example(Ordered(7, (3, 2), (1, 0)), False)
@example(Ordered(27, (3, 4), (1, 0)), False)
@example(Ordered(13, (2, 3, 2), (2, 0, 1)), False)
@example(Ordered(13, (2, 3, 2), (2, 0, 1)), True)
def test_an_order_of_shards_is_kept_however_it_is_stated(case: Ordered, stated: bool) -> None:
    check_world(case.sizes, case.whole(), lambda mesh: case.dtensor(mesh, stated))


@given(cases(strided=True))
def test_order_is_read_from_pieces_as_torch_reads_it(case: Case) -> None:
    class Mesh:
        def size(self, dim: int) -> int:
            return case.sizes[dim]

    normal = tuple(
        p
        if isinstance(p, Replicate)
        else Shard(p.dim % len(case.shape))
        if isinstance(p, Shard)
        else _StridedShard(p.dim % len(case.shape), split_factor=p.split_factor)
        for p in case.placements
    )
    theirs = DTensorSpec._maybe_convert_StridedShard_to_shard_order(normal, Mesh())
    ours = order_of_pieces(divisions(case), case.sizes)
    if theirs is None:
        assert ours is None
        return
    assert ours is not None
    for dim, mesh_dims in theirs:
        assert tuple(d.mesh_dim for d in ours if d.dim == dim) == mesh_dims
    assert len(ours) == sum(len(mesh_dims) for _, mesh_dims in theirs)


@given(cases(strided=True))
@settings(max_examples=30)
def test_a_tensor_without_memory_is_divided_alike(case: Case) -> None:
    for mesh in each_rank(case.sizes):
        assert said(cut(case, mesh, "meta")) == said(cut(case, mesh))


def said(tensor: DTensor) -> object:
    """The runs that are held, or what is wrong."""
    try:
        held = shard_of(tensor)
    except ModelError as error:
        return str(error)
    assert held is not None
    assert held.local.device == tensor.device
    return bounds(held)


def test_distribute_tensor_divides_pieces_in_another_order_than_full_tensor_puts_together() -> None:
    """torch 2.13 does, where sizes are uneven; the shapes that differ are an error here."""
    case = Case((7,), (3, 2), (_StridedShard(0, split_factor=2), Shard(0)))
    wrong = []
    for rank, mesh in enumerate(each_rank(case.sizes)):
        try:
            shard_of(cut(case, mesh))
        except ModelError:
            wrong.append(rank)
    assert wrong == [4, 5]


@pytest.fixture
def mesh():
    """A mesh of ranks 0 and 1, seen by rank 0 of three."""
    dist.init_process_group("fake", rank=0, world_size=3, store=FakeStore())
    yield DeviceMesh("cpu", [0, 1])
    dist.destroy_process_group()


def test_other_tensors_are_none_of_it(mesh: DeviceMesh) -> None:
    class Marked(torch.Tensor):
        pass

    assert shard_of(torch.ones(2)) is None
    assert shard_of(torch.nn.Parameter(torch.ones(2))) is None
    assert shard_of(torch.ones(2).as_subclass(Marked)) is None


def test_plain_tensors_need_no_torch_distributed() -> None:
    code = (
        "import sys, torch; from initpolicy.model import shard_of; before = set(sys.modules); "
        "assert shard_of(torch.nn.Parameter(torch.ones(2))) is None; "
        "assert not [name for name in set(sys.modules) - before if 'distributed' in name]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_local_is_the_memory_itself_without_gradients(mesh: DeviceMesh) -> None:
    tensor = distribute_tensor(torch.zeros(4, requires_grad=True), mesh, [Shard(0)])
    held = shard_of(tensor)
    assert held is not None
    assert not held.local.requires_grad
    held.local.fill_(7)
    assert tensor.to_local().tolist() == [7, 7]


def test_what_is_said_of_one_tensor_cannot_change_what_is_said_of_another(mesh: DeviceMesh) -> None:
    held = shard_of(distribute_tensor(torch.zeros(4, 3), mesh, [Shard(1)]))
    assert held is not None
    for array in (array for pair in held.intervals for array in pair):
        with pytest.raises(ValueError, match="read-only"):
            array += 1


def test_a_dimension_may_be_counted_from_the_last(mesh: DeviceMesh) -> None:
    """torch counts from the first before it keeps a placement; others may not."""
    tensor = distribute_tensor(torch.zeros(4, 4, 6), mesh, [Shard(1)])
    tensor._spec.placements = (Shard(-2),)
    held = shard_of(tensor)
    assert held is not None
    assert bounds(held) == [
        [0, 24, 48, 72],
        [12, 36, 60, 84],
    ]


def test_a_rank_outside_the_mesh_holds_nothing() -> None:
    dist.init_process_group("fake", rank=2, world_size=3, store=FakeStore())
    try:
        mesh = DeviceMesh("cpu", [0, 1])
        for whole in (torch.zeros(()), torch.zeros(4, 3)):
            placement: Placement = Shard(0) if whole.ndim else Replicate()
            held = shard_of(distribute_tensor(whole, mesh, [placement]))
            assert held is not None
            assert held.shape == whole.shape
            assert held.local.numel() == 0
            assert bounds(held) == [[], []]
            assert all(len(starts) == 0 for starts, _ in held.intervals)
    finally:
        dist.destroy_process_group()


def test_a_scalar_is_one_run(mesh: DeviceMesh) -> None:
    held = shard_of(distribute_tensor(torch.zeros(()), mesh, [Replicate()]))
    assert held is not None
    assert bounds(held) == [[0], [1]]
    assert (held.split, held.replicated) == ((), (0,))


def test_columns_of_a_long_table_are_a_run_a_row(mesh: DeviceMesh) -> None:
    rows, columns = 1_200_000, 6
    whole = torch.empty(rows, columns, device="meta")
    held = shard_of(distribute_tensor(whole, mesh, [Shard(1)]))
    assert held is not None
    starts, stops = map(np.array, bounds(held))
    assert np.array_equal(starts, np.arange(rows, dtype=np.uint64) * columns)
    assert np.array_equal(stops, starts + 3)


def test_indices_need_64_bits(mesh: DeviceMesh) -> None:
    whole = torch.empty(2, 1 << 39, 1 << 21, dtype=torch.int8, device="meta")
    held = shard_of(distribute_tensor(whole, mesh, [Shard(1)]))
    assert held is not None
    assert bounds(held) == [
        [0, 1 << 60],
        [1 << 59, (1 << 60) + (1 << 59)],
    ]


class Ragged(Shard):
    """Somebody's own way to divide a tensor."""


def made(mesh: DeviceMesh, placement: Placement, local: torch.Tensor, *shape: int) -> DTensor:
    whole = torch.empty(shape, device="meta")
    meta = TensorMeta(whole.shape, whole.stride(), whole.dtype)
    return DTensor(local, DTensorSpec(mesh, (placement,), meta), requires_grad=False)


@pytest.mark.parametrize(
    ("placement", "local", "message", "hint"),
    [
        (
            Partial(),
            (4, 2),
            "w holds partial values: Partial(sum) on mesh dimension 0",
            "redistribute it to Shard or Replicate first",
        ),
        (
            Ragged(0),
            (2, 2),
            "w is divided in a way that is not known here: Ragged on mesh dimension 0",
            "redistribute it to Shard or Replicate first",
        ),
        (
            Shard(0),
            (3, 2),
            "w of shape (4, 2) has a local tensor of shape (3, 2), but its placements "
            "(Shard(dim=0)) say (2, 2)",
            "if it was made by DTensor.from_local, give that the shape and the stride of the whole "
            "tensor",
        ),
        (
            Shard(0),
            (2, 0),
            "w of shape (4, 2) has a local tensor of shape (2, 0), but its placements "
            "(Shard(dim=0)) say (2, 2)",
            "if it was made by DTensor.from_local, give that the shape and the stride of the whole "
            "tensor",
        ),
        (
            Replicate(),
            (2, 4),
            "w of shape (4, 2) has a local tensor of shape (2, 4), but its placements "
            "(Replicate()) say (4, 2)",
            "if it was made by DTensor.from_local, give that the shape and the stride of the whole "
            "tensor",
        ),
    ],
)
def test_what_cannot_be_said_is_an_error(
    mesh: DeviceMesh, placement: Placement, local: tuple[int, ...], message: str, hint: str
) -> None:
    with pytest.raises(ModelError) as met:
        shard_of(made(mesh, placement, torch.empty(local), 4, 2), "w")
    assert (met.value.message, met.value.hint) == (message, hint)


def test_a_local_tensor_of_nothing_may_have_any_shape(mesh: DeviceMesh) -> None:
    """FSDP2 leaves no rows where there are no columns."""
    held = shard_of(made(mesh, Shard(0), torch.empty(0, 0), 4, 0))
    assert held is not None
    assert math.prod(held.local.shape) == 0
    assert bounds(held) == [[], []]
