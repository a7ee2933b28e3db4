"""A plan: for each tensor of a model what it begins with, and which rule said so.

A plan is data. It holds no tensor and no module, compares by value, prints as a table, and
survives the way to JSON and back, so that it can be reviewed, kept, and carried out elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any, Literal, cast

import torch

from initpolicy import calibration
from initpolicy.field import DRAW_VERSION
from initpolicy.laws import Law, from_json
from initpolicy.laws.base import name_of
from initpolicy.laws.from_file import files_of
from initpolicy.problems import InitPolicyError, Location, Problem, listed
from initpolicy.showing import Shown

PLAN_VERSION = 1

_MOST_DIMENSIONS = 64
_MOST_ELEMENTS = 2**63 - 1
_LONGEST_SHOWN = 200

_NO_PLAN = (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError)
"""What reading something else may raise."""

Kind = Literal["parameter", "buffer"]
Plain = float | int | bool | str


@dataclass(frozen=True)
class Choice:
    """What one rule said of one tensor."""

    rule: str
    """The rule's note, or its selectors."""
    initializer: str
    """The initializer with its arguments as written, or `keep`."""
    location: Location

    def __str__(self) -> str:
        return f"{self.location} {self.rule}: {self.initializer}"


@dataclass(frozen=True)
class Decision:
    """One tensor: what it is, and what it begins with."""

    name: str
    """The canonical name, from which its draws follow."""
    kind: Kind
    shape: tuple[int, ...]
    """The global shape, whatever part of it this process holds."""
    dtype: str
    """As `float32`."""
    module_type: str
    """The class of the module that owns it."""
    law: Law | None
    """What its values follow; None if it is left as it is."""
    winner: Choice | None
    """The last rule that matched; None if no rule covers the tensor."""
    losers: tuple[Choice, ...] = ()
    """The rules that matched before it, last first."""
    aliases: tuple[str, ...] = ()
    """The other names of a tied tensor."""
    stream: str = ""
    """The name that its draws are made from, if it is not its own."""
    persistent: bool = True
    """Whether a checkpoint holds it: no if it is a buffer that is not, or computed from others."""
    recompute: str = ""
    """`constructor` if its values are what the constructor of its module makes; else empty."""

    @property
    def numel(self) -> int:
        """The number of elements."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The number of bytes of the whole tensor."""
        return self.numel * cast("torch.dtype", getattr(torch, self.dtype)).itemsize

    @property
    def gives_values(self) -> bool:
        """Whether the tensor gets values, and is not left as it is."""
        return self.law is not None or bool(self.recompute)

    @property
    def begins_as(self) -> str:
        """What it begins as, for a person to read."""
        if self.recompute:
            return f"recomputed by the constructor of {self.module_type}"
        return "left as it is" if self.law is None else str(self.law)

    @property
    def stream_name(self) -> str:
        """The name that its draws are made from."""
        return self.stream or self.name

    def __str__(self) -> str:
        return f"{self.name} {list(self.shape)} {self.dtype}: {self.begins_as}"

    def changed(self, **fields: Any) -> Decision:
        """The same decision with other values in some fields."""
        # `dataclasses.replace` would set all fields one by one, for every tensor of a large model.
        other = object.__new__(Decision)
        object.__setattr__(other, "__dict__", vars(self) | fields)
        return other

    def to_json(self) -> dict[str, Any]:
        """The decision as plain data."""
        return {
            "name": self.name,
            "kind": self.kind,
            "shape": list(self.shape),
            "dtype": self.dtype,
            "module_type": self.module_type,
            "law": None if self.law is None else self.law.to_json(),
            "winner": None if self.winner is None else _choice_to_json(self.winner),
            "losers": [_choice_to_json(choice) for choice in self.losers],
            "aliases": list(self.aliases),
            "stream": self.stream,
            "persistent": self.persistent,
            "recompute": self.recompute,
        }


@dataclass(frozen=True)
class Step:
    """A calibration: a step after the draws, which needs data."""

    fn: str
    """The name of the calibration."""
    arguments: tuple[tuple[str, Plain], ...]
    rule: str
    """The note of its table in the policy, or its selectors."""
    location: Location
    layers: tuple[str, ...]
    """The canonical names of the modules that it changes."""
    tensors: tuple[str, ...]
    """The canonical names of the tensors of theirs that it changes."""
    data: str = ""
    """The digest of the data, once they are known."""
    results: tuple[str, ...] = ()
    """What it did, a line for each layer, once it is carried out."""

    @property
    def call(self) -> str:
        """The calibration with its arguments, as in `lsuv(tolerance=0.05)`."""
        given = ", ".join(f"{name}={value}" for name, value in self.arguments)
        return f"{self.fn}({given})" if given else self.fn

    def __str__(self) -> str:
        count = len(self.layers)
        return f"{self.call} of {count} layer{'' if count == 1 else 's'}" + (
            f", data {self.data}" if self.data else ""
        )

    def to_json(self) -> dict[str, Any]:
        """The step as plain data."""
        return {
            "fn": self.fn,
            "arguments": dict(self.arguments),
            "rule": self.rule,
            "file": self.location.file,
            "line": self.location.line,
            "layers": list(self.layers),
            "tensors": list(self.tensors),
            "data": self.data,
            "results": list(self.results),
        }


