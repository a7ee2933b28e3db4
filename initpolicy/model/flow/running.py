"""The flow through a model that is run once.

A copy of the model runs on the meta device if it can, where it computes nothing and takes no
memory, and else with the values that there are; with zeros for what has none, up to 1 GiB. Every
function of torch that it calls is seen, in evaluation mode. The copy shares the parameters, and
nothing of the model changes.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import nn
from torch.nn.parameter import Parameter
from torch.overrides import TorchFunctionMode

from initpolicy.model.constructor import generators
from initpolicy.model.flow.steps import (
    CONSTANT,
    INPUT,
    OUTPUT,
    UNKNOWN,
    Flow,
    Step,
    calls_of,
    drop_unused,
    is_small,
    is_unit,
    map_steps,
    plain,
)
from initpolicy.model.flow.tracing import among_processes

MOST_ZEROS = 1 << 30  # bytes


def ran(
    model: nn.Module,
    tensors: Collection[torch.Tensor],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    training: bool = False,
) -> Flow | str:
    """Run a model that holds `tensors` on an input, or say why that is not possible."""
    if among_processes():
        return "one of several processes does not run a model by itself"
    reasons: list[str] = []
    without = sum(tensor.nbytes for tensor in tensors if tensor.is_meta)
    for device in (torch.device("meta"), None):
        if device is None and without > MOST_ZEROS:
            break
        try:
            with warnings.catch_warnings(), generators(0):
                warnings.simplefilter("ignore")
                return _flow(model, tensors, (tuple(args), dict(kwargs)), device, training)
        except Exception as error:  # whatever a model does with an input
            reasons.append(f"{type(error).__name__}: {error}".partition("\n")[0])
    return reasons[-1]


def _flow(
    model: nn.Module,
    tensors: Collection[torch.Tensor],
    call: tuple[tuple[Any, ...], dict[str, Any]],
    device: torch.device | None,
    training: bool,
) -> Flow:
    double = copy.deepcopy(model, {id(tensor): _copy(tensor, device) for tensor in tensors})
    double.train(training)
    originals = dict(zip(double.modules(), model.modules(), strict=True))
    recorder = _Recorder(originals)
    moved = _moved(call, device)
    recorder.begin(_tensors(moved))
    with torch.no_grad(), recorder:
        outputs = double(*moved[0], **moved[1])
    recorder.end(outputs)
    drop_unused(recorder.steps)
    owners = {id(own): originals[one] for one in originals for own in one.parameters(False)}
    called = frozenset(step.name for step in recorder.steps)
    return Flow(calls_of(recorder.steps, owners), True, called)


def _copy(tensor: torch.Tensor, device: torch.device | None) -> torch.Tensor:
    """A tensor on the meta device; or else a parameter itself, a copy of a buffer, or zeros."""
    if device is None and not tensor.is_meta:
        return tensor if isinstance(tensor, Parameter) else tensor.clone()
    other = torch.zeros_like(tensor, device=device or "cpu")
    return Parameter(other, tensor.requires_grad) if isinstance(tensor, Parameter) else other


def _moved(given: Any, device: torch.device | None) -> Any:
    def move(one: Any) -> Any:
        if isinstance(one, torch.Tensor):
            return one.clone() if device is None else one.to(device)
        return one

    return map_steps(given, move)


def _tensors(given: Any) -> list[torch.Tensor]:
    """Every tensor in arguments or outputs, which may be collections and objects with fields."""
    found: list[torch.Tensor] = []
    waiting: list[Any] = [given]
    while waiting:
        one = waiting.pop()
        if isinstance(one, torch.Tensor):
            found.append(one)
        elif isinstance(one, Mapping):
            waiting += cast("Mapping[Any, Any]", one).values()
        elif isinstance(one, tuple | list | set):
            waiting += cast("Iterable[Any]", one)
    return found


class _Recorder(TorchFunctionMode):
    """Notes every call of a function of torch, and of a module that is one step."""

    def __init__(self, originals: Mapping[nn.Module, nn.Module]) -> None:
        super().__init__()
        self.steps: list[Step] = []
        self._made: dict[int, tuple[torch.Tensor, Step]] = {}  # keeps each tensor, and so its id
        self._units: list[nn.Module] = []
        self._small: list[str] = []
        for double, original in originals.items():
            self._watch(double, original)

    def begin(self, inputs: Iterable[torch.Tensor]) -> None:
        """Note what the model is called with."""
        for tensor in inputs:
            self._keep(tensor, self._step(None, INPUT))

    def end(self, outputs: Any) -> None:
        """Note what the model returns."""
        step = self._step(None, OUTPUT)
        for tensor in _tensors(outputs):
            step.take(self._of(tensor))

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call a function of torch, and note it unless a module that is one step calls it."""
        given = dict(kwargs or {})
        if self._units:
            return func(*args, **given)
        taken = self._taken((args, given))
        outputs = func(*args, **given)
        name = plain(getattr(func, "__name__", UNKNOWN))
        changed = name in ("setitem", "copy")
        if not changed and not _tensors(outputs):
            return outputs
        step = self._step(None, name)
        step.function, (step.args, step.kwargs) = func, taken
        step.inside = self._small[-1] if self._small else ""
        self._called(step, outputs if not changed else args[0])
        return outputs

    def _watch(self, double: nn.Module, original: nn.Module) -> None:
        if is_unit(double):
            double.register_forward_pre_hook(self._entering)
            double.register_forward_hook(self._leaving(original), with_kwargs=True)
        elif is_small(double):
            double.register_forward_pre_hook(self._entering_small)
            double.register_forward_hook(self._leaving_small)

    def _entering(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        self._units.append(module)

    def _leaving(self, original: nn.Module) -> Callable[..., None]:
        def note(module: nn.Module, args: Any, kwargs: Any, outputs: Any) -> None:
            with torch._C.DisableTorchFunction():  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
                self._units.pop()
                if self._units:
                    return
                step = self._step(original, plain(type(original).__name__))
                step.args, step.kwargs = self._taken((args, kwargs))
                self._called(step, outputs)

        return note

    def _entering_small(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        self._small.append(plain(type(module).__name__))

    def _leaving_small(self, module: nn.Module, args: Any, outputs: Any) -> None:
        self._small.pop()

    def _called(self, step: Step, outputs: Any) -> None:
        for source in _steps_in((step.args, step.kwargs)):
            step.take(source)
        if isinstance(outputs, torch.Tensor):
            self._keep(outputs, step)
            return
        for number, tensor in enumerate(_tensors(outputs)):
            part = self._step(None, "getitem")
            part.args = (step, number)
            part.take(step)
            self._keep(tensor, part)

    def _taken(self, given: Any) -> Any:
        return map_steps(given, lambda one: self._of(one) if isinstance(one, torch.Tensor) else one)

    def _of(self, tensor: torch.Tensor) -> Step:
        """The step that made a tensor; or a constant, if none did."""
        if id(tensor) not in self._made:
            constant = self._step(None, CONSTANT)
            constant.args = (tensor,)
            self._keep(tensor, constant)
        return self._made[id(tensor)][1]

    def _keep(self, tensor: torch.Tensor, step: Step) -> None:
        self._made[id(tensor)] = tensor, step

    def _step(self, module: nn.Module | None, name: str) -> Step:
        step = Step(module, name, index=len(self.steps))
        self.steps.append(step)
        return step


def _steps_in(given: Any) -> list[Step]:
    found: list[Step] = []
    map_steps(given, lambda one: found.append(one) if isinstance(one, Step) else None)
    return found
