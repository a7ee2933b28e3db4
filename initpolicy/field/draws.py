"""The field's laws: parameters, validation, and the constants that the kernels work with."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import torch

from initpolicy.field.formats import FLOAT32, Format, format_of
from initpolicy.field.truncation import Interval, interval


@dataclass(frozen=True)
class UniformDraw:
    """The uniform law on [low, high]."""

    low: float
    high: float


@dataclass(frozen=True)
class NormalDraw:
    """The normal law; a standard deviation of 0 gives the mean."""

    mean: float
    std: float


@dataclass(frozen=True)
class TruncatedDraw:
    """The normal law of this mean and std, conditioned on [low, high].

    The bounds are absolute, not in sigma, and may be infinite.
    """

    mean: float
    std: float
    low: float
    high: float


Draw = UniformDraw | NormalDraw | TruncatedDraw


@dataclass(frozen=True)
class UniformConstants:
    """value = clamp(fma(x, half, mid)) with x in [-1, 1]; all are float32 values."""

    half: float
    mid: float
    least: float
    most: float


@dataclass(frozen=True)
class NormalConstants:
    """value = fma(z, std, mean); float32 values."""

    std: float
    mean: float


@dataclass(frozen=True)
class TruncatedConstants:
    """value = clamp(fma(z, std, mean)), z from the interval; float32 values."""

    interval: Interval
    std: float
    mean: float
    least: float
    most: float


_LARGEST_Z = Fraction(6.5)  # above the largest |z| of a normal draw


Constants = UniformConstants | NormalConstants | TruncatedConstants


def representable_bounds(low: float, high: float, dtype: torch.dtype) -> tuple[float, float]:
    """Return the smallest and the largest value that a draw of this dtype takes in [low, high].

    A float64 tensor takes float32 values.

    Raises:
        ValueError: there is no such value, or a bound is NaN, or low exceeds high.
        TypeError: the dtype cannot be drawn.

    >>> representable_bounds(-0.1, 0.1, torch.bfloat16)
    (-0.099609375, 0.099609375)
    """
    target = format_of(dtype)
    if math.isnan(low) or math.isnan(high):
        raise ValueError(f"bounds must be numbers, not [{low}, {high}]")
    if low > high:
        raise ValueError(f"low must not exceed high: [{low}, {high}]")
    largest = target.largest
    least = -largest if low < -largest else target.above(Fraction(min(low, float(largest))))
    most = largest if high > largest else target.below(Fraction(max(high, -float(largest))))
    if low > largest or high < -largest or least > most:
        raise ValueError(f"no {str(dtype).removeprefix('torch.')} value lies in [{low}, {high}]")
    return float(least), float(most)


def check_draw(draw: Draw, dtype: torch.dtype) -> None:
    """Raise what filling a tensor of this dtype from this law would raise.

    Raises:
        ValueError: a parameter is NaN or infinite where it may not be, std is negative, low
            exceeds high, no value of the dtype lies in the bounds, the values overflow the dtype,
            or a truncated normal's interval lies too far in the tail.
        TypeError: the dtype cannot be drawn.

    >>> check_draw(NormalDraw(0.0, -1.0), torch.float32)
    Traceback (most recent call last):
    ValueError: std must be at least 0, not -1.0
    """
    constants_of(draw, dtype)


@lru_cache(maxsize=4096)
def constants_of(draw: Draw, dtype: torch.dtype) -> Constants:
    """Lower a law to the kernels' constants; raises as `check_draw`."""
    if isinstance(draw, UniformDraw):
        return _uniform(draw, dtype)
    _finite("mean", draw.mean)
    _finite("std", draw.std)
    if draw.std < 0:
        raise ValueError(f"std must be at least 0, not {draw.std}")
    if isinstance(draw, NormalDraw):
        return _normal(draw, dtype)
    return _truncated(draw, dtype)


def _uniform(draw: UniformDraw, dtype: torch.dtype) -> UniformConstants:
    _finite("low", draw.low)
    _finite("high", draw.high)
    least, most = representable_bounds(draw.low, draw.high, dtype)
    low, high = Fraction(draw.low), Fraction(draw.high)
    mid = FLOAT32.nearest((low + high) / 2)

    def inside(bits: int) -> bool:
        half = _from_bits(bits)
        return low <= FLOAT32.nearest(mid - half) and FLOAT32.nearest(mid + half) <= high

    # The largest float32 that keeps both ends inside; float32 bits are ordered as their values.
    fits, fails = 0, _to_bits(FLOAT32.above((high - low) / 2)) + 1
    while fails - fits > 1:
        middle = (fits + fails) // 2
        fits, fails = (middle, fails) if inside(middle) else (fits, middle)
    return UniformConstants(float(_from_bits(fits)), float(mid), least, most)


def _to_bits(x: Fraction) -> int:
    return struct.unpack("<I", struct.pack("<f", float(x)))[0]


def _from_bits(bits: int) -> Fraction:
    return Fraction(struct.unpack("<f", struct.pack("<I", bits))[0])


def _normal(draw: NormalDraw, dtype: torch.dtype) -> NormalConstants:
    std, mean = FLOAT32.nearest(Fraction(draw.std)), FLOAT32.nearest(Fraction(draw.mean))
    _fits(_LARGEST_Z, std, mean, dtype)
    return NormalConstants(float(std), float(mean))


def _truncated(draw: TruncatedDraw, dtype: torch.dtype) -> TruncatedConstants:
    least, most = representable_bounds(draw.low, draw.high, dtype)
    std, mean = FLOAT32.nearest(Fraction(draw.std)), FLOAT32.nearest(Fraction(draw.mean))
    if draw.std == 0:
        if not draw.low <= draw.mean <= draw.high:
            raise ValueError(
                f"std is 0 and the mean {draw.mean} lies outside [{draw.low}, {draw.high}]"
            )
        place = interval(Fraction(0), Fraction(0))
    else:
        place = interval(*(_sigmas(bound, draw) for bound in (draw.low, draw.high)))
    if math.isinf(draw.low) or math.isinf(draw.high):
        # Half a tail's probability, divided by 2^33, is met within 7 sigma more.
        nearest = min(max(mean, Fraction(least)), Fraction(most))
        _fits(abs(nearest - mean) / std + 7 if std else Fraction(0), std, mean, dtype)
    return TruncatedConstants(place, float(std), float(mean), least, most)


def _sigmas(bound: float, draw: TruncatedDraw) -> Fraction | None:
    if math.isinf(bound):
        return None
    return (Fraction(bound) - Fraction(draw.mean)) / Fraction(draw.std)


def _fits(z: Fraction, std: Fraction, mean: Fraction, dtype: torch.dtype) -> None:
    """Check that the value farthest from 0 does not overflow."""
    target: Format = format_of(dtype)
    single = FLOAT32.nearest(abs(mean) + z * std)
    if single > FLOAT32.largest or target.nearest(single) > target.largest:
        name = str(dtype).removeprefix("torch.")
        raise ValueError(f"values of up to {float(single):g} do not fit into {name}")


def _finite(name: str, value: float) -> None:
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, not {value}")
