"""Deterministic orthonormal bases: identity, Hadamard, cosine, Fourier and Haar matrices."""

# The stubs of torch and numpy leave these functions without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from initpolicy import field
from initpolicy.laws.base import require_floating, times
from initpolicy.laws.fixed import Fixed, flat, require_matrix
from initpolicy.laws.part import Part

Array = Any


@dataclass(frozen=True)
class Identity(Fixed):
    """`gain` on the diagonal of the tensor read as a matrix, and 0 elsewhere.

    Dimensions after the first are flattened. Of matrices that is `Eye`.

    >>> str(Identity()), str(Identity(2))
    ('partial identity', 'partial identity x 2')
    """

    gain: float = 1.0
    kind: ClassVar[str] = "identity"
    _exact: ClassVar[bool] = True

    def __str__(self) -> str:
        return times("partial identity", self.gain)

    @property
    def support(self) -> tuple[float, float]:
        """From 0 to the gain, whichever is lower first."""
        return min(0.0, self.gain), max(0.0, self.gain)

    def validate(self, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        """Raise `LawError` unless the tensor takes fractions and has at least 2 dimensions."""
        require_floating(self, dtype)
        require_matrix(self, shape)

    def matrix(self, shape: tuple[int, ...]) -> Tensor:
        """Give ones on the diagonal."""
        return torch.eye(*flat(shape), dtype=torch.float64)

    def write_part(self, part: Part, stream: field.Stream) -> None:
        """Write the elements that are held, and no others."""
        columns = flat(part.shape)[1]

        def values(indices: Array) -> Array:
            return indices // columns == indices % columns

        self.write_places(part, values)

    def room(self, shape: tuple[int, ...], dtype: torch.dtype) -> int:
        """Nothing: elements are made one by one."""
        return 0


@dataclass(frozen=True)
class Hadamard(Fixed):
    """ZerO: the identity, or where rows are more than columns, part of a Hadamard matrix.

    J. Zhao, F. Schaefer, A. Anandkumar, "ZerO initialization: initializing neural networks with
    only zeros and ones" (2022), algorithms 1 and 2. Of m rows and n columns, m > n, the matrix is
    the upper left part of H / 2^(c/2), where c = ceil(log2 m) and H is Sylvester's Hadamard matrix
    of side 2^c, H[i, j] = (-1)^(number of ones that i and j have in common in base 2). A kernel of
    a convolution, of 3 to 5 dimensions, has that matrix at index size // 2, and 0 elsewhere.

    >>> str(Hadamard()), str(Hadamard(0.5))
    ('ZerO', 'ZerO x 0.5')
    >>> Hadamard().matrix((4, 2)).tolist()
    [[0.5, 0.5], [0.5, -0.5], [0.5, 0.5], [0.5, -0.5]]
    """

    gain: float = 1.0
    kind: ClassVar[str] = "hadamard"

    def __str__(self) -> str:
        return times("ZerO", self.gain)

    def matrix(self, shape: tuple[int, ...]) -> Tensor:
        """Give the matrix; of a convolution, with zeros around the middle of each kernel."""
        if not 3 <= len(shape) <= 5:
            return _zero(*flat(shape))
        kernels = torch.zeros(shape, dtype=torch.float64)
        centre(kernels).copy_(_zero(shape[0], shape[1]))
        return kernels.flatten(1)

    def write_part(self, part: Part, stream: field.Stream) -> None:
        """Write the elements that are held, and no others."""
        shape = part.shape
        kernel = shape[2:] if 3 <= len(shape) <= 5 else ()
        columns = shape[1] if kernel else flat(shape)[1]
        middle = 0
        for size in kernel:
            middle = middle * size + size // 2

        def values(indices: Array) -> Array:
            place, within = np.divmod(indices, math.prod(kernel))
            found = _zero_at(shape[0], columns, place // columns, place % columns)
            return np.where(within == middle, found, 0.0)

        self.write_places(part, values)

    def room(self, shape: tuple[int, ...], dtype: torch.dtype) -> int:
        """Nothing: elements are made one by one."""
        return 0


def centre(kernels: Tensor) -> Tensor:
    """Give the matrix of middle taps, at index size // 2, as a view.

    >>> centre(torch.arange(3.0).view(1, 1, 3)).tolist()
    [[1.0]]
    """
    for _ in kernels.shape[2:]:
        kernels = kernels.select(2, kernels.shape[2] // 2)
    return kernels


def _zero(rows: int, columns: int) -> Tensor:
    return torch.from_numpy(
        _zero_at(rows, columns, np.arange(rows)[:, None], np.arange(columns)[None, :])
    )


def _zero_at(rows: int, columns: int, row: Array, column: Array) -> Array:
    """Give elements of the matrix of ZerO."""
    if rows <= columns:
        return (row == column).astype(np.float64)
    bits = (rows - 1).bit_length()
    odd = row & column
    for shift in (32, 16, 8, 4, 2, 1):  # the parity of the common ones
        if shift < bits:
            odd ^= odd >> shift
    return (1.0 - 2.0 * (odd & 1)) * 2.0 ** (-bits / 2)


class Basis(Fixed):
    """Orthonormal functions in order of frequency.

    Where rows are at most as many as columns, they are functions on the positions of a row. Those
    are the products of one function in each dimension after the first, in order of
    sum (frequency / size)^2 over the dimensions, and of indices where that is equal.
    """

    @abstractmethod
    def functions(self, size: int, which: Array) -> Array:
        """Give these functions, by number in order of frequency, on `size` positions."""

    @abstractmethod
    def frequencies(self, size: int) -> Array:
        """Give a whole number for each function on `size` positions, its frequency."""

    @abstractmethod
    def redundant(self, rows: int, columns: int) -> Array:
        """Give the matrix where rows are more than columns, whose columns are orthonormal."""

    def matrix(self, shape: tuple[int, ...]) -> Tensor:
        """Give the matrix."""
        rows, columns = flat(shape)
        if rows > columns:
            return torch.from_numpy(self.redundant(rows, columns))
        sizes = shape[1:]
        chosen = np.unravel_index(self._first(rows, sizes), sizes)
        product = np.ones((rows, 1))
        for size, which in zip(sizes, chosen, strict=True):
            product = product[:, :, None] * self.functions(size, which)[:, None, :]
            product = product.reshape(rows, -1)
        return torch.from_numpy(product)

    def _first(self, rows: int, sizes: tuple[int, ...]) -> Array:
        """Number the `rows` products of lowest frequency."""
        common = math.lcm(*sizes)
        squares = np.zeros((1,), np.int64)
        for size in sizes:
            scaled = self.frequencies(size).astype(np.int64) * (common // size)
            squares = (squares[:, None] + scaled[None, :] ** 2).reshape(-1)
        return np.argsort(squares, kind="stable")[:rows]


@dataclass(frozen=True)
class Dct(Basis):
    """Cosines of increasing frequency: rows of the orthonormal DCT-II matrix.

    Function k on n positions j is sqrt(2 / n) cos(pi k (2 j + 1) / (2 n)), and sqrt(1 / n) for
    k = 0 (N. Ahmed, T. Natarajan, K. R. Rao, "Discrete cosine transform", 1974). Where rows are
    more than columns, they are all the cosines on as many positions as there are rows, of which
    the tensor has the first: a tight frame, with finer steps of frequency.

    >>> str(Dct()), str(Dct(2))
    ('DCT', 'DCT x 2')
    >>> Dct().matrix((2, 2)).round(decimals=4).tolist()
    [[0.7071, 0.7071], [0.7071, -0.7071]]
    """

    gain: float = 1.0
    kind: ClassVar[str] = "dct"

    def __str__(self) -> str:
        return times("DCT", self.gain)

    def frequencies(self, size: int) -> Array:
        """Function k has k half turns."""
        return np.arange(size)

    def functions(self, size: int, which: Array) -> Array:
        """Give cosines on all positions."""
        return _cosines(size, which, size)

    def redundant(self, rows: int, columns: int) -> Array:
        """Give the first columns of the square matrix."""
        return _cosines(rows, np.arange(rows), columns)


def _cosines(size: int, which: Array, columns: int) -> Array:
    turns = which[:, None].astype(np.int64) * (2 * np.arange(columns) + 1)[None, :] % (4 * size)
    table = math.sqrt(2 / size) * _circle(4 * size)
    out = table[turns]
    out[which == 0] = math.sqrt(1 / size)
    return out


def _circle(count: int) -> Array:
    """Cosines of `count` angles around the circle, each from an angle below an eighth of it."""
    index = np.arange(count, dtype=np.int64)
    eighths = 8 * index  # in units of 1 / (8 count) turns
    folded = np.minimum(eighths, 8 * count - eighths)  # cos is even
    mirrored = np.where(folded > 2 * count, 4 * count - folded, folded)  # cos(pi - x) = -cos x
    sign = np.where(folded > 2 * count, -1.0, 1.0)
    angle = 2 * math.pi / (8 * count)
    small = mirrored <= count
    return sign * np.where(small, np.cos(angle * mirrored), np.sin(angle * (2 * count - mirrored)))


@dataclass(frozen=True)
class Fourier(Basis):
    """Waves of increasing frequency: the real Fourier basis.

    On n positions j: the constant sqrt(1 / n); then for k = 1, 2, ... below n / 2 the pairs
    sqrt(2 / n) cos(2 pi k j / n) and sqrt(2 / n) sin(2 pi k j / n); last, if n is even, the
    alternating sqrt(1 / n) (-1)^j. Where rows are more than columns, they are all the waves on as
    many positions as there are rows, of which the tensor has the first, and cosines and sines are
    taken at j + 1/4 instead of j: a tight frame, with finer steps of frequency, in which no row is
    zero and, of more than one column, no two are equal.

    >>> str(Fourier()), str(Fourier(2))
    ('Fourier', 'Fourier x 2')
    >>> Fourier().matrix((4, 4)).round(decimals=4).tolist()[2:]
    [[0.0, 0.7071, 0.0, -0.7071], [0.5, -0.5, 0.5, -0.5]]
    """

    gain: float = 1.0
    kind: ClassVar[str] = "fourier"

    def __str__(self) -> str:
        return times("Fourier", self.gain)

    def frequencies(self, size: int) -> Array:
        """Both waves of a pair have the same number of turns."""
        return (np.arange(size) + 1) // 2

    def functions(self, size: int, which: Array) -> Array:
        """Give waves on all positions, of which the first is 0."""
        return _waves(size, which, size, shift=0)

    def redundant(self, rows: int, columns: int) -> Array:
        """Give the first columns of the square matrix of waves between positions."""
        return _waves(rows, np.arange(rows), columns, shift=1)


def _waves(size: int, which: Array, columns: int, shift: int) -> Array:
    """Give waves at the positions j + shift / 4."""
    turns = (which.astype(np.int64) + 1) // 2
    is_sine = (which > 0) & (which % 2 == 0)
    alone = (which == 0) | (2 * turns == size)
    # In units of 1 / (4 size) turns. Waves without a partner stay where they are.
    steps = 4 * np.arange(columns)[None, :] + np.where(alone, 0, shift)[:, None]
    phase = turns[:, None] * steps - np.where(is_sine, size, 0)[:, None]
    amplitude = np.where(alone, math.sqrt(1 / size), math.sqrt(2 / size))
    return _circle(4 * size)[phase % (4 * size)] * amplitude[:, None]


@dataclass(frozen=True)
class Haar(Basis):
    """Wavelets from coarse to fine: the Haar basis, of any length.

    The first function is the constant. An interval of n > 1 positions is divided into its first
    ceil(n / 2) = a and its other b positions, and has the wavelet sqrt(b / (a n)) on the first
    and -sqrt(a / (b n)) on the others; then both halves are divided likewise (M. Girardi,
    W. Sweldens, "A new class of unbalanced Haar wavelets", 1997). For powers of 2 that is
    A. Haar's own basis (1910). The wavelets of a level follow each other from left to right.

    Where rows are more than columns, the basis is repeated, each time moved on by one more
    position, in a circle, and all is divided by sqrt(rows / columns). The columns are orthonormal
    if rows are a multiple of columns. Some rows are equal, the constants among them.

    >>> str(Haar()), str(Haar(2))
    ('Haar', 'Haar x 2')
    >>> Haar().matrix((4, 4)).round(decimals=4).tolist()[1:3]
    [[0.5, 0.5, -0.5, -0.5], [0.7071, -0.7071, 0.0, 0.0]]
    """

    gain: float = 1.0
    kind: ClassVar[str] = "haar"

    def __str__(self) -> str:
        return times("Haar", self.gain)

    def frequencies(self, size: int) -> Array:
        """Level l of wavelets has the frequency 2^l, and the constant has 0."""
        levels = [np.full(len(level), 1 << i) for i, level in enumerate(_halvings(size))]
        return np.concatenate([[0], *levels])

    def functions(self, size: int, which: Array) -> Array:
        """Give wavelets, and the constant for 0."""
        places = np.concatenate([np.array([[0, size, size]]), *_halvings(size)])[which]
        start, middle, stop = (places[:, [i]] for i in range(3))
        a, b, n = middle - start, stop - middle, stop - start
        below = np.sqrt(b / (a * n))
        below[which == 0] = math.sqrt(1 / size)
        above = -np.sqrt(a / (np.maximum(b, 1) * n))
        position = np.arange(size)[None, :]
        inside = (position >= start) & (position < stop)
        return np.where(inside, np.where(position < middle, below, above), 0.0)

    def redundant(self, rows: int, columns: int) -> Array:
        """Give the basis again and again, moved on by one position each time."""
        basis = self.functions(columns, np.arange(columns)) * math.sqrt(columns / rows)
        moved = [np.roll(basis, start // columns, axis=1) for start in range(0, rows, columns)]
        return np.concatenate(moved)[:rows]


def _halvings(size: int) -> list[Array]:
    """Start, middle and stop of each divided interval, a row each; a table for each level."""
    levels: list[Array] = []
    intervals = np.array([[0, size]])
    while True:
        start, stop = intervals[intervals[:, 1] - intervals[:, 0] > 1].T
        if not len(start):
            return levels
        middle = start + (stop - start + 1) // 2
        levels.append(np.stack([start, middle, stop], axis=1))
        intervals = np.stack([start, middle, middle, stop], axis=1).reshape(-1, 2)
