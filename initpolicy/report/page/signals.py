"""The signals of a model: conditions, charts over depth, growth, and all numbers in tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from initpolicy.report.page.charts import Chart, Mark, Series, draw, interval
from initpolicy.report.page.content import Report
from initpolicy.report.page.markup import Markup, code, details, join, number, share, table, tag
from initpolicy.report.summary import count
from initpolicy.signals import Growth, LayerSignal, Probe

MOST_LISTED = 12

_KINDS = (
    ("weights", "layers of weights"),
    ("activation", "activations"),
    ("attention", "attention"),
)

Value = Callable[[LayerSignal], "float | None"]


def section(report: Report) -> Markup:
    """All that a probe saw, or how to have it."""
    probe = report.probe
    if probe is None:
        told = "Not measured: give a batch, such as "
        return tag("p", told, code("--input 8,3,224,224"), ".")
    draws = count(len(probe.seeds), "draw")
    seeds = (
        f"seed {probe.seeds[0]}" if len(probe.seeds) == 1 else f"the seeds from {probe.seeds[0]}"
    )
    told = f"One pass forwards and backwards for each of {draws} with {seeds}; means over them."
    return join(
        [
            tag("p", told),
            tag("h3", "Conditions"),
            conditions(probe),
            tag("h3", "Over depth"),
            *(draw(*chart) for chart in charts(probe)),
            _growth(probe),
            details("Numbers of every layer", _layers(probe)),
            details("Numbers of every parameter", _parameters(probe)),
        ]
    )


def conditions(probe: Probe, most: int = MOST_LISTED, anchors: bool = True) -> Markup:
    """Whether each condition holds, and where it does not."""
    rows = [
        [
            condition.title,
            tag("span", "holds", class_="yes")
            if condition.ok
            else tag("span", "does not hold", class_="no"),
            _places([f"{one.name}: {one.message}" for one in condition.findings], most),
            tag("a", condition.code, href=f"#{condition.code}")
            if anchors and not condition.ok
            else condition.code,
        ]
        for condition in probe.conditions
    ]
    return table("Necessary conditions", ["condition", "verdict", "where", "code"], rows)


def _places(lines: list[str], most: int) -> Markup | str:
    if not lines:
        return "everywhere"
    more = [f"and {len(lines) - most:,} more"] if len(lines) > most else []
    return tag("ul", *(tag("li", line) for line in [*lines[:most], *more]))


def charts(probe: Probe, most: int | None = None) -> list[tuple[Chart, str]]:
    """The charts with their descriptions; of `most` layers, spread over the depth, if given."""
    layers = list(enumerate(probe.layers, 1))
    if most is not None and len(layers) > most:
        layers = [layers[place * len(layers) // most] for place in range(most)]
    found = {one.name for one in probe.findings}
    forwards = _chart(layers, "std", "Standard deviation of activations", found)
    backwards = _chart(layers, "gradient", "Root mean square of gradients", found)
    drawn = [
        (forwards, _described(forwards, probe.forwards, "forwards")),
        (backwards, _described(backwards, probe.backwards, "backwards")),
    ]
    shares = _shares(layers, probe)
    if shares is not None:
        drawn.append(shares)
    return [(chart, told) for chart, told in drawn if any(one.marks for one in chart.series)]


def _chart(
    layers: Iterable[tuple[int, LayerSignal]], attribute: str, title: str, found: set[str]
) -> Chart:
    layers = list(layers)
    series: list[Series] = []
    for kind, label in _KINDS:
        marks: list[Mark] = []
        for place, layer in layers:
            value = getattr(layer, attribute)
            if layer.kind == kind and value is not None:
                told = f"{layer}: {number(value)}"
                marks.append(Mark(place, value, told, str(layer) in found))
        if marks:
            series.append(Series(label, tuple(marks), line=kind == "weights"))
    return Chart(title, tuple(series), layers[-1][0] if layers else 1)


def _described(chart: Chart, growth: Growth | None, direction: str) -> str:
    values = [mark.value for one in chart.series for mark in one.marks]
    if not values:
        return "Nothing was measured."
    told = f"{len(values):,} layers, from {number(min(values))} to {number(max(values))}"
    grows = f"; {direction} {growth}" if growth else ""
    return f"{told}{grows}. The table below has every number."


def _shares(layers: Iterable[tuple[int, LayerSignal]], probe: Probe) -> tuple[Chart, str] | None:
    limits = probe.limits
    asked: list[tuple[str, Value, float]] = [
        ("saturated units", lambda layer: layer.saturated, limits.saturated),
        ("exact zeros", _zeros, limits.zeros),
        ("dead units", lambda layer: layer.dead, limits.dead),
    ]
    layers = list(layers)
    series: list[Series] = []
    for label, value, limit in asked:
        marks = [
            Mark(place, part, f"{layer}: {share(part)} {label}", part > limit)
            for place, layer in layers
            if (part := value(layer)) is not None
        ]
        told = f"{label} (the line is the limit, {share(limit)})"
        series.append(Series(told, tuple(marks), limit=limit))
    if not any(one.marks for one in series):
        return None
    worst = "; ".join(
        f"{label} up to {share(max(mark.value for mark in one.marks))}"
        for (label, _, _), one in zip(asked, series, strict=True)
        if one.marks
    )
    chart = Chart(
        "Shares of units that say nothing",
        tuple(series),
        layers[-1][0] if layers else 1,
        log=False,
    )
    return chart, f"{worst}. The table below has every number."


def _zeros(layer: LayerSignal) -> float | None:
    return None if layer.kind == "weights" else layer.zeros


def _growth(probe: Probe) -> Markup | None:
    known = [
        (name, growth)
        for name, growth in (("forwards", probe.forwards), ("backwards", probe.backwards))
        if growth is not None
    ]
    if not known:
        return None
    rows = [
        [
            name,
            f"{growth.factor:.4g}",
            f"{growth.low:.4g} to {growth.high:.4g}" if growth.draws > 1 else "one draw",
            f"{growth.layers:,}",
        ]
        for name, growth in known
    ]
    title = "By what factor signals change from layer to layer"
    drawn = None
    if all(_finite(growth) for _, growth in known):
        told = "; ".join(f"{name} {growth}" for name, growth in known)
        ends = [(name, one.factor, one.low or one.factor, one.high) for name, one in known]
        drawn = interval(ends, title, f"{told}. At 1 a signal keeps its size.")
    heads = ["direction", "factor a layer", "95 % interval", "layers"]
    whole = table(title, heads, rows, numbers=(1, 2, 3))
    return tag("div", tag("h3", "Growth"), tag("div", whole, drawn, class_="pair"))


def _finite(growth: Growth) -> bool:
    return math.isfinite(growth.factor) and growth.factor > 0


def _layers(probe: Probe) -> Markup:
    attends = any(layer.logit_std is not None for layer in probe.layers)
    heads = ["layer", "function", "mean", "std", "zero", "dead", "saturated", "gradient"]
    rows = [
        [
            code(layer.name or "the model"),
            layer.function,
            number(layer.mean),
            number(layer.std),
            share(layer.zeros),
            share(layer.dead),
            share(layer.saturated),
            number(layer.gradient),
            *([number(layer.logit_std), number(layer.entropy)] if attends else []),
        ]
        for layer in probe.layers
    ]
    heads += ["logit std", "entropy"] if attends else []
    return table("Signals, layer by layer", heads, rows, numbers=range(2, len(heads)))


def _parameters(probe: Probe) -> Markup:
    rows = [
        [code(one.name), number(one.rms), number(one.gradient), number(one.update)]
        for one in probe.parameters
    ]
    told = (
        f"Parameters: root mean squares, and an update at the rate {probe.rate:g} beside the value"
    )
    return table(told, ["parameter", "value", "gradient", "update"], rows, numbers=(1, 2, 3))
