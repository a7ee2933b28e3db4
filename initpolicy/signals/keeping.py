"""Leaving a model as it was."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from initpolicy.model import reshard
from initpolicy.model.load import random_state_kept


class Kept:
    """Copies of the values of a model, and of everything else that a pass may change."""

    def __init__(self, model: nn.Module) -> None:
        tensors = {id(t): t for t in (*model.parameters(), *model.buffers())}
        self._values = [(tensor, tensor.detach().clone()) for tensor in tensors.values()]
        self._gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
        self._training = [(module, module.training) for module in model.modules()]
        self._buffers = [
            (module, dict(module.named_buffers(recurse=False, remove_duplicate=False)))
            for module in model.modules()
        ]
        # Such as the weight that `torch.nn.utils.weight_norm` computes.
        self._others = [
            (module, name, value)
            for module in model.modules()
            for name, value in vars(module).items()
            if isinstance(value, torch.Tensor)
        ]

    def restore_values(self) -> None:
        """Give the tensors the values they had, and parameters no gradient."""
        with torch.no_grad():
            for module, buffers in self._buffers:
                for name, buffer in buffers.items():
                    if getattr(module, name) is not buffer:
                        setattr(module, name, buffer)
            for tensor, values in self._values:
                tensor.copy_(values)
        for parameter, _ in self._gradients:
            parameter.grad = None

    def restore(self) -> None:
        """Give everything back."""
        self.restore_values()
        for parameter, gradient in self._gradients:
            parameter.grad = gradient
        for module, training in self._training:
            module.training = training
        for module, name, value in self._others:
            vars(module)[name] = value


@contextmanager
def left_as_it_was(model: nn.Module) -> Generator[Kept, None, None]:
    """Give back the model, and all generators of random numbers, whatever happens meanwhile."""
    reshard(model)  # after a forward pass of the user's own
    kept = Kept(model)
    with random_state_kept():
        try:
            yield kept
        except BaseException:
            _end_of_pass(model)
            raise
        finally:
            kept.restore()


def _end_of_pass(model: nn.Module) -> None:
    """Let modules under FSDP2 hold their own parts again, in which a pass came to no end.

    torch has no word for it: it would take them to be in the middle of their forward pass.
    """
    for module in model.modules():
        state: Any = getattr(module, "_get_fsdp_state", lambda: None)()
        first: Any = getattr(state, "_fsdp_param_group", None)  # older versions have but one
        groups: list[Any] = getattr(state, "_fsdp_param_groups", [first])
        for group in filter(None, groups):
            states: Any = type(group._training_state)  # pyright: ignore[reportUnknownVariableType]
            group._training_state = states.IDLE
    reshard(model)
