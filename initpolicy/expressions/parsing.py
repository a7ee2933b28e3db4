"""From the text of an expression to a tree of a few allowed nodes, or to what is wrong with it."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterator, Sequence
from keyword import iskeyword
from numbers import Real

from initpolicy.expressions.grammar import (
    ARITHMETIC,
    CHOICE,
    COMPARISONS,
    KNOWN_FUNCTIONS,
    OF_SEVERAL,
    TAKES_STRINGS,
    ExpressionError,
    dotted_name,
    failure,
    is_string,
)
from initpolicy.problems import suggest

DEEPEST_NESTING = 32

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


def read_tree(text: str, longest: int) -> tuple[str, ast.expr, frozenset[str]]:
    """Give a text with single spaces, its tree, and the dotted names that it reads.

    Raises an `ExpressionError` that says what is wrong with it.
    """
    _check_tokens(text, longest)
    text = " ".join(text.split())
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise failure(text, "a number, a name or an operator is missing or misplaced") from None
    _check_nesting(text, tree)
    return text, tree, frozenset(_check(text, tree))


def _check_tokens(text: str, longest: int) -> None:
    if len(text) > longest:
        raise failure(text, f"longer than {longest} characters; name parts of it in [vars]")
    if not text.strip():
        raise ExpressionError("an expression is empty; write a number or a formula")
    position = depth = 0
    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None:
            character = text[position]
            if character in "0123456789.":
                raise failure(text, 'a number is misspelt; write it like "2", "0.02" or "1e-5"')
            if character in "'\"" or (character.isascii() and character.isidentifier()):
                raise failure(text, 'a string is misspelt; write it like gain("relu")')
            instead = _INSTEAD.get(character, "only arithmetic is allowed")
            raise failure(text, f"unexpected {character!a}; {instead}")
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
                raise failure(
                    text, f'"{word}" begins with an underscore; such names cannot be read'
                )
            if iskeyword(word):
                raise failure(text, f'"{word}" is not allowed; only arithmetic is')


def _too_deep(text: str) -> ExpressionError:
    return failure(
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
            raise failure(text, f'strings are for {TAKES_STRINGS}, as in gain("relu")')
        case ast.Name() | ast.Attribute():
            yield dotted_name(text, node)
        case ast.Subscript(value=ast.Name() | ast.Attribute() as sequence, slice=index):
            yield dotted_name(text, sequence)
            yield from _check(text, index)
        case ast.UnaryOp(op=ast.UAdd() | ast.USub() | ast.Not(), operand=operand):
            yield from _check(text, operand)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in ARITHMETIC:
            yield from _check(text, left)
            yield from _check(text, right)
        case ast.BoolOp(values=operands):
            for operand in operands:
                yield from _check(text, operand)
        case ast.Compare(left=left, ops=ops, comparators=others) if all(
            type(op) in COMPARISONS for op in ops
        ):
            for operand in (left, *others):
                yield from _check(text, operand)
        case ast.Call(func=ast.Name(id=function), args=arguments):
            _check_call(text, function, arguments)
            for argument in arguments:
                if not is_string(argument):
                    yield from _check(text, argument)
        case ast.Call(func=function):
            raise failure(text, f'"{ast.unparse(function)}" cannot be called')
        case ast.Subscript():
            raise failure(text, 'only a name has elements, as in "shape[0]"')
        case _:
            raise failure(text, f'"{ast.unparse(node)}" is not allowed; only arithmetic is')


def _check_call(text: str, function: str, arguments: Sequence[ast.expr]) -> None:
    if function == TAKES_STRINGS:
        if not arguments:
            raise failure(text, 'gain takes a name, as in gain("relu")')
        return
    if function not in KNOWN_FUNCTIONS:
        known = ", ".join(KNOWN_FUNCTIONS)
        close = suggest(function, KNOWN_FUNCTIONS, n=1)
        hint = f'; did you mean "{close[0]}"?' if close else "."
        raise failure(text, f'no function "{function}"{hint} There are {known}')
    if any(map(is_string, arguments)):
        raise failure(text, f"{function} takes numbers, not strings")
    if function == CHOICE:
        if len(arguments) != 3:
            raise failure(text, f"where takes a condition and two numbers, not {len(arguments)}")
        return
    if function in OF_SEVERAL and len(arguments) < 2:
        raise failure(text, f"{function} takes two numbers or more, not {len(arguments)}")
    if function not in OF_SEVERAL and len(arguments) != 1:
        raise failure(text, f"{function} takes one number, not {len(arguments)}")


def _to_float(text: str, value: Real | float) -> float:
    """Make a literal a float that is finite."""
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if math.isinf(number):
        raise failure(text, "a number is too large; the largest is about 1.8e308")
    return number
