"""Stacks whose signal grows with depth."""

from __future__ import annotations

import math
from collections.abc import Iterator

from initpolicy.laws.base import short
from initpolicy.linting.subject import Subject

_DEEP = 8


def branches_not_scaled(subject: Subject) -> Iterator[str]:
    """Residual branches that are not scaled.

    Eight residual branches or more are added up, no normalization is anywhere in the model, and
    the layers at their ends begin as wide as any other: each branch adds about as much variance as
    there is, and the signal doubles with every block. It is told only where the model was traced.
    """
    flow, moments = subject.context.flow, subject.law.moments
    if not subject.is_weight or subject.is_transposed or moments is None:
        return
    if not flow.traced or subject.context.normalizes or flow.branches < _DEEP:
        return
    if not flow.ends_branch(subject.module):
        return
    scale = moments.std * math.sqrt(subject.fan_in)
    bound = 1 / math.sqrt(flow.branches)
    if scale > 1.2 * bound:
        yield (
            f"{subject.law} is {short(scale)} / sqrt(fan_in) at the end of one of {flow.branches} "
            f"residual branches; write 0, or `scale = {short(bound)}`"
        )
