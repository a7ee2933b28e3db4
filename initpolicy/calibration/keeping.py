"""A forward pass that leaves everything as it was, but for what a step changes."""

from __future__ import annotations

import random
import sys
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import torch
from torch import nn

from initpolicy.batches import Batch, why_not
from initpolicy.calibration.errors import CalibrationError
from initpolicy.model.load import random_state_kept

_DROPPING = ("Dropout", "DropPath", "DropBlock", "StochasticDepth")


def call(model: nn.Module, batch: Batch) -> None:
    """Call the model on a copy of the batch; `CalibrationError` if it fails."""
    args, kwargs = _copied(batch.args), _copied(batch.kwargs)
    try:
        model(*args, **kwargs)
    except CalibrationError:
        raise
    except Exception as error:  # whatever a user's model raises
        raise CalibrationError(
            f"the model cannot be run on the data: {type(error).__name__}: {error}",
            hint=why_not(error, batch),
            code="IP773",
        ) from error


@contextmanager
def as_in_training(model: nn.Module, seed: int) -> Generator[None]:
    """Put a model into the mode of training, with nothing dropped and nothing recorded.

    Afterwards modes, buffers and generators of random numbers are what they were.
    """
    with ExitStack() as stack:
        stack.enter_context(left_alone(model))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        stack.enter_context(_nothing_cached())
        if "torch._dynamo" in sys.modules:  # else nothing is compiled
            stack.enter_context(cast("Any", torch.compiler).set_stance("force_eager"))
        _seed(seed)
        model.train()
        for module in model.modules():
            if any(word in type(module).__name__ for word in _DROPPING):
                module.training = False
        yield


@contextmanager
def _nothing_cached() -> Generator[None]:
    """Let autocast convert a weight whenever it is used, and not what it was before a step."""
    cached = torch.is_autocast_cache_enabled()
    torch.clear_autocast_cache()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(cached)


@contextmanager
def left_alone(model: nn.Module) -> Generator[None]:
    """Leave modes, buffers and generators of random numbers as they are."""
    modules = list(model.modules())
    modes = [(module, module.training) for module in modules]
    buffers = {
        id(tensor): (tensor, tensor.detach().clone())
        for tensor in model.buffers()
        if not tensor.is_meta
    }
    registries = [(module._buffers, dict(module._buffers)) for module in modules]  # pyright: ignore[reportPrivateUsage]
    # Such as the weight that `torch.nn.utils.weight_norm` computes before each pass.
    attributes = [
        (vars(module), {k: v for k, v in vars(module).items() if isinstance(v, torch.Tensor)})
        for module in modules
    ]
    with random_state_kept():
        try:
            yield
        finally:
            for module, mode in modes:
                module.training = mode
            for registry, own in registries:
                registry.update(own)
            with torch.no_grad():
                for tensor, values in buffers.values():
                    tensor.copy_(values)
            for held, own in attributes:
                held.update(own)


def _seed(seed: int) -> None:
    """Seed what a model may draw from in its forward pass."""
    # Not `torch.manual_seed`, which seeds devices that are not in use yet and cannot be put back.
    torch.default_generator.manual_seed(seed % 2**63)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed % 2**63)
    random.seed(seed)
    numpy: Any = sys.modules.get("numpy")
    if numpy:
        numpy.random.seed(seed % 2**32)


def _copied(value: Any) -> Any:
    """Copy the tensors, since a model may write into what it is given."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if type(value) in (tuple, list):
        return type(value)(map(_copied, value))
    if type(value) is dict:
        return {key: _copied(one) for key, one in cast("Mapping[Any, Any]", value).items()}
    return value
