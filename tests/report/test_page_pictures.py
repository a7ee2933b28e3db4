"""What the pictures of values and signals show is what there is."""

from __future__ import annotations

import io
import math
import re
from base64 import b64decode

import html_pages
import numpy as np
import pytest
import scipy.stats
import torch
from html_pages import Element
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import initpolicy
from initpolicy.plans import Plan
from initpolicy.policy import parse
from initpolicy.report.page import drawing
from initpolicy.report.page.axes import Scale, decades, steps
from initpolicy.report.page.charts import Chart, Mark, Series, draw
from initpolicy.report.page.drawing import chosen, samples
from initpolicy.report.page.pictures import picture

LAWS = {
    "normal": '{ fn = "normal", std = 0.5, mean = 1.0 }',
    "uniform": '{ fn = "uniform", a = -0.25, b = 0.75 }',
    "trunc_normal": '{ fn = "trunc_normal", std = 0.5, a = -0.6, b = 1.0 }',
}
CDFS = {
    "normal": scipy.stats.norm(1.0, 0.5).cdf,
    "uniform": scipy.stats.uniform(-0.25, 1.0).cdf,
    "trunc_normal": scipy.stats.truncnorm(-1.2, 2.0, 0.0, 0.5).cdf,
}


def planned(model: nn.Module, *rules: str) -> Plan:
    written = "".join(f"[[rule]]\n{rule}\n" for rule in rules)
    return initpolicy.plan(model, parse(f'format = 1\nuncovered = "keep"\n{written}'))


def weights(model: nn.Module, plan: Plan) -> dict[str, torch.Tensor]:
    initpolicy.apply(model, plan)
    return {name: tensor.detach().double() for name, tensor in model.named_parameters()}


@pytest.mark.parametrize(
    "rule",
    [
        *(f"init.weight = {law}" for law in LAWS.values()),
        'init.weight = "orthogonal"',
        'init.weight = { fn = "sparse", sparsity = 0.5 }',
        'init.weight = "dct"',
        'init.weight = { fn = "orthogonal", chunks = 2 }',
        'init.weight = { chunks = ["normal", "keep", "uniform", 0] }',
        'init.weight = { fn = "normal", zero_index = 2 }',
        'init.weight = { fn = "formula", value = "i0 + z" }',
        'init.weight = { fn = "normal", stream = "other" }',
    ],
)
def test_samples_are_values_that_the_model_gets(rule: str) -> None:
    model = nn.Linear(8, 12, bias=False)
    plan = planned(model, rule)
    found = samples(plan["weight"], plan.seed)
    assert found
    values = set(weights(model, plan)["weight"].reshape(-1).tolist())
    for one in found:
        assert set(one.values.tolist()) <= values
    law = plan["weight"].law
    assert law is not None
    if law.moments is not None:
        assert sum(one.total for one in found) == 96


@pytest.mark.parametrize(
    ("rule", "shown"),
    [
        ('init.weight = "normal"', [0]),
        ('init.weight = { fn = "normal", zero_index = 1 }', [10]),
        ('init.weight = { chunks = ["normal", 0, "uniform", "keep"] }', [0, 10]),
    ],
)
def test_of_a_large_tensor_a_stretch_is_drawn(
    rule: str, shown: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawing, "WHOLE", 20)
    monkeypatch.setattr(drawing, "SOME", 7)
    model = nn.Linear(5, 8, bias=False)
    plan = planned(model, rule)
    found = samples(plan["weight"], plan.seed)
    starts = {'init.weight = { chunks = ["normal", 0, "uniform", "keep"] }': [0, 20]}
    flat = weights(model, plan)["weight"].reshape(-1)
    for one, start in zip(found, starts.get(rule, shown), strict=True):
        assert one.values.tolist() == flat[start : start + 7].tolist()


def test_what_is_made_whole_and_large_is_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "WHOLE", 20)
    plan = planned(
        nn.Linear(5, 8, device="meta"), 'init.weight = "orthogonal"', 'init.bias = "normal"'
    )
    assert [one.name for one in chosen(plan.decisions)] == ["bias"]


def test_the_narrowest_the_widest_and_one_between_stand_for_all() -> None:
    layers = [nn.Linear(2**n, 4, bias=False) for n in range(7)]
    model = nn.Sequential(*layers, nn.Linear(8, 50, bias=False)).to("meta")
    plan = planned(model, 'init.weight = "lecun_normal"')
    found = chosen(plan.decisions)
    assert [one.shape for one in found] == [(4, 64), (50, 8), (4, 1)]


def test_constants_are_not_drawn() -> None:
    plan = planned(nn.Linear(5, 8, device="meta"), 'init."*" = 1')
    assert chosen(plan.decisions) == []


def numbers_of(figure: Element) -> list[list[float]]:
    def plain(text: str) -> float:
        return float(text.removesuffix(" %")) / (100 if text.endswith("%") else 1)

    rows = figure.one("tbody").all("tr")
    return [[plain(cell.text) for cell in row.elements] for row in rows]


