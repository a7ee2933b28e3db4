"""Random orthogonal matrices, drawn as products of reflections instead of factored out."""

# The stubs of torch and numpy leave these functions without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from initpolicy import field
from initpolicy.laws.base import (
    Gained,
    LawError,
    comparable,
    not_finite,
    require_real,
    short,
    through_float32,
    times,
)

_BLOCK = 128
"""Reflections applied at once: fewer make thin products, more make work on the diagonal."""


@dataclass(frozen=True)
class Orthogonal(Gained):
    """`gain` times a matrix with orthonormal rows or columns, whichever are fewer.

    Dimensions after the first are flattened. The matrix is uniform (Haar) among all such matrices.

    >>> str(Orthogonal()), str(Orthogonal(2**0.5))
    ('orthogonal', 'orthogonal x 1.414')
    """

    gain: float = 1.0
    kind: ClassVar[str] = "orthogonal"

    def __str__(self) -> str:
        return times("orthogonal", self.gain)

    def validate(self, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        """Raise `LawError` unless the tensor is real and has at least 2 dimensions."""
        require_real(self, dtype)
        if len(shape) < 2:
            raise LawError(
                f"orthogonal needs at least 2 dimensions and {shape} has {len(shape)}",
                hint='for a bias write `0` or { fn = "uniform", a = -0.1, b = 0.1 }',
            )

    @torch.no_grad()
    def write(self, tensor: Tensor, stream: field.Stream) -> None:
        """Write the matrix made of the stream's normal draws.

        The draws are the elements, row by row, of the tall matrix of shape (larger, smaller) of
        the two sides; those above its diagonal are not used. float64 tensors are computed in
        float64 and all others in float32, rounded once.
        """
        if tensor.numel() == 0:
            return
        rows = tensor.shape[0]
        columns = tensor.numel() // rows
        precision = torch.float64 if tensor.dtype == torch.float64 else torch.float32
        tall = (max(rows, columns), min(rows, columns))
        normals = torch.empty(tall, dtype=precision, device=tensor.device)
        field.fill([field.Fill(normals, stream, field.NormalDraw(0.0, 1.0))])
        in_place = tensor.dtype == precision and tensor.is_contiguous()
        target = (
            tensor.detach()
            if in_place
            else torch.empty_like(tensor, dtype=precision, memory_format=torch.contiguous_format)
        )
        matrix = target.view(rows, columns)
        haar(normals, matrix if rows >= columns else matrix.mT)
        matrix.mul_(self.gain)
        if not in_place:
            tensor.copy_(target)

    @torch.no_grad()
    def write_torch(self, tensor: Tensor) -> None:
        """Draw with `torch.nn.init.orthogonal_`, in float32 where torch has no QR of the type."""
        if tensor.dtype.itemsize < 4:
            through_float32(tensor, self.write_torch)
        else:
            torch.nn.init.orthogonal_(tensor, self.gain)

    def check(self, tensor: Tensor) -> tuple[str, ...]:
        """Say whether the shorter side's vectors are orthogonal and as long as the gain.

        Inner products may be off by what rounding to the type explains, and not by more.
        """
        values = comparable(tensor)
        if values.numel() == 0:
            return ()
        if wrong := not_finite(values):
            return wrong
        matrix = values.flatten(1)
        if matrix.shape[0] > matrix.shape[1]:
            matrix = matrix.mT
        gram = matrix @ matrix.mT
        gram.diagonal().sub_(self.gain**2)
        error = float(gram.abs().max())
        allowed = (
            self.gain**2 * 8 * (torch.finfo(tensor.dtype).eps + 8 * torch.finfo(values.dtype).eps)
        )
        if error <= allowed:
            return ()
        return (
            f"inner products are off by up to {short(error)} from those of {self}, "
            f"and rounding explains {short(allowed)}",
        )


def haar(normals: Tensor, q: Tensor) -> None:
    """Turn independent standard normals into a uniformly random matrix of orthonormal columns.

    `normals` has shape (n, k) with n >= k and is overwritten; `q`, where the matrix is written,
    has the same shape, in any layout.

    G. W. Stewart, "The efficient generation of random orthogonal matrices" (1980): were the
    columns factored by Householder's method, then the vector to reflect in step j would again be
    standard normal, with j elements fewer, whatever happened before. So reflections of fresh
    vectors are drawn directly: Q = H_1 ... H_k D, where H_j = I - 2 v v^T / (v^T v) takes the j-th
    vector x to a multiple of the unit vector e_j, with v = x + sign(x_j) |x| e_j, and D holds the
    signs -sign(x_j) that make the triangular factor's diagonal positive (F. Mezzadri, "How to
    generate random matrices from the classical compact groups", 2007), without which Q is not
    uniform.

    Blocks of reflections are applied as I - V T V^T, where T is the inverse of the upper triangle
    of V^T V with its diagonal halved (C. Puglisi, "Modification of the Householder method based on
    the compact WY representation", 1992): all the work is in matrix products.

    >>> q = torch.empty(2, 1)
    >>> haar(torch.tensor([[3.0], [4.0]]), q)
    >>> [round(value, 6) for value in q.flatten().tolist()]
    [0.6, 0.8]
    """
    k = normals.shape[1]
    vectors = normals.tril_()
    # How orthogonal a reflection is depends on v^T v alone, so that is summed in double precision.
    squares = torch.zeros(k, dtype=torch.float64, device=vectors.device)
    for rows in vectors.split(_BLOCK):
        squares += rows.double().square().sum(dim=0)
    leading = vectors.diagonal()
    signed_norms = squares.sqrt().copysign_(leading)
    squares -= leading.double().square()
    leading += signed_norms
    halves = squares.add_(leading.double().square()).div_(2)
    q.zero_()
    for start in reversed(range(0, k, _BLOCK)):
        stop = min(start + _BLOCK, k)
        v = vectors[start:, start:stop]
        factor = v.mT @ v
        factor.diagonal().copy_(halves[start:stop])
        # Columns from `stop` on are done but for these reflections, and zero in the block's rows.
        if stop < k:
            done = v[stop - start :].mT @ q[stop:, stop:]
            done = torch.linalg.solve_triangular(factor, done, upper=True)
            q[start:, stop:].addmm_(v, done, alpha=-1)
        own = torch.linalg.solve_triangular(factor, v[: stop - start].mT, upper=True)
        q[start:, start:stop].addmm_(v, own, alpha=-1)
        q[start:stop, start:stop].diagonal().add_(1)
    q.mul_(-signed_norms.sign().to(q.dtype))
