"""Every Hypothesis strategy of the package.

`initpolicy.testing.tensors` has those that are about one tensor, `initpolicy.testing.models` those
of models, and `initpolicy.testing.policies` those of policies.
"""

from initpolicy.testing.models import layers, models
from initpolicy.testing.policies import (
    plans,
    policies,
    policy_texts,
    rules,
)
from initpolicy.testing.tensors import (
    Case,
    arguments,
    cases,
    dtypes,
    facts,
    initializers,
    laws,
    shapes,
)

__all__ = [
    "Case",
    "arguments",
    "cases",
    "dtypes",
    "facts",
    "initializers",
    "laws",
    "layers",
    "models",
    "plans",
    "policies",
    "policy_texts",
    "rules",
    "shapes",
]
