"""What the CPU's kernels make of a word. Every operation is listed in docs/draws.md.

Importing this module imports numba. What makes the loops vectorise: the table is a constant of the
module, since as an argument it might overlap the output; it is read by 32-bit indices that are
known to be good; integers are wrapped to 32 bits after each operation, since numba widens them.
"""
# numba compiles these functions from their source: their types are numba's, not Python's.
# pyright: basic, reportCallIssue=false, reportRedeclaration=false, reportPrivateImportUsage=false

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numba.core import types
from numba.extending import overload

from initpolicy.field.intrinsics import as_bits, as_float, fma, read
from initpolicy.field.quantile import (
    CUBIC_0,
    CUBIC_2,
    NEAR_OCTAVES,
    SEGMENT_BITS,
    STEP_BITS,
    first_row,
    load_table,
)

u32, u64, i32, i64, f32 = np.uint32, np.uint64, np.int32, np.int64, np.float32

NODES, SLOPES = load_table()
STEP_SHIFT = i32(STEP_BITS)
STEP_MASK = i32((1 << STEP_BITS) - 1)
NORMAL_NEAR = i32(first_row(31, 64))
NORMAL_TAIL = i32(first_row(31, 256) - (NEAR_OCTAVES << SEGMENT_BITS) - first_row(31, 64))
HALF = f32(0.5)
ONE = f32(1.0)
TOP = u32(0x80000000)
SIGN = i32(-0x80000000)
TO_UNIT = f32(2.0**-31)
THIRTY_TWO = u64(32)


def put(out, i, value):
    """Store a float32, rounded to the format that the type of `out` stands for."""


@overload(put, jit_options={"forceinline": True})
def _put(out, i, value):
    if out.dtype == types.uint16:

        def store(out, i, value):  # bfloat16
            bits = u32(as_bits(value))
            out[i] = np.uint16(u32(bits + u32(0x7FFF) + ((bits >> u32(16)) & u32(1))) >> u32(16))

    elif out.dtype == types.int16:

        def store(out, i, value):  # float16
            bits = as_bits(value)
            sign = i32(i32(bits >> i32(16)) & i32(-0x8000))
            out[i] = np.int16(round_to(i32(bits & i32(0x7FFFFFFF)), i32(10), i32(-14)) | sign)

    elif out.dtype == types.float64:

        def store(out, i, value):
            out[i] = np.float64(value)

    else:

        def store(out, i, value):
            out[i] = value

    return store


@numba.njit(forceinline=True)
def round_to(size, mantissa, exponent):
    """Round a positive float32's bits to a narrower format, nearest even; it must not overflow.

    `mantissa` counts the format's stored bits; `exponent` is that of its smallest normal number.
    """
    cut = i32(i32(23) - mantissa)
    # A normal number: add just under half of the last place, and the rest if that place is odd.
    odd = i32(i32(size >> cut) & i32(1))
    just_under = i32(i32(i32(1) << i32(cut - i32(1))) - i32(1))
    rebased = i32(size - i32(i32(exponent + i32(126)) << i32(23)))
    normal = i32(i32(i32(rebased + just_under) + odd) >> cut)
    # A subnormal one: added to this power of two, it is rounded at the format's smallest unit.
    magic = i32(i32(i32(exponent + i32(127)) + cut) << i32(23))
    subnormal = i32(as_bits(f32(as_float(size) + as_float(magic))) - magic)
    return subnormal if size < i32(i32(exponent + i32(127)) << i32(23)) else normal


@numba.njit(forceinline=True)
def _interpolate(q, row, flip):
    """Return |z| from a row of the table; q's lower bits are the step, backwards in the tail."""
    step = f32(i32(i32(q ^ flip) & STEP_MASK))
    z = read(NODES, row)
    g = f32(step * read(SLOPES, row))
    u = fma(g, fma(f32(z * z), CUBIC_2, CUBIC_0), f32(z * HALF))
    return fma(g, fma(g, u, ONE), z)


@numba.njit(forceinline=True)
def _normal(word):
    """Return the standard normal quantile at the middle of a word's interval."""
    k = i32(word ^ TOP)
    sign = i32(k >> i32(31))
    m = i32(k ^ sign)
    tail = i32(i32(m << i32(1)) >> i32(31))  # all ones where |x| > 1/2
    q = as_bits(f32(i32(i32(i32(m ^ tail) << i32(1)) | i32(1))))
    row = i32(i32(i32(q >> STEP_SHIFT) - NORMAL_NEAR) - i32(tail & NORMAL_TAIL))
    return as_float(i32(as_bits(_interpolate(q, row, tail)) | i32(sign & SIGN)))


@numba.njit(forceinline=True)
def _truncated(word, law):
    """Return the standard normal quantile of a word's place in an interval."""
    w = u64(word)
    carry = u64(u64(u64(law.low) * w + law.carry) >> THIRTY_TWO)
    y = i64(u64(law.start + u64(u64(u64(law.high) * w) + carry)))
    sign = i64(y >> i64(63))
    m = i64(y ^ sign)
    tail = i64(i64(m << i64(1)) >> i64(63))
    q = as_bits(f32(i64(i64(i64(m ^ tail) << i64(1)) | i64(1))))
    flip = i32(tail)
    row = i32(i32(i32(q >> STEP_SHIFT) - law.near) - i32(flip & law.tail))
    return as_float(i32(as_bits(_interpolate(q, row, flip)) | i32(i32(sign) & SIGN)))


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


def convert(words, out, law):
    """Map words to values; numba compiles the law's own loop."""


@overload(convert, jit_options={"forceinline": True})
def _convert(words, out, law):
    if _of(law, Uniform):

        def loop(words, out, law):
            if law.plain:
                scale = f32(law.half * TO_UNIT)
                for i in range(words.size):
                    x = f32(i32(i32(words[i] ^ TOP) | i32(1)))
                    put(out, i, fma(x, scale, law.mid))
            else:
                for i in range(words.size):
                    x = f32(i32(i32(words[i] ^ TOP) | i32(1)))
                    value = fma(f32(x * TO_UNIT), law.half, law.mid)
                    put(out, i, min(max(value, law.least), law.most))

    elif _of(law, Normal):

        def loop(words, out, law):
            for i in range(words.size):
                put(out, i, fma(_normal(words[i]), law.std, law.mean))

    elif _of(law, Truncated):

        def loop(words, out, law):
            for i in range(words.size):
                value = fma(_truncated(words[i], law), law.std, law.mean)
                put(out, i, min(max(value, law.least), law.most))

    else:

        def loop(words, out, law):
            for i in range(words.size):
                out[i] = words[i]

    return loop
