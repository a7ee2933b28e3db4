"""Laws of a whole matrix without chance: what every orthonormal basis has in common."""

# The stubs of torch and numpy leave these functions without types.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from initpolicy import field
from initpolicy.laws.base import (
    Gained,
    Law,
    LawError,
    amiss,
    comparable,
    not_finite,
    require_real,
)
from initpolicy.laws.blocks import Indices, write_by_index
from initpolicy.laws.part import Part


class Fixed(Gained):
    """`gain` times a known matrix; dimensions after the first are flattened.

    The matrix is computed in float64. Each element is rounded to float32, and from there once more
    in types that are narrower; float64 tensors take it as it is.
    """

    is_drawn: ClassVar[bool] = False

    @abstractmethod
    def matrix(self, shape: tuple[int, ...]) -> Tensor:
        """Give the matrix for a tensor of this shape, without the gain, in float64.

        It has one row for each index of dimension 0, and one column for each element of a row.
        """

    def validate(self, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        """Raise `LawError` unless the tensor is real and has at least 2 dimensions."""
        require_real(self, dtype)
        require_matrix(self, shape)

    @torch.no_grad()
    def write(self, tensor: Tensor, stream: field.Stream) -> None:
        """Write the matrix."""
        self.write_torch(tensor)

    @torch.no_grad()
    def write_torch(self, tensor: Tensor) -> None:
        """Write the matrix; nothing is drawn."""
        if tensor.numel():
            write_rounded(self._values(tensor), tensor)

    def check(self, tensor: Tensor) -> tuple[str, ...]:
        """Count the elements that differ from the matrix by more than rounding explains."""
        values = comparable(tensor)
        if values.numel() == 0:
            return ()
        if wrong := not_finite(values):
            return wrong
        expected = torch.empty_like(tensor)
        write_rounded(self._values(tensor), expected)
        expected = comparable(expected)
        # Another machine's cosine may be off by one float64, and so round to the other neighbour.
        limits = torch.finfo(tensor.dtype)
        slack = limits.eps * expected.abs().clamp(min=limits.smallest_normal)
        slack += abs(self.gain) * 4 * torch.finfo(torch.float64).eps
        return amiss((values - expected).abs() > slack, f"are not those of {self}")

    def write_places(self, part: Part, values: Callable[[Indices], Any]) -> None:
        """Write a part whose elements, without the gain, are a function of their indices."""
        exact = _is_exact(part.tensor.dtype)

        def rounded(indices: Indices) -> Tensor:
            found = torch.from_numpy(values(indices)).double().mul_(self.gain)
            return found if exact else found.float()

        write_by_index(part, rounded)

    def _values(self, tensor: Tensor) -> Tensor:
        return self.matrix(tuple(tensor.shape)).mul_(self.gain).view(tensor.shape)


def require_matrix(law: Law, shape: tuple[int, ...]) -> None:
    """Raise `LawError` unless the shape has at least 2 dimensions."""
    if len(shape) < 2:
        raise LawError(
            f"{law} needs at least 2 dimensions and {shape} has {len(shape)}",
            hint='for a bias write `0` or { fn = "uniform", a = -0.1, b = 0.1 }',
        )


def flat(shape: tuple[int, ...]) -> tuple[int, int]:
    """Give rows and columns of a tensor whose dimensions after the first are flattened.

    >>> flat((8, 4, 3, 3)), flat((0, 4))
    ((8, 36), (0, 4))
    """
    return shape[0], math.prod(shape[1:])


def write_rounded(values: Tensor, tensor: Tensor) -> None:
    """Copy float64 values, by way of float32 for every type that is not float64.

    >>> third, out = torch.tensor([1 / 3], dtype=torch.float64), torch.empty(1)
    >>> write_rounded(third, out)
    >>> float(out)
    0.3333333432674408
    """
    tensor.copy_(values if _is_exact(tensor.dtype) else values.float())


def _is_exact(dtype: torch.dtype) -> bool:
    return dtype in (torch.float64, torch.complex128)
