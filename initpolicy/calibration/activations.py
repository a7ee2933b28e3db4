"""The activation that follows a layer, as a function that can be called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

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

_FUNCTIONS = frozenset(kind.__name__.lower() for kind in _MODULES)

_WEIGHTS = frozenset(["linear", "conv1d", "conv2d", "conv3d"])


def activations_of(model: nn.Module, layers: Mapping[str, nn.Module]) -> dict[str, Activation]:
    """Find the activation that follows each layer.

    Raises `CalibrationError` if it is not known, or acts on more than each element by itself.

    >>> import torch
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
    if len(set(map(_told, following))) > 1 or any(one is None for one in found):
        raise CalibrationError(
            f"{name}: it is followed by {' and '.join(sorted(kinds))}, and not by one activation "
            "that acts on each element by itself",
            hint="leave it out",
            code="IP776",
        )
    assert found[0] is not None
    return found[0]


def _activation(step: Step) -> Activation | None:
    from initpolicy.model.flow import OUTPUT

    if step.name == OUTPUT or step.name in _WEIGHTS:
        return _identity
    if isinstance(step.module, _MODULES):
        return _calling(step.module)
    if step.module is None and step.name in _FUNCTIONS and step.function and step.sources == 1:
        return _like(step.function, step.args[1:], step.kwargs)
    return None


def _told(step: Step) -> str:
    """What is called and with what, so that two calls can be compared."""
    if step.module is not None or step.sources != 1:
        return repr(step.module or step.name)
    return f"{step.name} {step.args[1:]} {_named(step.kwargs)}"


def _named(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if name != "input"}


def _calling(module: Any) -> Activation:
    return lambda values: module.forward(values)


def _like(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Activation:
    """A function with the arguments that the model gives it besides the values."""
    own = _named(kwargs)
    return lambda values: function(values, *args, **own)


def _identity(values: Tensor) -> Tensor:
    return values
