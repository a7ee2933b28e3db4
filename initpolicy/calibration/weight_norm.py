"""Data-dependent weight normalization: every output channel gets mean 0 and std 1."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from initpolicy.calibration.channels import Channels, channels_of
from initpolicy.calibration.errors import CalibrationError
from initpolicy.calibration.finite import output_of
from initpolicy.calibration.lsuv import weight_of
from initpolicy.calibration.step import Done, Layer, noise, step
from initpolicy.calibration.weights import find

_FAR = 0.1  # from 0 and 1: more than rounding, also in bfloat16


def weight_and_bias_of(module: nn.Module) -> tuple[str, ...]:
    """The weight and the bias of a linear or convolution layer.

    >>> weight_and_bias_of(nn.Linear(3, 2)), weight_and_bias_of(nn.Linear(3, 2, bias=False))
    (('weight', 'bias'), ('weight',))
    """
    if channels_of(module) is None or not weight_of(module):
        return ()
    bias = find(module, "bias")
    return ("weight",) if bias is None or bias.obstacle else ("weight", "bias")


@step(weight_and_bias_of)
def weight_norm_data(layer: Layer) -> Done:
    """Give each output channel mean 0 and std 1 over the batch. Salimans and Kingma 2016.

    Section 3 of the paper. Under weight norm the magnitude g is divided by the channel's std, in
    other layers the weight; the bias takes the mean away. A layer without bias keeps its means.
    """
    weight, bias = layer.tensor("weight"), layer.tensor("bias")
    channels = channels_of(layer.module)
    assert weight is not None
    assert channels is not None
    mean, std = _statistics(layer, channels)
    before = float(std.min()), float(std.max())
    weight.scale(channels.spread(1 / std, weight.outline), layer.seed)
    if bias is not None:
        bias.write((bias.values().to(std.dtype) - mean) / std, layer.seed)
    layer.run()
    mean, std = _statistics(layer, channels)
    farthest = float(mean.abs().max()) if bias is not None else 0.0
    if farthest > _FAR or float((std - 1).abs().max()) > _FAR:
        raise CalibrationError(
            f"{layer.name}: its channels have means up to {farthest:.3g} and stds from "
            f"{float(std.min()):.3g} to {float(std.max()):.3g} after the step, not 0 and 1",
            hint="what computes its weight undoes the step, or its type is too short; leave it out",
            code="IP774",
        )
    text = f"std {before[0]:.4g} to {before[1]:.4g} -> {float(std.min()):.4g} to "
    text += f"{float(std.max()):.4g}"
    text += ", mean 0" if bias is not None else "; it has no bias, so that its means stay"
    return Done(
        text,
        {
            "std_before_min": before[0],
            "std_before_max": before[1],
            "std_min": float(std.min()),
            "std_max": float(std.max()),
            "mean_max": float(mean.abs().max()),
        },
    )


def _statistics(layer: Layer, channels: Channels) -> tuple[Tensor, Tensor]:
    """Mean and std of each channel; `CalibrationError` if one has no variance."""
    values = output_of(layer)
    across = channels.across(values)
    variance, mean = torch.var_mean(values, across, correction=0)
    flat = int((~(variance > noise(values, across)) | ~variance.isfinite()).sum())
    if flat:
        raise CalibrationError(
            f"{layer.name}: {flat} of its {len(variance)} output channels have no variance over "
            "the batch",
            hint="a weight or inputs of zeros, one example, or values that overflow do this; draw "
            "its weight, and those before it, from a law",
            code="IP774",
        )
    return mean, variance.sqrt()
