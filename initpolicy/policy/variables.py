"""What a policy may say of a variable."""

from __future__ import annotations

from typing import Any

from initpolicy.expressions import Expression, ExpressionError
from initpolicy.policy import document as toml
from initpolicy.policy.glob import GlobError, NamePattern
from initpolicy.policy.model import AttributeVariable, CountVariable, Variable
from initpolicy.policy.names import RESERVED


class VariableError(ValueError):
    """What is wrong with a variable, under which code, and what to write instead."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint


def variable(name: str, value: Any) -> Variable:
    """Read a variable from what the file says of it; raises `VariableError`."""
    if name in RESERVED:
        told = f"`{name}` already means something in expressions"
        raise VariableError("IP103", told, "choose another name for the variable")
    if isinstance(value, str):
        try:
            return Expression.parse(value)
        except ExpressionError as error:
            raise VariableError("IP107", str(error)) from error
    if isinstance(value, toml.Count):
        try:
            return CountVariable(NamePattern.parse(value.count), value.default)
        except GlobError as error:
            raise VariableError("IP106", str(error)) from error
    if isinstance(value, toml.Attribute):
        if not all(part.isidentifier() and part[0] != "_" for part in value.attr.split(".")):
            raise VariableError(
                "IP103",
                f"`{value.attr}` is no path of public attributes",
                'write names with dots between them, such as "config.n_embd"',
            )
        return AttributeVariable(value.attr, value.default)
    return float(value)
