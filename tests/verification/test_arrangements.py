"""How probable equal slices of stratified tensors are, against all arrangements of small ones."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

import initpolicy
from initpolicy.laws import Normal, Stratified, Uniform
from initpolicy.verification.arrangements import ROWS, WHOLE, Arrangements

SHAPES = [(1, 3), (2, 2), (2, 3), (3, 2), (1, 5)]


def every(rows: int, columns: int) -> np.ndarray:
    """All arrangements of levels 0, 1, ...: each row has one level of each stratum of `rows`."""
    found: list[list[tuple[int, ...]]] = [[]]
    for _ in range(rows):
        found = [
            [*above, row]
            for above in found
            for row in itertools.permutations(range(rows * columns), columns)
            if len({level // rows for level in row}) == columns
            and not set(row) & set(itertools.chain(*above))
        ]
    return np.array(found)


def most(slices: np.ndarray, top: int) -> float:
    """The largest probability that a slice is a certain one, or its negative."""
    values, counts = np.unique(slices, axis=0, return_counts=True)
    known = dict(zip(map(tuple, values), counts, strict=True))
    both = [count + (known.get(tuple(top - np.array(one)), 0)) for one, count in known.items()]
    return max(both) / len(slices)


@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_no_slice_is_more_probable_than_stated(rows, columns):
    found, bounds = every(rows, columns), Arrangements(rows, columns)
    assert len(found) == math.factorial(columns) ** rows * math.factorial(rows) ** columns
    top = rows * columns - 1
    flat = found.reshape(len(found), -1)
    for length in range(1, rows * columns + 1):
        stated = math.exp(bounds.given(WHOLE, length, 1))
        prefixes = np.unique(flat[:, :length], axis=0, return_counts=True)[1]
        assert prefixes.max() / len(found) == pytest.approx(stated / 2)
        assert most(flat[:, :length], top) <= stated * (1 + 1e-9)
    assert most(found[:, 0], top) <= math.exp(bounds.given(ROWS, columns, 1)) * (1 + 1e-9)
    assert most(found[:, :, 0], top) <= math.exp(bounds.given(1, rows, 1)) * (1 + 1e-9)


@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_slices_of_one_tensor_are_opposite_no_more_often_than_stated(rows, columns):
    found, bounds = every(rows, columns), Arrangements(rows, columns)
    top = rows * columns - 1
    pairs = [(ROWS, found[:, 0], found[:, 1])] if rows > 1 else []
    pairs += [(1, found[:, :, 0], found[:, :, 1])] if columns > 1 else []
    for dim, one, other in pairs:
        same = (one == other).all(1) | (one == top - other).all(1)
        assert same.mean() <= math.exp(bounds.between(dim, one.shape[1], 1)) * (1 + 1e-9)


def test_slices_of_filters_take_several_values_of_each_row():
    # In slice (:, 0) of a (2, 2, 2) tensor lie the first two of four columns.
    found, bounds = every(2, 4), Arrangements(2, 4)
    one, other = (found[:, :, part].reshape(len(found), -1) for part in (slice(2), slice(2, 4)))
    assert most(one, 7) <= math.exp(bounds.given(1, 4, 2)) * (1 + 1e-9)
    same = (one == 7 - other).all(1)
    assert 0 < same.mean() <= math.exp(bounds.between(1, 4, 2)) * (1 + 1e-9)


def test_ties_are_levels_that_a_type_rounds_to_one():
    law = Stratified(Uniform(1.0, 2.0))
    assert Arrangements.of(law, torch.empty(16, 8)) == Arrangements(16, 8, 1)
    narrow = Arrangements.of(law, torch.empty(64, 64, dtype=torch.bfloat16))
    assert narrow.ties == 32  # 4096 levels, and 128 numbers
    assert narrow.given(WHOLE, 128, 1) > Arrangements(64, 64).given(WHOLE, 128, 1)
    assert Arrangements.of(Stratified(Normal(0, 1)), torch.empty(())) == Arrangements(1, 1, 1)


def stratified(width: int, write) -> nn.Module:
    write.write_text(
        'format = 1\n[[rule]]\ninit.weight = { fn = "stratified_normal" }\ninit.bias = 0\n'
    )
    model = nn.Sequential(*(nn.Linear(width, width) for _ in range(3)))
    initpolicy.apply(model, write, seed=1)
    return model


@pytest.mark.parametrize("width", [1, 2, 3])
def test_small_layers_are_alike_by_chance(tmp_path, width):
    model = stratified(width, tmp_path / "p.toml")
    with torch.no_grad():
        model[2].weight.copy_(model[0].weight)
    assert initpolicy.verify(model, tmp_path / "p.toml", exact=False).ok


@pytest.mark.parametrize(("width", "sign"), [(8, 1), (8, -1), (64, 1), (64, -1)])
def test_a_copied_layer_is_found(tmp_path, width, sign):
    model = stratified(width, tmp_path / "p.toml")
    assert initpolicy.verify(model, tmp_path / "p.toml", exact=False).ok
    with torch.no_grad():
        model[2].weight.copy_(sign * model[0].weight)
    found = initpolicy.verify(model, tmp_path / "p.toml", exact=False).findings
    assert {(one.name, one.code) for one in found} == {("2.weight", "IP613")}
