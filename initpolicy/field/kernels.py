"""The CPU's kernels, which numba compiles. Every operation is listed in docs/draws.md.

Importing this module imports numba. Only compiling does it: cpu.py runs what was compiled before.

A long run's words are made and turned into values in one loop. Short runs share a buffer of words
that stays in the first-level cache, and a second loop turns all into values; where the runs are
alike, the first loop steps from one to the next.
"""
# numba compiles these functions from their source: their types are numba's, not Python's.
# pyright: basic, reportCallIssue=false, reportPrivateImportUsage=false

from __future__ import annotations

import llvmlite.binding as llvm
import numba
import numpy as np
from numba.core import types

from initpolicy.field.draws import HEAD
from initpolicy.field.intrinsics import (
    as_float,
    at_address,
    expect_lanes,
    expect_writes,
    prefer_wide_vectors,
    room_for,
)
from initpolicy.field.lanes import (
    as_bits,
    chosen_below,
    interleaved,
    joined,
    load,
    lower_8,
    lower_32,
    numbered,
    part,
    store,
)
from initpolicy.field.philox import LOWER, common, key_of, one_round, philox, two_rounds
from initpolicy.field.sum_kernel import sum_entry
from initpolicy.field.values import Normal, Raw, Truncated, Uniform, draw_lanes, is_light, round_to

u32, u64, i32, i64 = np.uint32, np.uint64, np.int32, np.int64

WIDE = "+avx512f" in llvm.get_host_cpu_features().flatten()
COUNT = 16 if WIDE else 8  # counters side by side, and values: as many as registers have room for
STEP = 4 * COUNT  # words that they make
ONE, TWO, THREE, THIRTY_TWO = u64(1), u64(2), u64(3), u64(32)
HALVES = u64(34)  # bits of an index that the upper half of its counter does not depend on
LONG = 256  # indices of a run that is drawn alone
BLOCKS = 256  # Philox blocks that short runs share
ROOM = 4 * BLOCKS + STEP  # words: what is copied in fours or made in lanes may reach behind them
AHEAD = 256  # elements between those that are drawn and those whose memory is asked for


