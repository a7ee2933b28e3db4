"""Bounds that cut nothing off, and spreads that the type cannot tell."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from initpolicy.laws import TruncatedNormal
from initpolicy.laws.base import short
from initpolicy.linting.subject import Subject

FAR = 10.0


def bounds_far_out(subject: Subject) -> Iterator[str]:
    """A truncation that cuts nothing off.

    Both bounds of a truncated normal law are ten standard deviations away or more, where no value
    ever lies: they are absolute numbers, and were probably meant as multiples of std.
    """
    law = subject.law
    if not isinstance(law, TruncatedNormal):
        return
    nearest = min(law.high - law.mean, law.mean - law.low) / law.std
    if FAR * (1 - 1e-9) <= nearest < math.inf:
        yield (
            f"{law} is cut {short(nearest)} standard deviations from its mean; write `cut = 2` for "
            "bounds at two of them, or `normal`"
        )


def spread_lost(subject: Subject) -> Iterator[str]:
    """A spread that the type cannot tell.

    The standard deviation is smaller than the distance between neighbouring numbers of the
    tensor's type where the values lie, so that nearly all of them round to one or two numbers.
    """
    moments = subject.law.moments
    dtype: object = getattr(torch, subject.decision.dtype, None)
    if moments is None or not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        return
    step = spacing(moments.mean, dtype)
    if 0 < moments.std < step:
        yield (
            f"the std of {subject.law} is {short(moments.std)}, and next to {short(moments.mean)} "
            f"{subject.decision.dtype} has a number every {short(step)}; draw it as float32, or "
            "write the constant"
        )


def spacing(value: float, dtype: torch.dtype) -> float:
    """Give the distance between a number and the next larger one of a type.

    >>> spacing(1.0, torch.bfloat16), spacing(0.0, torch.float16) == 2**-24
    (0.0078125, True)
    """
    limits = torch.finfo(dtype)
    exponent = math.floor(math.log2(max(abs(value), limits.smallest_normal)))
    return limits.eps * 2.0**exponent
