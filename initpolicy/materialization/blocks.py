"""The bytes of a file in blocks of bounded size, each drawn straight from the laws."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from initpolicy import field
from initpolicy.laws import Arranged, Law, Part, Stacked, ZeroRows
from initpolicy.materialization.layout import Given

BLOCK = 1 << 22
"""Bytes that are drawn and written at a time."""

NARROW = 1 << 18
"""Elements of 8 bits that are drawn at a time: each takes several bytes on its way."""


@dataclass(frozen=True)
class Unit:
    """Elements of a tensor: those that are made together, or any run of those made one by one."""

    start: int
    stop: int
    together: bool


@dataclass(frozen=True)
class Piece:
    """A run of elements of one tensor."""

    of: Given
    unit: Unit

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return (self.unit.stop - self.unit.start) * self.of.entry.dtype.itemsize


@dataclass(frozen=True)
class Block:
    """Pieces whose bytes follow each other in a file.

    More than `BLOCK` bytes are those of a matrix that is made as a whole.
    """

    offset: int
    """Where it begins, counted from the first tensor's first byte."""
    pieces: tuple[Piece, ...]

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return sum(piece.size for piece in self.pieces)

    def draw(self, memory: Tensor, seed: int) -> None:
        """Write the values into memory of as many bytes."""
        fills: list[field.Fill] = []
        parts: list[tuple[Piece, Part, Tensor, field.Stream]] = []
        first = 0
        for piece in self.pieces:
            entry, unit = piece.of.entry, piece.unit
            place = memory[first : first + piece.size].view(entry.dtype)
            first += piece.size
            # How a product of matrices is rounded may depend on where they lie in memory.
            apart = unit.together and len(self.pieces) > 1
            values = torch.empty_like(place) if apart else place
            part = Part(values, entry.shape, field.Runs.one(unit.start, unit.stop))
            stream = field.stream(seed, piece.of.stream)
            fills += piece.of.law.fills_part(part, stream)
            parts.append((piece, part, place, stream))
        field.fill(fills, threads=1)
        for piece, part, place, stream in parts:
            piece.of.law.write_part(part, stream)
            if part.tensor is not place:
                place.copy_(part.tensor)


def blocks(given: Sequence[Given]) -> Iterator[Block]:
    """Cut the tensors of a file into blocks, in the order of their bytes."""
    pieces: list[Piece] = []
    offset = filled = 0
    for one in given:
        for unit in units(one.law, one.entry.shape, one.entry.dtype):
            for piece in _cut(one, unit, max(0, BLOCK - filled)):
                if pieces and filled + piece.size > BLOCK:
                    yield Block(offset, tuple(pieces))
                    offset, filled, pieces = offset + filled, 0, []
                pieces.append(piece)
                filled += piece.size
    if pieces:
        yield Block(offset, tuple(pieces))


def _cut(one: Given, unit: Unit, room: int) -> Iterator[Piece]:
    """Cut what need not stay together where a block ends; `room` is what is left in the first."""
    if unit.together:
        yield Piece(one, unit)
        return
    width = one.entry.dtype.itemsize
    most = min(NARROW, BLOCK) if width == 1 else BLOCK // width
    start = unit.start
    while start < unit.stop:
        stop = min(start + (room // width or most), start + most, unit.stop)
        yield Piece(one, Unit(start, stop, False))
        room = max(0, room - (stop - start) * width) or BLOCK
        start = stop


def units(law: Law, shape: tuple[int, ...], dtype: torch.dtype) -> list[Unit]:
    """Say which elements of a tensor are made together; in order, none missing.

    Small matrices of a stack are made several at a time.

    >>> from initpolicy.laws import Normal, Orthogonal
    >>> units(Stacked((Normal(0.0, 1.0), Orthogonal())), (4, 3), torch.float32)
    [Unit(start=0, stop=6, together=False), Unit(start=6, stop=12, together=True)]
    """
    merged: list[Unit] = []
    for start, stop, together in _units(law, shape, dtype):
        last = merged[-1] if merged else None
        if (
            last is not None
            and last.together == together
            and (not together or (stop - last.start) * dtype.itemsize <= BLOCK)
        ):
            merged[-1] = Unit(last.start, stop, together)
        elif start < stop:
            merged.append(Unit(start, stop, together))
    return merged


def _units(law: Law, shape: tuple[int, ...], dtype: torch.dtype) -> Iterator[tuple[int, int, bool]]:
    size = math.prod(shape)
    if not size or not law.room(shape, dtype):
        yield 0, size, False
    elif isinstance(law, ZeroRows):
        yield from _units(law.law, shape, dtype)
    elif isinstance(law, Stacked):
        one = (shape[0] // len(law.parts), *shape[1:])
        for index, part in enumerate(law.parts):
            shift = index * math.prod(one)
            if part is not None:
                for start, stop, together in _units(part, one, dtype):
                    yield shift + start, shift + stop, together
    elif isinstance(law, Arranged) and (batch := _leading(law.layout)):
        one = math.prod(shape[batch:])
        for start in range(0, size, one):
            yield start, start + one, True
    else:
        yield 0, size, True


def _leading(layout: str) -> int:
    """How many dimensions of independent matrices there are, if they all come first."""
    batch = layout.count("b")
    return batch if layout.startswith("b" * batch) else 0
