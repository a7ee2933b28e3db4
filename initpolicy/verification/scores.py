"""What values would be as draws of a uniform law: the same for all laws, so that one test fits all.

A tensor's type rounds. A value stands for all numbers that round to it, so where rounding is coarse
its score is drawn at random among theirs: then scores are exactly uniform whatever the type.
"""

# The stubs of torch leave these functions without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import math
from functools import lru_cache
from typing import cast

import numpy as np
import numpy.typing as npt
import torch

from initpolicy import field
from initpolicy.laws import Drawn, Normal

Floats = npt.NDArray[np.float64]

_FINE = 1e-6
"""Rounding below this part of the std is not seen by a test of a million values."""

_GRID = 2.0**-22
"""The probability of one value is at most this in float32: generators draw multiples of 2^-24."""

_EDGE = 1e-15


def uniform_scores(
    law: Drawn, values: Floats, dtype: torch.dtype, noise: np.random.Generator
) -> Floats:
    """Give the probability below each value, which is uniform between 0 and 1 if the law holds.

    >>> uniform_scores(Normal(1, 2), np.array([1.0]), torch.float32, np.random.default_rng(0))
    array([0.5])
    """
    if not _coarse(law, values, dtype):
        return law.cdf(values)
    below, above = _cells(law, values, dtype)
    return below + noise.random(values.shape) * (above - below)


def normal_scores(law: Drawn, values: Floats, uniform: Floats, dtype: torch.dtype) -> Floats:
    """Give the standard normal quantile of each score: independent N(0, 1) if the law holds."""
    if isinstance(law, Normal) and not _coarse(law, values, dtype):
        return (values - law.mean) / law.std
    inside = torch.from_numpy(np.clip(uniform, _EDGE, 1 - _EDGE))
    return cast("Floats", torch.special.ndtri(inside).numpy())


def _coarse(law: Drawn, values: Floats, dtype: torch.dtype) -> bool:
    largest = float(np.abs(values).max(initial=0.0))
    spacing = max(_eps(dtype) * largest, _smallest(dtype))
    return spacing > _FINE * law.moments.std


def _eps(dtype: torch.dtype) -> float:
    # A float64 tensor takes the values of a float32 one.
    return max(torch.finfo(dtype).eps, torch.finfo(torch.float32).eps)


def _smallest(dtype: torch.dtype) -> float:
    info = torch.finfo(dtype)
    return info.smallest_normal * info.eps


def _cells(law: Drawn, values: Floats, dtype: torch.dtype) -> tuple[Floats, Floats]:
    """Give the probability below the first and the last number that rounds to each value."""
    mantissa, exponent = np.frexp(np.abs(values))
    lowest = math.frexp(torch.finfo(dtype).smallest_normal)[1]
    exponent = np.where(values == 0, lowest, exponent)
    outer = np.ldexp(_eps(dtype) / 2, np.maximum(exponent, lowest))
    inner = np.where((mantissa == 0.5) & (exponent > lowest), outer / 2, outer)
    upward = values >= 0
    low = values - np.where(upward, inner, outer) / 2
    high = values + np.where(upward, outer, inner) / 2
    # What would round to a number outside the bounds is the last one inside them.
    least, most = field.representable_bounds(*law.support, dtype)
    below = np.where(values <= least, 0.0, law.cdf(low))
    above = np.where(values >= most, 1.0, law.cdf(high))
    return below, np.maximum(below, above)


@lru_cache(maxsize=512)
def atoms(law: Drawn, dtype: torch.dtype) -> tuple[float, Floats | None]:
    """Give the probability of the likeliest value, and of each value if those are 2^16 or fewer.

    >>> largest, every = atoms(Normal(0, 1), torch.bfloat16)
    >>> round(largest, 3), every is not None and round(float(every.sum()), 6)
    (0.002, 1.0)
    """
    if dtype.itemsize > 2:
        mean, std = law.moments.mean, law.moments.std
        low, high = law.support
        points = np.clip(mean + std * np.linspace(-4, 4, 129), low, high)
        points = torch.from_numpy(points).float().double().numpy()
        below, above = _cells(law, points, torch.float32)
        return max(_GRID, 2 * float((above - below).max())), None
    words = torch.arange(1 << (8 * dtype.itemsize))
    kind = torch.uint8 if dtype.itemsize == 1 else torch.int16
    values = words.to(kind).view(dtype).double()
    low, high = field.representable_bounds(*law.support, dtype)
    values = values[torch.isfinite(values) & (values >= low) & (values <= high)].unique()
    below, above = _cells(law, values.numpy(), dtype)
    every = above - below
    return float(every.max()), every


def distinct(law: Drawn, dtype: torch.dtype, count: int) -> float:
    """Give a number below the expected number of distinct values among `count` of the law."""
    largest, every = atoms(law, dtype)
    if every is None:
        return count - count * (count - 1) / 2 * largest
    return float(-np.expm1(count * np.log1p(-np.minimum(every, 1 - 1e-12))).sum())


def at(law: Drawn, value: float, dtype: torch.dtype) -> float:
    """Bound the probability of one value."""
    below, above = _cells(law, np.array([value]), dtype)
    return min(1.0, float((above - below)[0]) + (_GRID if dtype.itemsize > 2 else 2.0**-16))
