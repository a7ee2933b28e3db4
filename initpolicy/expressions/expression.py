"""An expression as data: parsed once, and evaluated by hand. Nothing in it is run as Python."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from initpolicy.expressions.evaluation import evaluate
from initpolicy.expressions.grammar import LONGEST_TEXT, Scope
from initpolicy.expressions.parsing import read_tree


@dataclass(frozen=True)
class Expression:
    """An expression, parsed once and evaluated for each tensor.

    `text` is what was parsed, with single spaces; `names` the dotted names that it reads.

    >>> scale = Expression.parse("0.02 / sqrt(2 * n_layer)")
    >>> scale
    Expression(text='0.02 / sqrt(2 * n_layer)')
    >>> sorted(scale.names)
    ['n_layer']
    >>> scale.evaluate({"n_layer": 8})
    0.005
    >>> Expression.parse("module.groups == shape[0] > 1").evaluate(
    ...     {"module.groups": 64, "shape": (64, 1, 3, 3)}
    ... )
    True
    """

    text: str
    names: frozenset[str] = field(compare=False, repr=False)
    _tree: ast.expr = field(compare=False, repr=False)

    @staticmethod
    def parse(text: str, longest: int = LONGEST_TEXT) -> Expression:
        """Parse an expression, or raise an `ExpressionError` that says what is wrong with it.

        At most `longest` characters are read.

        >>> Expression.parse("__import__('os')")
        Traceback (most recent call last):
        initpolicy.expressions.grammar.ExpressionError: __import__('os'): "__import__" begins
        with an underscore; such names cannot be read
        """
        text, tree, names = read_tree(text, longest)
        return Expression(text, names, tree)

    @property
    def tree(self) -> ast.expr:
        """The tree of allowed nodes, which is not to be changed."""
        return self._tree

    def evaluate(
        self, scope: Scope, functions: Mapping[str, Callable[..., float]] | None = None
    ) -> float | bool:
        """Give the value in a scope of dotted names; `functions` may hold the function `gain`.

        Raises an `ExpressionError`, which shows the values of the names that were read, for a
        name that is not in scope, and when there is no finite result.

        >>> Expression.parse("sqrt(2 / fan_in)").evaluate({"fan_in": 0})
        Traceback (most recent call last):
        initpolicy.expressions.grammar.ExpressionError: sqrt(2 / fan_in): division by zero
        (fan_in = 0)
        >>> gains = {"relu": 2**0.5}
        >>> Expression.parse("gain('relu') ** 2").evaluate({}, {"gain": gains.__getitem__})
        2.0000000000000004
        """
        return evaluate(self.text, self._tree, scope, functions or {})
