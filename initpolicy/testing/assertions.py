"""Assert that a model has the values that a policy gives."""

from __future__ import annotations

import os
from typing import Any

from torch import nn

import initpolicy
from initpolicy.plans import Plan
from initpolicy.policy import Policy


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
