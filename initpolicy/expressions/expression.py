"""Arithmetic in policies: parsed into a tree of a few allowed nodes, and evaluated by hand.

Nothing in an expression is ever run as Python. Every number is a float, every operation on the
way must give a finite number, and truth values and numbers are not mixed: `where` conditions
come from comparisons, and a comparison is no number.

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
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from keyword import iskeyword
from numbers import Real
from typing import Any, cast

from initpolicy.problems import suggest

LONGEST_TEXT = 500
DEEPEST_NESTING = 32
MOST_PARTS = 4


class ExpressionError(ValueError):
    """An expression that cannot be read, or has no value: the message says why."""


def _ceil(number: float) -> float:
    return float(math.ceil(number))


def _floor(number: float) -> float:
    return float(math.floor(number))


def _min(*numbers: float) -> float:
    return min(numbers)


def _max(*numbers: float) -> float:
    return max(numbers)


_FUNCTIONS: dict[str, Callable[..., float]] = {
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
_OF_SEVERAL = frozenset({"min", "max"})
_CHOICE = "where"  # of its two numbers, only the one that is chosen is computed
_TAKES_STRINGS = "gain"  # the one function that is given from outside
_KNOWN_FUNCTIONS = (*_FUNCTIONS, _CHOICE, _TAKES_STRINGS)
_LEAST = {
    "sqrt": 0.0,
    "log": 0.0,
    "log1p": -1.0,
}  # below which, or for logarithms at which, none is

_ARITHMETIC: dict[type[ast.operator], tuple[str, Callable[[float, float], float]]] = {
    ast.Add: ("+", float.__add__),
    ast.Sub: ("-", float.__sub__),
    ast.Mult: ("*", float.__mul__),
    ast.Div: ("/", float.__truediv__),
    ast.FloorDiv: ("//", float.__floordiv__),
    ast.Mod: ("%", float.__mod__),
    ast.Pow: ("**", math.pow),
}
_COMPARISONS: dict[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}

# The text is checked token by token before Python's parser sees it: what the parser then says of
# the rest is the same on every version, and it never warns.
_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+)
      | (?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)(?![A-Za-z0-9_.])
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*)(?![A-Za-z0-9_'"])
      | (?P<string>'[A-Za-z0-9_]*'|"[A-Za-z0-9_]*")
      | (?P<operator>\*\*|//|[<>=!]=|[-+*/%<>(),.]|\[|\])
    """,
    re.VERBOSE,
)
_INSTEAD = {
    "=": 'write "==" to compare',
    "!": 'write "not", or "!=" to compare',
    "^": 'write "**" for a power',
    "&": 'write "and"',
    "|": 'write "or"',
}

Scope = Mapping[str, Any]  # numbers, truth values, sequences of numbers and None, by dotted name


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
        initpolicy.expressions.expression.ExpressionError: __import__('os'): "__import__" begins
        with an underscore; such names cannot be read
        """
        _check_tokens(text, longest)
        text = " ".join(text.split())
        try:
            tree = ast.parse(text, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise _error(text, "a number, a name or an operator is missing or misplaced") from None
        _check_nesting(text, tree)
        return Expression(text, frozenset(_check(text, tree)), tree)

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
        initpolicy.expressions.expression.ExpressionError: sqrt(2 / fan_in): division by zero
        (fan_in = 0)
        >>> gains = {"relu": 2**0.5}
        >>> Expression.parse("gain('relu') ** 2").evaluate({}, {"gain": gains.__getitem__})
        2.0000000000000004
        """
        return _Evaluation(self.text, scope, functions or {}).value(self._tree)


def _error(text: str, problem: str) -> ExpressionError:
    shown = text if len(text) <= LONGEST_TEXT else f"{text[:40]}..."
    return ExpressionError(f"{shown}: {problem}")


# Parsing


def _check_tokens(text: str, longest: int) -> None:
    if len(text) > longest:
        raise _error(text, f"longer than {longest} characters; name parts of it in [vars]")
    if not text.strip():
        raise ExpressionError("an expression is empty; write a number or a formula")
    position = depth = 0
    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None:
            character = text[position]
            if character in "0123456789.":
                raise _error(text, 'a number is misspelt; write it like "2", "0.02" or "1e-5"')
            if character in "'\"" or (character.isascii() and character.isidentifier()):
                raise _error(text, 'a string is misspelt; write it like gain("relu")')
            instead = _INSTEAD.get(character, "only arithmetic is allowed")
            raise _error(text, f"unexpected {character!a}; {instead}")
        position = token.end()
        word = token[0]
        if word in ("(", "["):
            depth += 1
        elif word in (")", "]"):
            depth -= 1
        if depth > DEEPEST_NESTING:
            raise _too_deep(text)
        if token["name"] and word not in ("and", "or", "not"):
            if word.startswith("_"):
                raise _error(text, f'"{word}" begins with an underscore; such names cannot be read')
            if iskeyword(word):
                raise _error(text, f'"{word}" is not allowed; only arithmetic is')


def _too_deep(text: str) -> ExpressionError:
    return _error(
        text,
        f"nested more than {DEEPEST_NESTING} deep, where each operator of a chain counts; "
        "name parts of it in [vars]",
    )


def _check_nesting(text: str, tree: ast.expr) -> None:
    depth, level = 0, [tree]
    while level:
        depth += 1
        if depth > DEEPEST_NESTING:
            raise _too_deep(text)
        level = [
            child
            for node in level
            for child in ast.iter_child_nodes(node)
            if isinstance(child, ast.expr)
        ]


