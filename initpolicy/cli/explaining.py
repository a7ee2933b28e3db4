"""Find the tensors that a command line asks about, with what is known of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from initpolicy.cli.inputs import Inputs
from initpolicy.model import Facts, FanError, Inventory
from initpolicy.model import read as read_model
from initpolicy.plans import Decision, Plan
from initpolicy.policy.glob import GlobError, NamePattern
from initpolicy.problems import InitPolicyError, Problem, suggest

Explained = tuple[Decision, Facts, "tuple[int, int] | None", tuple[str, ...]]


def explained(inputs: Inputs, seed: int | None, names: Sequence[str]) -> list[Explained]:
    """The tensors of these names, which may be globs: what each is, and why it begins as it does.

    A parameter that no rule covers is explained like any other, and is no error here.
    """
    lenient = replace(inputs, policy=replace(inputs.policy, uncovered="keep"))
    plan = lenient.plan(seed)
    inventory = read_model(inputs.model)
    return [
        (decision, *_facts(inventory, decision.name), plan.calibrated.get(decision.name, ()))
        for decision in _asked(plan, names)
    ]


def _facts(inventory: Inventory, name: str) -> tuple[Facts, tuple[int, int] | None]:
    facts = inventory.by_name[name].facts
    try:
        return facts, (facts.fan_in, facts.fan_out)
    except FanError:
        return facts, None


def _asked(plan: Plan, names: Sequence[str]) -> list[Decision]:
    found: dict[str, Decision] = {}
    problems: list[Problem] = []
    for name in names:
        if name in plan.by_name:
            found[plan[name].name] = plan[name]
            continue
        try:
            pattern = NamePattern.parse(name)
        except GlobError as error:
            problems.append(Problem("IP405", str(error)))
            continue
        matched = {
            decision.name: decision
            for known, decision in plan.by_name.items()
            if pattern.match(known) is not None
        }
        if not matched:
            problems.append(_unknown(name, list(plan.by_name)))
        found |= matched
    if problems:
        raise InitPolicyError(problems)
    return list(found.values())


def _unknown(name: str, known: list[str]) -> Problem:
    near = suggest(name, known)
    hint = "`initpolicy plan MODEL POLICY` names them all"
    if near:
        hint = f"did you mean {' or '.join(f'`{other}`' for other in near)}?"
    elif len(known) <= 8:
        hint = f"it has {', '.join(known)}"
    return Problem("IP405", f"the model has no parameter or buffer `{name}`", hint)