@dataclass(frozen=True)
class Plan(Shown):
    """Decisions in the order of the model's `named_modules`, parameters and buffers."""

    decisions: tuple[Decision, ...]
    seed: int
    policy: str
    """What the policy was called when it was loaded."""
    title: str = ""
    source: str = ""
    variables: Mapping[str, float] = field(default_factory=dict[str, float])
    """The values of the policy's variables that were used."""
    warnings: tuple[Problem, ...] = ()
    steps: tuple[Step, ...] = ()
    """What is done with data after the draws, in order."""

    def __len__(self) -> int:
        return len(self.decisions)

    def __iter__(self) -> Iterator[Decision]:
        return iter(self.decisions)

    def __getitem__(self, name: str) -> Decision:
        """The decision on the tensor of that name, which may be an alias; or `KeyError`."""
        return self.by_name[name]

    @cached_property
    def by_name(self) -> dict[str, Decision]:
        """Every decision under each name of its tensor."""
        return {
            name: decision
            for decision in self.decisions
            for name in (decision.name, *decision.aliases)
        }

    @cached_property
    def calibrated(self) -> dict[str, tuple[str, ...]]:
        """The calibrations that change a tensor, by its canonical name."""
        found: dict[str, tuple[str, ...]] = {}
        for step in self.steps:
            for name in step.tensors:
                found[name] = (*found.get(name, ()), step.fn)
        return found

    @property
    def filled(self) -> tuple[Decision, ...]:
        """The decisions that give the values of a law."""
        return tuple(decision for decision in self.decisions if decision.law is not None)

    @property
    def given(self) -> tuple[Decision, ...]:
        """The decisions that give values, of a law or of a constructor."""
        return tuple(decision for decision in self.decisions if decision.gives_values)

    @property
    def recomputed(self) -> tuple[Decision, ...]:
        """The decisions on buffers that the constructors of their modules make."""
        return tuple(decision for decision in self.decisions if decision.recompute)

    def __str__(self) -> str:
        again = len(self.recomputed)
        kept = len(self.decisions) - len(self.given)
        head = f"{self.title or self.policy}, seed {self.seed}: {len(self.filled)} tensors filled"
        head += f", {again} recomputed" if again else ""
        lines = [head + (f", {kept} left as they are" if kept else "")]
        lines += (f"  {decision}" for decision in self.decisions)
        return "\n".join([*lines, *(f"  then {step}" for step in self.steps)])

    def to_json(self) -> dict[str, Any]:
        """The plan as plain data."""
        return {
            "plan": PLAN_VERSION,
            "draws": DRAW_VERSION,
            "policy": self.policy,
            "title": self.title,
            "source": self.source,
            "seed": self.seed,
            "variables": dict(self.variables),
            "decisions": [decision.to_json() for decision in self.decisions],
            "steps": [step.to_json() for step in self.steps],
            "warnings": [problem.to_json() for problem in self.warnings],
        }

    @classmethod
    def from_json(cls, data: object, *, file: str = "<plan>") -> Plan:
        """Read what `to_json` gave, or its text; raises `InitPolicyError` for anything else."""
        try:
            return _plan(cast("Any", json.loads(data) if isinstance(data, str | bytes) else data))
        except _NO_PLAN as error:
            told = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            raise InitPolicyError(
                Problem(
                    "IP302",
                    f"this is not a plan: {told}",
                    "write one with `initpolicy plan MODEL POLICY --output json`",
                    Location(file),
                )
            ) from error


def check_without_model(plan: Plan) -> None:
    """Raise `InitPolicyError` if a plan has steps, which run a model that is not at hand."""
    if plan.steps:
        calls = listed(dict.fromkeys(step.call for step in plan.steps))
        raise InitPolicyError(
            Problem(
                "IP315",
                f"the plan has steps that run the model on data: {calls}",
                "initialize a model with `initpolicy.apply(model, policy, data=...)`, and save it",
                plan.steps[0].location,
            )
        )


