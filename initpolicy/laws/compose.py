"""Laws made of other laws: rows left at zero, stacked parts, and dimensions in another order."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from initpolicy import field
from initpolicy.laws.base import Law, LawError, Piece
from initpolicy.laws.elementwise import Constant
from initpolicy.laws.part import Part


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
    def is_exact(self) -> bool:
        """Whether the other law is."""
        return self.law.is_exact

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

    def fills_part(self, part: Part, stream: field.Stream) -> list[field.Fill]:
        """Give the other law's draws."""
        return self.law.fills_part(part, stream)

    @torch.no_grad()
    def write_part(self, part: Part, stream: field.Stream) -> None:
        """Write the other law, then the zeros that are held."""
        self.law.write_part(part, stream)
        size = math.prod(part.shape[1:])
        for row in self.rows:
            part.within(row * size, part.shape[1:]).tensor.zero_()

    def room(self, shape: tuple[int, ...], dtype: torch.dtype) -> int:
        """What the other law takes."""
        return self.law.room(shape, dtype)

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

    def pieces(self, tensor: Tensor) -> Iterator[Piece]:
        """Give the rows of zeros, and the pieces of the others.

        A law of the whole matrix does not hold for some of its rows, and is left out.
        """
        others = torch.ones(tensor.shape[0], dtype=torch.bool, device=tensor.device)
        others[list(self.rows)] = False
        for row in self.rows:
            yield Piece(f"row {row}", Constant(0.0), tensor.detach()[row])
        if self.law.moments is not None:
            yield from self.law.pieces(tensor.detach()[others])

    def _clear(self, tensor: Tensor) -> None:
        for row in self.rows:
            tensor[row].zero_()


