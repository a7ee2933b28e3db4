"""Tensors divided in ways that are drawn, and what each rank of a pretended world holds of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from hypothesis import strategies as st
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.distributed.tensor._dtensor_spec import DTensorSpec, TensorMeta
from torch.distributed.tensor.placement_types import Placement, _StridedShard
from torch.testing._internal.distributed.fake_pg import FakeStore

from initpolicy.laws import runs_of
from initpolicy.model import Shard as Held
from initpolicy.model import shard_of


@dataclass(frozen=True)
class Case:
    """A tensor and how it is divided: the mesh's ranks, and the placements on its dimensions."""

    shape: tuple[int, ...]
    sizes: tuple[int, ...]
    placements: tuple[Placement, ...]

    @property
    def world(self) -> int:
        return math.prod(self.sizes)

    def whole(self) -> torch.Tensor:
        """Each element is its own flat index."""
        return torch.arange(math.prod(self.shape)).view(self.shape)


Seen = tuple[Sequence[int], tuple[int, ...], np.ndarray, int]
"""Where a rank is, which dimensions of the mesh divide, what indices it holds, and of how many."""

SHAPES = st.lists(st.integers(0, 9), min_size=1, max_size=3).map(tuple)
MESHES = st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple)


@st.composite
def cases(
    draw: st.DrawFn, strided: bool = False, meshes: st.SearchStrategy[tuple[int, ...]] = MESHES
) -> Case:
    """Any dimension on any dimension of a mesh of up to 16 ranks; `strided`: also in pieces."""
    shape = draw(SHAPES)
    sizes = draw(meshes.filter(lambda sizes: math.prod(sizes) <= 16))
    dims = st.integers(-len(shape), len(shape) - 1)
    some: st.SearchStrategy[Placement] = st.builds(Replicate) | dims.map(Shard)
    if strided:
        pieces = st.integers(1, 6)
        some |= st.builds(lambda dim, n: _StridedShard(dim, split_factor=n), dims, pieces)
    return Case(shape, sizes, tuple(draw(some) for _ in sizes))


@dataclass(frozen=True)
class Ordered:
    """Dimension 0 divided over all dimensions of a mesh, in an order."""

    size: int
    sizes: tuple[int, ...]
    order: tuple[int, ...]

    @property
    def world(self) -> int:
        return math.prod(self.sizes)

    def whole(self) -> torch.Tensor:
        return torch.arange(self.size * 2).view(self.size, 2)

    def local(self, coordinate: Sequence[int]) -> torch.Tensor:
        """What `torch.chunk` leaves, one dimension of the mesh after the other."""
        found = self.whole()
        for dim in self.order:
            chunks = dict(enumerate(found.chunk(self.sizes[dim])))
            found = chunks.get(coordinate[dim], found[:0])
        return found.clone()

    def spec(self, mesh: DeviceMesh, stated: bool) -> DTensorSpec:
        """State the order as torch does: by an entry of its own, or by numbers of pieces."""
        from torch.distributed.tensor._dtensor_spec import ShardOrderEntry

        shards = (Shard(0),) * len(self.sizes)
        order = (ShardOrderEntry(0, self.order),)
        whole = self.whole()
        meta = TensorMeta(whole.shape, whole.stride(), whole.dtype)
        if stated:
            return DTensorSpec(mesh, shards, meta, shard_order=order)
        strided = DTensorSpec._convert_shard_order_to_StridedShard(order, shards, mesh)
        return DTensorSpec(mesh, strided, meta)

    def dtensor(self, mesh: DeviceMesh, stated: bool) -> DTensor:
        local = self.local(mesh.get_coordinate())
        return DTensor(local, self.spec(mesh, stated), requires_grad=False)


@st.composite
def orders(draw: st.DrawFn) -> Ordered:
    sizes = draw(MESHES.filter(lambda sizes: math.prod(sizes) <= 16))
    return Ordered(draw(st.integers(0, 40)), sizes, tuple(draw(st.permutations(range(len(sizes))))))


def each_rank(sizes: tuple[int, ...], ranks: Sequence[int] | None = None) -> Iterator[DeviceMesh]:
    """Be every rank of a world in turn; nothing that is sent arrives.

    torch keeps what it worked out for a mesh, and takes meshes of two ranks for the same. The
    tests ask it for nothing that is kept: tensors are only cut.
    """
    world = math.prod(sizes)
    mesh = torch.tensor(range(world) if ranks is None else ranks).view(sizes)
    for rank in range(world):
        if dist.is_initialized():  # a test that failed may have left it
            dist.destroy_process_group()
        dist.init_process_group("fake", rank=rank, world_size=world, store=FakeStore())
        try:
            yield DeviceMesh("cpu", mesh)
        finally:
            dist.destroy_process_group()


def bounds(held: Held) -> list[list[int]]:
    """Starts and stops of the runs of the flat index that are held."""
    runs = list(runs_of(held))
    return [[start for start, _ in runs], [stop for _, stop in runs]]


def indices(held: Held) -> np.ndarray:
    """Every index of the runs, in their order."""
    runs = itertools.starmap(range, zip(*bounds(held), strict=True))
    return np.array([*itertools.chain(*runs)], np.int64)


def check_one(tensor: torch.Tensor, whole: torch.Tensor) -> Seen:
    """Compare what a rank says it holds with what it holds."""
    held = shard_of(tensor)
    assert held is not None
    assert held.shape == tuple(whole.shape)
    assert sorted(held.split + held.replicated) == list(range(held.mesh.ndim))
    found = indices(held)
    assert held.local.flatten().tolist() == found.tolist()
    starts, stops = map(np.array, bounds(held))
    assert (starts < stops).all()
    assert (starts[1:] != stops[:-1]).all()  # runs that touch are one
    each = [
        [*itertools.chain(*(range(a, b) for a, b in zip(*pair, strict=True)))]
        for pair in held.intervals
    ]
    assert whole.numpy()[np.ix_(*each)].flatten().tolist() == found.tolist()
    return held.mesh.get_coordinate(), held.split, found, whole.numel()


def check_all(shards: Sequence[Seen]) -> None:
    """Every element is held, by those alone who stand at one place of the dividing dimensions."""
    groups: dict[tuple[int, ...], np.ndarray] = {}
    for coordinate, split, found, _ in shards:
        place = tuple(coordinate[dim] for dim in split)
        assert groups.setdefault(place, found).tolist() == found.tolist()
    together = np.concatenate([*groups.values()])
    assert sorted(together.tolist()) == list(range(shards[0][-1]))


def check_world(
    sizes: tuple[int, ...],
    whole: torch.Tensor,
    build: Callable[[DeviceMesh], DTensor],
    ranks: Sequence[int] | None = None,
) -> None:
    """Build a tensor on every rank, and check what each and what all hold."""
    check_all([check_one(build(mesh), whole) for mesh in each_rank(sizes, ranks)])
