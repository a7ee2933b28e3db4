"""Layers whose scale was chosen for another activation than the one that follows."""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch import nn

from initpolicy.laws.base import short
from initpolicy.linting.subject import KAIMING, Subject, is_layer
from initpolicy.model.flow import beyond

# Half of the signal is lost by a rectifier; a layer before it makes up for that by a gain of
# sqrt(2). Anything below 1.2 keeps less than three quarters of the variance.
_ENOUGH = 1.2
_RECTIFIERS = frozenset(["relu", "relu6"])
_SATURATING = frozenset(["tanh", "sigmoid", "softsign", "hardtanh", "hardsigmoid"])


def rectifier_without_gain(subject: Subject) -> Iterator[str]:
    """A layer before a rectifier without its gain.

    A ReLU takes half of the variance away. The initializer was chosen as if a linear layer or a
    tanh followed, so that the signal shrinks from layer to layer. It is told only where the
    rectifier is seen to follow and nothing normalizes in between.
    """
    gain = subject.stated_gain
    if not subject.is_weight or gain is None or not 0 < gain < _ENOUGH:
        return
    if _all_are(subject, _RECTIFIERS):
        yield (
            f"{subject.winner.initializer} has gain {short(gain)}, and a ReLU follows, which "
            'calls for 1.414; write `kaiming_normal` with nonlinearity = "relu"'
        )


def rectifier_gain_elsewhere(subject: Subject) -> Iterator[str]:
    """A rectifier's gain before another activation.

    The initializer makes up for the half that a rectifier takes away, and what follows is a
    bounded activation, which takes nothing away near 0: its units begin saturated. It is told only
    where another layer takes what the activation makes, and not of gates and last layers.
    """
    if not subject.is_weight or subject.call is None or subject.call.fn not in KAIMING:
        return
    named = subject.argument("nonlinearity")
    gain = subject.stated_gain
    if named not in ("relu", "leaky_relu") or gain is None or gain < _ENOUGH:
        return
    if (name := _all_are(subject, _SATURATING)) and _is_hidden(subject):
        yield (
            f"{subject.winner.initializer} is for rectifiers, and {name} follows; write "
            f"`xavier_normal`{', with gain = 1.667 in deep stacks' if name == 'tanh' else ''}"
        )


def selu_without_lecun(subject: Subject) -> Iterator[str]:
    """A layer before a SELU that is not N(0, 1/fan_in).

    A SELU brings its inputs to mean 0 and variance 1 if the layers before it keep the variance,
    which needs std 1 / sqrt(fan_in). With another scale its fixed point is another.
    """
    if not subject.is_weight or not _all_are(subject, frozenset(["selu"])):
        return
    moments = subject.law.moments
    if moments is None or moments.variance == 0 or subject.is_transposed:
        return
    fan_in = subject.fan_in
    scale = moments.std * math.sqrt(fan_in)
    # The draws of torch's own gain, 3/4, are let be; it is what calculate_gain("selu") gives.
    if not 0.7 < scale < 1.15:
        yield (
            f"{subject.law} is {short(scale)} / sqrt({fan_in}), and a SELU follows; "
            "write `lecun_normal`"
        )


def _is_hidden(subject: Subject) -> bool:
    """Whether layers take what the activation makes, rather than a product with something else."""
    taking = [one for step in subject.following for one in beyond(step)]
    return bool(taking) and all(is_layer(step.module) for step in taking)


def _all_are(subject: Subject, names: frozenset[str]) -> str:
    """The name of what takes the output of the layer, if everything that does is among `names`."""
    following = subject.following
    if isinstance(subject.module, nn.Bilinear) or not following:
        return ""
    return following[0].name if all(step.name in names for step in following) else ""
