"""An expression for many elements at once, each as `Expression.evaluate` computes it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from initpolicy.expressions.expression import Expression
from initpolicy.expressions.grammar import ExpressionError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Lanes = Mapping[str, Floats]

_FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "sqrt": np.sqrt,
    "log": np.log,
    "exp": np.exp,
    "abs": np.abs,
    "ceil": np.ceil,
    "floor": np.floor,
    "sin": np.sin,
    "cos": np.cos,
    "tanh": np.tanh,
    "log1p": np.log1p,
    "expm1": np.expm1,
}
_OF_SEVERAL: dict[str, Callable[[Any, Any], Any]] = {"min": np.minimum, "max": np.maximum}
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
    ast.FloorDiv: np.floor_divide,
    ast.Mod: np.remainder,
    ast.Pow: np.power,
}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
}


def evaluate_lanes(expression: Expression, scope: Lanes, size: int) -> Floats:
    """Give the value of an expression in each of `size` lanes of a scope of float64 arrays.

    Each lane is what `Expression.evaluate` gives for it, up to the last bit of functions, and
    fails as it does: with an `ExpressionError` that shows the first lane that has no finite value.

    >>> index = np.arange(4.0)
    >>> evaluate_lanes(Expression.parse("where(i % 2 == 0, i, 1 / i)"), {"i": index}, 4).tolist()
    [0.0, 1.0, 2.0, 0.3333333333333333]
    >>> evaluate_lanes(Expression.parse("log(i - 1)"), {"i": index}, 4)
    Traceback (most recent call last):
    initpolicy.expressions.grammar.ExpressionError: log(i - 1): log(-1) is not a real number
    (i = 0)
    """
    with np.errstate(all="ignore"):
        values = _Evaluation(expression, scope, size).number(expression.tree)
    return np.array(np.broadcast_to(values, (size,)), dtype=np.float64)


class _Evaluation:
    """The evaluation in some lanes; branches that not all lanes take are evaluated in theirs."""

    def __init__(self, expression: Expression, scope: Lanes, size: int) -> None:
        self.expression = expression
        self.scope = scope
        self.size = size

    def within(self, lanes: Bools) -> _Evaluation:
        scope = {name: values[lanes] for name, values in self.scope.items()}
        return _Evaluation(self.expression, scope, int(np.count_nonzero(lanes)))

    def value(self, node: ast.expr) -> Floats | Bools:
        match node:
            case ast.Constant(value=int() | float() as value):
                return np.asarray(value, dtype=np.float64)
            case ast.Name(id=name) if name in self.scope:
                return self.scope[name]
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return ~self.truth(operand)
            case ast.UnaryOp(op=op, operand=operand):
                number = self.number(operand)
                return -number if isinstance(op, ast.USub) else number
            case ast.BinOp(left=left, op=op, right=right):
                return self.finite(_ARITHMETIC[type(op)](self.number(left), self.number(right)))
            case ast.BoolOp(op=op, values=operands):
                return self.joined(operands, until=isinstance(op, ast.Or))
            case ast.Compare(left=left, ops=ops, comparators=others):
                return self.compared(left, ops, others)
            case ast.Call(func=ast.Name(id="where"), args=[condition, chosen, other]):
                return self.chosen(self.truth(condition), chosen, other)
            case ast.Call(func=ast.Name(id=name), args=arguments) if name in _OF_SEVERAL:
                return reduce(_OF_SEVERAL[name], map(self.number, arguments))
            case ast.Call(func=ast.Name(id=name), args=[argument]) if name in _FUNCTIONS:
                return self.finite(_FUNCTIONS[name](self.number(argument)))
            case _:
                raise self.error()

    def number(self, node: ast.expr) -> Floats:
        value = self.value(node)
        if value.dtype == np.bool_:
            raise self.error(f'"{ast.unparse(node)}" is true or false, where a number is needed')
        return cast("Floats", value)

    def truth(self, node: ast.expr) -> Bools:
        value = self.value(node)
        if value.dtype != np.bool_:
            shown = ast.unparse(node)
            raise self.error(f'"{shown}" is a number; compare it, as in "{shown} != 0"')
        return np.broadcast_to(cast("Bools", value), (self.size,))

    def joined(self, operands: Sequence[ast.expr], *, until: bool) -> Bools:
        """Evaluate each operand only where those before it do not decide."""
        result: Bools = np.array(self.truth(operands[0]))
        for operand in operands[1:]:
            open_ = result != until
            if open_.any():
                result[open_] = self.within(open_).truth(operand)
        return result

    def compared(
        self, left: ast.expr, ops: Sequence[ast.cmpop], others: Sequence[ast.expr]
    ) -> Bools:
        result = np.ones(self.size, dtype=np.bool_)
        before = np.broadcast_to(self.number(left), (self.size,))
        for op, other in zip(ops, others, strict=True):
            if not result.any():
                break
            after = np.zeros(self.size)
            after[result] = self.within(result).number(other)
            result &= _COMPARISONS[type(op)](before, after)
            before = after
        return result

    def chosen(self, condition: Bools, chosen: ast.expr, other: ast.expr) -> Floats:
        result = np.empty(self.size)
        for lanes, node in ((condition, chosen), (~condition, other)):
            if lanes.any():
                result[lanes] = self.within(lanes).number(node)
        return result

    def finite(self, values: Floats) -> Floats:
        fine = np.isfinite(values)
        if not fine.all():
            lane = int(np.argmin(np.broadcast_to(fine, (self.size,))))
            raise self.error("the result is not finite", lane)
        return values

    def error(self, problem: str = "it cannot be computed", lane: int = 0) -> ExpressionError:
        """What the evaluation of one number says of a lane, or else `problem`."""
        if self.size:
            scope = {name: float(values[lane]) for name, values in self.scope.items()}
            try:
                self.expression.evaluate(scope)
            except ExpressionError as error:
                return error
        return ExpressionError(f"{self.expression.text}: {problem}")
