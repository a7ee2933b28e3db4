"""Values that a step can calculate with, and what is said of others."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from initpolicy.calibration.errors import CalibrationError
from initpolicy.calibration.step import Layer

_MORE = "give more examples, or larger ones"
_WEIGHT = "its weight is not finite, or too large: draw it, and those before it, from a law"


def output_of(layer: Layer) -> Tensor:
    """The output of a layer to calculate with; `CalibrationError` if it is empty or not finite."""
    values = layer.given
    _require("output", values, layer, "IP774")
    return values


def require_finite_inputs(values: Tensor, layer: Layer) -> None:
    """Raise `CalibrationError` if what a layer is given is empty or not finite."""
    _require("input", values, layer, "IP776")


def _require(what: str, values: Tensor, layer: Layer, code: str) -> None:
    if not values.numel():
        told = f"{layer.name}: its {what} of shape {tuple(values.shape)} has no elements"
        raise CalibrationError(told, hint=_MORE, code=code)
    if wrong := _not_finite(values):
        told = (
            f"{layer.name}: {wrong:,} of the {values.numel():,} values of its {what}, of shape "
            f"{tuple(values.shape)}, are not finite"
        )
        hint = "mend the data, or what the layers before it make of them"
        if what == "output":
            hint = f"{given}: {hint}" if (given := _given(layer)) else _WEIGHT
        raise CalibrationError(told, hint=hint, code=code)


def _given(layer: Layer) -> str:
    """What of a layer's inputs is not finite either; empty if all are."""
    for one in pytree.tree_leaves((layer.args, layer.kwargs)):
        if isinstance(one, Tensor) and (wrong := _not_finite(one)):
            return f"nor are {wrong:,} values of its input, of shape {tuple(one.shape)}"
    return ""


def _not_finite(values: Tensor) -> int:
    return int(torch.isfinite(values).logical_not().sum())
