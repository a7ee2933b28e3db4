"""Sparse matrices: normal values, with the same number of zeros in every column."""

# The stubs of torch and numpy leave these functions without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from initpolicy import field
from initpolicy.laws.base import (
    Law,
    LawError,
    comparable,
    not_finite,
    require_real,
    settle,
    short,
    through_float32,
)
from initpolicy.laws.elementwise import Normal
from initpolicy.laws.part import Part

_WORDS = 1 << 20
"""How many words of the mask are held at once."""


@dataclass(frozen=True)
class Sparse(Law):
    """In each column ceil(sparsity * rows) elements are 0; the others are N(0, std).

    J. Martens, "Deep learning via Hessian-free optimization" (2010), as `torch.nn.init.sparse_`
    reads it: columns are those of the stored matrix, dimension 1.

    >>> str(Sparse(0.1, 0.01))
    'sparse 10 %, N(0, 0.01)'
    """

    sparsity: float
    std: float = 0.01
    kind: ClassVar[str] = "sparse"
    _exact: ClassVar[bool] = True

    def __post_init__(self) -> None:
        settle(self, "sparsity", "std")
        if not 0 <= self.sparsity <= 1:
            raise LawError(
                f"sparsity must be between 0 and 1, and is {short(self.sparsity)}",
                hint=f"for {short(self.sparsity)} % write `{short(self.sparsity / 100)}`"
                if 1 < self.sparsity <= 100
                else "",
            )
        if self.std < 0:
            raise LawError(f"std must not be negative, and is {short(self.std)}")

    def __str__(self) -> str:
        return f"sparse {short(100 * self.sparsity)} %, {self._normal}"

    @property
    def _normal(self) -> Normal:
        return Normal(0.0, self.std)

    @property
    def support(self) -> tuple[float, float]:
        """All numbers."""
        return self._normal.support

    def scaled(self, factor: float) -> Sparse:
        """Give the law with another std."""
        return Sparse(self.sparsity, self.std * abs(factor))

    def validate(self, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        """Raise `LawError` unless the tensor is a real matrix."""
        require_real(self, dtype)
        if len(shape) != 2:
            raise LawError(f"sparse needs exactly 2 dimensions and {shape} has {len(shape)}")
        self._normal.validate(shape, dtype)

    def zeros(self, rows: int) -> int:
        """Count the zeros of a column, exactly as torch does.

        >>> Sparse(0.1).zeros(64)
        7
        """
        return math.ceil(self.sparsity * rows)

    def fills(self, tensor: Tensor, stream: field.Stream) -> list[field.Fill]:
        """Give normal draws over all elements."""
        return self._normal.fills(tensor, stream)

    def fills_part(self, part: Part, stream: field.Stream) -> list[field.Fill]:
        """Give normal draws over the elements that are held."""
        return self._normal.fills_part(part, stream)

    @torch.no_grad()
    def write(self, tensor: Tensor, stream: field.Stream) -> None:
        """Set zeros, in each column where the words of the mask are smallest.

        The stream's words after those of the normal draws decide: word number
        `rows * columns + column * rows + row` belongs to the element, and of equal words the upper
        row's counts as smaller.
        """
        # torch masks no 8-bit floats, but the bits of their zero are the integer's.
        bits = tensor.view(torch.uint8) if tensor.dtype.itemsize == 1 else tensor
        rows, columns = tensor.shape
        for held, chosen in self._chosen(rows, columns, np.arange(columns), stream):
            keep = np.ones((len(held), rows), dtype=np.bool_)
            np.put_along_axis(keep, chosen, False, axis=1)
            zero = torch.from_numpy(~keep).mT.to(tensor.device)
            bits[:, int(held[0]) : int(held[-1]) + 1].masked_fill_(zero, 0)

    @torch.no_grad()
    def write_part(self, part: Part, stream: field.Stream) -> None:
        """Set the zeros that are held; columns of which nothing is held are not drawn."""
        rows, columns = part.shape
        flat = torch.zeros(part.runs.size, dtype=torch.bool)
        held = _columns(part.runs, columns)
        for some, chosen in self._chosen(rows, columns, held, stream):
            places = chosen.astype(np.int64) * columns + some[:, None]
            flat[torch.from_numpy(part.runs.find(places.reshape(-1)))] = True
        tensor = part.tensor.detach()
        bits = tensor.view(torch.uint8) if tensor.dtype.itemsize == 1 else tensor
        bits.masked_fill_(flat.view(tensor.shape).to(tensor.device), 0)

    def room(self, shape: tuple[int, ...], dtype: torch.dtype) -> int:
        """Nothing but a mark for each element of the part."""
        return 0

    def _chosen(
        self, rows: int, columns: int, held: Any, stream: field.Stream
    ) -> Iterator[tuple[Any, Any]]:
        """Give some of these ascending columns at a time, and the rows of each one's zeros."""
        zeros = self.zeros(rows)
        if zeros == 0 or rows == 0:
            return
        row_numbers = np.arange(rows, dtype=np.uint64)
        together = max(1, _WORDS // rows)
        for start in range(0, len(held), together):
            some = held[start : start + together]
            first = ((rows * columns) + some * rows).astype(np.uint64)
            words = field.words_of(stream, field.Runs(first, first + np.uint64(rows)))
            keys = words.reshape(len(some), rows).astype(np.uint64) << np.uint64(32)
            yield some, np.argpartition(keys | row_numbers, zeros - 1, axis=1)[:, :zeros]

    @torch.no_grad()
    def write_torch(self, tensor: Tensor) -> None:
        """Draw with `torch.nn.init.sparse_`."""
        if tensor.dtype.itemsize < 2:  # torch draws no 8-bit floats
            through_float32(tensor, self.write_torch)
        else:
            torch.nn.init.sparse_(tensor, self.sparsity, self.std)

    def check(self, tensor: Tensor) -> tuple[str, ...]:
        """Count the zeros of every column.

        More zeros than stated are a contradiction only in types with float32's range of exponents:
        in others a small normal value may round to 0.
        """
        values = comparable(tensor)
        wrong = not_finite(values)
        zeros = self.zeros(values.shape[0])
        counts = (values == 0).sum(dim=0)
        narrow = torch.finfo(tensor.dtype).tiny > torch.finfo(torch.float32).tiny
        off = counts < zeros if narrow or self.std == 0 else counts != zeros
        if columns := int(off.sum()):
            wrong += (f"{columns} of {counts.numel()} columns do not have {zeros} zeros",)
        return wrong


def _columns(runs: field.Runs, columns: int) -> Any:
    """Number the columns of a matrix of which runs hold something."""
    if not runs.size:
        return np.arange(0)
    starts, stops = runs.between(0, runs.size)
    lengths = (stops - starts).astype(np.int64)
    if lengths.max() >= columns:
        return np.arange(columns)
    # Each run begins one column further on, and ends within this row or the next.
    first = (starts % np.uint64(columns)).astype(np.int64)
    change = np.bincount(first, minlength=2 * columns + 1)
    change = change - np.bincount(first + lengths, minlength=2 * columns + 1)
    held = np.cumsum(change)
    return np.flatnonzero(held[:columns] + held[columns : 2 * columns])
