"""A law that is a tensor of a file."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor

from initpolicy import field
from initpolicy.laws.base import Law, LawError, amiss, comparable, name_of, settle, times
from initpolicy.laws.elementwise import Constant, Drawn
from initpolicy.laws.files import FileError, load, stored
from initpolicy.laws.part import Part

_TOGETHER = 1 << 18
"""How many elements are read at once, if a row has no more."""


@dataclass(frozen=True)
class FromFile(Law):
    """The tensor `key` of a file, or its `rows` from the first to before the last.

    `repeat` copies of that lie one after the other along dimension 0. Floating-point types are
    converted, rounded once to nearest; whole numbers go into types that hold all of theirs.

    >>> str(FromFile("vgg19.safetensors", "features.0.weight", rows=(0, 8)))
    'features.0.weight[0:8] of vgg19.safetensors'
    """

    path: str
    key: str
    rows: tuple[int, int] | None = None
    repeat: int = 1
    factor: float = 1.0
    kind: ClassVar[str] = "from_file"
    _exact: ClassVar[bool] = True
    is_drawn: ClassVar[bool] = False

    def __post_init__(self) -> None:
        settle(self, "factor")
        for name in ("path", "key"):
            if not isinstance(getattr(self, name), str):
                raise LawError(f"{name} must be a text, not {getattr(self, name)!r}")
        rows = cast("object", self.rows)
        if rows is not None and not (
            isinstance(rows, tuple)
            and len(cast("tuple[object, ...]", rows)) == 2
            and all(type(row) is int and row >= 0 for row in cast("tuple[object, ...]", rows))
        ):
            raise LawError(f"rows must be two whole numbers, not {rows!r}")
        if type(self.repeat) is not int or self.repeat < 1:
            raise LawError(f"repeat must be a whole number from 1 on, not {self.repeat!r}")

    def __str__(self) -> str:
        rows = "" if self.rows is None else f"[{self.rows[0]}:{self.rows[1]}]"
        repeat = "" if self.repeat == 1 else f", {self.repeat} times"
        return times(f"{self.key}{rows} of {self.path}{repeat}", self.factor)

    @property
    def support(self) -> tuple[float, float]:
        """Not known before the file is read."""
        return -math.inf, math.inf

    def scaled(self, factor: float) -> FromFile:
        """Give the law with another factor."""
        return dataclasses.replace(self, factor=self.factor * factor)

    def validate(self, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        """Raise `FileError` unless the file's header has such a tensor of this shape.

        Nothing but headers is read.
        """
        found = stored(self.path, self.key)
        given = found.shape
        if self.rows is not None:
            start, stop = self.rows
            if not given or not start < stop <= given[0]:
                raise FileError(
                    f"{self.path}: `{self.key}` has no rows {start}:{stop}; its shape is {given}"
                )
            given = (stop - start, *given[1:])
        if self.repeat != 1:
            if not given:
                raise FileError(f"{self.path}: `{self.key}` has no dimension to repeat it along")
            given = (given[0] * self.repeat, *given[1:])
        if given != shape:
            what = "" if given == found.shape else f", which gives {given}"
            raise FileError(
                f"{self.path}: `{self.key}` has shape {found.shape}{what}, and the tensor {shape}",
                hint=_rows_hint(given, shape),
            )
        if not _converts(found.dtype, dtype) or (self.factor != 1 and not _is_wide(dtype)):
            raise FileError(
                f"{self.path}: `{self.key}` is of {name_of(found.dtype)}, which is not converted "
                f"to {name_of(dtype)}"
            )

    @torch.no_grad()
    def write(self, tensor: Tensor, stream: field.Stream) -> None:
        """Read the file, and convert once."""
        self.write_torch(tensor)

    @torch.no_grad()
    def write_part(self, part: Part, stream: field.Stream) -> None:
        """Read the rows of which something is held, a few at a time, and convert once."""
        self.validate(part.shape, part.tensor.dtype)  # the file may be another one by now
        if not part.shape:
            part.take(self._times(load(self.path, self.key)))
            return
        one = (part.shape[0] // self.repeat, *part.shape[1:])
        for copy in _held(part.runs, math.prod(one)):
            self._read(part.within(copy * math.prod(one), one))

    def room(self, shape: tuple[int, ...], dtype: torch.dtype) -> int:
        """Nothing: a few rows are read at a time."""
        return 0

    def _read(self, part: Part) -> None:
        """Read what is held of one copy."""
        skipped = 0 if self.rows is None else self.rows[0]
        width = math.prod(part.shape[1:])
        rows = _held(part.runs, width)
        together = max(1, _TOGETHER // width) if width else 1
        for start in range(rows.start, rows.stop, together):
            stop = min(start + together, rows.stop)
            held = part.within(start * width, (stop - start, *part.shape[1:]))
            if held.runs.size:
                found = load(self.path, self.key, (skipped + start, skipped + stop))
                held.take(self._times(found))

    @torch.no_grad()
    def write_torch(self, tensor: Tensor) -> None:
        """Read the file; nothing is drawn."""
        tensor.detach().copy_(self._values(tensor))

    def check(self, tensor: Tensor) -> tuple[str, ...]:
        """Count the values that are not those of the file."""
        expected = comparable(self._values(tensor).to(tensor.dtype))
        found = comparable(tensor.cpu())
        wrong = (found != expected) & ~((found != found) & (expected != expected))
        return amiss(wrong, f"are not those of {self}")

    def _values(self, tensor: Tensor) -> Tensor:
        values = load(self.path, self.key, self.rows)
        if self.repeat != 1:
            values = values.repeat(self.repeat, *(1 for _ in values.shape[1:]))
        if values.shape != tensor.shape:  # the file is another one by now
            raise FileError(f"{self.path}: `{self.key}` has changed its shape since it was planned")
        return self._times(values)

    def _times(self, values: Tensor) -> Tensor:
        if self.factor == 1:
            return values
        wide = torch.complex128 if values.is_complex() else torch.float64
        return values.to(wide) * self.factor


def _held(runs: field.Runs, size: int) -> range:
    """Number the slices of so many elements from the first to the last that are held."""
    return range(runs.at(0)[0] // size, (runs.stop - 1) // size + 1) if runs.size else range(0)


def files_of(law: Law) -> Iterator[FromFile]:
    """Every part of a law that reads a file.

    >>> from initpolicy.laws.compose import Stacked
    >>> [one.key for one in files_of(Stacked((FromFile("a.pt", "w"), None)))]
    ['w']
    """
    if isinstance(law, FromFile):
        yield law
        return
    if isinstance(law, Constant | Drawn):  # which nearly all are, and made of no others
        return
    for item in dataclasses.fields(law):  # type: ignore[arg-type]
        value = getattr(law, item.name)
        for part in cast("tuple[object, ...]", value) if isinstance(value, tuple) else (value,):
            if isinstance(part, Law):
                yield from files_of(part)


def _rows_hint(given: tuple[int, ...], shape: tuple[int, ...]) -> str:
    if given and shape and given[1:] == shape[1:]:
        if given[0] > shape[0]:
            return f'to take some of its rows write `rows = "0:{shape[0]}"`'
        if given[0] and shape[0] % given[0] == 0:
            return f"to repeat it write `repeat = {shape[0] // given[0]}`"
    return ""


def _is_wide(dtype: torch.dtype) -> bool:
    return dtype.is_floating_point or dtype.is_complex


def _converts(found: torch.dtype, wanted: torch.dtype) -> bool:
    if found == wanted:
        return True
    if _is_wide(found):
        return wanted.is_complex or (wanted.is_floating_point and not found.is_complex)
    if _is_wide(wanted) or torch.bool in (found, wanted):
        return False
    narrow, wide = torch.iinfo(found), torch.iinfo(wanted)
    return wide.min <= narrow.min and narrow.max <= wide.max
