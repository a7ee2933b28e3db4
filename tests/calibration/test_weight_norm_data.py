"""Data-dependent weight norm: mean 0 and std 1 for each output channel, as in its paper."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from libraries import transformers
from nets import chain, digits, layers_of, normalized, orthogonal, outputs, randomly, same, values
from torch import nn
from torch.nn.utils import parametrizations

from initpolicy.batches import Batch
from initpolicy.calibration import CalibrationError, calibrate, changes

Wrap = Callable[[nn.Module], nn.Module]


def plainly(module: nn.Module) -> nn.Module:
    return module


def by_hook(module: nn.Module) -> nn.Module:
    with pytest.warns(FutureWarning):
        return nn.utils.weight_norm(module)


WRAPS = (plainly, parametrizations.weight_norm, by_hook)


def check_channels(found: dict[str, np.ndarray], dimension: dict[str, int]) -> None:
    for name, output in found.items():
        channel = dimension[name] % output.ndim
        across = tuple(dim for dim in range(output.ndim) if dim != channel)
        np.testing.assert_allclose(output.mean(across), 0, atol=2e-4, err_msg=name)
        np.testing.assert_allclose(output.std(across), 1, atol=2e-4, err_msg=name)


@st.composite
def stacks(draw: st.DrawFn) -> tuple[nn.Sequential, dict[str, int], tuple[int, ...]]:
    """Convolutions, transposed ones and a linear layer at the end, with groups and strides."""
    model = nn.Sequential()
    dimension: dict[str, int] = {}
    wrap = draw(st.sampled_from(WRAPS))
    channels = draw(st.sampled_from([2, 4]))
    spatial = draw(st.integers(1, 2))
    first = channels
    for _ in range(draw(st.integers(1, 3))):
        transposed = draw(st.booleans())
        name = f"Conv{'Transpose' if transposed else ''}{spatial}d"
        groups = draw(st.sampled_from([1, 2]))
        after = 2 * draw(st.integers(1, 3))
        stride = 1 if not transposed else draw(st.integers(1, 2))
        layer = getattr(nn, name)(channels, after, 3, stride=stride, padding=1, groups=groups)
        dimension[str(len(model))] = -1 - spatial
        model.append(wrap(layer)).append(nn.Tanh())
        channels = after
    model.append(nn.AdaptiveAvgPool1d(2) if spatial == 1 else nn.AdaptiveAvgPool2d(2))
    model.append(nn.Flatten())
    dimension[str(len(model))] = -1
    model.append(wrap(nn.Linear(channels * 2**spatial, 3)))
    shape = (16, first, *[5] * spatial)
    return model, dimension, shape


@given(stacks(), st.integers(0, 2**32 - 1), st.sampled_from([0.05, 1.0]))
@settings(max_examples=40)
def test_every_channel_has_mean_0_and_std_1(
    stack: tuple[nn.Sequential, dict[str, int], tuple[int, ...]], seed: int, size: float
) -> None:
    model, dimension, shape = stack
    randomly(model, seed, lambda fan_in: size)
    batch = Batch((torch.randn(shape, generator=torch.Generator().manual_seed(seed)),))
    done = calibrate(model, "weight_norm_data", {}, list(dimension), batch, seed=0)
    assert [one.layer for one in done] == list(dimension)
    assert {one.tensors for one in done} == {("weight", "bias")}
    check_channels(outputs(model, list(dimension), batch), dimension)


def test_the_first_layer_has_g_and_b_of_the_paper() -> None:
    """t = v.x / |v|; g = 1 / std(t), b = -mean(t) / std(t): equations 5 and 6."""
    layer = parametrizations.weight_norm(nn.Linear(64, 20)).double()
    images = digits()[0].double() + 1
    v = layer.parametrizations.weight.original1.detach().numpy().copy()
    t = images.numpy() @ (v / np.linalg.norm(v, axis=1, keepdims=True)).T
    model = nn.Sequential(layer)
    calibrate(model, "weight_norm_data", {}, ["0"], Batch((images,)), seed=0)
    g = layer.parametrizations.weight.original0.detach().numpy()
    np.testing.assert_allclose(g[:, 0], 1 / t.std(0), rtol=1e-10)
    np.testing.assert_allclose(layer.bias.detach().numpy(), -t.mean(0) / t.std(0), rtol=1e-9)
    assert np.array_equal(layer.parametrizations.weight.original1.detach().numpy(), v)


def test_a_plain_layer_gives_what_one_with_weight_norm_gives() -> None:
    found: list[torch.Tensor] = []
    batch = Batch((normalized(),))
    for wrap in WRAPS:
        model = orthogonal(chain([64, 20, 10], nn.ReLU))
        for name in ("0", "2"):
            wrap(model.get_submodule(name))
        calibrate(model, "weight_norm_data", {}, ["0", "2"], batch, seed=0)
        found.append(model(normalized()).detach())
    torch.testing.assert_close(found[0], found[1])
    torch.testing.assert_close(found[0], found[2])


def test_a_deep_net_on_digits() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2), nn.ReLU(),
        nn.Flatten(), *chain([144, *[64] * 10, 10], nn.Tanh),
    )  # fmt: skip
    names = layers_of(model)
    batch = Batch((normalized().view(-1, 1, 8, 8),))
    calibrate(model, "weight_norm_data", {}, names[::-1], batch, seed=0)
    check_channels(outputs(model, names, batch), {n: -3 if n in "02" else -1 for n in names})


def test_a_layer_without_bias_keeps_its_means() -> None:
    model = nn.Sequential(nn.Linear(64, 5, bias=False))
    images = digits()[0] + 1
    before = model(images).detach().numpy()
    (done,) = calibrate(model, "weight_norm_data", {}, ["0"], Batch((images,)), seed=0)
    after = model(images).detach().numpy()
    np.testing.assert_allclose(after.std(0), 1, rtol=1e-4)
    np.testing.assert_allclose(after.mean(0), before.mean(0) / before.std(0), rtol=1e-3)
    assert done.tensors == ("weight",)
    assert done.text.endswith("-> 1 to 1; it has no bias, so that its means stay")


def test_the_text_has_the_stds() -> None:
    model = nn.Sequential(nn.Linear(1, 2))
    nn.init.zeros_(model[0].bias)
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[2.0], [0.25]]))
    data = Batch((torch.tensor([[1.0], [3.0]]),))
    (done,) = calibrate(model, "weight_norm_data", {}, ["0"], data, seed=0)
    assert done.text == "std 0.25 to 2 -> 1 to 1, mean 0"
    assert done.numbers["std_before_min"] == 0.25
    assert model[0].weight.flatten().tolist() == [1, 1]
    assert model[0].bias.tolist() == [-2, -2]


def test_channels_without_variance_are_an_error() -> None:
    model = orthogonal(chain([64, 8, 4], nn.ReLU))
    nn.init.zeros_(model[2].weight[1:3])
    before = values(model)
    with pytest.raises(CalibrationError) as raised:
        calibrate(model, "weight_norm_data", {}, ["0", "2"], Batch((normalized(),)), seed=0)
    assert raised.value.message == ("2: 2 of its 4 output channels have no variance over the batch")
    assert same(values(model), before)


def test_what_undoes_the_step_is_an_error_and_changes_nothing() -> None:
    model = nn.Sequential(parametrizations.spectral_norm(nn.Linear(64, 8)))
    before = values(model)
    with pytest.raises(CalibrationError, match=r"IP774 0: its channels have means up to") as raised:
        calibrate(model, "weight_norm_data", {}, ["0"], Batch((digits()[0],)), seed=0)
    assert raised.value.hint.startswith("what computes its weight undoes the step")
    assert same(values(model), before)


class Shifted(nn.Linear):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input) + 5


def test_a_mean_that_the_bias_cannot_take_away_is_an_error() -> None:
    """The std becomes 1, and the mean 5 - 5 / std."""
    model = nn.Sequential(Shifted(1, 1))
    nn.init.constant_(model[0].weight, 2.0)
    data = Batch((torch.tensor([[1.0], [-1.0]]),))
    with pytest.raises(CalibrationError) as raised:
        calibrate(model, "weight_norm_data", {}, ["0"], data, seed=0)
    assert raised.value.message == (
        "0: its channels have means up to 2.5 and stds from 1 to 1 after the step, not 0 and 1"
    )


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_types(dtype: torch.dtype, wrap: Wrap) -> None:
    model = orthogonal(chain([64, 32, 10], nn.Tanh))
    for name in ("0", "2"):
        wrap(model.get_submodule(name))
    model.to(dtype)
    batch = Batch((normalized().to(dtype),))
    calibrate(model, "weight_norm_data", {}, ["0", "2"], batch, seed=0)
    assert all(parameter.dtype == dtype for parameter in model.parameters())
    for output in outputs(model, ["0", "2"], batch).values():
        assert np.abs(output.mean(0)).max() < 0.03
        assert np.abs(output.std(0) - 1).max() < 0.03


def test_conv1d_of_transformers_has_its_channels_in_the_other_dimension() -> None:
    transformers()
    from transformers.pytorch_utils import Conv1D

    model = nn.Sequential(Conv1D(20, 64))
    assert changes("weight_norm_data", model[0]) == ("weight", "bias")
    batch = Batch((normalized(),))
    calibrate(model, "weight_norm_data", {}, ["0"], batch, seed=0)
    check_channels(outputs(model, ["0"], batch), {"0": -1})
