"""From text to policy: built-ins and files, `extends`, and every error at once with its line."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from initpolicy import calibration, initializers
from initpolicy.expressions import Expression, ExpressionError
from initpolicy.model import LayoutError, read_layout
from initpolicy.policy import document as toml
from initpolicy.policy.files import builtin_folder as builtin_folder
from initpolicy.policy.files import builtins as builtins
from initpolicy.policy.files import find, name_of, not_found, read
from initpolicy.policy.glob import (
    GlobError,
    NameSelector,
    TypeSelector,
    WordPattern,
)
from initpolicy.policy.lines import line_numbers, nearest_line
from initpolicy.policy.model import (
    Argument,
    Calibrate,
    Call,
    Chunks,
    Entry,
    Keep,
    Policy,
    Recompute,
    Rule,
    Variable,
)
from initpolicy.policy.names import COMMON_ARGUMENTS
from initpolicy.policy.structure import check_keys, leave_out, shown, structure, syntax
from initpolicy.policy.variables import VariableError, variable
from initpolicy.problems import InitPolicyError, Location, Problem

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEEPEST_EXTENDS = 16
MOST_PASSES = 4  # in which the structure of a file is checked, less what was wrong before
MOST_BRACED = 1000  # globs
MOST_PROBLEMS = 1000  # after which nothing more is checked
MOST_KEPT = 16  # policies that are not parsed again while their files say the same

_kept: dict[tuple[str, str, Path], Policy] = {}
"""Policies that extend no other, by what their file says, their name, and their folder."""


def load(policy: str | os.PathLike[str] | Policy) -> Policy:
    """Load a policy: the path of a TOML file, or the name of a built-in one.

    A file comes before a built-in of the same name, and `.toml` may be left out of a built-in's.
    Raises `InitPolicyError` with every problem that was found in the file and in those it extends.

    >>> load("densenet").title
    'DenseNet'
    """
    if isinstance(policy, Policy):
        return policy
    given = os.fspath(policy)
    file = find(given, Path())
    if file is None:
        raise InitPolicyError(not_found(given, None))
    return _Loading().policy(file, name_of(given, file))


def parse(text: str, name: str = "<policy>") -> Policy:
    """Load a policy from TOML text; paths in `extends` start from the current folder.

    Raises `InitPolicyError` with every problem that was found.

    >>> policy = parse('''
    ... format = 1
    ... [[rule]]
    ... type = "Linear"
    ... init.weight = { fn = "normal", std = 0.02 }
    ... ''')
    >>> print(policy.rules[0], "->", policy.rules[0].entries[0].value)
    type Linear -> normal(std=0.02)
    """
    return _Loading().parsed(text, name, Path())


class _Loading:
    """One call of `load`: the problems so far, and the files on the way to the current one."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.loaded: set[Path] = set()
        self.ancestors: list[Path] = []
        self.folder = Path()
        self.braced = 0
        self.incomplete: set[tuple[str | int, ...]] = set()  # rules of which parts are left out

    def policy(self, file: Path, name: str) -> Policy:
        policy = self.file(file, name)
        if self.problems or policy is None:
            raise InitPolicyError(self.in_order())
        return policy

    def parsed(self, text: str, name: str, folder: Path) -> Policy:
        policy = self.text(text, name, folder)
        if self.problems or policy is None:
            raise InitPolicyError(self.in_order())
        return policy

    def in_order(self) -> list[Problem]:
        # Files in the order in which they were met, lines in the order of the file.
        files = list(dict.fromkeys(p.location.file for p in self.problems if p.location))
        return sorted(
            self.problems,
            key=lambda p: (
                (files.index(p.location.file), p.location.line) if p.location else (-1, 0)
            ),
        )

    def error(self, code: str, message: str, hint: str, location: Location) -> None:
        self.problems.append(Problem(code, message, hint, location))
        if len(self.problems) >= MOST_PROBLEMS:
            raise InitPolicyError(self.in_order())

    def file(self, file: Path, name: str) -> Policy | None:
        location = Location(name)
        text = read(file, location)
        if isinstance(text, Problem):
            self.error(text.code, text.message, text.hint, location)
            return None
        key = (text, name, file.parent)
        if not self.ancestors and key in _kept:
            return _kept[key]
        resolved = file.resolve()
        self.ancestors.append(resolved)
        policy = self.text(text, name, file.parent)
        self.ancestors.pop()
        self.loaded.add(resolved)
        if policy is not None and not self.problems and self.loaded == {resolved}:
            if len(_kept) >= MOST_KEPT:
                _kept.clear()
            _kept[key] = policy
        return policy

    def text(self, text: str, name: str, folder: Path) -> Policy | None:
        try:
            check_keys(text)
            data = tomllib.loads(text)
        except (ValueError, RecursionError) as error:
            self.problems.append(syntax(error, text, name))
            return None
        lines = line_numbers(text)

        def at(*path: str | int) -> Location:
            return Location(name, nearest_line(lines, path))

        if data.get("format") != 1 or isinstance(data["format"], bool):
            found = (
                "says no format" if "format" not in data else f"has format {shown(data['format'])}"
            )
            where = at("format") if "format" in data else Location(name, 1)
            self.error(
                "IP104", f"the policy {found}", "write `format = 1` in its first lines", where
            )
            return None
        document = self.document(data, at)
        if document is None:
            return None
        parents = [
            parent
            for index, given in enumerate(document.extends)
            if (parent := self.parent(given, folder, at("extends", index))) is not None
        ]
        self.folder = folder  # where the files begin that its rules name
        return self.merged(document, parents, name, at)

    def document(self, data: dict[str, Any], at: Any) -> toml.Document | None:
        """Check the structure, leaving out what is wrong so that the rest is checked as well."""
        for _ in range(MOST_PASSES):
            try:
                return toml.Document.model_validate(data)
            except ValidationError as error:
                wrong = list(islice(structure(error, data, at), MOST_PROBLEMS))
            self.problems += [problem for problem, _ in wrong]
            if len(self.problems) >= MOST_PROBLEMS:
                return None
            for problem, path in wrong:
                leave_out(data, path)
                if path[:1] in (("rule",), ("calibrate",)) and problem.location is not None:
                    self.incomplete.add((problem.location.file, *path[:2]))
        return None

    def parent(self, given: str, folder: Path, location: Location) -> Policy | None:
        file = find(given, folder)
        if file is None:
            missing = not_found(given, location)
            self.error(missing.code, missing.message, missing.hint, location)
            return None
        resolved = file.resolve()
        if resolved in self.ancestors:
            self.error(
                "IP105", f"`{given}` extends itself", "take it out of one `extends`", location
            )
            return None
        if len(self.ancestors) >= DEEPEST_EXTENDS:
            self.error(
                "IP105",
                f"`{given}` is more than {DEEPEST_EXTENDS} `extends` deep",
                "name the policies side by side in one `extends`",
                location,
            )
            return None
        if resolved in self.loaded:  # its rules stand already where they were first asked for
            return None
        return self.file(file, name_of(os.path.normpath(folder / given), file))

    def merged(self, document: toml.Document, parents: list[Policy], name: str, at: Any) -> Policy:
        rules = [replace(rule, inherited=True) for parent in parents for rule in parent.rules]
        rules += [
            rule
            for index, table in enumerate(document.rule)
            if (rule := self.rule(table, index, at)) is not None
        ]
        steps = [step for parent in parents for step in parent.calibrate]
        steps += [
            step
            for index, table in enumerate(document.calibrate)
            if (step := self.step(table, index, at)) is not None
        ]
        variables: dict[str, Variable] = {}
        places: dict[str, Location] = {}
        for parent in parents:
            variables |= parent.variables
            places |= parent.variable_locations
        for key, value in document.vars.items():
            variable = self.variable(key, value, at("vars", key))
            if variable is not None:
                variables[key] = variable
                places[key] = at("vars", key)
        seeds = [parent.seed for parent in parents if parent.seed]
        return Policy(
            rules=tuple(rules),
            title=document.title,
            source=document.source,
            seed=document.seed if document.seed is not None else seeds[-1] if seeds else 0,
            # Only the policy at hand says how complete it is: one that it extends may be part.
            uncovered=document.uncovered or "error",
            variables=variables,
            calibrate=tuple(steps),
            name=name,
            variable_locations=places,
        )

    def rule(self, table: toml.RuleTable, index: int, at: Any) -> Rule | None:
        before = len(self.problems)
        location = at("rule", index)
        selectors = self.selectors(table, partial(at, "rule", index))
        where = None
        if table.where is not None:
            where = self.expression(table.where, at("rule", index, "where"))
        entries = [
            self.entry(key, glob, value, at("rule", index, key, glob))
            for key, values in (("init", table.init), ("buffer", table.buffer))
            for glob, value in values.items()
        ]
        if not entries and (location.file, "rule", index) not in self.incomplete:
            self.error(
                "IP103",
                "the rule says nothing about any tensor",
                "give it a key such as `init.weight = 0`",
                location,
            )
        if len(self.problems) > before:
            return None
        kept = tuple(entry for entry in entries if entry is not None)
        return Rule(
            **selectors,
            where=where,
            entries=kept,
            optional=table.optional,
            note=table.note,
            allow=tuple(table.allow),
            location=location,
        )

    def step(self, table: toml.CalibrateTable, index: int, at: Any) -> Calibrate | None:
        before = len(self.problems)
        place = at("calibrate", index)
        if (place.file, "calibrate", index) in self.incomplete:
            return None
        try:
            known = calibration.get(table.fn)
        except calibration.CalibrationError as error:
            self.error("IP111", error.message, error.hint, at("calibrate", index, "fn"))
            return None
        texts = [item for item in known.parameters if item.is_number]
        texts = [item.name for item in texts if isinstance(table.arguments.get(item.name), str)]
        for name in texts:
            told = f"`{name}` is a text, where a step takes a plain number"
            self.error("IP112", told, "write the number", at("calibrate", index, name))
        for problem in known.check_arguments(table.arguments, toml.CalibrateTable.model_fields):
            where = at("calibrate", index, problem.argument)
            self.error("IP112", problem.message, problem.hint, where)
        selectors = self.selectors(table, partial(at, "calibrate", index))
        if len(self.problems) > before:
            return None
        return Calibrate(
            **selectors,
            fn=table.fn,
            arguments=tuple(table.arguments.items()),
            optional=table.optional,
            note=table.note,
            location=place,
        )

    def selectors(self, table: toml.RuleTable | toml.CalibrateTable, at: Any) -> dict[str, Any]:
        return {
            "type": self.globs(TypeSelector, table.type, at("type")),
            "name": self.globs(NameSelector, table.name, at("name")),
            "within": self.globs(TypeSelector, table.within, at("within")),
        }

    def globs(self, selector: Any, items: str | list[str] | None, location: Location) -> Any:
        if items is None:
            return None
        try:
            self.count_braces([items] if isinstance(items, str) else items)
            return selector.parse(items)
        except GlobError as error:
            self.error("IP106", str(error), "", location)
            return None

    def count_braces(self, globs: list[str]) -> None:
        """Raise `GlobError` for more globs with braces than anyone writes: each is many globs."""
        self.braced += sum("{" in glob for glob in globs)
        if self.braced > MOST_BRACED:
            told = f'a policy has more than {MOST_BRACED} globs with braces; write "*" in some'
            raise GlobError(globs[0], told)

    def expression(self, text: str, location: Location) -> Expression | None:
        try:
            return Expression.parse(text)
        except ExpressionError as error:
            self.error("IP107", str(error), "", location)
            return None

    def entry(self, key: str, glob: str, value: Any, location: Location) -> Entry | None:
        try:
            self.count_braces([glob])
            pattern = WordPattern.parse(glob)
        except GlobError as error:
            self.error("IP106", str(error), "", location)
            return None
        if isinstance(value, toml.RecomputeTable):
            parsed = self.recompute(key, glob, location)
        else:
            parsed = self.value(value, location)
        kind = "parameter" if key == "init" else "buffer"
        return None if parsed is None else Entry(kind, pattern, parsed, location)

    def recompute(self, key: str, glob: str, location: Location) -> Recompute | None:
        if key == "buffer":
            return Recompute()
        self.error(
            "IP217",
            f"`init.{glob}` names parameters, and a constructor recomputes buffers alone",
            f"write `buffer.{glob}` if it is a buffer, and an initializer for a parameter",
            location,
        )
        return None

    def value(self, value: Any, location: Location) -> Call | Keep | Chunks | None:
        if isinstance(value, toml.ChunksTable):
            parts = [self.part(part, location) for part in value.chunks]
            if any(isinstance(part, Call) and "stream" in dict(part.common) for part in parts):
                self.error(
                    "IP109",
                    "`stream` is of the whole tensor, and no part has one of its own",
                    "take it out",
                    location,
                )
            kept = tuple(part for part in parts if part is not None)
            return Chunks(kept) if len(kept) == len(parts) else None
        return self.part(value, location)

    def part(self, value: Any, location: Location) -> Call | Keep | None:
        if isinstance(value, str):
            if value == "keep":
                return Keep()
            return self.call(value, {}, location)
        if isinstance(value, toml.InitializerTable):
            if value.fn == "keep":
                self.error(
                    "IP108", "`keep` is no initializer", 'write "keep" without a table', location
                )
                return None
            return self.call(value.fn, value.arguments, location)
        return Call("constant", (("val", float(value)),))

    def call(self, fn: str, arguments: dict[str, Any], location: Location) -> Call | None:
        try:
            initializer = initializers.get(fn)
        except initializers.InitializerError as error:
            self.error("IP108", error.message, error.hint, location)
            return None
        before = len(self.problems)
        own = {item.name: item.is_number or item.is_formula for item in initializer.parameters}
        common = {key: value for key, value in arguments.items() if key in COMMON_ARGUMENTS}
        common = {key: value for key, value in common.items() if key not in own}
        rest = {key: value for key, value in arguments.items() if key not in common}
        for problem in initializer.check_arguments(rest, COMMON_ARGUMENTS):
            self.error("IP109", problem.message, problem.hint, location)
        for name, value in common.items():
            self.check_common(name, value, location)
        for parameter in initializer.parameters:
            given = rest.get(parameter.name, parameter.default)
            if parameter.type is initializers.Template and isinstance(given, str):
                rest[parameter.name] = initializers.Template(given)
            if parameter.type is initializers.FileName and isinstance(given, str):
                rest[parameter.name] = os.path.normpath(self.folder / given)
        call = Call(
            fn,
            self.arguments(rest, {name for name, parsed in own.items() if parsed}, location),
            self.arguments(
                common, {name for name in common if COMMON_ARGUMENTS[name].is_number}, location
            ),
        )
        return None if len(self.problems) > before else call

    def arguments(
        self, values: dict[str, Any], numeric: set[str], location: Location
    ) -> tuple[tuple[str, Argument], ...]:
        """Parse the arguments that are numbers or formulas and are written as expressions."""
        parsed: dict[str, Argument | None] = {
            name: self.expression(value, location)
            if name in numeric and isinstance(value, str)
            else value
            for name, value in values.items()
        }
        return tuple((name, value) for name, value in parsed.items() if value is not None)

    def check_common(self, name: str, value: object, location: Location) -> None:
        """Check the type of an argument that every initializer takes."""
        is_number = COMMON_ARGUMENTS[name].is_number
        accepted = (int, float, str) if is_number else (str,)
        if isinstance(value, bool) or not isinstance(value, accepted):
            expected = "a number or an expression" if is_number else "a text"
            self.error("IP109", f"`{name}` is {shown(value)}", f"write {expected}", location)
        elif name == "layout":
            try:
                read_layout(str(value))
            except LayoutError as error:
                self.error("IP109", str(error), "", location)

    def variable(self, name: str, value: Any, location: Location) -> Variable | None:
        try:
            return variable(name, value)
        except VariableError as error:
            self.error(error.code, str(error), error.hint, location)
            return None
