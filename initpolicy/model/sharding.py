"""What a process holds of a tensor that is divided over a mesh of processes.

A `DTensor` is divided mesh dimension by mesh dimension, and a dimension of the tensor that several
of them divide is divided in an order. `_StridedShard` states that order by a number: how many
pieces there were when its own division was made, by mesh dimensions that stand further right. FSDP2
says so of what tensor parallelism divided before it. The numbers are read back into an order as
`full_tensor` reads them; where no order has these numbers, each placement divides what those to the
left of it left over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray

from initpolicy.model.distributed import is_sharded
from initpolicy.model.errors import ModelError

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

Intervals = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Ascending starts and stops of the indices held of one dimension; none is empty."""


class Division(NamedTuple):
    """A dimension of a tensor, divided over a dimension of the mesh.

    Attributes:
        mesh_dim: the dimension of the mesh.
        dim: the dimension of the tensor.
        pieces: how many pieces what is held is cut into first, each of which is then divided.
    """

    mesh_dim: int
    dim: int
    pieces: int = 1


@dataclass(frozen=True, eq=False)
class Shard:
    """What this process holds of a tensor.

    Attributes:
        local: the memory that holds the elements.
        shape: the shape of the whole tensor.
        intervals: the indices held of each dimension; their product are the elements held.
        mesh: the processes that the tensor is divided over.
        split: the mesh dimensions over which elements are divided.
        replicated: the other mesh dimensions, along which processes hold the same.
    """

    local: torch.Tensor
    shape: tuple[int, ...]
    intervals: tuple[Intervals, ...]
    mesh: DeviceMesh
    split: tuple[int, ...]
    replicated: tuple[int, ...]


def shard_of(tensor: torch.Tensor, name: str = "a tensor") -> Shard | None:
    """Say what this process holds of a `DTensor`, or None for a tensor of any other class.

    No memory is touched and nothing is sent: the tensor may be on the meta device.

    Args:
        tensor: any tensor.
        name: what error messages call it.

    Raises:
        ModelError: the tensor holds partial values, it is divided in a way that is not known, or
            its local tensor has not the shape that its placements say.
    """
    if not is_sharded(tensor):
        return None
    spec: Any = cast(Any, tensor)._spec
    local: torch.Tensor = cast(Any, tensor)._local_tensor.detach()
    shape, mesh = tuple(tensor.shape), spec.mesh
    divisions = _divisions(spec.placements, len(shape), name)
    coordinate = mesh.get_coordinate()
    if coordinate is None:  # the mesh is one of other processes
        intervals, expected = (_NOTHING,) * len(shape), (0,)
    else:
        sizes = tuple(mesh.shape)
        ordered = _ordered(divisions, sizes, spec)
        intervals, expected = held(shape, sizes, tuple(coordinate), ordered)
    if tuple(local.shape) != expected and (local.numel() or 0 not in expected):
        placements = ", ".join(map(repr, spec.placements))
        raise ModelError(
            f"{name} of shape {shape} has a local tensor of shape {tuple(local.shape)}, but its "
            f"placements ({placements}) say {expected}",
            hint="if it was made by DTensor.from_local, give that the shape and the stride of the "
            "whole tensor",
        )
    split = tuple(division.mesh_dim for division in divisions)
    others = tuple(dim for dim in range(len(spec.placements)) if dim not in split)
    return Shard(local, shape, intervals, mesh, split, others)


def _divisions(placements: Sequence[object], ndim: int, name: str) -> tuple[Division, ...]:
    """Give the divisions that placements state, mesh dimension by mesh dimension."""
    from torch.distributed.tensor import placement_types as known

    divided = (known.Shard, known._StridedShard)  # pyright: ignore[reportPrivateUsage]
    found: list[Division] = []
    for mesh_dim, placement in enumerate(placements):
        kind, its = type(placement), cast(Any, placement)
        if kind in divided and -ndim <= its.dim < ndim:
            found.append(Division(mesh_dim, its.dim % ndim, getattr(its, "split_factor", 1)))
        elif isinstance(placement, known.Partial):
            raise ModelError(
                f"{name} holds partial values: {placement!r} on mesh dimension {mesh_dim}",
                hint="redistribute it to Shard or Replicate first",
            )
        elif kind is not known.Replicate:
            raise ModelError(
                f"{name} is divided in a way that is not known here: {type(placement).__name__} on "
                f"mesh dimension {mesh_dim}",
                hint="redistribute it to Shard or Replicate first",
            )
    return tuple(found)


