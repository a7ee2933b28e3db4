"""What the CPU's kernels make of words. Every operation is listed in docs/draws.md.

Importing this module imports numba. Words come in lanes, values are put into an array in lanes.
"""
# numba compiles these functions from their source: their types are numba's, not Python's.
# pyright: basic, reportCallIssue=false, reportRedeclaration=false, reportPrivateImportUsage=false

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numba.core import types
from numba.extending import overload

from initpolicy.field.intrinsics import as_float
from initpolicy.field.lanes import (
    as_bits,
    as_floats,
    chosen_below,
    clamped,
    doubled,
    fma,
    gather,
    lower_16,
    lower_32,
    rounded,
    signed,
    signed_64,
    store,
    widened,
    with_ones,
)
from initpolicy.field.quantile import (
    CUBIC_0,
    CUBIC_2,
    NEAR_OCTAVES,
    SEGMENT_BITS,
    STEP_BITS,
    TAIL_OCTAVES,
    first_row,
    load_table,
)

u32, u64, i32, f32 = np.uint32, np.uint64, np.int32, np.float32

NODES, SLOPES = load_table()
STEP_MASK = u32((1 << STEP_BITS) - 1)
MINUS_BIT = 13  # of a place in the tables with signs: that of a float32 behind the bits of a step
NEAR_BIT = 12  # and one that is turned over in the near half
NEAR = u32(1 << NEAR_BIT)
HALF = f32(0.5)
ONE = f32(1.0)
SIGN = u32(0x80000000)
SIZE = u32(0x7FFFFFFF)
ALL = u32(0xFFFFFFFF)
TO_UNIT = f32(2.0**-31)


def _signed_tables() -> np.ndarray:
    """Give the rows that 32-bit words have, with the sign of z, where `_normal` looks for them."""
    tables = np.zeros((2, 2 << MINUS_BIT), np.float32)
    uppers = np.arange(127 << SEGMENT_BITS, 159 << SEGMENT_BITS)  # of float32 from 1 to 2^31
    near_half = first_row(31, NEAR_OCTAVES)
    tail_half = first_row(31, TAIL_OCTAVES) - (NEAR_OCTAVES << SEGMENT_BITS)
    for near, first in ((0, tail_half), (1, near_half)):
        for minus in (0, 1):
            sign = 1 if minus != near else -1
            rows = sign * np.stack((NODES, SLOPES))[:, uppers - first]
            tables[:, (uppers | minus << MINUS_BIT) ^ near << NEAR_BIT] = rows
    return tables


SIGNED_NODES, SIGNED_SLOPES = _signed_tables()


def put(out, i, values):
    """Store float32 lanes, rounded to the format that the type of `out` stands for."""


@overload(put, jit_options={"forceinline": True})
def _put(out, i, values):
    if out.dtype == types.uint16:

        def save(out, i, values):  # bfloat16
            bits = as_bits(values)
            store(out, i, lower_16((bits + u32(0x7FFF) + ((bits >> 16) & 1)) >> 16))

    elif out.dtype == types.int16:

        def save(out, i, values):  # float16
            bits = as_bits(values)
            small = round_to(bits & SIZE, i32(10), i32(-14))
            store(out, i, lower_16(small | ((bits >> 16) & u32(0x8000))))

    elif out.dtype == types.float64:

        def save(out, i, values):
            store(out, i, doubled(values))

    else:

        def save(out, i, values):
            store(out, i, values)

    return save


@numba.njit(forceinline=True)
def round_to(size, mantissa, exponent):
    """Round positive float32s' bits to a narrower format, nearest even; none may overflow.

    `mantissa` counts the format's stored bits; `exponent` is that of its smallest normal number.
    """
    cut = i32(i32(23) - mantissa)
    # A normal number: add just under half of the last place, and the rest if that place is odd.
    just_under = i32(i32(i32(1) << i32(cut - i32(1))) - i32(1))
    rebased = size - i32(i32(exponent + i32(126)) << i32(23))
    normal = (rebased + just_under + ((size >> cut) & 1)) >> cut
    # A subnormal one: added to this power of two, it is rounded at the format's smallest unit.
    magic = i32(i32(i32(exponent + i32(127)) + cut) << i32(23))
    subnormal = as_bits(as_floats(size) + as_float(magic)) - magic
    return chosen_below(size, i32(i32(exponent + i32(127)) << i32(23)), subnormal, normal)


