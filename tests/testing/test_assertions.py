"""`assert_initialized` against models that follow a policy, and models that do not."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from torch import nn

import initpolicy
from initpolicy.testing import assert_initialized
from initpolicy.testing import strategies as st


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(st.models(), st.policies(), some.integers(0, 2**64 - 1))
def test_what_was_applied_is_asserted(model, policy, seed):
    plan = initpolicy.apply(model, policy, seed=seed)
    assert_initialized(model, policy, seed=seed)
    assert_initialized(model, plan)
    assert_initialized(model, policy)
    assert_initialized(model, policy, exact=False)


def mlp():
    return nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 8))


def test_a_constructor_with_a_generator_of_its_own_passes_by_law():
    torch.manual_seed(0)
    model = mlp()  # whose layers draw what the policy `torch` says
    assert_initialized(model, "torch")
    with pytest.raises(AssertionError, match=r"0\.weight"):
        assert_initialized(model, "torch", seed=0)
    with pytest.raises(AssertionError, match=r"0\.weight"):
        assert_initialized(model, "torch", exact=True)


@pytest.mark.parametrize("seed", [None, 3])
def test_a_changed_value_is_told_with_its_tensor_and_no_other(seed):
    model = mlp()
    initpolicy.apply(model, "torch", seed=3)
    with torch.no_grad():
        model[1].weight[2, 5] = 0.7
    with pytest.raises(AssertionError) as caught:
        assert_initialized(model, "torch", seed=seed)
    assert "1.weight" in str(caught.value)
    assert str(caught.value) == str(
        initpolicy.verify(model, "torch", seed=seed, exact=seed is not None)
    )


def test_mistakes_are_no_failures():
    with pytest.raises(initpolicy.InitPolicyError, match="IP110"):
        assert_initialized(mlp(), "tourch")
    with pytest.raises(TypeError):
        assert_initialized(mlp(), "torch", sede=3)
