"""Laws under which every element is drawn alike and alone."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from initpolicy import field
from initpolicy.laws.base import (
    Law,
    LawError,
    Moments,
    amiss,
    comparable,
    name_of,
    not_finite,
    require_floating,
    settle,
    short,
    through_float32,
)
from initpolicy.laws.part import Part
from initpolicy.laws.truncated import standard_cdf, standard_moments, truncated_cdf

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Constant(Law):
    """Every element is `value`, rounded once to the tensor's type, as `torch.full` does.

    >>> str(Constant(0.5)), Constant(0.5).moments
    ('0.5', Moments(mean=0.5, variance=0.0))
    """

    value: float
    kind: ClassVar[str] = "constant"
    _exact: ClassVar[bool] = True
    is_drawn: ClassVar[bool] = False

    def __post_init__(self) -> None:
        settle(self, "value")

    def __str__(self) -> str:
        return short(self.value)

    @property
    def moments(self) -> Moments:
        """The value, without variance."""
        return Moments(self.value, 0.0)

    @property
    def support(self) -> tuple[float, float]:
        """The value alone."""
        return self.value, self.value

    def scaled(self, factor: float) -> Constant:
        """Give the constant `factor * value`."""
        return Constant(self.value * factor)

    def of_part(self) -> Constant:
        """Give 0 for 0; `LawError` for any other constant, whose parts differ."""
        if self.value != 0:
            raise LawError(f"the parts of the complex constant {self} differ")
        return self

    def validate(self, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        """Raise `LawError` if `dtype` cannot hold the value: 0.5 as an integer, 300 in 8 bits.

        >>> Constant(300).validate((2,), torch.uint8)
        Traceback (most recent call last):
            ...
        initpolicy.laws.base.LawError: 300 does not fit into uint8, which holds 0 to 255
        """
        if dtype.is_floating_point or dtype.is_complex:
            # torch refuses to write what is larger, also where it would be rounded down.
            largest = torch.finfo(dtype).max
            if abs(self.value) > largest:
                raise LawError(
                    f"{self} does not fit into {name_of(dtype)}, "
                    f"whose largest value is {short(largest)}"
                )
            return
        low, high = (0, 1) if dtype == torch.bool else _integers(dtype)
        if not self.value.is_integer():
            raise LawError(
                f"{self} does not fit into {name_of(dtype)}, which holds whole numbers only",
                hint=f"write `{math.floor(self.value)}` or `{math.ceil(self.value)}`",
            )
        if not low <= int(self.value) <= high:
            raise LawError(
                f"{self} does not fit into {name_of(dtype)}, which holds {low} to {high}"
            )

    def write(self, tensor: Tensor, stream: field.Stream) -> None:
        """Fill `tensor` with the value."""
        self.write_torch(tensor)

    def write_each(self, tensors: list[Tensor]) -> None:
        """Fill every tensor with the value; zeros and ones of plain tensors in one call."""
        value = self.value
        plain = str(value) in ("0.0", "1.0")  # a negative zero is another one
        # Autograd lets a parameter be written where it does not look, and nowhere else.
        if not plain or torch.is_grad_enabled() or any(map(_is_special, tensors)):
            super().write_each(tensors)
            return
        torch._foreach_zero_(tensors)  # pyright: ignore[reportPrivateImportUsage, reportPrivateUsage]
        if value:  # not by adding, which would come to 2 where tensors share memory
            torch._foreach_clamp_min_(tensors, 1)  # pyright: ignore[reportPrivateImportUsage, reportPrivateUsage]

    def write_part(self, part: Part, stream: field.Stream) -> None:
        """Fill the part with the value."""
        self.write_torch(part.tensor)

    def room(self, shape: tuple[int, ...], dtype: torch.dtype) -> int:
        """Nothing."""
        return 0

    def write_torch(self, tensor: Tensor) -> None:
        """Fill `tensor` with the value; nothing is drawn."""
        exact = tensor.is_floating_point() or tensor.is_complex()
        if tensor.is_inference() or (tensor.requires_grad and torch.is_grad_enabled()):
            tensor = tensor.detach()  # which autograd lets be written
        tensor.fill_(self.value if exact else int(self.value))

    def check(self, tensor: Tensor) -> tuple[str, ...]:
        """Count the elements that are not the value as the type rounds it."""
        values = comparable(tensor)
        rounded = torch.full((), self.value, dtype=tensor.dtype, device=tensor.device)
        return amiss(values != comparable(rounded), f"are not {self}")


_SUMMED = frozenset({torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64})
_PLAIN = (Tensor, nn.Parameter)


def _is_special(tensor: Tensor) -> bool:
    return type(tensor) not in _PLAIN or tensor.dtype not in _SUMMED or tensor.is_inference()


def _integers(dtype: torch.dtype) -> tuple[int, int]:
    limits = torch.iinfo(dtype)
    return int(limits.min), int(limits.max)


class Drawn(Law):
    """A law of chance: elements are independent and all follow one distribution."""

    _exact: ClassVar[bool] = True

    @property
    @abstractmethod
    def draw(self) -> field.Draw:
        """What the random field does with each word."""

    @property
    @abstractmethod
    def moments(self) -> Moments:
        """Exact mean and variance of each element."""

    @abstractmethod
    def cdf(self, x: npt.ArrayLike) -> Floats:
        """Give the probability of a value of at most `x`, element by element, in float64."""

    @abstractmethod
    def _draw_torch(self, tensor: Tensor) -> object:
        """Draw with torch's generator into a real tensor that torch can draw into."""

    def validate(self, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        """Raise `LawError` if the elements of `dtype` cannot follow the law."""
        require_floating(self, dtype)
        law, part = (self.of_part(), dtype.to_real()) if dtype.is_complex else (self, dtype)
        try:
            field.check_draw(law.draw, part)
        except (ValueError, TypeError) as error:
            raise LawError(f"{self} cannot fill a tensor of {name_of(dtype)}: {error}") from error

    @abstractmethod
    def of_part(self) -> Drawn:
        """Give the law of each part of a complex number: the same, divided by sqrt(2)."""

    def fills(self, tensor: Tensor, stream: field.Stream) -> list[field.Fill]:
        """Give one draw over all elements; of a complex tensor, over the parts in turn."""
        if tensor.is_complex():
            return self.of_part().fills(torch.view_as_real(tensor.detach()), stream)
        return [field.Fill(tensor, stream, self.draw)]

    def fills_part(self, part: Part, stream: field.Stream) -> list[field.Fill]:
        """Give one draw over the elements held."""
        tensor = part.tensor.detach()
        if tensor.is_complex():
            tensor, runs = torch.view_as_real(tensor), part.runs.doubled()
            return [field.Fill(tensor, stream, self.of_part().draw, runs)]
        return [field.Fill(tensor, stream, self.draw, part.runs)]

    def write_part(self, part: Part, stream: field.Stream) -> None:
        """Nothing is left to set."""

    def room(self, shape: tuple[int, ...], dtype: torch.dtype) -> int:
        """Nothing."""
        return 0

    @torch.no_grad()
    def write_torch(self, tensor: Tensor) -> None:
        """Draw with torch's generator, as the function of `torch.nn.init` does."""
        if tensor.is_complex():
            self.of_part().write_torch(torch.view_as_real(tensor.detach()))
        elif tensor.dtype.itemsize < 2:  # torch draws no 8-bit floats
            through_float32(tensor, self._draw_torch)
        else:
            self._draw_torch(tensor)

    def check(self, tensor: Tensor) -> tuple[str, ...]:
        """Count values that are not finite, and values outside the support.

        A bound counts as the tensor's type rounds it, because values are rounded so.
        """
        if tensor.is_complex():
            return self.of_part().check(torch.view_as_real(tensor.detach()))
        values = comparable(tensor)
        low, high = (_as_rounded(bound, tensor.dtype) for bound in self.support)
        finite = torch.isfinite(values)
        outside = finite & ((values < low) | (values > high))
        return not_finite(values) + amiss(
            outside, f"lie outside [{', '.join(map(short, self.support))}]"
        )


def _as_rounded(bound: float, dtype: torch.dtype) -> float:
    if math.isinf(bound):
        return bound
    exact = torch.tensor(bound, dtype=torch.float64)
    if dtype != torch.float64:  # narrow types are the float32 value, rounded once more
        exact = exact.float().to(dtype)
    return float(exact)


@dataclass(frozen=True)
class Uniform(Drawn):
    """Uniform between `low` and `high`.

    >>> law = Uniform(-0.1, 0.1)
    >>> str(law), law.moments.mean, f"{law.moments.variance:.6f}"
    ('U(-0.1, 0.1)', 0.0, '0.003333')
    """

    low: float
    high: float
    kind: ClassVar[str] = "uniform"

    def __post_init__(self) -> None:
        settle(self, "low", "high")
        if self.low > self.high:
            raise LawError(
                f"the lower bound {short(self.low)} lies above the upper bound {short(self.high)}",
                hint="exchange them",
            )

    def __str__(self) -> str:
        return f"U({short(self.low)}, {short(self.high)})"

    @property
    def draw(self) -> field.UniformDraw:
        """Uniform words, mapped affinely."""
        return field.UniformDraw(self.low, self.high)

    @property
    def moments(self) -> Moments:
        """Mean (low + high) / 2 and variance (high - low)^2 / 12."""
        width = self.high - self.low  # its product may be infinite, where its power would raise
        return Moments(self.low / 2 + self.high / 2, width * width / 12)

    @property
    def support(self) -> tuple[float, float]:
        """Both bounds."""
        return self.low, self.high

    def cdf(self, x: npt.ArrayLike) -> Floats:
        """Give (x - low) / (high - low), within 0 and 1.

        >>> Uniform(0, 4).cdf([-1, 1, 5]).tolist()
        [0.0, 0.25, 1.0]
        """
        points = np.asarray(x, dtype=np.float64)
        if self.low == self.high:
            return np.asarray(points >= self.low, dtype=np.float64)
        return np.minimum(1.0, np.maximum(0.0, (points - self.low) / (self.high - self.low)))

    def scaled(self, factor: float) -> Uniform:
        """Give the law between both bounds times `factor`, which may be negative."""
        return Uniform(*sorted((self.low * factor, self.high * factor)))

    def of_part(self) -> Uniform:
        """Give the law between both bounds divided by sqrt(2); `LawError` unless symmetric."""
        _require_symmetry(self, self.low == -self.high)
        return self.scaled(math.sqrt(0.5))

    def _draw_torch(self, tensor: Tensor) -> object:
        return tensor.uniform_(self.low, self.high)


@dataclass(frozen=True)
class Normal(Drawn):
    """Normal with this mean and standard deviation.

    >>> law = Normal(0.0, 0.0625)
    >>> str(law), law.moments
    ('N(0, 0.0625)', Moments(mean=0.0, variance=0.00390625))
    """

    mean: float
    std: float
    kind: ClassVar[str] = "normal"

    def __post_init__(self) -> None:
        settle(self, "mean", "std")
        if self.std < 0:
            raise LawError(f"std must not be negative, and is {short(self.std)}")

    def __str__(self) -> str:
        return f"N({short(self.mean)}, {short(self.std)})"

    @property
    def draw(self) -> field.NormalDraw:
        """Normal quantiles of uniform words."""
        return field.NormalDraw(self.mean, self.std)

    @property
    def moments(self) -> Moments:
        """The parameters themselves."""
        return Moments(self.mean, self.std * self.std)

    @property
    def support(self) -> tuple[float, float]:
        """All numbers, or the mean alone if std is 0."""
        return (-math.inf, math.inf) if self.std else (self.mean, self.mean)

    def cdf(self, x: npt.ArrayLike) -> Floats:
        """Give the normal distribution function.

        >>> Normal(1, 2).cdf([1.0, 3.0]).round(4).tolist()
        [0.5, 0.8413]
        """
        points = np.asarray(x, dtype=np.float64)
        if self.std == 0:
            return np.asarray(points >= self.mean, dtype=np.float64)
        return standard_cdf((points - self.mean) / self.std)

    def scaled(self, factor: float) -> Normal:
        """Give the law with mean and std times `factor`, which may be negative."""
        return Normal(self.mean * factor, self.std * abs(factor))

    def of_part(self) -> Normal:
        """Give std / sqrt(2); `LawError` unless the mean is 0."""
        _require_symmetry(self, self.mean == 0)
        return self.scaled(math.sqrt(0.5))

    @torch.no_grad()
    def write_torch(self, tensor: Tensor) -> None:
        """Draw with `Tensor.normal_`, which knows complex tensors by itself."""
        if tensor.is_complex():
            self._draw_torch(tensor)
        else:
            super().write_torch(tensor)

    def _draw_torch(self, tensor: Tensor) -> object:
        return tensor.normal_(self.mean, self.std)


@dataclass(frozen=True)
class TruncatedNormal(Drawn):
    """Normal with this mean and std before values outside [low, high] are excluded.

    The bounds are absolute and may be infinite. `moments` are those of what remains.

    >>> law = TruncatedNormal(0.0, 0.02, -0.04, 0.04)
    >>> str(law), f"{law.moments.std:.6f}"
    ('N(0, 0.02) in [-0.04, 0.04]', '0.017593')
    """

    mean: float
    std: float
    low: float
    high: float
    kind: ClassVar[str] = "truncated_normal"

    def __post_init__(self) -> None:
        settle(self, "mean", "std")
        settle(self, "low", "high", infinite=True)
        if self.std <= 0:
            raise LawError(f"std must be positive, and is {short(self.std)}")
        if not self.low < self.high:
            raise LawError(
                f"the lower bound {short(self.low)} does not lie "
                f"below the upper bound {short(self.high)}",
            )

    def __str__(self) -> str:
        bounds = f"[{short(self.low)}, {short(self.high)}]"
        return f"N({short(self.mean)}, {short(self.std)}) in {bounds}"

    @property
    def draw(self) -> field.TruncatedDraw:
        """Normal quantiles of words that are mapped into the interval's probabilities."""
        return field.TruncatedDraw(self.mean, self.std, self.low, self.high)

    @property
    def moments(self) -> Moments:
        """Mean and variance after truncation (Burkardt, "The truncated normal distribution")."""
        mean, variance = standard_moments(*self._standard_bounds())
        return Moments(self.mean + self.std * mean, self.std * self.std * variance)

    @property
    def support(self) -> tuple[float, float]:
        """Both bounds."""
        return self.low, self.high

    def cdf(self, x: npt.ArrayLike) -> Floats:
        """Give the normal distribution function, mapped from the interval onto 0 to 1.

        >>> TruncatedNormal(0, 1, -2, 2).cdf([-2.0, 0.0, 1.0, 3.0]).round(4).tolist()
        [0.0, 0.5, 0.8576, 1.0]
        """
        points = (np.asarray(x, dtype=np.float64) - self.mean) / self.std
        return truncated_cdf(points, *self._standard_bounds())

    def scaled(self, factor: float) -> TruncatedNormal | Constant:
        """Give the law with every parameter times `factor`; for 0 that is a constant."""
        if factor == 0:
            return Constant(0.0)
        low, high = sorted((self.low * factor, self.high * factor))
        return TruncatedNormal(self.mean * factor, self.std * abs(factor), low, high)

    def of_part(self) -> TruncatedNormal:
        """Give std and bounds divided by sqrt(2); `LawError` unless symmetric about 0."""
        _require_symmetry(self, self.mean == 0 and self.low == -self.high)
        half = math.sqrt(0.5)
        return TruncatedNormal(0.0, self.std * half, self.low * half, self.high * half)

    def _standard_bounds(self) -> tuple[float, float]:
        return (self.low - self.mean) / self.std, (self.high - self.mean) / self.std

    def _draw_torch(self, tensor: Tensor) -> object:
        # Far in a tail torch proposes uniform values, which need finite bounds: 12 sigma beyond the
        # bulk of the law, out of reach of a double. Elsewhere such a bound changes nothing.
        low, high = self._standard_bounds()
        if math.isinf(high):
            high = max(low, 0.0) + 12
        if math.isinf(low):
            low = min(high, 0.0) - 12
        low = self.mean + self.std * low if math.isinf(self.low) else self.low
        high = self.mean + self.std * high if math.isinf(self.high) else self.high
        return torch.nn.init.trunc_normal_(tensor, self.mean, self.std, low, high)


def _require_symmetry(law: Drawn, symmetric: bool) -> None:
    if not symmetric:
        raise LawError(
            f"{law} cannot fill a complex tensor, because it is not symmetric about 0",
            hint="write a constant, or a random law that is symmetric about 0",
        )
