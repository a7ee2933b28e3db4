"""Finds the gain that what follows a layer calls for."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, cast

import torch
from torch import nn
from torch.func import functional_call

from initpolicy.batches import Input, batch_of
from initpolicy.initializers import InitializerError
from initpolicy.initializers.preserving import preserving_gain
from initpolicy.laws import Constant, Law
from initpolicy.model import Inventory, Slot
from initpolicy.model.constructor import generators
from initpolicy.model.flow import After, Call, Elementwise, Flow, FollowingError, flow_of, following
from initpolicy.problems import listed
from initpolicy.resolve.gains import INSTEAD, Gain, GainError

_ALIKE = 1e-9


class Finder:
    """Finds gains in one model."""

    def __init__(
        self,
        inventory: Inventory,
        law_of: Callable[[Slot], Law | None],
        input: Input | None,
    ) -> None:
        self._inventory = inventory
        self._law_of = law_of
        self._input = input

    def found(self, module: nn.Module) -> Gain:
        """The gain that what follows a module calls for; raises `GainError`."""
        try:
            with generators(0):  # a module of the user may draw
                gains = [self._of_way(way) for way in self._ways(module)]
        except FollowingError as error:
            raise self._failed(error, type(module).__name__) from None
        first = gains[0]
        if any(abs(one.value - first.value) > _ALIKE * first.value for one in gains):
            each = {one.name: f"{one.value:.6g} for {one.name}" for one in gains}
            raise GainError("IP234", f"different gains are called for: {listed(each.values())}")
        return first

    def _ways(self, module: nn.Module) -> list[After]:
        try:
            return following(self.flow, module, self._settled)
        except FollowingError as error:
            if error.kind != "unseen" or not self.flow.traced:
                raise
            return following(self._trained, module, self._settled)  # such as an auxiliary head

    def _of_way(self, way: After) -> Gain:
        if way.function is None:
            return Gain(1.0, way.name)
        try:
            return Gain(preserving_gain(way.function), way.name)
        except InitializerError as error:
            raise GainError("IP235", f"{way.name} follows: {error.message}") from None

    def _failed(self, error: FollowingError, kind: str) -> GainError:
        if error.kind in ("gate", "inside"):
            return GainError("IP233" if error.kind == "gate" else "IP232", error.message)
        if not self.flow.traced:
            how, what = "traced", "an input, as in `--input 8,3,224,224`"
            if self._input is not None:
                how, what = "run on the input", "one that it takes"
            return GainError(
                "IP231",
                f"what follows {kind} is not known: the model cannot be {how} ({self.flow.reason})",
                f"give {what}, or {INSTEAD}",
            )
        return GainError("IP232" if error.kind == "unseen" else "IP235", error.message)

    @cached_property
    def flow(self) -> Flow:
        """What follows each module."""
        return self._seen(training=False)

    @cached_property
    def _trained(self) -> Flow:
        """What follows each module while the model is trained."""
        return self._seen(training=True)

    def _seen(self, training: bool) -> Flow:
        flow = flow_in(self._inventory, self._input, training)
        model = self._inventory.modules[0].module
        if flow.traced or self._input is not None or (call := example_of(model)) is None:
            return flow
        return flow_of(model, _tensors(self._inventory), call, training)

    def _settled(self, module: nn.Module) -> Elementwise | None:
        """The function of an activation, with the parameters that it begins with."""
        values: dict[str, torch.Tensor] = {}
        held: list[torch.Tensor] = []
        for name, tensor in (*module.named_parameters(), *module.named_buffers()):
            number = self._number(module, tensor)
            if number is None:
                return None
            values[name] = torch.full((1,) * tensor.ndim, number, dtype=torch.float64)
            held.append(tensor)
        try:
            double = copy.deepcopy(module, {id(tensor): tensor for tensor in held}).eval()
        except Exception:  # whatever else it holds cannot be copied
            return None

        def function(inputs: torch.Tensor) -> torch.Tensor:
            return functional_call(double, values, (inputs,))

        return function

    def _number(self, module: nn.Module, tensor: torch.Tensor) -> float | None:
        """The number that every element of a parameter begins as, or that stands for them."""
        slot = self._by_tensor.get(id(tensor))
        law = None if slot is None or slot.lazy else self._law_of(slot)
        if isinstance(law, Constant):
            return law.value
        if law is not None:
            moments = law.moments
            if not isinstance(module, nn.PReLU) or moments is None:
                return None
            # The second moment of what it makes is linear in that of its slopes.
            return math.sqrt(moments.mean**2 + moments.variance)
        if isinstance(module, nn.PReLU):
            return module.init
        if tensor.is_meta or not tensor.numel() or tensor.numel() > 1 << 16:
            return None
        first = tensor.detach().flatten()[0]
        return float(first) if bool((tensor.detach() == first).all()) else None

    @cached_property
    def _by_tensor(self) -> Mapping[int, Slot]:
        return {id(slot.tensor): slot for slot in self._inventory.slots}


def flow_in(inventory: Inventory, input: Input | None, training: bool = False) -> Flow:
    """What follows each module: by a run on an input, or else by a trace."""
    # Without wrappers, of which one would compile, and another wait for other processes.
    model = inventory.modules[0].module
    if input is None:
        return flow_of(model, _tensors(inventory), training=training)
    batch = batch_of(input, model)
    return flow_of(model, _tensors(inventory), (batch.args, batch.kwargs), training)


def _tensors(inventory: Inventory) -> list[torch.Tensor]:
    return [tensor for slot in inventory.slots for tensor in slot.tensors]


def example_of(model: nn.Module) -> Call | None:
    """What a model says that it is called with, as those of transformers and Lightning do."""
    for name in ("example_input_array", "dummy_inputs"):
        try:
            given: Any = getattr(model, name, None)
        except Exception:  # a property may need what this model has not
            continue
        if isinstance(given, torch.Tensor):
            return (given,), {}
        if isinstance(given, tuple | list) and given:
            return tuple(cast("list[Any]", given)), {}
        if isinstance(given, Mapping) and given:
            return (), dict(cast("Mapping[str, Any]", given))
    return None
