"""Values compared with those that the plan gives, block by block."""

# The stubs of torch leave these functions without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from initpolicy import field
from initpolicy.laws import Law, Part, keeps_some

BLOCK = 1 << 20  # elements that are drawn at a time

ROUNDING = 64
"""Units of precision of the largest value by which machines may compute a whole matrix otherwise.

float32 and float64 differ by 3 to 10 of them for orthogonal matrices of 64 to 1500 rows.
"""

_COMPUTED = 256


@dataclass(frozen=True)
class Difference:
    """What is different in a tensor."""

    count: int
    total: int
    index: tuple[int, ...]
    """Where the first one is."""
    expected: float | complex
    found: float | complex
    largest: float
    """The largest difference; NaN if one is not a number."""

    def __str__(self) -> str:
        place = f" at {list(self.index)}" if self.index else ""
        are = "value differs" if self.total == 1 else f"of {self.total:,} values differ"
        return (
            f"{self.count:,} {are}, first{place}: {self.found:.9g} instead of "
            f"{self.expected:.9g}; the largest difference is {self.largest:.3g}"
        )


def difference(
    law: Law,
    tensor: Tensor,
    stream: field.Stream,
    *,
    shape: tuple[int, ...] | None = None,
    runs: field.Runs | None = None,
    computed: bool = False,
) -> Difference | None:
    """Compare a tensor, or the `runs` that it holds of a tensor of `shape`, with the law's values.

    Bits are compared, unless machines agree on the values to rounding only, or a module `computed`
    them. What the law keeps is equal to itself.

    >>> from initpolicy.laws import Normal
    >>> weight, stream = torch.empty(2, 3), field.stream(0, "w")
    >>> field.fill(Normal(0, 1).fills(weight, stream))
    >>> difference(Normal(0, 1), weight, stream) is None
    True
    >>> weight[1, 0] = 0
    >>> found = difference(Normal(0, 1), weight, stream)
    >>> found and (found.count, found.index)
    (1, (1, 0))
    """
    shape = tuple(tensor.shape) if shape is None else shape
    runs = field.Runs.one(0, tensor.numel()) if runs is None else runs
    flat = tensor.detach().reshape(-1)
    slack = 0.0 if law.is_exact and not computed else (_COMPUTED if computed else ROUNDING)
    return _compared(flat, _blocks(law, flat, stream, shape, runs), slack, shape, runs)


def difference_from(expected: Tensor, tensor: Tensor) -> Difference | None:
    """Compare a tensor with another one that was computed alike, to rounding.

    >>> difference_from(torch.ones(3), torch.ones(3) + 1e-7) is None
    True
    """
    shape, runs = tuple(tensor.shape), field.Runs.one(0, tensor.numel())
    flat = tensor.detach().reshape(-1)
    blocks = [(0, expected.to(flat.device).reshape(-1))] if flat.numel() else []
    return _compared(flat, blocks, _COMPUTED, shape, runs)


def _compared(
    flat: Tensor,
    blocks: Iterable[tuple[int, Tensor]],
    slack: float,
    shape: tuple[int, ...],
    runs: field.Runs,
) -> Difference | None:
    count, first, largest = 0, None, 0.0
    values: tuple[float | complex, float | complex] = (0.0, 0.0)
    for start, expected in blocks:
        found = flat[start : start + expected.numel()]
        wrong = _unequal(found, expected, slack)
        if not bool(wrong.any()):
            continue
        count += int(wrong.sum())
        if first is None:
            place = int(wrong.to(torch.uint8).argmax())
            first = start + place
            values = expected[place].item(), found[place].item()
        gap = (_wide(found) - _wide(expected)).abs()[wrong]
        largest = max(largest, float(gap.max())) if largest == largest else largest
        if bool(gap.isnan().any()):
            largest = float("nan")
    if first is None:
        return None
    starts, stops = runs.between(first, first + 1)
    assert len(stops)
    place = np.unravel_index(int(starts[0]), shape) if shape else ()
    return Difference(count, flat.numel(), tuple(int(i) for i in place), *values, largest)


def _blocks(
    law: Law, flat: Tensor, stream: field.Stream, shape: tuple[int, ...], runs: field.Runs
) -> Iterator[tuple[int, Tensor]]:
    """Give what must be in each block; laws of whole matrices have one."""
    size = BLOCK if law.room(shape, flat.dtype) == 0 else max(1, flat.numel())
    for start in range(0, flat.numel(), size):
        stop = min(start + size, flat.numel())
        buffer = flat[start:stop].clone() if keeps_some(law) else torch.empty_like(flat[start:stop])
        starts, stops = runs.between(start, stop)
        part = Part(buffer, shape, field.Runs(starts, stops))
        with torch.no_grad():
            field.fill(law.fills_part(part, stream))
            law.write_part(part, stream)
        yield start, buffer


_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def _unequal(found: Tensor, expected: Tensor, slack: float) -> Tensor:
    if slack == 0 or not (found.is_floating_point() or found.is_complex()):
        if found.is_complex():
            parts = torch.view_as_real(found), torch.view_as_real(expected)
            return _unequal(*parts, 0.0).any(-1)
        kind = _BITS[found.dtype.itemsize]
        return found.view(kind) != expected.view(kind)
    wide = _wide(expected)
    size = wide.abs()
    own = torch.finfo(found.dtype).eps
    # Types narrower than float32 are rounded from it; the work itself was done in float32.
    work = own if slack == _COMPUTED else min(own, torch.finfo(torch.float32).eps)
    allowed = 2 * own * size + slack * work * size.max()
    return ~((_wide(found) - wide).abs() <= allowed)


def _wide(values: Tensor) -> Tensor:
    return values.to(torch.complex128 if values.is_complex() else torch.float64)
