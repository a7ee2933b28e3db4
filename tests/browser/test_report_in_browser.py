"""Reports in a real browser: light and dark, wide and narrow, with keys alone, and with words."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

import chromium
import pytest
import torch
from chromium import Browser
from html_pages import contrast
from torch import nn

import initpolicy
from initpolicy.model import read as read_model
from initpolicy.policy import parse
from initpolicy.report.page import Report, document, html
from initpolicy.report.page.document import style

pytestmark = pytest.mark.browser

POLICY = """
format = 1
title = "Layers of every kind"

[[rule]]
type = "Linear"
init.weight = { fn = "normal", std = 5 }
init.bias = 0

[[rule]]
name = "6"
note = "a corner of it is shown"
init.weight = "orthogonal"

[[rule]]
name = "8"
init.bias = "keep"

[[rule]]
name = "10"
init.weight = "eye"
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = chromium.find()
    if program is None:
        pytest.skip(f"no {' or '.join(chromium.NAMES)} on this machine")
    with chromium.started(program, tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    layers = [layer for _ in range(8) for layer in (nn.Linear(24, 24), nn.Tanh())]
    model, policy = nn.Sequential(*layers), parse(POLICY)
    plan = initpolicy.plan(model, policy)
    probe = initpolicy.probe(model, policy, input=(32, 24), draws=2)
    classes = {one.name: type(one.module).__name__ for one in read_model(model).modules}
    made = Report("net.py:build", plan, initpolicy.lint(model, policy), classes, probe=probe)
    assert not probe.ok
    file = tmp_path_factory.mktemp("page") / "report.html"
    file.write_text(document(made), encoding="utf-8")
    # Everything that notebooks show, in one page as a notebook is.
    initpolicy.apply(model, plan)
    shown = (plan, probe, initpolicy.verify(model, plan, exact=False))
    body = "".join(map(html, shown))
    file.with_name("notebook.html").write_text(f"<!DOCTYPE html><meta charset=utf-8>{body}")
    return file


@pytest.mark.parametrize("name", ["report.html", "notebook.html"])
@pytest.mark.parametrize("dark", [False, True])
def test_nothing_is_asked_for_and_nothing_is_wrong(
    browser: Browser, page: Path, name: str, dark: bool
) -> None:
    file = page.with_name(name)
    browser.open(file, dark=dark)
    assert [one for one in browser.requested if not one.startswith("data:image/png")] == [
        file.as_uri()
    ]
    assert browser.complaints == []


def test_a_page_that_asks_for_something_would_be_found(browser: Browser, page: Path) -> None:
    file = page.with_name("asking.html")
    script = '<img src="http://127.0.0.1:9/x.png"><script>console.error("x")</script>'
    file.write_text(page.read_text().replace("</main>", f"{script}</main>"))
    browser.open(file)
    assert browser.complaints  # the page's own policy forbids both
    file.write_text(f"<!DOCTYPE html>{script}")
    browser.open(file)
    assert "http://127.0.0.1:9/x.png" in browser.requested


# Of each element that has text of its own, the colours of letters and of what is behind them.
COLOURS = """
[...document.querySelectorAll('body *')].filter(one =>
    !one.closest('svg') && one.checkVisibility() &&
    [...one.childNodes].some(node => node.nodeType === 3 && node.data.trim())
).map(one => {
    let behind = one;
    while (behind && getComputedStyle(behind).backgroundColor === 'rgba(0, 0, 0, 0)')
        behind = behind.parentElement;
    return [getComputedStyle(one).color, behind ? getComputedStyle(behind).backgroundColor : '',
            one.textContent.slice(0, 40)];
})
"""


def channels(colour: str) -> list[float]:
    numbers = [float(part) for part in re.findall(r"[\d.]+", colour)]
    assert len(numbers) == 3, colour
    return numbers


@pytest.mark.parametrize("dark", [False, True])
def test_all_letters_stand_out(browser: Browser, page: Path, dark: bool) -> None:
    browser.open(page, dark=dark)
    browser.run("document.querySelectorAll('details').forEach(one => one.open = true)")
    found = browser.run(COLOURS)
    assert len(found) > 200
    for letters, behind, text in found:
        assert contrast(channels(letters), channels(behind)) >= 4.5, (text, letters, behind)
    paper = channels(browser.run("getComputedStyle(document.body).backgroundColor"))
    assert max(paper) < 60 if dark else min(paper) > 240


@pytest.mark.parametrize("dark", [False, True])
def test_it_is_painted_in_the_colours_of_its_style(
    browser: Browser, page: Path, dark: bool
) -> None:
    image = pytest.importorskip("PIL.Image")
    browser.open(page, dark=dark)
    paper = re.findall(r"--paper: #([0-9a-f]{6})", style())[dark]
    read = image.open(io.BytesIO(browser.screenshot())).convert("RGB")
    assert read.size == (1200, 900)
    counted = {colour: number for number, colour in read.getcolors(maxcolors=1 << 24)}
    assert counted[tuple(bytes.fromhex(paper))] > 0.4 * 1200 * 900
    assert len(counted) > 50


@pytest.mark.parametrize("width", [360, 800, 1600])
def test_no_width_makes_the_page_wider_than_the_window(
    browser: Browser, page: Path, width: int
) -> None:
    browser.open(page, width=width)
    browser.run("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert browser.run("document.documentElement.scrollWidth") <= width


FOCUSED = """(() => {
    const one = document.activeElement, style = getComputedStyle(one);
    const box = one.getBoundingClientRect();
    return [one.tagName, one.getAttribute('href'),
            style.outlineStyle, parseFloat(style.outlineWidth),
            box.right > 0 && box.bottom > 0 && box.left < innerWidth && box.top < innerHeight,
            one.textContent.trim().slice(0, 30)];
})()"""


def test_the_keyboard_reaches_everything_in_order_and_is_seen(browser: Browser, page: Path) -> None:
    browser.open(page)
    wanted = browser.run("document.querySelectorAll('a[href], summary, [tabindex=\"0\"]').length")
    ends = browser.run(
        "[...document.querySelectorAll('a[href], summary, [tabindex=\"0\"]')]"
        ".filter(one => one.checkVisibility()).length"
    )
    assert 20 < ends <= wanted
    browser.press("Tab")
    assert browser.run(FOCUSED)[1] == "#report"
    places: list[int] = []
    for _ in range(ends):
        tag, _, outline, thick, visible, text = browser.run(FOCUSED)
        assert tag != "BODY"
        assert outline != "none", text
        assert thick >= 2, text
        assert visible, text
        places.append(
            browser.run("[...document.querySelectorAll('*')].indexOf(document.activeElement)")
        )
        browser.press("Tab")
    assert places == sorted(set(places))  # in the order of the page, and each once


def test_a_key_opens_and_skips(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.press("Tab")
    browser.press("Enter")
    assert browser.run("location.hash") == "#report"
    browser.run("document.querySelector('details:not([open]) summary').focus()")
    before = browser.run("document.querySelectorAll('details[open]').length")
    browser.press("Enter")
    assert browser.run("document.querySelectorAll('details[open]').length") == before + 1


def test_what_is_read_aloud_has_names_and_landmarks(browser: Browser, page: Path) -> None:
    browser.open(page)
    nodes = browser("Accessibility.getFullAXTree")["nodes"]
    told = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node["ignored"]
    ]
    roles = [role for role, _ in told]
    for landmark in ("banner", "navigation", "main", "contentinfo"):
        assert roles.count(landmark) == 1, landmark
    for role, name in told:
        if role in ("image", "img", "link", "region", "heading", "table", "DisclosureTriangle"):
            assert name.strip(), role
    assert roles.count("image") + roles.count("img") >= 6
    assert ("heading", "Layers of every kind") in told


def test_a_link_to_a_code_leads_to_its_page(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.run("document.querySelector('a[href=\"#IP761\"]').click()")
    assert 0 <= browser.run("document.querySelector(':target').getBoundingClientRect().top") < 900
    assert browser.run("document.querySelector(':target').id") == "IP761"
