"""Laws and initializers of which each breaks one promise, by the code that says so."""

from __future__ import annotations

import dataclasses
import itertools
import random
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from initpolicy import field
from initpolicy.laws import Constant, LawError, Moments, Normal, Orthogonal, Uniform

BROKEN = []


def breaks(code, **arguments):
    """Registers a law, or a function that gives one, under the code that it must be found by."""

    def keep(made):
        if isinstance(made, type):

            def initializer(tensor, *, std: float = 1.0):
                return made(0.0, std)

            initializer.__name__ = made.__name__
        else:
            initializer = made
        BROKEN.append((code, initializer))
        return made

    return keep


@dataclass(frozen=True)
class Own(Normal):
    """A normal law of another package, without a defect."""

    kind: ClassVar[str] = "own"

    def scaled(self, factor):
        return dataclasses.replace(self, mean=self.mean * factor, std=self.std * abs(factor))

    def of_part(self):
        raise LawError(f"{self} cannot fill a complex tensor")


def sound(tensor, *, std: float = 1.0):
    return Own(0.0, abs(std))


@breaks("IP551")
def never(tensor, *, std: float = 1.0):
    raise ValueError("not today")


@breaks("IP551")
def unannotated(tensor, *, std=1.0):
    return Own(0.0, std)


@breaks("IP551")
def positional(tensor, std: float = 1.0):
    return Own(0.0, std)


@breaks("IP552")
@dataclass(frozen=True)
class FailsLate(Own):
    def fills(self, tensor, stream):
        if tensor.ndim == 3:
            raise RuntimeError("three dimensions")
        return super().fills(tensor, stream)


@breaks("IP552")
@dataclass(frozen=True)
class FailsInParts(Own):
    def fills_part(self, part, stream):
        raise NotImplementedError


@breaks("IP553")
@dataclass(frozen=True)
class TorchGenerator(Own):
    def fills(self, tensor, stream):
        return []

    def write(self, tensor, stream):
        tensor.normal_(0, self.std)

    def fills_part(self, part, stream):
        return []


@breaks("IP553")
@dataclass(frozen=True)
class PythonGenerator(Own):
    def write(self, tensor, stream):
        tensor.mul_(1 + 0 * random.random())


@breaks("IP553")
@dataclass(frozen=True)
class NumpyGenerator(Own):
    def write(self, tensor, stream):
        tensor.mul_(1 + 0 * np.random.random())


COUNTER = itertools.count()


@breaks("IP553")
@dataclass(frozen=True)
class Counting(Own):
    def fills(self, tensor, stream):
        return super().fills(tensor, stream.part(str(next(COUNTER))))


@breaks("IP553")
def unsettled(tensor, *, std: float = 1.0):
    return Own(float(next(COUNTER)), 1.0)


@breaks("IP554")
@dataclass(frozen=True)
class LeavesTheLast(Own):
    def fills(self, tensor, stream):
        if not tensor.numel():
            return []
        count = tensor.numel() - 1
        return [field.Fill(tensor.view(-1)[:count], stream, self.draw)]


@breaks("IP554")
@dataclass(frozen=True)
class Adds(Own):
    def fills(self, tensor, stream):
        return []

    def write(self, tensor, stream):
        noise = torch.empty_like(tensor)
        field.fill([field.Fill(noise, stream, self.draw)])
        tensor.add_(noise)


@breaks("IP554")
@dataclass(frozen=True)
class ByMemory(Own):
    """Numbers elements as they lie in memory."""

    def fills(self, tensor, stream):
        return super().fills(tensor.as_strided((tensor.numel(),), (1,)), stream)


@breaks("IP555")
@dataclass(frozen=True)
class NarrowSupport(Own):
    @property
    def support(self):
        return (-self.std, self.std)

    def check(self, tensor):
        return Normal.check(Normal(0.0, 1.0), tensor)


@breaks("IP555")
@dataclass(frozen=True)
class StrictCheck(Own):
    def check(self, tensor):
        return ("I like none of them",)


@breaks("IP555")
@dataclass(frozen=True)
class BlindToNan(Own):
    def check(self, tensor):
        return ()


@breaks("IP555")
def blind_to_bounds(tensor, *, b: float = 1.0):
    return BlindToBounds(0.0, abs(b))


@dataclass(frozen=True)
class BlindToBounds(Uniform):
    kind: ClassVar[str] = "blind_to_bounds"

    def check(self, tensor):
        return Normal(0.0, 1.0).check(tensor)

    def of_part(self):
        raise LawError("no complex tensors")


@breaks("IP555")
def draws_below(tensor, *, b: float = 1.0):
    return DrawsBelow(0.0, abs(b) + 0.1)


@dataclass(frozen=True)
class DrawsBelow(Uniform):
    """Draws values below its support, which its `check` does not see."""

    kind: ClassVar[str] = "draws_below"

    @property
    def draw(self):
        return field.UniformDraw(2 * self.low - self.high, self.high)

    def check(self, tensor):
        return Uniform(-1000.0, self.high).check(tensor)

    def scaled(self, factor):
        return dataclasses.replace(self, low=self.low * factor, high=self.high * factor)

    def of_part(self):
        raise LawError("no complex tensors")


@breaks("IP556")
@dataclass(frozen=True)
class OneStream(Own):
    def fills(self, tensor, stream):
        return super().fills(tensor, field.stream(0, "always"))

    def fills_part(self, part, stream):
        return super().fills_part(part, field.stream(0, "always"))


