"""From text to policy: built-ins and files, `extends`, and every error at once with its line."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from initpolicy.policy import document as toml
from initpolicy.policy.files import find, name_of, not_found, read
from initpolicy.policy.lines import Path as KeyPath
from initpolicy.policy.lines import line_numbers, nearest_line
from initpolicy.policy.mistakes import MOST_PROBLEMS, Mistakes
from initpolicy.policy.model import Policy, Variable
from initpolicy.policy.structure import At, check_keys, leave_out, shown, structure, syntax
from initpolicy.policy.tables import Tables
from initpolicy.policy.values import Values
from initpolicy.problems import InitPolicyError, Location, Problem

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEEPEST_EXTENDS = 16
MOST_PASSES = 4  # in which the structure of a file is checked, less what was wrong before
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
    loading = _Loading()
    return loading.complete(loading.file(file, name_of(given, file)))


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
    loading = _Loading()
    return loading.complete(loading.text(text, name, Path()))


class _Loading:
    """One call of `load`: the problems so far, and the files on the way to the current one."""

    def __init__(self) -> None:
        self.mistakes = Mistakes()
        self.loaded: set[Path] = set()
        self.ancestors: list[Path] = []

    def complete(self, policy: Policy | None) -> Policy:
        if self.mistakes.problems or policy is None:
            raise InitPolicyError(self.mistakes.in_order())
        return policy

    def file(self, file: Path, name: str) -> Policy | None:
        location = Location(name)
        text = read(file, location)
        if isinstance(text, Problem):
            self.mistakes.error(text.code, text.message, text.hint, location)
            return None
        key = (text, name, file.parent)
        kept = None if self.ancestors else _kept.get(key)
        if kept is not None:
            return _own(kept)
        resolved = file.resolve()
        self.ancestors.append(resolved)
        policy = self.text(text, name, file.parent)
        self.ancestors.pop()
        self.loaded.add(resolved)
        if policy is not None and not self.mistakes.problems and self.loaded == {resolved}:
            if len(_kept) >= MOST_KEPT:
                _kept.clear()
            _kept[key] = policy
            return _own(policy)
        return policy

    def text(self, text: str, name: str, folder: Path) -> Policy | None:
        try:
            check_keys(text)
            data = tomllib.loads(text)
        except (ValueError, RecursionError) as error:
            self.mistakes.problems.append(syntax(error, text, name))
            return None
        lines = line_numbers(text)

        def at(*path: str | int) -> Location:
            return Location(name, nearest_line(lines, path))

        if data.get("format") != 1 or isinstance(data["format"], bool):
            found = (
                "says no format" if "format" not in data else f"has format {shown(data['format'])}"
            )
            where = at("format") if "format" in data else Location(name, 1)
            self.mistakes.error(
                "IP104", f"the policy {found}", "write `format = 1` in its first lines", where
            )
            return None
        checked = self.document(data, at)
        if checked is None:
            return None
        document, incomplete = checked
        parents = [
            parent
            for index, given in enumerate(document.extends)
            if (parent := self.parent(given, folder, at("extends", index))) is not None
        ]
        tables = Tables(self.mistakes, Values(self.mistakes, folder), at, incomplete)
        return _merged(document, parents, name, tables)

    def document(
        self, data: dict[str, Any], at: At
    ) -> tuple[toml.Document, frozenset[KeyPath]] | None:
        """Check the structure, leaving out what is wrong so that the rest is checked as well.

        Gives also which rules and steps are incomplete, by their paths.
        """
        incomplete: set[KeyPath] = set()
        for _ in range(MOST_PASSES):
            try:
                return toml.Document.model_validate(data), frozenset(incomplete)
            except ValidationError as error:
                wrong = list(islice(structure(error, data, at), MOST_PROBLEMS))
            self.mistakes.problems += [problem for problem, _ in wrong]
            if len(self.mistakes.problems) >= MOST_PROBLEMS:
                return None
            for _, path in wrong:
                leave_out(data, path)
                if path[:1] in (("rule",), ("calibrate",)):
                    incomplete.add(path[:2])
        return None

    def parent(self, given: str, folder: Path, location: Location) -> Policy | None:
        file = find(given, folder)
        if file is None:
            missing = not_found(given, location)
            self.mistakes.error(missing.code, missing.message, missing.hint, location)
            return None
        resolved = file.resolve()
        if resolved in self.ancestors:
            self.mistakes.error(
                "IP105", f"`{given}` extends itself", "take it out of one `extends`", location
            )
            return None
        if len(self.ancestors) >= DEEPEST_EXTENDS:
            self.mistakes.error(
                "IP105",
                f"`{given}` is more than {DEEPEST_EXTENDS} `extends` deep",
                "name the policies side by side in one `extends`",
                location,
            )
            return None
        if resolved in self.loaded:  # its rules stand already where they were first asked for
            return None
        return self.file(file, name_of(os.path.normpath(folder / given), file))


def _own(kept: Policy) -> Policy:
    """Give a policy that shares nothing with the kept one that its user could change."""
    variables, places = dict(kept.variables), dict(kept.variable_locations)
    return replace(kept, variables=variables, variable_locations=places)


def _merged(document: toml.Document, parents: list[Policy], name: str, tables: Tables) -> Policy:
    """Put what a policy says after what those say that it extends."""
    rules = [replace(rule, inherited=True) for parent in parents for rule in parent.rules]
    rules += [
        rule
        for index, table in enumerate(document.rule)
        if (rule := tables.rule(table, index)) is not None
    ]
    steps = [step for parent in parents for step in parent.calibrate]
    steps += [
        step
        for index, table in enumerate(document.calibrate)
        if (step := tables.step(table, index)) is not None
    ]
    variables: dict[str, Variable] = {}
    places: dict[str, Location] = {}
    for parent in parents:
        variables |= parent.variables
        places |= parent.variable_locations
    for key, value in document.vars.items():
        variable = tables.variable(key, value)
        if variable is not None:
            variables[key] = variable
            places[key] = tables.at("vars", key)
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
