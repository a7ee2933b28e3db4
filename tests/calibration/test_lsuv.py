"""Layer-sequential unit variance, against Algorithm 1 of the paper and its claims."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from libraries import torchvision_models
from nets import (
    chain,
    digits,
    layers_of,
    loss_after,
    normalized,
    orthogonal,
    outputs,
    randomly,
    same,
    values,
)
from torch import nn

from initpolicy.batches import Batch
from initpolicy.calibration import CalibrationError, calibrate

ACTIVATIONS = (nn.Tanh, nn.Softsign, nn.Identity)  # odd ones, that make no outputs constant


def algorithm_1(
    weights: list[np.ndarray], inputs: np.ndarray, tolerance: float, most: int
) -> list[np.ndarray]:
    """The paper's algorithm for a chain of tanh layers without bias: a whole pass for each step."""
    weights = [weight.copy() for weight in weights]

    def output(layer: int) -> np.ndarray:
        x = inputs
        for number, weight in enumerate(weights[: layer + 1]):
            x = (np.tanh(x) if number else x) @ weight.T
        return x

    for layer in range(len(weights)):
        steps = 0
        while abs(np.var(output(layer)) - 1.0) >= tolerance and steps < most:
            weights[layer] /= np.sqrt(np.var(output(layer)))
            steps += 1
    return weights


@given(
    st.lists(st.integers(1, 12), min_size=2, max_size=6),
    st.sampled_from(ACTIVATIONS),
    st.integers(0, 2**32 - 1),
    st.floats(-4, 4),
)
@settings(max_examples=40)
def test_every_layer_has_variance_1_within_the_tolerance(
    widths: list[int], activation: type[nn.Module], seed: int, size: float
) -> None:
    model = randomly(chain([5, *widths], activation), seed, lambda fan_in: 2.0**size)
    inputs = torch.randn(64, 5, generator=torch.Generator().manual_seed(seed))
    names = layers_of(model)
    done = calibrate(model, "lsuv", {}, names, Batch((inputs,)), seed=0)
    found = outputs(model, names, Batch((inputs,)))
    for one in done:
        variance = np.var(found[one.layer])
        assert abs(variance - 1) < 0.1 + 1e-5
        assert variance == pytest.approx(one.numbers["variance"], rel=1e-4)


@pytest.mark.parametrize("tolerance", [0.1, 0.001])
def test_the_weights_are_those_of_algorithm_1(tolerance: float) -> None:
    model = orthogonal(chain([64, 30, 40, 20], nn.Tanh, bias=False)).double()
    inputs = normalized()[:200].double()
    begin = [module.weight.detach().numpy() for module in model if isinstance(module, nn.Linear)]
    expected = algorithm_1(begin, inputs.numpy(), tolerance, 10)
    arguments = {"tolerance": tolerance}
    calibrate(model, "lsuv", arguments, ["0", "2", "4"], Batch((inputs,)), seed=0)
    for number, weight in enumerate(expected):
        np.testing.assert_allclose(model[2 * number].weight.detach().numpy(), weight, rtol=1e-10)


def test_weights_are_only_scaled_and_biases_stay() -> None:
    model = randomly(chain([64, 16, 8], nn.ReLU), 1, lambda fan_in: 0.7)
    before = values(model)
    done = calibrate(model, "lsuv", {}, ["0", "2"], Batch((normalized(),)), seed=0)
    assert [(one.layer, one.tensors) for one in done] == [("0", ("weight",)), ("2", ("weight",))]
    for one in done:
        after = model.get_submodule(one.layer)
        ratio = after.weight.detach() / before[f"{one.layer}.weight"]
        assert float(ratio.std() / ratio.mean()) < 1e-5
        assert torch.equal(after.bias, before[f"{one.layer}.bias"])


def test_a_layer_that_is_close_enough_is_left_as_it_is() -> None:
    inputs = torch.tensor([[1.0], [-1.0]])
    model = nn.Sequential(nn.Linear(1, 1, bias=False))
    nn.init.constant_(model[0].weight, 1.04)  # the variance is 1.0816
    before = values(model)
    (done,) = calibrate(model, "lsuv", {}, ["0"], Batch((inputs,)), seed=0)
    assert same(values(model), before)
    assert (done.tensors, done.text) == ((), "std 1.04 -> 1.04 in 0 steps")
    (done,) = calibrate(model, "lsuv", {"tolerance": 0.08}, ["0"], Batch((inputs,)), seed=0)
    assert (done.tensors, done.text) == (("weight",), "std 1.04 -> 1 in 1 step")
    assert done.numbers["variance_before"] == pytest.approx(1.0816)


