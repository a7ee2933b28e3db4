"""Nothing of a model is kept when it is gone, and the collector of garbage is left as it was."""

import gc
import weakref
from collections.abc import Iterator

import pytest
import torch
from torch import nn

import initpolicy
from initpolicy import InitPolicyError
from initpolicy.model import read, uncollected
from initpolicy.policy import parse

WORK = {
    "read": read,
    "plan": lambda model: initpolicy.plan(model, "torch"),
    "apply": lambda model: initpolicy.apply(model, "torch"),
}


@pytest.fixture
def uncollecting() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def model() -> nn.Module:
    inner = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.BatchNorm1d(3))
    return nn.Sequential(inner, nn.Linear(3, 3), nn.Tanh())


@pytest.mark.usefixtures("uncollecting")
@pytest.mark.parametrize("work", WORK.values(), ids=WORK)
def test_a_model_is_gone_with_the_last_that_names_it(work):
    made = model()
    work(made)
    kept = [weakref.ref(module) for module in made.modules()]
    del made
    assert [one() for one in kept if one() is not None] == []


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_left_as_it_was(enabled):
    try:
        if not enabled:
            gc.disable()
        initpolicy.apply(model(), "torch")
        assert gc.isenabled() == enabled
        with pytest.raises(InitPolicyError):
            initpolicy.plan(model(), parse("format = 1"))
        assert gc.isenabled() == enabled
        with uncollected(), uncollected():
            assert not gc.isenabled()
            torch.empty(1)
        assert gc.isenabled() == enabled
    finally:
        gc.enable()
