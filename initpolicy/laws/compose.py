"""Laws made of another law."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from initpolicy import field
from initpolicy.laws.base import Law, LawError


@dataclass(frozen=True)
class ZeroRows(Law):
    """Another law, but that these rows (indices of dimension 0) are zero.

    The row of an embedding's `padding_idx` is one.

    >>> from initpolicy.laws.elementwise import Normal
    >>> str(ZeroRows(Normal(0.0, 1.0), (0,)))
    'N(0, 1), row 0 zero'
    """

    law: Law
    rows: tuple[int, ...]
    kind: ClassVar[str] = "zero_rows"

    def __post_init__(self) -> None:
        if not isinstance(self.law, Law):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise LawError(f"law must be a law, not {self.law!r}")
        if not isinstance(self.rows, tuple):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise LawError(f"rows must be a sequence of whole numbers, not {self.rows!r}")
        for row in self.rows:
            if isinstance(row, bool) or not isinstance(row, int):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise LawError(f"rows must be whole numbers, not {row!r}")
        object.__setattr__(self, "rows", tuple(sorted(set(self.rows))))

    def __str__(self) -> str:
        which = "row" if len(self.rows) == 1 else "rows"
        return f"{self.law}, {which} {', '.join(map(str, self.rows))} zero"

    @property
    def support(self) -> tuple[float, float]:
        """The other law's, widened to hold 0."""
        low, high = self.law.support
        return min(low, 0.0), max(high, 0.0)

    def scaled(self, factor: float) -> ZeroRows:
        """Scale the other law."""
        return ZeroRows(self.law.scaled(factor), self.rows)

    def of_part(self) -> ZeroRows:
        """Give the other law's part with the same rows."""
        return ZeroRows(self.law.of_part(), self.rows)

    def validate(self, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        """Raise `LawError` if the tensor lacks a row, or if the other law does."""
        self.law.validate(shape, dtype)
        if not shape:
            raise LawError("a tensor without dimensions has no rows to leave at zero")
        for row in self.rows:
            if not 0 <= row < shape[0]:
                raise LawError(
                    f"row {row} cannot be left at zero: {shape} has rows 0 to {shape[0] - 1}"
                    if shape[0]
                    else f"row {row} cannot be left at zero: {shape} has no rows"
                )

    def fills(self, tensor: Tensor, stream: field.Stream) -> list[field.Fill]:
        """Give the other law's draws."""
        return self.law.fills(tensor, stream)

    @torch.no_grad()
    def write(self, tensor: Tensor, stream: field.Stream) -> None:
        """Write the other law, then the zeros."""
        self.law.write(tensor, stream)
        self._clear(tensor)

    @torch.no_grad()
    def write_torch(self, tensor: Tensor) -> None:
        """Draw the other law with torch's generator, then write the zeros."""
        self.law.write_torch(tensor)
        self._clear(tensor)

    def check(self, tensor: Tensor) -> tuple[str, ...]:
        """Say which rows are not zero, and what the other law says of the other rows.

        A law of the whole matrix does not hold for some of its rows: only the support of such a
        law is not asked then.
        """
        rows = [row for row in self.rows if int(torch.count_nonzero(tensor.detach()[row]))]
        wrong = tuple(f"row {row} is not zero" for row in rows)
        if self.law.moments is None:
            return wrong
        others = torch.ones(tensor.shape[0], dtype=torch.bool, device=tensor.device)
        others[list(self.rows)] = False
        return wrong + self.law.check(tensor.detach()[others])

    def _clear(self, tensor: Tensor) -> None:
        for row in self.rows:
            tensor[row].zero_()
