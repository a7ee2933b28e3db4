"""Data that are empty or not finite: a step says which values they are, and changes none."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import chain, layers_of, orthogonal, same, values
from torch import nn

from initpolicy.batches import Batch
from initpolicy.calibration import CalibrationError, calibrate

EVERY = pytest.mark.parametrize("fn", ["lsuv", "weight_norm_data", "autoencoder"])
MEND = "mend the data, or what the layers before it make of them"


def failure(model: nn.Module, fn: str, data: torch.Tensor) -> CalibrationError:
    before = values(model)
    with pytest.raises(CalibrationError) as raised:
        calibrate(model, fn, {}, layers_of(model), Batch((data,)), seed=0)
    assert same(values(model), before)
    return raised.value


def net() -> nn.Module:
    return orthogonal(chain([6, 4, 3], nn.Tanh))


@given(
    places=st.sets(st.integers(0, 47), min_size=1),
    wrong=st.sampled_from([math.nan, math.inf, -math.inf]),
)
@settings(max_examples=20)
def test_values_that_are_not_finite_are_counted(places: set[int], wrong: float) -> None:
    data = torch.linspace(-1, 1, 48)
    data[list(places)] = wrong
    rows = len({place // 6 for place in places})  # each of which spoils all outputs of its example
    for fn in ("lsuv", "weight_norm_data"):
        error = failure(net(), fn, data.view(8, 6))
        assert str(error) == (
            f"IP774 0: {4 * rows} of the 32 values of its output, of shape (8, 4), are not finite; "
            f"nor are {len(places)} values of its input, of shape (8, 6): {MEND}"
        )
    assert str(failure(net(), "autoencoder", data.view(8, 6))) == (
        f"IP776 0: {len(places)} of the 48 values of its input, of shape (8, 6), are not finite; "
        f"{MEND}"
    )


@EVERY
def test_a_batch_without_examples(fn: str) -> None:
    told = {"autoencoder": "IP776 0: its input of shape (0, 6)"}.get(
        fn, "IP774 0: its output of shape (0, 4)"
    )
    assert str(failure(net(), fn, torch.ones(0, 6))) == (
        f"{told} has no elements; give more examples, or larger ones"
    )


@pytest.mark.parametrize("fn", ["lsuv", "weight_norm_data"])
def test_a_weight_that_is_not_finite(fn: str) -> None:
    model = net()
    nn.init.constant_(model[0].weight, math.inf)
    assert str(failure(model, fn, torch.ones(8, 6))) == (
        "IP774 0: 32 of the 32 values of its output, of shape (8, 4), are not finite; its weight "
        "is not finite, or too large: draw it, and those before it, from a law"
    )


def test_a_layer_without_a_name_is_the_model() -> None:
    assert str(failure(orthogonal(nn.Linear(6, 4)), "lsuv", torch.ones(0, 6))) == (
        "IP774 the model: its output of shape (0, 4) has no elements; give more examples, or "
        "larger ones"
    )
