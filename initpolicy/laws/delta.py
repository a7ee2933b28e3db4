"""Convolutions that keep every norm: an orthogonal matrix in the middle of the kernel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from initpolicy import field
from initpolicy.laws.base import (
    Gained,
    LawError,
    amiss,
    comparable,
    require_real,
    times,
)
from initpolicy.laws.bases import centre
from initpolicy.laws.orthogonal import Orthogonal


@dataclass(frozen=True)
class DeltaOrthogonal(Gained):
    """`gain` times a random matrix of orthonormal columns in the middle of the kernels, else 0.

    Weights are (out, in, *kernel); the middle of the kernel is at index size // 2. The matrix is
    that of `Orthogonal`.

    >>> str(DeltaOrthogonal()), str(DeltaOrthogonal(2))
    ('delta orthogonal', 'delta orthogonal x 2')
    """

    gain: float = 1.0
    kind: ClassVar[str] = "delta_orthogonal"

    def __str__(self) -> str:
        return times("delta orthogonal", self.gain)

    def validate(self, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        """Raise `LawError` unless the tensor is the weight of a convolution that widens.

        >>> DeltaOrthogonal().validate((8, 16, 3, 3), torch.float32)
        Traceback (most recent call last):
            ...
        initpolicy.laws.base.LawError: delta orthogonal needs at least as many output channels as
        input channels, and (8, 16, 3, 3) has 8 and 16
        """
        require_real(self, dtype)
        if not 3 <= len(shape) <= 5:
            raise LawError(
                f"delta orthogonal needs 3, 4 or 5 dimensions and {shape} has {len(shape)}",
                hint="for a matrix write `orthogonal`" if len(shape) == 2 else "",
            )
        if shape[0] < shape[1]:
            raise LawError(
                "delta orthogonal needs at least as many output channels as input channels, "
                f"and {shape} has {shape[0]} and {shape[1]}",
                hint="write `orthogonal`, whose rows are orthonormal then",
            )

    @torch.no_grad()
    def write(self, tensor: Tensor, stream: field.Stream) -> None:
        """Write zeros, and the matrix made of the stream's normal draws."""
        tensor.zero_()
        if tensor.numel():
            self._orthogonal.write(centre(tensor), stream)

    @torch.no_grad()
    def write_torch(self, tensor: Tensor) -> None:
        """Write zeros, and the matrix that `torch.nn.init.orthogonal_` draws."""
        tensor.zero_()
        if tensor.numel():
            self._orthogonal.write_torch(centre(tensor))

    def check(self, tensor: Tensor) -> tuple[str, ...]:
        """Count what is not 0 around the middle, and judge the middle as `Orthogonal` does."""
        values = tensor.detach()
        if values.numel() == 0:
            return ()
        around = comparable(values).clone()
        centre(around).zero_()
        middle = self._orthogonal.check(centre(values))
        return amiss(around != 0, "are not 0 around the middle") + tuple(
            line.replace("orthogonal", "delta orthogonal") for line in middle
        )

    @property
    def _orthogonal(self) -> Orthogonal:
        return Orthogonal(self.gain)
