"""Identity, Dirac and sparse matrices, rows of zeros: against torch.nn.init and by counting."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from initpolicy import field
from initpolicy.laws import Constant, Dirac, Eye, Law, LawError, Normal, Sparse, ZeroRows

STREAM = field.stream(0, "w")


def written(law: Law, shape, dtype=torch.float32, stream=STREAM) -> torch.Tensor:
    tensor = torch.full(shape, math.nan, dtype=dtype)
    law.validate(tuple(shape), dtype)
    field.fill(law.fills(tensor, stream))
    law.write(torch.nn.Parameter(tensor), stream)
    return tensor


@given(st.integers(0, 9), st.integers(0, 9), st.sampled_from([torch.float32, torch.complex64]))
def test_eye_is_torchs(rows, columns, dtype):
    theirs = torch.nn.init.eye_(torch.empty(rows, columns, dtype=dtype))
    ours = written(Eye(), (rows, columns), dtype)
    assert torch.equal(ours, theirs)
    assert torch.equal(written(Eye(0.5), (rows, columns), dtype), 0.5 * theirs)
    assert Eye().check(ours) == ()


@given(
    st.integers(1, 4),
    st.integers(0, 4),
    st.integers(0, 6),
    st.lists(st.integers(1, 5), min_size=1, max_size=3),
)
def test_dirac_is_torchs(groups, per_group, inputs, kernel):
    shape = (groups * per_group, inputs, *kernel)
    theirs = torch.nn.init.dirac_(torch.empty(shape), groups)
    ours = written(Dirac(groups), shape)
    assert torch.equal(ours, theirs)
    assert Dirac(groups).scaled(-2).check(-2 * theirs) == ()


@pytest.mark.parametrize("law", [Eye(2), Dirac(2, 0.5)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn, torch.float64], ids=str)
def test_patterns_in_every_type(law, dtype):
    shape = (4, 4) if isinstance(law, Eye) else (4, 2, 3)
    assert law.check(written(law, shape, dtype)) == ()


def test_patterns_hand_inputs_on():
    x = torch.randn(2, 6, 5, 5)
    weight = written(Dirac(groups=3), (6, 2, 3, 3))
    assert torch.equal(torch.nn.functional.conv2d(x, weight, padding=1, groups=3), x)


def test_checks_of_patterns():
    matrix = torch.eye(3)
    matrix[0, 1] = 1
    matrix[2, 2] = math.nan
    assert Eye().check(matrix) == ("2 of 9 values are not those of identity",)


@pytest.mark.parametrize(
    ("law", "shape", "dtype", "message", "hint"),
    [
        (
            Eye(),
            (3, 3, 1),
            torch.float32,
            "identity needs exactly 2 dimensions and (3, 3, 1) has 3",
            "for a convolution write `dirac`",
        ),
        (Eye(), (3,), torch.float32, "identity needs exactly 2 dimensions and (3,) has 1", ""),
        (
            Eye(),
            (3, 3),
            torch.int64,
            "identity cannot fill a tensor of int64, which takes constants only",
            "write a number that the type holds, for example `0`",
        ),
        (
            Dirac(),
            (3, 3),
            torch.float32,
            "dirac needs 3, 4 or 5 dimensions and (3, 3) has 2",
            "for a matrix write `eye`",
        ),
        (
            Dirac(4),
            (6, 3, 3),
            torch.float32,
            "dirac cannot split the 6 output channels of (6, 3, 3) into 4 groups",
            'write a divisor of 6, for example `groups = "module.groups"`',
        ),
        (
            Sparse(0.1),
            (6,),
            torch.float32,
            "sparse needs exactly 2 dimensions and (6,) has 1",
            "",
        ),
        (
            ZeroRows(Normal(0, 1), (10,)),
            (10, 3),
            torch.float32,
            "row 10 cannot be left at zero: (10, 3) has rows 0 to 9",
            "",
        ),
        (
            ZeroRows(Normal(0, 1), (-1,)),
            (0, 3),
            torch.float32,
            "row -1 cannot be left at zero: (0, 3) has no rows",
            "",
        ),
        (
            ZeroRows(Constant(1), (0,)),
            (),
            torch.float32,
            "a tensor without dimensions has no rows to leave at zero",
            "",
        ),
    ],
)
def test_what_a_tensor_cannot_follow(law, shape, dtype, message, hint):
    with pytest.raises(LawError) as caught:
        law.validate(shape, dtype)
    assert (caught.value.message, caught.value.hint) == (message, hint)


@pytest.mark.parametrize(
    ("make", "message", "hint"),
    [
        (lambda: Dirac(0), "groups must be at least 1, and is 0", ""),
        (lambda: Dirac(1.5), "groups must be a whole number, not 1.5", ""),
        (lambda: Sparse(10), "sparsity must be between 0 and 1, and is 10", "for 10 % write `0.1`"),
        (lambda: Sparse(-1), "sparsity must be between 0 and 1, and is -1", ""),
        (lambda: Sparse(0.1, -1), "std must not be negative, and is -1", ""),
        (lambda: ZeroRows(Normal(0, 1), (0.5,)), "rows must be whole numbers, not 0.5", ""),
        (lambda: ZeroRows(1, (0,)), "law must be a law, not 1", ""),
    ],
)
def test_parameters_that_mean_nothing(make, message, hint):
    with pytest.raises(LawError) as caught:
        make()
    assert (caught.value.message, caught.value.hint) == (message, hint)


# Sparse.


@given(st.integers(0, 40), st.integers(0, 9), st.floats(0, 1))
def test_sparse_columns_have_torchs_number_of_zeros(rows, columns, sparsity):
    theirs = torch.nn.init.sparse_(torch.empty(rows, columns), sparsity)
    ours = written(Sparse(sparsity), (rows, columns))
    assert torch.equal((ours == 0).sum(0), (theirs == 0).sum(0))
    assert Sparse(sparsity).check(ours) == ()
    dense = written(Normal(0, 0.01), (rows, columns))
    assert torch.equal(ours, dense.where(ours != 0, 0))


def test_zeros_are_where_the_words_are_smallest():
    law, rows, columns = Sparse(0.3), 50, 40
    words = field.words(STREAM, rows * columns, 2 * rows * columns).reshape(columns, rows)
    order = np.argsort(words, axis=1, kind="stable")[:, :15]
    expected = np.zeros((columns, rows), dtype=bool)
    np.put_along_axis(expected, order, True, axis=1)
    np.testing.assert_array_equal((written(law, (rows, columns)) == 0).numpy(), expected.T)


def test_equal_words_are_taken_in_order(monkeypatch):
    monkeypatch.setattr(field, "words_of", lambda stream, runs: np.full(runs.size, 7, np.uint32))
    assert torch.equal((written(Sparse(0.5), (4, 2)) == 0)[:, 0], torch.tensor([1, 1, 0, 0]).bool())


def test_columns_written_in_parts_are_the_same(monkeypatch):
    whole = written(Sparse(0.25), (16, 33))
    monkeypatch.setattr("initpolicy.laws.sparse._WORDS", 100)
    assert torch.equal(whole, written(Sparse(0.25), (16, 33)))


def test_every_row_is_equally_often_zero():
    # Counts over 4000 columns; a fixed seed, with a chance of 1e-6 to be one that fails.
    counts = (written(Sparse(0.2), (10, 4000)) == 0).sum(1).numpy()
    # Two zeros of ten rows in each column: the counts' covariance is that of sampling without
    # replacement, which shrinks the statistic by (10 - 2) / (10 - 1).
    statistic = ((counts - 800) ** 2 / 800).sum() * 9 / 8
    assert scipy.stats.chi2(9).sf(statistic) > 1e-6


def test_sparse_leaves_global_generators_alone_and_torchs_bits_are_torchs():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    written(Sparse(0.1), (20, 5))
    assert torch.equal(before, torch.get_rng_state())
    ours = torch.empty(20, 5)
    Sparse(0.1, 0.5).write_torch(ours)
    torch.manual_seed(0)
    assert torch.equal(ours, torch.nn.init.sparse_(torch.empty(20, 5), 0.1, 0.5))


def test_sparse_checks():
    law = Sparse(0.1)
    values = written(law, (20, 5))
    values[:, 2] = 1.0
    assert law.check(values) == ("1 of 5 columns do not have 2 zeros",)
    assert law.check(torch.zeros(20, 5)) == ("5 of 5 columns do not have 2 zeros",)
    assert law.check(written(law, (200, 50), torch.float16)) == ()


def test_every_sparse_type():
    for dtype in (torch.bfloat16, torch.float16, torch.float64, torch.float8_e5m2):
        assert Sparse(0.5, 1.0).check(written(Sparse(0.5, 1.0), (8, 8), dtype)) == ()


# Rows of zeros.


@pytest.mark.parametrize("law", [Normal(0, 1), Constant(2), Sparse(0.5)], ids=str)
def test_rows_are_zero_and_the_others_are_the_other_laws(law):
    plain, ours = written(law, (6, 4)), written(ZeroRows(law, (0, 5)), (6, 4))
    assert not ours[[0, 5]].any()
    assert torch.equal(ours[1:5], plain[1:5])
    assert ZeroRows(law, (0, 5)).check(ours) == ()
    ours[5, 1] = 3.0
    assert ZeroRows(law, (0, 5)).check(ours)[0] == "row 5 is not zero"


def test_an_embedding_as_torch_draws_it():
    torch.manual_seed(0)
    theirs = torch.nn.Embedding(10, 3, padding_idx=2).weight
    torch.manual_seed(0)
    ours = torch.empty(10, 3)
    ZeroRows(Normal(0, 1), (2,)).write_torch(ours)
    assert torch.equal(ours, theirs)


def test_zero_rows_in_complex_tensors():
    law = ZeroRows(Normal(0, 1), (1,))
    values = written(law, (3, 4), torch.complex64)
    assert not values[1].any()
    assert values[0].all()
    assert law.check(values) == ()
    assert law.of_part() == ZeroRows(Normal(0, math.sqrt(0.5)), (1,))


def test_text_and_support():
    law = ZeroRows(Constant(2), (5, 0, 5))
    assert (str(law), law.rows, law.support) == ("2, rows 0, 5 zero", (0, 5), (0.0, 2.0))
    assert law.scaled(2) == ZeroRows(Constant(4), (0, 5))
    assert law.moments is None
    assert Dirac(2, -1).support == (-1.0, 0.0)
    assert str(Sparse(0.125).scaled(-3)) == "sparse 12.5 %, N(0, 0.03)"
