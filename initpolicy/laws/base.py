"""What every law is: values that a tensor must have, drawn and judged by the same object."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, TypeVar, cast

import torch
from torch import Tensor

from initpolicy import field
from initpolicy.laws.part import Part


class LawError(ValueError):
    """A law cannot be stated, or cannot hold for a tensor.

    `message` says what is wrong, `hint` what to write instead; `hint` is empty when there is
    nothing useful to say.

    >>> error = LawError("identity needs 2 dimensions, not 3", hint="write dirac")
    >>> str(error), error.hint
    ('identity needs 2 dimensions, not 3', 'write dirac')
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclasses.dataclass(frozen=True)
class Moments:
    """The mean and the variance of each element.

    >>> Moments(mean=0.0, variance=0.0625).std
    0.25
    """

    mean: float
    variance: float

    @property
    def std(self) -> float:
        """The standard deviation."""
        return math.sqrt(self.variance)


@dataclasses.dataclass(frozen=True, eq=False)
class Piece:
    """Some values of a tensor that one law, made of no others, is about."""

    label: str
    """Which ones, as `part 0`; empty if they are all."""
    law: Law
    values: Tensor

    def within(self, label: str) -> Piece:
        """Give the piece as a part of what `label` names."""
        return Piece(", ".join(filter(None, (label, self.label))), self.law, self.values)


