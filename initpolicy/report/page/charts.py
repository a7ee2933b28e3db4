"""Charts of numbers over the depth of a network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from initpolicy.report.page.axes import Scale, place, short
from initpolicy.report.page.markup import Markup, join, tag

_LEFT, _RIGHT, _TOP, _BOTTOM, _WIDTH, _HEIGHT = 64.0, 948.0, 14.0, 206.0, 960, 250
_LEAST, _MOST = 1e-300, 1e300
_MOST_TITLES = 1200  # marks that say what they are when one points at them

MARKS = ("circle", "triangle", "square", "diamond")


@dataclass(frozen=True)
class Mark:
    """One number at one layer."""

    layer: int
    """Counted from 1."""
    value: float
    name: str
    """What is told when one points at it."""
    found: bool = False
    """Whether a condition does not hold there."""


@dataclass(frozen=True)
class Series:
    """Numbers of one kind, which have one colour and one form."""

    label: str
    marks: tuple[Mark, ...]
    line: bool = False
    limit: float | None = None
    """What a condition asks for, as a line across."""


@dataclass(frozen=True)
class Chart:
    """Several series over the same layers."""

    title: str
    series: tuple[Series, ...]
    layers: int
    log: bool = True


def draw(chart: Chart, description: str) -> Markup:
    """The chart as a figure: its title, SVG, and its legend."""
    up = _vertical(chart)
    across = Scale(1, max(2, chart.layers), _LEFT + 10, _RIGHT - 10)
    titled = sum(len(one.marks) for one in chart.series) <= _MOST_TITLES
    small = chart.layers > 160
    shown = [
        group
        for number, one in enumerate(chart.series)
        for group in _series(one, number, across, up, titled=titled, small=small)
    ]
    drawing = tag(
        "svg",
        tag("title", chart.title),
        tag("desc", description),
        _grid(chart, across, up),
        *(
            tag(
                "path",
                d=f"M{_LEFT:.0f} {place(up(one.limit))}H{_RIGHT:.0f}",
                class_=f"limit l{number}",
            )
            for number, one in enumerate(chart.series)
            if one.limit is not None
        ),
        *shown,
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        class_="chart",
    )
    return tag("figure", tag("figcaption", chart.title), drawing, _legend(chart))


def _vertical(chart: Chart) -> Scale:
    if not chart.log:
        return Scale(0.0, 1.0, _BOTTOM, _TOP)
    values = [mark.value for one in chart.series for mark in one.marks if _shown(mark.value)]
    low, high = (min(values), max(values)) if values else (0.1, 10.0)
    if high / low < 10:  # a signal that keeps its size is seen to keep it
        middle = math.sqrt(low) * math.sqrt(high)
        low, high = middle / math.sqrt(10), middle * math.sqrt(10)
    return Scale(max(low / 1.3, _LEAST), min(high * 1.3, _MOST), _BOTTOM, _TOP, log=True)


def _shown(value: float) -> bool:
    return 0 < value < math.inf


def _grid(chart: Chart, across: Scale, up: Scale) -> Markup:
    lines = "".join(f"M{_LEFT:.0f} {place(up(value))}H{_RIGHT:.0f}" for value in up.ticks)
    layers = sorted({1, *(int(v) for v in across.ticks if v >= 1 and v == int(v))} - {0})
    if len(layers) > 1 and layers[1] - 1 < (layers[-1] - 1) / 20:
        layers = layers[1:]
    marks = "".join(f"M{place(across(value))} {_BOTTOM:.0f}v5" for value in layers)
    labels = [
        tag("text", _tick(value, chart.log), x=_LEFT - 8, y=place(up(value) + 4), text_anchor="end")
        for value in up.ticks
    ]
    below = [
        tag("text", value, x=place(across(value)), y=_BOTTOM + 19, text_anchor="middle")
        for value in layers
    ]
    told = "layers in the order of the forward pass \N{RIGHTWARDS ARROW}"
    named = tag("text", told, x=_RIGHT, y=_HEIGHT - 6, text_anchor="end")
    return join(
        [
            tag("path", d=lines, class_="grid"),
            tag("path", d=f"M{_LEFT:.0f} {_BOTTOM:.0f}H{_RIGHT:.0f}{marks}", class_="axis"),
            *labels,
            *below,
            named,
        ]
    )


def _tick(value: float, log: bool) -> str:
    return short(value) if log else f"{100 * value:.0f} %"


def _series(
    one: Series, number: int, across: Scale, up: Scale, *, titled: bool, small: bool
) -> list[Markup]:
    places = [(across(mark.layer), _height(mark.value, up), mark) for mark in one.marks]
    shown: list[Markup] = []
    if one.line and len(places) > 1:
        points = "L".join(f"{place(x)} {place(y)}" for x, y, _ in places)
        shown.append(tag("path", d=f"M{points}", class_="run"))
    size = 2.2 if small else 4.0
    form = MARKS[number % len(MARKS)]
    if titled:
        shown += [
            tag("path", tag("title", mark.name), d=_form(form, x, y, size)) for x, y, mark in places
        ]
    else:
        shown.append(tag("path", d="".join(_form(form, x, y, size) for x, y, _ in places)))
    rings = "".join(_form("ring", x, y, size + 4) for x, y, mark in places if mark.found)
    if rings:
        shown.append(tag("path", d=rings, class_="found"))
    return [tag("g", *shown, class_=f"s{number}")]


def _height(value: float, up: Scale) -> float:
    """Zero is at the bottom, and what is infinite or no number at the top."""
    if math.isnan(value):
        return up.stop
    return up(value)


_CORNERS = {
    "triangle": ((0, -1.2), (1.15, 0.8), (-1.15, 0.8)),
    "square": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    "diamond": ((0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)),
}


def _form(form: str, x: float, y: float, size: float) -> str:
    """A mark as a path."""
    if form in _CORNERS:
        corners = (f"{place(x + size * a)} {place(y + size * b)}" for a, b in _CORNERS[form])
        return f"M{'L'.join(corners)}z"
    half = f"a{size:g} {size:g} 0 1 0"
    return f"M{place(x - size)} {place(y)}{half} {2 * size:g} 0{half} {-2 * size:g} 0z"


def _legend(chart: Chart) -> Markup:
    items = [
        tag(
            "li",
            tag(
                "svg",
                tag("g", tag("path", d=_form(MARKS[number], 8, 8, 4)), class_=f"s{number}"),
                viewBox="0 0 16 16",
                aria_hidden="true",
            ),
            one.label,
        )
        for number, one in enumerate(chart.series)
    ]
    if any(mark.found for one in chart.series for mark in one.marks):
        ring = tag("path", d=_form("ring", 8, 8, 6), class_="found")
        items.append(
            tag(
                "li",
                tag("svg", ring, viewBox="0 0 16 16", aria_hidden="true"),
                "ringed: a condition does not hold here",
            )
        )
    return tag("ul", *items, class_="legend")


def interval(
    rows: Sequence[tuple[str, float, float, float]], title: str, description: str
) -> Markup:
    """Factors with their intervals on one axis, on which 1 is marked."""
    ends = [end for _, *numbers in rows for end in numbers if _shown(end)]
    low, high = min([*ends, 0.8]) / 1.1, max([*ends, 1.25]) * 1.1
    across = Scale(low, high, 110, _WIDTH / 2 - 20, log=True)
    bottom = 30 * len(rows) + 10
    shown: list[Markup] = []
    for number, (name, factor, first, last) in enumerate(rows):
        y = 25 + 30 * number
        left, right = (across(end) if end < math.inf else across.stop for end in (first, last))
        whisker = (
            f"M{place(left)} {y}H{place(right)}M{place(left)} {y - 5}v10M{place(right)} {y - 5}v10"
        )
        shown += [
            tag("text", name, x=100, y=y + 4, text_anchor="end"),
            tag("path", d=whisker, class_="whisker"),
            tag("g", tag("path", d=_form("circle", across(factor), y, 4.5)), class_="s0"),
        ]
    ticks = across.ticks
    marks = "".join(f"M{place(across(value))} {bottom}v4" for value in ticks)
    return tag(
        "svg",
        tag("title", title),
        tag("desc", description),
        tag("path", d=f"M{place(across(1))} 8V{bottom}", class_="one"),
        tag("path", d=f"M110 {bottom}H{place(across.stop)}{marks}", class_="axis"),
        *(
            tag("text", short(value), x=place(across(value)), y=bottom + 18, text_anchor="middle")
            for value in ticks
        ),
        *shown,
        viewBox=f"0 0 {_WIDTH // 2} {bottom + 24}",
        role="img",
        class_="interval",
    )
