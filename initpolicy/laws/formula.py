"""Laws that are a formula: each element computed from its indices and its draws."""

# The stubs of torch leave these functions without types.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from initpolicy import field
from initpolicy.expressions import LONGEST_CLOSED, Expression, ExpressionError, evaluate_lanes
from initpolicy.laws.base import Law, LawError, amiss, name_of, not_finite, settle, short, times
from initpolicy.laws.blocks import BLOCK, write_blocks
from initpolicy.laws.part import Part

MOST_CHECKED = 1 << 20  # elements; of larger tensors, some are computed when it is planned
DRAWS = frozenset({"u", "z"})

_INDEX = re.compile("i(0|[1-9][0-9]?)?")
_HALF_WORD = 2.0**-33  # u lies between this and 1 less this
_LARGEST_Z = 6.35  # above the largest |z| of a draw

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


def is_place(name: str) -> bool:
    """Whether a name in a formula is an index or a draw: `i`, `i0`, `i1`, ..., `u` or `z`.

    >>> [is_place(name) for name in ("i", "i0", "u", "in_features")]
    [True, True, True, False]
    """
    return name in DRAWS or _INDEX.fullmatch(name) is not None


@lru_cache(maxsize=1024)
def _parsed(text: str) -> Expression:
    return Expression.parse(text, LONGEST_CLOSED)


