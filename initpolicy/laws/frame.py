"""Unit vectors spread as evenly as possible: the largest |cosine| of two is kept small."""

# The stubs of torch leave these functions without types.
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
from initpolicy.laws.base import (
    Gained,
    LawError,
    comparable,
    not_finite,
    require_real,
    short,
    times,
)
from initpolicy.laws.bases import Dct, Fourier
from initpolicy.laws.fixed import flat, require_matrix, write_rounded
from initpolicy.laws.orthogonal import Orthogonal

Array = Any

MOST_ROWS = 8192
"""More vectors than that have too many pairs to compare in seconds."""

_GRID = 2.0**20
"""Factors are multiples of 1 / _GRID, products of its square: 13 bits remain for how many."""

_WORK = 1e11
"""How many operations a search may cost if its steps are not at their fewest: seconds."""

_EXPONENTS = range(3, 12)


@dataclass(frozen=True)
class Frame(Gained):
    """Rows of length `gain`, as far from parallel as they can be brought.

    Dimensions after the first are flattened. Rows that are at most as many as the columns are
    orthonormal, times the gain. Of more rows n than columns d the largest |cosine| of two is at
    least sqrt((n - d) / (d (n - 1))) (L. R. Welch, 1974); how near it is, docs/bases.md tells.

    >>> str(Frame()), str(Frame(2))
    ('frame', 'frame x 2')
    """

    gain: float = 1.0
    kind: ClassVar[str] = "frame"

    def __str__(self) -> str:
        return times("frame", self.gain)

    def validate(self, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        """Raise `LawError` unless the tensor is a real matrix of at most 8192 rows.

        Rows that can be orthonormal may be more than that.
        """
        require_real(self, dtype)
        require_matrix(self, shape)
        rows, columns = flat(shape)
        if rows > max(columns, MOST_ROWS):
            raise LawError(
                f"{self} compares every pair of rows, of at most {MOST_ROWS}, and {shape} has "
                f"{rows}",
                hint="write `orthogonal`, whose columns are orthonormal then",
            )

    @torch.no_grad()
    def write(self, tensor: Tensor, stream: field.Stream) -> None:
        """Write vectors that began as the stream's normal draws.

        There is one draw for each element. Rows that can be orthonormal are those of `Orthogonal`.
        """
        rows, columns = flat(tuple(tensor.shape))
        if tensor.numel() == 0:
            return
        if rows <= columns:
            Orthogonal(self.gain).write(tensor, stream)
            return
        normals = torch.empty(rows, columns, dtype=torch.float64)
        field.fill([field.Fill(normals, stream, field.NormalDraw(0.0, 1.0))])
        self._finish(normals, tensor)

    @torch.no_grad()
    def write_torch(self, tensor: Tensor) -> None:
        """Write vectors that began as normal draws of torch's generator.

        Rows that can be orthonormal are those of `torch.nn.init.orthogonal_`.
        """
        rows, columns = flat(tuple(tensor.shape))
        if tensor.numel() == 0:
            return
        if rows <= columns:
            Orthogonal(self.gain).write_torch(tensor)
            return
        self._finish(torch.empty(rows, columns, dtype=torch.float64).normal_(), tensor)

    def check(self, tensor: Tensor) -> tuple[str, ...]:
        """Say whether rows have another length than the gain, or lie too close to each other.

        Rows that can be orthonormal must be. Of more rows the largest |cosine| must be smaller
        than that of half of all sets of random vectors.
        """
        values = comparable(tensor)
        if values.numel() == 0:
            return ()
        if wrong := not_finite(values):
            return wrong
        rows, columns = flat(tuple(values.shape))
        if rows <= columns:
            return tuple(
                line.replace("orthogonal", "frame") for line in Orthogonal(self.gain).check(tensor)
            )
        matrix = values.reshape(rows, columns).double()
        lengths = matrix.norm(dim=1)
        error = float((lengths - abs(self.gain)).abs().max())
        allowed = abs(self.gain) * 4 * torch.finfo(tensor.dtype).eps
        if error > allowed:
            return (
                f"lengths of rows are off by up to {short(error)} from that of {self}, "
                f"and rounding explains {short(allowed)}",
            )
        if self.gain == 0 or columns == 1:
            return ()
        found, random = coherence(matrix), random_coherence(rows, columns)
        if found >= random:
            return (
                f"two rows have the |cosine| {short(found)}, and {rows} random vectors of "
                f"{columns} elements have {short(random)}",
            )
        return ()

    def _finish(self, normals: Tensor, tensor: Tensor) -> None:
        units = torch.from_numpy(np.ascontiguousarray(spread(normals.numpy())))
        write_rounded(units.mul_(self.gain).view(tensor.shape), tensor)


def coherence(matrix: Tensor) -> float:
    """Give the largest |cosine| of the angle between two rows; 0 if there is but one.

    >>> coherence(torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 4.0]]))
    0.8
    """
    units = matrix.double()
    units = units / units.norm(dim=1, keepdim=True)
    largest = 0.0
    for start in range(0, len(units), 1024):
        cosines = (units[start : start + 1024] @ units.mT).abs_()
        cosines.diagonal(start).zero_()
        largest = max(largest, float(cosines.max()))
    return round(largest, 12)


def welch_bound(rows: int, columns: int) -> float:
    """Give the least that the coherence of so many vectors can be.

    Sqrt((n - d) / (d (n - 1))) for n vectors of d elements, and 0 if they can be orthogonal
    (L. R. Welch, "Lower bounds on the maximum cross correlation of signals", 1974).

    >>> welch_bound(3, 2), welch_bound(2, 3)
    (0.5, 0.0)
    """
    if rows <= columns:
        return 0.0
    return math.sqrt((rows - columns) / (columns * (rows - 1)))


def random_coherence(rows: int, columns: int) -> float:
    """Give the median coherence of independent normal vectors.

    The squared cosine of two follows Beta(1/2, (d - 1) / 2). Pairs are taken for independent: of
    n (n - 1) / 2, none exceeds the cosine whose tail has the probability log 2 over that number in
    half of all cases.

    >>> round(random_coherence(244, 216), 2)
    0.28
    """
    pairs = rows * (rows - 1) / 2
    angles = np.linspace(0.0, math.pi / 2, 200_001)  # from the pole: the tail lies at the start
    density = np.sin(angles) ** (columns - 2)
    mass = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    angle = float(np.interp(math.log(2) / pairs, mass / mass[-1], angles))
    return math.cos(angle)


def spread(normals: Array) -> Array:
    """Turn normal vectors, more than they have elements, into unit vectors of low coherence.

    All numbers are float64. What is known best is taken where it
    is: equal angles in the plane, and the corners of a simplex for n = d + 1. Else

    1. the matrix is moved to near the closest one with orthonormal columns, by Newton's and
       Schulz's iteration X (3 - X^T X) / 2, for a tight frame has the least sum of squared
       cosines;
    2. its rows, made unit vectors, follow the gradient of the sum of |cosine|^p with momentum, a
       step of the same length for the row that is pushed most, where p grows from 9 to 2049 and
       steps shrink from 0.03 to 0.0003: so the largest cosines count more and more, as in
       H. Zoerlein, M. Bossert, "Coherence optimization and best complex antipodal spherical
       codes" (2015).

    Such a search doubles small differences again and again, and still its result has the same bits
    on every machine: before each matrix product both factors are rounded to multiples of 2^-20, so
    that every sum is exact in float64, in any order. Powers are made by squaring.

    >>> spread(np.array([[1.0], [-2.0]])).tolist()
    [[1.0], [-1.0]]
    """
    rows, columns = normals.shape
    if columns == 1:
        return np.sign(normals)
    if columns == 2:
        circle = Fourier().functions(2 * rows, np.array([1, 2]))  # cos and sin of pi j / n
        return circle[:, :rows].T * math.sqrt(rows)
    if rows == columns + 1:
        return Dct().functions(rows, np.arange(1, rows)).T * math.sqrt(rows / columns)
    x = _tight(normals)
    steps = max(30, min(1000, int(_WORK / (4 * rows * rows * (columns + 64)))))
    momentum = np.zeros_like(x)
    weights = np.empty((rows, rows))
    for step in range(steps):
        done = step / steps
        rate = _rounded(0.03 * 0.01**done)
        exponent = _EXPONENTS[int(len(_EXPONENTS) * done)]
        momentum *= 0.9
        momentum += _push(x, exponent, weights)
        x = _units(_round(x - momentum * rate))
    return x / _lengths(x)


def _rounded(number: float) -> float:
    return round(number * _GRID) / _GRID


def _round(x: Array) -> Array:
    """Round to the grid in place."""
    x *= _GRID
    np.rint(x, out=x)
    x /= _GRID
    return x


def _lengths(x: Array) -> Array:
    """Give the lengths of rows on the grid, as a column."""
    return np.sqrt(np.square(x).sum(axis=1, keepdims=True))


def _units(x: Array) -> Array:
    """Make rows on the grid unit vectors on the grid."""
    return _round(x / _lengths(x))


def _tight(normals: Array) -> Array:
    rows, columns = normals.shape
    x = _round(normals / (1.1 * (math.sqrt(rows) + math.sqrt(columns))))
    for _ in range(12):
        x = _round(x @ (3 * np.eye(columns) - _round(x.T @ x)) / 2)
    return _units(_round(x * _rounded(math.sqrt(rows / columns))))


def _push(x: Array, exponent: int, weights: Array) -> Array:
    """Give the direction in which each row comes closer to others, tangent to the sphere."""
    cosines = x @ x.T
    np.fill_diagonal(cosines, 0.0)
    np.abs(cosines, out=weights)
    weights /= weights.max()
    # Below this the power rounds to 0; and numbers too small to be normal ones are slow.
    weights[weights < 2.0 ** (-22 / 2**exponent)] = 0.0
    for _ in range(exponent):
        np.square(weights, out=weights)
    np.copysign(_round(weights), cosines, out=weights)
    push = _scaled(weights @ x)
    push -= x * (push * x).sum(axis=1, keepdims=True)
    push = _scaled(push)
    return push / max(_lengths(push).max(), 1 / _GRID)


def _scaled(x: Array) -> Array:
    """Divide by a power of 2 that makes the largest number at most 1, and round to the grid."""
    return _round(x / 2.0 ** math.frexp(float(np.abs(x).max()))[1])
