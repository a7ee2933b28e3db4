"""What is measured of one tensor."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import numpy as np
import torch

from initpolicy.model import is_sharded

MOST_SAMPLED = 2**14
"""Derivatives and attention are taken of at most so many values, evenly spaced."""

FLAT = 0.05
"""A unit is saturated where the slope is below this share of the steepest slope."""

SURE = 0.5 * (1 + math.sqrt(1 - FLAT))
"""A row of attention is saturated where its largest probability is above this: the slope
p (1 - p) is then below `FLAT` of its largest value, 1/4."""

_torch: Any = torch  # of which not every function has a type

# Squares of values outside of these are lost in float32.
_SMALLEST, _LARGEST = 1e-12, 1e15


class Moments(NamedTuple):
    """Mean, standard deviation and root mean square."""

    mean: float
    std: float
    rms: float


def moments(values: torch.Tensor) -> Moments:
    """Measure all values; those of a layer that vanishes or explodes too.

    >>> [f"{one:.4g}" for one in moments(torch.tensor([3e-30, 1e-30]))]
    ['2e-30', '1e-30', '2.236e-30']
    """
    values = _real(values)
    if not values.numel():
        return Moments(0.0, 0.0, 0.0)
    rms = root_mean_square(values)
    mean = float(values.mean())
    if not (math.isfinite(rms) and math.isfinite(mean)):
        return Moments(mean, rms, rms)
    square = (rms - mean) * (rms + mean)
    if square > 1e-3 * rms * rms:
        return Moments(mean, math.sqrt(square), rms)
    # What is left of a difference of nearly equal numbers is rounding.
    return Moments(mean, root_mean_square(values - mean), rms)


def root_mean_square(values: torch.Tensor) -> float:
    """The root of the mean of squares, none of which overflows or vanishes."""
    values = _real(values)
    if not values.numel():
        return 0.0
    root = math.sqrt(values.numel())
    norm = float(_torch.linalg.vector_norm(values))
    if norm / root > _SMALLEST and norm < _LARGEST:
        return norm / root
    largest = float(values.abs().amax())
    if largest == 0 or not math.isfinite(largest):
        return largest
    return float(_torch.linalg.vector_norm(values.double())) / root


def _real(values: torch.Tensor) -> torch.Tensor:
    values = values.detach()
    if values.is_complex():
        values = torch.view_as_real(values)
    return values if values.dtype in (torch.float32, torch.float64) else values.float()


def local(tensor: torch.Tensor) -> torch.Tensor:
    """What this process holds of a tensor; all of a sum that processes hold the terms of."""
    if not is_sharded(tensor):
        return tensor
    from torch.distributed.tensor import Partial, Replicate

    shared = cast("Any", tensor.detach())
    if any(isinstance(placement, Partial) for placement in shared.placements):
        whole = [Replicate() if isinstance(p, Partial) else p for p in shared.placements]
        shared = shared.redistribute(placements=whole)
    return shared.to_local()


def share_of_zeros(values: torch.Tensor) -> float:
    """The share of values that are exactly zero."""
    number = values.numel()
    if not number:
        return 0.0
    zeros = values.detach().eq(0)
    if zeros.is_cpu:  # where numpy counts faster
        return int(np.count_nonzero(zeros.numpy())) / number
    return int(zeros.sum()) / number


def share_of_dead(values: torch.Tensor, unit: int) -> float:
    """The share of units that are zero everywhere in the batch; `unit` is their dimension."""
    if values.ndim < 1 or not values.numel():
        return 0.0
    unit = unit if -unit <= values.ndim else -1
    if values.ndim == 1:  # without a batch
        return share_of_zeros(values)
    by_unit = values.detach().movedim(unit, 0)
    if bool(by_unit[:, :1].ne(0).flatten(1).any(1).all()):
        return 0.0  # a part of the batch has every unit
    alive = by_unit.ne(0).flatten(1).any(1)
    return 1 - float(alive.float().mean())


def sampled(values: torch.Tensor) -> torch.Tensor:
    """At most `MOST_SAMPLED` values, evenly spaced, as a copy."""
    flat = _real(values).reshape(-1)
    # An odd distance, so that it does not fall in step with the sizes of dimensions.
    step = -(-flat.numel() // MOST_SAMPLED) | 1
    return flat[::step].clone()


def share_of_flat(function: Callable[[torch.Tensor], torch.Tensor], inputs: torch.Tensor) -> float:
    """The share of inputs at which the slope of a function is small beside its steepest.

    >>> share_of_flat(torch.relu, torch.tensor([-2.0, -1.0, 1.0, 2.0]))
    0.5
    """
    everywhere = torch.linspace(-8, 8, 1601, device=inputs.device)
    slopes = _slopes(function, torch.cat((everywhere, inputs.float())))
    steepest = slopes[: len(everywhere)].amax()
    return float((slopes[len(everywhere) :] < FLAT * steepest).float().mean())


def _slopes(function: Callable[[torch.Tensor], torch.Tensor], at: torch.Tensor) -> torch.Tensor:
    with torch.enable_grad():
        inputs = at.detach().requires_grad_()
        outputs = function(inputs * 1)  # a function may write its results over what it is given
        (slopes,) = torch.autograd.grad(outputs.sum(), inputs)
    return slopes.abs()


class Attention(NamedTuple):
    """How sharply keys are chosen."""

    logit_std: float
    """Of the logits that are not masked, about the mean of their row."""
    entropy: float
    """The mean over rows, in nats."""
    saturated: float
    """The share of rows that give nearly all to one key."""


def attention(logits: torch.Tensor) -> Attention | None:
    """Measure rows of logits, of which those of masked keys are minus infinity or huge.

    Rows that have but one key to choose are left out; None if there is no other.
    """
    rows = _real(logits).reshape(-1, logits.shape[-1])
    step = -(-rows.numel() // (4 * MOST_SAMPLED)) | 1
    rows = rows[::step]
    seen = rows > torch.finfo(torch.float16).min
    number = seen.sum(1, keepdim=True)
    several = number[:, 0] > 1
    if not bool(several.any()):
        return None
    rows, seen, number = rows[several], seen[several], number[several]
    kept = rows.masked_fill(~seen, 0)
    about = (kept - kept.sum(1, keepdim=True) / number).masked_fill(~seen, 0)
    chances = torch.softmax(rows.masked_fill(~seen, -math.inf), 1)
    entropy = _torch.special.entr(chances).sum(1)
    return Attention(
        math.sqrt(float(about.square().sum()) / int(number.sum())),
        float(entropy.mean()),
        float((chances.amax(1) > SURE).float().mean()),
    )


def logits_of(
    query: torch.Tensor,
    key: torch.Tensor,
    mask: torch.Tensor | None = None,
    *,
    causal: bool = False,
    scale: float | None = None,
) -> torch.Tensor:
    """The logits that scaled dot-product attention computes inside, of some of its queries."""
    query, key = query.detach(), key.detach()
    queries, keys = query.shape[-2], key.shape[-2]
    heads = math.prod(query.shape[:-2])
    most = max(1, 4 * MOST_SAMPLED // max(1, heads * keys))
    chosen = torch.linspace(0, queries - 1, min(queries, most), device=query.device).long()
    if query.ndim > 2 and query.shape[-3] != key.shape[-3]:  # queries in groups that share keys
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    logits = (query[..., chosen, :] @ key.transpose(-2, -1)).float() * factor
    if causal:
        later = torch.arange(keys, device=query.device) > chosen[:, None]
        logits = logits.masked_fill(later, -math.inf)
    if mask is not None:
        rows = mask.detach() if mask.shape[-2] == 1 else mask.detach()[..., chosen, :]
        if rows.dtype == torch.bool:
            return logits.masked_fill(~rows, -math.inf)
        return logits + rows.float()
    return logits