@dataclass(frozen=True)
class Formula(Law):
    """Every element is an expression in its indices and its draws, times `factor`.

    `i0`, `i1`, ... are the indices along the dimensions and `i` is the row-major one, all from 0;
    `u` is the uniform field, in the open interval from 0 to 1, and `z` the normal one. Both are
    the draws that a uniform and a normal law have; in a formula of both they are independent, and
    `u` has a stream of its own. Everything is computed as float64.

    >>> law = Formula("10000 ** (-2 * i0 / 64)")
    >>> str(law), str(law.scaled(2))
    ('10000 ** (-2 * i0 / 64)', '(10000 ** (-2 * i0 / 64)) x 2')
    """

    text: str
    factor: float = 1.0
    kind: ClassVar[str] = "formula"

    def __post_init__(self) -> None:
        settle(self, "factor")
        if not isinstance(self.text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise LawError(f"a formula must be a text, not {self.text!r}")
        try:
            expression = _parsed(self.text)
        except ExpressionError as error:
            raise LawError(str(error)) from None
        unknown = sorted(name for name in expression.names if not is_place(name))
        if unknown:
            raise LawError(
                f"{self.text}: `{unknown[0]}` is no index and no draw",
                hint="write i, i0, i1, ..., u or z",
            )
        object.__setattr__(self, "text", expression.text)

    def __str__(self) -> str:
        return times(self.text if self.factor == 1 else f"({self.text})", self.factor)

    @property
    def expression(self) -> Expression:
        """The formula, parsed."""
        return _parsed(self.text)

    @property
    def is_random(self) -> bool:
        """Whether the formula reads a draw."""
        return bool(self.expression.names & DRAWS)

    @property
    def support(self) -> tuple[float, float]:
        """Not known."""
        return -math.inf, math.inf

    def scaled(self, factor: float) -> Formula:
        """Give the law with another factor."""
        return Formula(self.text, self.factor * factor)

    def validate(self, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        """Raise `LawError` for an index that there is not, and for values that cannot be held.

        Of formulas without draws, up to 2^20 elements are all computed; of others some, among
        them the first, the last, the corners, and the least and the largest draws. Integers must
        come out whole.

        >>> Formula("log(i0)").validate((3,), torch.float32)
        Traceback (most recent call last):
            ...
        initpolicy.laws.base.LawError: log(i0): log(0) is not a real number (i0 = 0)
        """
        if dtype.is_complex:
            raise LawError(
                f"{self} cannot fill a complex tensor",
                hint="write a constant, or a random law that is symmetric about 0",
            )
        for name in sorted(self.expression.names - DRAWS - {"i"}):
            if int(name[1:]) >= len(shape):
                known = ", ".join(["i", *(f"i{axis}" for axis in range(len(shape)))])
                raise LawError(
                    f"{self.text}: there is no `{name}`, because {shape} has {len(shape)} "
                    f"{'dimension' if len(shape) == 1 else 'dimensions'}",
                    hint=f"the indices are {known}",
                )
        size = math.prod(shape)
        if self.is_random:
            places = _some_places(shape, BLOCK // 8)
            for u, z in _EXTREMES:
                draws = {"u": np.full(len(places), u), "z": np.full(len(places), z)}
                self._fit(self._at(shape, places, draws), dtype)
            return
        if size > MOST_CHECKED:
            self._fit(self._at(shape, _some_places(shape, BLOCK), {}), dtype)
            return
        for start, stop in _blocks(size):
            self._fit(self._at(shape, np.arange(start, stop), {}), dtype)

    @torch.no_grad()
    def write(self, tensor: Tensor, stream: field.Stream) -> None:
        """Compute every element, block by block, and round it once to the tensor's type."""
        whole = field.Runs.one(0, tensor.numel())
        self.write_part(Part(tensor, tuple(tensor.shape), whole), stream)

    def write_part(self, part: Part, stream: field.Stream) -> None:
        """Compute the elements that are held, and no others."""

        def computed(first: int, last: int) -> Tensor:
            values = self._of(part.shape, part.runs.some(first, last), stream)
            return _rounded(values, part.tensor.dtype)

        write_blocks(part.tensor, computed)

    def room(self, shape: tuple[int, ...], dtype: torch.dtype) -> int:
        """Nothing: elements are made one by one."""
        return 0

    def values(self, shape: tuple[int, ...], start: int, stop: int, stream: field.Stream) -> Floats:
        """Give the elements [start, stop) of a tensor of this shape in row-major order.

        >>> Formula("i0 + 10 * i1").values((2, 3), 2, 5, field.stream(0, "w")).tolist()
        [20.0, 1.0, 11.0]
        """
        return self._of(shape, field.Runs.one(start, stop), stream)

    @torch.no_grad()
    def write_torch(self, tensor: Tensor) -> None:
        """Draw `u` with `torch.rand` and `z` with `torch.randn`, for all elements at once."""
        names = self.expression.names
        kind = torch.float64 if tensor.dtype == torch.float64 else torch.float32
        drawn: dict[str, Floats] = {}
        for name, draw in (("u", torch.rand), ("z", torch.randn)):
            if name in names:
                values = draw(tuple(tensor.shape), dtype=kind, device=tensor.device)
                drawn[name] = values.double().cpu().reshape(-1).numpy()
        shape = tuple(tensor.shape)

        def computed(start: int, stop: int) -> Tensor:
            draws = {name: whole[start:stop] for name, whole in drawn.items()}
            return _rounded(self._at(shape, np.arange(start, stop), draws), tensor.dtype)

        write_blocks(tensor, computed)

    def check(self, tensor: Tensor) -> tuple[str, ...]:
        """Count the elements that are not what the formula gives; of one with draws, not finite.

        Machines differ in the last bit of functions: a value may differ from the formula's by the
        precision of the tensor's type, and by 1e-12 of the largest value around it.
        """
        if self.is_random:
            return not_finite(tensor.detach().double())
        shape = tuple(tensor.shape)
        flat = tensor.detach().reshape(-1)
        stream = field.Stream((0, 0), (0, 0))
        wrong = torch.zeros(flat.numel(), dtype=torch.bool)
        for start, stop in _blocks(flat.numel()):
            expected = _rounded(self.values(shape, start, stop, stream), tensor.dtype).double()
            found = flat[start:stop].cpu().double()
            slack = torch.zeros_like(expected)
            if tensor.is_floating_point():
                info = torch.finfo(tensor.dtype)
                slack = expected.abs() * info.eps + expected.abs().max() * 1e-12
                slack += info.smallest_normal * info.eps
            wrong[start:stop] = ~((found - expected).abs() <= slack)
        return amiss(wrong, f"are not those of {self}")

    def _at(self, shape: tuple[int, ...], places: Indices, draws: dict[str, Floats]) -> Floats:
        """Compute the elements at these row-major indices."""
        names = self.expression.names
        scope = {name: values for name, values in draws.items() if name in names}
        if "i" in names:
            scope["i"] = places.astype(np.float64)
        for axis, size in enumerate(shape):
            if f"i{axis}" in names:
                index = places // max(1, math.prod(shape[axis + 1 :])) % max(1, size)
                scope[f"i{axis}"] = index.astype(np.float64)
        try:
            values = evaluate_lanes(self.expression, scope, len(places))
        except ExpressionError as error:
            raise LawError(str(error)) from None
        return values * self.factor if self.factor != 1 else values

    def _of(self, shape: tuple[int, ...], runs: field.Runs, stream: field.Stream) -> Floats:
        return self._at(shape, runs.indices(), self._drawn(runs, stream))

    def _drawn(self, runs: field.Runs, stream: field.Stream) -> dict[str, Floats]:
        draws: dict[str, Floats] = {}
        names = self.expression.names
        if "z" in names:
            z = torch.empty(runs.size, dtype=torch.float32)
            field.fill([field.Fill(z, stream, field.NormalDraw(0.0, 1.0), runs)])
            draws["z"] = z.double().numpy()
        if "u" in names:
            own = stream.part("u") if "z" in names else stream
            draws["u"] = (field.words_of(own, runs).astype(np.float64) + 0.5) * 2.0**-32
        return draws

    def _fit(self, values: Floats, dtype: torch.dtype) -> None:
        """Raise `LawError` unless the type can hold these values."""
        if not len(values):
            return
        least, most = float(values.min()), float(values.max())
        if dtype.is_floating_point:
            largest = torch.finfo(dtype).max
            if max(-least, most) > largest:
                farthest = least if -least > most else most
                raise LawError(
                    f"{self}: {short(farthest)} does not fit into {name_of(dtype)}, whose largest "
                    f"value is {short(largest)}"
                )
            return
        whole = values == np.floor(values)
        if not whole.all():
            first = short(float(values[int(np.argmin(whole))]))
            raise LawError(
                f"{self}: {first} does not fit into {name_of(dtype)}, which holds whole numbers "
                "only",
                hint="write `floor(...)` around it",
            )
        low, high = 0, 1
        if dtype != torch.bool:
            limits = torch.iinfo(dtype)
            low, high = int(limits.min), int(limits.max)
        if least < low or most > high:
            farthest = least if least < low else most
            raise LawError(
                f"{self}: {short(farthest)} does not fit into {name_of(dtype)}, which holds {low} "
                f"to {high}"
            )


_EXTREMES = tuple(
    (u, z) for u in (_HALF_WORD, 0.5, 1 - _HALF_WORD) for z in (-_LARGEST_Z, 0.0, _LARGEST_Z)
)


def _rounded(values: Floats, dtype: torch.dtype) -> Tensor:
    exact = torch.from_numpy(values)
    if dtype.is_floating_point and dtype.itemsize < 4:
        exact = exact.float()  # narrow types are the float32 value, rounded once more
    return exact.to(dtype)


def _blocks(size: int) -> Iterator[tuple[int, int]]:
    for start in range(0, size, BLOCK):
        yield start, min(start + BLOCK, size)


def _some_places(shape: tuple[int, ...], most: int) -> Indices:
    """Choose row-major indices: the corners of the tensor, both ends, and some between."""
    size = math.prod(shape)
    if size <= most:
        return np.arange(size)
    corners = np.zeros(1, dtype=np.int64)
    for length in shape:
        corners = (corners[:, None] * length + np.unique([0, length - 1])[None, :]).reshape(-1)
        corners = corners[: most // 4]
    quarter = most // 4
    spread = np.linspace(0, size - 1, quarter).astype(np.int64)
    ends = (np.arange(quarter), np.arange(size - quarter, size))
    return np.unique(np.concatenate([corners, spread, *ends]))
