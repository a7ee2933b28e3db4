"""Laws that are one fixed pattern: identity matrices, and convolutions that change nothing."""

# The stubs of torch leave these functions without types.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from initpolicy import field
from initpolicy.laws.base import (
    Law,
    LawError,
    amiss,
    comparable,
    require_floating,
    settle,
    times,
)
from initpolicy.laws.blocks import Indices, write_by_index
from initpolicy.laws.part import Part


class Pattern(Law):
    """A law without chance: the value at each place is known."""

    value: float

    @property
    def support(self) -> tuple[float, float]:
        """From 0 to the value, whichever is lower first."""
        return min(0.0, self.value), max(0.0, self.value)

    @abstractmethod
    def marked(self, shape: tuple[int, ...], indices: Indices) -> NDArray[np.bool_]:
        """Say which of these indices of a tensor of this shape have the value, and not 0."""

    @torch.no_grad()
    def write(self, tensor: Tensor, stream: field.Stream) -> None:
        """Write the pattern."""
        self.write_torch(tensor)

    def write_part(self, part: Part, stream: field.Stream) -> None:
        """Write what is held of the pattern."""

        def values(indices: Indices) -> Tensor:
            marks = torch.from_numpy(self.marked(part.shape, indices))
            return torch.zeros(len(indices), dtype=torch.float64).masked_fill_(marks, self.value)

        write_by_index(part, values)

    def room(self, shape: tuple[int, ...], dtype: torch.dtype) -> int:
        """Nothing: elements are made one by one."""
        return 0

    def check(self, tensor: Tensor) -> tuple[str, ...]:
        """Count the elements that differ from the pattern."""
        expected = torch.empty_like(tensor)
        self.write_torch(expected)
        return amiss(comparable(tensor) != comparable(expected), f"are not those of {self}")


@dataclass(frozen=True)
class Eye(Pattern):
    """`value` on the diagonal of a matrix, which need not be square, and 0 elsewhere.

    >>> str(Eye()), str(Eye(2))
    ('identity', 'identity x 2')
    """

    value: float = 1.0
    kind: ClassVar[str] = "eye"
    _exact: ClassVar[bool] = True
    is_drawn: ClassVar[bool] = False

    def __post_init__(self) -> None:
        settle(self, "value")

    def __str__(self) -> str:
        return times("identity", self.value)

    def scaled(self, factor: float) -> Eye:
        """Give the pattern with another value."""
        return Eye(self.value * factor)

    def validate(self, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        """Raise `LawError` unless the tensor is a matrix of fractions.

        >>> Eye().validate((8, 8, 3), torch.float32)
        Traceback (most recent call last):
            ...
        initpolicy.laws.base.LawError: identity needs exactly 2 dimensions and (8, 8, 3) has 3
        """
        require_floating(self, dtype)
        if len(shape) != 2:
            raise LawError(
                f"identity needs exactly 2 dimensions and {shape} has {len(shape)}",
                hint="for a convolution write `dirac`" if 3 <= len(shape) <= 5 else "",
            )

    def marked(self, shape: tuple[int, ...], indices: Indices) -> NDArray[np.bool_]:
        """Mark the diagonal."""
        return indices // shape[1] == indices % shape[1]

    @torch.no_grad()
    def write_torch(self, tensor: Tensor) -> None:
        """Write the values of `torch.nn.init.eye_`; nothing is drawn."""
        tensor.zero_()
        tensor.diagonal().fill_(self.value)


@dataclass(frozen=True)
class Dirac(Pattern):
    """The convolution that hands on as many channels as it can, in each of `groups` groups.

    Weights are (out, in / groups, *kernel); the middle of the kernel is at index size // 2.

    >>> str(Dirac()), str(Dirac(groups=2, value=0.5))
    ('dirac', 'dirac (groups 2) x 0.5')
    """

    groups: int = 1
    value: float = 1.0
    kind: ClassVar[str] = "dirac"
    _exact: ClassVar[bool] = True
    is_drawn: ClassVar[bool] = False

    def __post_init__(self) -> None:
        settle(self, "value")
        if isinstance(self.groups, bool) or not isinstance(self.groups, int):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise LawError(f"groups must be a whole number, not {self.groups!r}")
        if self.groups < 1:
            raise LawError(f"groups must be at least 1, and is {self.groups}")

    def __str__(self) -> str:
        name = "dirac" if self.groups == 1 else f"dirac (groups {self.groups})"
        return times(name, self.value)

    def scaled(self, factor: float) -> Dirac:
        """Give the pattern with another value."""
        return Dirac(self.groups, self.value * factor)

    def validate(self, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        """Raise `LawError` unless the tensor is a convolution's weight that has these groups."""
        require_floating(self, dtype)
        if not 3 <= len(shape) <= 5:
            raise LawError(
                f"dirac needs 3, 4 or 5 dimensions and {shape} has {len(shape)}",
                hint="for a matrix write `eye`" if len(shape) == 2 else "",
            )
        if shape[0] % self.groups:
            raise LawError(
                f"dirac cannot split the {shape[0]} output channels of {shape} "
                f"into {self.groups} groups",
                hint=f'write a divisor of {shape[0]}, for example `groups = "module.groups"`',
            )

    def marked(self, shape: tuple[int, ...], indices: Indices) -> NDArray[np.bool_]:
        """Mark the middle of the kernels on each group's diagonal."""
        middle = 0
        for size in shape[2:]:
            middle = middle * size + size // 2
        kernel, within = np.divmod(indices, math.prod(shape[2:]))
        outputs = kernel // shape[1] % (shape[0] // self.groups)
        return (within == middle) & (outputs == kernel % shape[1])

    @torch.no_grad()
    def write_torch(self, tensor: Tensor) -> None:
        """Write the values of `torch.nn.init.dirac_`; nothing is drawn."""
        tensor.zero_()
        if tensor.numel() == 0:
            return
        for _ in tensor.shape[2:]:
            tensor = tensor.select(2, tensor.shape[2] // 2)
        groups: list[Tensor] = list(tensor.chunk(self.groups))
        for group in groups:
            group.diagonal().fill_(self.value)
