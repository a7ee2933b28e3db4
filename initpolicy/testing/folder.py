"""Check every policy of a folder against the models that it names as its examples.

A policy names them in comments, one a line, from the folder of its file:

    #:model densenet.py:densenet121
    #:model densenet.py:densenet { depths = [2, 2], growth_rate = 4 }

After the model stand the arguments that it is built with, as a TOML table. `#:model none` says that
there is none, for a policy that others extend. `#:data 64,784` gives the batch for the policy's
`[[calibrate]]` steps, as `--data` does: a shape, or `file.py:function`. `#:needs timm` names
libraries by which models are built: where one is not installed, the policy is left out, with a
warning.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from torch import nn

import initpolicy
from initpolicy.model import ModelError, load_model
from initpolicy.plans import Plan
from initpolicy.policy import Policy
from initpolicy.policy.files import find
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
    def left_out(self) -> bool:
        """Whether it was not checked, for want of a library that its models need."""
        return any(problem.code == "IP569" for problem in self.problems)

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


@dataclass
class _Said:
    """What the directives of a policy say."""

    named: list[_Named] = field(default_factory=list[_Named])
    none: bool = False
    """Whether it says that there is no model."""
    needs: dict[str, Location] = field(default_factory=dict[str, Location])
    data: list[str] = field(default_factory=list[str])
    """What the models are called with by the steps of the policy."""


def check(place: str) -> Iterator[Tested]:
    """Check every policy of a folder, in the order of their names, or one: a file or a built-in.

    Raises `InitPolicyError` if there is no policy.
    """
    path = Path(place)
    files = [path] if path.is_file() else sorted(path.glob("**/*.toml"))
    if not files and (builtin := find(place, Path())):
        files = [builtin]
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
        said = _read(file)
    except InitPolicyError as error:
        return Tested(name, problems=error.problems)
    if said.none:
        return Tested(name)
    if not said.named:
        message = "the policy names no model that it is checked against"
        hint = "write `#:model file.py:callable` in a line, or `#:model none`"
        return Tested(name, problems=(Problem("IP566", message, hint, Location(name, 1)),))
    if missing := tuple(_missing(said)):
        return Tested(name, problems=missing)
    examples: list[Example] = []
    used: set[Location] = set()
    for one in said.named:
        example, plan = _check(policy, one, file.parent, said.data)
        examples.append(example)
        if plan is not None:
            used |= {choice.location for decision in plan for choice in _choices(decision)}
    complete = all(example.ok for example in examples)
    return Tested(name, tuple(examples), tuple(_unused(policy, used)) if complete else ())


def _missing(said: _Said) -> Iterator[Problem]:
    for library, location in said.needs.items():
        if find_spec(library) is None:
            message = f"`{library}` is not installed: the policy was not checked"
            yield Problem("IP569", message, "install it to check the policy", location, "warning")


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


def _check(
    policy: Policy, named: _Named, folder: Path, data: list[str]
) -> tuple[Example, Plan | None]:
    plan = None
    try:
        model = _build(named, folder)
        batch = [_placed(one, folder) for one in data]
        plan = initpolicy.apply(model, policy, data=batch[0] if len(batch) == 1 else batch or None)
        problems = [*plan.warnings, *_differences(model, plan, named.location)]
    except InitPolicyError as error:
        problems = list(error.problems)
    tensors = len(plan.filled) if plan else 0
    values = sum(decision.numel for decision in plan.filled) if plan else 0
    return Example(named.text, tensors, values, tuple(problems)), plan


def _build(named: _Named, folder: Path) -> nn.Module:
    try:
        return load_model(_placed(named.spec, folder), named.kwargs)
    except ModelError as error:
        problem = Problem("IP401", error.message, error.hint, named.location)
        raise InitPolicyError(problem) from error


def _placed(spec: str, folder: Path) -> str:
    """What is in a file, with the folder in which the file is."""
    source, _, name = spec.rpartition(":")
    return f"{folder / source}:{name}" if source.endswith(".py") else spec


def _differences(model: nn.Module, plan: Plan, location: Location) -> Iterator[Problem]:
    for exact in (True, False):
        verdict = initpolicy.verify(model, plan, exact=exact)
        for finding in verdict.findings:
            place = finding.rule.location if finding.rule else location
            hint = f"looks like {finding.looks_like}" if finding.looks_like else ""
            yield Problem(finding.code, f"{finding.name}: {finding.message}", hint, place)


def _read(file: Path) -> _Said:
    """Read the lines of a policy that begin with `#:`."""
    problems: list[Problem] = []
    read = _Said()
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        found = _DIRECTIVE.match(line)
        if found is None:
            continue
        location = Location(str(file), number)
        word, said = found["word"], found["said"] or ""
        if word == "needs" and re.fullmatch(r"[A-Za-z_]\w*", said):
            read.needs[said] = location
        elif word == "needs":
            message = f"`{line.strip()}` names no library"
            problems.append(Problem("IP567", message, "write `#:needs timm`, one a line", location))
        elif word == "data" and said:
            read.data.append(said)
        elif word == "data":
            message, hint = "`#:data` names no batch", "write `#:data 64,784`, or a function"
            problems.append(Problem("IP567", message, hint, location))
        elif word != "model":
            # Editors have directives of their own, `#:schema` among them.
            meant = suggest(word, ["model", "data", "needs", "schema"], n=1)
            if meant and meant != ["schema"]:
                message, hint = f"`#:{word}` means nothing here", f"did you mean `#:{meant[0]}`?"
                problems.append(Problem("IP567", message, hint, location))
        elif said == "none":
            read.none = True
        else:
            try:
                read.named.append(_example(said, location))
            except (ValueError, RecursionError) as error:
                message = f"`{line.strip()}` names no model with its arguments: {error}"
                hint = "write `#:model file.py:callable { name = value }`"
                problems.append(Problem("IP567", message, hint, location))
    if read.none and read.named:
        message = "the policy names models, and says that it names none"
        problems.append(
            Problem("IP567", message, "take out `#:model none`", Location(str(file), 1))
        )
    if problems:
        raise InitPolicyError(problems)
    return read


def _example(said: str, location: Location) -> _Named:
    spec, _, table = said.partition(" ")
    written: dict[str, Any] = tomllib.loads(f"kwargs = {table.strip() or '{}'}")
    if set(written) != {"kwargs"} or not isinstance(written["kwargs"], dict):
        raise ValueError("it is no table")
    if ":" not in spec:
        raise ValueError(f"{spec or 'nothing'} names no callable")
    return _Named(spec, cast("dict[str, Any]", written["kwargs"]), said, location)
