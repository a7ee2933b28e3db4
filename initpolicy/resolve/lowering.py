"""From an entry of a rule and one tensor to the law of that tensor."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import NamedTuple

import torch

from initpolicy import initializers
from initpolicy.expressions import Expression, ExpressionError, close
from initpolicy.initializers import InitializerError
from initpolicy.initializers.initializer import suggestion
from initpolicy.laws import Arranged, Law, LawError, Stacked, ZeroRows
from initpolicy.laws.files import FileError
from initpolicy.laws.formula import is_place
from initpolicy.model import (
    Facts,
    FanError,
    LayoutError,
    Slot,
    arranged,
    letters_of,
    read_layout,
)
from initpolicy.policy.model import Argument, Call, Chunks, Keep
from initpolicy.policy.names import AUTO, AUTO_GAIN
from initpolicy.resolve.gains import GainError, is_auto
from initpolicy.resolve.scope import FUNCTIONS, TensorScope

Scope = Callable[[], TensorScope]
"""Gives what expressions see, which most laws do not ask for."""

_HOLES = re.compile(r"\{([^{}]*)\}")


class LoweringError(ValueError):
    """Why an initializer gives no law for a tensor, and what to write instead."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


class Lowered(NamedTuple):
    """A law, and the name of the stream if it is not the tensor's own."""

    law: Law
    stream: str


class _Arguments(NamedTuple):
    """The arguments of an initializer for one tensor, every expression evaluated."""

    own: tuple[tuple[str, object], ...]
    facts: Facts
    layout: str = ""
    chunks: int = 1
    scale: float | None = None
    zero_rows: tuple[int, ...] = ()