def _ordered(
    divisions: tuple[Division, ...], sizes: tuple[int, ...], spec: Any
) -> tuple[Division, ...]:
    """Put divisions into the order in which they are made."""
    # Not every version of torch has these attributes; without the first, pieces mean an order.
    if any(division.pieces > 1 for division in divisions) and (
        getattr(spec, "use_strided_shard_as_shard_order", True) is not False
    ):
        return order_of_pieces(divisions, sizes) or divisions
    stated = getattr(spec, "shard_order", None)
    if not stated:
        return divisions
    by_mesh_dim = {division.mesh_dim: division for division in divisions}
    return tuple(by_mesh_dim[mesh_dim] for entry in stated for mesh_dim in entry.mesh_dims)


@lru_cache(maxsize=4096)
def order_of_pieces(
    divisions: tuple[Division, ...], sizes: tuple[int, ...]
) -> tuple[Division, ...] | None:
    """Read an order from the numbers of pieces, or give None if no order has these numbers.

    A division has as many pieces as were made before it by mesh dimensions to its right.

    >>> order_of_pieces((Division(0, 0, pieces=2), Division(1, 0)), sizes=(4, 2))
    (Division(mesh_dim=1, dim=0, pieces=1), Division(mesh_dim=0, dim=0, pieces=1))
    """
    orders: dict[int, list[int]] = {}
    for mesh_dim, dim, pieces in reversed(divisions):
        order = orders.setdefault(dim, [])
        made, place = 1, 0
        while made != pieces:
            if place == len(order):
                return None
            made *= sizes[order[place]]
            place += 1
        order.insert(place, mesh_dim)
    return tuple(Division(mesh_dim, dim) for dim, order in orders.items() for mesh_dim in order)


@lru_cache(maxsize=4096)
def held(
    shape: tuple[int, ...],
    sizes: tuple[int, ...],
    coordinate: tuple[int, ...],
    divisions: tuple[Division, ...],
) -> tuple[tuple[Intervals, ...], tuple[int, ...]]:
    """Give the intervals held of each dimension, and how many indices that is.

    Args:
        shape: the shape of the whole tensor.
        sizes: the shape of the mesh.
        coordinate: where in the mesh the process is.
        divisions: the divisions, in the order in which they are made.

    >>> (rows,), lengths = held((10,), (2,), (1,), (Division(0, 0, pieces=2),))
    >>> [array.tolist() for array in rows], lengths
    ([[3, 8], [5, 10]], (4,))
    """
    intervals = [_interval(0, size) for size in shape]
    lengths = list(shape)
    for mesh_dim, dim, pieces in divisions:
        part = _part(lengths[dim], pieces, sizes[mesh_dim], coordinate[mesh_dim])
        lengths[dim] = int((part[1] - part[0]).sum())
        intervals[dim] = _among(intervals[dim], part)
    for array in (array for pair in intervals for array in pair):
        array.flags.writeable = False  # it is shared with whoever asks next
    return tuple(intervals), tuple(lengths)


def _part(length: int, pieces: int, shards: int, shard: int) -> Intervals:
    """Cut [0, length) into pieces and each into shards, and give one shard of each piece.

    Sizes are those of `torch.chunk`: as equal as the first ones can be, the last ones less.
    """
    each = -(-length // pieces)
    starts = np.minimum(np.arange(pieces, dtype=np.int64) * each, length)
    sizes = np.minimum(starts + each, length) - starts
    share = -(-sizes // shards)
    return _joined(
        starts + np.minimum(shard * share, sizes), starts + np.minimum((shard + 1) * share, sizes)
    )


def _among(intervals: Intervals, part: Intervals) -> Intervals:
    """Give the indices at some positions of those held; positions are ascending intervals."""
    starts, stops = intervals
    if len(starts) == 1:
        return starts + part[0], starts + part[1]
    if not len(part[0]):
        return part
    ends = np.cumsum(stops - starts)
    firsts = ends - (stops - starts)
    edges = np.unique(np.concatenate([firsts, *part]))
    left, right = edges[:-1], edges[1:]
    wanted = left < part[1][np.searchsorted(part[0], left, "right") - 1]
    wanted &= left >= part[0][0]
    left, right = left[wanted], right[wanted]
    shift = (starts - firsts)[np.searchsorted(firsts, left, "right") - 1]
    return _joined(left + shift, right + shift)


def _joined(starts: NDArray[np.int64], stops: NDArray[np.int64]) -> Intervals:
    """Leave out what is empty, and make one interval of those that touch."""
    some = starts < stops
    if not some.all():
        starts, stops = starts[some], stops[some]
    apart = starts[1:] != stops[:-1]
    if apart.all():
        return starts, stops
    return starts[np.r_[True, apart]], stops[np.r_[apart, True]]


def _interval(start: int, stop: int) -> Intervals:
    return _joined(np.array([start], np.int64), np.array([stop], np.int64))


_NOTHING = _interval(0, 0)
