"""Orthogonal matrices: orthonormal to rounding, and exactly uniform.

Statistical tests use fixed seeds. For a right implementation, each comparison had a chance of at
most 1e-6 to come out wrong, and there are fewer than a hundred.
"""

import math
from functools import cache

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from initpolicy import field
from initpolicy.laws import LawError, Orthogonal
from initpolicy.laws.orthogonal import haar

COUNT = 1500


@pytest.fixture(autouse=True)
def _one_thread():
    """Small matrices wait for each other's threads on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def written(shape, dtype=torch.float32, gain=1.0, name="w", seed=0) -> torch.Tensor:
    tensor = torch.full(shape, math.nan, dtype=dtype)
    law = Orthogonal(gain)
    law.validate(tuple(shape), dtype)
    assert law.fills(tensor, field.stream(seed, name)) == []
    law.write(tensor, field.stream(seed, name))
    return tensor


def orthonormality(matrix: torch.Tensor) -> float:
    """Frobenius norm of QtQ - I over the shorter side."""
    matrix = matrix.flatten(1).double()
    matrix = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.mT
    return float(torch.linalg.matrix_norm(matrix.mT @ matrix - torch.eye(matrix.shape[1])))


def reflections(normals: np.ndarray) -> np.ndarray:
    """The same product, one reflection after the other, as the definition says it."""
    n, k = normals.shape
    q, signs = np.eye(n), np.ones(k)
    for j in range(k):
        x = np.where(np.arange(n) < j, 0.0, normals[:, j])
        sign = math.copysign(1.0, x[j])
        v = x.copy()
        v[j] += sign * np.linalg.norm(x)
        q -= np.outer(q @ v, 2 * v / (v @ v))
        signs[j] = -sign
    return q[:, :k] * signs


@pytest.mark.parametrize(
    "shape", [(1, 1), (2, 2), (5, 1), (7, 3), (128, 128), (129, 129), (300, 260), (200, 128)]
)
def test_blocks_are_the_product_of_reflections(shape):
    normals = np.random.default_rng(0).standard_normal(shape)
    for transposed in (False, True):
        q = (
            torch.full(shape[::-1], math.nan, dtype=torch.float64).mT
            if transposed
            else (torch.full(shape, math.nan, dtype=torch.float64))
        )
        haar(torch.from_numpy(normals.copy()), q)
        np.testing.assert_allclose(q.numpy(), reflections(normals), atol=1e-12)


@pytest.mark.parametrize("shape", [(5, 5), (6, 4), (4, 6)])
def test_the_draws_fill_the_tall_matrix_row_by_row(shape):
    tall = (max(shape), min(shape))
    normals, q = torch.empty(tall), torch.empty(tall)
    field.fill([field.Fill(normals, field.stream(0, "w"), field.NormalDraw(0.0, 1.0))])
    haar(normals, q)
    torch.testing.assert_close(written(shape), q if shape == tall else q.mT)


def test_a_single_column_is_the_normalised_draw():
    normals = torch.empty(50, 1)
    field.fill([field.Fill(normals, field.stream(0, "w"), field.NormalDraw(0.0, 1.0))])
    torch.testing.assert_close(written((50, 1)), normals / normals.norm())
    torch.testing.assert_close(written((1, 50)), normals.mT / normals.norm())


@pytest.mark.parametrize("shape", [(256, 256), (64, 500), (500, 64), (32, 16, 3, 3), (150, 150)])
def test_as_orthonormal_as_torchs(shape):
    theirs = torch.empty(shape)
    torch.manual_seed(0)
    torch.nn.init.orthogonal_(theirs)
    assert orthonormality(written(shape)) < 2 * orthonormality(theirs)
    assert orthonormality(written(shape, torch.float64)) < 1e-13


shapes = st.lists(st.integers(1, 12), min_size=2, max_size=4).map(tuple)


@settings(max_examples=60)
@given(shapes, st.floats(0.1, 4), st.sampled_from([torch.float32, torch.float64, torch.float16]))
def test_every_shape_passes_its_check(shape, gain, dtype):
    tensor = written(shape, dtype, gain)
    assert Orthogonal(gain).check(tensor) == ()
    assert Orthogonal(1.1 * gain).check(tensor) != ()
    short_side = min(shape[0], math.prod(shape[1:]))
    assert float(tensor.double().norm()) == pytest.approx(gain * math.sqrt(short_side), rel=1e-2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_narrow_types_are_float32_rounded_once(dtype):
    for shape in ((40, 30), (30, 40), (200, 200)):
        tensor = written(shape, dtype, gain=1.5)
        assert torch.equal(tensor, written(shape, gain=1.5).to(dtype))
        assert Orthogonal(1.5).check(tensor) == ()


def test_any_strides():
    expected = written((20, 30))
    views = [torch.empty(30, 20).mT, torch.empty(20, 60)[:, ::2], torch.empty(40, 30)[::2]]
    for view in views:
        Orthogonal().write(torch.nn.Parameter(view), field.stream(0, "w"))
        assert torch.equal(view, expected)
    convolution = torch.empty(8, 4, 3, 3).to(memory_format=torch.channels_last)
    Orthogonal().write(convolution, field.stream(0, "w"))
    assert torch.equal(convolution, written((8, 4, 3, 3)))


def test_streams_decide_and_the_global_generator_does_not():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = written((6, 6))
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(1)
    assert torch.equal(first, written((6, 6)))
    assert not torch.equal(first, written((6, 6), name="v"))


# Uniformity: facts of the Haar measure on O(n) and on the matrices of k orthonormal columns.


@cache
def sample(shape) -> np.ndarray:
    return torch.stack([written(shape, torch.float64, seed=i) for i in range(COUNT)]).numpy()


@pytest.mark.parametrize("shape", [(2, 2), (3, 3), (5, 5), (6, 2), (2, 6), (7, 1), (1, 7)])
def test_every_entry_has_the_law_of_a_coordinate_on_the_sphere(shape):
    # A coordinate t of a uniform point of the sphere in n dimensions: (1 + t) / 2 follows
    # Beta((n - 1) / 2, (n - 1) / 2).
    q = sample(shape)
    half = (max(shape) - 1) / 2
    for i in range(shape[0]):
        for j in range(shape[1]):
            found = scipy.stats.kstest((1 + q[:, i, j]) / 2, scipy.stats.beta(half, half).cdf)
            assert found.pvalue > 1e-6, (i, j)


def z_score(values: np.ndarray, mean: float) -> float:
    return abs(values.mean() - mean) / (values.std() / math.sqrt(len(values)))


@pytest.mark.parametrize("n", [2, 3, 4, 6])
def test_traces_and_determinants(n):
    # Diaconis and Shahshahani 1994: E tr Q = 0, E (tr Q)^2 = 1, E tr Q^2 = 1 on O(n), n >= 2; and
    # any orthogonal matrix times Q is uniform too. |z| < 5 fails once in 1.7 million.
    q = sample((n, n))
    fixed = np.linalg.qr(np.random.default_rng(1).standard_normal((n, n)))[0]
    for turned in (q, fixed @ q, q @ fixed):
        trace = np.trace(turned, axis1=1, axis2=2)
        assert z_score(trace, 0) < 5
        assert z_score(trace**2, 1) < 5
        assert z_score(np.trace(turned @ turned, axis1=1, axis2=2), 1) < 5
    assert z_score(np.sign(np.linalg.det(q)), 0) < 5


def test_rotations_of_the_plane_are_uniform():
    q = sample((2, 2))
    angles = np.arctan2(q[:, 1, 0], q[:, 0, 0])
    rotation = np.linalg.det(q) > 0
    for chosen in (angles[rotation], angles[~rotation]):
        uniform = scipy.stats.uniform(-math.pi, 2 * math.pi)
        assert scipy.stats.kstest(chosen, uniform.cdf).pvalue > 1e-6


def test_one_by_one_is_a_fair_sign():
    q = sample((1, 1)).ravel().round(12)
    assert set(q.tolist()) == {-1.0, 1.0}
    assert z_score(q, 0) < 5


# Errors, checks, torch.


@pytest.mark.parametrize("shape", [(8,), ()])
def test_too_few_dimensions(shape):
    with pytest.raises(LawError) as caught:
        Orthogonal().validate(shape, torch.float32)
    assert caught.value.message == (
        f"orthogonal needs at least 2 dimensions and {shape} has {len(shape)}"
    )
    assert caught.value.hint == 'for a bias write `0` or { fn = "uniform", a = -0.1, b = 0.1 }'


def test_no_complex_matrix():
    with pytest.raises(LawError, match=r"^orthogonal cannot fill a complex tensor$"):
        Orthogonal().validate((2, 2), torch.complex64)


def test_check_says_how_far_off():
    matrix = written((30, 20))
    matrix[3, 4] += 0.01
    (message,) = Orthogonal().check(matrix)
    assert message.startswith("inner products are off by up to 0.0")
    assert message.endswith(" from those of orthogonal, and rounding explains 8.583e-06")
    matrix[0, 0] = math.nan
    assert Orthogonal().check(matrix) == ("1 of 600 values is NaN or infinite",)


@pytest.mark.parametrize("shape", [(2048, 300), (300, 2048), (700, 700)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_large_matrices_pass_their_check_torchs_too(shape, dtype):
    tensor = written(shape, dtype)
    assert Orthogonal().check(tensor) == ()
    Orthogonal().write_torch(tensor)
    assert Orthogonal().check(tensor) == ()


def test_torchs_bits():
    for shape in ((5, 7), (7, 5), (4, 3, 2, 2), (0, 4)):
        a, b = torch.empty(shape), torch.empty(shape)
        torch.manual_seed(0)
        Orthogonal(2.0).write_torch(torch.nn.Parameter(a))
        torch.manual_seed(0)
        torch.nn.init.orthogonal_(b, 2.0)
        assert torch.equal(a, b)


def test_text_and_empty_tensors():
    assert str(Orthogonal(math.sqrt(2)).scaled(2)) == "orthogonal x 2.828"
    for shape in ((0, 3), (3, 0)):
        tensor = torch.empty(shape)
        Orthogonal().write(tensor, field.stream(0, "w"))
        assert Orthogonal().check(tensor) == ()
