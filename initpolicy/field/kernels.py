"""The CPU's kernels, which numba compiles. Every operation is listed in docs/draws.md.

Importing this module imports numba. Only compiling does it: cpu.py runs what was compiled before.

What makes the loops vectorise: the table is a constant of the module, since as an argument it
might overlap the output. It is read by 32-bit indices that are known to be good. Integers are
wrapped to 32 bits after each operation, since numba widens them. Words go to a buffer that stays
in the first-level cache, and a second loop maps them. Of short runs, many share a buffer.
"""
# numba compiles these functions from their source: their types are numba's, not Python's.
# pyright: basic, reportCallIssue=false, reportRedeclaration=false, reportPrivateImportUsage=false

from __future__ import annotations

from typing import NamedTuple

import llvmlite.binding as llvm
import numba
import numpy as np
from numba.core import types
from numba.extending import overload

from initpolicy.field.draws import BLOCK, HEAD
from initpolicy.field.intrinsics import (
    as_bits,
    as_float,
    at_address,
    expect_writes,
    fma,
    prefer_wide_vectors,
    read,
    room_for,
)
from initpolicy.field.quantile import (
    CUBIC_0,
    CUBIC_2,
    NEAR_OCTAVES,
    SEGMENT_BITS,
    STEP_BITS,
    first_row,
    load_table,
)
from initpolicy.field.sum_kernel import sum_entry

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
M0, M1 = u64(0xD2511F53), u64(0xCD9E8D57)
W0, W1 = u32(0x9E3779B9), u32(0xBB67AE85)
THIRTY_TWO = u64(32)
LONG = 256  # indices of a run that is drawn alone
BLOCKS = 256  # Philox blocks that short runs share
ROOM = 4 * BLOCKS + 4  # words: what is copied in fours may reach behind them


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
            out[i] = np.int16(_round(i32(bits & i32(0x7FFFFFFF)), i32(10), i32(-14)) | sign)

    elif out.dtype == types.float64:

        def store(out, i, value):
            out[i] = np.float64(value)

    else:

        def store(out, i, value):
            out[i] = value

    return store


@numba.njit(forceinline=True)
def _round(size, mantissa, exponent):
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
def _philox(counter, c2, c3, k0, k1):
    """Philox4x32-10 of Salmon et al. 2011, in its own order of words."""
    a, b, c, d = u32(counter), u32(counter >> THIRTY_TWO), c2, c3
    for _ in range(10):
        p0, p1 = u64(a) * M0, u64(c) * M1
        a, b = u32(p1 >> THIRTY_TWO) ^ b ^ k0, u32(p1)
        c, d = u32(p0 >> THIRTY_TWO) ^ d ^ k1, u32(p0)
        k0, k1 = u32(k0 + W0), u32(k1 + W1)
    return a, b, c, d


@numba.njit(forceinline=True)
def _store_block(words, i, counter, c2, c3, k0, k1):
    a, b, c, d = _philox(counter, c2, c3, k0, k1)
    words[4 * i] = a
    words[4 * i + 1] = b
    words[4 * i + 2] = c
    words[4 * i + 3] = d


@numba.njit(forceinline=True)
def _move_block(words, source, target):
    """Copy four words towards the front."""
    s, t = u64(source), u64(target)
    a, b, c, d = words[s], words[s + u64(1)], words[s + u64(2)], words[s + u64(3)]
    words[t] = a
    words[t + u64(1)] = b
    words[t + u64(2)] = c
    words[t + u64(3)] = d


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