@dataclass(frozen=True)
class Stacked(Law):
    """A law for each equal part of a tensor along dimension 0; a part without one stays as it is.

    Such are the gates of an LSTM and fused projections.

    >>> from initpolicy.laws.elementwise import Constant
    >>> str(Stacked((Constant(0.0), Constant(1.0), None)))
    '3 parts: 0 | 1 | kept'
    """

    parts: tuple[Law | None, ...]
    kind: ClassVar[str] = "stacked"

    def __post_init__(self) -> None:
        if not self.parts or not all(part is None or isinstance(part, Law) for part in self.parts):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise LawError("the parts must be laws, at least one")

    def __str__(self) -> str:
        texts = ["kept" if part is None else str(part) for part in self.parts]
        shown = texts[0] if len(set(texts)) == 1 else " | ".join(texts)
        return f"{len(texts)} parts: {shown}"

    @property
    def is_exact(self) -> bool:
        """Whether every part is."""
        return all(part is None or part.is_exact for part in self.parts)

    @property
    def support(self) -> tuple[float, float]:
        """The smallest interval around all parts' supports."""
        if None in self.parts:
            return -math.inf, math.inf
        lows, highs = zip(*(part.support for part in self.parts if part), strict=True)
        return min(lows), max(highs)

    def scaled(self, factor: float) -> Stacked:
        """Scale every part."""
        return Stacked(tuple(part and part.scaled(factor) for part in self.parts))

    def validate(self, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        """Raise `LawError` if the parts are not equal, or if a part's law cannot hold for it."""
        count = len(self.parts)
        if not shape or shape[0] % count:
            size = shape[0] if shape else "no size"
            raise LawError(
                f"{count} equal parts need a dimension 0 that {count} divides, and {shape} has "
                f"{size}"
            )
        for part in self.parts:
            if part is not None:
                part.validate((shape[0] // count, *shape[1:]), dtype)

    def fills(self, tensor: Tensor, stream: field.Stream) -> list[field.Fill]:
        """Give every part's draws: those that the whole tensor has at these places."""
        found: list[field.Fill] = []
        for index, part, view in self._views(tensor.detach()):
            start = index * view.numel() * (2 if view.is_complex() else 1)
            for fill in part.fills(view, stream):
                found.append(dataclasses.replace(fill, runs=fill.all_runs.shifted(start)))
        return found

    @torch.no_grad()
    def write(self, tensor: Tensor, stream: field.Stream) -> None:
        """Write every part, each with a stream of its own."""
        for index, part, view in self._views(tensor):
            part.write(view, stream.part(f"part {index}"))

    def fills_part(self, part: Part, stream: field.Stream) -> list[field.Fill]:
        """Give the draws of what is held of every part."""
        return [
            dataclasses.replace(
                fill, runs=fill.all_runs.shifted(start * (2 if held.tensor.is_complex() else 1))
            )
            for _, start, law, held in self._held(part)
            for fill in law.fills_part(held, stream)
        ]

    @torch.no_grad()
    def write_part(self, part: Part, stream: field.Stream) -> None:
        """Write what is held of every part."""
        for index, _, law, held in self._held(part):
            law.write_part(held, stream.part(f"part {index}"))

    def room(self, shape: tuple[int, ...], dtype: torch.dtype) -> int:
        """The most that a part takes; they are written one by one."""
        one = (shape[0] // len(self.parts), *shape[1:])
        return max(law.room(one, dtype) if law else 0 for law in self.parts)

    def _held(self, part: Part) -> Iterator[tuple[int, int, Law, Part]]:
        one = (part.shape[0] // len(self.parts), *part.shape[1:])
        for index, law in enumerate(self.parts):
            start = index * math.prod(one)
            held = part.within(start, one)
            if law is not None and held.runs.size:
                yield index, start, law, held

    @torch.no_grad()
    def write_torch(self, tensor: Tensor) -> None:
        """Draw every part in order with torch's generator."""
        for _, part, view in self._views(tensor):
            part.write_torch(view)

    def check(self, tensor: Tensor) -> tuple[str, ...]:
        """Say what is wrong in each part."""
        return tuple(
            f"part {index}: {wrong}"
            for index, part, view in self._views(tensor.detach())
            for wrong in part.check(view)
        )

    def pieces(self, tensor: Tensor) -> Iterator[Piece]:
        """Give the pieces of every part."""
        for index, part, view in self._views(tensor.detach()):
            for piece in part.pieces(view):
                yield piece.within(f"part {index}")

    def _views(self, tensor: Tensor) -> Iterator[tuple[int, Law, Tensor]]:
        size = tensor.shape[0] // len(self.parts)
        for index, part in enumerate(self.parts):
            if part is not None:
                yield index, part, tensor.narrow(0, index * size, size)


@dataclass(frozen=True)
class Arranged(Law):
    """A law of whole matrices for a tensor that stores them in another order.

    `layout` has a letter for each dimension: `o` for outputs, `i` for inputs, `k` for receptive
    field, and `b` for a dimension along which independent matrices lie. The other law sees each
    matrix as torch stores it, of shape (outputs, inputs, *receptive field).

    >>> from initpolicy.laws.orthogonal import Orthogonal
    >>> str(Arranged(Orthogonal(), "bio"))
    'orthogonal, stored as b i o'
    """

    law: Law
    layout: str
    kind: ClassVar[str] = "arranged"

    def __post_init__(self) -> None:
        if not isinstance(self.law, Law):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise LawError(f"law must be a law, not {self.law!r}")
        if not set(self.layout) <= set("oikb"):
            raise LawError(f"a layout is made of the letters o, i, k and b, and is {self.layout!r}")

    def __str__(self) -> str:
        return f"{self.law}, stored as {' '.join(self.layout)}"

    @property
    def is_exact(self) -> bool:
        """What the other law says."""
        return self.law.is_exact

    @property
    def support(self) -> tuple[float, float]:
        """The other law's."""
        return self.law.support

    def scaled(self, factor: float) -> Arranged:
        """Scale the other law."""
        return Arranged(self.law.scaled(factor), self.layout)

    def validate(self, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        """Raise `LawError` if a dimension has no letter, or if the other law cannot hold."""
        if len(self.layout) != len(shape):
            raise LawError(
                f"the layout {' '.join(self.layout)} has {len(self.layout)} letters, and {shape} "
                f"has {len(shape)} dimensions"
            )
        self.law.validate(self._matrix_shape(shape), dtype)

    @torch.no_grad()
    def write(self, tensor: Tensor, stream: field.Stream) -> None:
        """Write matrix after matrix, each with a stream of its own."""
        for index, stored in enumerate(self._stored(tensor)):
            matrix = tensor.new_empty(self._matrix_shape(tensor.shape))
            own = stream.part(f"matrix {index}") if "b" in self.layout else stream
            field.fill(self.law.fills(matrix, own))
            self.law.write(matrix, own)
            stored.copy_(matrix.reshape(stored.shape))

    @torch.no_grad()
    def write_part(self, part: Part, stream: field.Stream) -> None:
        """Make every matrix of which something is held, one at a time."""
        batch = len(self._places("b"))
        if not batch or self.layout[:batch] != "b" * batch:
            super().write_part(part, stream)
            return
        one = part.shape[batch:]
        own = Arranged(self.law, self.layout[batch:])
        for index in range(math.prod(part.shape[:batch])):
            held = part.within(index * math.prod(one), one)
            if held.runs.size:
                own.write_part(held, stream.part(f"matrix {index}"))

    def room(self, shape: tuple[int, ...], dtype: torch.dtype) -> int:
        """The whole tensor and one matrix; one matrix twice if they lie one after the other."""
        matrix = math.prod(self._matrix_shape(shape)) * dtype.itemsize
        batch = len(self._places("b"))
        apart = batch and self.layout[:batch] == "b" * batch
        return matrix + (matrix if apart else super().room(shape, dtype))

    @torch.no_grad()
    def write_torch(self, tensor: Tensor) -> None:
        """Draw matrix after matrix with torch's generator."""
        for stored in self._stored(tensor):
            matrix = tensor.new_empty(self._matrix_shape(tensor.shape))
            self.law.write_torch(matrix)
            stored.copy_(matrix.reshape(stored.shape))

    def check(self, tensor: Tensor) -> tuple[str, ...]:
        """Say what is wrong in each matrix."""
        return tuple(
            f"matrix {index}: {wrong}" if "b" in self.layout else wrong
            for index, stored in enumerate(self._stored(tensor.detach()))
            for wrong in self.law.check(stored.reshape(self._matrix_shape(tensor.shape)))
        )

    def pieces(self, tensor: Tensor) -> Iterator[Piece]:
        """Give the pieces of each matrix."""
        shape = self._matrix_shape(tensor.shape)
        for index, stored in enumerate(self._stored(tensor.detach())):
            for piece in self.law.pieces(stored.reshape(shape)):
                yield piece.within(f"matrix {index}" if "b" in self.layout else "")

    def _places(self, letter: str) -> list[int]:
        return [place for place, other in enumerate(self.layout) if other == letter]

    def _matrix_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        outputs, inputs = (math.prod(shape[place] for place in self._places(x)) for x in "oi")
        return (outputs, inputs, *(shape[place] for place in self._places("k")))

    def _stored(self, tensor: Tensor) -> Iterator[Tensor]:
        """Each matrix as a view of its dimensions in the order outputs, inputs, receptive field."""
        batch = self._places("b")
        order = [place for letter in "boik" for place in self._places(letter)]
        ordered = tensor.permute(order)
        for index in itertools.product(*map(range, ordered.shape[: len(batch)])):
            yield ordered[index]


def keeps_some(law: Law) -> bool:
    """Whether the law leaves a part of the tensor as it is."""
    if isinstance(law, Stacked):
        return any(part is None or keeps_some(part) for part in law.parts)
    return isinstance(law, ZeroRows | Arranged) and keeps_some(law.law)
