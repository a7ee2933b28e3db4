"""Runs: regular ones against those that are written out, and products against numpy's indexing."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from initpolicy import field
from initpolicy.field import Runs, cpu

LAST = 2**64 - 1
STREAM = field.stream(7, "layer.weight")
DRAWS = [
    field.UniformDraw(-0.25, 1.0),
    field.NormalDraw(0.0, 0.5),
    field.TruncatedDraw(0.0, 1.0, -2.0, 0.5),
]

REGULAR = st.tuples(
    st.integers(0, 40) | st.integers(2**34 - 99, 2**34 + 9) | st.integers(2**63, 2**63 + 9),
    st.integers(1, 9),
    st.integers(0, 30) | st.sampled_from([2**31, 2**34 - 3, 2**36 + 1, 2**40]),
    st.integers(1, 60),
)
"""First index, width, what lies between, and count."""


def written_out(first, width, between, count):
    step = width + between
    return [(first + i * step, first + i * step + width) for i in range(count)]


def regular(first, width, between, count):
    return Runs.regular(first, width, width + between, count)


def each(pairs):
    return list(itertools.chain(*itertools.starmap(range, pairs)))


@given(REGULAR, st.data())
def test_regular_runs_are_those_written_out(numbers, data):
    pairs = written_out(*numbers)
    indices = each(pairs)
    for runs in (regular(*numbers), Runs.of(pairs), Runs(*np.array(pairs, np.uint64).T)):
        assert list(runs) == pairs
        assert (len(runs), runs.size) == (len(pairs), len(indices))
        assert runs.ascending
        assert runs.stop == pairs[-1][1]
        assert runs == Runs.of(pairs)
        assert list(runs.shifted(5)) == [(a + 5, b + 5) for a, b in pairs]
        first = data.draw(st.integers(0, len(indices) - 1))
        last = data.draw(st.integers(first + 1, len(indices)))
        assert each(runs.some(first, last)) == indices[first:last]
        if pairs[-1][1] < 2**63:
            assert list(runs.doubled()) == [(2 * a, 2 * b) for a, b in pairs]
            assert runs.indices().tolist() == indices
            near = sorted({i + by for i in indices for by in (-1, 0, 1)})
            assert runs.find(np.array(near)).tolist() == list(range(len(indices)))


@given(REGULAR, st.data())
def test_the_part_of_regular_runs_within_bounds(numbers, data):
    first, *rest = numbers
    pairs = written_out(first % 2**40, *rest)
    indices = each(pairs)
    behind = indices[-1] + 2 * (pairs[-1][0] - pairs[0][0]) + 3
    near = sorted({i + by for i in indices for by in (0, 1, 2)})
    ends = st.sampled_from([0, behind]) | st.sampled_from(near)
    start, stop = sorted((data.draw(ends), data.draw(ends)))
    low, high, part = regular(first % 2**40, *rest).within(start, stop)
    held = [i for i in indices if start <= i < stop]
    assert indices[low:high] == held
    assert each(part) == [i - start for i in held]


@pytest.mark.parametrize(
    "numbers", [(0, 0, 1, 1), (0, 2, 1, 3), (0, 1, 1, 0), (-1, 1, 1, 1), (LAST - 5, 1, 3, 3)]
)
def test_what_no_regular_runs_are(numbers):
    with pytest.raises(ValueError, match=r"cannot begin every|is not within"):
        Runs.regular(*numbers)


@pytest.mark.parametrize("pairs", [[(0.0, 3.0)], [(0, 3), (4.5, 6)], [(0, "3")]])
def test_runs_are_of_integers(pairs):
    with pytest.raises(TypeError):
        Runs.of(pairs)


def test_numpys_integers_are_integers():
    runs = Runs.regular(*map(np.uint64, (4, 2, 10, 3)))
    assert list(runs.some(1, 5)) == [(5, 6), (14, 16), (24, 25)]
    assert words_from(runs, 1, 5) == words_from(Runs.regular(4, 2, 10, 3), 1, 5)


def test_runs_whose_step_passes_the_end_of_the_field_are_not_regular():
    """Differences of unsigned integers wrap around; indices do not."""
    pairs = [(0, 1), (2**63 + 2, 2**63 + 3), (4, 5)]
    assert list(Runs.of(pairs)) == pairs
    assert not Runs.of(pairs).ascending
    words = field.words_of(STREAM, Runs.of(pairs))
    assert words.tolist() == [int(field.words(STREAM, a, b)[0]) for a, b in pairs]


@st.composite
def products(draw):
    """A shape, and which indices of each dimension are held."""
    shape = draw(st.lists(st.integers(0, 6), max_size=4))
    return shape, [draw(st.sets(st.integers(0, n - 1))) if n else set() for n in shape]


@given(products())
@example(([2, 5], [{0, 1}, {0, 3}]))
@example(([2, 3, 4], [{0, 1}, {0, 1, 2}, {0, 2}]))
@example(([2, 3, 4], [{0, 1}, {0, 1}, {0, 2}]))
@settings(max_examples=300)
def test_products_are_what_numpy_indexes(product):
    shape, held = product
    intervals = []
    for indices in held:
        starts = sorted(i for i in indices if i - 1 not in indices)
        stops = sorted(i + 1 for i in indices if i + 1 not in indices)
        intervals.append((np.array(starts, np.int64), np.array(stops, np.int64)))
    runs = Runs.product(shape, intervals)
    grid = np.ix_(*(np.array(sorted(indices), np.int64) for indices in held))
    whole = np.arange(int(np.prod(shape))).reshape(shape)
    assert each(runs) == whole[grid].ravel().tolist()
    pairs = list(runs)
    assert all(start < stop for start, stop in pairs)
    assert all(one[1] < other[0] for one, other in itertools.pairwise(pairs))  # none touch


def test_columns_of_a_matrix_are_regular_whatever_its_size():
    """Nothing is made for each row."""
    rows, columns = 1 << 40, 1 << 20
    whole = (np.array([0]), np.array([rows]))
    runs = Runs.product((rows, columns), (whole, (np.array([5]), np.array([7]))))
    assert (len(runs), runs.size, runs.stop) == (rows, 2 * rows, (rows - 1) * columns + 7)


def words_from(runs, first, last):
    """The kernel's own way to begin and end within a run."""
    out = np.zeros(last - first + 2, np.uint32)  # one on either side is not to be touched
    kernel, numbers = cpu.bound(None, torch.uint32)
    place = cpu.address(out) + out.itemsize
    cpu.draw(kernel, [cpu.row(place, last - first, runs, first, STREAM, numbers)])
    assert out[0] == out[-1] == 0
    return out[1:-1].tolist()


