"""The memory of tensors as arrays, which leaves the tensors what they were."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from initpolicy.field import fill, stream
from initpolicy.field.formats import FLOAT8
from initpolicy.field.pieces import array_of
from initpolicy.laws import Normal

PLAIN = [torch.float32, torch.float64, torch.int64, torch.bool, torch.complex64, torch.uint8]
CODED = {torch.bfloat16: torch.uint16, torch.float16: torch.int16}
CODED |= dict.fromkeys(FLOAT8, torch.uint8)


@given(
    dtype=st.sampled_from([*PLAIN, *CODED]),
    shape=st.lists(st.integers(0, 4), max_size=3),
    data=st.data(),
)
def test_it_is_the_array_that_torch_gives(dtype, shape, data):
    whole = torch.randint(0, 100, shape).to(dtype)
    order = data.draw(st.permutations(range(len(shape))))
    view = whole.permute(order)
    if shape and view.shape[0]:
        view = view[data.draw(st.integers(0, view.shape[0] - 1)) :]
    assert whole.untyped_storage().resizable()
    found = array_of(view)
    assert whole.untyped_storage().resizable()
    expected = (view.view(CODED[dtype]) if dtype in CODED else view).numpy()
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert found.size == 0 or found.strides == expected.strides
    assert np.array_equal(found, expected)
    assert found.flags.writeable
    assert found.size == 0 or np.shares_memory(found, expected)


def test_an_array_keeps_the_memory():
    found = array_of(torch.full((1000,), 7.0))
    others = [torch.zeros(1000) for _ in range(9)]
    assert found.tolist() == [7.0] * 1000, others


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e4m3fn])
def test_a_filled_tensor_can_still_be_resized(dtype):
    tensor = torch.empty(10, dtype=dtype)
    fill(Normal(0, 1).fills(tensor, stream(0, "x")))
    tensor.untyped_storage().resize_(0)
    assert tensor.untyped_storage().nbytes() == 0
