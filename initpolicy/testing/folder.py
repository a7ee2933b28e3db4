"""Check every policy of a folder against the models that it names as its examples.

A policy names them in comments, one a line, from the folder of its file:

    #:model densenet.py:densenet121
    #:model densenet.py:densenet { depths = [2, 2], growth_rate = 4 }

After the model stand the arguments that it is built with, as a TOML table. `#:model none` says that
there is none, for a policy that others extend.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from torch import nn

import initpolicy
from initpolicy.model import ModelError, load_model
from initpolicy.plans import Plan
from initpolicy.policy import Policy
from initpolicy.problems import InitPolicyError, Location, Problem, suggest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_DIRECTIVE = re.compile(r"^#:(?P<word>[A-Za-z]+)(?:\s+(?P<said>.*?))?\s*$")


@dataclass(frozen=True)
class Example:
    """A model that a policy names, and what came of it."""

    model: str
    """As it is written, with its arguments."""
    tensors: int = 0
    """How many tensors the policy fills."""
    values: int = 0
    problems: tuple[Problem, ...] = ()
    """Errors and warnings."""

    @property
    def ok(self) -> bool:
        """Whether there are no errors."""
        return not any(problem.severity == "error" for problem in self.problems)

    def to_json(self) -> dict[str, object]:
        """The example as plain data."""
        return {
            "model": self.model,
            "ok": self.ok,
            "tensors": self.tensors,
            "values": self.values,
            "problems": [problem.to_json() for problem in self.problems],
        }


@dataclass(frozen=True)
class Tested:
    """A policy, and what came of it."""

    policy: str
    examples: tuple[Example, ...] = ()
    problems: tuple[Problem, ...] = ()
    """What is about no one example."""

    @property
    def ok(self) -> bool:
        """Whether there are no errors, in no example either."""
        errors = any(problem.severity == "error" for problem in self.problems)
        return not errors and all(example.ok for example in self.examples)

    @property
    def all_problems(self) -> tuple[Problem, ...]:
        """Errors and warnings, those of the examples first."""
        of_examples = [problem for one in self.examples for problem in one.problems]
        return (*of_examples, *self.problems)

    def to_json(self) -> dict[str, object]:
        """The outcome as plain data."""
        return {
            "policy": self.policy,
            "ok": self.ok,
            "examples": [example.to_json() for example in self.examples],
            "problems": [problem.to_json() for problem in self.problems],
        }


@dataclass(frozen=True)
class _Named:
    """A line that names a model."""

    spec: str
    kwargs: dict[str, Any]
    text: str
    location: Location


def check(place: str) -> Iterator[Tested]:
    """Check every policy of a folder, or the one of a file, in the order of their names.

    Raises `InitPolicyError` if there is no policy.
    """
    path = Path(place)
    files = [path] if path.is_file() else sorted(path.glob("**/*.toml"))
    if not files:
        what = "has no policies" if path.is_dir() else "is no folder"
        raise InitPolicyError(
            Problem("IP565", f"{place} {what}", "name a folder of TOML files, or one of them")
        )
    return (check_policy(file) for file in files)


def check_policy(file: Path) -> Tested:
    """Check one policy: it must load, and hold for each model that it names.

    For a model it must resolve without an error, and be carried out; then the values are verified,
    bit for bit and by their laws.
    """
    name = str(file)
    try:
        policy = initpolicy.load(file)
        named = _read(file)
    except InitPolicyError as error:
        return Tested(name, problems=error.problems)
    if named is None:
        return Tested(name)
    if not named:
        message = "the policy names no model that it is checked against"
        hint = "write `#:model file.py:callable` in a line, or `#:model none`"
        return Tested(name, problems=(Problem("IP566", message, hint, Location(name, 1)),))
    examples: list[Example] = []
    used: set[Location] = set()
    for one in named:
        example, plan = _check(policy, one, file.parent)
        examples.append(example)
        if plan is not None:
            used |= {choice.location for decision in plan for choice in _choices(decision)}
    complete = all(example.ok for example in examples)
    return Tested(name, tuple(examples), tuple(_unused(policy, used)) if complete else ())


def _choices(decision: Any) -> tuple[Any, ...]:
    return (*([decision.winner] if decision.winner else []), *decision.losers)


def _unused(policy: Policy, used: set[Location]) -> Iterator[Problem]:
    for rule in policy.rules:
        for entry in rule.entries:
            if not rule.inherited and entry.location not in used:
                yield Problem(
                    "IP568",
                    f"rule {rule}: `{entry.key}` is not needed by any of the models named",
                    "name a model that has such a tensor, or take it out",
                    entry.location,
                    "warning",
                )


def _check(policy: Policy, named: _Named, folder: Path) -> tuple[Example, Plan | None]:
    plan = None
    try:
        model = _build(named, folder)
        plan = initpolicy.apply(model, policy)
        problems = [*plan.warnings, *_differences(model, plan, named.location)]
    except InitPolicyError as error:
        problems = list(error.problems)
    tensors = len(plan.filled) if plan else 0
    values = sum(decision.numel for decision in plan.filled) if plan else 0
    return Example(named.text, tensors, values, tuple(problems)), plan


def _build(named: _Named, folder: Path) -> nn.Module:
    source, _, name = named.spec.rpartition(":")
    spec = f"{folder / source}:{name}" if source.endswith(".py") else named.spec
    try:
        return load_model(spec, named.kwargs)
    except ModelError as error:
        problem = Problem("IP401", error.message, error.hint, named.location)
        raise InitPolicyError(problem) from error


def _differences(model: nn.Module, plan: Plan, location: Location) -> Iterator[Problem]:
    for exact in (True, False):
        verdict = initpolicy.verify(model, plan, exact=exact)
        for finding in verdict.findings:
            place = finding.rule.location if finding.rule else location
            hint = f"looks like {finding.looks_like}" if finding.looks_like else ""
            yield Problem(finding.code, f"{finding.name}: {finding.message}", hint, place)


def _read(file: Path) -> list[_Named] | None:
    """The models that a policy names; None if it says that there is none."""
    problems: list[Problem] = []
    named: list[_Named] = []
    none = False
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        found = _DIRECTIVE.match(line)
        if found is None:
            continue
        location = Location(str(file), number)
        word, said = found["word"], found["said"] or ""
        if word != "model":
            # Editors have directives of their own, `#:schema` among them.
            if suggest(word, ["model", "schema"], n=1) == ["model"]:
                message = f"`#:{word}` means nothing here"
                problems.append(Problem("IP567", message, "did you mean `#:model`?", location))
        elif said == "none":
            none = True
        else:
            spec, _, table = said.partition(" ")
            try:
                written: dict[str, Any] = tomllib.loads(f"kwargs = {table.strip() or '{}'}")
                if set(written) != {"kwargs"} or not isinstance(written["kwargs"], dict):
                    raise ValueError("it is no table")
                if ":" not in spec:
                    raise ValueError(f"{spec or 'nothing'} names no callable")
            except (ValueError, RecursionError) as error:
                message = f"`{line.strip()}` names no model with its arguments: {error}"
                hint = "write `#:model file.py:callable { name = value }`"
                problems.append(Problem("IP567", message, hint, location))
                continue
            kwargs = cast("dict[str, Any]", written["kwargs"])
            named.append(_Named(spec, kwargs, said, location))
    if none and named:
        message = "the policy names models, and says that it names none"
        problems.append(
            Problem("IP567", message, "take out `#:model none`", Location(str(file), 1))
        )
    if problems:
        raise InitPolicyError(problems)
    return None if none else named
