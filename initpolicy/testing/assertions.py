"""Assert that models have the values that policies give."""

from __future__ import annotations

import os
from typing import Any

from torch import nn

import initpolicy
from initpolicy.plans import Plan
from initpolicy.policy import Policy
from initpolicy.problems import InitPolicyError
from initpolicy.testing import folder


class PoliciesError(InitPolicyError, AssertionError):
    """Some policies do not hold for the models that they name."""


def assert_initialized(
    model: nn.Module,
    policy: str | os.PathLike[str] | Policy | Plan,
    **options: Any,
) -> None:
    """See `initpolicy.testing.assert_initialized`."""
    __tracebackhide__ = True  # what pytest shows is the line of the test
    if options.get("exact") is None:
        knows = isinstance(policy, Plan) or options.get("seed") is not None
        options["exact"] = knows
    verdict = initpolicy.verify(model, policy, **options)
    if not verdict.ok:
        raise AssertionError(str(verdict))


def assert_policies(place: str | os.PathLike[str], *, strict: bool) -> None:
    """See `initpolicy.testing.assert_policies`."""
    __tracebackhide__ = True
    tested = list(folder.check(os.fspath(place)))
    found = [problem for one in tested for problem in one.all_problems]
    if not all(one.ok for one in tested) or (strict and found):
        raise PoliciesError(found)