def _choice_to_json(choice: Choice) -> dict[str, Any]:
    return {
        "rule": choice.rule,
        "initializer": choice.initializer,
        "file": choice.location.file,
        "line": choice.location.line,
    }


def _plan(data: dict[str, Any]) -> Plan:
    if data["plan"] != PLAN_VERSION:
        raise ValueError(f"it has version {data['plan']!r}, and this program reads {PLAN_VERSION}")
    if data["draws"] != DRAW_VERSION:
        raise ValueError(f"it has draws {data['draws']!r}, and this program makes {DRAW_VERSION}")
    decisions = tuple(_decision(item) for item in data["decisions"])
    names = [name for decision in decisions for name in (decision.name, *decision.aliases)]
    if len(set(names)) < len(names):
        raise ValueError("two decisions are on tensors of one name")
    return Plan(
        decisions=decisions,
        seed=_seed(data["seed"]),
        policy=_text(data["policy"]),
        title=_text(data["title"]),
        source=_text(data["source"]),
        variables={_text(name): float(value) for name, value in data["variables"].items()},
        warnings=tuple(_problem(item) for item in data["warnings"]),
        steps=tuple(_step(item, set(names)) for item in data["steps"]),
    )


def _step(data: dict[str, Any], names: set[str]) -> Step:
    fn, arguments = _text(data["fn"]), dict(data["arguments"])
    if problems := calibration.get(fn).check_arguments(arguments):
        raise ValueError(problems[0].message)
    tensors = tuple(map(_text, data["tensors"]))
    if unknown := [name for name in tensors if name not in names]:
        raise ValueError(f"{fn} changes {unknown[0]}, which the plan lacks")
    return Step(
        fn=fn,
        arguments=tuple(arguments.items()),
        rule=_text(data["rule"]),
        location=Location(_text(data["file"]), _whole(data["line"])),
        layers=tuple(map(_text, data["layers"])),
        tensors=tensors,
        data=_text(data["data"]),
        results=tuple(map(_text, data["results"])),
    )


def _decision(data: dict[str, Any]) -> Decision:
    kind = data["kind"]
    if kind not in ("parameter", "buffer"):
        raise ValueError(f"a tensor is a parameter or a buffer, not {kind!r}")
    recompute = _text(data["recompute"])
    if recompute not in ("", "constructor"):
        raise ValueError(f"a constructor recomputes, not {recompute!r}")
    if recompute and (kind != "buffer" or data["law"] is not None):
        raise ValueError("what is recomputed is a buffer that follows no law")
    shape = tuple(_whole(size) for size in data["shape"])
    if len(shape) > _MOST_DIMENSIONS or prod(size or 1 for size in shape) > _MOST_ELEMENTS:
        raise ValueError(f"no tensor has the shape {data['shape']!r}"[:_LONGEST_SHOWN])
    dtype = _dtype(data["dtype"])
    law = None if data["law"] is None else from_json(data["law"])
    if law is not None and not any(True for _ in files_of(law)):  # a file is read when it is used
        law.validate(shape, dtype)
    return Decision(
        name=_text(data["name"]),
        kind=kind,
        shape=shape,
        dtype=name_of(dtype),
        module_type=_text(data["module_type"]),
        law=law,
        winner=None if data["winner"] is None else _choice(data["winner"]),
        losers=tuple(_choice(item) for item in data["losers"]),
        aliases=tuple(_text(alias) for alias in data["aliases"]),
        stream=_text(data["stream"]),
        persistent=_yes(data["persistent"]),
        recompute=recompute,
    )


def _choice(data: dict[str, Any]) -> Choice:
    location = Location(_text(data["file"]), _whole(data["line"]))
    return Choice(_text(data["rule"]), _text(data["initializer"]), location)


def _problem(data: dict[str, Any]) -> Problem:
    file, severity = data["file"], data["severity"]
    if severity not in ("error", "warning"):
        raise ValueError(f"a problem is an error or a warning, not {severity!r}")
    location = None if file is None else Location(_text(file), _whole(data["line"] or 0))
    code, message, hint = (_text(data[key]) for key in ("code", "message", "hint"))
    return Problem(code, message, hint, location, severity)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _dtype(value: object) -> torch.dtype:
    dtype = getattr(torch, _text(value), None)
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"torch has no type {value!r}")
    return dtype


def _seed(value: object) -> int:
    seed = _whole(value)
    if seed >= 2**64:
        raise ValueError("a seed is below 2**64")
    return seed


def _yes(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither true nor false")
    return value


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError(f"{value!r} is no whole number")
    return value