@given(REGULAR, st.data())
@settings(deadline=None)
def test_words_of_regular_runs_are_those_of_each(numbers, data):
    """Any place in a block, any step, from any element on; also past 2^32 counters."""
    pairs = written_out(*numbers)
    wanted = np.concatenate([field.words(STREAM, start, stop) for start, stop in pairs]).tolist()
    first = data.draw(st.integers(0, len(wanted) - 1))
    last = data.draw(st.integers(first + 1, len(wanted)))
    assert words_from(regular(*numbers), first, last) == wanted[first:last]
    assert words_from(regular(*numbers), 0, len(wanted)) == wanted


def test_words_at_the_end_of_the_field():
    for step, width in itertools.product((3, 4, 512), (1, 2, 3)):
        first = (LAST - width - 99 * step) // 4 * 4
        runs = Runs.regular(first, width, step, 100)
        wanted = [field.words(STREAM, start, stop) for start, stop in runs]
        assert words_from(runs, 0, runs.size) == np.concatenate(wanted).tolist()
        assert words_from(runs, runs.size - 1, runs.size) == wanted[-1].tolist()[-1:]


def test_words_of_a_long_run_where_the_upper_half_of_the_counter_changes():
    start, stop = 2**34 - 700, 2**34 + 700
    wanted = [int(field.words(STREAM, i, i + 1)[0]) for i in range(start, stop)]
    for first in (0, 1, 443, 444, 445):
        assert field.words(STREAM, start + first, stop).tolist() == wanted[first:]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e4m3fn], ids=str)
@pytest.mark.parametrize("draw", DRAWS, ids=lambda draw: type(draw).__name__)
def test_columns_are_those_of_the_whole(draw, dtype, monkeypatch):
    """More runs than share a buffer, in pieces that begin and end anywhere within them."""
    monkeypatch.setattr("initpolicy.field.threads.TASK", 100)
    for columns in (128, 127):
        whole = torch.empty(1500, columns, dtype=dtype)
        field.fill([field.Fill(whole, STREAM, draw)], threads=1)
        for width, first in itertools.product((1, 2, 3, 4, 5, 8), (0, 1, 2, 3, 64)):
            part = torch.empty(1500, width, dtype=dtype)
            runs = Runs.regular(first, width, columns, 1500)
            field.fill([field.Fill(part, STREAM, draw, runs)], threads=1)
            assert torch.equal(part.double(), whole[:, first : first + width].double())
