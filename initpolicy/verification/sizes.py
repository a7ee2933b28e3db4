"""How large values are, beside what their law says: for people to see, and no test."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from initpolicy.model import is_sharded
from initpolicy.verification.sources import Held
from initpolicy.verification.verdict import Judged

MOST = 2**18
"""Of larger tensors so many values are measured, evenly spaced: within 0.5 % of their std."""


def sized(judged: Judged, held: Held) -> Judged:
    """The same with the std of the values and of the law; of a tensor in one process alone."""
    changed = held.expected is not None  # by steps that need data, after its law
    moments = None if changed or held.decision.law is None else held.decision.law.moments
    law = None if moments is None or not math.isfinite(moments.variance) else moments.std
    return replace(judged, std=std_of(held.tensor), law_std=law)


def std_of(tensor: torch.Tensor) -> float | None:
    """The std of a tensor's values; None if there is none, or other processes have some of them.

    >>> std_of(torch.tensor([1.0, 3.0]))
    1.0
    """
    if is_sharded(tensor) or tensor.is_complex() or not tensor.numel():
        return None
    flat = tensor.detach().reshape(-1)
    step = -(-flat.numel() // MOST) | 1  # odd: not in step with the sizes of dimensions
    std = float(flat[::step].double().std(correction=0))
    return std if math.isfinite(std) else None