class Law(ABC):
    """What the values of a tensor must be.

    Laws are frozen dataclasses: equal parameters make equal laws. A tensor gets its values in two
    steps: `fills` says what the random field must draw, and `write`, after that, sets what is not
    drawn element by element. Constructors raise `LawError` for parameters that mean nothing.
    """

    kind: ClassVar[str]
    """The tag of the law in JSON."""

    is_drawn: ClassVar[bool] = True
    """Whether the values depend on the stream."""

    _exact: ClassVar[bool] = False

    shares_stream: ClassVar[bool] = False
    """Whether the law means something only beside another tensor that names the same stream."""

    @property
    def is_exact(self) -> bool:
        """Whether every machine gives the values the same bits.

        Others are computed with functions that machines round otherwise: matrix products, cosines.
        """
        return self._exact

    @abstractmethod
    def __str__(self) -> str:
        """As a person reads it."""

    @property
    def moments(self) -> Moments | None:
        """Mean and variance of each element; None where elements are not alike."""
        return None

    @property
    @abstractmethod
    def support(self) -> tuple[float, float]:
        """The closed interval, perhaps infinite, outside which no value lies."""

    @abstractmethod
    def scaled(self, factor: float) -> Law:
        """Give the law of `factor` times the values; `LawError` if `factor` is not finite."""

    def of_part(self) -> Law:
        """Give the law of the real, and of the imaginary, part of a complex tensor.

        Each part has half the variance. Raises `LawError` if the law has no such part.
        """
        raise LawError(
            f"{self} cannot fill a complex tensor",
            hint="write a constant, or a random law that is symmetric about 0",
        )

    @abstractmethod
    def validate(self, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        """Raise `LawError` if a tensor of this shape and type cannot follow the law.

        What passes here cannot fail when it is written.
        """

    def fills(self, tensor: Tensor, stream: field.Stream) -> list[field.Fill]:
        """Give the draws, element by element, that `field.fill` must carry out on `tensor`."""
        return []

    def write(self, tensor: Tensor, stream: field.Stream) -> None:  # noqa: B027
        """Set, once `fills` are carried out, every value that they do not decide."""

    def write_each(self, tensors: list[Tensor]) -> None:
        """Write one or more whole tensors, of a law that draws nothing."""
        for tensor in tensors:
            self.write(tensor, field.NO_STREAM)

    def fills_part(self, part: Part, stream: field.Stream) -> list[field.Fill]:
        """Give the draws that `field.fill` must carry out on a part of a tensor.

        What is then in the part is, bit for bit, what the whole tensor would hold there.
        """
        return []

    def write_part(self, part: Part, stream: field.Stream) -> None:
        """Set, once `fills_part` are carried out, every value of a part that they do not decide.

        A law of the whole matrix makes the whole matrix, and keeps the part.
        """
        if not part.runs.size:
            return
        whole = part.whole()
        field.fill(self.fills(whole, stream))
        self.write(whole, stream)
        part.take(whole)

    def room(self, shape: tuple[int, ...], dtype: torch.dtype) -> int:
        """Bytes that `write_part` takes for a while beside the part, for a tensor of this shape.

        0 for laws whose elements are made one by one.
        """
        return math.prod(shape) * dtype.itemsize

    @abstractmethod
    def write_torch(self, tensor: Tensor) -> None:
        """Write values as `torch.nn.init` does, with the same bits from torch's generator."""

    @abstractmethod
    def check(self, tensor: Tensor) -> tuple[str, ...]:
        """Say what in these values contradicts the law; nothing if nothing does.

        Only what is certain is said: a law of chance is judged by its support alone.
        """

    def pieces(self, tensor: Tensor) -> Iterator[Piece]:
        """Divide a tensor into what each of the laws that this one is made of is about.

        What is left as it was is no piece. Values are views where that is possible.
        """
        yield Piece("", self, tensor.detach())

    def to_json(self) -> dict[str, object]:
        """Give the law as JSON data; `from_json` reads it back exactly.

        Infinite bounds are the strings "inf" and "-inf", which standard JSON has no numbers for.
        """
        data: dict[str, object] = {"kind": self.kind}
        for item in dataclasses.fields(self):  # type: ignore[arg-type]
            data[item.name] = _plain(getattr(self, item.name))
        return data


AnyGained = TypeVar("AnyGained", bound="Gained")


class Gained(Law):
    """A law of `gain` times a matrix whose rows or columns are unit vectors."""

    gain: float

    def __post_init__(self) -> None:
        settle(self, "gain")

    @property
    def support(self) -> tuple[float, float]:
        """Within the gain on both sides: no entry of a unit vector is larger than 1."""
        return -abs(self.gain), abs(self.gain)

    def scaled(self: AnyGained, factor: float) -> AnyGained:
        """Give the law with another gain."""
        # Every law with a gain is a dataclass, which this class itself is not.
        return dataclasses.replace(cast("Any", self), gain=self.gain * factor)


def _plain(value: object) -> object:
    if isinstance(value, Law):
        return value.to_json()
    if isinstance(value, tuple):
        return [_plain(item) for item in cast("tuple[object, ...]", value)]
    if isinstance(value, float) and math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return value


def short(number: float) -> str:
    """Write a number with four significant digits.

    >>> short(0.0625), short(2.0), short(1 / 3), short(12345.0)
    ('0.0625', '2', '0.3333', '12345')
    """
    if number.is_integer() and abs(number) < 1e6:
        return str(int(number))
    return f"{number:.4g}"


def times(text: str, factor: float) -> str:
    """Append a factor to the name of a law, unless it is 1."""
    return text if factor == 1 else f"{text} x {short(factor)}"


def settle(law: Law, *names: str, infinite: bool = False) -> None:
    """Make these parameters of a frozen law floats; `LawError` for what is no (finite) number."""
    for name in names:
        value: object = getattr(law, name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise LawError(f"{name} must be a number, not {value!r}")
        try:
            number = float(value)
        except OverflowError:
            raise LawError(f"{name} is too large for a float") from None
        if math.isnan(number) or (math.isinf(number) and not infinite):
            raise LawError(f"{name} must be finite, not {number}")
        object.__setattr__(law, name, number)


def require_floating(law: Law, dtype: torch.dtype) -> None:
    """Raise `LawError` unless `dtype` holds fractions: integers and bools take constants only."""
    if not (dtype.is_floating_point or dtype.is_complex):
        raise LawError(
            f"{law} cannot fill a tensor of {name_of(dtype)}, which takes constants only",
            hint="write a number that the type holds, for example `0`",
        )


def require_real(law: Law, dtype: torch.dtype) -> None:
    """Raise `LawError` unless `dtype` is a real floating-point type."""
    require_floating(law, dtype)
    if dtype.is_complex:
        raise LawError(
            f"{law} cannot fill a complex tensor",
            hint="write a constant, or a random law that is symmetric about 0",
        )


def name_of(dtype: torch.dtype) -> str:
    """Give the name of a type without its module.

    >>> name_of(torch.bfloat16)
    'bfloat16'
    """
    return str(dtype).removeprefix("torch.")


def dimensions(count: int) -> str:
    """Count dimensions in words that agree.

    >>> dimensions(1), dimensions(3)
    ('1 dimension', '3 dimensions')
    """
    return "1 dimension" if count == 1 else f"{count} dimensions"


def comparable(tensor: Tensor) -> Tensor:
    """Give the values in a type that can compute: 8-bit and 16-bit floats become float32."""
    values = tensor.detach()
    if values.is_floating_point() and values.dtype.itemsize < 4:
        return values.float()
    return values


def amiss(wrong: Tensor, text: str) -> tuple[str, ...]:
    """Count the elements marked in `wrong` in one message; no message if there are none.

    >>> amiss(torch.tensor([True, False, True]), "are not 0")
    ('2 of 3 values are not 0',)
    """
    count = int(wrong.sum())
    if count == 0:
        return ()
    if count == 1:
        text = text.replace("are ", "is ", 1).replace("lie ", "lies ", 1)
    return (f"{count} of {wrong.numel()} values {text}",)


def not_finite(values: Tensor) -> tuple[str, ...]:
    """Say how many values are NaN or infinite, if any are."""
    return amiss(~torch.isfinite(values), "are NaN or infinite")


def through_float32(tensor: Tensor, write: Callable[[Tensor], object]) -> None:
    """Let `write` fill a float32 buffer, and round its values once into `tensor`."""
    buffer = torch.empty(tensor.shape, dtype=torch.float32, device=tensor.device)
    write(buffer)
    tensor.copy_(buffer)