@numba.njit(forceinline=True)
def _until_carry(index, step):
    """How many indices, one each step, have the upper half of their counter in common."""
    last = u64(index | u64((1 << 34) - 1))
    return i64(u64(last - index) // step) + 1


@numba.njit(forceinline=True)
def _draw_long(out, first, stop, counter, stream, words, law):
    """Draw a multiple of STEP elements, of this counter and those after it."""
    high, low = counter >> THIRTY_TWO, numbered(COUNT) + counter
    if is_light(law):
        _draw_in_turn(out, first, stop, low, common(high, stream), stream, law)
    else:
        _draw_side_by_side(out, first, stop, low, common(high, stream), stream, words, law)


@numba.njit(forceinline=True)
def _draw_in_turn(out, first, stop, low, shared, stream, law):
    for place in range(first, stop, STEP):
        expect_lanes(out, place + AHEAD, STEP)
        words = interleaved(*philox(low, shared, stream))
        draw_lanes(part(words, 0), out, place, law)
        draw_lanes(part(words, 1), out, place + COUNT, law)
        draw_lanes(part(words, 2), out, place + 2 * COUNT, law)
        draw_lanes(part(words, 3), out, place + 3 * COUNT, law)
        low = low + u64(COUNT)


@numba.njit(forceinline=True)
def _draw_side_by_side(out, first, stop, low, shared, stream, words, law):
    """Make two rounds of the next words in each turn, and a quarter of the last words' values.

    Words are a chain of multiplications, and values wait for a table: together they hardly wait.
    """
    keys = numba.carray(room_for(u64, 16), (16,))
    for i in range(8):
        keys[2 * i], keys[2 * i + 1] = key_of(i + 2, stream)
    store(words, 0, interleaved(*philox(low, shared, stream)))
    low = low + u64(COUNT)
    state, turn = two_rounds(low, shared), u64(0)
    for place in range(first, stop - STEP, COUNT):
        expect_lanes(out, place + AHEAD, COUNT)
        draw_lanes(load(words, i64(turn * u64(COUNT)), COUNT), out, place, law)
        key = u64(4) * turn
        state = one_round(state, keys[key], keys[key + ONE])
        state = one_round(state, keys[key + TWO], keys[key + THREE])
        turn += ONE
        if turn == u64(4):
            a, b, c, d = state
            store(words, 0, interleaved(joined(a, b), joined(c, d)))
            low = low + u64(COUNT)
            state, turn = two_rounds(low, shared), u64(0)
    draw_words(words, 0, STEP, out, stop - STEP, law)


@numba.njit(forceinline=True)
def draw_words(words, skip, take, out, done, law):
    """Draw what `take` words make; there must be COUNT more, of whatever value."""
    whole = take - take % COUNT
    for i in range(0, whole, COUNT):
        draw_lanes(load(words, skip + i, COUNT), out, done + i, law)
    if whole < take:
        rest = numba.carray(room_for(out.dtype, COUNT), (COUNT,))
        draw_lanes(load(words, skip + whole, COUNT), rest, 0, law)
        for i in range(take - whole):
            out[done + whole + i] = rest[i]


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
def _store_blocks(words, i, counters, high, stream):
    """Put the words of counters' blocks into the buffer, from block number i on."""
    store(words, 4 * i, interleaved(*philox(counters, common(high, stream), stream)))


@numba.njit(forceinline=True)
def _store_words(words, indices, step, count, word, shared, stream):
    """Put a word of each block into the buffer, the same one of all; it is a constant."""
    for i in range(0, count, COUNT):
        pair = philox(indices >> TWO, shared, stream)[word >> 1]
        store(words, i, lower_32(pair >> ((word & 1) << 5)))
        indices = indices + step * u64(COUNT)


@numba.njit(forceinline=True)
def _store_alike(words, index, step, width, count, stream):
    """Make the words of runs that lie within one block each, one run behind the other."""
    shared = common(index >> HALVES, stream)
    indices, place = numbered(COUNT) * step + index, i64(index & THREE)
    if width > 1:
        for i in range(0, count, COUNT):
            store(words, 4 * i, interleaved(*philox(indices >> TWO, shared, stream)))
            indices = indices + step * u64(COUNT)
        if width < 4:
            for i in range(count):
                _move_block(words, 4 * i + place, width * i)
    elif step & THREE:
        for i in range(0, count, COUNT):
            front, back = philox(indices >> TWO, shared, stream)
            pair = front ^ ((front ^ back) & (u64(0) - ((indices >> ONE) & ONE)))
            store(words, i, lower_32(pair >> ((indices & ONE) << u64(5))))
            indices = indices + step * u64(COUNT)
    elif place == 0:
        _store_words(words, indices, step, count, 0, shared, stream)
    elif place == 1:
        _store_words(words, indices, step, count, 1, shared, stream)
    elif place == 2:
        _store_words(words, indices, step, count, 2, shared, stream)
    else:
        _store_words(words, indices, step, count, 3, shared, stream)


@numba.njit
def draw_runs(like, rows, row, law):
    """Draw runs of a stream into a flat array.

    Args:
        like: pointer whose type is that of the array's elements, and says the format: float32,
            float64, uint16 for bfloat16, int16 for float16, uint32 for raw words.
        rows: pointer to uint64.
        row: uint64: address of the array; its number of elements; the first index; how many
            indices its run has from there on; three numbers that say which runs come after that;
            counter words 2 and 3 of the stream; key words 0 and 1. The three are the first index
            of the next run, the step from run to run, and the length of each; or else where their
            starts and their stops are, and 0.
        law: constants of the law.
    """
    prefer_wide_vectors()
    size, index, left = i64(row[1]), row[2], i64(row[3])
    following, step, width = row[4], row[5], i64(row[6])
    out = numba.carray(at_address(like, row[0]), (size,))
    starts = numba.carray(at_address(rows, following), (size,))
    stops = numba.carray(at_address(rows, step), (size,))
    stream = row[7] & LOWER, row[7] >> THIRTY_TWO, row[8] & LOWER, row[8] >> THIRTY_TWO
    words = numba.carray(room_for(u32, ROOM), (ROOM,))
    counters = numba.carray(room_for(u64, BLOCKS), (BLOCKS,))
    sources = numba.carray(room_for(u32, BLOCKS), (BLOCKS,))
    targets = numba.carray(room_for(u32, BLOCKS), (BLOCKS,))
    # All runs are alike: each within a block, and at the same place of it unless it is one word.
    alike = width == 1 or (
        width > 1 and step & THREE == u64(0) and i64(following & THREE) + width <= 4
    )
    if not alike:
        left = min(left, size)
    done = run = 0
    while done < size:
        if alike:
            skip = width - left  # words of the first run that come before the array
            index, left = u64(index - u64(skip)), width
            count = min((size - done + skip + width - 1) // width, _until_carry(index, step))
            count = min(count, 4 * BLOCKS if width == 1 else BLOCKS)
            take = min(count * width - skip, size - done)
            expect_writes(out, done, done + take)
            _store_alike(words, index, step, width, count, stream)
            index = u64(index + u64(u64(count) * step))
        elif left >= LONG:
            skip = i64(index & THREE)  # words of the first block that come before the run
            take = min(left, _until_carry(index, ONE))
            counter = u64(index >> TWO)
            whole = skip == 0 and take >= STEP
            take = take - take % STEP if whole else min(take, STEP - skip)
            index, left = u64(index + u64(take)), left - take
            if whole:
                _draw_long(out, done, done + take, counter, stream, words, law)
                done += take
                continue
            _store_blocks(words, 0, numbered(COUNT) + counter, counter >> THIRTY_TWO, stream)
        else:  # as many whole runs as there is room for
            skip = take = blocks = 0
            while True:
                before, counter = i64(index & THREE), u64(index >> TWO)
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
                if width:
                    index, following = following, u64(following + step)
                    left = min(width, size - done - take)
                else:
                    i = u64(run)
                    run += 1
                    index = starts[i]
                    left = min(i64(stops[i] - index), size - done - take)
                if left >= LONG or blocks > BLOCKS - LONG // 4 - 2:
                    break
            expect_writes(out, done, done + take)
            for i in range(0, blocks, COUNT):
                some = load(counters, i, COUNT)
                _store_blocks(words, i, some, some >> THIRTY_TWO, stream)
            if take < 4 * blocks:
                for i in range(blocks):  # what this puts behind a run, the next run overwrites
                    _move_block(words, sources[i], targets[i])
        draw_words(words, skip, take, out, done, law)
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


@numba.njit(forceinline=True)
def _code(values, mantissa, exponent, negative_zero):
    bits = as_bits(values)
    code = round_to(bits & u32(0x7FFFFFFF), mantissa, exponent)
    with_sign = code | ((bits >> 24) & u32(0x80))
    return lower_8(with_sign if negative_zero else chosen_below(code, 1, code, with_sign))


def _narrow(values, out, size, mantissa, exponent, negative_zero):
    """Round float32 values to the codes of an 8-bit format."""
    floats, codes = numba.carray(values, (size,)), numba.carray(out, (size,))
    whole = size - size % COUNT
    for i in range(0, whole, COUNT):
        store(codes, i, _code(load(floats, i, COUNT), mantissa, exponent, negative_zero))
    if whole < size:
        left = numba.carray(room_for(floats.dtype, COUNT), (COUNT,))
        some = numba.carray(room_for(codes.dtype, COUNT), (COUNT,))
        for i in range(COUNT):
            left[i] = floats[min(whole + i, size - 1)]
        store(some, 0, _code(load(left, 0, COUNT), mantissa, exponent, negative_zero))
        for i in range(size - whole):
            codes[whole + i] = some[i]


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
    # Each function brings its copy of a table; told that addresses do not matter, LLVM keeps one.
    text = text.replace("internal constant", "internal unnamed_addr constant")
    module = llvm.parse_assembly(text)
    # All that the entry does not call goes, with what only numba's own process could link.
    for function in module.functions:
        if not function.is_declaration and function.name != symbol:
            function.linkage = "internal"
    passes = llvm.create_new_module_pass_manager()
    passes.add_global_dead_code_eliminate_pass()
    passes.add_constant_merge_pass()
    passes.run(module, llvm.create_pass_builder(target, llvm.create_pipeline_tuning_options()))
    return symbol, target.emit_object(module)
