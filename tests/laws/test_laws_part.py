"""Parts: whatever a process holds of a tensor has the bits that the whole tensor has there."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from initpolicy import field
from initpolicy.laws import (
    Arranged,
    Constant,
    Dct,
    Eye,
    Formula,
    Normal,
    Orthogonal,
    Part,
    Sparse,
    Stacked,
    Stratified,
    TruncatedNormal,
    Uniform,
    ZeroRows,
)

STREAM = field.stream(3, "blocks.0.weight")
SHAPE = (6, 4, 3)
NORMAL = Normal(0.0, 0.02)
LAWS = [
    (Constant(0.5), SHAPE),
    (NORMAL, SHAPE),
    (Uniform(-1.0, 1.0), SHAPE),
    (TruncatedNormal(0.0, 1.0, -2.0, 2.0), SHAPE),
    (ZeroRows(NORMAL, (0, 5)), SHAPE),
    (Stacked((NORMAL, None, Constant(1.0))), SHAPE),
    (Stacked((Orthogonal(), NORMAL)), SHAPE),
    (Stacked((ZeroRows(NORMAL, (1,)), Stacked((Uniform(0.0, 1.0), Constant(2.0), NORMAL)))), SHAPE),
    (Orthogonal(), SHAPE),
    (Arranged(Orthogonal(), "bio"), SHAPE),
    (Arranged(Orthogonal(), "iob"), SHAPE),
    (Arranged(NORMAL, "iok"), SHAPE),
    (Formula("z * i0 + i"), SHAPE),
    (Stratified(Uniform(0.0, 1.0)), SHAPE),
    (Dct(), (6, 12)),
    (Eye(), (6, 12)),
    (Sparse(0.5, 0.02), (6, 12)),
]


def whole(law, shape, dtype):
    tensor = torch.full(shape, 7.0).to(dtype)
    field.fill(law.fills(tensor, STREAM))
    law.write(tensor, STREAM)
    return tensor


@st.composite
def splits(draw, size, ranks=3):
    """Runs of each of a few ranks, which together are all indices: neighbours go anywhere."""
    inner = draw(st.sets(st.integers(1, size - 1), max_size=8))
    pairs = list(itertools.pairwise([0, *sorted(inner), size]))
    owners = draw(st.lists(st.integers(0, ranks - 1), min_size=len(pairs), max_size=len(pairs)))
    return [
        [pair for pair, owner in zip(pairs, owners, strict=True) if owner == rank]
        for rank in range(ranks)
    ]


def runs_of(pairs):
    return field.Runs.of(pairs) if pairs else field.Runs.one(0, 0)


@pytest.mark.parametrize(("law", "shape"), LAWS, ids=lambda item: str(item))
@given(st.data())
def test_parts_together_are_the_whole(law, shape, data):
    dtype = data.draw(st.sampled_from([torch.float32, torch.bfloat16, torch.float64]))
    wanted = whole(law, shape, dtype)
    for pairs in data.draw(splits(wanted.numel())):
        runs = runs_of(pairs)
        held = torch.full((runs.size,), 7.0).to(dtype)
        part = Part(held, shape, runs)
        field.fill(law.fills_part(part, STREAM))
        law.write_part(part, STREAM)
        assert torch.equal(held, wanted.view(-1)[torch.from_numpy(runs.indices())])


@given(splits(2 * 3 * 4))
def test_parts_of_complex_tensors(split):
    law = Stacked((NORMAL, Constant(0.0)))
    wanted = whole(law, (2, 3, 4), torch.complex64)
    for pairs in split:
        runs = runs_of(pairs)
        held = torch.zeros(runs.size, dtype=torch.complex64)
        part = Part(held, (2, 3, 4), runs)
        field.fill(law.fills_part(part, STREAM))
        law.write_part(part, STREAM)
        assert torch.equal(held, wanted.view(-1)[torch.from_numpy(runs.indices())])


@pytest.mark.parametrize(
    ("law", "bytes_"),
    [
        (NORMAL, 0),
        (ZeroRows(Constant(1.0), (0,)), 0),
        (Stacked((Orthogonal(), Constant(1.0))), 3 * 4 * 3 * 4),
        (Orthogonal(), 6 * 4 * 3 * 4),
        (Arranged(Orthogonal(), "bio"), 2 * 4 * 3 * 4),
    ],
    ids=str,
)
def test_room_of_whole_matrices(law, bytes_):
    assert law.room(SHAPE, torch.float32) == bytes_


@given(splits(40, ranks=2), st.integers(0, 40), st.integers(0, 40))
def test_runs_within(split, one, other):
    start, stop = sorted((one, other))
    runs = runs_of(split[0])
    first, last, inside = runs.within(start, stop)
    indices = runs.indices().tolist()
    assert (inside.indices() + start).tolist() == [i for i in indices if start <= i < stop]
    assert indices[first:last] == [i for i in indices if start <= i < stop]
