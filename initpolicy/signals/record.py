"""Watching one forward and backward pass of an unmodified model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from initpolicy.signals import functions, statistics
from initpolicy.signals.functions import Function, Kind
from initpolicy.signals.statistics import local


@dataclass
class Signal:
    """What was measured at one call of a function; the gradient comes with the backward pass."""

    module: str
    function: str
    call: int
    """Which call of this function in this module, from 1."""
    kind: Kind
    mean: float
    std: float
    rms: float
    zeros: float
    count: int
    """How many values were measured, of which a process may hold a part."""
    dead: float | None = None
    saturated: float | None = None
    logit_std: float | None = None
    entropy: float | None = None
    gradient: float | None = None
    weight: str = ""


class Recorder(TorchFunctionMode):
    """Measures the functions that are called while it is entered, module by module."""

    def __init__(self, names: Mapping[int, str]) -> None:
        """`names` are those of parameters, by `id`."""
        super().__init__()
        self.signals: list[Signal] = []
        self._names = names
        self._calls: Counter[tuple[str, str]] = Counter()
        self._modules: list[tuple[str, nn.Module]] = []
        self._entered: list[torch.Tensor] = []
        self._unit = -1

    def __torch_function__(
        self,
        func: Function,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call a function of torch, and measure it if it is one of those that matter."""
        given = dict(kwargs or {})
        if func in functions.DROPOUT:
            return args[0] if args else given["input"]
        if self._entered:  # an activation, which is measured as a whole
            return func(*args, **given)
        name = functions.ACTIVATIONS.get(func)
        if name is not None and args:
            return self._activation(func, name, args, given)
        if func in functions.SOFTMAX:
            return self._softmax(func, args, given)
        if func in functions.ATTENTION:
            return self._attention(func, args, given)
        if func in functions.COMPOSITE:
            with self:
                return functions.looked_into(func)(*args, **given)
        outputs = func(*args, **given)
        if func in functions.UNITS:
            self._unit = functions.UNITS[func]
            self._weights(func, outputs, (*args, *given.values()))
        elif func in functions.PRODUCTS:
            if functions.has_weight((*args, *given.values())):
                self._unit = -1
                self._weights(func, outputs, (*args, *given.values()))
        elif func in functions.NORMALIZATIONS:
            self._unit = 1 - outputs.ndim if functions.NORMALIZATIONS[func] else -1
        return outputs

    def _weights(self, func: Function, outputs: Any, arguments: Iterable[object]) -> None:
        values = cast("tuple[Any, ...]", outputs)[0] if isinstance(outputs, tuple) else outputs
        signal = self._note(func.__name__.strip("_"), "weights", values)
        if signal is not None:
            signal.weight = self._called(functions.weight_of(arguments))

    def _called(self, weight: nn.Parameter | None) -> str:
        """The name of the parameter of a call; that of a weight that is computed for it."""
        name, module = self._modules[-1] if self._modules else ("", None)
        own = {} if module is None or weight is None else module._parameters  # pyright: ignore[reportPrivateUsage]
        known = next((key for key, value in own.items() if value is weight), None)
        if known is None and weight is not None:
            return self._names.get(id(weight), "")
        return f"{name}.{known or 'weight'}".lstrip(".")

    def _activation(
        self, func: Function, name: str, args: tuple[Any, ...], given: dict[str, Any]
    ) -> Any:
        rest = args[1:]
        inputs = statistics.sampled(local(args[0]))
        outputs = func(*args, **given)
        self._measure(name, inputs, outputs, lambda values: func(values, *rest, **given))
        return outputs

    def _measure(
        self,
        name: str,
        inputs: torch.Tensor,
        outputs: torch.Tensor,
        function: Callable[[torch.Tensor], torch.Tensor],
    ) -> None:
        signal = self._note(name, "activation", outputs)
        if signal is not None:
            signal.saturated = statistics.share_of_flat(function, inputs)
            signal.dead = 0.0
            if signal.zeros:
                signal.dead = statistics.share_of_dead(local(outputs), self._unit)

    def _softmax(self, func: Function, args: tuple[Any, ...], given: dict[str, Any]) -> Any:
        outputs = func(*args, **given)
        inputs = args[0] if args else given["input"]
        dim = args[1] if len(args) > 1 else given.get("dim")
        if isinstance(dim, int) and inputs.ndim > 2:
            seen = statistics.attention(local(inputs).detach().movedim(dim, -1))
            self._note_attention("softmax", outputs, seen)
        return outputs

    def _attention(self, func: Function, args: tuple[Any, ...], given: dict[str, Any]) -> Any:
        names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
        known = {**dict(zip(names, args, strict=False)), **given}
        known["dropout_p"] = 0.0
        outputs = func(**known)
        mask = known.get("attn_mask")
        logits = statistics.logits_of(
            local(known["query"]),
            local(known["key"]),
            None if mask is None else local(mask),
            causal=known.get("is_causal", False),
            scale=known.get("scale"),
        )
        self._note_attention(functions.ATTENTION[func], outputs, statistics.attention(logits))
        return outputs

    def _note_attention(
        self, name: str, outputs: torch.Tensor, seen: statistics.Attention | None
    ) -> None:
        signal = self._note(name, "attention", outputs)
        if signal is not None and seen is not None:
            signal.logit_std, signal.entropy, signal.saturated = seen

    def _note(self, function: str, kind: Kind, values: Any) -> Signal | None:
        if not isinstance(values, torch.Tensor) or not (
            values.is_floating_point() or values.is_complex()
        ):
            return None
        module = self._modules[-1][0] if self._modules else ""
        self._calls[module, function] += 1
        call = self._calls[module, function]
        held = local(values)
        measured = statistics.moments(held)
        # Outputs of weights are rarely zero: a sample tells where most of them are.
        counted = statistics.sampled(held) if kind == "weights" else held
        zeros = statistics.share_of_zeros(counted)
        signal = Signal(module, function, call, kind, *measured, zeros, held.numel())
        self.signals.append(signal)
        if values.requires_grad:

            def keep(gradient: torch.Tensor) -> None:
                signal.gradient = statistics.root_mean_square(local(gradient))

            cast("Any", values).register_hook(keep)
        return signal

    @contextmanager
    def watching(self, modules: Iterable[tuple[str, nn.Module]]) -> Generator[None, None, None]:
        """Follow which module is running, and measure what is called meanwhile."""
        handles: list[Any] = []
        try:
            for name, module in modules:
                whole = functions.is_activation(module)
                handles.append(module.register_forward_pre_hook(self._entering(name, whole)))
                handles.append(module.register_forward_hook(self._leaving(whole)))
            with self:
                yield
        finally:
            for handle in handles:
                handle.remove()

    def _entering(self, name: str, whole: bool) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
            self._modules.append((name, module))
            if whole:
                first = args[0] if args and isinstance(args[0], torch.Tensor) else torch.empty(0)
                self._entered.append(statistics.sampled(local(first)))

        return hook

    def _leaving(self, whole: bool) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def hook(module: nn.Module, args: tuple[Any, ...], outputs: Any) -> None:
            if whole:
                inputs = self._entered.pop()
                if inputs.numel() and isinstance(outputs, torch.Tensor):
                    name = type(module).__name__
                    # Itself, and not what is called around it, which would be this hook again.
                    with torch._C.DisableTorchFunction():  # pyright: ignore
                        self._measure(name, inputs, outputs, module.forward)
            self._modules.pop()

        return hook