@numba.njit(forceinline=True)
def _interpolate(step, z, slope):
    """Return z some steps from a node, which all have its sign."""
    g = step * slope
    u = fma(g, fma(z * z, CUBIC_2, CUBIC_0), z * HALF)
    return fma(g, fma(g, u, ONE), z)


@numba.njit(forceinline=True)
def _normal(words):
    """Return the standard normal quantiles at the middles of words' intervals.

    Modulo 2^32, s = 2w + 1 - 2^32 is 2w + 1. As a signed number that is, but for its sign, |s| in
    the near half and 2^32 - |s| in the tail half; its sign and w's tell which, and the sign of s.
    """
    s = signed(with_ones(words))
    near = (s ^ signed(words)) >> 31  # all ones where |x| < 1/2
    q = as_bits(rounded(s))
    place = (q >> STEP_BITS) ^ (near & NEAR)
    step = rounded((q ^ near ^ ALL) & STEP_MASK)
    return _interpolate(step, gather(SIGNED_NODES, place), gather(SIGNED_SLOPES, place))


@numba.njit(forceinline=True)
def _truncated(words, law):
    """Return the standard normal quantiles at words' places in an interval.

    What `_normal` does, with y, which is s / 2, and all that follows from it 64 bits wide.
    """
    w = widened(words)
    y = w * law.high + ((w * law.low + law.carry) >> 32) + law.start
    s = with_ones(y)
    tail = signed(lower_32((s ^ y) >> 32)) >> 31  # all ones where |x| > 1/2
    q = as_bits(rounded(signed_64(s))) & SIZE
    row = (q >> STEP_BITS) - law.near - (tail & law.tail)
    step = rounded((q ^ tail) & STEP_MASK)
    z = _interpolate(step, gather(NODES, row), gather(SLOPES, row))
    return as_floats(as_bits(z) | (lower_32(y >> 32) & SIGN))


class Raw(NamedTuple):
    """The words themselves."""


class Uniform(NamedTuple):
    """Constants of a uniform law."""

    half: np.float32
    mid: np.float32
    least: np.float32
    most: np.float32
    plain: bool  # half / 2^31 is a normal number, and nothing needs clamping


class Normal(NamedTuple):
    """Constants of a normal law."""

    std: np.float32
    mean: np.float32


class Truncated(NamedTuple):
    """Constants of a truncated normal law."""

    start: np.uint64  # the interval's start + floor(width / 2) // 2^32, modulo 2^64
    high: np.uint32  # width // 2^32
    low: np.uint32  # width % 2^32: 32 bits each, so that one instruction multiplies
    carry: np.uint64  # floor(width / 2) % 2^32
    near: np.int32  # what to subtract from a float32's upper bits in the near half,
    tail: np.int32  # and what to subtract besides in the tail half
    std: np.float32
    mean: np.float32
    least: np.float32
    most: np.float32


def _of(law, kind):
    return getattr(law, "instance_class", None) is kind


def draw_lanes(words, out, i, law):
    """Put what a law makes of words into an array, from an index on."""


@overload(draw_lanes, jit_options={"forceinline": True})
def _draw_lanes(words, out, i, law):
    if _of(law, Uniform):

        def draw(words, out, i, law):
            x = rounded(signed(words ^ SIGN | 1))
            if law.plain:
                put(out, i, fma(x, f32(law.half * TO_UNIT), law.mid))
            else:
                put(out, i, clamped(fma(x * TO_UNIT, law.half, law.mid), law.least, law.most))

    elif _of(law, Normal):

        def draw(words, out, i, law):
            put(out, i, fma(_normal(words), law.std, law.mean))

    elif _of(law, Truncated):

        def draw(words, out, i, law):
            values = fma(_truncated(words, law), law.std, law.mean)
            put(out, i, clamped(values, law.least, law.most))

    else:

        def draw(words, out, i, law):
            store(out, i, words)

    return draw


def is_light(law):
    """Say whether values cost so little that nothing is gained by making words beside them."""


@overload(is_light, jit_options={"forceinline": True})
def _is_light(law):
    light = not (_of(law, Normal) or _of(law, Truncated))
    return lambda law: light
