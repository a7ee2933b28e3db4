"""What expressions are made of, and what each part computes.

Every number is a float. Truth values and numbers are not mixed: `where` conditions come from
comparisons, and a comparison is no number.

    numbers         2   0.02   1e-5
    arithmetic      + - * / // % **   and parentheses
    comparisons     < <= > >= == !=   also chained, as in 1 < ndim <= 4
    conditions      and or not
    functions       sqrt log exp abs ceil floor sin cos tanh log1p expm1 min max gain("relu")
    choices         where(condition, number, number)
    names           fan_in   module.groups   weight.fan_in   shape[0]
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

LONGEST_TEXT = 500
MOST_PARTS = 4

Scope = Mapping[str, Any]
"""Numbers, truth values, sequences of numbers and None, by dotted name."""


class ExpressionError(ValueError):
    """An expression that cannot be read, or has no value: the message says why.

    `unknown` is the name that the scope lacks, if that is why and none there is like it.
    """

    unknown = ""


def _ceil(number: float) -> float:
    return float(math.ceil(number))


def _floor(number: float) -> float:
    return float(math.floor(number))


def _min(*numbers: float) -> float:
    return min(numbers)


def _max(*numbers: float) -> float:
    return max(numbers)


FUNCTIONS: dict[str, Callable[..., float]] = {
    "sqrt": math.sqrt,
    "log": math.log,
    "exp": math.exp,
    "abs": math.fabs,
    "ceil": _ceil,
    "floor": _floor,
    "sin": math.sin,
    "cos": math.cos,
    "tanh": math.tanh,
    "log1p": math.log1p,
    "expm1": math.expm1,
    "min": _min,
    "max": _max,
}
OF_SEVERAL = frozenset({"min", "max"})
CHOICE = "where"  # of its two numbers, only the one that is chosen is computed
TAKES_STRINGS = "gain"  # the one function that is given from outside
KNOWN_FUNCTIONS = (*FUNCTIONS, CHOICE, TAKES_STRINGS)

ARITHMETIC: dict[type[ast.operator], tuple[str, Callable[[float, float], float]]] = {
    ast.Add: ("+", float.__add__),
    ast.Sub: ("-", float.__sub__),
    ast.Mult: ("*", float.__mul__),
    ast.Div: ("/", float.__truediv__),
    ast.FloorDiv: ("//", float.__floordiv__),
    ast.Mod: ("%", float.__mod__),
    ast.Pow: ("**", math.pow),
}
COMPARISONS: dict[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


def failure(text: str, problem: str) -> ExpressionError:
    """Say what is wrong with an expression, of which no more is shown than anyone reads."""
    shown = text if len(text) <= LONGEST_TEXT else f"{text[:40]}..."
    return ExpressionError(f"{shown}: {problem}")


def is_string(node: ast.expr) -> bool:
    """Say whether a node is a text in quotes."""
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def dotted_name(text: str, node: ast.Name | ast.Attribute) -> str:
    """Give the dotted name that a node reads, or raise an `ExpressionError` if it is none."""
    parts: list[str] = []
    base: ast.expr = node
    while isinstance(base, ast.Attribute):
        parts.append(base.attr)
        base = base.value
    if not isinstance(base, ast.Name):
        raise failure(text, f'"{ast.unparse(base)}" has no parts; only a name has')
    parts.append(base.id)
    name = ".".join(reversed(parts))
    if len(parts) > MOST_PARTS:
        raise failure(text, f'"{name}" has more than {MOST_PARTS} parts')
    if name in KNOWN_FUNCTIONS:
        raise failure(text, f'"{name}" is a function; write "{name}(...)"')
    return name
