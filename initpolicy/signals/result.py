"""What a probe finds, as data."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from initpolicy.plans import Choice
from initpolicy.problems import InitPolicyError, Problem
from initpolicy.showing import Shown
from initpolicy.signals.functions import Kind
from initpolicy.signals.growth import Growth

MOST_SHOWN = 6


@dataclass(frozen=True)
class Limits:
    """What a healthy network keeps to."""

    saturated: float = 0.75
    """The largest share of saturated units that a layer may have."""
    zeros: float = 0.95
    """The largest share of activations of a layer that may be exactly zero."""
    dead: float = 0.9
    """The largest share of units of a layer that may be zero over the whole batch."""
    signal: float = 1e-4
    """The smallest activations of a layer, beside those of the layer with the largest."""
    gradient: float = 1e-6
    """The smallest gradient of a layer, beside that of the layer with the largest."""

    def __post_init__(self) -> None:
        problems = [
            Problem("IP753", f"the limit {name}={value!r} does not lie between 0 and 1")
            for name, value in asdict(self).items()
            if not 0 <= value <= 1
        ]
        if problems:
            raise InitPolicyError(problems)


@dataclass(frozen=True)
class LayerSignal:
    """One call of a function, as it is on the average of the draws."""

    name: str
    """The module whose forward pass calls it; with ` #2` where it calls it a second time."""
    function: str
    kind: Kind
    mean: float
    std: float
    rms: float
    """The root of the mean of squares."""
    zeros: float
    """The share of outputs that are exactly zero."""
    dead: float | None
    """The share of units that are zero over the whole batch; None if it is no activation."""
    saturated: float | None
    """The share of units at which the function is flat, or of rows of attention with one key."""
    logit_std: float | None
    entropy: float | None
    """Of attention, in nats."""
    gradient: float | None
    """The root mean square of the loss's gradient in the outputs; None if there is none."""
    weight: str = ""
    """The parameter that a function of weights multiplies with; empty if there is none."""
    stds: tuple[float, ...] = ()
    """The std in each draw in which the function was called."""
    gradients: tuple[float, ...] = ()
    """The gradient in each draw in which there is one."""

    def __str__(self) -> str:
        return f"{self.name or 'the model'} ({self.function})"


@dataclass(frozen=True)
class ParameterSignal:
    """One parameter, as it is on the average of the draws."""

    name: str
    rms: float
    gradient: float | None
    """The root mean square of its gradient; None if the loss does not depend on it."""
    update: float | None
    """The rate times the gradient beside the value; None where either is zero."""


Code = Literal["IP761", "IP762", "IP763", "IP764"]


@dataclass(frozen=True)
class SignalFinding:
    """One layer at which a condition does not hold."""

    code: Code
    name: str
    message: str
    weight: str = ""
    """The parameter from which the layer's signals follow: its own, or that of the layer of
    weights which was computed last before it."""
    begins_as: str = ""
    """The law of that parameter, as a person reads it."""
    rule: Choice | None = None
    """The rule that decided on that parameter."""

    def __str__(self) -> str:
        because = f"; {self.because}" if self.because else ""
        return f"{self.code} {self.name}: {self.message}{because}"

    @property
    def because(self) -> str:
        """What the parameter is, for a person to read; empty if none is known."""
        if not self.weight:
            return ""
        place = f" ({self.rule.location})" if self.rule else ""
        return f"{self.weight} begins as {self.begins_as}{place}"

    def to_json(self) -> dict[str, Any]:
        """The finding as plain data."""
        return {
            "name": self.name,
            "message": self.message,
            "weight": self.weight or None,
            "begins_as": self.begins_as or None,
            "rule": self.rule.rule if self.rule else None,
            "file": self.rule.location.file if self.rule else None,
            "line": self.rule.location.line if self.rule else None,
        }


@dataclass(frozen=True)
class Condition:
    """One condition that is necessary for a network to learn."""

    code: Code
    title: str
    findings: tuple[SignalFinding, ...]

    @property
    def ok(self) -> bool:
        """Whether it holds at every layer."""
        return not self.findings

    def to_json(self) -> dict[str, Any]:
        """The condition as plain data."""
        found = [one.to_json() for one in self.findings]
        return {"code": self.code, "title": self.title, "ok": self.ok, "findings": found}


@dataclass(frozen=True)
class Probe(Shown):
    """What the signals of a model are under a policy, forwards and backwards."""

    policy: str
    seeds: tuple[int, ...]
    """One a draw."""
    layers: tuple[LayerSignal, ...]
    """In the order in which they are computed."""
    parameters: tuple[ParameterSignal, ...]
    forwards: Growth | None
    """Of what layers with weights give, from each to the next."""
    backwards: Growth | None
    """Of the gradients there, from each to the one before it."""
    rate: float
    limits: Limits
    conditions: tuple[Condition, ...]

    @property
    def ok(self) -> bool:
        """Whether every condition holds."""
        return all(condition.ok for condition in self.conditions)

    @property
    def findings(self) -> tuple[SignalFinding, ...]:
        """Every layer at which a condition does not hold."""
        return tuple(found for condition in self.conditions for found in condition.findings)

    def __getitem__(self, name: str) -> LayerSignal:
        """The first layer of a name."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(name)

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self, most: int = MOST_SHOWN) -> Iterator[str]:
        """The verdict as a person reads it, with at most so many layers a condition."""
        draws = f"{len(self.seeds)} draw{'' if len(self.seeds) == 1 else 's'}"
        seeds = f"seed {self.seeds[0]}" if len(self.seeds) == 1 else f"from seed {self.seeds[0]}"
        what = "healthy" if self.ok else "not healthy"
        yield f"{self.policy}, {draws} {seeds}: {what} ({len(self.layers)} layers)"
        for condition in self.conditions:
            yield f"  {'yes' if condition.ok else 'NO ':<3}  {condition.title}"
            for found in condition.findings[:most]:
                yield f"         {found}"
            if len(condition.findings) > most:
                yield f"         and {len(condition.findings) - most} more"
        for title, found in (("forwards", self.forwards), ("backwards", self.backwards)):
            if found is not None:
                yield f"  {title}: {found}"

    def to_json(self) -> dict[str, Any]:
        """The probe as plain data; what has overflowed is a text, such as "inf"."""
        document: dict[str, Any] = {
            "probe": 1,
            "ok": self.ok,
            "policy": self.policy,
            "seeds": list(self.seeds),
            "rate": self.rate,
            "limits": asdict(self.limits),
            "conditions": [condition.to_json() for condition in self.conditions],
            "forwards": None if self.forwards is None else self.forwards.to_json(),
            "backwards": None if self.backwards is None else self.backwards.to_json(),
        }
        for key, rows in (("layers", self.layers), ("parameters", self.parameters)):
            document[key] = [
                {name: _plain(value) for name, value in asdict(row).items()} for row in rows
            ]
        return document


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(one) for one in value]  # pyright: ignore[reportUnknownVariableType]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
