"""Deterministic bases: against scipy and explicit formulas, and orthonormal in every shape."""

import json
import math

import numpy as np
import pytest
import scipy.fft
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from initpolicy import field
from initpolicy.laws import (
    Dct,
    DeltaOrthogonal,
    Eye,
    Fourier,
    Frame,
    Haar,
    Hadamard,
    Identity,
    LawError,
    Orthogonal,
    from_json,
)

STREAM = field.stream(0, "w")
BASES = [Dct, Fourier, Haar]
FIXED = [*BASES, Hadamard, Identity]
EPS = np.finfo(np.float64).eps


def written(law, shape, dtype=torch.float64) -> torch.Tensor:
    tensor = torch.full(shape, math.nan, dtype=dtype)
    law.validate(tuple(shape), dtype)
    assert law.fills(tensor, STREAM) == []
    law.write(torch.nn.Parameter(tensor), STREAM)
    assert law.check(tensor) == ()
    return tensor


def matrix_of(law, shape) -> np.ndarray:
    return written(law, shape).flatten(1).numpy()


# Against other implementations.


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 8, 16, 31, 64, 97])
def test_dct_is_scipys(n):
    expected = scipy.fft.dct(np.eye(n), norm="ortho", axis=0)
    np.testing.assert_allclose(matrix_of(Dct(), (n, n)), expected, atol=20 * EPS)
    half = (n + 1) // 2
    np.testing.assert_allclose(matrix_of(Dct(), (half, n)), expected[:half], atol=20 * EPS)
    finer = scipy.fft.dct(np.eye(n + 3), norm="ortho", axis=0)[:, :n]
    np.testing.assert_allclose(matrix_of(Dct(), (n + 3, n)), finer, atol=20 * EPS)


def waves(n: int, shift: float, columns: int) -> np.ndarray:
    """The real Fourier basis, row by row as it is defined."""
    j = np.arange(columns) + shift
    rows = [np.full(columns, math.sqrt(1 / n))]
    for k in range(1, (n + 1) // 2):
        rows.append(math.sqrt(2 / n) * np.cos(2 * math.pi * k * j / n))
        rows.append(math.sqrt(2 / n) * np.sin(2 * math.pi * k * j / n))
    if n % 2 == 0:
        rows.append(math.sqrt(1 / n) * (-1.0) ** np.arange(columns))
    return np.array(rows)[:n]


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 13, 32, 97])
def test_fourier_is_the_real_transform(n):
    np.testing.assert_allclose(matrix_of(Fourier(), (n, n)), waves(n, 0, n), atol=1e-13)
    for columns in range(1, n):
        expected = waves(n, 0.25, columns)
        np.testing.assert_allclose(matrix_of(Fourier(), (n, columns)), expected, atol=1e-13)


def test_fourier_spans_what_the_transform_of_numpy_spans():
    x = np.random.default_rng(0).standard_normal(10)
    ours, theirs = matrix_of(Fourier(), (10, 10)) @ x, np.fft.rfft(x) / math.sqrt(10)
    power = [ours[0] ** 2, *(ours[1:9:2] ** 2 + ours[2:9:2] ** 2) / 2, ours[9] ** 2]
    np.testing.assert_allclose(power, abs(theirs) ** 2)


def haar_recursively(n: int) -> list[list[float]]:
    """Constant, then level by level, by the words of the definition."""
    rows = [[math.sqrt(1 / n)] * n]
    level = [(0, n)]
    while level:
        following = []
        for start, length in level:
            if length < 2:
                continue
            a = math.ceil(length / 2)
            b = length - a
            row = [0.0] * n
            for j in range(start, start + a):
                row[j] = math.sqrt(b / (a * length))
            for j in range(start + a, start + length):
                row[j] = -math.sqrt(a / (b * length))
            rows.append(row)
            following += [(start, a), (start + a, b)]
        level = following
    return rows


@pytest.mark.parametrize("n", [1, 2, 3, 5, 6, 8, 11, 16, 37])
def test_haar_is_its_definition(n):
    np.testing.assert_allclose(matrix_of(Haar(), (n, n)), haar_recursively(n), atol=EPS)


