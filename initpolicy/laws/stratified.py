"""Values that follow a distribution as evenly as so many values can."""

# The stubs of torch and numpy leave these functions without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from initpolicy import field
from initpolicy.laws.base import Law, LawError, amiss, comparable, not_finite, require_real
from initpolicy.laws.elementwise import Normal, Uniform
from initpolicy.laws.fixed import write_rounded

_WORDS = 1 << 20
"""How many words are held at once."""


@dataclass(frozen=True)
class Stratified(Law):
    """The N quantiles of a law at (i + 1/2) / N, each once, in random order, evenly in every row.

    Their distribution function is never further from the law's than 1 / (2 N), which is the least
    that N values can reach. In a tensor of two and more dimensions, each row (index of dimension 0)
    of n elements has one value in each n-th of the law's probability.

    >>> str(Stratified(Normal(0.0, 0.02)))
    'stratified N(0, 0.02)'
    """

    law: Uniform | Normal
    kind: ClassVar[str] = "stratified"

    def __post_init__(self) -> None:
        if not isinstance(self.law, Uniform | Normal):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise LawError(f"only a uniform or a normal law can be stratified, not {self.law!r}")

    def __str__(self) -> str:
        return f"stratified {self.law}"

    @property
    def is_exact(self) -> bool:
        """Whether the quantiles are found without functions that machines round otherwise."""
        return isinstance(self.law, Uniform)

    @property
    def support(self) -> tuple[float, float]:
        """The other law's."""
        return self.law.support

    def scaled(self, factor: float) -> Stratified:
        """Scale the other law."""
        return Stratified(self.law.scaled(factor))

    def validate(self, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        """Raise `LawError` if the tensor is complex, or cannot hold the other law's values."""
        require_real(self, dtype)
        self.law.validate(shape, dtype)

    def levels(self, count: int) -> Tensor:
        """Give the values of so many elements, from the lowest on, in float64.

        >>> Stratified(Uniform(0.0, 1.0)).levels(4).tolist()
        [0.125, 0.375, 0.625, 0.875]
        """
        odd = 2 * torch.arange(count, dtype=torch.float64) + 1
        if isinstance(self.law, Uniform):
            share = odd / max(1, 2 * count)
            return self.law.low * (1 - share) + self.law.high * share
        # The lower half, mirrored: as exact above the mean as below it.
        lower = torch.special.ndtri(torch.minimum(odd, 2 * count - odd) / max(1, 2 * count))
        return self.law.mean + self.law.std * torch.where(odd > count, -lower, lower)

    @torch.no_grad()
    def write(self, tensor: Tensor, stream: field.Stream) -> None:
        """Write the values, in the order that the stream's words have.

        Of N elements in rows of n, the words r n to (r + 1) n - 1 order the n strata in row r, and
        from N on as many words as there are rows order the rows in each stratum.
        """
        rows, columns = _rows(tuple(tensor.shape))
        if tensor.numel():
            strata = _shuffled(stream, 0, rows, columns)
            inner = _shuffled(stream, rows * columns, columns, rows)
            self._place(torch.from_numpy(strata), torch.from_numpy(inner), tensor)

    @torch.no_grad()
    def write_torch(self, tensor: Tensor) -> None:
        """Write the values, in an order that torch's generator decides."""
        rows, columns = _rows(tuple(tensor.shape))
        if tensor.numel():
            strata = torch.rand(rows, columns, dtype=torch.float64).argsort(dim=1)
            inner = torch.rand(columns, rows, dtype=torch.float64).argsort(dim=1)
            self._place(strata, inner, tensor)

    def check(self, tensor: Tensor) -> tuple[str, ...]:
        """Compare the sorted values with those that there must be, and each row with its strata."""
        values = comparable(tensor)
        if values.numel() == 0:
            return ()
        if wrong := not_finite(values):
            return wrong
        rows, columns = _rows(tuple(values.shape))
        matrix = values.reshape(rows, columns).cpu()
        exact = self.levels(values.numel())
        expected = torch.empty(values.numel(), dtype=tensor.dtype)
        write_rounded(exact, expected)
        expected = comparable(expected)
        limits = torch.finfo(tensor.dtype)
        slack = limits.eps * expected.abs().clamp(min=limits.smallest_normal)
        slack += 8 * torch.finfo(torch.float64).eps * float(exact.abs().max())
        off = (matrix.flatten().sort().values - expected).abs() > slack
        if wrong := amiss(off, f"are not those of {self} when all are sorted"):
            return wrong
        low, high = (expected - slack).view(columns, rows), (expected + slack).view(columns, rows)
        ordered = matrix.sort(dim=1).values
        uneven = ((ordered < low[:, 0]) | (ordered > high[:, -1])).any(dim=1)
        if count := int(uneven.sum()):
            return (
                f"{count} of {rows} rows do not have one value in each of {columns} equal parts "
                f"of {self.law}",
            )
        return ()

    def _place(self, strata: Tensor, inner: Tensor, tensor: Tensor) -> None:
        rows, columns = strata.shape
        ranks = strata * rows + inner[strata, torch.arange(rows)[:, None]]
        write_rounded(self.levels(rows * columns)[ranks].view(tensor.shape), tensor)


def _rows(shape: tuple[int, ...]) -> tuple[int, int]:
    """Give rows and columns; a tensor of fewer than 2 dimensions is one row."""
    return (1, math.prod(shape)) if len(shape) < 2 else (shape[0], math.prod(shape[1:]))


def _shuffled(stream: field.Stream, first: int, count: int, size: int) -> Any:
    """Give `count` permutations of 0 to size - 1, from the words that begin with number `first`.

    A permutation lists the places of its words from the smallest to the largest word, and of equal
    words the earlier place first.
    """
    out = np.empty((count, size), np.int64)
    together = max(1, _WORDS // max(1, size))
    for start in range(0, count, together):
        stop = min(start + together, count)
        words = field.words(stream, first + start * size, first + stop * size)
        keys = words.astype(np.uint64).reshape(stop - start, size) << np.uint64(32)
        keys |= np.arange(size, dtype=np.uint64)
        keys.sort(axis=1)
        out[start:stop] = keys & np.uint64(0xFFFFFFFF)
    return out
