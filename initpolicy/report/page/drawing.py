"""Some of the values that a plan gives, drawn to be looked at."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from initpolicy import field
from initpolicy.laws import Constant, Drawn, Law, Part, Stacked, ZeroRows
from initpolicy.plans import Decision

Floats = npt.NDArray[np.float64]

PICTURES = 3
"""How many tensors of one initializer are looked at."""

WHOLE = 1 << 20
"""Elements of the largest tensor that is made whole to be looked at."""

SOME = 1 << 15
"""Elements that are drawn of a larger one, and the most that a histogram counts."""

SIDE = 48
"""Rows and columns of the corner of a matrix that is shown."""

_PIECES = 4


@dataclass(frozen=True)
class Sample:
    """Values of a tensor that follow one law."""

    name: str
    label: str
    """Which part of the tensor, as `part 0`; empty if it is all of one kind."""
    law: Law
    values: Floats
    total: int
    """How many values there are of the kind."""
    corner: Floats | None = None
    """Rows and columns at the upper left, of a law of whole matrices."""


def chosen(decisions: Sequence[Decision]) -> list[Decision]:
    """Tensors that stand for others: those of the narrowest law, of the widest, and one between.

    Of one law it is the largest tensor that can be drawn. Constants have nothing to be looked at.
    """
    of_law: dict[str, Decision] = {}
    for decision in decisions:
        if decision.law is not None and not isinstance(decision.law, Constant) and _fits(decision):
            known = of_law.setdefault(str(decision.law), decision)
            if decision.numel > known.numel:
                of_law[str(decision.law)] = decision
    ordered = sorted(of_law.values(), key=_width)
    if len(ordered) <= PICTURES:
        return ordered
    return [ordered[0], ordered[len(ordered) // 2], ordered[-1]]


def _fits(decision: Decision) -> bool:
    return decision.numel > 1 and (decision.numel <= WHOLE or not _room(decision))


def _room(decision: Decision) -> int:
    assert decision.law is not None
    return decision.law.room(decision.shape, getattr(torch, decision.dtype))


def _width(decision: Decision) -> float:
    moments = decision.law.moments if decision.law else None
    return moments.std if moments else 0.0


def samples(decision: Decision, seed: int) -> list[Sample]:
    """The values of a tensor, or some of a large one: those that the plan gives it."""
    law = decision.law
    assert law is not None
    stream = field.stream(seed, decision.stream_name)
    found: list[Sample] = []
    if decision.numel <= WHOLE:
        whole = _part(decision, law, stream, 0, decision.numel).view(decision.shape)
        for piece in law.pieces(whole):
            if not isinstance(piece.law, Constant) and piece.values.numel():
                found.append(_sample(decision.name, piece.label, piece.law, piece.values))
    else:
        for label, of, start, total in _stretches(law, decision.shape):
            values = _part(decision, law, stream, start, min(SOME, total))
            found.append(replace(_sample(decision.name, label, of, values), total=total))
    return found[:_PIECES]


@torch.no_grad()
def _part(decision: Decision, law: Law, stream: field.Stream, start: int, size: int) -> Tensor:
    # What a law keeps is zero here; it is no piece, and not shown.
    values = torch.zeros(size, dtype=getattr(torch, decision.dtype))
    part = Part(values, decision.shape, field.Runs.one(start, start + size))
    field.fill(law.fills_part(part, stream))
    law.write_part(part, stream)
    return values


def _stretches(law: Law, shape: tuple[int, ...]) -> Iterator[tuple[str, Law, int, int]]:
    """The parts of a large tensor that follow one law: label, law, first element, and number."""
    total = math.prod(shape)
    if isinstance(law, Stacked):
        size = total // len(law.parts)
        for place, part in enumerate(law.parts):
            if part is not None and not isinstance(part, Constant):
                yield f"part {place}", part, place * size, size
    elif isinstance(law, ZeroRows):
        row = total // shape[0]
        starts = [0, *((place + 1) * row for place in law.rows)]
        stops = [*(place * row for place in law.rows), total]
        start, stop = max(zip(starts, stops, strict=True), key=lambda run: run[1] - run[0])
        yield "", law.law, start, stop - start
    else:
        yield "", law, 0, total


def _sample(name: str, label: str, law: Law, values: Tensor) -> Sample:
    if values.is_complex():
        law, values = law.of_part(), torch.view_as_real(values)
    wide = values.to(torch.float64)
    corner = None
    if wide.ndim > 1 and not isinstance(law, Drawn):
        corner = wide.reshape(wide.shape[0], -1)[:SIDE, :SIDE].numpy()
    flat = wide.reshape(-1)
    counted = flat[:: math.ceil(flat.numel() / SOME)]
    return Sample(name, label, law, counted.numpy(), flat.numel(), corner)