def test_haars_own_basis():
    # A. Haar 1910 for 8 positions, in multiples of sqrt(1/8), sqrt(1/8), 1/2 and sqrt(1/2).
    expected = [
        [1, 1, 1, 1, 1, 1, 1, 1],
        [1, 1, 1, 1, -1, -1, -1, -1],
        [1, 1, -1, -1, 0, 0, 0, 0],
        [0, 0, 0, 0, 1, 1, -1, -1],
        [1, -1, 0, 0, 0, 0, 0, 0],
        [0, 0, 1, -1, 0, 0, 0, 0],
        [0, 0, 0, 0, 1, -1, 0, 0],
        [0, 0, 0, 0, 0, 0, 1, -1],
    ]
    np.testing.assert_array_equal(np.sign(matrix_of(Haar(), (8, 8))), expected)


@pytest.mark.parametrize("columns", [1, 2, 5, 8])
def test_redundant_haar_is_the_basis_moved_on(columns):
    basis = np.array(haar_recursively(columns))
    rows = 3 * columns + 1
    matrix = matrix_of(Haar(), (rows, columns)) * math.sqrt(rows / columns)
    for row in range(rows):
        start, moved = row % columns, row // columns
        expected = [basis[start][(j - moved) % columns] for j in range(columns)]
        np.testing.assert_allclose(matrix[row], expected, atol=1e-14)


@pytest.mark.parametrize("rows", [2, 3, 5, 8, 9, 24, 64])
def test_hadamard_is_zero_by_scipy(rows):
    side = 2 ** math.ceil(math.log2(rows))
    expected = scipy.linalg.hadamard(side) / 2 ** (math.ceil(math.log2(rows)) / 2)
    for columns in range(1, rows):
        found = matrix_of(Hadamard(), (rows, columns))
        np.testing.assert_allclose(found, expected[:rows, :columns], rtol=2 * EPS)
    np.testing.assert_array_equal(matrix_of(Hadamard(), (rows, rows + 2)), np.eye(rows, rows + 2))
    np.testing.assert_array_equal(matrix_of(Hadamard(), (rows, rows)), np.eye(rows))


@pytest.mark.parametrize("kernel", [(3,), (4,), (3, 5), (1, 2, 3)])
def test_hadamard_of_a_convolution_lies_in_the_middle(kernel):
    for out, into in ((6, 3), (3, 6)):
        tensor = written(Hadamard(2.0), (out, into, *kernel))
        middle = tensor[(slice(None), slice(None), *(size // 2 for size in kernel))]
        assert torch.equal(middle, written(Hadamard(2.0), (out, into)))
        assert torch.count_nonzero(tensor) == torch.count_nonzero(middle)


# Every shape.

shapes = st.one_of(
    st.lists(st.integers(1, 6), min_size=2, max_size=5),
    st.tuples(st.integers(1, 50), st.integers(1, 50)).map(list),
    st.sampled_from([[1, 37], [37, 1], [31, 3, 3], [24, 1, 3, 3], [1, 1], [101, 97]]),
).map(tuple)


def departure(rows_or_columns: np.ndarray) -> float:
    gram = rows_or_columns @ rows_or_columns.T
    return float(np.abs(gram - np.eye(len(gram))).max())


@settings(max_examples=150)
@given(st.sampled_from([Dct, Fourier, Haar]), shapes)
def test_the_shorter_side_is_orthonormal(make, shape):
    matrix = matrix_of(make(), shape)
    rows, columns = matrix.shape
    if rows <= columns:
        assert departure(matrix) < 1e-13
    elif make is not Haar or rows % columns == 0:
        assert departure(matrix.T) < 1e-13
    else:
        norms = np.linalg.norm(matrix, axis=1)
        np.testing.assert_allclose(norms, math.sqrt(columns / rows))
        share = np.linalg.eigvalsh(matrix.T @ matrix) * rows / columns
        assert share.min() > math.floor(rows / columns) - 1e-9
        assert share.max() < math.ceil(rows / columns) + 1e-9
    assert np.linalg.norm(matrix) ** 2 == pytest.approx(min(rows, columns))


@given(st.sampled_from([Dct, Fourier]), st.integers(2, 60), st.integers(1, 20))
def test_redundant_rows_differ_and_none_is_zero(make, rows, columns):
    matrix = matrix_of(make(), (rows, columns))
    if rows > columns:
        assert np.linalg.norm(matrix, axis=1).min() > 1e-6
    if columns > 1:
        assert len(np.unique(matrix.round(12), axis=0)) == rows


@given(st.sampled_from(FIXED), shapes, st.floats(-3, 3))
def test_gain_multiplies(make, shape, gain):
    expected = gain * matrix_of(make(), shape)
    np.testing.assert_array_equal(matrix_of(make(gain), shape), expected)
    np.testing.assert_array_equal(matrix_of(make().scaled(gain), shape), expected)


@given(shapes)
def test_identity_is_that_of_the_flattened_tensor(shape):
    matrix = matrix_of(Identity(), shape)
    np.testing.assert_array_equal(matrix, np.eye(*matrix.shape))
    if len(shape) == 2:
        assert Eye().check(torch.from_numpy(matrix)) == ()


@pytest.mark.parametrize("make", FIXED)
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0), (2, 3, 0), (0, 2, 3, 3)])
def test_tensors_without_elements(make, shape):
    assert written(make(), shape).shape == shape


