"""Which necessary conditions hold."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from initpolicy.plans import Plan
from initpolicy.signals.functions import EMBEDDINGS
from initpolicy.signals.result import Code, Condition, LayerSignal, Limits, SignalFinding

Check = Callable[[Sequence[LayerSignal], Limits], Iterator[tuple[LayerSignal, str]]]


def judge(layers: Sequence[LayerSignal], limits: Limits, plan: Plan) -> tuple[Condition, ...]:
    """Judge every layer by every condition; `plan` says from which rules the layers begin."""
    weights = dict(_weights(layers))
    checks: tuple[tuple[Code, str, Check], ...] = (
        ("IP761", "no layer is saturated", _saturated),
        ("IP762", "no layer's activations are zero", _zero),
        ("IP763", "no gradient vanishes", _gradients),
        ("IP764", "nothing overflows", _overflows),
    )
    return tuple(
        Condition(
            code,
            title,
            tuple(
                _finding(code, layer, message, weights[str(layer)], plan)
                for layer, message in check(layers, limits)
            ),
        )
        for code, title, check in checks
    )


def _weights(layers: Sequence[LayerSignal]) -> Iterator[tuple[str, str]]:
    """The parameter from which each layer's signals follow."""
    last = ""
    for layer in layers:
        if layer.kind == "weights":
            last = layer.weight
        yield str(layer), last


def _finding(
    code: Code, layer: LayerSignal, message: str, weight: str, plan: Plan
) -> SignalFinding:
    decision = plan.by_name.get(weight)
    if decision is None:
        return SignalFinding(code, str(layer), message)
    return SignalFinding(code, str(layer), message, weight, decision.begins_as, decision.winner)


def _saturated(layers: Sequence[LayerSignal], limits: Limits) -> Iterator[tuple[LayerSignal, str]]:
    for layer in layers:
        if layer.saturated is not None and layer.saturated > limits.saturated:
            what = "rows" if layer.kind == "attention" else "units"
            yield layer, f"{layer.saturated:.0%} of its {what} are saturated"


def _zero(layers: Sequence[LayerSignal], limits: Limits) -> Iterator[tuple[LayerSignal, str]]:
    largest = 0.0 if any(_overflows(layers, limits)) else max(layer.rms for layer in layers)
    for layer in layers:
        if layer.kind == "weights" and layer.rms == 0 and layer.gradient:
            continue  # a branch that begins at zero, and whose weights learn
        if layer.zeros > limits.zeros:
            yield layer, f"{layer.zeros:.0%} of its activations are exactly zero"
        elif layer.dead is not None and layer.dead > limits.dead:
            yield layer, f"{layer.dead:.0%} of its units are zero over the whole batch"
        elif layer.rms < limits.signal * largest:
            part = layer.rms / largest
            yield layer, f"its activations are {part:.1e} of those of the layer with the largest"


def _gradients(layers: Sequence[LayerSignal], limits: Limits) -> Iterator[tuple[LayerSignal, str]]:
    if any(_overflows(layers, limits)):
        return  # beside infinity everything vanishes
    known = [layer for layer in layers if layer.gradient is not None]
    sizes = [layer.gradient for layer in known if layer.gradient and math.isfinite(layer.gradient)]
    lost = _lost(known, limits.gradient * max(sizes, default=0.0))
    for layer in known:
        if not sizes:
            yield layer, "its gradient is exactly zero, like all others"
        elif str(layer) in lost:
            part = f"{layer.gradient / max(sizes):.1e}" if layer.gradient else "nothing"
            yield layer, f"its gradient is {part} of that of the layer with the largest"


def _lost(known: Sequence[LayerSignal], least: float) -> set[str]:
    """The layers whose gradient is too small.

    One that is exactly zero is so if the layer behind it has lost its own. Behind a branch that
    begins at zero it is not: it comes when that has learned.
    """
    found: set[str] = set()
    vanishing = False
    for layer in reversed(known):
        if layer.gradient:
            vanishing = layer.gradient < least
        if vanishing:
            found.add(str(layer))
    return found


def _overflows(layers: Sequence[LayerSignal], limits: Limits) -> Iterator[tuple[LayerSignal, str]]:
    for layer in layers:
        if not math.isfinite(layer.rms):
            yield layer, "its activations are infinite or not numbers"
        elif layer.gradient is not None and not math.isfinite(layer.gradient):
            yield layer, "its gradient is infinite or not a number"


def chain(layers: Sequence[LayerSignal]) -> list[int]:
    """The places of the layers over which growth is measured: those of weights, without tables."""
    return [
        place
        for place, layer in enumerate(layers)
        if layer.kind == "weights" and layer.function not in EMBEDDINGS
    ]
