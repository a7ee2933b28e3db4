"""Mimetic attention: both sides of a product fit together, and resemble what was asked for."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from initpolicy import field
from initpolicy.laws import LawError, Mimetic, from_json

STREAM = field.stream(0, "h.0.attention")


def written(law, shape, dtype=torch.float64, stream=STREAM) -> torch.Tensor:
    tensor = torch.full(shape, math.nan, dtype=dtype)
    law.validate(tuple(shape), dtype)
    assert law.fills(tensor, stream) == []
    law.write(torch.nn.Parameter(tensor), stream)
    return tensor


def target(width, alpha, beta, head=0) -> np.ndarray:
    """Alpha Z + beta I of that head, from the stream's draws."""
    z = torch.empty(width, width, dtype=torch.float64)
    run = (head * width**2, (head + 1) * width**2)
    field.fill([field.Fill(z, STREAM, field.NormalDraw(0.0, 1.0), runs=(run,))])
    return alpha * z.numpy() / math.sqrt(width) + beta * np.eye(width)


@settings(max_examples=40)
@given(st.integers(1, 12), st.integers(1, 3), st.data(), st.floats(0, 1), st.floats(-1, 1))
def test_query_and_key_are_the_nearest_product_of_their_rank(width, heads, data, alpha, beta):
    size = data.draw(st.integers(1, width))
    q, k = (
        written(Mimetic(part, alpha, beta, heads), (heads * size, width)).numpy()
        for part in ("q", "k")
    )
    for head in range(heads):
        rows = slice(head * size, (head + 1) * size)
        wanted = target(width, alpha, beta, head)
        s = np.linalg.svd(wanted)[1]
        error = np.linalg.norm(q[rows].T @ k[rows] - wanted)
        # Eckart, Young, Mirsky: what the smaller singular values hold is the least error.
        assert error == pytest.approx(np.linalg.norm(s[size:]), abs=1e-10)
        np.testing.assert_allclose(np.linalg.norm(q[rows], axis=1) ** 2, s[:size], atol=1e-12)
        np.testing.assert_allclose(np.linalg.norm(k[rows], axis=1) ** 2, s[:size], atol=1e-12)


@given(st.integers(1, 12), st.data(), st.floats(0, 1), st.floats(-1, 1))
def test_value_and_projection(width, data, alpha, beta):
    inner = data.draw(st.integers(1, width))
    v = written(Mimetic("v", alpha, beta), (inner, width)).numpy()
    proj = written(Mimetic("proj", alpha, beta), (width, inner)).numpy()
    wanted = target(width, alpha, -beta)
    s = np.linalg.svd(wanted)[1]
    # The value is x v^T, what comes out x v^T proj^T.
    error = np.linalg.norm(v.T @ proj.T - wanted)
    assert error == pytest.approx(np.linalg.norm(s[inner:]), abs=1e-10)


def test_attention_is_like_the_identity():
    layer = torch.nn.MultiheadAttention(64, 1, bias=False)
    q, k = (written(Mimetic(part, 0.1, 0.9), (64, 64), torch.float32) for part in ("q", "k"))
    product = q.T @ k
    assert float(product.diagonal().mean()) == pytest.approx(0.9, abs=0.05)
    assert float((product - product.diagonal().diag()).std()) < 0.1 / 8 * 1.2
    v = written(Mimetic("v", 0.1, 0.9), (64, 64), torch.float32)
    proj = written(Mimetic("proj", 0.1, 0.9), (64, 64), torch.float32)
    assert float((proj @ v).diagonal().mean()) == pytest.approx(-0.9, abs=0.05)
    assert layer.out_proj.weight.shape == proj.shape


def test_other_streams_are_other_sides():
    q = written(Mimetic("q", 1.0, 0.0), (8, 8))
    k = written(Mimetic("k", 1.0, 0.0), (8, 8), stream=field.stream(0, "other"))
    assert np.abs((q.T @ k).numpy() - target(8, 1.0, 0.0)).max() > 0.1


