"""What a policy file may say, key by key: the one place from which parser and schema are made."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, FiniteFloat, Tag

MAX_SEED = 2**64 - 1

Number = FiniteFloat
Text = Annotated[str, Field(max_length=10_000)]
Globs = Annotated[
    Annotated[str, Tag("one")] | Annotated[list[str], Field(min_length=1), Tag("several")],
    Discriminator(lambda value: "several" if isinstance(value, list) else "one"),
]
Name = Annotated[str, Field(pattern="^[A-Za-z][A-Za-z0-9_]*$")]
Code = Annotated[str, Field(pattern="^IP7[012][0-9]$")]


class Strict(BaseModel):
    """A table in which every key is known and every value has the type it is written with."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Count(Strict):
    """How many modules have a name that the glob matches."""

    count: str
    default: Number | None = None


class Attribute(Strict):
    """A number that hangs off the model, such as `config.n_embd`."""

    attr: str
    default: Number | None = None


class InitializerTable(BaseModel):
    """An initializer with arguments; which arguments it takes is the initializers' own affair."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)
    fn: str

    @property
    def arguments(self) -> dict[str, Any]:
        """Every key but `fn`, in the order of the file."""
        return dict(self.__pydantic_extra__ or {})


class ChunksTable(Strict):
    """An initializer for each equal part along dimension 0, such as the gates of an LSTM."""

    chunks: list[Part] = Field(min_length=1)


class RecomputeTable(Strict):
    """A buffer whose values the constructor of its module makes."""

    recompute: Literal["constructor"]


def _kind(value: object) -> str | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "text"
    return "initializer" if isinstance(value, dict) else None


def _part_kind(value: object) -> str | None:
    return _kind(value) if _value_kind(value) == "part" else None


def _value_kind(value: object) -> str:
    if isinstance(value, dict) and "fn" not in value:
        if "chunks" in value:
            return "chunks"
        if "recompute" in value:
            return "recompute"
    return "part"


def _variable_kind(value: object) -> str | None:
    if isinstance(value, dict):
        return "count" if "count" in value else "attribute" if "attr" in value else None
    return _kind(value)


_BEGINNINGS = 'write a number, the name of an initializer, "keep", or { fn = "...", ... }'

Part = Annotated[
    Annotated[Number, Tag("number")]
    | Annotated[str, Tag("text")]
    | Annotated[InitializerTable, Tag("initializer")],
    Discriminator(
        _part_kind,
        custom_error_type="part",
        custom_error_message=_BEGINNINGS,
    ),
]
Value = Annotated[
    Annotated[Part, Tag("part")]
    | Annotated[ChunksTable, Tag("chunks")]
    | Annotated[RecomputeTable, Tag("recompute")],
    Discriminator(_value_kind),
]
Variable = Annotated[
    Annotated[Number, Tag("number")]
    | Annotated[str, Tag("text")]
    | Annotated[Count, Tag("count")]
    | Annotated[Attribute, Tag("attribute")],
    Discriminator(
        _variable_kind,
        custom_error_type="variable",
        custom_error_message=(
            'write a number, an expression, { count = "..." } or { attr = "...", default = ... }'
        ),
    ),
]


class RuleTable(Strict):
    """One `[[rule]]`: which modules, and what their tensors begin with."""

    type: Globs | None = Field(None, description="globs over the class names of a module's MRO")
    name: Globs | None = Field(None, description="globs over the dotted names of modules")
    within: Globs | None = Field(None, description="like type, of any module around the module")
    where: str | None = Field(None, description="a condition, evaluated for each tensor")
    init: dict[str, Value] = Field({}, description="initializers, by glob of parameter name")
    buffer: dict[str, Value] = Field({}, description="initializers, by glob of buffer name")
    optional: bool = Field(False, description="whether the rule may match nothing")
    allow: list[Code] = Field([], description="findings of lint that the rule does not mind")
    note: Text | None = Field(None, description="why the rule is there; it names it in messages")


class CalibrateTable(BaseModel):
    """One `[[calibrate]]`: which modules, and what changes them after the draws."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)
    fn: str
    type: Globs | None = Field(None, description="globs over the class names of a module's MRO")
    name: Globs | None = Field(None, description="globs over the dotted names of modules")
    within: Globs | None = Field(None, description="like type, of any module around the module")
    optional: bool = Field(False, description="whether the step may find no layer")
    note: Text | None = Field(None, description="why the step is there; it names it in messages")

    @property
    def arguments(self) -> dict[str, Any]:
        """The keys that are the step's own, in the order of the file."""
        return dict(self.__pydantic_extra__ or {})


class Document(Strict):
    """A policy file."""

    format: Literal[1] = Field(description="the version of the language")
    title: Text = ""
    source: Text = Field("", description="the paper, page or code that the policy follows")
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] | None = None
    extends: list[str] = Field([], description="policies that come before: names or paths")
    uncovered: Literal["error", "warn", "keep"] | None = Field(
        None, description="parameters that no rule covers"
    )
    vars: dict[Name, Variable] = Field({}, description="numbers for expressions")
    rule: list[RuleTable] = []
    calibrate: list[CalibrateTable] = Field([], description="steps that need data, in order")
