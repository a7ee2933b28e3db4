"""Plans, verdicts and probes as figures of matplotlib, which is imported when one is drawn.

Figures are made without pyplot: nothing of matplotlib's global state is used or changed. Colours
are those of Okabe and Ito, which colour-blind people tell apart, and no quantity is told by its
colour alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import singledispatch
from importlib import import_module
from typing import Any, TypeAlias

from initpolicy.plans import Choice, Decision, Plan
from initpolicy.problems import InitPolicyError, Problem
from initpolicy.report.text import one_line
from initpolicy.signals import Probe
from initpolicy.verification import Verdict

Figure: TypeAlias = Any
"""Of matplotlib, which not everybody has."""
Axes: TypeAlias = Any

BLUE, RED, GREEN, ORANGE, SKY, PINK = (
    "#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9", "#CC79A7",
)  # fmt: skip
GREY = "#6E6E6E"
COLORS = (BLUE, ORANGE, GREEN, PINK, SKY, RED)
MARKERS = "os^DvPX*"
PAIRS = ((BLUE, RED), (GREEN, PINK), (SKY, ORANGE))
"""Of signal and gradient: for the first probe in a figure, the second, the third."""

MOST_RULES = 10
"""Rules beyond these share one entry of the legend."""
MOST_NAMES = 32
"""Of more tensors or layers, only some are named."""
LONGEST = 44

_NAN = math.nan


def plot(value: object, **options: Any) -> Figure:
    """Draw a plan, a verdict or a probe into a new figure, or into `axes` if they are given.

    Raises `InitPolicyError` if matplotlib is not installed, or the axes are too few.
    """
    return _plot(value, **options)


@singledispatch
def _plot(value: object, **options: Any) -> Figure:
    raise TypeError(f"a {type(value).__name__} has no figure")


@_plot.register
def _plan(decided: Plan, *, axes: Axes | Sequence[Axes] | None = None) -> Figure:
    """The std of each tensor's law, in the order of the model, by rule.

    Constants are left out; laws that have no std, since elements are not alike, stand on the upper
    edge.
    """
    filled = [(decision, _std(decision)) for decision in decided.filled]
    given = [decision for decision, std in filled if std != 0]
    stds = [std for _, std in filled if std != 0]
    figure, (axis,) = _axes(axes, (2,), len(given))
    for number, ((label, color, marker), places) in enumerate(_by_rule(given).items()):
        style: dict[str, Any] = {
            "color": color,
            "marker": marker,
            "linestyle": "none",
            "markersize": 5 if len(given) <= 150 else 3,
            # Every other one is hollow, so that one seen through another is two.
            "markerfacecolor": "none" if number % 2 else color,
        }
        sizes = [_visible(stds[place]) for place in places]
        axis.plot(places, sizes, label=label, **style)
        _on_edge(axis, [place for place in places if stds[place] is None], 1.0, **style)
    axis.set_title(_told(f"{decided.title or decided.policy}, seed {decided.seed}"))
    axis.set_ylabel("std of the law")
    _logarithmic(axis)
    names = [decision.name for decision in given]
    _name_places(axis, names, "tensors of the model, in order", len(filled) - len(given))
    _legend(axis, axes is None)
    return figure


@_plot.register
def _verdict(verdict: Verdict, *, axes: Sequence[Axes] | None = None) -> Figure:
    """The std of each tensor beside that of its law, and their ratio; findings are ringed.

    Where chance decides, the ratio has a bar outside of which a deviation would have been seen.
    Constants, and what was not judged, are left out if nothing was found there.
    """
    wrong = {one.name for one in verdict.findings}
    tensors = [one for one in verdict.tensors if one.name in wrong or _visible(one.std) > 0]
    figure, (above, below) = _axes(axes, (2, 1), len(tensors))
    places = list(range(len(tensors)))
    laws = [_visible(one.law_std) for one in tensors]
    found = [_visible(one.std) for one in tensors]
    ratios = [one / law for one, law in zip(found, laws, strict=True)]
    style: dict[str, Any] = {"linestyle": "none", "color": BLUE, "marker": "o", "markersize": 4}
    above.plot(
        places, laws, "_", color=ORANGE, markersize=9, markeredgewidth=2, label="std of the law"
    )
    above.plot(places, found, label="std of the values", **style)
    below.axhline(1, color=ORANGE, linewidth=1)
    seen = [
        (place, one.visible)
        for place, one in enumerate(tensors)
        if one.visible is not None and one.visible < 1
    ]
    if seen:
        where, reach = zip(*seen, strict=True)
        low, high = [1 - one for one in reach], [1 + one for one in reach]
        label = "would not have been seen"
        below.vlines(where, low, high, color=GREY, alpha=0.3, linewidth=4, label=label)
    below.plot(places, ratios, **style)
    ringed = [place for place in places if tensors[place].name in wrong]
    _ring(above, ringed, found, "found wrong")
    _ring(below, ringed, ratios)
    number = len(verdict.findings)
    state = f"{number} finding{'' if number == 1 else 's'}" if number else "as stated"
    how = f"seed {verdict.seed}" if verdict.exact else "by law"
    above.set_title(_told(f"{verdict.policy}, {how}: {state}"))
    above.set_ylabel("std")
    below.set_ylabel("values : law")
    _logarithmic(above)
    names = [one.name for one in tensors]
    left = len(verdict.tensors) - len(tensors)
    _name_places(below, names, "tensors of the model, in order", left)
    _legend(above, axes is None)
    _legend(below, axes is None)
    return figure


@_plot.register
def _probe(found: Probe, *, axes: Sequence[Axes] | None = None) -> Figure:
    """Signals and gradients over depth, and below the shares of saturated units and of zeros.

    Lines join layers of weights, with bands from the smallest draw to the largest; pale points are
    activations. What is zero stands on the lower edge, what has overflowed on the upper one. Given
    the axes of another probe's figure, it is drawn beside that one.
    """
    layers = found.layers
    figure, (above, below) = _axes(axes, (2, 1), len(layers))
    number = sum(line.get_gid() == "signal" for line in above.lines)
    signal, gradient = PAIRS[number % len(PAIRS)]
    marker = MARKERS[number % len(MARKERS)]
    stds = [(layer.std, layer.stds) for layer in layers]
    slopes = [(layer.gradient, layer.gradients) for layer in layers]
    weights = [place for place, layer in enumerate(layers) if layer.kind == "weights"]
    name = f"std of outputs, {found.policy}"
    _sizes(above, weights, stds, label=name, gid="signal", color=signal, marker=marker)
    name = f"gradients, {found.policy}"
    _sizes(
        above, weights, slopes, label=name, gid="gradient", color=gradient, marker=marker,
        linestyle="--",
    )  # fmt: skip
    name = f"saturated, {found.policy}"
    saturated = [layer.saturated for layer in layers]
    _shares(
        below, saturated, label=name, gid="saturated", color=gradient, marker=marker,
        markersize=6, markerfacecolor="none",
    )  # fmt: skip
    name = f"exactly zero, {found.policy}"
    zeros = [None if layer.kind == "weights" else layer.zeros for layer in layers]
    _shares(
        below, zeros, label=name, gid="zeros", color=signal, marker=marker, markersize=3,
        linestyle=":",
    )  # fmt: skip
    for limit in (found.limits.saturated, found.limits.zeros):
        below.axhline(100 * limit, color=GREY, linewidth=0.6, linestyle=(0, (1, 3)))
    _mark_broken((above, below), found)
    draws = f"{len(found.seeds)} draw{'' if len(found.seeds) == 1 else 's'}"
    title = _told(f"{found.policy}, {draws}: {'healthy' if found.ok else 'not healthy'}")
    above.set_title("\n".join(filter(None, (above.get_title() if number else "", title))))
    above.set_ylabel("std of outputs, rms of gradients")
    _logarithmic(above)
    below.set_ylabel("share of a layer, %")
    below.set_ylim(-4, 104)
    _name_places(below, [str(layer) for layer in layers], "layers, in the order of computation")
    _legend(above, axes is None)
    _legend(below, axes is None)
    return figure


def _sizes(
    axis: Axes,
    joined: Sequence[int],
    sizes: Sequence[tuple[float | None, Sequence[float]]],
    *,
    label: str,
    gid: str,
    **style: Any,
) -> None:
    """Draw a size of each layer with those of its draws; places that are not joined are pale."""
    style = {"markersize": 3.5, "linewidth": 1.4, **style}
    axis.plot(
        joined, [_visible(sizes[place][0]) for place in joined], label=label, gid=gid, **style
    )
    draws = [[one for one in map(_visible, sizes[place][1]) if one > 0] for place in joined]
    low = [min(one, default=_NAN) for one in draws]
    high = [max(one, default=_NAN) for one in draws]
    axis.fill_between(joined, low, high, color=style["color"], alpha=0.18, linewidth=0)
    style["linestyle"] = "none"
    others = [place for place in range(len(sizes)) if place not in set(joined)]
    heights = [_visible(sizes[place][0]) for place in others]
    axis.plot(others, heights, alpha=0.4, gid=f"{gid} of activations", **style)
    known = [(place, size) for place, (size, _) in enumerate(sizes) if size is not None]
    _on_edge(axis, [place for place, size in known if size == 0], 0.0, gid=f"no {gid}", **style)
    lost = [place for place, size in known if not math.isfinite(size)]
    _on_edge(axis, lost, 1.0, gid=f"{gid} that overflowed", **style)


def _shares(axis: Axes, shares: Sequence[float | None], **style: Any) -> None:
    """Draw shares in percent where they are known."""
    known = [(place, 100 * share) for place, share in enumerate(shares) if share is not None]
    axis.plot(*([point[n] for point in known] for n in (0, 1)), linewidth=1.2, **style)


def _std(decision: Decision) -> float | None:
    """The std of a law; None where elements are not alike."""
    moments = None if decision.law is None else decision.law.moments
    return None if moments is None else moments.std


def _visible(size: float | None) -> float:
    """A size that a logarithmic axis can show, or not a number."""
    return size if size is not None and 0 < size < math.inf else _NAN


def _by_rule(given: Sequence[Decision]) -> dict[tuple[str, str, str], list[int]]:
    """The places of the decisions of each rule, under its label, colour and marker."""
    places: dict[Choice | None, list[int]] = {}
    for place, decision in enumerate(given):
        places.setdefault(_rule(decision.winner), []).append(place)
    shown = sorted(places, key=lambda rule: -len(places[rule]))[:MOST_RULES]
    found: dict[tuple[str, str, str], list[int]] = {}
    rest: list[int] = []
    for rule, of_rule in places.items():
        if rule not in shown:
            rest += of_rule
            continue
        number = len(found)
        label = "no rule" if rule is None else f"{one_line(rule.rule)} ({rule.location})"
        style = COLORS[number % len(COLORS)], MARKERS[number % len(MARKERS)]
        found[(label, *style)] = of_rule
    if rest:
        found[f"{len(places) - len(shown)} more rules", GREY, "."] = rest
    return found


def _rule(winner: Choice | None) -> Choice | None:
    """The rule of a choice, whatever it gives to each of its tensors."""
    return None if winner is None else Choice(winner.rule, "", winner.location)


def _axes(
    given: Axes | Sequence[Axes] | None, heights: tuple[int, ...], places: int
) -> tuple[Figure, list[Axes]]:
    """The figure and axes to draw into: new ones, that stand one above the other, or those given.

    A figure grows with what it shows, up to the width of a screen.
    """
    try:
        import_module("matplotlib")
        new: Any = import_module("matplotlib.figure").Figure
    except ImportError as error:
        hint = 'install it: pip install "initpolicy[plot]"'
        raise InitPolicyError(Problem("IP756", "figures need matplotlib", hint)) from error
    if given is None:
        width = min(16.0, max(7.0, 2.5 + 0.22 * min(places, 60)))
        figure = new(figsize=(width, 2.2 + 1.4 * sum(heights)), layout="constrained")
        made = figure.subplots(
            len(heights), 1, sharex=True, squeeze=False, height_ratios=list(heights)
        )
        return figure, list(made[:, 0])
    several: list[Axes] = [*given] if isinstance(given, Iterable) else [given]  # pyright: ignore[reportUnknownVariableType]
    if len(several) < len(heights):
        hint = f"give {len(heights)}, such as those of figure.subplots({len(heights)})"
        raise InitPolicyError(
            Problem("IP757", f"axes={given!r} are {len(several)}, and too few", hint)
        )
    figure = several[0].figure
    while not isinstance(figure, new):  # of a part of a figure
        figure = figure.figure
    return figure, several[: len(heights)]


def _mark_broken(axes: Sequence[Axes], found: Probe) -> None:
    """Shade the layers at which a condition does not hold."""
    broken = {one.name for one in found.findings}
    codes = ", ".join(sorted({one.code for one in found.findings}))
    label = f"a condition is broken: {codes}"
    for place, layer in enumerate(found.layers):
        if str(layer) in broken:
            for axis in axes:
                named = label if axis is axes[0] else None
                span = (place - 0.5, place + 0.5)
                axis.axvspan(*span, color=RED, alpha=0.12, linewidth=0, label=named, gid="broken")
            label = None


def _ring(
    axis: Axes, places: Sequence[int], heights: Sequence[float], label: str | None = None
) -> None:
    """Ring what was found wrong; what has no height is ringed on the upper edge."""
    style: dict[str, Any] = {
        "marker": "o", "markersize": 10, "markerfacecolor": "none", "markeredgecolor": RED,
        "markeredgewidth": 1.6, "linestyle": "none", "gid": "found wrong",
    }  # fmt: skip
    high = [place for place in places if not math.isnan(heights[place])]
    none = [place for place in places if math.isnan(heights[place])]
    if high:
        axis.plot(high, [heights[place] for place in high], label=label, **style)
    _on_edge(axis, none, 1.0, label=None if high else label, **style)


def _on_edge(axis: Axes, places: Sequence[int], edge: float, **style: Any) -> None:
    """Draw on the lower edge of the axes (0) or on the upper one (1), whatever their scale."""
    if places:
        heights = [edge] * len(places)
        axis.plot(places, heights, transform=axis.get_xaxis_transform(), clip_on=False, **style)


def _logarithmic(axis: Axes) -> None:
    """A logarithmic scale, if there is anything to show on it."""
    heights = (line.get_ydata() for line in axis.lines if line.get_transform() == axis.transData)
    if any(height > 0 for line in heights for height in line):
        axis.set_yscale("log")
        low, high = axis.get_ylim()
        if high / low < 10:  # so that there is a number on it
            axis.set_ylim(low / 3, high * 3)
    axis.grid(visible=True, axis="y", linewidth=0.4, alpha=0.5)


def _name_places(axis: Axes, names: Sequence[str], what: str, left: int = 0) -> None:
    """Name the places below the axes: all if they are few, and else some, evenly spaced.

    `left` is how many tensors are not shown.
    """
    step = max(1, -(-len(names) // MOST_NAMES))
    shown = range(0, len(names), step)
    axis.set_xticks(list(shown), [_short(names[place]) for place in shown])
    for label in axis.get_xticklabels():
        label.set(rotation=90, fontsize=7, parse_math=False)
    told = [f"one in {step} is named"] if step > 1 else []
    told += [f"{left} constant or kept ones are not shown"] if left else []
    axis.set_xlabel(f"{what} ({', '.join(told)})" if told else what)
    axis.set_xlim(-0.7, max(len(names), 1) - 0.3)


def _short(name: str) -> str:
    """A name that fits below an axis: its end tells most.

    >>> _short("model." + "layers.11.feed_forward." * 3 + "weight")
    '…ward.layers.11.feed_forward.weight'
    """
    name = one_line(name)
    return name if len(name) <= 36 else f"…{name[-34:]}"


def _told(text: str) -> str:
    """A text of a user's in which nothing is mathematics to matplotlib."""
    return "\n".join(one_line(line) for line in text.split("\n")).replace("$", r"\$")


def _legend(axis: Axes, own: bool) -> None:
    """Say what is what, outside of the axes if the figure is ours."""
    handles, _ = axis.get_legend_handles_labels()
    if not handles:
        return
    before = axis.get_legend()
    style: dict[str, Any] = {"fontsize": 8, "frameon": False}
    if own or (before is not None and before.get_gid() == "outside"):
        style |= {"loc": "upper left", "bbox_to_anchor": (1.01, 1), "borderaxespad": 0}
    legend = axis.legend(**style)
    legend.set_gid("outside" if "loc" in style else "inside")
    for text in legend.get_texts():
        label = one_line(text.get_text())
        text.set_text(label if len(label) <= LONGEST else f"{label[: LONGEST - 1]}…")
        text.set_parse_math(False)
