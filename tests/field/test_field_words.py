"""Words and values at any indices, in whatever runs and pieces they are asked for."""

import numpy as np
import pytest
import reference
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kernels import values_of

from initpolicy import field
from initpolicy.field import cpu

STREAM = field.stream(3, "layer.weight")
LOWER, HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
AROUND = 48  # elements on either side that must stay as they are
MOST = 3000  # elements of an example
LIMIT = 2**64 - 1
CARRIES = [0, 2**33, 2**34, 2**35, 2**36, 2**36 + 2**34, 2**63, LIMIT]
DRAWS = [
    field.UniformDraw(-0.1, 0.1),
    field.NormalDraw(0.0, 1.0),
    field.TruncatedDraw(0.0, 1.0, -2.0, 2.0),
]


def words(indices):
    """Philox4x32-10 as docs/draws.md lists it, for many indices at a time."""
    blocks = indices >> np.uint64(2)
    a, b = blocks & LOWER, blocks >> HALF
    c, d = (np.full(len(indices), word, np.uint64) for word in STREAM.high)
    k0, k1 = STREAM.key
    for _ in range(10):
        p, q = np.uint64(0xD2511F53) * a, np.uint64(0xCD9E8D57) * c
        a, b = (q >> HALF) ^ b ^ np.uint64(k0), q & LOWER
        c, d = (p >> HALF) ^ d ^ np.uint64(k1), p & LOWER
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    places = (indices & np.uint64(3)).astype(np.intp)
    return np.stack((a, b, c, d), axis=1)[np.arange(len(indices)), places].astype(np.uint32)


def indices_of(runs):
    return np.concatenate([np.uint64(a) + np.arange(b - a, dtype=np.uint64) for a, b in runs])


def drawn(runs, first, size, draw, dtype):
    """Draw some of the elements of runs; what is around them in memory must stay."""
    fours = dtype.itemsize // 4
    memory = np.full((size + 2 * AROUND) * fours, 0xA5A5A5A5, np.uint32)
    kernel, numbers = cpu.bound(draw, dtype)
    place = cpu.address(memory) + AROUND * dtype.itemsize
    cpu.draw(kernel, [cpu.row(place, size, runs, first, STREAM, numbers)])
    around = np.r_[memory[: AROUND * fours], memory[(AROUND + size) * fours :]]
    assert (around == 0xA5A5A5A5).all()
    return memory[AROUND * fours : (AROUND + size) * fours]


def check(runs, first, size):
    made = words(indices_of(runs)[first : first + size])
    assert np.array_equal(drawn(runs, first, size, None, torch.uint32), made)
    for draw in DRAWS:
        wanted = values_of(made, draw, torch.float32).numpy()
        got = drawn(runs, first, size, draw, torch.float32)
        assert np.array_equal(got, wanted.view(np.uint32))


def test_these_words_are_those_of_the_reference():
    indices = [0, 1, 2, 3, 2**34 - 1, 2**34, 2**36 + 5, LIMIT - 1]
    four = [*STREAM.key, *STREAM.high]
    slow = [reference.word(four, index) for index in indices]
    assert words(np.array(indices, np.uint64)).tolist() == slow


WIDTHS = st.one_of(
    st.integers(1, 8), st.sampled_from([63, 64, 65, 254, 255, 256, 257]), st.integers(1, 700)
)
MORE = st.one_of(
    st.integers(0, 9),
    st.integers(0, 300).map(lambda fours: 4 * fours),
    st.sampled_from([1000, 2**20 - 1, 2**32, 2**33 - 1, 2**34 - 8, 2**34 - 1, 2**34]),
)


@st.composite
def regular(draw):
    """Runs of one length and step, whose indices pass a carry of the counter or end at it."""
    width = draw(WIDTHS)
    step = width + draw(MORE)
    if draw(st.booleans()):
        step += -step % 4
    count = draw(st.integers(1, MOST // width))
    span = (count - 1) * step + width
    run = draw(st.integers(0, count - 1))
    first = draw(st.sampled_from(CARRIES)) - run * step - draw(st.integers(-8, width + 8))
    return field.Runs.regular(min(max(first, 0), LIMIT - span), width, step, count)


@st.composite
def mixed(draw):
    """Short runs among long ones."""
    start = max(draw(st.sampled_from(CARRIES[:-1])) - draw(st.integers(-8, 2000)), 0)
    runs, held = [], 0
    kinds = st.lists(st.tuples(st.integers(1, 200), WIDTHS, MORE), min_size=1, max_size=6)
    for times, width, gap in draw(kinds):
        for _ in range(min(times, max((MOST - held) // width, 1))):
            runs.append((start, start + width))
            start, held = start + width + gap, held + width
    return field.Runs.of(runs)


@given(st.one_of(regular(), mixed()), st.data())
@example(field.Runs.regular(2**34 - 4000, 3, 1000, 900), None)
@example(field.Runs.regular(2**34 - 2001, 1, 4, 2000), None)
@example(field.Runs.regular(2**34 - 2001, 1, 3, 2000), None)
@example(field.Runs.regular(2**34 - 2001, 4, 5, 700), None)
@settings(max_examples=150, deadline=None)
def test_any_part_of_any_runs(runs, data):
    first = 0 if data is None else data.draw(st.integers(0, runs.size - 1))
    size = runs.size - first
    if data is not None and data.draw(st.booleans()):
        size = data.draw(st.integers(1, size))
    check(runs, first, size)


@pytest.mark.parametrize("width", range(1, 7))
def test_short_runs_wherever_they_begin(width):
    for place in range(4):
        for step in range(width, width + 9):
            runs = field.Runs.regular(place, width, step, 40)
            check(runs, 0, runs.size)
            check(runs, width - 1, 5 * width)


@pytest.mark.parametrize("place", range(4))
def test_short_runs_that_fill_the_room_for_them(place):
    """What is left of the room is less than, just, or more than what the next run takes."""
    for count in range(184, 200):
        runs = [(8 * i, 8 * i + 1) for i in range(count)]
        start = 8 * count + place
        runs += [(start, start + 255), (start + 300, start + 302)]
        check(field.Runs.of(runs), 0, count + 257)


def test_any_size():
    for size in (*range(1, 140), *range(1000, 1100, 7)):
        check(field.Runs.one(0, size), 0, size)
        check(field.Runs.one(2**34 - size // 8 * 4, 2**34 + size), 0, size)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_nothing_is_written_for_no_elements(dtype):
    assert len(drawn(field.Runs.one(5, 9), 0, 0, DRAWS[1], dtype)) == 0
