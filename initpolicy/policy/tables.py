"""From the tables of a policy to its rules, its steps and its variables."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from functools import partial
from typing import Any

from initpolicy import calibration
from initpolicy.policy import document as toml
from initpolicy.policy.glob import GlobError, NameSelector, TypeSelector, WordPattern
from initpolicy.policy.lines import Path as KeyPath
from initpolicy.policy.mistakes import Mistakes
from initpolicy.policy.model import Calibrate, Entry, Recompute, Rule, Variable
from initpolicy.policy.structure import At
from initpolicy.policy.values import Values
from initpolicy.policy.variables import VariableError, variable
from initpolicy.problems import Location


@dataclass(frozen=True)
class Tables:
    """How the tables of one file are read: what they say, or else one more mistake."""

    mistakes: Mistakes
    values: Values
    at: At
    incomplete: Set[KeyPath]
    """The tables of which parts are left out, since their structure is wrong."""

    def rule(self, table: toml.RuleTable, index: int) -> Rule | None:
        """Read a `[[rule]]`; what is wrong with it is added to the mistakes."""
        before = len(self.mistakes.problems)
        location = self.at("rule", index)
        selectors = self._selectors(table, partial(self.at, "rule", index))
        where = None
        if table.where is not None:
            where = self.values.expression(table.where, self.at("rule", index, "where"))
        entries = [
            self._entry(key, glob, value, self.at("rule", index, key, glob))
            for key, values in (("init", table.init), ("buffer", table.buffer))
            for glob, value in values.items()
        ]
        if not entries and ("rule", index) not in self.incomplete:
            self.mistakes.error(
                "IP103",
                "the rule says nothing about any tensor",
                "give it a key such as `init.weight = 0`",
                location,
            )
        if len(self.mistakes.problems) > before:
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

    def step(self, table: toml.CalibrateTable, index: int) -> Calibrate | None:
        """Read a `[[calibrate]]`; what is wrong with it is added to the mistakes."""
        before = len(self.mistakes.problems)
        place = self.at("calibrate", index)
        if ("calibrate", index) in self.incomplete:
            return None
        try:
            known = calibration.get(table.fn)
        except calibration.CalibrationError as error:
            self.mistakes.error(
                "IP111", error.message, error.hint, self.at("calibrate", index, "fn")
            )
            return None
        texts = [item for item in known.parameters if item.is_number]
        texts = [item.name for item in texts if isinstance(table.arguments.get(item.name), str)]
        for name in texts:
            told = f"`{name}` is a text, where a step takes a plain number"
            self.mistakes.error(
                "IP112", told, "write the number", self.at("calibrate", index, name)
            )
        for problem in known.check_arguments(table.arguments, toml.CalibrateTable.model_fields):
            where = self.at("calibrate", index, problem.argument)
            self.mistakes.error("IP112", problem.message, problem.hint, where)
        selectors = self._selectors(table, partial(self.at, "calibrate", index))
        if len(self.mistakes.problems) > before:
            return None
        return Calibrate(
            **selectors,
            fn=table.fn,
            arguments=tuple(table.arguments.items()),
            optional=table.optional,
            note=table.note,
            location=place,
        )

    def variable(self, name: str, value: Any) -> Variable | None:
        """Read a variable of `[vars]`; what is wrong with it is added to the mistakes."""
        try:
            return variable(name, value)
        except VariableError as error:
            self.mistakes.error(error.code, str(error), error.hint, self.at("vars", name))
            return None

    def _selectors(self, table: toml.RuleTable | toml.CalibrateTable, at: At) -> dict[str, Any]:
        return {
            "type": self._globs(TypeSelector, table.type, at("type")),
            "name": self._globs(NameSelector, table.name, at("name")),
            "within": self._globs(TypeSelector, table.within, at("within")),
        }

    def _globs(self, selector: Any, items: str | list[str] | None, location: Location) -> Any:
        if items is None:
            return None
        try:
            self.mistakes.count_braces([items] if isinstance(items, str) else items)
            return selector.parse(items)
        except GlobError as error:
            self.mistakes.error("IP106", str(error), "", location)
            return None

    def _entry(self, key: str, glob: str, value: Any, location: Location) -> Entry | None:
        try:
            self.mistakes.count_braces([glob])
            pattern = WordPattern.parse(glob)
        except GlobError as error:
            self.mistakes.error("IP106", str(error), "", location)
            return None
        if isinstance(value, toml.RecomputeTable):
            parsed = self._recompute(key, glob, location)
        else:
            parsed = self.values.value(value, location)
        kind = "parameter" if key == "init" else "buffer"
        return None if parsed is None else Entry(kind, pattern, parsed, location)

    def _recompute(self, key: str, glob: str, location: Location) -> Recompute | None:
        if key == "buffer":
            return Recompute()
        self.mistakes.error(
            "IP217",
            f"`init.{glob}` names parameters, and a constructor recomputes buffers alone",
            f"write `buffer.{glob}` if it is a buffer, and an initializer for a parameter",
            location,
        )
        return None
