"""Are these the values, or values of this law? Every tensor of a plan is judged."""

# The stubs of torch leave these functions without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from initpolicy import field
from initpolicy.laws import Drawn, Law, runs_of
from initpolicy.laws.base import Piece
from initpolicy.laws.files import FileError
from initpolicy.model import Inventory, is_sharded, shard_of
from initpolicy.plans import Plan
from initpolicy.problems import InitPolicyError, Problem
from initpolicy.verification.exact import Difference, difference, difference_from
from initpolicy.verification.lawful import Test, farthest, impossible, tests, visible
from initpolicy.verification.resemblance import looks_like
from initpolicy.verification.sizes import sized
from initpolicy.verification.sources import Held, Source, contents
from initpolicy.verification.structure import Structure
from initpolicy.verification.verdict import Finding, Judged, Verdict, finding

_FOLLOW = ("IP606", "IP607", "IP608", "IP610", "IP614")
"""Of these, one is told of a piece: the others mostly follow. The mean or the std, whichever
is less probable, comes before shape, slices, and singular values."""

_SLACK = 256  # units of precision by which computed values may be off, of the largest


def verify(
    source: Source,
    plan: Plan,
    inventory: Inventory | None = None,
    *,
    exact: bool = True,
    alpha: float = 1e-9,
    expected: Mapping[str, Tensor] | None = None,
) -> Verdict:
    """Judge the values of a model (whose `inventory` is given), a state dict, or a checkpoint.

    With `exact`, they must be those that the plan gives. Otherwise they must follow the plan's
    laws, and `alpha` bounds the probability of any false finding in the whole model. `expected` are
    the values of the tensors that steps of the plan change, where they are known. Raises
    `InitPolicyError` if there are no values to judge.
    """
    if not 0 < alpha < 1:
        raise InitPolicyError(
            Problem("IP601", f"alpha must lie between 0 and 1, and is {alpha}", "write 1e-9")
        )
    found = contents(source, plan, inventory, expected or {})
    try:
        with torch.no_grad():
            if exact:
                findings, judged = _exactly(found.held, plan.seed)
                number = 0
            else:
                findings, judged, number = _by_law(found.held, alpha)
    except FileError as error:
        raise InitPolicyError(Problem("IP216", error.message, error.hint)) from error
    order = {decision.name: place for place, decision in enumerate(plan)}
    everything = sorted(
        (*found.findings, *findings), key=lambda one: order.get(one.name, len(order))
    )
    held = {one.decision.name: one for one in found.held}
    measured = [sized(one, held[one.name]) for one in judged]
    tensors = sorted((*measured, *found.unjudged), key=lambda one: order[one.name])
    return Verdict(plan.policy, plan.seed, exact, alpha, number, tuple(everything), tuple(tensors))


def _exactly(held: list[Held], seed: int) -> tuple[list[Finding], list[Judged]]:
    findings: list[Finding] = []
    judged: list[Judged] = []
    for one in held:
        if one.expected is not None:
            judged.append(Judged(one.decision.name, "to rounding"))
            off = difference_from(one.expected, _whole(one))
            if off is not None:
                findings.append(finding(one.decision, "IP604", f"{off}; after {one.steps}"))
            continue
        law = _law(one)
        bitwise = law.is_exact and not one.computed
        judged.append(Judged(one.decision.name, "exactly" if bitwise else "to rounding"))
        stream = field.stream(seed, one.decision.stream_name)
        wrong = _difference(law, one, stream)
        if wrong is not None:
            findings.append(_differs(one, law, wrong))
    return findings, judged


def _difference(law: Law, one: Held, stream: field.Stream) -> Difference | None:
    shard = shard_of(one.tensor, one.decision.name) if is_sharded(one.tensor) else None
    if shard is None:
        return difference(law, one.tensor, stream, computed=one.computed)
    runs = runs_of(shard)
    return difference(law, shard.local, stream, shape=shard.shape, runs=runs)


