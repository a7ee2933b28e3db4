"""What values seem to follow, where they do not follow their law."""

# The stubs of torch leave these functions without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from initpolicy.laws import Drawn, LawError, Normal, TruncatedNormal, Uniform
from initpolicy.laws.base import short

_MOST = 1 << 16
_FEWEST = 20
_CLOSE = 4.0
"""Twice the count times the squared distance: a true law is farther once in a thousand times."""


def looks_like(values: Tensor, module_type: str = "") -> str:
    """Name the law, or the well-known scheme, that values resemble; nothing if none does.

    >>> looks_like(torch.zeros(8))
    'the constant 0'
    >>> layer = torch.nn.Linear(625, 64)
    >>> looks_like(layer.weight, "Linear")
    "U(-0.04, 0.04), torch's default for Linear"
    """
    shape = tuple(values.shape)
    flat = values.detach().reshape(-1)
    if flat.is_complex() or not flat.numel():
        return ""
    step = max(1, flat.numel() // _MOST)
    some = flat[::step].double().cpu()
    some = some[torch.isfinite(some)].numpy()
    if not some.size:
        return "no numbers at all"
    if some.min() == some.max():
        return f"the constant {short(float(some[0]))}" if some.size > 1 else ""
    zeros = float((some == 0).mean())
    if zeros > 0.2:
        return f"{100 * zeros:.0f} % zeros"
    if some.size < _FEWEST:
        return ""
    ordered = np.sort(some)
    for candidates in (_known(shape, module_type), _fitted(ordered)):
        found = [(_distance(law, ordered), law, remark) for law, remark in candidates]
        close = [one for one in found if 2 * some.size * one[0] ** 2 < _CLOSE]
        if close:
            _, law, remark = min(close, key=lambda one: one[0])
            return f"{law}, {remark}" if remark else str(law)
    return ""


def _distance(law: Drawn, ordered: np.ndarray) -> float:
    steps = np.arange(ordered.size + 1) / ordered.size
    at = law.cdf(ordered)
    return float(max((steps[1:] - at).max(), (at - steps[:-1]).max()))


def _known(shape: tuple[int, ...], module_type: str) -> Iterator[tuple[Drawn, str]]:
    """The schemes that weights of this shape often have."""
    if len(shape) < 2:
        return
    field = math.prod(shape[2:])
    fan_in, fan_out = shape[1] * field, shape[0] * field
    if module_type == "Embedding":
        yield Normal(0.0, 1.0), "torch's default for Embedding"
        return
    if not fan_in or not fan_out:
        return
    default = "torch's default" + (f" for {module_type}" if module_type else "")
    if "Transpose" not in module_type:
        yield _uniform(1 / math.sqrt(3 * fan_in)), default
    for fan, mode in ((fan_in, "fan_in"), (fan_out, "fan_out")):
        yield Normal(0.0, math.sqrt(2 / fan)), f"kaiming_normal for ReLU with {mode}"
        yield _uniform(math.sqrt(2 / fan)), f"kaiming_uniform for ReLU with {mode}"
        yield Normal(0.0, math.sqrt(1 / fan)), f"a normal law of variance 1 / {mode}"
    std = math.sqrt(2 / (fan_in + fan_out))
    yield Normal(0.0, std), "xavier_normal"
    yield _uniform(std), "xavier_uniform"


def _uniform(std: float) -> Uniform:
    return Uniform(-std * math.sqrt(3), std * math.sqrt(3))


def _fitted(ordered: np.ndarray) -> Iterator[tuple[Drawn, str]]:
    """Laws whose parameters are those of the values."""
    low, high = float(ordered[0]), float(ordered[-1])
    mean, std = float(ordered.mean()), float(ordered.std())
    yield Uniform(low, high), ""
    yield Normal(mean, std), ""
    wide = (high - low) / 4  # cut at 2 sigma on both sides
    try:
        yield TruncatedNormal((low + high) / 2, wide, low, high), ""
    except LawError:
        return