@pytest.mark.parametrize("name", LAWS)
def test_a_histogram_is_that_of_the_values_and_of_the_law(name: str) -> None:
    model = nn.Linear(100, 200, bias=False, device="meta")
    plan = planned(model, f"init.weight = {LAWS[name]}")
    (sample,) = samples(plan["weight"], 0)
    figure = html_pages.read(picture(sample))
    rows = numbers_of(figure)
    assert len(rows) == 32
    total = 0.0
    for low, high, part, law in rows:
        expected = CDFS[name](high) - CDFS[name](low)
        assert law == pytest.approx(expected, abs=0.004)  # edges are rounded to three digits
        assert part == pytest.approx(law, abs=6 * math.sqrt(max(law, 1e-4) / len(sample.values)))
        total += part
    assert total == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("name", LAWS)
def test_the_curve_has_the_area_and_the_height_of_the_bars(name: str) -> None:
    plan = planned(nn.Linear(100, 200, bias=False, device="meta"), f"init.weight = {LAWS[name]}")
    (sample,) = samples(plan["weight"], 0)
    svg = next(
        one for one in html_pages.read(picture(sample)).all("svg") if one["class"] == "histogram"
    )
    paths = {one["class"]: one["d"] for one in svg.all("path")}
    curve = np.array(re.findall(r"[ML]([\d.]+) ([\d.]+)", paths["density"]), dtype=float)
    floor = float(curve[0, 1])
    area = np.trapezoid(floor - curve[:, 1], curve[:, 0])
    bars = re.findall(r"M([\d.]+) ([\d.]+)V([\d.]+)H([\d.]+)V", paths["bars"])
    width = 0.6
    filled = sum(
        (float(right) + width - float(left)) * (float(bottom) - float(top))
        for left, bottom, top, right in bars
    )
    assert area == pytest.approx(filled, rel=0.03)


def test_few_values_are_counted_one_by_one() -> None:
    plan = planned(nn.Linear(6, 4, bias=False), 'init.weight = "eye"')
    (sample,) = samples(plan["weight"], 0)
    figure = html_pages.read(picture(sample))
    rows = [[cell.text for cell in row.elements[:2]] for row in figure.one("tbody").all("tr")]
    assert rows == [["0", "83 %"], ["1", "17 %"]]  # 20 and 4 of 24


def test_the_corner_of_a_matrix_is_a_picture_of_its_signs_and_sizes() -> None:
    image = pytest.importorskip("PIL.Image")
    plan = planned(nn.Linear(60, 30, bias=False), 'init.weight = "dct"')
    (sample,) = samples(plan["weight"], 0)
    model = nn.Linear(60, 30, bias=False)
    matrix = weights(model, plan)["weight"][:48, :48].numpy()
    source = html_pages.read(picture(sample)).one("img")["src"]
    read = image.open(io.BytesIO(b64decode(source.partition(",")[2])))
    pixels = np.asarray(read.convert("RGBA"), dtype=float)
    assert pixels.shape == (30, 48, 4)
    assert pixels[..., 3] / 255 == pytest.approx(np.abs(matrix) / np.abs(matrix).max(), abs=0.04)
    large = np.abs(matrix) > 0.1 * np.abs(matrix).max()
    assert ((pixels[..., 2] > pixels[..., 0]) == (matrix < 0))[large].all()


def marks_of(chart: Chart) -> list[tuple[str, float, float]]:
    """What each mark is called, and where its path begins."""
    found: list[tuple[str, float, float]] = []
    for path in html_pages.read(draw(chart, "a description")).all("path"):
        if path.children:
            x, y = re.findall(r"M([\d.]+) ([\d.]+)", path["d"])[0]
            found.append((path.text, float(x), float(y)))
    return found


@given(st.lists(st.floats(1e-30, 1e30), min_size=2, max_size=30))
def test_marks_lie_where_their_numbers_are(values: list[float]) -> None:
    marks = tuple(Mark(place, value, f"{place}") for place, value in enumerate(values, 1))
    found = marks_of(Chart("a chart", (Series("one", marks),), len(values)))
    assert [name for name, _, _ in found] == [mark.name for mark in marks]
    across = [x for _, x, _ in found]
    assert across == sorted(across)
    logs = np.log10(values)
    heights = np.array([y for _, _, y in found])
    if np.ptp(logs) > 1:
        slope, start = np.polyfit(logs, heights, 1)
        assert slope < 0
        assert heights == pytest.approx(slope * logs + start, abs=0.11)


def test_what_has_no_place_on_the_axis_is_at_its_ends() -> None:
    values = [0.0, 1.0, 100.0, math.inf, math.nan]
    marks = tuple(Mark(n, value, str(value), value == 0) for n, value in enumerate(values, 1))
    found = marks_of(Chart("a chart", (Series("one", marks, line=True),), 5))
    heights = {name: y for name, _, y in found}
    assert heights["0.0"] > heights["1.0"] > heights["100.0"] > heights["inf"] == heights["nan"]


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_numbers_beside_an_axis_lie_on_it_and_are_few(low: float, width: float) -> None:
    if low + width > low:
        found = steps(low, low + width)
        slack = 1e-6 * width + 4 * math.ulp(abs(low) + width)
        assert all(low - slack <= value <= low + width + slack for value in found)
        assert len(found) <= 7


@given(st.floats(1e-30, 1e30), st.floats(1.01, 1e12))
def test_so_do_those_of_a_logarithmic_axis(low: float, ratio: float) -> None:
    found = decades(low, low * ratio)
    assert 1 <= len(found) <= 9
    assert all(low * (1 - 1e-6) <= value <= low * ratio * (1 + 1e-6) for value in found)
    assert Scale(low, low * ratio, 0, 100, log=True)(low) == 0
