"""`gain = "auto"`: the gain that what follows a layer calls for."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from torch import nn

from initpolicy.expressions import Expression, ExpressionError
from initpolicy.laws import Law
from initpolicy.model import Inventory, Slot
from initpolicy.policy import model as policies
from initpolicy.policy.names import AUTO, AUTO_GAIN

if TYPE_CHECKING:
    from initpolicy.batches import Input
    from initpolicy.resolve.finding import Finder

INSTEAD = "name the gain, such as gain = \"gain('relu')\", in a rule for this layer"
_WRITTEN = re.compile(rf"\b(gain|nonlinearity)={AUTO}(?![\w.])")
_TOLD = re.compile(rf"(={AUTO}): [^,)]*|; {AUTO_GAIN} is [^;]*$")


class GainError(ExpressionError):
    """Why there is no gain for what follows a layer, and what to write instead."""

    def __init__(self, code: str, message: str, hint: str = INSTEAD) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


@dataclass(frozen=True)
class Gain:
    """The gain of a layer, and what it is for.

    >>> print(Gain(2**0.5, "relu"))
    1.41421 for relu
    """

    value: float
    name: str

    def __str__(self) -> str:
        return f"{self.value:.6g} for {self.name}"


def asks(value: object) -> bool:
    """Whether what an entry says reads the gain of what follows the layer."""
    if isinstance(value, policies.Chunks):
        return any(map(asks, value.parts))
    if not isinstance(value, policies.Call) or value.is_closed:
        return False
    return any(
        is_auto(name, given) or (isinstance(given, Expression) and AUTO_GAIN in given.names)
        for name, given in (*value.arguments, *value.common)
    )


def is_auto(name: str, given: object) -> bool:
    """Whether an argument is to follow from what follows the layer."""
    if isinstance(given, Expression):
        return name == "gain" and given.text == AUTO
    return name == "nonlinearity" and given == AUTO


def told(written: str, gain: Gain) -> str:
    """What an entry says, with the gain that it came to.

    >>> told("xavier_normal(gain=auto)", Gain(2**0.5, "relu"))
    'xavier_normal(gain=auto: 1.41421 for relu)'
    >>> told("normal(std=auto_gain / sqrt(fan_in))", Gain(2**0.5, "relu"))
    'normal(std=auto_gain / sqrt(fan_in)); auto_gain is 1.41421 for relu'
    """
    text, count = _WRITTEN.subn(rf"\1={AUTO}: {gain}", written)
    return text if count else f"{written}; {AUTO_GAIN} is {gain}"


def as_written(text: str) -> str:
    """What an entry says, without the gain.

    >>> as_written("xavier_normal(gain=auto: 1.41421 for relu)")
    'xavier_normal(gain=auto)'
    """
    return _TOLD.sub(r"\1", text)


def found_in(text: str) -> str:
    """The gain that `told` put into a text; empty if it put none.

    >>> found_in("xavier_normal(gain=auto: 1.41421 for relu)"), found_in("normal(std=0.1)")
    ('1.41421 for relu', '')
    """
    found = _TOLD.search(text)
    return "" if found is None else re.split(": | is ", found[0], maxsplit=1)[1]


class Gains:
    """The gains of the layers of one model, which is traced when the first of them is asked for.

    `law_of` gives the law of a tensor, or None if it stays as it is: on it depend activations with
    parameters. `input` is what the model is called with, if it cannot be traced.
    """

    def __init__(
        self,
        inventory: Inventory,
        law_of: Callable[[Slot], Law | None],
        input: Input | None,
    ) -> None:
        self._given = inventory, law_of, input
        self._known: dict[int, Gain | GainError] = {}

    def of(self, module: nn.Module) -> Gain:
        """The gain that what follows a module calls for; raises `GainError`."""
        key = id(module)
        if key not in self._known:
            try:
                self._known[key] = self._finder.found(module)
            except GainError as error:
                self._known[key] = error
        known = self._known[key]
        if isinstance(known, GainError):
            raise known
        return known

    @cached_property
    def _finder(self) -> Finder:
        from initpolicy.resolve.finding import Finder  # which most plans do not need

        return Finder(*self._given)