@breaks("IP556")
@dataclass(frozen=True)
class SaysNothingIsDrawn(Own):
    is_drawn: ClassVar[bool] = False


PENDING = [None]


@breaks("IP557")
@dataclass(frozen=True)
class Remembers(Own):
    """Takes it that each tensor is written before the next one is asked what to draw."""

    def fills(self, tensor, stream):
        PENDING[0] = stream
        return []

    def write(self, tensor, stream):
        field.fill([field.Fill(tensor, PENDING[0], self.draw)])

    def write_part(self, part, stream):
        field.fill(Normal.fills_part(self, part, stream))

    def fills_part(self, part, stream):
        return []


@breaks("IP558")
@dataclass(frozen=True)
class StreamOfType(Own):
    def fills(self, tensor, stream):
        return super().fills(tensor, stream.part(str(tensor.dtype)))

    def fills_part(self, part, stream):
        return super().fills_part(part, stream.part(str(part.tensor.dtype)))


@breaks("IP558")
@dataclass(frozen=True)
class RoundsTwice(Own):
    def write(self, tensor, stream):
        wide = tensor.double()
        tensor.copy_((wide * 0.7).to(tensor.dtype).double() / 0.7)

    def write_part(self, part, stream):
        self.write(part.tensor, stream)


@breaks("IP559")
@dataclass(frozen=True)
class PartsFromZero(Own):
    def fills_part(self, part, stream):
        return [field.Fill(part.tensor, stream, self.draw)]


@breaks("IP559")
@dataclass(frozen=True)
class PartsByRank(Own):
    def fills_part(self, part, stream):
        if part.is_whole:
            return super().fills_part(part, stream)
        return super().fills_part(part, stream.part(str(part.runs)))


@breaks("IP560")
@dataclass(frozen=True)
class ScalesTheVariance(Own):
    def scaled(self, factor):
        return dataclasses.replace(self, std=self.std * abs(factor) ** 0.5)


@breaks("IP560")
def scales_not(tensor, *, gain: float = 1.0):
    return ScalesNot(gain)


@dataclass(frozen=True)
class ScalesNot(Orthogonal):
    kind: ClassVar[str] = "scales_not"

    def scaled(self, factor):
        return self


@breaks("IP561")
def read_as_another(tensor, *, std: float = 1.0):
    return ReadAsAnother(0.0, abs(std))


@dataclass(frozen=True)
class ReadAsAnother(Normal):
    """Has the kind of the law that it is made of."""


@breaks("IP561")
@dataclass(frozen=True)
class TellsNoJson(Own):
    def to_json(self):
        return {"kind": "own", "std": {1, 2}}


@breaks("IP562")
@dataclass(frozen=True)
class TorchIsWider(Own):
    def _draw_torch(self, tensor):
        return tensor.normal_(0.0, 1.1 * self.std)


@breaks("IP562")
@dataclass(frozen=True)
class TorchIsUniform(Own):
    """Has the mean and the variance, and another distribution."""

    def _draw_torch(self, tensor):
        return tensor.uniform_(-(3**0.5) * self.std, 3**0.5 * self.std)


@breaks("IP562")
@dataclass(frozen=True)
class TorchIsUnseeded(Own):
    def _draw_torch(self, tensor):
        return tensor.normal_(0.0, self.std, generator=GENERATOR)


GENERATOR = torch.Generator()


@breaks("IP562")
def torch_is_one(tensor, *, val: float = 0.5):
    return TorchIsOne(val)


@dataclass(frozen=True)
class TorchIsOne(Constant):
    kind: ClassVar[str] = "torch_is_one"

    def write(self, tensor, stream):
        tensor.fill_(self.value)

    def write_part(self, part, stream):
        part.tensor.fill_(self.value)

    def write_torch(self, tensor):
        tensor.fill_(1)


@breaks("IP563")
@dataclass(frozen=True)
class WrongStd(Own):
    """Its moments and its distribution function are 5 % off."""

    @property
    def moments(self):
        return Normal(0.0, 1.05 * self.std).moments

    def cdf(self, x):
        return Normal(0.0, 1.05 * self.std).cdf(x)

    def _draw_torch(self, tensor):
        return tensor.normal_(0.0, 1.05 * self.std)


@breaks("IP563")
@dataclass(frozen=True)
class WrongMean(Own):
    @property
    def moments(self):
        return Moments(0.05 * self.std, self.std**2)

    def cdf(self, x):
        return Normal(0.05 * self.std, self.std).cdf(x)

    def _draw_torch(self, tensor):
        return tensor.normal_(0.05 * self.std, self.std)


@breaks("IP563")
@dataclass(frozen=True)
class WrongMoments(Own):
    @property
    def moments(self):
        return Moments(0.0, 1.01 * self.std**2)


@breaks("IP563")
@dataclass(frozen=True)
class WrongShape(Own):
    """Draws a uniform law of equal variance, here and with torch."""

    @property
    def draw(self):
        bound = 3**0.5 * self.std
        return field.UniformDraw(-bound, bound)

    def _draw_torch(self, tensor):
        return tensor.uniform_(-(3**0.5) * self.std, 3**0.5 * self.std)


@breaks("IP563")
@dataclass(frozen=True)
class SaysItIsConstant(Own):
    @property
    def moments(self):
        return Moments(0.0, 0.0)


@breaks("IP563")
@dataclass(frozen=True)
class FallingCdf(Own):
    def cdf(self, x):
        return 1 - super().cdf(x)