@pytest.mark.parametrize("make", BASES)
def test_filters_are_products_sorted_by_frequency(make):
    tensor = written(make(), (18, 2, 3, 3)).numpy()
    one, three = (matrix_of(make(), (size, size)) for size in (2, 3))
    where = {
        Dct: {2: [0, 1], 3: [0, 1, 2]},
        Fourier: {2: [0, 1], 3: [0, 1, 1]},
        Haar: {2: [0, 1], 3: [0, 1, 2]},
    }[make]
    products = [
        ((where[2][i] / 2) ** 2 + (where[3][j] / 3) ** 2 + (where[3][k] / 3) ** 2, i, j, k)
        for i in range(2)
        for j in range(3)
        for k in range(3)
    ]
    order = sorted(products, key=lambda item: (round(item[0], 9), *item[1:]))
    for row, (_, i, j, k) in enumerate(order):
        expected = np.einsum("a,b,c->abc", one[i], three[j], three[k])
        np.testing.assert_allclose(tensor[row], expected, atol=1e-15)


# Types, memory, torch.


@pytest.mark.parametrize("make", FIXED)
@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn], ids=str
)
def test_types_are_rounded_from_float32(make, dtype):
    for shape in ((20, 30), (30, 20)):
        exact = written(make(1.7), shape)
        found = written(make(1.7), shape, dtype)
        assert torch.equal(found.float(), exact.float().to(dtype).float())


@pytest.mark.parametrize("make", FIXED)
def test_any_strides_and_nothing_drawn(make):
    expected = written(make(), (12, 20), torch.float32)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    for view in (torch.empty(20, 12).mT, torch.empty(12, 40)[:, ::2], torch.empty(24, 20)[::2]):
        make().write_torch(torch.nn.Parameter(view))
        assert torch.equal(view, expected)
        assert make().check(view) == ()
    assert torch.equal(before, torch.get_rng_state())


def test_a_complex_identity():
    tensor = written(Identity(0.1), (3, 4), torch.complex128)
    assert torch.equal(tensor, 0.1 * torch.eye(3, 4, dtype=torch.complex128))


def test_large_matrices_are_exact():
    for make in BASES:
        matrix = written(make(), (1500, 1500))
        gram = matrix @ matrix.mT
        assert float((gram - torch.eye(1500, dtype=torch.float64)).abs().max()) < 1e-13


# Checks and errors.


@given(st.sampled_from(FIXED), shapes, st.integers(0, 10**6), st.sampled_from([1e-3, -0.5]))
def test_checks_find_one_wrong_value(make, shape, place, error):
    tensor = written(make(), shape, torch.float32)
    tensor.view(-1)[place % tensor.numel()] += error
    message = f"1 of {tensor.numel()} values is not those of {make()}"
    assert make().check(tensor) == (message,)


@pytest.mark.parametrize("make", FIXED)
def test_checks_count(make):
    tensor = written(make(), (8, 8), torch.float32)
    assert make(1.0001).check(tensor) != ()
    tensor[0, 0] = math.nan
    assert make().check(tensor) == ("1 of 64 values is NaN or infinite",)


@pytest.mark.parametrize(
    ("law", "name"),
    [
        (Dct(), "DCT"),
        (Fourier(2), "Fourier x 2"),
        (Haar(), "Haar"),
        (Hadamard(0.5), "ZerO x 0.5"),
        (Identity(), "partial identity"),
        (Frame(), "frame"),
    ],
)
@pytest.mark.parametrize("shape", [(), (3,)])
def test_too_few_dimensions(law, name, shape):
    assert str(law) == name
    with pytest.raises(LawError) as caught:
        law.validate(shape, torch.float32)
    assert (
        caught.value.message == f"{name} needs at least 2 dimensions and {shape} has {len(shape)}"
    )
    assert caught.value.hint == 'for a bias write `0` or { fn = "uniform", a = -0.1, b = 0.1 }'


