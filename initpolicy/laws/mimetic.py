"""Attention whose products of weights resemble those of trained models."""

# The stubs of torch leave these functions without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

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
    times,
)
from initpolicy.laws.fixed import write_rounded

PARTS = ("q", "k", "v", "proj")


@dataclass(frozen=True)
class Mimetic(Law):
    """One side of a factored matrix: query or key, value or projection of an attention layer.

    A. Trockman, J. Z. Kolter, "Mimetic initialization of self-attention layers" (2023). With
    embeddings of d elements and Z of d x d independent N(0, 1 / d), each head has
    W_q^T W_k = alpha Z + beta I, as near as the head's rows allow, and the layer
    W_proj W_v = (alpha Z - beta I)^T, where weights are (out, in) as torch stores them. With the
    singular values U S V^T of the matrix on the right, before it is transposed, W_q is
    (U S^(1/2))^T and W_k is (V S^(1/2))^T, of the largest singular values, a row for each;
    W_v is (U S^(1/2))^T and W_proj is V S^(1/2). All are multiplied by `gain`.

    Both sides draw the same Z only from one stream: their rules must name the same one.

    >>> str(Mimetic("q", 0.5, 0.7, heads=3)), str(Mimetic("proj", 0.4, 0.4, gain=2))
    ('mimetic q (0.5 Z + 0.7 I, heads 3)', 'mimetic proj (0.4 Z - 0.4 I) x 2')
    """

    part: str
    alpha: float
    beta: float
    heads: int = 1
    gain: float = 1.0
    kind: ClassVar[str] = "mimetic"
    shares_stream: ClassVar[bool] = True

    def __post_init__(self) -> None:
        settle(self, "alpha", "beta", "gain")
        if self.part not in PARTS:
            raise LawError(f"part must be one of {', '.join(PARTS)}, not {self.part!r}")
        if isinstance(self.heads, bool) or not isinstance(self.heads, int):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise LawError(f"heads must be a whole number, not {self.heads!r}")
        if self.heads < 1:
            raise LawError(f"heads must be at least 1, and is {self.heads}")
        if self.heads > 1 and not self._by_head:
            raise LawError(
                f"the part {self.part} has one matrix for all heads, not {self.heads}",
                hint="leave out `heads`, which is for q and k",
            )

    def __str__(self) -> str:
        sign = "+" if self._by_head else "-"
        heads = f", heads {self.heads}" if self.heads > 1 else ""
        product = f"{short(self.alpha)} Z {sign} {short(self.beta)} I"
        return times(f"mimetic {self.part} ({product}{heads})", self.gain)

    @property
    def _by_head(self) -> bool:
        return self.part in ("q", "k")

    @property
    def support(self) -> tuple[float, float]:
        """All numbers."""
        return -math.inf, math.inf

    def scaled(self, factor: float) -> Mimetic:
        """Give the law with another gain."""
        return Mimetic(self.part, self.alpha, self.beta, self.heads, self.gain * factor)

    def validate(self, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        """Raise `LawError` unless the tensor is a real matrix that such a product can have."""
        require_real(self, dtype)
        if len(shape) != 2:
            raise LawError(
                f"mimetic {self.part} needs exactly 2 dimensions and {shape} has {len(shape)}"
            )
        inner, width = shape[::-1] if self.part == "proj" else shape
        if inner % self.heads:
            raise LawError(
                f"mimetic {self.part} cannot split the {inner} rows of {shape} "
                f"into {self.heads} heads",
                hint=f"write a divisor of {inner}",
            )
        if inner // self.heads > width:
            raise LawError(
                f"mimetic {self.part} has {inner // self.heads} vectors of {width} elements in "
                f"{shape}, and no more than {width} of them can be orthogonal",
            )

    @torch.no_grad()
    def write(self, tensor: Tensor, stream: field.Stream) -> None:
        """Write this side of the factors; Z is the stream's normal draws, head after head."""

        def draw(z: Tensor, head: int) -> None:
            run = (head * z.numel(), (head + 1) * z.numel())
            field.fill([field.Fill(z, stream, field.NormalDraw(0.0, 1.0), runs=(run,))])

        self._write(tensor, draw)

    @torch.no_grad()
    def write_torch(self, tensor: Tensor) -> None:
        """Write this side of the factors; Z is drawn with torch's generator.

        That generator has no streams: the other side is drawn from another Z.
        """
        self._write(tensor, lambda z, head: z.normal_())

    def check(self, tensor: Tensor) -> tuple[str, ...]:
        """Say whether the vectors of a head are orthogonal, from the longest to the shortest.

        That is certain of any singular vectors. Whether the other side is that of the same matrix
        only both tensors can tell.
        """
        values = comparable(tensor)
        if values.numel() == 0:
            return ()
        if wrong := not_finite(values):
            return wrong
        vectors = values.mT if self.part == "proj" else values
        blocks = vectors.reshape(self.heads, -1, vectors.shape[1])
        gram = blocks @ blocks.mT
        squares = gram.diagonal(dim1=-2, dim2=-1)
        unit = 8 * (torch.finfo(tensor.dtype).eps + 8 * torch.finfo(values.dtype).eps)
        allowed = unit * float(squares.max())
        growth = float((squares[:, 1:] - squares[:, :-1]).max()) if squares.shape[1] > 1 else 0.0
        wrong = ()
        if growth > allowed:
            wrong += (f"vectors of {self} do not lie from the longest to the shortest",)
        squares.zero_()
        error = float(gram.abs().max())
        if error > allowed:
            wrong += (
                f"inner products of vectors of {self} are up to {short(error)} and not 0, "
                f"and rounding explains {short(allowed)}",
            )
        return wrong

    def _write(self, tensor: Tensor, draw: Callable[[Tensor, int], object]) -> None:
        if tensor.numel() == 0:
            return
        target = tensor.mT if self.part == "proj" else tensor
        inner, width = target.shape
        size = inner // self.heads
        values = torch.empty(inner, width, dtype=torch.float64)
        for head in range(self.heads):
            z = torch.empty(width, width, dtype=torch.float64)
            draw(z, head)
            z.mul_(self.alpha / math.sqrt(width))
            z.diagonal().add_(self.beta if self._by_head else -self.beta)
            # Both sides are computed here, whichever is asked for: they fit together to the bit.
            u, s, vh = torch.linalg.svd(z)
            side = u.mT if self.part in ("q", "v") else vh
            values[head * size : (head + 1) * size] = side[:size] * s[:size].sqrt()[:, None]
        write_rounded(values.mul_(self.gain), target)
