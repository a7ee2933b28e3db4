"""A step as data: a name, the arguments that it takes, and what it may change in which layers."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from initpolicy.calibration.errors import CalibrationError
from initpolicy.calibration.weights import Tunable, find, wide
from initpolicy.field import Stream
from initpolicy.initializers.initializer import (
    ArgumentProblem,
    InitializerError,
    Parameter,
    argument_problems,
    read_parameters,
)
from initpolicy.model.registered import tensors


class Limit(NamedTuple):
    """The numbers that an argument may be, and how that is said."""

    fits: Callable[[float], bool]
    text: str
    schema: Mapping[str, float]
    """The same in JSON Schema."""


def _is_positive(value: float) -> bool:
    return 0 < value < math.inf


def _is_count(value: float) -> bool:
    return 1 <= value < math.inf


def _is_share(value: float) -> bool:
    return 0 <= value < 1


POSITIVE = Limit(_is_positive, "greater than 0", {"exclusiveMinimum": 0})
COUNT = Limit(_is_count, "1 or more", {"minimum": 1})
SHARE = Limit(_is_share, "0 or more and less than 1", {"minimum": 0, "exclusiveMaximum": 1})


@dataclass(frozen=True)
class Done:
    """What a step did to one layer: a line for a person, and the numbers in it."""

    text: str
    numbers: dict[str, float] = field(default_factory=dict[str, float])


@dataclass(eq=False)
class Layer:
    """A layer at the moment when the forward pass has called it for the first time."""

    name: str
    """The name of the module, or `the model`."""
    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Any
    """What it gave; what the rest of the model is given when the step has returned."""
    seed: int
    stream: Stream
    """A stream of its own for whatever the step draws."""
    prepared: Any = None
    """What the step's `prepare` found for it."""

    def tensor(self, name: str) -> Tunable | None:
        """A tensor of the layer, or None if it has none of this name."""
        return find(self.module, name)

    def run(self) -> Tensor:
        """Call the layer once more, on what it was given, and keep what it gives."""
        self.output = self.module.forward(*self.args, **self.kwargs)
        return self.given

    @property
    def given(self) -> Tensor:
        """The output as numbers to calculate with: float64, or float32 of shorter types."""
        if not isinstance(self.output, Tensor) or not self.output.is_floating_point():
            raise CalibrationError(
                f"{self.name}: it gives a {type(self.output).__name__} and not one tensor of "
                "floating-point numbers",
                hint="leave it out",
                code="IP772",
            )
        return self.output.detach().to(wide(self.output.dtype))


Changes = Callable[[nn.Module], tuple[str, ...]]
Prepare = Callable[[nn.Module, Mapping[str, nn.Module], Mapping[str, object]], Mapping[str, Any]]


@dataclass(frozen=True)
class Calibration:
    """A named step: a layer and its inputs in, changed values of the layer out.

    >>> from initpolicy.calibration import get
    >>> [(item.name, item.default) for item in get("lsuv").parameters]
    [('tolerance', 0.1), ('iterations', 10)]
    """

    name: str
    function: Callable[..., Done]
    summary: str
    parameters: tuple[Parameter, ...]
    changes: Changes = field(repr=False)
    """The local names of the tensors that it would change in a module; none if it takes it not."""
    limits: Mapping[str, Limit] = field(repr=False)
    prepare: Prepare | None = field(repr=False)
    """What has to be found out about layers before anything is changed."""

    @classmethod
    def of(cls, function: Callable[..., Done], name: str = "") -> Calibration:
        """Read a step off a function's signature and docstring.

        The function takes a `Layer`, then arguments by keyword only, annotated as those of an
        initializer. One that `step` has not decorated may change all parameters of a module.
        """
        name = name or str(getattr(function, "__name__", function))
        try:
            parameters = read_parameters(
                function,
                f"the step {name}",
                "a layer",
                f"def {name}(layer: Layer, *, rate: float = 0.1) -> Done",
            )
        except InitializerError as error:
            raise CalibrationError(error.message, hint=error.hint, code="IP771") from error
        told: _Told = getattr(function, "_step", _Told(_all_parameters, {}, None))
        summary = (inspect.getdoc(function) or "").partition("\n")[0]
        return cls(name, function, summary, parameters, told.changes, told.limits, told.prepare)

    def check_arguments(
        self, arguments: Mapping[str, object], others: Iterable[str] = ()
    ) -> list[ArgumentProblem]:
        """Say everything that is wrong with the names, types and sizes of these arguments.

        A number may be given as a string, which is an expression for the caller to evaluate.
        `others` are names that may have been meant, and are no arguments of its own.

        >>> from initpolicy.calibration import get
        >>> for problem in get("lsuv").check_arguments({"tolerence": 1, "iterations": 0}):
        ...     print(problem.message, "/", problem.hint)
        lsuv has no argument `tolerence`; it accepts tolerance, iterations / did you mean
        `tolerance`?
        `iterations` must be 1 or more, not 0 /
        """
        problems = argument_problems(self.name, self.parameters, arguments, others)
        wrong = {problem.argument for problem in problems}
        for argument, limit in self.limits.items():
            value = arguments.get(argument)
            if argument in wrong or not isinstance(value, int | float) or limit.fits(value):
                continue
            problems.append(
                ArgumentProblem(argument, f"`{argument}` must be {limit.text}, not {value!r}")
            )
        return problems

    def settled(self, arguments: Mapping[str, object]) -> dict[str, object]:
        """Give all arguments as the function takes them; `CalibrationError` if one is wrong."""
        if problems := self.check_arguments(arguments):
            raise CalibrationError(problems[0].message, hint=problems[0].hint, code="IP771")
        values = {item.name: item.default for item in self.parameters}
        for item in self.parameters:
            if item.name not in arguments:
                continue
            value = arguments[item.name]
            if item.is_number and isinstance(value, str):
                message = f"`{item.name}` is still the expression {value!r}"
                raise CalibrationError(message, code="IP771")
            values[item.name] = item.settled(value)
        return values


def noise(values: Tensor, across: list[int] | None = None) -> Tensor:
    """The variance that equal values may have because sums are rounded.

    >>> import torch
    >>> round(float(noise(torch.full((3,), 1e3))) ** 0.5, 4)
    0.0038
    """
    size = values.square().mean() if across is None else values.square().mean(across)
    return size * (32 * torch.finfo(values.dtype).eps) ** 2


class _Told(NamedTuple):
    changes: Changes
    limits: Mapping[str, Limit]
    prepare: Prepare | None


def step(
    changes: Changes, prepare: Prepare | None = None, **limits: Limit
) -> Callable[[Callable[..., Done]], Callable[..., Done]]:
    """Say what a step changes in a module, and what its numbers may be."""

    def decorate(function: Callable[..., Done]) -> Callable[..., Done]:
        vars(function)["_step"] = _Told(changes, limits, prepare)
        return function

    return decorate


def _all_parameters(module: nn.Module) -> tuple[str, ...]:
    return tuple(name for name, *_ in tensors(module) if find(module, name) is not None)
