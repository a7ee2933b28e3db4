"""Layer-sequential unit variance: weights rescaled until outputs have variance 1."""

from __future__ import annotations

import math

import torch
from torch import nn

from initpolicy.calibration.errors import CalibrationError
from initpolicy.calibration.finite import output_of
from initpolicy.calibration.step import COUNT, POSITIVE, Done, Layer, noise, step
from initpolicy.calibration.weights import find
from initpolicy.model import class_of


def weight_of(module: nn.Module) -> tuple[str, ...]:
    """The weight, if it multiplies the inputs: a matrix or kernels, no table and no norm's.

    >>> weight_of(nn.Conv2d(3, 8, 3)), weight_of(nn.Embedding(10, 3)), weight_of(nn.LayerNorm(3))
    (('weight',), (), ())
    """
    if isinstance(module, nn.Embedding | nn.EmbeddingBag) or "Norm" in class_of(module).__name__:
        return ()
    weight = find(module, "weight")
    if weight is None or weight.obstacle or weight.outline.ndim < 2:
        return ()
    return ("weight",)


@step(weight_of, tolerance=POSITIVE, iterations=COUNT)
def lsuv(layer: Layer, *, tolerance: float = 0.1, iterations: int = 10) -> Done:
    """Divide the weight by the outputs' std until their variance is 1. Mishkin and Matas 2015.

    The variance is that of all outputs of the layer over the batch, before the activation. It is
    close enough to 1 when it differs by less than `tolerance`; after `iterations` divisions that
    is an error.
    """
    weight = layer.tensor("weight")
    assert weight is not None
    variance = before = variance_of(layer)
    steps = 0
    while abs(variance - 1) >= tolerance:
        if steps == iterations:
            raise CalibrationError(
                f"{layer.name}: the variance of its output is {variance:.4g} after {steps} "
                f"steps and not within {tolerance:g} of 1",
                hint="its bias, or what computes its weight, keeps the variance from following "
                "the weight; give more `iterations`, a larger `tolerance`, or leave it out",
                code="IP774",
            )
        weight.scale(torch.tensor(1 / math.sqrt(variance), dtype=torch.float64), layer.seed)
        layer.run()
        variance = variance_of(layer)
        steps += 1
    times = "1 step" if steps == 1 else f"{steps} steps"
    return Done(
        f"std {math.sqrt(before):.4g} -> {math.sqrt(variance):.4g} in {times}",
        {"variance_before": before, "variance": variance, "steps": float(steps)},
    )


def variance_of(layer: Layer) -> float:
    """The variance of all outputs; `CalibrationError` if it is 0 or infinite."""
    values = output_of(layer)
    variance = float(values.var(correction=0))
    if not math.isfinite(variance) or not variance > float(noise(values)):
        raise CalibrationError(
            f"{layer.name}: its output has no variance over the batch, but {variance:.4g}",
            hint="a weight or inputs of zeros, one example, or values that overflow do this; draw "
            "its weight, and those before it, from a law",
            code="IP774",
        )
    return variance
