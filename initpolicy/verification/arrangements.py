"""How often stratified values are arranged alike by chance: of few values there are few orders."""

# The stubs of torch leave these functions without types.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from initpolicy.laws import Stratified

WHOLE, ROWS = -1, 0


@dataclass(frozen=True)
class Arrangements:
    """The arrangements of a stratified tensor of so many rows and columns.

    All (columns!)^rows (rows!)^columns of them are equally probable. Probabilities are bounds, as
    natural logarithms; `dim` is `WHOLE`, `ROWS`, or 1 for slices with `each` values in a row.
    """

    rows: int
    columns: int
    ties: int = 1
    """The most levels that the tensor's type rounds to one value."""

    @classmethod
    def of(cls, law: Stratified, values: Tensor) -> Arrangements:
        """Read those of a tensor."""
        count = values.numel()
        rows = values.shape[0] if values.ndim > 1 else 1
        rounded = law.levels(count).float().to(values.dtype).double()
        _, ties = np.unique(rounded.numpy(), return_counts=True)
        return cls(rows, count // max(1, rows), int(ties.max()) if count else 1)

    def given(self, dim: int, length: int, each: int) -> float:
        """That the first `length` values of a slice are certain ones, or their negatives.

        >>> round(math.exp(Arrangements(1, 5).given(WHOLE, 3, 1)) * 5 * 4 * 3)
        2
        """
        if dim == WHOLE:
            places = (divmod(index, self.columns) for index in range(length))
        elif dim == ROWS:
            places = ((0, index) for index in range(length))
        else:
            places = (divmod(index, each) for index in range(length))
        left = ((self.rows - row) * (self.columns - column) for row, column in places)
        return math.log(2) + _product(self.ties, left)

    def between(self, dim: int, length: int, each: int) -> float:
        """That they are those of another slice of the same tensor, or their negatives."""
        if dim == ROWS:
            left = ((self.rows - 1) * (self.columns - index) for index in range(length))
            return math.log(2) + _product(self.ties, left)
        # The order within strata may follow from the other slice, and of one value the stratum.
        strata = 1 + math.ceil((self.ties - 1) / self.rows)
        left = (self.columns - each - index % each for index in range(1, length))
        return math.log(2) + _product(strata, left)


def _product(choices: int, among: Iterable[int]) -> float:
    return sum(min(0.0, math.log(choices / max(1, number))) for number in among)
