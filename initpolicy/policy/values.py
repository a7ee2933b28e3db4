"""What a key of a rule is given: a number, an initializer, `keep`, or one of them for each part."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from initpolicy import initializers
from initpolicy.expressions import Expression, ExpressionError
from initpolicy.model import LayoutError, read_layout
from initpolicy.policy import document as toml
from initpolicy.policy.mistakes import Mistakes
from initpolicy.policy.model import Argument, Call, Chunks, Keep
from initpolicy.policy.names import COMMON_ARGUMENTS
from initpolicy.policy.structure import shown
from initpolicy.problems import Location


@dataclass(frozen=True)
class Values:
    """How the values of one file are read: what they say, or else one more mistake."""

    mistakes: Mistakes
    folder: Path
    """Where the files begin that the values name."""

    def value(self, value: Any, location: Location) -> Call | Keep | Chunks | None:
        """Read what a key of a rule is given."""
        if isinstance(value, toml.ChunksTable):
            parts = [self._part(part, location) for part in value.chunks]
            if any(isinstance(part, Call) and "stream" in dict(part.common) for part in parts):
                self.mistakes.error(
                    "IP109",
                    "`stream` is of the whole tensor, and no part has one of its own",
                    "take it out",
                    location,
                )
            kept = tuple(part for part in parts if part is not None)
            return Chunks(kept) if len(kept) == len(parts) else None
        return self._part(value, location)

    def expression(self, text: str, location: Location) -> Expression | None:
        """Parse an expression, or add to the mistakes why it is none."""
        try:
            return Expression.parse(text)
        except ExpressionError as error:
            self.mistakes.error("IP107", str(error), "", location)
            return None

    def _part(self, value: Any, location: Location) -> Call | Keep | None:
        if isinstance(value, str):
            if value == "keep":
                return Keep()
            return self._call(value, {}, location)
        if isinstance(value, toml.InitializerTable):
            if value.fn == "keep":
                self.mistakes.error(
                    "IP108", "`keep` is no initializer", 'write "keep" without a table', location
                )
                return None
            return self._call(value.fn, value.arguments, location)
        return Call("constant", (("val", float(value)),))

    def _call(self, fn: str, arguments: dict[str, Any], location: Location) -> Call | None:
        try:
            initializer = initializers.get(fn)
        except initializers.InitializerError as error:
            self.mistakes.error("IP108", error.message, error.hint, location)
            return None
        before = len(self.mistakes.problems)
        own = {item.name: item.is_number or item.is_formula for item in initializer.parameters}
        common = {key: value for key, value in arguments.items() if key in COMMON_ARGUMENTS}
        common = {key: value for key, value in common.items() if key not in own}
        rest = {key: value for key, value in arguments.items() if key not in common}
        for problem in initializer.check_arguments(rest, COMMON_ARGUMENTS):
            self.mistakes.error("IP109", problem.message, problem.hint, location)
        for name, value in common.items():
            self._check_common(name, value, location)
        for parameter in initializer.parameters:
            given = rest.get(parameter.name, parameter.default)
            if parameter.type is initializers.Template and isinstance(given, str):
                rest[parameter.name] = initializers.Template(given)
            if parameter.type is initializers.FileName and isinstance(given, str):
                rest[parameter.name] = os.path.normpath(self.folder / given)
        call = Call(
            fn,
            self._arguments(rest, {name for name, parsed in own.items() if parsed}, location),
            self._arguments(
                common, {name for name in common if COMMON_ARGUMENTS[name].is_number}, location
            ),
        )
        return None if len(self.mistakes.problems) > before else call

    def _arguments(
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

    def _check_common(self, name: str, value: object, location: Location) -> None:
        """Check the type of an argument that every initializer takes."""
        is_number = COMMON_ARGUMENTS[name].is_number
        accepted = (int, float, str) if is_number else (str,)
        if isinstance(value, bool) or not isinstance(value, accepted):
            expected = "a number or an expression" if is_number else "a text"
            self.mistakes.error(
                "IP109", f"`{name}` is {shown(value)}", f"write {expected}", location
            )
        elif name == "layout":
            try:
                read_layout(str(value))
            except LayoutError as error:
                self.mistakes.error("IP109", str(error), "", location)
