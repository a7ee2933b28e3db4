"""Figures: what their artists show is what the data say, and nothing of matplotlib changes."""

from __future__ import annotations

import io
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import initpolicy
from initpolicy.plans import Choice, Decision, Plan
from initpolicy.policy import parse
from initpolicy.problems import InitPolicyError, Location
from initpolicy.signals import LayerSignal, Limits, Probe
from initpolicy.signals.judging import judge

matplotlib = pytest.importorskip("matplotlib")

from initpolicy.laws import Constant, Normal  # noqa: E402
from initpolicy.report import plots  # noqa: E402

Figure = Any


def points(axis: Any) -> dict[tuple[float, float], str]:
    """Every point that stands where the scales say, with its line's label."""
    return {
        (x, y): line.get_label()
        for line in axis.lines
        if line.get_transform() == axis.transData
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
        if not math.isnan(y)
    }


def of(axis: Any, gid: str) -> list[tuple[float, float]]:
    """The points of the lines of one kind."""
    return [
        (x, y)
        for line in axis.lines
        if line.get_gid() == gid
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
        if not math.isnan(y)
    ]


def names(axis: Any) -> list[str]:
    return [label.get_text() for label in axis.get_xticklabels()]


def labels(axis: Any) -> list[str]:
    legend = axis.get_legend()
    return [] if legend is None else [text.get_text() for text in legend.get_texts()]


