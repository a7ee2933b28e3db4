"""What a check is given: a tensor that gets values, its module, and the call that says which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd  # pyright: ignore[reportPrivateUsage]

from initpolicy import initializers
from initpolicy.expressions import Expression, ExpressionError
from initpolicy.initializers import InitializerError, gain
from initpolicy.laws import Law
from initpolicy.model import Slot, class_of
from initpolicy.model.flow import Flow, Step
from initpolicy.plans import Choice, Decision, Plan
from initpolicy.policy.model import Call, Rule
from initpolicy.resolve.scope import FUNCTIONS

NORMS = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.SyncBatchNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
    nn.LayerNorm,
    nn.GroupNorm,
)
LAYERS = (nn.Linear, nn.Bilinear, _ConvNd)
GAINED = frozenset(["xavier_normal", "xavier_uniform", "orthogonal", "delta_orthogonal"])
KAIMING = frozenset(["kaiming_normal", "kaiming_uniform"])
LECUN = frozenset(["lecun_normal", "lecun_uniform"])


@dataclass(frozen=True, eq=False)
class Context:
    """What is known of the model as a whole."""

    plan: Plan
    flow: Flow
    laws: Mapping[int, Law]
    """By the id of the tensor."""
    streams: Mapping[str, Sequence[str]]
    """The names of the tensors that are drawn from each stream."""
    normalizes: bool
    """Whether anything in the model is called a normalization."""
    silenced: set[tuple[int, str]]
    """The rules, by id, that allowed something that was found, each with its code."""
    first: Mapping[int, str]
    """The name of the first tensor that a rule decides on, by the id of the rule."""


@dataclass(frozen=True, eq=False)
class Subject:
    """One tensor with what is known of it."""

    decision: Decision
    law: Law
    winner: Choice
    call: Call | None
    """The initializer as it was written; None for parts with an initializer each."""
    slot: Slot
    context: Context
    rule: Rule | None = None
    """The rule that decides; None if the plan is of another policy."""

    @property
    def module(self) -> nn.Module:
        """The module that owns it."""
        return self.slot.module

    @property
    def is_weight(self) -> bool:
        """Whether it is the weight of a linear layer or of a convolution, and learns."""
        return is_layer(self.module) and self.slot.local_name == "weight" and self._learns

    @property
    def is_turned(self) -> bool:
        """Whether it is the weight of a linear layer that is stored with its inputs first."""
        return is_turned(self.module) and self.slot.local_name == "weight"

    @property
    def fan_in(self) -> int:
        """How many inputs each output of a layer sums over."""
        return self.slot.shape[0] if self.is_turned else self.slot.facts.fan_in

    @property
    def _learns(self) -> bool:
        return any(tensor.requires_grad for tensor in self.slot.tensors)

    @property
    def convolution(self) -> _ConvNd | None:
        """The convolution whose weight it is, if it is one."""
        module = self.module
        return module if isinstance(module, _ConvNd) and self.is_weight else None

    @property
    def is_transposed(self) -> bool:
        """Whether it is the weight of a transposed convolution."""
        return isinstance(self.convolution, _ConvTransposeNd)

    @property
    def units(self) -> int:
        """How many outputs of a layer see the same inputs."""
        convolution = self.convolution
        if convolution is not None:
            return convolution.out_channels // convolution.groups
        return self.decision.shape[1 if self.is_turned else 0]

    @property
    def following(self) -> list[Step]:
        """What takes the output of the module; empty if that is not known."""
        return self.context.flow.after(self.module)

    def argument(self, name: str) -> object:
        """An argument of the call, or its default; None if it depends on the tensor."""
        assert self.call is not None
        given = dict((*self.call.arguments, *self.call.common))
        if name not in given:
            parameters = initializers.get(self.call.fn).parameters
            return next((one.default for one in parameters if one.name == name), None)
        value = given[name]
        if not isinstance(value, Expression):
            return value
        try:
            return value.evaluate(dict(self.context.plan.variables), FUNCTIONS)
        except ExpressionError:
            return None

    @property
    def stated_gain(self) -> float | None:
        """The gain that the initializer was given, for one that has a gain or stands for 1."""
        if self.call is None:
            return None
        fn = self.call.fn
        if fn in LECUN:
            value: object = 1.0
        elif fn in GAINED:
            value = self.argument("gain")
        elif fn in KAIMING:
            value = self._kaiming()
        else:
            return None
        scale = self.argument("scale") if "scale" in dict(self.call.common) else 1.0
        if not isinstance(value, int | float) or not isinstance(scale, int | float):
            return None
        return float(value) * float(scale)

    def _kaiming(self) -> float | None:
        slope = self.argument("a")
        if not isinstance(slope, int | float):
            return None
        try:
            return gain(str(self.argument("nonlinearity")), float(slope))
        except InitializerError:
            return None


def is_layer(module: nn.Module | None) -> bool:
    """Whether a module is a linear layer or a convolution."""
    return isinstance(module, LAYERS) or (module is not None and is_turned(module))


def is_turned(module: nn.Module) -> bool:
    """Whether a module is a linear layer that stores its weight with the inputs first."""
    kind = class_of(module)
    return kind.__name__ == "Conv1D" and kind.__module__.startswith("transformers.")


def is_norm(step: Step) -> bool:
    """Whether a step normalizes its input."""
    return isinstance(step.module, NORMS) or "norm" in step.name
