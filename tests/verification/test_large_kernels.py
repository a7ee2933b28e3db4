"""A row and the column of its index share a receptive field, and that is no finding."""

import pytest
import torch
from torch import nn

import initpolicy


@pytest.mark.parametrize("size", [1, 3, 8, 10, 11, 12, 16])
@pytest.mark.parametrize("policy", ["torch", "conv-xavier"])
def test_kernels_of_any_size_are_clean(size: int, policy: str) -> None:
    for seed in range(3):
        model = nn.Sequential(nn.Conv2d(3, 8, size), nn.Conv2d(2, 2, size))
        initpolicy.apply(model, policy, seed=seed)
        verdict = initpolicy.verify(model, policy, seed=seed, exact=False)
        assert verdict.ok, str(verdict)


@pytest.mark.parametrize("dim", [0, 1])
@pytest.mark.parametrize("factor", [1.0, -1.0])
@pytest.mark.parametrize("size", [3, 12])
def test_equal_filters_are_still_found(size: int, factor: float, dim: int) -> None:
    model = nn.Conv2d(8, 8, size)
    initpolicy.apply(model, "torch", seed=0)
    with torch.no_grad():
        model.weight.select(dim, 5).copy_(factor * model.weight.select(dim, 3))
    codes = {f.code for f in initpolicy.verify(model, "torch", seed=0, exact=False).findings}
    assert codes == {"IP612"}
