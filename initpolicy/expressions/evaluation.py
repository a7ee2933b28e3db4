"""The value of an expression's tree in a scope: every operation must give a finite number."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, cast

from initpolicy.expressions.grammar import (
    ARITHMETIC,
    CHOICE,
    COMPARISONS,
    FUNCTIONS,
    TAKES_STRINGS,
    ExpressionError,
    Scope,
    dotted_name,
    failure,
    is_string,
)
from initpolicy.problems import suggest

_LEAST = {
    "sqrt": 0.0,
    "log": 0.0,
    "log1p": -1.0,
}  # below which, or for logarithms at which, none is


def evaluate(
    text: str, tree: ast.expr, scope: Scope, functions: Mapping[str, Callable[..., float]]
) -> float | bool:
    """Give the value of the tree of a text, or raise an `ExpressionError`."""
    return _Evaluation(text, scope, functions).value(tree)


@dataclass
class _Evaluation:
    text: str
    scope: Scope
    functions: Mapping[str, Callable[..., float]]
    read: dict[str, Any] = field(default_factory=dict[str, Any])

    def error(self, problem: str) -> ExpressionError:
        values = ", ".join(f"{name} = {_show(value)}" for name, value in self.read.items())
        return failure(self.text, f"{problem} ({values})" if values else problem)

    def value(self, node: ast.expr) -> float | bool:
        match node:
            case ast.Constant():
                return float(cast(float, node.value))
            case ast.Name() | ast.Attribute():
                return self.scalar(dotted_name(self.text, node), self.lookup(node))
            case ast.Subscript():
                return self.element(node)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return not self.truth(operand)
            case ast.UnaryOp(op=op, operand=operand):
                number = self.number(operand)
                return -number if isinstance(op, ast.USub) else number
            case ast.BinOp():
                return self.arithmetic(node)
            case ast.BoolOp(op=ast.And(), values=operands):
                return all(self.truth(operand) for operand in operands)
            case ast.BoolOp(values=operands):
                return any(self.truth(operand) for operand in operands)
            case ast.Compare(left=left, ops=ops, comparators=others):
                before = self.number(left)
                for op, other in zip(ops, others, strict=True):
                    after = self.number(other)
                    if not COMPARISONS[type(op)](before, after):
                        return False
                    before = after
                return True
            case ast.Call():
                return self.call(node)
            case _:  # refused by the parser
                raise self.error(f'"{ast.unparse(node)}" is not allowed; only arithmetic is')

    def number(self, node: ast.expr) -> float:
        value = self.value(node)
        if isinstance(value, bool):
            raise self.error(f'"{ast.unparse(node)}" is true or false, where a number is needed')
        return value

    def truth(self, node: ast.expr) -> bool:
        value = self.value(node)
        if not isinstance(value, bool):
            shown = ast.unparse(node)
            raise self.error(f'"{shown}" is a number; compare it, as in "{shown} != 0"')
        return value

    def lookup(self, node: ast.Name | ast.Attribute) -> Any:
        name = dotted_name(self.text, node)
        try:
            value = self.scope[name]
        except KeyError:
            known = sorted(self.scope)
            close = suggest(name, known, n=1)
            hint = f'; did you mean "{close[0]}"?' if close else "."
            shown = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
            error = self.error(f'no name "{name}"{hint} In scope: {shown or "nothing"}')
            error.unknown = "" if close else name
            raise error from None
        if value is None:
            raise self.error(f"{name} is None")
        self.read[name] = value
        return value

    def scalar(self, name: str, value: Any) -> float | bool:
        if isinstance(value, bool):
            return value
        if _is_sequence(value):
            raise self.error(f'{name} is several numbers; write one of them, as in "{name}[0]"')
        if not isinstance(value, Real):
            raise self.error(f"{name} is of type {type(value).__name__}, not a number")
        try:
            number = float(value)
        except (ArithmeticError, ValueError, TypeError):
            number = math.inf
        if not math.isfinite(number):
            problem = "not a number" if math.isnan(number) else "infinite, or too large for a float"
            raise self.error(f"{name} is {problem}")
        return number

    def element(self, node: ast.Subscript) -> float | bool:
        base = cast("ast.Name | ast.Attribute", node.value)
        name = dotted_name(self.text, base)
        sequence = self.lookup(base)
        if not _is_sequence(sequence):
            raise self.error(f'{name} is one number; write "{name}" without an index')
        index = self.number(node.slice)
        if not index.is_integer():
            raise self.error(f"{name}[{index:g}]: an index is a whole number")
        if not -len(sequence) <= index < len(sequence):
            raise self.error(f"{name}[{index:g}]: {name} has {_count(len(sequence), 'element')}")
        if (element := sequence[int(index)]) is None:
            raise self.error(f"{name}[{index:g}] is None")
        return self.scalar(f"{name}[{index:g}]", element)

    def arithmetic(self, node: ast.BinOp) -> float:
        left, right = self.number(node.left), self.number(node.right)
        symbol, operate = ARITHMETIC[type(node.op)]
        if right == 0 and symbol in ("/", "//", "%"):
            raise self.error("division by zero" if symbol != "%" else "remainder by zero")
        if symbol == "**":
            if left == 0 and right < 0:
                raise self.error("division by zero")
            if left < 0 and not right.is_integer():
                raise self.error(f"{left:g} to the power {right:g} is not a real number")
        try:
            result = operate(left, right)
        except OverflowError:
            result = math.inf
        if not math.isfinite(result):
            raise self.error(f"{left:g} {symbol} {right:g} is too large for a float")
        return result

    def call(self, node: ast.Call) -> float:
        name = cast(ast.Name, node.func).id
        if name == TAKES_STRINGS:
            return self.call_given(name, node.args)
        if name == CHOICE:
            condition, chosen, other = node.args
            return self.number(chosen if self.truth(condition) else other)
        arguments = [self.number(argument) for argument in node.args]
        shown = f"{name}({', '.join(f'{argument:g}' for argument in arguments)})"
        least = _LEAST.get(name, -math.inf)
        if arguments[0] < least or (arguments[0] == least and name != "sqrt"):
            raise self.error(f"{shown} is not a real number")
        try:
            return FUNCTIONS[name](*arguments)
        except OverflowError:
            raise self.error(f"{shown} is too large for a float") from None

    def call_given(self, name: str, nodes: Sequence[ast.expr]) -> float:
        """Call a function from outside, of which nothing is known: not even that it returns."""
        if name not in self.functions:
            raise self.error(f"{name} cannot be used here")
        arguments: list[str | float] = [
            cast(str, node.value)
            if isinstance(node, ast.Constant) and is_string(node)
            else self.number(node)
            for node in nodes
        ]
        shown = ", ".join(
            f'"{argument}"' if isinstance(argument, str) else f"{argument:g}"
            for argument in arguments
        )
        try:
            result = float(self.functions[name](*arguments))
        except Exception as cause:
            raise self.error(f"{name}({shown}): {cause}") from cause
        if not math.isfinite(result):
            raise self.error(f"{name}({shown}) is {result}, which is not finite")
        return result


def _is_sequence(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _show(value: Any) -> str:
    """Show a value of the scope in a few characters."""
    if not _is_sequence(value):
        return _show_one(value)
    shown = [_show_one(element) for element in value[:8]]
    return f"[{', '.join([*shown, '...'] if len(value) > 8 else shown)}]"


def _show_one(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and abs(value) < 10**15:
        return str(value)
    if isinstance(value, Real):
        with suppress(ArithmeticError, ValueError, TypeError):
            return f"{float(value):g}"
    return f"<{type(value).__name__}>"