def drawn(figure: Figure) -> Figure:
    """Draw it as Agg does, so that places of texts are known."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure).draw()
    return figure


STDS = st.lists(st.none() | st.just(0.0) | st.floats(1e-6, 1e3), min_size=1, max_size=40)


def plan_of(stds: list[float | None], rules: int = 2) -> Plan:
    decisions = []
    for place, std in enumerate(stds):
        law = None if std is None else Normal(0, std) if std else Constant(1)
        rule = Choice(f"rule {place % rules}", "normal", Location("p.toml", 1 + place % rules))
        decisions.append(Decision(f"t{place}", "parameter", (3,), "float32", "Linear", law, rule))
    return Plan(tuple(decisions), 3, "p.toml")


@given(STDS, st.integers(1, 15))
def test_a_plan_shows_the_std_of_each_tensor_that_is_drawn(
    stds: list[float | None], rules: int
) -> None:
    figure = plan_of(stds, rules).plot()
    (axis,) = figure.axes
    shown = [(place, std) for place, std in enumerate(stds) if std]
    found = points(axis)
    assert sorted(found) == [(where, pytest.approx(std)) for where, (_, std) in enumerate(shown)]
    if rules <= plots.MOST_RULES:
        for (where, _), label in found.items():
            rule = shown[int(where)][0] % rules
            assert label == f"rule {rule} (p.toml:{rule + 1})"
    if shown:
        assert axis.get_yscale() == "log"
    if len(shown) <= plots.MOST_NAMES:
        assert names(axis) == [f"t{place}" for place, _ in shown]
    left = sum(std == 0 for std in stds)
    assert (f"{left} constant" in axis.get_xlabel()) == (left > 0)


def test_rules_differ_in_more_than_their_colour_and_many_of_them_share_an_entry() -> None:
    (axis,) = plan_of([0.1] * 40, rules=10).plot().axes
    marks = {(line.get_color(), line.get_marker()) for line in axis.lines}
    assert len(marks) == 10
    neighbours = [line.get_marker() for line in axis.lines]
    assert all(a != b for a, b in pairwise(neighbours))
    hollow = [line.get_markerfacecolor() == "none" for line in axis.lines]
    assert hollow == [False, True] * 5
    (axis,) = plan_of([0.1] * 40, rules=13).plot().axes
    assert len(labels(axis)) == 11
    assert labels(axis)[-1] == "3 more rules"


def test_laws_without_a_std_stand_on_the_edge() -> None:
    model = nn.Conv2d(4, 4, 3)
    policy = parse('format = 1\n[[rule]]\ninit.weight = "dirac"\ninit.bias = "normal"\n')
    (axis,) = initpolicy.plan(model, policy).plot().axes
    assert list(points(axis)) == [(1, 1)]
    (edge,) = [line for line in axis.lines if line.get_transform() != axis.transData]
    assert (list(edge.get_xdata()), list(edge.get_ydata())) == ([0], [1])


def test_a_verdict_shows_values_beside_laws_and_rings_what_was_found() -> None:
    model = nn.Sequential(nn.Linear(90, 80), nn.Linear(80, 70), nn.Linear(70, 60))
    initpolicy.apply(model, "mlp", seed=1)
    with torch.no_grad():
        model[1].weight *= 1.5
    for exact in (False, True):
        verdict = initpolicy.verify(model, "mlp", seed=1, exact=exact)
        above, below = verdict.plot().axes
        expected = [float(np.std(model[n].weight.detach().numpy())) for n in range(3)]
        values = next(one for one in above.lines if one.get_label() == "std of the values")
        assert list(values.get_ydata()) == pytest.approx(expected, rel=1e-3)
        laws = next(one for one in above.lines if one.get_label() == "std of the law")
        assert list(laws.get_ydata()) == pytest.approx([0.01] * 3)
        ratios = below.lines[1].get_ydata()
        assert list(ratios) == pytest.approx([one / 0.01 for one in expected], rel=1e-3)
        assert of(above, "found wrong") == [(1, values.get_ydata()[1])]
        assert of(below, "found wrong") == [(1, ratios[1])]
        assert names(below) == ["0.weight", "1.weight", "2.weight"]
        bars = [one.get_segments() for one in below.collections]
        assert len(bars) == (not exact)
    assert above.get_title() == "policies/mlp.toml, seed 1: 1 finding"


def test_the_bar_of_a_verdict_is_what_would_not_have_been_seen() -> None:
    model = nn.Linear(784, 10)
    initpolicy.apply(model, "mlp", seed=1)
    verdict = initpolicy.verify(model, "mlp", exact=False)
    seen = verdict.tensors[0].visible
    _, below = verdict.plot().axes
    ((low, high),) = below.collections[0].get_segments()
    assert (list(low), list(high)) == ([0, 1 - seen], [0, 1 + seen])


def test_not_a_number_is_ringed_on_the_edge() -> None:
    model = nn.Linear(90, 80)
    initpolicy.apply(model, "mlp", seed=1)
    with torch.no_grad():
        model.weight[3, 4] = math.nan
    above, _ = initpolicy.verify(model, "mlp", seed=1).plot().axes
    assert of(above, "found wrong") == [(0, 1.0)]


@pytest.fixture(scope="module")
def saturated() -> Probe:
    """Small layers of which one activation in two is saturated."""
    policy = parse('format = 1\n[[rule]]\ninit."*" = { fn = "normal", std = 2 }\n')
    model = nn.Sequential(*(m for _ in range(3) for m in (nn.Linear(30, 30), nn.Tanh(), nn.ReLU())))
    return initpolicy.probe(model, policy, input=(20, 30), draws=3)


def test_a_probe_shows_signals_and_gradients_of_every_layer(saturated: Probe) -> None:
    above, below = saturated.plot().axes
    layers = list(enumerate(saturated.layers))
    for gid, size in (("signal", "std"), ("gradient", "gradient")):
        weights = [(n, getattr(one, size)) for n, one in layers if one.kind == "weights"]
        assert of(above, gid) == weights
        others = [(n, getattr(one, size)) for n, one in layers if one.kind != "weights"]
        assert of(above, f"{gid} of activations") == others
    shares = [(n, 100 * one.saturated) for n, one in layers if one.saturated is not None]
    assert of(below, "saturated") == shares
    zeros = [(n, 100 * one.zeros) for n, one in layers if one.kind != "weights"]
    assert of(below, "zeros") == zeros
    assert above.get_yscale() == "log"
    assert names(below) == [str(one) for one in saturated.layers]
    assert above.get_title() == "<policy>, 3 draws: not healthy"
    assert labels(above)[0] == "std of outputs, <policy>"


def test_bands_reach_from_the_smallest_draw_to_the_largest(saturated: Probe) -> None:
    above, _ = saturated.plot().axes
    band = above.collections[0].get_paths()[0].vertices
    for place in (0, 3, 6):
        heights = [y for x, y in band if x == place]
        stds = saturated.layers[place].stds
        assert (min(heights), max(heights)) == pytest.approx((min(stds), max(stds)))


def test_broken_layers_are_shaded(saturated: Probe) -> None:
    above, below = saturated.plot().axes
    broken = {one.name for one in saturated.findings}
    places = [n for n, layer in enumerate(saturated.layers) if str(layer) in broken]
    assert places
    for axis in (above, below):
        spans = [one for one in axis.patches if one.get_gid() == "broken"]
        edges = [(one.get_xy()[0], one.get_width()) for one in spans]
        assert edges == [(place - 0.5, 1) for place in places]
    assert "a condition is broken: IP761" in labels(above)


def test_two_probes_stand_in_one_figure_and_can_be_told_apart(saturated: Probe) -> None:
    figure = saturated.plot()
    other = replace(saturated, policy="other.toml")
    assert other.plot(axes=figure.axes) is figure
    above, below = figure.axes
    lines = [one for axis in figure.axes for one in axis.lines if one.get_label()[0] != "_"]
    assert len({one.get_label() for one in lines}) == len(lines) == 8
    assert len({one.get_color() for one in lines}) == 4
    styles = [(one.get_color(), one.get_marker(), one.get_linestyle()) for one in above.lines]
    assert len(set(styles)) == 8
    assert above.get_title() == "<policy>, 3 draws: not healthy\nother.toml, 3 draws: not healthy"
    assert len(labels(below)) == 4


def wild() -> Probe:
    """A layer that gives nothing, and one that overflows."""
    layers = [
        LayerSignal(f"l{n}", "linear", "weights", 0.0, std, std, 0.0, None, None, None, None, slope)
        for n, (std, slope) in enumerate([(1.0, 0.0), (0.0, 2.0), (math.inf, math.nan)])
    ]
    conditions = judge(layers, Limits(), Plan((), 0, "p"))
    return Probe("p", (0,), tuple(layers), (), None, None, 1e-3, Limits(), conditions)


def test_zeros_and_what_overflowed_stand_on_the_edges() -> None:
    above, _ = drawn(wild().plot()).axes
    assert of(above, "signal") == [(0, 1.0)]
    assert of(above, "no signal") == [(1, 0.0)]
    assert of(above, "no gradient") == [(0, 0.0)]
    assert of(above, "signal that overflowed") == [(2, 1.0)]
    assert of(above, "gradient that overflowed") == [(2, 1.0)]


def deep() -> Probe:
    layers = [
        LayerSignal(
            f"model.layers.{n // 2}.feed_forward.projection_{n % 2}",
            ("linear", "relu")[n % 2],
            ("weights", "activation")[n % 2],
            0.0, 0.9**n, 0.9**n, 0.0, None, 0.5 if n % 2 else None, None, None, 0.8 ** (400 - n),
        )
        for n in range(400)
    ]  # fmt: skip
    conditions = judge(layers, Limits(), Plan((), 0, "p"))
    return Probe("p", (0,), tuple(layers), (), None, None, 1e-3, Limits(), conditions)


@pytest.mark.parametrize(
    "figure", [lambda: deep().plot(), lambda: plan_of([0.1, 0.3] * 200).plot()]
)
def test_four_hundred_layers_are_legible(figure: Callable[[], Figure]) -> None:
    made = drawn(figure())
    texts = [text for text in made.axes[-1].get_xticklabels() if text.get_text()]
    assert 20 <= len(texts) <= plots.MOST_NAMES
    boxes = [text.get_window_extent() for text in texts]
    assert all(a.x1 <= b.x0 for a, b in pairwise(boxes))
    whole = made.bbox
    for axis in made.axes:
        for inside in (axis.get_tightbbox(), axis.get_window_extent()):
            assert whole.x0 - 1 <= inside.x0 < inside.x1 <= whole.x1 + 1
            assert whole.y0 - 1 <= inside.y0 < inside.y1 <= whole.y1 + 1
        assert axis.get_window_extent().width > 0.6 * whole.width
        assert axis.get_window_extent().height > 80


def test_names_are_texts_and_no_mathematics() -> None:
    plan = plan_of([0.1, 0.2])
    wild = [
        replace(one, name=f"$\\frac{n}{{ $ %", winner=Choice("a $\\frac{", "", Location("p$")))
        for n, one in enumerate(plan)
    ]
    figure = drawn(replace(plan, decisions=tuple(wild), policy="$\\frac{$", title="").plot())
    assert names(figure.axes[0]) == ["$\\frac0{ $ %", "$\\frac1{ $ %"]
    assert labels(figure.axes[0]) == ["a $\\frac{ (p$)"]


def test_nothing_to_show_is_a_figure_too() -> None:
    drawn(Plan((), 0, "p").plot())
    drawn(initpolicy.verify(nn.Linear(2, 2), plan_of([]), exact=True).plot())


def test_axes_that_are_given_are_drawn_into() -> None:
    from matplotlib.figure import Figure

    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert plan_of([0.1]).plot(axes=left) is figure
    assert list(points(left)) == [(0, pytest.approx(0.1))]
    assert not right.lines
    outer = Figure()
    part, _ = outer.subfigures(1, 2)
    assert wild().plot(axes=part.subplots(2)) is outer


def test_mistakes_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    with pytest.raises(InitPolicyError) as caught:
        wild().plot(axes=Figure().subplots())
    assert "are 1, and too few; give 2, such as those of figure.subplots(2)" in str(caught.value)
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        wild().plot(colour=1)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InitPolicyError) as caught:
        wild().plot()
    assert str(caught.value) == (
        'IP756 figures need matplotlib; install it: pip install "initpolicy[plot]"'
    )


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_figures_can_be_saved(kind: str) -> None:
    target = io.BytesIO()
    wild().plot().savefig(target, format=kind)
    assert target.getvalue()


ALONE = """
import sys, torch, initpolicy
plan = initpolicy.plan(torch.nn.Linear(3, 2), "torch")
assert "matplotlib" not in sys.modules
import matplotlib
before = matplotlib.rcParams.copy()  # which looks for no backend
model = torch.nn.Linear(3, 2)
plan.plot()
initpolicy.verify(model, plan).plot()
initpolicy.probe(model, plan, input=(4, 3)).plot()
assert dict.__eq__(matplotlib.rcParams, before)
assert "matplotlib.pyplot" not in sys.modules
"""


def test_nothing_of_matplotlib_changes_and_it_is_imported_late() -> None:
    ran = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
