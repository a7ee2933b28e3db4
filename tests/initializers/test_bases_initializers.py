"""Initializers of bases, frames and stratified values, by name, and through a policy."""

import pytest
import torch
from torch import nn

import initpolicy
from initpolicy.initializers import InitializerError, get
from initpolicy.laws import (
    Dct,
    DeltaOrthogonal,
    Fourier,
    Frame,
    Haar,
    Hadamard,
    Identity,
    Mimetic,
    Normal,
    Stratified,
    Uniform,
)
from initpolicy.model.facts import Facts

BY_NAME = {
    "dct": Dct,
    "delta_orthogonal": DeltaOrthogonal,
    "fourier": Fourier,
    "frame": Frame,
    "haar": Haar,
    "hadamard": Hadamard,
    "identity": Identity,
}


@pytest.mark.parametrize("name", BY_NAME)
def test_gain_is_the_only_argument(name):
    initializer = get(name)
    assert [(item.name, item.default) for item in initializer.parameters] == [("gain", 1.0)]
    assert initializer.lower(Facts((4, 4, 3)), {}) == BY_NAME[name]()
    assert initializer.lower(Facts((4, 4, 3)), {"gain": 2}) == BY_NAME[name](2.0)


def test_stratified():
    facts = Facts((4, 4))
    assert get("stratified_uniform").lower(facts, {}) == Stratified(Uniform(0, 1))
    assert get("stratified_uniform").lower(facts, {"a": -1}) == Stratified(Uniform(-1, 1))
    assert get("stratified_normal").lower(facts, {"std": 0.5}) == Stratified(Normal(0, 0.5))
    with pytest.raises(InitializerError) as caught:
        get("stratified_normal").lower(facts, {"std": -1})
    assert str(caught.value) == "stratified_normal: std must not be negative, and is -1"


def test_mimetic():
    arguments = {"part": "q", "alpha": 0.5, "beta": 0.7, "heads": 3}
    expected = Mimetic("q", 0.5, 0.7, 3)
    assert get("mimetic").lower(Facts((192, 192)), arguments) == expected
    with pytest.raises(InitializerError) as caught:
        get("mimetic").lower(Facts((4, 4)), {**arguments, "part": "v"})
    assert str(caught.value) == "mimetic: the part v has one matrix for all heads, not 3"
    assert caught.value.hint == "leave out `heads`, which is for q and k"
    with pytest.raises(InitializerError) as caught:
        get("mimetic").lower(Facts((4, 4)), {**arguments, "part": "query"})
    assert str(caught.value) == '`part` must be one of "q", "k", "v", "proj", not "query"'


POLICY = """
format = 1
uncovered = "keep"

[[rule]]
name = "q"
init.weight = { fn = "mimetic", part = "q", alpha = 0.1, beta = 0.9, stream = "attention" }

[[rule]]
name = "k"
init.weight = { fn = "mimetic", part = "k", alpha = 0.1, beta = 0.9, stream = "attention" }

[[rule]]
name = "conv"
init.weight = { fn = "frame", gain = "sqrt(2)" }
init.bias = { fn = "stratified_uniform", a = -1 }

[[rule]]
name = "narrow"
init.weight = "fourier"
"""


def test_a_policy(tmp_path):
    (tmp_path / "policy.toml").write_text(POLICY)
    model = nn.ModuleDict(
        {
            "q": nn.Linear(16, 16),
            "k": nn.Linear(16, 16),
            "conv": nn.Conv2d(1, 24, 3),
            "narrow": nn.Conv2d(3, 8, 3),
        }
    )
    plan = initpolicy.apply(model, tmp_path / "policy.toml", seed=1)
    product = (model["q"].weight.T @ model["k"].weight).detach()
    assert (product - 0.9 * torch.eye(16)).abs().max() < 0.15
    for decision in plan.filled:
        tensor = model.get_parameter(decision.name)
        assert decision.law.check(tensor) == ()
    assert str(plan["conv.weight"].law) == "frame x 1.414"
    assert model["conv"].weight.flatten(1).norm(dim=1).detach().tolist() == pytest.approx(
        [2**0.5] * 24
    )