@pytest.mark.parametrize("part", ["q", "k", "v", "proj"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_checks_pass_types_are_rounded_and_gain_multiplies(part, dtype):
    law = Mimetic(part, 0.5, 0.5)
    shape = (30, 20) if part == "proj" else (20, 30)
    exact, tensor = written(law, shape), written(law, shape, dtype)
    assert torch.equal(tensor, exact if dtype == torch.float64 else exact.float().to(dtype))
    assert law.check(tensor) == ()
    assert torch.equal(written(law.scaled(-2), shape, dtype), -2 * tensor)
    assert law.check(torch.randn(shape).to(dtype)) != ()
    law.write_torch(tensor)
    assert law.check(tensor) == ()


def test_heads_are_checked_one_by_one():
    law = Mimetic("q", 1.0, 0.5, heads=4)
    tensor = written(law, (16, 16), torch.float32)
    assert law.check(tensor) == ()
    assert Mimetic("q", 1.0, 0.5).check(tensor) != ()


def test_check_says_what_is_wrong():
    law = Mimetic("k", 0.5, 0.5)
    tensor = written(law, (6, 6), torch.float32)
    swapped = tensor.flip(0)
    assert law.check(swapped) == (
        "vectors of mimetic k (0.5 Z + 0.5 I) do not lie from the longest to the shortest",
    )
    tensor[5] += tensor[0] / 100
    (message,) = law.check(tensor)
    assert message.startswith(
        "inner products of vectors of mimetic k (0.5 Z + 0.5 I) are up to 0.0"
    )
    assert " and not 0, and rounding explains " in message
    tensor[0, 0] = math.nan
    assert law.check(tensor) == ("1 of 36 values is NaN or infinite",)
    assert law.check(torch.empty(0, 6)) == ()


@pytest.mark.parametrize(
    ("make", "message", "hint"),
    [
        (
            lambda: Mimetic("query", 1, 1),
            "part must be one of q, k, v, proj, not 'query'",
            "",
        ),
        (lambda: Mimetic("q", 1, 1, 0), "heads must be at least 1, and is 0", ""),
        (lambda: Mimetic("q", 1, 1, 1.5), "heads must be a whole number, not 1.5", ""),
        (
            lambda: Mimetic("v", 1, 1, 2),
            "the part v has one matrix for all heads, not 2",
            "leave out `heads`, which is for q and k",
        ),
        (
            lambda: Mimetic("q", 1, 1).validate((4, 4, 1), torch.float32),
            "mimetic q needs exactly 2 dimensions and (4, 4, 1) has 3",
            "",
        ),
        (
            lambda: Mimetic("q", 1, 1, 3).validate((8, 4), torch.float32),
            "mimetic q cannot split the 8 rows of (8, 4) into 3 heads",
            "write a divisor of 8",
        ),
        (
            lambda: Mimetic("proj", 1, 1).validate((4, 8), torch.float32),
            "mimetic proj has 8 vectors of 4 elements in (4, 8), "
            "and no more than 4 of them can be orthogonal",
            "",
        ),
        (
            lambda: Mimetic("q", 1, 1).validate((4, 4), torch.complex64),
            "mimetic q (1 Z + 1 I) cannot fill a complex tensor",
            "write a constant, or a random law that is symmetric about 0",
        ),
    ],
)
def test_errors(make, message, hint):
    with pytest.raises(LawError) as caught:
        make()
    assert (caught.value.message, caught.value.hint) == (message, hint)


@given(
    st.sampled_from(["q", "k", "v", "proj"]),
    *(st.floats(allow_nan=False, allow_infinity=False) for _ in range(3)),
)
def test_json(part, alpha, beta, gain):
    law = Mimetic(part, alpha, beta, 1, gain)
    assert from_json(json.loads(json.dumps(law.to_json()))) == law
