"""Parts: whatever a process holds of a tensor has the bits that the whole tensor has there."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from initpolicy import field
from initpolicy.laws import (
    Arranged,
    Constant,
    Dct,
    Dirac,
    Eye,
    Formula,
    FromFile,
    Hadamard,
    Identity,
    Normal,
    Orthogonal,
    Part,
    Sparse,
    Stacked,
    Stratified,
    TruncatedNormal,
    Uniform,
    ZeroRows,
    from_file,
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
    (Formula("u + z + i2"), SHAPE),
    (Formula("i1 - i0"), SHAPE),
    (Stratified(Uniform(0.0, 1.0)), SHAPE),
    (Dct(), (6, 12)),
    (Eye(2.0), (6, 12)),
    (Eye(), (12, 6)),
    (Dirac(), SHAPE),
    (Dirac(groups=2, value=0.5), (6, 2, 3, 2)),
    (Identity(1 / 3), SHAPE),
    (Identity(), (12, 3)),
    (Hadamard(1 / 3), SHAPE),
    (Hadamard(), (3, 4, 6)),
    (Hadamard(), (12, 6)),
    (Hadamard(), (6, 12)),
    (Hadamard(), (6, 2, 1, 1, 3, 2)),
    (Sparse(0.5, 0.02), (6, 12)),
    (Sparse(0.3), (12, 6)),
    (Sparse(1.0), (6, 12)),
    (Sparse(0.0), (6, 12)),
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


MADE_ONE_BY_ONE = (Formula, Eye, Dirac, Identity, Hadamard, Sparse)


@pytest.mark.parametrize(
    ("law", "shape"),
    [item for item in LAWS if isinstance(item[0], MADE_ONE_BY_ONE)],
    ids=lambda item: str(item),
)
def test_elements_made_one_by_one_take_no_room(law, shape, monkeypatch):
    def whole_tensor(part):
        raise AssertionError("the whole tensor was made")

    monkeypatch.setattr(Part, "whole", whole_tensor)
    runs = runs_of([(3, 20), (40, 41)])
    part = Part(torch.empty(runs.size), shape, runs)
    field.fill(law.fills_part(part, STREAM))
    law.write_part(part, STREAM)
    assert law.room(shape, torch.float32) == 0


def test_a_part_of_a_formula_is_all_that_is_computed(monkeypatch):
    computed = []
    original = Formula._at

    def counted(self, shape, places, draws):
        computed.append(len(places))
        return original(self, shape, places, draws)

    monkeypatch.setattr(Formula, "_at", counted)
    runs = runs_of([(start, start + 5) for start in range(0, 2**40, 2**30)])
    held = torch.empty(runs.size, dtype=torch.float64)
    Formula("i").write_part(Part(held, (2**40,), runs), STREAM)
    assert held.tolist() == runs.indices().tolist()
    assert sum(computed) == runs.size


def test_columns_that_are_not_held_are_not_drawn(monkeypatch):
    drawn = []
    original = field.words_of

    def counted(stream, runs):
        drawn.append(runs.size)
        return original(stream, runs)

    monkeypatch.setattr(field, "words_of", counted)
    law, shape = Sparse(0.5), (40, 100)
    runs = runs_of([(row * 100 + 97, row * 100 + 99) for row in range(40)])
    Sparse.write_part(law, Part(torch.ones(80), shape, runs), STREAM)
    assert sum(drawn) == 2 * 40


FILES = [
    {},
    {"factor": 0.5},
    {"rows": (1, 4)},
    {"repeat": 3},
    {"rows": (2, 5), "repeat": 2, "factor": -1.0},
]


@pytest.mark.parametrize("arguments", FILES, ids=str)
@pytest.mark.parametrize("ending", ["safetensors", "pt"])
@pytest.mark.parametrize("stored", [(6, 4, 3), (6,), (6, 0)], ids=str)
def test_parts_of_files(stored, ending, arguments, tmp_path, monkeypatch):
    monkeypatch.setattr(from_file, "_TOGETHER", 20)
    path, tensor = str(tmp_path / f"file.{ending}"), torch.rand(stored, dtype=torch.float64)
    save_file({"w": tensor}, path) if ending == "safetensors" else torch.save({"w": tensor}, path)
    law = FromFile(path, "w", **arguments)
    start, stop = arguments.get("rows", (0, 6))
    wanted = tensor[start:stop].repeat(arguments.get("repeat", 1), *[1] * (len(stored) - 1))
    wanted = (wanted * arguments.get("factor", 1.0)).bfloat16()
    most = []
    original = from_file.load

    def counted(path, key, rows=None):
        found = original(path, key, rows)
        most.append(found.numel())
        return found

    monkeypatch.setattr(from_file, "load", counted)

    @given(splits(wanted.numel()) if wanted.numel() > 1 else st.just([[]]))
    @settings(max_examples=20)
    def check(split):
        for pairs in split:
            runs = runs_of(pairs)
            held = torch.full((runs.size,), 7.0, dtype=torch.bfloat16)
            law.write_part(Part(held, tuple(wanted.shape), runs), STREAM)
            assert torch.equal(held, wanted.view(-1)[torch.from_numpy(runs.indices())])

    check()
    assert max(most, default=0) <= 20
    assert law.room(tuple(wanted.shape), torch.bfloat16) == 0


def test_a_part_of_a_file_reads_its_rows_alone(tmp_path, monkeypatch):
    path, tensor = str(tmp_path / "file.safetensors"), torch.rand(100, 5)
    save_file({"w": tensor}, path)
    read = []
    original = from_file.load
    monkeypatch.setattr(from_file, "load", lambda *given: read.append(given[2]) or original(*given))
    held = torch.empty(3)
    FromFile(path, "w").write_part(Part(held, (100, 5), runs_of([(52, 55)])), STREAM)
    assert torch.equal(held, tensor.view(-1)[52:55])
    assert read == [(10, 11)]


@pytest.mark.parametrize("ending", ["safetensors", "pt"])
def test_a_number_in_a_file(ending, tmp_path):
    path, tensor = str(tmp_path / f"file.{ending}"), torch.tensor(2.5)
    save_file({"w": tensor}, path) if ending == "safetensors" else torch.save({"w": tensor}, path)
    held = torch.empty(1)
    FromFile(path, "w", factor=2.0).write_part(Part(held, (), runs_of([(0, 1)])), STREAM)
    assert held.tolist() == [5.0]


@given(splits(40, ranks=2), st.lists(st.integers(0, 60)))
def test_finding_indices(split, indices):
    runs = runs_of(split[0])
    held = runs.indices().tolist()
    wanted = [held.index(i) for i in indices if i in held]
    assert runs.find(np.array(indices, np.int64)).tolist() == wanted


@given(splits(40, ranks=2), st.integers(0, 40), st.integers(0, 40))
def test_runs_within(split, one, other):
    start, stop = sorted((one, other))
    runs = runs_of(split[0])
    first, last, inside = runs.within(start, stop)
    indices = runs.indices().tolist()
    assert (inside.indices() + start).tolist() == [i for i in indices if start <= i < stop]
    assert indices[first:last] == [i for i in indices if start <= i < stop]
