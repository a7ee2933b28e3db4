"""What a notebook shows of plans, verdicts and probes is whole, and small for any model."""

from __future__ import annotations

import math
from dataclasses import replace

import html_pages
import pytest
import torch
from html_pages import Element
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import initpolicy
from initpolicy.plans import Choice, Decision, Plan
from initpolicy.policy import parse
from initpolicy.problems import Location
from initpolicy.report.page import html
from initpolicy.signals import LayerSignal, Probe
from initpolicy.verification import Verdict
from initpolicy.verification.verdict import Finding, Judged

MOST = 60_000
ANYTHING = st.text(min_size=1, max_size=30) | st.just("<script>alert(1)</script>")


@pytest.fixture(scope="module")
def probe() -> Probe:
    torch.manual_seed(0)
    layers = [layer for _ in range(4) for layer in (nn.Linear(12, 12), nn.Tanh())]
    policy = parse('format = 1\n[[rule]]\ninit."*" = { fn = "normal", std = 9 }')
    return initpolicy.probe(nn.Sequential(*layers), policy, input=(16, 12), draws=2)


def cells(page: Element) -> list[list[str]]:
    return [[cell.text for cell in row.elements] for row in page.one("tbody").all("tr")]


def test_a_plan_tells_what_each_rule_gives() -> None:
    plan = initpolicy.plan(nn.Linear(30, 10, device="meta"), "mlp")
    page = html_pages.read(plan._repr_html_())
    assert cells(page) == [["type =Linear", "weight", "N(0, 0.01)", "1", "300"]]
    assert "bias (Linear): no rule covers it" in page.text
    assert "seed 0" in page.text


def test_a_verdict_tells_what_was_found() -> None:
    model = nn.Linear(30, 10)
    initpolicy.apply(model, "torch", seed=0)
    well = initpolicy.verify(model, "torch", seed=0)
    page = html_pages.read(well._repr_html_())
    assert [one.text for one in page.all("span") if one["class"] == "yes"] == ["as stated"]
    assert not page.all("table")
    ill = initpolicy.verify(model, "torch", seed=1)
    page = html_pages.read(ill._repr_html_())
    assert [one.text for one in page.all("span") if one["class"] == "no"] == ["2 findings"]
    assert [row[:2] for row in cells(page)] == [["weight", "IP604"], ["bias", "IP604"]]


def test_a_probe_tells_which_conditions_hold(probe: Probe) -> None:
    assert not probe.ok
    page = html_pages.read(probe._repr_html_())
    told = [row[1] for row in cells(page)]
    assert told == ["holds" if one.ok else "does not hold" for one in probe.conditions]
    assert len([one for one in page.all("svg") if one["role"] == "img"]) == 2
    assert page.all("a") == []


def test_what_is_large_is_cut(probe: Probe) -> None:
    layer = probe.layers[0]
    deep = replace(probe, layers=tuple(replace(layer, name=f"l.{n}") for n in range(5000)))
    deep = replace(deep, conditions=tuple(
        replace(one, findings=one.findings * 500) for one in probe.conditions))  # fmt: skip
    places = [Location("p.toml", n) for n in range(3000)]
    decisions = tuple(
        Decision(f"l{n}.w", "parameter", (2,), "float32", "Linear", None,
                 Choice("r" * 500, f"normal({n})", place))
        for n, place in enumerate(places)
    )  # fmt: skip
    law = initpolicy.plan(nn.Linear(2, 2), "torch").decisions[0].law
    filled = tuple(replace(one, law=law) for one in decisions)
    plan = Plan((*filled, *(replace(one, name=f"k{one.name}") for one in decisions)), 0, "p.toml")
    found = tuple(Finding(f"l{n}", "IP604", "m" * 5000, "x" * 5000) for n in range(3000))
    judged = tuple(Judged(f"l{n}", "exactly") for n in range(3000))
    verdict = Verdict("p.toml", 0, True, 1e-9, 0, found, judged)
    for value in (deep, plan, verdict):
        text = html(value)
        html_pages.read(text)
        assert len(text) < MOST
        assert "more" in html_pages.read(text).text


@given(ANYTHING, ANYTHING)
def test_no_text_of_a_user_is_taken_for_html(one: str, other: str) -> None:
    def shown(one: str, other: str) -> Element:
        choice = Choice(one, other, Location(other, 2))
        law = initpolicy.plan(nn.Linear(2, 2), "torch").decisions[0].law
        decisions = (
            Decision(f"a{one}.w", "parameter", (2,), "float32", one, law, choice),
            Decision(f"b{other}.w", "parameter", (2,), "float32", other, None, None),
        )
        plan = Plan(decisions, 0, one, other, one)
        finding = Finding(one, "IP604", other, one, other, choice)
        verdict = Verdict(other, 0, True, 1e-9, 0, (finding,), (Judged(one, "exactly"),))
        return html_pages.read(html(plan) + html(verdict))

    def tags(page: Element) -> list[str]:
        return [element.tag for element in page.walk()]

    assert tags(shown(f"{one}x", f"{other}x")) == tags(shown("benign", "harmless"))


def test_a_probe_that_overflows_is_shown_too(probe: Probe) -> None:
    wild = tuple(
        replace(layer, std=value, rms=value, gradient=value)
        for layer, value in zip(probe.layers, [0.0, math.inf, math.nan, 1e300] * 2, strict=True)
    )
    html_pages.read(html(replace(probe, layers=wild)))


def test_other_things_have_no_table(probe: Probe) -> None:
    layer: LayerSignal = probe.layers[0]
    with pytest.raises(TypeError, match="there is no table for LayerSignal"):
        html(layer)
