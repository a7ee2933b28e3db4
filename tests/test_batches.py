"""What a model is called with: what is no batch says so, and a digest tells batches apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from initpolicy import InitPolicyError
from initpolicy.application.calibrating import data_digest
from initpolicy.batches import Batch, batch_of, why_not

MODEL = nn.Linear(3, 2)
TOLD = "2 x 3 float32, one int64, mask=NoneType"


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (5, "the input cannot be of type int"),
        (None, "the input cannot be of type NoneType"),
        (lambda: None, "the input cannot be of type NoneType"),
        ((-1, 3), "there is no room for a tensor of shape [-1, 3]"),
        (f"{2**70},3", f"there is no room for a tensor of shape [{2**70}, 3]"),
        (["4,3", (-2, 3)], "there is no room for a tensor of shape [-2, 3]"),
    ],
)
def test_what_is_no_batch(source, told) -> None:
    with pytest.raises(InitPolicyError) as caught:
        batch_of(source, MODEL)
    (problem,) = caught.value.problems
    assert (problem.code, problem.message) == ("IP751", told)


def test_a_function_gives_all_arguments() -> None:
    with pytest.raises(InitPolicyError) as caught:
        batch_of(["4,3", "data.py:images"], MODEL)
    (problem,) = caught.value.problems
    assert problem.message == "there is no input 'data.py:images'"
    assert problem.hint == (
        "a function gives all arguments at once: name it alone, and return a tuple or a mapping"
    )


def test_data_without_values_have_no_digest() -> None:
    with pytest.raises(InitPolicyError) as caught:
        data_digest(Batch((torch.ones(2, 3), torch.ones(2, device="meta"))))
    (problem,) = caught.value.problems
    assert (problem.code, problem.message) == (
        "IP751",
        "the data are on the meta device: no values",
    )


def test_a_callable_may_give_a_batch() -> None:
    batch = Batch((torch.ones(2, 3),), {"scale": 2})
    assert batch_of(lambda: batch, MODEL) is batch


@given(st.integers(0, 4999), st.sampled_from(["float32", "float64", "int64", "uint8", "bool"]))
def test_a_digest_sees_every_value_of_an_array(place: int, kind: str) -> None:
    array = np.zeros(5000, kind)
    other = array.copy()
    other[place] = 1
    digests = [data_digest(Batch((one,))) for one in (array, other, array.copy())]
    assert digests[0] == digests[2] != digests[1]
    assert data_digest(Batch((array.reshape(50, 100),))) != digests[0]
    assert data_digest(Batch((np.zeros(5000, "float16"),))) != digests[0]


@pytest.mark.parametrize(
    ("norm", "sizes"),
    [
        (nn.BatchNorm1d(3), (1, 3)),
        (nn.BatchNorm2d(3), (1, 3, 1, 1)),
        (nn.GroupNorm(3, 3), (1, 3, 1)),
        (nn.InstanceNorm2d(3), (4, 3, 1, 1)),
    ],
)
def test_a_batch_that_is_too_small_for_a_norm(norm: nn.Module, sizes: tuple[int, ...]) -> None:
    batch = Batch((torch.ones(sizes),))
    with pytest.raises(ValueError, match="when training") as caught:
        norm(*batch.args)
    assert why_not(caught.value, batch) == (
        "a norm needs more than one value of each channel; give more examples, or larger ones"
    )


@pytest.mark.parametrize(
    ("batch", "told"),
    [
        (Batch(), "nothing"),
        (Batch((torch.ones(2, 3), torch.tensor(1)), {"mask": None}), TOLD),
        (Batch((), {"x": torch.ones(4).half(), "n": 2}), "x=4 float16, n=int"),
        (Batch(([torch.ones(2), torch.ones(3)],)), "2 float32, 3 float32"),
    ],
)
def test_what_a_model_was_called_with(batch: Batch, told: str) -> None:
    """Whatever else failed, nothing is said of norms, which the model may well have."""
    with pytest.raises(TypeError) as caught:
        nn.BatchNorm1d(3)(1, 2, 3)
    assert why_not(caught.value, batch) == f"it was called with {told}"
