"""What the checks of an initializer share: draws to compare, and what is found in them."""

# The stubs of torch and numpy leave these functions without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from initpolicy import field
from initpolicy.laws import Law
from initpolicy.testing.tensors import Case

STREAMS = tuple(field.stream(seed, name) for seed in (0, 1) for name in ("weight", "0.bias"))
"""Two names, each with two seeds."""


@dataclass(frozen=True)
class Broken:
    """One promise that is not kept: the code of its page, what happens, what to do."""

    code: str
    message: str
    hint: str


def named(law: Law) -> str:
    """Give a law as a person reads it."""
    try:
        return str(law)
    except Exception:  # a law may be broken in that as well
        return type(law).__name__


def empty(case: Case, *, dtype: torch.dtype | None = None, canvas: float = 7.0) -> Tensor:
    """Give a tensor of the case's shape, in which every element is `canvas`."""
    return torch.full(case.shape, canvas).to(dtype or case.dtype)


def drawn(law: Law, tensor: Tensor, stream: field.Stream) -> Tensor:
    """Give a tensor the values of a law."""
    with torch.no_grad():
        field.fill(law.fills(tensor, stream))
        law.write(tensor, stream)
    return tensor


def same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same bits, but that every NaN is like every other."""
    return torch.equal(torch.nan_to_num(one, nan=3.0), torch.nan_to_num(other, nan=3.0)) and bool(
        torch.equal(one != one, other != other)
    )


def in_support(law: Law, values: Tensor, what: str) -> Iterator[Broken]:
    """Say whether a value is outside the support, as the type rounds it."""
    if values.is_complex():
        return
    low, high = law.support
    numbers = values.double()
    slack = 2 * torch.finfo(values.dtype).eps
    slack *= max(abs(bound) for bound in (low, high, 0.0) if math.isfinite(bound))
    slack += torch.finfo(values.dtype).smallest_normal
    outside = (numbers < low - slack) | (numbers > high + slack)
    if bool(outside.any()):
        worst = float(numbers[outside].flatten()[0])
        yield Broken(
            "IP555",
            f"{what} of {named(law)} hold {worst:.4g}, and the law's support is "
            f"[{low:.4g}, {high:.4g}]",
            "correct `support`, or what is drawn",
        )


def in_bounds(law: Law, values: Tensor, what: str) -> Iterator[Broken]:
    """Say whether a value is outside the support, or `check` rejects them."""
    if found := list(in_support(law, values, what)):
        yield from found
    elif said := law.check(values):
        yield Broken(
            "IP555",
            f"`check` of {named(law)} rejects the law's own {what}: {said[0]}",
            "correct `check`, or what is drawn",
        )
