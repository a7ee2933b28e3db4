"""How large the values of each tensor are, beside what the law says: against numpy."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import initpolicy
from initpolicy.verification.sizes import MOST, std_of


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=50))
def test_the_std_of_a_small_tensor_is_that_of_all_values(values: list[float]) -> None:
    expected = np.std(np.array(values, np.float64))
    assert std_of(torch.tensor(values)) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_of_a_large_tensor_values_in_every_part_are_measured() -> None:
    values = torch.zeros(1024, 1024)
    values[:, 512:] = 1  # columns, and a distance that is no part of a row
    assert values.numel() > 2 * MOST
    assert std_of(values) == pytest.approx(0.5, rel=1e-3)


def test_what_has_no_std() -> None:
    assert std_of(torch.empty(0)) is None
    assert std_of(torch.tensor([1.0, torch.nan])) is None
    assert std_of(torch.tensor([1.0, torch.inf])) is None
    assert std_of(torch.tensor([1j])) is None


@pytest.mark.parametrize("exact", [True, False])
def test_a_verdict_has_both_sizes(exact: bool) -> None:
    model = nn.Linear(784, 10)
    initpolicy.apply(model, "mlp", seed=3)
    with torch.no_grad():
        model.weight *= 2
    verdict = initpolicy.verify(model, "mlp", seed=3, exact=exact)
    weight, bias = verdict.tensors
    assert weight.law_std == pytest.approx(0.01)
    assert weight.std == pytest.approx(float(model.weight.detach().double().std()), rel=1e-3)
    assert (bias.how, bias.std, bias.law_std) == ("not judged", None, None)
    told = json.loads(json.dumps(verdict.to_json(), allow_nan=False))["tensors"][0]
    assert (told["std"], told["law_std"]) == (weight.std, weight.law_std)
