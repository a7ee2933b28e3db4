"""An initializer as data: a name, the arguments that it takes, and the law that it lowers to."""

from __future__ import annotations

import difflib
import inspect
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Union, cast, get_args, get_origin

from initpolicy.expressions import Expression
from initpolicy.laws import Law, LawError
from initpolicy.model.facts import Facts, FanError


class InitializerError(ValueError):
    """There is no such initializer, or it has no law for this tensor or these arguments.

    `message` says what is wrong, `hint` what to write instead; `hint` is empty when there is
    nothing useful to say.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class FileName(str):
    """An argument that is the path of a file, which starts from the folder of the policy."""

    __slots__ = ()


class Template(str):
    """An argument in which braces hold `name`, `module`, `local` or a whole-number expression."""

    __slots__ = ()


@dataclass(frozen=True)
class ArgumentProblem:
    """What is wrong with one argument, and what to write instead."""

    argument: str
    message: str
    hint: str = ""


@dataclass(frozen=True)
class Parameter:
    """One argument that an initializer takes.

    `type` is float, int, bool, str or Expression, which is a formula over the elements of the
    tensor; `choices` are the strings that are accepted, if not all are;
    `default` is None for an argument that may be left out without there being a value for it.
    """

    name: str
    annotation: str
    type: type
    choices: tuple[str, ...]
    default: object
    required: bool

    @property
    def is_number(self) -> bool:
        """Whether the argument is a number, and so may be written as an expression."""
        return self.type in (float, int)

    @property
    def is_formula(self) -> bool:
        """Whether the argument is a formula over the elements of the tensor."""
        return self.type is Expression

    @property
    def accepts(self) -> str:
        """What may be written, in words."""
        if self.choices:
            return "one of " + ", ".join(f'"{choice}"' for choice in self.choices)
        return {
            float: "a number or an expression",
            int: "a whole number or an expression",
            bool: "true or false",
            str: "a string",
            Expression: "a formula",
            FileName: "the path of a file",
            Template: "a text",
        }[self.type]

    def problem(self, value: object) -> ArgumentProblem | None:
        """Say why `value` cannot be this argument, or None if it can."""
        if self.choices:
            if value in self.choices:
                return None
            close = suggestion(value, self.choices) if isinstance(value, str) else ""
            message = f"`{self.name}` must be {self.accepts}, not {_written(value)}"
            return ArgumentProblem(self.name, message, close)
        if self.is_formula:
            fits = isinstance(value, int | float | str | Expression)
            fits = fits and not isinstance(value, bool)
        elif self.is_number:
            fits = isinstance(value, int | float | str) and not isinstance(value, bool)
            if fits and self.type is int and isinstance(value, float):
                fits = value.is_integer()
        else:
            fits = isinstance(value, bool if self.type is bool else str)
        if fits or (value is None and not self.required and self.default is None):
            return None
        message = f"`{self.name}` must be {self.accepts}, not {_written(value)}"
        return ArgumentProblem(self.name, message)

    def settled(self, value: object) -> object:
        """Convert an accepted number to the type that the initializer expects."""
        if self.is_number and isinstance(value, int | float):
            return self.type(value)
        if self.is_formula and not isinstance(value, Expression):
            return Expression.parse(str(value))
        if self.type in (FileName, Template) and isinstance(value, str):
            return self.type(value)
        return value

    def json_schema(self) -> dict[str, object]:
        """Give the JSON Schema of what may be written."""
        schema: dict[str, object]
        if self.choices:
            schema = {"enum": list(self.choices)}
        elif self.is_formula:
            schema = {"type": ["number", "string"]}
        elif self.is_number:
            schema = {"type": ["integer" if self.type is int else "number", "string"]}
        else:
            schema = {"type": "boolean" if self.type is bool else "string"}
        if self.default is not None:
            schema["default"] = self.default
        return schema


@dataclass(frozen=True)
class Initializer:
    """A named recipe: arguments and facts about a tensor in, a law out.

    >>> from initpolicy.initializers import get
    >>> kaiming = get("kaiming_normal")
    >>> [parameter.name for parameter in kaiming.parameters]
    ['a', 'mode', 'nonlinearity']
    >>> print(kaiming.lower(Facts((512, 128)), {"mode": "fan_out", "nonlinearity": "relu"}))
    N(0, 0.0625)
    """

    name: str
    function: Callable[..., Law]
    summary: str
    parameters: tuple[Parameter, ...]
    asks_nothing: bool = False

    @classmethod
    def of(cls, function: Callable[..., Law], name: str = "") -> Initializer:
        """Read an initializer off a function's signature and docstring.

        The function takes the facts of a tensor, then arguments by keyword only, each annotated as
        a float, int, bool, str, Expression or Literal of strings, or as one of these or None.
        One that takes an `object` instead of facts asks nothing of the tensor, and so its law is
        the same for tensors of all shapes. Raises `InitializerError` for any other function.
        """
        name = name or str(getattr(function, "__name__", function))
        parameters = read_parameters(
            function,
            f"the initializer {name}",
            "the facts of a tensor",
            f"def {name}(tensor: Facts, *, std: float = 1.0) -> Law",
        )
        summary = (inspect.getdoc(function) or "").partition("\n")[0]
        subject = next(iter(inspect.signature(function).parameters))
        asks_nothing = typing.get_type_hints(function).get(subject) is object
        return cls(name, function, summary, parameters, asks_nothing)

    def check_arguments(
        self, arguments: Mapping[str, object], others: Iterable[str] = ()
    ) -> list[ArgumentProblem]:
        """Say everything that is wrong with the names and types of these arguments.

        A number may be given as a string, which is an expression for the caller to evaluate.
        `others` are names that may have been meant, and are no arguments of its own.

        >>> from initpolicy.initializers import get
        >>> for problem in get("normal").check_arguments({"sdt": 0.1, "mean": True}):
        ...     print(problem.message, "/", problem.hint)
        normal has no argument `sdt`; it accepts mean, std / did you mean `std`?
        `mean` must be a number or an expression, not true /
        """
        return argument_problems(self.name, self.parameters, arguments, others)

    def lower(self, tensor: Facts, arguments: Mapping[str, object]) -> Law:
        """Give the law for this tensor; every expression in `arguments` is a number by now.

        Raises `InitializerError` for arguments that are wrong or mean nothing, and for a tensor
        that has too few dimensions. Whether the law can hold for the tensor's type and shape is
        for `Law.validate` to say.
        """
        return self.bound(arguments)(tensor)

    def bound(self, arguments: Mapping[str, object]) -> Callable[[Facts], Law]:
        """Check the arguments, and give what tells the law of any tensor; both raise as `lower`."""
        if problems := self.check_arguments(arguments):
            raise InitializerError(problems[0].message, hint=problems[0].hint)
        known = {parameter.name: parameter for parameter in self.parameters}
        for argument, value in arguments.items():
            if known[argument].is_number and isinstance(value, str):
                raise InitializerError(f"`{argument}` is still the expression {value!r}")
        try:
            settled = {name: known[name].settled(value) for name, value in arguments.items()}
        except (ValueError, ArithmeticError) as error:
            raise InitializerError(f"{self.name}: {error}") from error
        return partial(self._law, settled)

    def _law(self, settled: Mapping[str, Any], tensor: Facts) -> Law:
        try:
            law = self.function(tensor, **settled)
        except InitializerError:
            raise
        except FanError as error:
            if tensor.ndim >= 2 or tensor.stated_fans is not None:
                raise InitializerError(f"{self.name}: {error}") from error
            raise InitializerError(
                f"{self.name} needs at least 2 dimensions and a tensor of shape {tensor.shape} "
                f"has {tensor.ndim}",
                hint='for a bias write `0` or { fn = "uniform", a = -0.1, b = 0.1 }',
            ) from error
        except (ValueError, ArithmeticError) as error:
            hint = error.hint if isinstance(error, LawError) else ""
            raise InitializerError(f"{self.name}: {error}", hint=hint) from error
        if not isinstance(law, Law):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InitializerError(f"the initializer {self.name} gave {law!r}, which is no law")
        return law

    def json_schema(self) -> dict[str, object]:
        """Give the JSON Schema of the table `{ fn = "...", ... }`.

        >>> from initpolicy.initializers import get
        >>> get("constant").json_schema()["required"]
        ['fn', 'val']
        """
        properties: dict[str, object] = {"fn": {"const": self.name}}
        properties |= {parameter.name: parameter.json_schema() for parameter in self.parameters}
        return {
            "type": "object",
            "description": self.summary,
            "properties": properties,
            "required": ["fn", *(item.name for item in self.parameters if item.required)],
            "additionalProperties": False,
        }


def suggestion(name: str, known: Iterable[str]) -> str:
    """Ask whether the closest of the known names was meant; empty if none is close.

    >>> suggestion("kaimng_normal", ["kaiming_normal", "normal"])
    'did you mean `kaiming_normal`?'
    """
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean `{close[0]}`?" if close else ""


def read_parameters(
    function: Callable[..., object], owner: str, subject: str, example: str
) -> tuple[Parameter, ...]:
    """Read the parameters that follow the first one off a function's signature.

    Raises `InitializerError` if it does not take `subject` first and the rest by keyword only, or
    if one is annotated in a way that is not known; `owner` is what messages call the function.
    """
    try:
        hints = typing.get_type_hints(function)
        arguments = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError, NameError) as error:
        raise InitializerError(f"{owner} cannot be read: {error}") from error
    if not arguments or any(item.kind is not item.KEYWORD_ONLY for item in arguments[1:]):
        raise InitializerError(
            f"{owner} must take {subject}, then arguments by keyword only",
            hint=f"write `{example}`",
        )
    return tuple(_parameter(owner, item, hints) for item in arguments[1:])


def argument_problems(
    owner: str,
    parameters: Iterable[Parameter],
    arguments: Mapping[str, object],
    others: Iterable[str] = (),
) -> list[ArgumentProblem]:
    """Say everything that is wrong with the names and types of these arguments.

    `others` are names that stand beside arguments, and may have been meant.
    """
    known = {parameter.name: parameter for parameter in parameters}
    problems: list[ArgumentProblem] = []
    for argument, value in arguments.items():
        if argument in known:
            problem = known[argument].problem(value)
            problems += [problem] if problem else []
            continue
        accepted = f"it accepts {', '.join(known)}" if known else "it accepts no arguments"
        message = f"{owner} has no argument `{argument}`; {accepted}"
        problems.append(ArgumentProblem(argument, message, suggestion(argument, [*known, *others])))
    for parameter in parameters:
        if parameter.required and parameter.name not in arguments:
            message = f"{owner} needs the argument `{parameter.name}`"
            hint = f"`{parameter.name}` is {parameter.accepts}"
            problems.append(ArgumentProblem(parameter.name, message, hint))
    return problems


def _parameter(owner: str, item: inspect.Parameter, hints: Mapping[str, Any]) -> Parameter:
    annotation: object = hints.get(item.name)
    choices: tuple[object, ...] = ()
    if get_origin(annotation) in (Union, types.UnionType):
        members = [member for member in get_args(annotation) if member is not type(None)]
        annotation = members[0] if len(members) == 1 else annotation
    if get_origin(annotation) is Literal:
        choices = get_args(annotation)
        annotation = str if all(isinstance(choice, str) for choice in choices) else None
    if annotation not in (float, int, bool, str, Expression, FileName, Template):
        raise InitializerError(
            f"the argument `{item.name}` of {owner} must be annotated as a float, "
            "int, bool, str, Expression or Literal of strings"
        )
    required = item.default is item.empty
    return Parameter(
        name=item.name,
        annotation=inspect.formatannotation(item.annotation).strip("'"),
        type=cast("type", annotation),
        choices=cast("tuple[str, ...]", choices),
        default=None if required else item.default,
        required=required,
    )


def _written(value: object) -> str:
    """Write a value as TOML would, for the types that arguments have."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, float) and math.isfinite(value):
        return repr(value)
    return str(value)