@pytest.mark.parametrize("make", [*BASES, Hadamard, Frame, DeltaOrthogonal])
def test_no_complex_matrix(make):
    with pytest.raises(LawError, match=r"cannot fill a complex tensor$"):
        make().validate((4, 4, 3), torch.complex64)
    with pytest.raises(LawError, match=r"which takes constants only$"):
        make().validate((4, 4, 3), torch.int64)


@pytest.mark.parametrize("make", [*FIXED, Frame, DeltaOrthogonal])
@given(gain=st.floats(allow_nan=False, allow_infinity=False))
def test_json(make, gain):
    law = make(gain)
    data = json.loads(json.dumps(law.to_json()))
    assert from_json(data) == law
    assert list(data) == ["kind", "gain"]
    low, high = law.support
    assert low <= min(0, gain) <= max(0, gain) <= high


@pytest.mark.parametrize("make", [*FIXED, Frame, DeltaOrthogonal])
def test_gains_that_mean_nothing(make):
    with pytest.raises(LawError, match=r"^gain must be finite, not inf$"):
        make(math.inf)
    with pytest.raises(LawError, match=r"^gain must be a number, not '1'$"):
        make("1")


# Delta orthogonal.


def delta(shape, gain=1.0, dtype=torch.float64):
    tensor = torch.full(shape, math.nan, dtype=dtype)
    law = DeltaOrthogonal(gain)
    law.validate(tuple(shape), dtype)
    law.write(tensor, STREAM)
    return tensor


@given(
    st.integers(1, 8),
    st.integers(0, 8),
    st.lists(st.integers(1, 5), min_size=1, max_size=3),
    st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
)
def test_delta_orthogonal(into, more, kernel, dtype):
    shape = (into + more, into, *kernel)
    tensor = delta(shape, 1.5, dtype)
    assert DeltaOrthogonal(1.5).check(tensor) == ()
    middle = torch.empty(shape[:2], dtype=dtype)
    Orthogonal(1.5).write(middle, STREAM)
    index = (slice(None), slice(None), *(size // 2 for size in kernel))
    assert torch.equal(tensor[index], middle)
    tensor[index] = 0
    assert not tensor.any()


def test_delta_orthogonal_convolutions_keep_norms():
    x = torch.randn(2, 4, 9, 9, dtype=torch.float64)
    y = torch.nn.functional.conv2d(
        torch.nn.functional.pad(x, (1, 1, 1, 1), mode="circular"), delta((7, 4, 3, 3))
    )
    torch.testing.assert_close(y.flatten(1).norm(dim=1), x.flatten(1).norm(dim=1))


def test_delta_orthogonal_as_torch_draws_it():
    tensor = torch.empty(6, 4, 3)
    torch.manual_seed(0)
    DeltaOrthogonal(2.0).write_torch(torch.nn.Parameter(tensor))
    torch.manual_seed(0)
    assert torch.equal(tensor[:, :, 1], torch.nn.init.orthogonal_(torch.empty(6, 4), 2.0))
    assert DeltaOrthogonal(2.0).check(tensor) == ()


def test_delta_orthogonal_checks():
    tensor = delta((6, 4, 3), dtype=torch.float32)
    tensor[0, 0, 0] = 0.5
    tensor[0, 0, 1] += 0.5
    around, middle = DeltaOrthogonal().check(tensor)
    assert around == "1 of 72 values is not 0 around the middle"
    assert middle.startswith("inner products are off by up to ")
    assert middle.endswith("from those of delta orthogonal, and rounding explains 8.583e-06")
    assert DeltaOrthogonal().check(torch.empty(4, 0, 3)) == ()
    assert delta((4, 2, 0)).shape == (4, 2, 0)


@pytest.mark.parametrize(
    ("shape", "message", "hint"),
    [
        (
            (4, 4),
            "delta orthogonal needs 3, 4 or 5 dimensions and (4, 4) has 2",
            "for a matrix write `orthogonal`",
        ),
        ((4,), "delta orthogonal needs 3, 4 or 5 dimensions and (4,) has 1", ""),
        (
            (4, 5, 3),
            "delta orthogonal needs at least as many output channels as input channels, "
            "and (4, 5, 3) has 4 and 5",
            "write `orthogonal`, whose rows are orthonormal then",
        ),
    ],
)
def test_delta_orthogonal_errors(shape, message, hint):
    with pytest.raises(LawError) as caught:
        DeltaOrthogonal().validate(shape, torch.float32)
    assert (caught.value.message, caught.value.hint) == (message, hint)