class Lowering:
    """Lowers the entries of one plan; tensors that are alike in every respect share a law."""

    def __init__(self) -> None:
        self._laws: dict[Hashable, Law] = {}
        self._bound: dict[Hashable, Callable[[Facts], Law]] = {}  # initializers to arguments

    def lower(self, value: Call | Chunks, slot: Slot, scope: Scope) -> Lowered:
        """Evaluate the arguments for one tensor and give its law; raises `LoweringError`."""
        if isinstance(value, Chunks):
            return self._stacked(value, slot, scope)
        law = self._law(value, slot.facts, slot.dtype, scope)
        stream = str(dict(value.common).get("stream", "")) if value.common else ""
        if law.shares_stream and not stream:
            raise LoweringError(
                "IP206",
                f"{value.fn} makes one matrix of two tensors, and they must draw it alike",
                "give the rules of both tensors one `stream`",
            )
        return Lowered(law, stream)

    def _stacked(self, value: Chunks, slot: Slot, scope: Scope) -> Lowered:
        count = len(value.parts)
        shape = slot.shape
        if not shape or shape[0] % count:
            raise LoweringError(
                "IP206",
                f"a tensor of shape {shape} has no {count} equal parts along dimension 0",
                "give as many initializers as there are parts",
            )
        facts = Facts((shape[0] // count, *shape[1:]), slot.facts.dtype)
        part_scope = scope().of(facts)
        laws = [
            None
            if isinstance(part, Keep)
            else self._law(part, facts, slot.dtype, lambda: part_scope)
            for part in value.parts
        ]
        return Lowered(Stacked(tuple(laws)), "")

    def _law(self, call: Call, facts: Facts, dtype: torch.dtype, scope: Scope) -> Law:
        of_any_shape = False
        if call.is_closed and not call.common:
            arguments = _Arguments(call.arguments, facts)
            of_any_shape = initializers.get(call.fn).asks_nothing
            alike = (id(call), facts.dtype if of_any_shape else facts)
        else:
            arguments = _evaluated(call, facts, scope())
            alike = (call.fn, arguments, _zeros((*arguments.own, ("scale", arguments.scale))))
        law = self._laws.get(alike)
        if law is None or of_any_shape:  # a law may refuse a shape that its initializer never saw
            law = self._laws[alike] = self._valid(law, call.fn, arguments, dtype)
        return law

    def _valid(self, known: Law | None, fn: str, arguments: _Arguments, dtype: torch.dtype) -> Law:
        try:
            law = self._made(fn, arguments) if known is None else known
            law.validate(arguments.facts.shape, dtype)
        except FileError as error:
            raise LoweringError("IP216", error.message, error.hint) from None
        except (InitializerError, LawError) as error:
            raise LoweringError("IP206", error.message, error.hint) from None
        except FanError as error:
            raise LoweringError("IP206", str(error)) from None
        return law

    def _made(self, fn: str, arguments: _Arguments) -> Law:
        law = self._initializer(fn, arguments.own)(arguments.facts)
        if arguments.scale is not None:
            law = law.scaled(arguments.scale)
        if (arguments.layout or arguments.chunks != 1) and law.moments is None:
            # Elements that are alike do not ask where they are.
            if arguments.layout:
                law = Arranged(law, arguments.layout)
            if arguments.chunks != 1:
                law = Stacked((law,) * arguments.chunks)
        if arguments.zero_rows:
            law = ZeroRows(law, arguments.zero_rows)
        return law

    def _initializer(self, fn: str, own: tuple[tuple[str, object], ...]) -> Callable[[Facts], Law]:
        key = fn, own, _zeros(own)
        found = self._bound.get(key)
        if found is None:
            found = self._bound[key] = initializers.get(fn).bound(dict(own))
        return found


def _zeros(own: tuple[tuple[str, object], ...]) -> tuple[str, ...]:
    """Tell apart arguments that are equal, 0.0 and -0.0."""
    return tuple([str(value) for _, value in own if value == 0])


def _evaluated(call: Call, facts: Facts, scope: TensorScope) -> _Arguments:
    given = dict(call.common)
    parameters = initializers.get(call.fn).parameters
    formulas = {parameter.name for parameter in parameters if parameter.is_formula}
    try:
        if "layout" in given or "chunks" in given:
            layout = read_layout(str(given["layout"])) if "layout" in given else ""
            chunks = _whole("chunks", given.get("chunks", 1), scope)
            read = arranged(facts, layout, chunks)
            scope = scope.of(read)
        else:
            layout, chunks, read = "", 1, facts
        arguments: list[tuple[str, Argument]] = []
        for name, argument in call.arguments:
            if is_auto(name, argument):
                gain: float = scope[AUTO_GAIN]
                if name == "gain":
                    argument = gain
                else:
                    read = replace(read, auto_gain=gain)
            arguments.append((name, argument))
        return _Arguments(
            own=tuple(
                (name, _closed(argument, scope) if name in formulas else _value(argument, scope))
                for name, argument in arguments
            ),
            facts=read,
            layout=letters_of(layout, facts.ndim) if layout else "",
            chunks=chunks,
            scale=_number(given["scale"], scope) if "scale" in given else None,
            zero_rows=_zero_rows(given["zero_index"], facts, scope)
            if "zero_index" in given
            else (),
        )
    except GainError as error:
        raise LoweringError(error.code, error.message, error.hint) from None
    except ExpressionError as error:
        raise LoweringError("IP205", str(error), _meant(call, error.unknown)) from None
    except LayoutError as error:
        raise LoweringError("IP206", str(error)) from None


def _meant(call: Call, unknown: str) -> str:
    """Ask whether a gain that is no name, and like none, stands for "auto"."""
    gain = dict(call.arguments).get("gain")
    is_gain = isinstance(gain, Expression) and gain.text == unknown
    return suggestion(unknown, [AUTO]) if is_gain else ""


def _value(argument: Argument, scope: TensorScope) -> object:
    if isinstance(argument, initializers.Template):
        return _filled(argument, scope)
    return _number(argument, scope) if isinstance(argument, Expression) else argument


def _filled(text: str, scope: TensorScope) -> str:
    """Put the tensor's names, and the values of expressions, into the braces of a text."""

    def fill(hole: re.Match[str]) -> str:
        inside = hole[1].strip()
        if inside in scope.texts:
            return scope.texts[inside]
        number = _number(Expression.parse(inside), scope)
        if not number.is_integer():
            raise ExpressionError(f"{inside}: it is {number:g}, where a whole number is needed")
        return str(int(number))

    return _HOLES.sub(fill, text)


def _closed(argument: Argument, scope: TensorScope) -> Argument:
    """Give a formula that reads nothing but indices and draws."""
    if not isinstance(argument, Expression):
        return argument
    places = {name for name in argument.names if is_place(name)}
    if taken := sorted(places.intersection(scope)):
        raise ExpressionError(
            f"{argument.text}: `{taken[0]}` is an index or a draw in formulas, and a capture or a "
            "variable of the policy; give the latter another name"
        )
    return close(argument, places, scope, FUNCTIONS)


def _number(argument: Argument, scope: TensorScope) -> float:
    if not isinstance(argument, Expression):
        try:
            return float(argument)
        except OverflowError:
            raise ExpressionError("a number is too large; the largest is about 1.8e308") from None
    value = argument.evaluate(scope, FUNCTIONS)
    if isinstance(value, bool):
        raise ExpressionError(f"{argument.text}: it is true or false, where a number is needed")
    return value


def _whole(name: str, argument: Argument, scope: TensorScope) -> int:
    number = _number(argument, scope)
    if not number.is_integer() or number < 1:
        raise LoweringError("IP206", f"`{name}` is {number:g}", "write a whole number from 1 on")
    return int(number)


def _zero_rows(argument: Argument, facts: Facts, scope: TensorScope) -> tuple[int, ...]:
    # Modules say "no such row" with None, as `nn.Embedding.padding_idx` does.
    if isinstance(argument, Expression):
        is_name = argument.text in argument.names
        if is_name and scope.get(argument.text) is None:
            return ()
    row = _number(argument, scope)
    rows = facts.shape[0] if facts.shape else 0
    if not row.is_integer() or not -rows <= row < rows:
        raise LoweringError(
            "IP206",
            f"`zero_index` is {row:g}, and the tensor has {rows} rows",
            "write the number of a row, counted from 0",
        )
    return (int(row) % rows,)
