"""From an entry of a rule and one tensor to the law of that tensor."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from initpolicy import initializers
from initpolicy.initializers import InitializerError
from initpolicy.laws import Law, LawError, ZeroRows
from initpolicy.model import FanError, Slot
from initpolicy.policy.expression import Expression, ExpressionError
from initpolicy.policy.load import COMMON_ARGUMENTS
from initpolicy.policy.model import Argument, Call
from initpolicy.resolve.scope import FUNCTIONS, TensorScope


class LoweringError(ValueError):
    """Why an initializer gives no law for a tensor, and what to write instead."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


@dataclass(frozen=True)
class Lowered:
    """A law, and the name of the stream if it is not the tensor's own."""

    law: Law
    stream: str


class Lowering:
    """Lowers the entries of one plan; tensors that are alike in every respect share a law."""

    def __init__(self) -> None:
        self._laws: dict[Hashable, Law] = {}

    def lower(self, call: Call, slot: Slot, scope: TensorScope) -> Lowered:
        """Evaluate the arguments for one tensor and give its law; raises `LoweringError`."""
        own: dict[str, object] = {}
        scale: float | None = None
        zero_rows: tuple[int, ...] = ()
        stream = ""
        # An initializer's own comes first: the `scale` of `variance_scaling` is one of variance.
        mine = {parameter.name for parameter in initializers.get(call.fn).parameters}
        try:
            for name, argument in call.arguments:
                if name in mine or name not in COMMON_ARGUMENTS:
                    own[name] = _value(argument, scope)
                elif name == "scale":
                    scale = _number(argument, scope)
                elif name == "zero_index":
                    zero_rows = _zero_rows(argument, slot, scope)
                else:
                    stream = str(argument)
        except ExpressionError as error:
            raise LoweringError("IP205", str(error)) from None
        alike = (call.fn, *own.items(), scale, zero_rows, slot.facts)
        law = self._laws.get(alike)
        if law is None:
            law = self._laws[alike] = _law(call.fn, own, scale, zero_rows, slot)
        return Lowered(law, stream)


def _law(
    fn: str,
    arguments: dict[str, object],
    scale: float | None,
    zero_rows: tuple[int, ...],
    slot: Slot,
) -> Law:
    try:
        law = initializers.get(fn).lower(slot.facts, arguments)
        if scale is not None:
            law = law.scaled(scale)
        if zero_rows:
            law = ZeroRows(law, zero_rows)
        law.validate(slot.shape, slot.dtype)
    except (InitializerError, LawError) as error:
        raise LoweringError("IP206", error.message, error.hint) from None
    except FanError as error:
        raise LoweringError("IP206", str(error)) from None
    return law


def _value(argument: Argument, scope: TensorScope) -> object:
    return _number(argument, scope) if isinstance(argument, Expression) else argument


def _number(argument: Argument, scope: TensorScope) -> float:
    if not isinstance(argument, Expression):
        return float(argument)
    value = argument.evaluate(scope, FUNCTIONS)
    if isinstance(value, bool):
        raise ExpressionError(f"{argument.text}: it is true or false, where a number is needed")
    return value


def _zero_rows(argument: Argument, slot: Slot, scope: TensorScope) -> tuple[int, ...]:
    # Modules say "no such row" with None, as `nn.Embedding.padding_idx` does.
    if isinstance(argument, Expression):
        is_name = argument.text in argument.names
        if is_name and scope.get(argument.text) is None:
            return ()
    row = _number(argument, scope)
    rows = slot.shape[0] if slot.shape else 0
    if not row.is_integer() or not -rows <= row < rows:
        raise LoweringError(
            "IP206",
            f"`zero_index` is {row:g}, and the tensor has {rows} rows",
            "write the number of a row, counted from 0",
        )
    return (int(row) % rows,)