@numba.njit
def draw_runs(like, rows, row, law):
    """Draw runs of a stream into a flat array.

    Args:
        like: pointer whose type is that of the array's elements, and says the format: float32,
            float64, uint16 for bfloat16, int16 for float16, uint32 for raw words.
        rows: pointer to uint64.
        row: uint64: address of the array; its number of elements; the first index; how many
            indices its run has from there on; addresses of the starts and of the stops of the
            runs after that; counter words 2 and 3 of the stream; key words 0 and 1.
        law: constants of the law.
    """
    prefer_wide_vectors()
    size, index, left = i64(row[1]), row[2], min(i64(row[3]), i64(row[1]))
    out = numba.carray(at_address(like, row[0]), (size,))
    starts = numba.carray(at_address(rows, row[4]), (size,))
    stops = numba.carray(at_address(rows, row[5]), (size,))
    c2, c3 = u32(row[6]), u32(row[6] >> THIRTY_TWO)
    k0, k1 = u32(row[7]), u32(row[7] >> THIRTY_TWO)
    words = numba.carray(room_for(u32, ROOM), (ROOM,))
    counters = numba.carray(room_for(u64, BLOCKS), (BLOCKS,))
    sources = numba.carray(room_for(u32, BLOCKS), (BLOCKS,))
    targets = numba.carray(room_for(u32, BLOCKS), (BLOCKS,))
    done = run = 0
    while done < size:
        if left >= LONG:
            skip = i64(index & u64(3))  # words of the first block that come before the run
            take = min(left, BLOCK - skip)
            expect_writes(out, done, done + take)
            counter = u64(index >> u64(2))
            for i in range((skip + take + 3) >> 2):
                _store_block(words, i, u64(counter + u64(i)), c2, c3, k0, k1)
            index, left = u64(index + u64(take)), left - take
        else:  # as many whole runs as there is room for
            skip = take = blocks = 0
            while True:
                before, counter = i64(index & u64(3)), u64(index >> u64(2))
                source, target = 4 * blocks + before, take
                last = blocks + ((before + left + 3) >> 2)
                while True:
                    i = u64(blocks)  # numba looks whether signed indices are negative
                    counters[i], sources[i], targets[i] = counter, source, target
                    blocks += 1
                    if blocks >= last:
                        break
                    counter, source, target = u64(counter + u64(1)), 4 * blocks, target + 4 - before
                    before = 0
                blocks = last
                take += left
                left = 0
                if done + take == size:
                    break
                i = u64(run)
                run += 1
                index = starts[i]
                left = min(i64(stops[i] - index), size - done - take)
                if left >= LONG or blocks > BLOCKS - LONG // 4 - 2:
                    break
            expect_writes(out, done, done + take)
            for i in range(blocks):
                _store_block(words, i, counters[i], c2, c3, k0, k1)
            if take < 4 * blocks:
                for i in range(blocks):  # what this puts behind a run, the next run overwrites
                    _move_block(words, sources[i], targets[i])
        convert(words[skip : skip + take], out[done : done + take], law)
        done += take


# What is compiled takes a null pointer that says the format, and rows of numbers: those that
# `draw_runs` takes, then those of the law. It can be called without numba.


@numba.njit(forceinline=True)
def _single(number):
    return as_float(i32(number))


def _raw(like, rows, count):
    table = numba.carray(rows, (count, HEAD))
    for i in range(count):
        draw_runs(like, rows, table[i], Raw())


def _uniform(like, rows, count):
    table = numba.carray(rows, (count, HEAD + 5))
    for i in range(count):
        own = table[i, HEAD:]
        ends = _single(own[2]), _single(own[3])
        law = Uniform(_single(own[0]), _single(own[1]), *ends, own[4] != u64(0))
        draw_runs(like, rows, table[i], law)


def _standard(like, rows, count):
    table = numba.carray(rows, (count, HEAD + 2))
    for i in range(count):
        law = Normal(_single(table[i, HEAD]), _single(table[i, HEAD + 1]))
        draw_runs(like, rows, table[i], law)


def _interval(like, rows, count):
    table = numba.carray(rows, (count, HEAD + 10))
    for i in range(count):
        own = table[i, HEAD:]
        law = Truncated(
            own[0],
            u32(own[1]),
            u32(own[2]),
            own[3],
            i32(own[4]),
            i32(own[5]),
            _single(own[6]),
            _single(own[7]),
            _single(own[8]),
            _single(own[9]),
        )
        draw_runs(like, rows, table[i], law)


def _narrow(values, out, size, mantissa, exponent, negative_zero):
    """Round float32 values to the codes of an 8-bit format."""
    floats, codes = numba.carray(values, (size,)), numba.carray(out, (size,))
    for i in range(size):
        bits = as_bits(floats[i])
        rounded = _round(i32(bits & i32(0x7FFFFFFF)), mantissa, exponent)
        sign = i32(i32(bits >> i32(24)) & i32(0x80))
        codes[i] = np.uint8(rounded | (sign if negative_zero or rounded else i32(0)))


ENTRIES = {
    "raw": _raw,
    "uniform": _uniform,
    "normal": _standard,
    "truncated": _interval,
    "narrow": _narrow,
    "sum": sum_entry,
}


def machine_code(entry: str, arguments: tuple[str, ...]) -> tuple[str, bytes]:
    """Compile an entry for this machine; give the name of its symbol, and an object file.

    `arguments` are names of numba's types, with a star behind those that are pointed to.
    """
    signature = tuple(
        types.CPointer(getattr(types, name[:-1])) if name.endswith("*") else getattr(types, name)
        for name in arguments
    )
    compiled = numba.njit([types.void(*signature)], no_cpython_wrapper=True, no_cfunc_wrapper=True)(
        ENTRIES[entry]
    )
    (result,) = compiled.overloads.values()
    (text,) = compiled.inspect_llvm().values()
    symbol = result.fndesc.llvm_func_name
    target = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=3,
        codemodel="jitdefault",
        jit=True,
    )
    module = llvm.parse_assembly(text)
    # All that the entry does not call goes, with what only numba's own process could link.
    for function in module.functions:
        if not function.is_declaration and function.name != symbol:
            function.linkage = "internal"
    passes = llvm.create_new_module_pass_manager()
    passes.add_global_dead_code_eliminate_pass()
    passes.run(module, llvm.create_pass_builder(target, llvm.create_pipeline_tuning_options()))
    return symbol, target.emit_object(module)