def _check(text: str, node: ast.expr) -> Iterator[str]:
    """Allow or refuse a node and all below it, and give the names that are read."""
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            _to_float(text, value)
        case ast.Constant(value=str()):
            raise _error(text, f'strings are for {_TAKES_STRINGS}, as in gain("relu")')
        case ast.Name() | ast.Attribute():
            yield _dotted(text, node)
        case ast.Subscript(value=ast.Name() | ast.Attribute() as sequence, slice=index):
            yield _dotted(text, sequence)
            yield from _check(text, index)
        case ast.UnaryOp(op=ast.UAdd() | ast.USub() | ast.Not(), operand=operand):
            yield from _check(text, operand)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            yield from _check(text, left)
            yield from _check(text, right)
        case ast.BoolOp(values=operands):
            for operand in operands:
                yield from _check(text, operand)
        case ast.Compare(left=left, ops=ops, comparators=others) if all(
            type(op) in _COMPARISONS for op in ops
        ):
            for operand in (left, *others):
                yield from _check(text, operand)
        case ast.Call(func=ast.Name(id=function), args=arguments):
            _check_call(text, function, arguments)
            for argument in arguments:
                if not _is_string(argument):
                    yield from _check(text, argument)
        case ast.Call(func=function):
            raise _error(text, f'"{ast.unparse(function)}" cannot be called')
        case ast.Subscript():
            raise _error(text, 'only a name has elements, as in "shape[0]"')
        case _:
            raise _error(text, f'"{ast.unparse(node)}" is not allowed; only arithmetic is')


def _is_string(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _check_call(text: str, function: str, arguments: Sequence[ast.expr]) -> None:
    if function == _TAKES_STRINGS:
        if not arguments:
            raise _error(text, 'gain takes a name, as in gain("relu")')
        return
    if function not in _KNOWN_FUNCTIONS:
        known = ", ".join(_KNOWN_FUNCTIONS)
        close = suggest(function, _KNOWN_FUNCTIONS, n=1)
        hint = f'; did you mean "{close[0]}"?' if close else "."
        raise _error(text, f'no function "{function}"{hint} There are {known}')
    if any(map(_is_string, arguments)):
        raise _error(text, f"{function} takes numbers, not strings")
    if function == _CHOICE:
        if len(arguments) != 3:
            raise _error(text, f"where takes a condition and two numbers, not {len(arguments)}")
        return
    if function in _OF_SEVERAL and len(arguments) < 2:
        raise _error(text, f"{function} takes two numbers or more, not {len(arguments)}")
    if function not in _OF_SEVERAL and len(arguments) != 1:
        raise _error(text, f"{function} takes one number, not {len(arguments)}")


def _dotted(text: str, node: ast.Name | ast.Attribute) -> str:
    parts: list[str] = []
    base: ast.expr = node
    while isinstance(base, ast.Attribute):
        parts.append(base.attr)
        base = base.value
    if not isinstance(base, ast.Name):
        raise _error(text, f'"{ast.unparse(base)}" has no parts; only a name has')
    parts.append(base.id)
    name = ".".join(reversed(parts))
    if len(parts) > MOST_PARTS:
        raise _error(text, f'"{name}" has more than {MOST_PARTS} parts')
    if name in _KNOWN_FUNCTIONS:
        raise _error(text, f'"{name}" is a function; write "{name}(...)"')
    return name


def _to_float(text: str, value: Real | float) -> float:
    """Make a literal a float that is finite."""
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if math.isinf(number):
        raise _error(text, "a number is too large; the largest is about 1.8e308")
    return number


# Evaluation


@dataclass
class _Evaluation:
    text: str
    scope: Scope
    functions: Mapping[str, Callable[..., float]]
    read: dict[str, Any] = field(default_factory=dict[str, Any])

    def error(self, problem: str) -> ExpressionError:
        values = ", ".join(f"{name} = {_show(value)}" for name, value in self.read.items())
        return _error(self.text, f"{problem} ({values})" if values else problem)

    def value(self, node: ast.expr) -> float | bool:
        match node:
            case ast.Constant():
                return float(cast(float, node.value))
            case ast.Name() | ast.Attribute():
                return self.scalar(_dotted(self.text, node), self.lookup(node))
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
                    if not _COMPARISONS[type(op)](before, after):
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
        name = _dotted(self.text, node)
        try:
            value = self.scope[name]
        except KeyError:
            known = sorted(self.scope)
            close = suggest(name, known, n=1)
            hint = f'; did you mean "{close[0]}"?' if close else "."
            shown = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
            raise self.error(f'no name "{name}"{hint} In scope: {shown or "nothing"}') from None
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
        name = _dotted(self.text, base)
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
        symbol, operate = _ARITHMETIC[type(node.op)]
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
        if name == _TAKES_STRINGS:
            return self.call_given(name, node.args)
        if name == _CHOICE:
            condition, chosen, other = node.args
            return self.number(chosen if self.truth(condition) else other)
        arguments = [self.number(argument) for argument in node.args]
        shown = f"{name}({', '.join(f'{argument:g}' for argument in arguments)})"
        least = _LEAST.get(name, -math.inf)
        if arguments[0] < least or (arguments[0] == least and name != "sqrt"):
            raise self.error(f"{shown} is not a real number")
        try:
            return _FUNCTIONS[name](*arguments)
        except OverflowError:
            raise self.error(f"{shown} is too large for a float") from None

    def call_given(self, name: str, nodes: Sequence[ast.expr]) -> float:
        """Call a function from outside, of which nothing is known: not even that it returns."""
        if name not in self.functions:
            raise self.error(f"{name} cannot be used here")
        arguments: list[str | float] = [
            cast(str, node.value)
            if isinstance(node, ast.Constant) and _is_string(node)
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
