"""The activation that follows a layer, as a function that can be called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from initpolicy.calibration.errors import CalibrationError

if TYPE_CHECKING:
    from initpolicy.model.flow import Flow, Step

Activation = Callable[[Tensor], Tensor]

_MODULES = (
    nn.CELU, nn.ELU, nn.GELU, nn.Hardshrink, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh,
    nn.LeakyReLU, nn.LogSigmoid, nn.Mish, nn.ReLU, nn.ReLU6, nn.SELU, nn.SiLU, nn.Sigmoid,
    nn.Softplus, nn.Softshrink, nn.Softsign, nn.Tanh, nn.Tanhshrink, nn.Threshold,
)  # fmt: skip

_FUNCTIONS: Mapping[str, Activation] = {
    "gelu": F.gelu,
    "hardsigmoid": F.hardsigmoid,
    "hardswish": F.hardswish,
    "logsigmoid": F.logsigmoid,
    "mish": F.mish,
    "relu": F.relu,
    "relu6": F.relu6,
    "selu": F.selu,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "softsign": F.softsign,
    "tanh": torch.tanh,
    "tanhshrink": F.tanhshrink,
}
"""Those without arguments: a trace tells the name of a function, and not what it is called with."""

_WEIGHTS = frozenset(["linear", "conv1d", "conv2d", "conv3d"])


def activations_of(model: nn.Module, layers: Mapping[str, nn.Module]) -> dict[str, Activation]:
    """Find the activation that follows each layer.

    Raises `CalibrationError` if it is not known, or acts on more than each element by itself.

    >>> model = nn.Sequential(nn.Linear(3, 2), nn.Dropout(), nn.Tanh(), nn.Linear(2, 1))
    >>> activations_of(model, {"0": model[0]})["0"](torch.zeros(1))
    tensor([0.])
    """
    from initpolicy.model.flow import flow_of  # which is for this step alone

    flow = flow_of(model)
    return {name: _after(flow, name, module) for name, module in layers.items()}


def _after(flow: Flow, name: str, module: nn.Module) -> Activation:
    from initpolicy.model.flow import UNKNOWN

    following = flow.after(module)
    kinds = {step.name for step in following}
    if not kinds or UNKNOWN in kinds:
        raise CalibrationError(
            f"{name}: what follows it cannot be found",
            hint="put layers and activations into nn.Sequential, or let torch.fx trace the model",
            code="IP776",
        )
    found = [_activation(step) for step in following]
    if len(kinds) > 1 or any(one is None for one in found):
        raise CalibrationError(
            f"{name}: it is followed by {' and '.join(sorted(kinds))}, and not by one activation "
            "that acts on each element by itself",
            hint="leave it out; an activation with arguments is known as a module, such as "
            "nn.LeakyReLU(0.2)",
            code="IP776",
        )
    assert found[0] is not None
    return found[0]


def _activation(step: Step) -> Activation | None:
    from initpolicy.model.flow import OUTPUT

    if step.name == OUTPUT or step.name in _WEIGHTS:
        return _identity
    if step.module is None:
        return _FUNCTIONS.get(step.name)
    return _calling(step.module) if isinstance(step.module, _MODULES) else None


def _calling(module: Any) -> Activation:
    return lambda values: module.forward(values)


def _identity(values: Tensor) -> Tensor:
    return values
