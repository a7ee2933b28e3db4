"""Where the values are: in a model, in a state dict, or in a file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from initpolicy.digests import tensors_of
from initpolicy.model import Inventory
from initpolicy.plans import Decision, Plan
from initpolicy.problems import InitPolicyError, Problem, listed, suggest
from initpolicy.verification.verdict import Finding, Judged, finding

Source = nn.Module | Mapping[str, Any] | str | os.PathLike[str]
"""A model, a state dict, the file of a checkpoint, or the folder of one."""


@dataclass(frozen=True, eq=False)
class Held:
    """The values of one tensor."""

    decision: Decision
    tensor: Tensor
    computed: bool = False
    """Whether a module computes them from others, so that they are right to rounding only."""
    expected: Tensor | None = None
    """What it must be to rounding, if steps after the draws made it."""
    steps: str = ""
    """What these steps are."""


@dataclass
class Contents:
    """What there is to judge, and what is amiss already."""

    held: list[Held]
    findings: list[Finding]
    unjudged: list[Judged]


def contents(
    source: Source, plan: Plan, inventory: Inventory | None, expected: Mapping[str, Tensor]
) -> Contents:
    """Find every tensor of the plan; raises `InitPolicyError` for a file that cannot be read.

    `inventory` is that of `source` if it is a model, and `expected` what steps of the plan give.
    """
    if inventory is not None:
        return _of_model(inventory, plan, expected)
    return _of_tensors(tensors_of(source), plan, expected)


def _of_model(inventory: Inventory, plan: Plan, expected: Mapping[str, Tensor]) -> Contents:
    found = Contents([], [], [])
    slots = inventory.by_name
    on_meta: list[str] = []
    for decision in plan:
        slot = slots.get(decision.name)
        known = decision.law is not None or decision.name in expected
        if slot is None or slot.lazy:
            what = "the model lacks it" if slot is None else "it has no shape yet"
            found.findings.append(finding(decision, "IP603", what))
        elif not known:
            found.unjudged.append(_kept(decision))
        elif slot.shape != decision.shape:
            found.findings.append(_misshapen(decision, slot.shape))
        elif decision.name in plan.calibrated and decision.name not in expected:
            found.unjudged.append(_calibrated(decision, plan))
        elif any(tensor.is_meta for tensor in slot.tensors):
            on_meta.append(slot.name)
        else:
            computed = slot.computed is not None
            found.held.append(_held(decision, slot.values(), computed, plan, expected))
    if on_meta:
        raise InitPolicyError(
            Problem(
                "IP303",
                f"{len(on_meta)} tensors are on the meta device and have no values: "
                f"{listed(on_meta)}",
                "give them some first, with `initpolicy.apply`",
            )
        )
    names = (slot.name for slot in inventory.slots)
    found.findings += _unknown(names, plan, "the model")
    return found


def _of_tensors(
    tensors: Mapping[str, Tensor], plan: Plan, expected: Mapping[str, Tensor]
) -> Contents:
    found = Contents([], [], [])
    for decision in plan:
        names = [n for n in (decision.name, *decision.aliases) if n in tensors]
        if decision.law is None and decision.name not in expected:
            found.unjudged.append(_kept(decision))
        elif not names and not decision.persistent:
            reason = "not judged, because a checkpoint does not hold it"
            found.unjudged.append(Judged(decision.name, "not judged", reason))
        elif not names:
            near = suggest(decision.name, tensors, 1)
            hint = f"; near it is {near[0]}" if near else ""
            found.findings.append(finding(decision, "IP603", f"the checkpoint lacks it{hint}"))
        elif tuple(tensors[names[0]].shape) != decision.shape:
            found.findings.append(_misshapen(decision, tuple(tensors[names[0]].shape)))
        elif decision.name in plan.calibrated and decision.name not in expected:
            found.unjudged.append(_calibrated(decision, plan))
        else:
            found.held.append(_held(decision, tensors[names[0]], False, plan, expected))
            found.findings += _untied(decision, [tensors[name] for name in names], names)
    found.findings += _unknown(tensors, plan, "the checkpoint")
    return found


def _held(
    decision: Decision,
    values: Tensor,
    computed: bool,
    plan: Plan,
    expected: Mapping[str, Tensor],
) -> Held:
    steps = " and ".join(dict.fromkeys(plan.calibrated.get(decision.name, ())))
    return Held(decision, values, computed, expected.get(decision.name), steps)


def _kept(decision: Decision) -> Judged:
    return Judged(decision.name, "not judged", "not judged, because the policy leaves it as it is")


def _calibrated(decision: Decision, plan: Plan) -> Judged:
    steps = " and ".join(dict.fromkeys(plan.calibrated[decision.name]))
    reason = f"not judged, because its values are made of data by {steps}"
    return Judged(decision.name, "not judged", reason)


def _misshapen(decision: Decision, shape: tuple[int, ...]) -> Finding:
    message = f"its shape is {list(shape)}, and the plan's is {list(decision.shape)}"
    return finding(decision, "IP603", message)


def _unknown(names: Iterator[str] | Mapping[str, Tensor], plan: Plan, where: str) -> list[Finding]:
    return [
        Finding(name, "IP603", f"{where} has it, and the plan does not")
        for name in names
        if name not in plan.by_name
    ]


def _untied(decision: Decision, tensors: list[Tensor], names: list[str]) -> list[Finding]:
    """Copies of a tied tensor that are not equal."""
    return [
        finding(decision, "IP603", f"it is tied to {name}, whose values differ")
        for tensor, name in zip(tensors[1:], names[1:], strict=True)
        if not tensors[0].equal(tensor)
    ]
