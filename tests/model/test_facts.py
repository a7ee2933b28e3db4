from __future__ import annotations

import math
from dataclasses import FrozenInstanceError

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.init import _calculate_fan_in_and_fan_out

from initpolicy.model import Facts, FanError, read

shapes = st.lists(st.integers(0, 9), max_size=5).map(tuple)


@given(shapes.filter(lambda shape: len(shape) >= 2))
def test_fans_are_torch_s(shape: tuple[int, ...]) -> None:
    facts = Facts(shape)
    fan_in, fan_out = _calculate_fan_in_and_fan_out(torch.empty(shape, device="meta"))
    assert (facts.fan_in, facts.fan_out) == (fan_in, fan_out)
    assert facts.fan("fan_in") == fan_in
    assert facts.fan("fan_out") == fan_out
    assert facts.fan("fan_avg") == (fan_in + fan_out) / 2
    assert facts.fan("fan_geo_avg") == math.sqrt(fan_in * fan_out)
    assert facts.receptive_field * shape[1] == fan_in


@given(shapes)
def test_sizes_are_torch_s(shape: tuple[int, ...]) -> None:
    tensor = torch.empty(shape, device="meta")
    assert (Facts(shape).numel, Facts(shape).ndim) == (tensor.numel(), tensor.dim())


@pytest.mark.parametrize(
    "dtype",
    sorted({value for value in vars(torch).values() if isinstance(value, torch.dtype)}, key=str),
    ids=str,
)
def test_kinds_of_numbers_are_torch_s(dtype: torch.dtype) -> None:
    facts = Facts((2,), str(dtype).removeprefix("torch."))
    assert (facts.is_floating, facts.is_complex) == (dtype.is_floating_point, dtype.is_complex)


@pytest.mark.parametrize(
    ("shape", "dimensions"), [((10,), "(10,) has 1 dimension"), ((), "() has 0 dimensions")]
)
@pytest.mark.parametrize("wanted", ["fan_in", "fan_out", "receptive_field"])
def test_a_vector_has_no_fans(shape: tuple[int, ...], dimensions: str, wanted: str) -> None:
    with pytest.raises(FanError) as caught:
        getattr(Facts(shape), wanted)
    assert str(caught.value) == (
        f"a tensor of shape {dimensions}; {wanted} needs at least 2, "
        "read as (out, in, *receptive_field)"
    )


def test_a_mean_of_fans_is_named_in_its_error() -> None:
    with pytest.raises(FanError, match="has 1 dimension; fan_avg needs at least 2"):
        Facts((3,)).fan("fan_avg")


def test_an_unknown_fan() -> None:
    with pytest.raises(FanError) as caught:
        Facts((3, 3)).fan("fan_inn")  # type: ignore[arg-type]
    assert str(caught.value) == (
        "'fan_inn' is no fan; write fan_in, fan_out, fan_avg or fan_geo_avg"
    )


def test_stated_fans_replace_the_shape_s() -> None:
    facts = Facts.with_fans((5,), fan_in=3, fan_out=12, dtype="bfloat16")
    assert (facts.fan_in, facts.fan_out, facts.receptive_field) == (3, 12, 1)
    assert facts.fan("fan_geo_avg") == 6.0
    assert (facts.shape, facts.numel, facts.dtype) == ((5,), 5, "bfloat16")


def test_facts_are_values() -> None:
    assert Facts((2, 3)) == Facts((2, 3))
    assert len({Facts((2, 3)), Facts((2, 3)), Facts((2, 3), "float16")}) == 2
    with pytest.raises(FrozenInstanceError):
        Facts((2, 3)).shape = (1,)  # type: ignore[misc]


def test_facts_of_a_slot_hold_plain_numbers() -> None:
    facts = read(torch.nn.Conv2d(3, 8, 5, dtype=torch.bfloat16)).slots[0].facts
    assert facts == Facts((8, 3, 5, 5), "bfloat16")
    assert type(facts.shape) is tuple
