"""A policy as frozen data: what was read from its files, parsed and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from initpolicy.expressions import Expression
from initpolicy.initializers import Template
from initpolicy.policy.glob import NamePattern, NameSelector, TypeSelector, WordPattern
from initpolicy.policy.names import AUTO
from initpolicy.problems import Location

Plain = float | int | bool | str
Argument = Plain | Expression
Uncovered = Literal["error", "warn", "keep"]


@dataclass(frozen=True)
class Keep:
    """The tensor stays as it is."""

    def __str__(self) -> str:
        return "keep"

    def to_value(self) -> Any:
        """As it is written in TOML."""
        return "keep"


@dataclass(frozen=True)
class Recompute:
    """The buffer has the values that the constructor of its module makes."""

    by: Literal["constructor"] = "constructor"

    def __str__(self) -> str:
        return f'recompute = "{self.by}"'

    def to_value(self) -> Any:
        """As it is written in TOML."""
        return {"recompute": self.by}


@dataclass(frozen=True)
class Call:
    """An initializer, its own arguments, and the common ones (`scale`, `layout`, ...).

    >>> str(Call("kaiming_normal", (("mode", "fan_out"), ("nonlinearity", "relu"))))
    'kaiming_normal(mode=fan_out, nonlinearity=relu)'
    """

    fn: str
    arguments: tuple[tuple[str, Argument], ...] = ()
    common: tuple[tuple[str, Argument], ...] = ()

    @cached_property
    def is_closed(self) -> bool:
        """Whether no argument depends on the tensor, so that tensors of one shape have one law."""
        given = (*self.arguments, *self.common)
        return not any(
            isinstance(value, Expression | Template) or value == AUTO for _, value in given
        )

    def __str__(self) -> str:
        given = (*self.arguments, *self.common)
        shown = ", ".join(f"{name}={_show(value)}" for name, value in given)
        return f"{self.fn}({shown})" if shown else self.fn

    def to_value(self) -> Any:
        """As it is written in TOML, in full."""
        return {"fn": self.fn} | {
            name: value.text if isinstance(value, Expression) else value
            for name, value in (*self.arguments, *self.common)
        }


@dataclass(frozen=True)
class Chunks:
    """An initializer for each equal part along dimension 0."""

    parts: tuple[Call | Keep, ...]

    def __str__(self) -> str:
        return " | ".join(map(str, self.parts))

    def to_value(self) -> Any:
        """As it is written in TOML."""
        return {"chunks": [part.to_value() for part in self.parts]}


def _show(value: Argument) -> str:
    if isinstance(value, Expression):
        return value.text
    return f"{value:g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class Entry:
    """One key of a rule: which tensors of the selected modules, and what they begin with."""

    kind: Literal["parameter", "buffer"]
    glob: WordPattern
    value: Call | Keep | Chunks | Recompute
    location: Location = field(compare=False)

    @property
    def key(self) -> str:
        """As it is written in TOML, such as `init.weight`."""
        return f"{'init' if self.kind == 'parameter' else 'buffer'}.{self.glob.text}"


@dataclass(frozen=True)
class Selectors:
    """Which modules are meant; a selector that is None matches everything."""

    type: TypeSelector | None
    name: NameSelector | None
    within: TypeSelector | None

    @property
    def texts(self) -> dict[str, tuple[str, ...]]:
        """The globs of each selector that is there, by its key."""
        given = {"type": self.type, "name": self.name, "within": self.within}
        return {key: selector.texts for key, selector in given.items() if selector is not None}

    def shown(self) -> list[str]:
        """Each selector as a message names it."""
        return [f"{key} {' or '.join(globs)}" for key, globs in self.texts.items()]


@dataclass(frozen=True)
class Rule(Selectors):
    """Selectors, and an entry for each key."""

    where: Expression | None
    entries: tuple[Entry, ...]
    optional: bool = False
    note: str | None = None
    allow: tuple[str, ...] = ()
    """Codes of `lint` that are not told of the tensors that the rule decides on."""
    location: Location = field(default=Location("<policy>"), compare=False)
    inherited: bool = field(default=False, compare=False)
    """Whether the rule comes from a policy that the policy at hand extends."""

    def __str__(self) -> str:
        if self.note is not None:
            return f'"{self.note}"'
        shown = self.shown()
        if self.where is not None:
            shown.append(f"where {self.where.text}")
        return ", ".join(shown) or "for every module"

    def to_dict(self) -> dict[str, Any]:
        """The rule as a TOML table."""
        table: dict[str, Any] = {key: list(globs) for key, globs in self.texts.items()}
        if self.where is not None:
            table["where"] = self.where.text
        for key, kind in (("init", "parameter"), ("buffer", "buffer")):
            values = {e.glob.text: e.value.to_value() for e in self.entries if e.kind == kind}
            if values:
                table[key] = values
        if self.optional:
            table["optional"] = True
        if self.allow:
            table["allow"] = list(self.allow)
        if self.note is not None:
            table["note"] = self.note
        return table


@dataclass(frozen=True)
class Calibrate(Selectors):
    """Selectors, and a step that changes the modules by what data does to them."""

    fn: str
    arguments: tuple[tuple[str, Plain], ...] = ()
    optional: bool = False
    note: str | None = None
    location: Location = field(default=Location("<policy>"), compare=False)

    def __str__(self) -> str:
        if self.note is not None:
            return f'"{self.note}"'
        return ", ".join(self.shown()) or "for every layer"

    @property
    def call(self) -> str:
        """The step with its arguments, as in `lsuv(tolerance=0.05)`."""
        return str(Call(self.fn, self.arguments))

    def to_dict(self) -> dict[str, Any]:
        """The step as a TOML table."""
        table: dict[str, Any] = {"fn": self.fn, **dict(self.arguments)}
        table |= {key: list(globs) for key, globs in self.texts.items()}
        if self.optional:
            table["optional"] = True
        if self.note is not None:
            table["note"] = self.note
        return table


@dataclass(frozen=True)
class CountVariable:
    """The number of modules whose names match."""

    pattern: NamePattern
    default: float | None = None


@dataclass(frozen=True)
class AttributeVariable:
    """A number found by following attributes from the model."""

    path: str
    default: float | None = None


Variable = float | Expression | CountVariable | AttributeVariable


@dataclass(frozen=True)
class Policy:
    """Rules in order of increasing precedence, those of extended policies first."""

    rules: tuple[Rule, ...]
    title: str = ""
    source: str = ""
    seed: int = 0
    uncovered: Uncovered = "error"
    variables: Mapping[str, Variable] = field(default_factory=dict[str, Variable])
    calibrate: tuple[Calibrate, ...] = ()
    """Steps that need data, after the draws, those of extended policies first."""
    name: str = field(default="<policy>", compare=False)
    """What messages call the policy: the path of its file as it was given, or a built-in's name."""
    variable_locations: Mapping[str, Location] = field(
        default_factory=dict[str, Location], compare=False, repr=False
    )

    def to_dict(self) -> dict[str, Any]:
        """The policy as one TOML document that extends nothing; loading it gives an equal one."""
        document: dict[str, Any] = {"format": 1, "title": self.title, "source": self.source}
        document |= {"seed": self.seed, "uncovered": self.uncovered}
        document["vars"] = {name: _variable(value) for name, value in self.variables.items()}
        document["rule"] = [rule.to_dict() for rule in self.rules]
        if self.calibrate:
            document["calibrate"] = [step.to_dict() for step in self.calibrate]
        return document


def _variable(value: Variable) -> Any:
    if isinstance(value, Expression):
        return value.text
    if isinstance(value, int | float):
        return value
    if isinstance(value, CountVariable):
        table: dict[str, Any] = {"count": value.pattern.text}
    else:
        table = {"attr": value.path}
    return table if value.default is None else table | {"default": value.default}
