"""Any change of a value is found, with its place; blocks and parts judge as the whole does."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from initpolicy import field
from initpolicy.laws import (
    Constant,
    Law,
    Normal,
    Orthogonal,
    Sparse,
    Stacked,
    TruncatedNormal,
    Uniform,
    ZeroRows,
)
from initpolicy.verification import exact

LAWS: tuple[Law, ...] = (
    Normal(0.0, 0.02),
    Uniform(-1.0, 3.0),
    TruncatedNormal(0.0, 1.0, -2.0, 2.0),
    Constant(0.5),
    Sparse(0.3, 0.1),
    ZeroRows(Normal(0.0, 1.0), (1,)),
    Stacked((Normal(0.0, 1.0), None)),
)
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
STREAM = field.stream(3, "w")


def drawn(law: Law, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    tensor = torch.zeros(shape, dtype=dtype)
    field.fill(law.fills(tensor, STREAM))
    law.write(tensor, STREAM)
    return tensor


@given(
    law=st.sampled_from(LAWS),
    dtype=st.sampled_from(DTYPES),
    rows=st.integers(1, 6).map(lambda half: 2 * half),
    columns=st.integers(1, 9),
    data=st.data(),
)
def test_one_bit_is_found_where_it_is(law, dtype, rows, columns, data):
    tensor = drawn(law, (rows, columns), dtype)
    assert exact.difference(law, tensor, STREAM) is None
    kept = rows // 2 if isinstance(law, Stacked) else rows
    row, column = data.draw(st.integers(0, kept - 1)), data.draw(st.integers(0, columns - 1))
    bits = tensor.view({2: torch.int16, 4: torch.int32, 8: torch.int64}[dtype.itemsize])
    bits[row, column] ^= 1
    found = exact.difference(law, tensor, STREAM)
    assert found is not None
    assert (found.count, found.total, found.index) == (1, rows * columns, (row, column))


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_blocks_judge_as_the_whole_does(law, monkeypatch):
    tensor = drawn(law, (40, 30), torch.float32)
    tensor[7, 3] += 1
    tensor[11, 29] += 1
    whole = exact.difference(law, tensor, STREAM)
    assert whole is not None
    assert (whole.count, whole.index) == (2, (7, 3))
    monkeypatch.setattr(exact, "BLOCK", 77)
    assert exact.difference(law, tensor, STREAM) == whole


@pytest.mark.parametrize("law", [LAWS[0], LAWS[5]], ids=str)
def test_a_part_is_judged_by_the_runs_that_it_holds(law):
    whole = drawn(law, (8, 6), torch.float32)
    runs = field.Runs.of([(r * 6 + 2, r * 6 + 5) for r in range(8)])
    part = whole[:, 2:5].contiguous()
    assert exact.difference(law, part, STREAM, shape=(8, 6), runs=runs) is None
    part[4, 1] = 9
    found = exact.difference(law, part, STREAM, shape=(8, 6), runs=runs)
    assert found is not None
    assert (found.count, found.total, found.index) == (1, 24, (4, 3))


def test_zeros_of_another_sign_and_not_a_number_are_differences():
    assert exact.difference(Constant(0.0), -torch.zeros(3), STREAM) is not None
    found = exact.difference(Constant(1.0), torch.tensor([1.0, torch.nan]), STREAM)
    assert str(found) == (
        "1 of 2 values differ, first at [1]: nan instead of 1; the largest difference is nan"
    )


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_whole_matrix_may_differ_by_rounding_and_no_more(dtype):
    tensor = drawn(Orthogonal(), (48, 40), dtype)
    eps = torch.finfo(dtype).eps
    near = tensor * (1 + eps)
    assert exact.difference(Orthogonal(), near, STREAM) is None
    far = tensor.clone()
    far[5, 6] += max(1e-3, 16 * eps) * (1 if dtype != torch.float64 else 1e-6)
    found = exact.difference(Orthogonal(), far, STREAM)
    assert found is not None
    assert found.index == (5, 6)


def test_complex_and_whole_numbers():
    law = Normal(0.0, 1.0)
    tensor = drawn(law, (5, 3), torch.complex64)
    assert exact.difference(law, tensor, STREAM) is None
    tensor[2, 1] += 1j
    found = exact.difference(law, tensor, STREAM)
    assert found is not None
    assert (found.count, found.index) == (1, (2, 1))
    whole = torch.tensor(7)
    assert exact.difference(Constant(7.0), whole, STREAM) is None
    assert exact.difference(Constant(8.0), whole, STREAM) is not None


def test_no_elements_cannot_differ():
    assert exact.difference(Normal(0.0, 1.0), torch.empty(0, 3), STREAM) is None
