"""Units that begin alike, or as nothing."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from initpolicy.laws import Constant, DeltaOrthogonal, Normal, Orthogonal, Uniform
from initpolicy.laws.base import short
from initpolicy.linting.subject import Subject, is_norm
from initpolicy.model.flow import Step, beyond

_ACTIVATIONS = frozenset(
    [
        "relu",
        "relu6",
        "leakyrelu",
        "prelu",
        "rrelu",
        "elu",
        "celu",
        "selu",
        "gelu",
        "silu",
        "mish",
        "tanh",
        "sigmoid",
        "softplus",
        "softsign",
        "hardswish",
        "hardsigmoid",
        "hardtanh",
    ]
)


def units_alike(subject: Subject) -> Iterator[str]:
    """Units that begin alike.

    The weight of a layer is one constant, so that all its units compute the same, get gradients
    that differ by a factor at most, and learn the same feature. A weight of zeros is told of only
    where another layer takes what it makes. It is no mistake at the end of a residual branch, in
    the second matrix of LoRA, in what modulates a block (adaLN-Zero), or in the last layer: there
    the gradients of its units differ from the first step, and the model begins as if the layer
    were not there.
    """
    if not subject.is_weight or not isinstance(subject.law, Constant) or subject.units < 2:
        return
    value = subject.law.value
    if value != 0:
        yield f"{subject.units} units share every weight, {short(value)}; draw them at random"
    elif layer := _layer_beyond(subject):
        yield f"its {subject.units} units are 0, and {layer} takes them; draw one of the two"


def _layer_beyond(subject: Subject) -> str:
    """The layer that takes what a layer of zeros makes, if there is one on every way."""
    found: set[str] = set()
    # Without an activation between them, a layer of zeros and a random one are a product whose
    # gradient is not zero: LoRA begins so.
    waiting: list[tuple[Step, bool]] = [(step, False) for step in subject.following]
    seen: set[int] = set()
    while waiting:
        step, bent = waiting.pop()
        if id(step) in seen:
            continue
        seen.add(id(step))
        if step.name in _ACTIVATIONS or is_norm(step):
            bent = bent or step.name in _ACTIVATIONS
            waiting += [(one, bent) for one in beyond(step)]
        elif isinstance(weight := getattr(step.module, "weight", None), nn.Parameter):
            if not bent and not _is_zero(subject, weight):
                return ""
            found.add(type(step.module).__name__)
        else:
            return ""  # an addition, a product, the end, or what nobody knows
    return " and ".join(sorted(found))


def _is_zero(subject: Subject, weight: nn.Parameter) -> bool:
    law = subject.context.laws.get(id(weight))
    return isinstance(law, Constant) and law.value == 0


def gain_of_zero(subject: Subject) -> Iterator[str]:
    """Random values with a spread of zero.

    The initializer draws at random, and its std, gain, bounds or scale make every value the same.
    Where that is meant, `0` or `constant` says so; where it is not, an expression has come to 0.
    """
    law = subject.law
    if (
        (isinstance(law, Normal) and law.std == 0)
        or (isinstance(law, Uniform) and law.low == law.high)
        or (isinstance(law, Orthogonal | DeltaOrthogonal) and law.gain == 0)
    ):
        told = subject.winner.initializer
        yield f"{told} gives nothing but {short(law.support[0] + 0.0)}; write that number instead"
