"""The field's laws: parameters, validation, and the constants that the kernels work with."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import torch

from initpolicy.field.formats import FLOAT32, format_of
from initpolicy.field.truncation import Interval, interval

HEAD = 9  # numbers that tell a CPU's kernel where and what to draw, before those of the law


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
    """value = clamp(fma(x, half, mid)) with x in [-1, 1]; all are float32 values.

    `plain` says that no value needs clamping, nor does half / 2^31 lose bits.
    """

    half: float
    mid: float
    least: float
    most: float
    plain: bool


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
    _fits(draw.low, draw.high, dtype)
    least, most = representable_bounds(draw.low, draw.high, dtype)
    low, high = Fraction(draw.low), Fraction(draw.high)
    mid = FLOAT32.nearest((low + high) / 2)

    def inside(bits: int) -> bool:
        half = _from_bits(bits)
        return low <= FLOAT32.nearest(mid - half) and FLOAT32.nearest(mid + half) <= high

    # The largest float32 up to (high - low) / 2 that keeps both ends inside, bit patterns being
    # ordered as their values.
    fits, fails = 0, _to_bits(FLOAT32.below((high - low) / 2)) + 1
    while fails - fits > 1:
        middle = (fits + fails) // 2
        fits, fails = (middle, fails) if inside(middle) else (fits, middle)
    half = _from_bits(fits)
    ends = (format_of(dtype).nearest(FLOAT32.nearest(mid + x)) for x in (half, -half))
    plain = all(least <= end <= most for end in ends) and (
        half == 0 or half >= Fraction(1, 1 << 95)
    )
    return UniformConstants(float(half), float(mid), least, most, plain)


def _to_bits(x: Fraction) -> int:
    return struct.unpack("<I", struct.pack("<f", float(x)))[0]


def _from_bits(bits: int) -> Fraction:
    return Fraction(struct.unpack("<f", struct.pack("<I", bits))[0])


def _normal(draw: NormalDraw, dtype: torch.dtype) -> NormalConstants:
    std, mean = _single("std", draw.std), _single("mean", draw.mean)
    _fits(mean - _LARGEST_Z * std, mean + _LARGEST_Z * std, dtype)
    return NormalConstants(float(std), float(mean))


def _truncated(draw: TruncatedDraw, dtype: torch.dtype) -> TruncatedConstants:
    least, most = representable_bounds(draw.low, draw.high, dtype)
    std, mean = _single("std", draw.std), _single("mean", draw.mean)
    alpha = beta = near = Fraction(0)
    if draw.std:
        alpha, beta = _sigmas(draw.low, draw), _sigmas(draw.high, draw)
        near = max(near, alpha or 0, -(beta or 0))
    elif not draw.low <= draw.mean <= draw.high:
        bounds = f"[{draw.low}, {draw.high}]"
        raise ValueError(f"std is 0 and the mean {draw.mean} lies outside {bounds}")
    place = interval(alpha, beta)
    reach = (near + 7) * std  # beyond lies less than 2^-33 of the probability
    _fits(max(draw.low, mean - reach), min(draw.high, mean + reach), dtype)
    return TruncatedConstants(place, float(std), float(mean), least, most)


def _sigmas(bound: float, draw: TruncatedDraw) -> Fraction | None:
    if math.isinf(bound):
        return None
    return (Fraction(bound) - Fraction(draw.mean)) / Fraction(draw.std)


def _single(name: str, value: float) -> Fraction:
    """Round a parameter to float32."""
    rounded = FLOAT32.nearest(Fraction(value))
    if abs(rounded) > FLOAT32.largest:
        raise ValueError(f"{name} {value} does not fit into float32")
    return rounded


def _fits(lowest: float | Fraction, highest: float | Fraction, dtype: torch.dtype) -> None:
    """Check that values between these two do not overflow."""
    target = format_of(dtype)
    farthest = max(abs(Fraction(lowest)), abs(Fraction(highest)))
    if target.nearest(FLOAT32.nearest(farthest)) > target.largest:
        name = str(dtype).removeprefix("torch.")
        raise ValueError(f"values of up to {float(farthest):g} do not fit into {name}")


def _finite(name: str, value: float) -> None:
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, not {value}")