def test_biases_take_several_steps_or_are_an_error() -> None:
    """With weight 1 and bias b, -b on two units the variance is 1 + b^2, and b^2 never goes."""
    model = nn.Sequential(nn.Linear(1, 2))
    inputs = Batch((torch.tensor([[1.0], [-1.0]]),))
    nn.init.constant_(model[0].weight, 3.0)

    def begin(bias: float) -> None:
        with torch.no_grad():
            model[0].weight.fill_(3.0)
            model[0].bias.copy_(torch.tensor([bias, -bias]))

    begin(0.5)
    (done,) = calibrate(model, "lsuv", {"tolerance": 0.01}, ["0"], inputs, seed=0)
    assert done.numbers["steps"] > 1
    assert model[0].weight[0].item() == pytest.approx(math.sqrt(1 - 0.25), abs=0.01)
    begin(2.0)
    with pytest.raises(CalibrationError) as raised:
        calibrate(model, "lsuv", {}, ["0"], inputs, seed=0)
    assert raised.value.message == (
        "0: the variance of its output is 4 after 10 steps and not within 0.1 of 1"
    )
    assert raised.value.hint.startswith("its bias, or what computes its weight, keeps the variance")
    assert model[0].weight[0].item() == 3


@pytest.mark.parametrize(("weight", "told"), [(0.0, "0"), (1e30, "inf")])
def test_an_output_without_variance_is_an_error(weight: float, told: str) -> None:
    model = chain([64, 4, 3], nn.ReLU)
    nn.init.constant_(model[2].weight, weight)
    nn.init.zeros_(model[2].bias)
    with pytest.raises(CalibrationError, match=r"IP774 2: its output has no variance") as raised:
        calibrate(model, "lsuv", {}, ["0", "2"], Batch((normalized(),)), seed=0)
    assert raised.value.message == f"2: its output has no variance over the batch, but {told}"


@pytest.mark.parametrize("fn", ["lsuv", "weight_norm_data"])
def test_equal_outputs_have_no_variance_whatever_rounding_makes_of_them(fn: str) -> None:
    model = nn.Sequential(nn.Linear(64, 4))
    nn.init.ones_(model[0].weight)  # so that the outputs are sums in another order
    nn.init.zeros_(model[0].bias)
    generator = torch.Generator().manual_seed(0)
    orders = [torch.randperm(64, generator=generator) for _ in range(100)]
    image = torch.stack([normalized()[0, order] for order in orders]) * 1e3
    assert model(image).var() > 0
    with pytest.raises(CalibrationError, match="no variance"):
        calibrate(model, fn, {}, ["0"], Batch((image,)), seed=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_types(dtype: torch.dtype) -> None:
    model = orthogonal(chain([64, 32, 32, 10], nn.Tanh)).to(dtype)
    batch = Batch((normalized().to(dtype),))
    calibrate(model, "lsuv", {}, ["0", "2", "4"], batch, seed=0)
    assert model[0].weight.dtype == dtype
    for output in outputs(model, ["0", "2", "4"], batch).values():
        assert abs(np.var(output) - 1) < 0.1


@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU])
def test_a_deep_net_has_variance_1_everywhere(activation: type[nn.Module]) -> None:
    model = orthogonal(chain([64] * 50, activation))
    batch, names = Batch((normalized(),)), layers_of(model)
    calibrate(model, "lsuv", {}, names, batch, seed=0)
    found = outputs(model, names, batch)
    assert max(abs(np.var(output) - 1) for output in found.values()) < 0.1


@pytest.mark.parametrize("name", ["resnet18", pytest.param("vgg11", marks=pytest.mark.heavy)])
def test_models_of_torchvision(name: str) -> None:
    model = getattr(torchvision_models(), name)(num_classes=10)
    images = digits()[0][:4].view(-1, 1, 8, 8).expand(-1, 3, -1, -1)
    batch = Batch((nn.functional.interpolate(images, size=(32, 32)),))
    names = layers_of(model)
    done = calibrate(model, "lsuv", {}, names[::-1], batch, seed=0)
    assert sorted(one.layer for one in done) == sorted(names)
    for layer, output in outputs(model, names, batch).items():
        assert abs(np.var(output) - 1) < 0.1, layer


@pytest.mark.parametrize(("activation", "depth"), [(nn.Tanh, 30), (nn.ReLU, 20)])
def test_a_thin_deep_net_learns_from_lsuv_and_not_from_the_default(
    activation: type[nn.Module], depth: int
) -> None:
    """The claim of the paper: thin and very deep nets can be trained from it."""
    torch.manual_seed(0)
    plain = chain([64, *[32] * depth, 10], activation)  # torch's default
    begun = orthogonal(copy.deepcopy(plain))
    calibrate(begun, "lsuv", {}, layers_of(begun), Batch((normalized(),)), seed=0)
    assert loss_after(plain, normalized(), 150, 0.003) > 2.25  # chance is log 10 = 2.303
    assert loss_after(begun, normalized(), 150, 0.003) < 1.6
