"""What uses data that are given: steps, and gains that follow from what follows a layer."""

from __future__ import annotations

from initpolicy.batches import Input
from initpolicy.plans import Plan
from initpolicy.policy import Policy
from initpolicy.problems import InitPolicyError, Location, Problem
from initpolicy.resolve.gains import asks, found_in


def uses_data(given: Policy | Plan) -> bool:
    """Whether data would be used when this is applied.

    A step that may find no layer uses data in the policy, and not in the plan of a model without.

    >>> from initpolicy.policy import load
    >>> uses_data(load("lsuv")), uses_data(load("mlp"))
    (True, False)
    """
    if isinstance(given, Policy):
        entries = (entry for rule in given.rules for entry in rule.entries)
        return bool(given.calibrate) or any(asks(entry.value) for entry in entries)
    winners = (decision.winner for decision in given if decision.winner)
    return bool(given.steps) or any(found_in(winner.initializer) for winner in winners)


def check_use(given: Policy | Plan, data: Input | None) -> None:
    """Raise `InitPolicyError` for data that nothing uses."""
    if data is None or uses_data(given):
        return
    name = given.name if isinstance(given, Policy) else given.policy
    raise InitPolicyError(
        Problem(
            "IP313",
            "data are given, and nothing uses them: there is no [[calibrate]] step, and no gain "
            "that follows from what follows a layer",
            "leave out `data` (`--data`), or add the step that they are for",
            Location(name),
        )
    )