def _differs(one: Held, law: Law, wrong: Difference) -> Finding:
    """Say what is different, and whether the values follow the law all the same."""
    shared = is_sharded(one.tensor)
    values = cast("Any", one.tensor).to_local() if shared else one.tensor
    # Of a part, only what each element follows by itself is known.
    pieces = [Piece("", law, values)] if shared else list(_pieces(law, values))
    known = not shared or isinstance(law, Drawn)
    # One tensor is diagnosed, and nothing is decided: one test in a million may err.
    level = math.log(1e-6)
    follows = known and all(
        not impossible(piece.law, piece.values)
        and all(test.log_p > level for test in tests(piece, _noise(one))[0])
        for piece in pieces
    )
    message = str(wrong)
    if follows and law.is_drawn:
        message += f"; they follow {law} all the same, from another seed or other draws"
        return finding(one.decision, "IP604", message)
    looks = looks_like(values, one.decision.module_type)
    return finding(one.decision, "IP604", message, "" if looks == str(law) else looks)


def _by_law(held: list[Held], alpha: float) -> tuple[list[Finding], list[Judged], int]:
    findings: list[Finding] = []
    judged: list[Judged] = []
    chances: list[tuple[Held, Piece, Test]] = []
    sizes: dict[str, int] = {}
    structure = Structure()
    for one in held:
        law, values = _law(one), _whole(one)
        findings += _certain(one, law, values)
        name = one.decision.name
        for piece in _pieces(law, values):
            run, size = tests(piece, _noise(one, piece.label))
            chances += [(one, piece, test) for test in run]
            if size is not None:
                sizes[name] = max(sizes.get(name, 0), size)
            structure.add(one.decision, piece)
    number = len(chances) + structure.tests
    level = math.log(alpha / max(1, number))
    alike = [same for same in structure.same() if same.log_p <= level]
    equal = {same.one.name for same in alike if same.code == "IP612"}
    for found in _improbable(chances, level):
        # Equal rows make a matrix singular, and values few.
        if found.name not in equal or found.code not in ("IP611", "IP614"):
            findings.append(found)
    findings += [finding(same.one, same.code, same.message) for same in alike]
    for one in held:
        size = sizes.get(one.decision.name)
        seen = None if size is None else visible(size, level)
        judged.append(Judged(one.decision.name, "by law", visible=seen))
    return findings, judged, number


def _certain(one: Held, law: Law, values: Tensor) -> Iterator[Finding]:
    if not one.computed:
        messages = impossible(law, values)
    else:
        messages = [
            message
            for piece in _pieces(law, values)
            for message in impossible(piece.law, _nudged(piece.law, piece.values))
        ]
    for message in messages:
        worst = farthest(law, values) if isinstance(law, Drawn) else ""
        looks = looks_like(values, one.decision.module_type)
        yield finding(one.decision, "IP605", message + worst, looks)


def _nudged(law: Law, values: Tensor) -> Tensor:
    """Values that were computed: those outside the bounds by no more than rounding are moved in."""
    if not values.is_floating_point() or not values.numel():
        return values
    low, high = law.support
    slack = _SLACK * torch.finfo(values.dtype).eps * float(values.abs().max())
    near = (values >= low - slack) & (values <= high + slack)
    return torch.where(near, values.clamp(low, high), values)


def _improbable(chances: list[tuple[Held, Piece, Test]], level: float) -> Iterator[Finding]:
    """What fails its test."""
    told: set[int] = set()
    failed = [one for one in chances if one[2].log_p <= level]
    moments = [one for one in failed if one[2].code in ("IP606", "IP607")]
    others = [one for one in failed if one[2].code not in ("IP606", "IP607")]
    for one, piece, test in (*sorted(moments, key=lambda item: item[2].log_p), *others):
        if test.code in _FOLLOW:
            if id(piece) in told:
                continue
            told.add(id(piece))
        where = f"{piece.label}: " if piece.label else ""
        looks = looks_like(piece.values, one.decision.module_type)
        yield finding(one.decision, test.code, f"{where}{test.tell()}", looks)


def _law(one: Held) -> Law:
    assert one.decision.law is not None
    return one.decision.law


def _whole(one: Held) -> Tensor:
    tensor = one.tensor.detach()
    return cast("Any", tensor).full_tensor() if is_sharded(tensor) else tensor


def _pieces(law: Law, values: Tensor) -> Iterator[Piece]:
    for piece in law.pieces(values):
        if isinstance(piece.law, Drawn) and piece.values.is_complex():
            parts = torch.view_as_real(piece.values)
            yield replace(piece, law=piece.law.of_part(), values=parts)
        else:
            yield piece


def _noise(one: Held, label: str = "") -> np.random.Generator:
    """Random numbers of a tensor's own, the same each time."""
    return np.random.default_rng(zlib.crc32(f"{one.decision.name}/{label}".encode()))
