"""Filling parts of tensors that an engine of its own shares out."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from initpolicy.application.carry_out import Held, Progress, draw, held_part
from initpolicy.field.pieces import overlaps
from initpolicy.laws import LawError, Part
from initpolicy.plans import Plan, check_without_model
from initpolicy.problems import InitPolicyError, Problem, listed


def fill(
    plan: Plan,
    parts: Mapping[str, Part],
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Fill the parts, each with what the whole tensor of that name in the plan has there.

    Raises `InitPolicyError`, with no part changed, for every part that is not one of the plan's.
    """
    check_without_model(plan)
    problems: list[Problem] = []
    held: list[Held] = []
    unknown = [name for name in parts if name not in plan.by_name]
    if unknown:
        problems.append(
            Problem(
                "IP301",
                f"the plan lacks {len(unknown)} of the tensors: {listed(unknown)}",
                "name them as the whole model does",
            )
        )
    made_anew = {decision.name for decision in plan.recomputed}
    for name, part in parts.items():
        if name in unknown:
            continue
        decision = plan[name]
        if decision.name in made_anew:
            message = f"{name}: the constructor of its module makes it, and a plan has no modules"
            hint = "take it from a module that is built on the CPU, or give it a formula"
            problems.append(Problem("IP308", message, hint))
            continue
        wrong = _wrong(part, decision.shape)
        if wrong:
            problems.append(Problem("IP308", f"{name}: {wrong}", "say which elements it holds"))
            continue
        if decision.law is None:
            continue
        try:
            decision.law.validate(part.shape, part.tensor.dtype)
        except LawError as error:
            problems.append(Problem("IP308", f"{name}: {error.message}", error.hint))
            continue
        dense = held_part(part.tensor.detach(), part.shape, part.runs)
        held.append(Held(decision.law, part.tensor.detach(), decision.stream_name, dense))
    if problems:
        raise InitPolicyError(problems)
    with torch.no_grad():
        draw(plan.seed, held, threads, progress or (lambda count: None))


def _wrong(part: Part, shape: tuple[int, ...]) -> str:
    if not isinstance(part, Part):  # pyright: ignore[reportUnnecessaryIsInstance]
        return f"{type(part).__name__} is no `initpolicy.Part`"
    if part.tensor.is_meta:
        return "the part is on the meta device, and has no memory to write to"
    if overlaps(part.tensor):
        return "elements of the part share memory"
    if tuple(part.shape) != shape:
        return f"the plan has shape {list(shape)}, the part is of {list(part.shape)}"
    if part.runs.size != part.tensor.numel():
        return f"the runs hold {part.runs.size} indices, the part {part.tensor.numel()} elements"
    if not part.runs.ascending:
        return "the runs do not ascend"
    if part.runs.stop > part.numel:
        return f"the runs end at {part.runs.stop}, and the tensor at {part.numel}"
    return ""
