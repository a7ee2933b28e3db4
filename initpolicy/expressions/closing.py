"""Expressions of which everything is known but a few names: the rest becomes numbers."""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Mapping
from typing import cast

from initpolicy.expressions.expression import Expression
from initpolicy.expressions.grammar import LONGEST_TEXT, ExpressionError, Scope

LONGEST_CLOSED = 16 * LONGEST_TEXT  # a number takes more characters than the name that it replaces


def close(
    expression: Expression,
    free: Collection[str],
    scope: Scope,
    functions: Mapping[str, Callable[..., float]] | None = None,
) -> Expression:
    """Compute every part of an expression in which no name is `free`.

    What is left reads the free names and nothing else, and gives the same values. Raises an
    `ExpressionError` if such a part has no value.

    >>> decay = Expression.parse("base ** (-2 * i0 / (2 * half))")
    >>> close(decay, {"i0"}, {"base": 10000, "half": 32}).text
    '10000 ** (-2 * i0 / 64)'
    >>> chosen = Expression.parse("where(half > 1, exp(i0), 1 / half)")
    >>> close(chosen, {"i0"}, {"half": 2}).text
    'exp(i0)'
    """
    text = ast.unparse(_Closing(expression, frozenset(free), scope, functions).closed())
    return Expression.parse(text, LONGEST_CLOSED)


class _Closing:
    def __init__(
        self,
        expression: Expression,
        free: frozenset[str],
        scope: Scope,
        functions: Mapping[str, Callable[..., float]] | None,
    ) -> None:
        self.expression = expression
        self.free = free
        self.scope = scope
        self.functions = functions

    def closed(self) -> ast.expr:
        return self.node(self.expression.tree)

    def node(self, node: ast.expr) -> ast.expr:
        if self.is_free(node):
            node = self.inside(node)
        # Also where a choice that is known has left no free name.
        return node if self.is_free(node) else _literal(self.known(node))

    def inside(self, node: ast.expr) -> ast.expr:
        match node:
            case ast.UnaryOp(op=op, operand=operand):
                return ast.UnaryOp(op, self.node(operand))
            case ast.BinOp(left=left, op=op, right=right):
                return ast.BinOp(self.node(left), op, self.node(right))
            case ast.BoolOp(op=op, values=operands):
                return ast.BoolOp(op, [self.node(operand) for operand in operands])
            case ast.Compare(left=left, ops=ops, comparators=others):
                return ast.Compare(self.node(left), ops, [self.node(other) for other in others])
            case ast.Call(func=ast.Name(id="where"), args=[condition, chosen, other]):
                if not self.is_free(condition):
                    truth = self.known(condition)
                    if isinstance(truth, bool):
                        return self.node(chosen if truth else other)
                return self.call(node)
            case ast.Call(func=ast.Name(id="gain")):
                raise self.error("gain takes no index and no draw")
            case ast.Call():
                return self.call(node)
            case ast.Subscript():
                raise self.error(f'"{ast.unparse(node)}": an index is known when it is planned')
            case _:
                return node

    def call(self, node: ast.Call) -> ast.expr:
        return ast.Call(node.func, [self.node(argument) for argument in node.args], [])

    def is_free(self, node: ast.expr) -> bool:
        return any(isinstance(n, ast.Name) and n.id in self.free for n in ast.walk(node))

    def known(self, node: ast.expr) -> float | bool:
        part = Expression(self.expression.text, self.expression.names, node)
        return part.evaluate(self.scope, self.functions)

    def error(self, problem: str) -> ExpressionError:
        return ExpressionError(f"{self.expression.text}: {problem}")


def _literal(value: float | bool) -> ast.expr:
    if isinstance(value, bool):  # conditions have no literals: 0 == 0 is true, 0 == 1 is not
        return ast.Compare(ast.Constant(0), [ast.Eq()], [ast.Constant(int(not value))])
    magnitude = abs(value)
    number: float = int(magnitude) if magnitude.is_integer() and magnitude < 1e6 else magnitude
    literal = cast("ast.expr", ast.Constant(number))
    negative = value < 0 or str(value) == "-0.0"
    return ast.UnaryOp(ast.USub(), literal) if negative else literal
