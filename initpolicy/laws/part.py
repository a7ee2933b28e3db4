"""The part of a tensor that one process holds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from initpolicy import field

if TYPE_CHECKING:
    from initpolicy.model import Shard


def runs_of(shard: Shard) -> field.Runs:
    """Give the runs of the whole tensor's flat row-major index that a process holds of it."""
    if shard.local.numel() == 0:  # also where there is no dimension to hold nothing of
        return field.Runs([], [])
    return field.Runs.product(shard.shape, shard.intervals)


@dataclass(frozen=True, eq=False)
class Part:
    """Some elements of a tensor, and which ones they are.

    >>> part = Part(torch.empty(2, 2), (2, 4), field.Runs.of([(2, 4), (6, 8)]))
    >>> part.take(torch.arange(8.0).view(2, 4))
    >>> part.tensor.tolist()
    [[2.0, 3.0], [6.0, 7.0]]
    """

    tensor: Tensor
    """The elements held, of any shape with as many elements as `runs`, real memory of its own."""
    shape: tuple[int, ...]
    """The shape of the whole tensor."""
    runs: field.Runs
    """The ascending runs of the whole tensor's flat row-major index that the elements have. May be
    given as pairs of start and stop."""

    def __post_init__(self) -> None:
        if not isinstance(self.runs, field.Runs):  # pyright: ignore[reportUnnecessaryIsInstance]
            object.__setattr__(self, "runs", field.Runs.of(self.runs))

    @property
    def numel(self) -> int:
        """How many elements the whole tensor has."""
        return math.prod(self.shape)

    @property
    def is_whole(self) -> bool:
        """Whether nothing is missing."""
        return self.runs.covers(self.numel)

    def whole(self) -> Tensor:
        """Give memory for the whole tensor: the part's own if nothing is missing."""
        if self.is_whole and self.tensor.is_contiguous():
            return self.tensor.detach().view(self.shape)
        return torch.empty(self.shape, dtype=self.tensor.dtype, device=self.tensor.device)

    def take(self, whole: Tensor) -> None:
        """Copy the elements held from the whole tensor."""
        if whole.data_ptr() == self.tensor.data_ptr() or not self.runs.size:
            return
        flat = whole.reshape(-1)
        if len(self.runs) == 1:
            ((start, stop),) = self.runs
            taken = flat[start:stop]
        else:
            held = torch.from_numpy(self.runs.indices())  # pyright: ignore[reportUnknownMemberType]
            taken = flat[held.to(flat.device)]
        self.tensor.detach().copy_(taken.view(self.tensor.shape))

    def within(self, index: int, shape: tuple[int, ...]) -> Part:
        """Give what is held of the slice of `shape` that starts at the flat `index`.

        The elements held must lie densely in memory.
        """
        first, last, runs = self.runs.within(index, index + math.prod(shape))
        return Part(self.tensor.detach().view(-1)[first:last], shape, runs)
