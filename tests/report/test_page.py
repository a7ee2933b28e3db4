"""The page of a report: whole, self-contained, usable without mouse or eyes, and not too large."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import html_pages
import pytest
import torch
from html_pages import Element, contrast
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import initpolicy
from initpolicy.linting import Advice
from initpolicy.linting.finding import Finding
from initpolicy.model import read as read_model
from initpolicy.plans import Choice, Decision, Plan
from initpolicy.policy import parse
from initpolicy.problems import InitPolicyError, Location, Problem
from initpolicy.report.page import Report, document
from initpolicy.report.page.document import style

POLICY = """
format = 1
title = "Tanh layers"
source = "a test"
seed = 3

[[rule]]
type = "Linear"
init.weight = { fn = "normal", std = 3 }
init.bias = 0

[[rule]]
name = "4"
note = "in the middle"
init.weight = "orthogonal"

[[rule]]
name = "6"
init.bias = "keep"

[[rule]]
type = "PReLU"
init.weight = 0.25
"""


def chain() -> nn.Module:
    torch.manual_seed(0)
    layers = [layer for _ in range(5) for layer in (nn.Linear(16, 16), nn.Tanh())]
    return nn.Sequential(*layers, nn.Linear(16, 4), nn.PReLU(), nn.Linear(4, 4))


def report(model: nn.Module, policy: str, shape: tuple[int, ...] | None = None) -> Report:
    loaded = parse(policy)
    inventory = read_model(model)
    classes = {one.name: type(one.module).__name__ for one in inventory.modules}
    parts = {one.name: one.sites[0].part_of for one in inventory.slots if one.sites[0].part_of}
    probe = None
    if shape is not None:
        probe = initpolicy.probe(model, loaded, input=shape, draws=2)
    return Report(
        "net.py:chain",
        initpolicy.plan(model, loaded),
        initpolicy.lint(model, loaded),
        classes,
        parts,
        probe=probe,
        digest="0123",
        versions={"initpolicy": "1"},
    )


@pytest.fixture(scope="module")
def made() -> Report:
    return report(chain(), POLICY, (32, 16))


@pytest.fixture(scope="module")
def page(made: Report) -> Element:
    return html_pages.read(document(made))


def uncovered() -> Report:
    model, policy = nn.Linear(3, 2), "format = 1\n[[rule]]\ninit.weight = 1\n"
    with pytest.raises(InitPolicyError) as raised:
        initpolicy.plan(model, parse(policy))
    lenient = f'uncovered = "keep"\n{policy}'
    found = report(model, lenient)
    return Report(found.model, found.plan, found.advice, uncovered=raised.value.problems)


def without_tensors() -> Report:
    return report(nn.Tanh(), "format = 1")


@pytest.fixture(params=["probed", "uncovered", "without tensors"])
def any_page(request: pytest.FixtureRequest, page: Element) -> Element:
    if request.param == "probed":
        return page
    made = uncovered() if request.param == "uncovered" else without_tensors()
    return html_pages.read(document(made))


def test_it_has_the_landmarks_of_a_page(any_page: Element) -> None:
    (html,) = any_page.elements
    assert html["lang"] == "en"
    assert html.one("head").one("title").text
    for landmark in ("header", "main", "footer", "h1"):
        html.one(landmark)
    assert html.one("nav")["aria-label"] == "Sections"
    body = html.one("body")
    first = next(element for element in body.walk() if element.tag == "a")
    assert (first["href"], first.text) == ("#report", "Skip to the report")
    assert html.one("main")["id"] == "report"


def test_headings_leave_out_no_level(any_page: Element) -> None:
    levels = [int(one.tag[1]) for one in any_page.all("h1", "h2", "h3", "h4", "h5", "h6")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))


def test_identifiers_are_unique_and_every_link_leads_to_one(any_page: Element) -> None:
    ids = [one["id"] for one in any_page.walk() if "id" in one.attributes]
    assert len(set(ids)) == len(ids)
    for link in any_page.all("a"):
        assert link.text.strip()
        if link["href"].startswith("#"):
            assert link["href"][1:] in ids
        else:
            assert (Path.cwd() / unquote(link["href"])).is_file()


def test_nothing_comes_from_elsewhere_and_nothing_runs(any_page: Element) -> None:
    for one in any_page.walk():
        assert one.tag not in ("script", "link", "iframe", "object", "embed", "form", "base")
        for name, value in one.attributes.items():
            assert not name.startswith("on")
            assert name not in ("srcset", "action", "data")
            if name == "src":
                assert value is not None
                assert value.startswith("data:image/png;base64,")
    styles = any_page.one("style").text
    assert "url(" not in styles
    assert "@import" not in styles
    (policy,) = [
        one["content"] for one in any_page.all("meta") if "security" in one["http-equiv"].lower()
    ]
    assert policy.startswith("default-src 'none'; ")
    assert "http" not in policy


def test_every_picture_is_told_in_words(page: Element) -> None:
    pictures = [one for one in page.all("svg") if one["aria-hidden"] != "true"]
    assert len(pictures) >= 6
    for picture in pictures:
        assert picture["role"] == "img"
        title, description = picture.elements[:2]
        assert (title.tag, description.tag) == ("title", "desc")
        assert title.text
        assert description.text
    for image in page.all("img"):
        assert image["alt"]


def test_tables_say_what_they_are(any_page: Element) -> None:
    for table in any_page.all("table"):
        assert table.elements[0].tag == "caption"
        assert table.elements[0].text
        width = len(table.one("thead").all("th"))
        for head in table.one("thead").all("th"):
            assert head["scope"] == "col"
        for row in table.one("tbody").all("tr"):
            assert row.elements[0].tag == "th"
            assert row.elements[0]["scope"] == "row"
            assert len(row.elements) == width
    for region in (one for one in any_page.walk() if one["role"] == "region"):
        assert region["aria-label"]
        assert region["tabindex"] == "0"


def test_what_opens_has_a_summary(any_page: Element) -> None:
    for details in any_page.all("details"):
        assert details.elements[0].tag == "summary"
        assert details.elements[0].text.strip()


def colours(dark: bool) -> dict[str, bytes]:
    blocks = re.findall(r":root \{(.*?)\}", style(), re.DOTALL)
    assert len(blocks) == 2
    found: dict[str, bytes] = {}
    for block in blocks[: 1 + dark]:
        named = re.findall(r"--([\w-]+): #([0-9a-f]{6});", block)
        found |= {name: bytes.fromhex(colour) for name, colour in named}
    return found


@pytest.mark.parametrize("dark", [False, True])
def test_letters_stand_out_from_what_is_behind_them(dark: bool) -> None:
    known = colours(dark)
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    pairs = [
        (word, behind)
        for word in ("ink", "quiet", "accent", "law")
        for behind in ("paper", "card", "sunk")
    ]
    pairs += [("yes", "yes-back"), ("no", "no-back"), ("kept", "kept-back"), ("ink", "mark")]
    for word, behind in pairs:
        assert contrast(known[word], known[behind]) >= 4.5, (word, behind)
    for mark in ("s0", "s1", "s2", "found", "density"):
        for behind in ("paper", "card"):
            assert contrast(known[mark], known[behind]) >= 3, (mark, behind)


def test_every_rule_stands_with_its_tensors_and_laws(made: Report, page: Element) -> None:
    rules = {one["id"]: one for one in page.all("section") if one["class"] == "rule"}
    assert list(rules) == ["rule-1", "rule-2", "rule-3"]
    assert "type Linear" in rules["rule-1"].one("h3").text
    assert "in the middle" in rules["rule-2"].one("h3").text
    for rule in made.rules:
        section = rules[rule.anchor]
        listed = section.all("table")[-1].one("tbody").all("tr")
        assert [row.elements[0].text for row in listed] == [one.name for one in rule.decisions]
        assert [row.elements[-1].text for row in listed] == [
            one.begins_as for one in rule.decisions
        ]


def test_each_tensor_of_the_tree_leads_to_its_rule(made: Report, page: Element) -> None:
    (tree,) = [one for one in page.all("div") if one["class"] == "tree"]
    links = [(one.text, one["href"]) for one in tree.all("a")]
    assert ("rule 1", "#rule-1") in links
    assert ("rule 2", "#rule-2") in links
    assert all(href == f"#{text.replace(' ', '-')}" for text, href in links)
    orthogonal = [
        item for item in tree.all("li") if any(one["href"] == "#rule-2" for one in item.all("a"))
    ]
    assert [item.one("code").text for item in orthogonal] == ["weight"]
    assert made.anchor(made.plan["4.weight"]) == "rule-2"


def test_what_is_kept_and_what_is_uncovered_is_said(page: Element) -> None:
    def badges(of: Element) -> list[tuple[str, str]]:
        (tree,) = [one for one in of.all("div") if one["class"] == "tree"]
        return [
            (one["class"], one.text)
            for one in tree.all("span")
            if one["class"] in ("kept", "uncovered")
        ]

    assert ("kept", "kept") in badges(page)
    assert not any(kind == "uncovered" for kind, _ in badges(page))
    assert ("uncovered", "uncovered") in badges(html_pages.read(document(uncovered())))
    # What a module computes from other tensors is given through them.
    normed = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)), nn.Linear(2, 2))
    rule = 'format = 1\nuncovered = "keep"\n[[rule]]\ninit.weight = "orthogonal"'
    assert badges(html_pages.read(document(report(normed, rule)))) == [
        ("kept", "2 left, no rule"),
        ("kept", "1 left, no rule"),
        ("kept", "left, no rule"),
        ("kept", "set through what is computed from it"),
        ("kept", "set through what is computed from it"),
        ("kept", "1 left, no rule"),
        ("kept", "left, no rule"),
    ]


def test_the_numbers_of_every_layer_stand_in_a_table(made: Report, page: Element) -> None:
    assert made.probe is not None
    (table,) = [one for one in page.all("table") if "layer by layer" in one.one("caption").text]
    rows = [[cell.text for cell in row.elements] for row in table.one("tbody").all("tr")]
    assert [row[0] for row in rows] == [layer.name for layer in made.probe.layers]
    assert [float(row[3]) for row in rows] == pytest.approx(
        [layer.std for layer in made.probe.layers], rel=6e-3
    )


def test_each_code_that_is_told_of_has_its_page_once(made: Report, page: Element) -> None:
    assert made.probe is not None
    assert not made.probe.ok
    codes = [one["id"] for one in page.all("details") if one["class"] == "code"]
    told = {one.code for one in (*made.probe.findings, *made.advice.findings, *made.plan.warnings)}
    assert codes == sorted(told)
    (shown,) = [one for one in page.all("details") if one["id"] == "IP761"]
    for title in ("Bad", "Good", "Why"):
        assert title in [heading.text for heading in shown.all("h3")]
    assert 'fn = "normal", std = 20' in shown.text


def test_the_same_report_gives_the_same_text(made: Report) -> None:
    assert document(made) == document(report(chain(), POLICY, (32, 16)))


def large(rule: bool) -> Report:
    """A thousand tensors: of one rule, or each of its own."""
    model = nn.Sequential(*(nn.Linear(12, 12) for _ in range(500)))
    with_rules = "format = 1\n" + "".join(
        f'[[rule]]\nname = "{number}"\ninit.weight = "normal"\ninit.bias = "uniform"\n'
        for number in range(500)
    )
    alike = 'format = 1\n[[rule]]\ninit."*" = "normal"\n'
    return report(model, with_rules if rule else alike, (4, 12))


@pytest.mark.parametrize("rule", [False, True])
def test_a_thousand_tensors_take_less_than_two_megabytes(rule: bool) -> None:
    text = document(large(rule))
    assert len(text.encode()) < 2_000_000
    html_pages.read(text)


ANYTHING = st.text(min_size=1, max_size=20) | st.sampled_from(
    [
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "</style>",
        "&amp;",
        "-->",
        "]]>",
    ]
)
BENIGN = "benign"


def told(*texts: str) -> str:
    """A page in which these texts stand wherever a user's text can stand."""
    one, two, three = texts
    place = Location(one, 3)
    choice = Choice(two, three, place)
    law = parse('format = 1\n[[rule]]\ninit."*" = "normal"\n')
    example = initpolicy.plan(nn.Linear(2, 2), law).decisions[0].law
    decisions = (
        Decision(f"layer{one}.w", "parameter", (2, 3), "float32", two, example, choice),
        Decision("other.b", "buffer", (2,), "float32", three, None, None, aliases=(one,)),
        Decision("other.c", "buffer", (2,), "float32", three, None, choice),
    )
    warning = Problem("IP204", two, three, place, "warning")
    plan = Plan(decisions, 1, one, two, three, {one: 2.0}, (warning,))
    advice = Advice(one, (Finding("IP701", two, (one,), three, choice),), 0, True)
    classes = {"": two, "other": one}
    return document(Report(three, plan, advice, classes, uncovered=(warning,), digest=one))


def skeleton(page: Element) -> list[tuple[str, list[str]]]:
    return [(one.tag, sorted(one.attributes)) for one in page.walk()]


@settings(max_examples=60)
@given(st.tuples(ANYTHING, ANYTHING, ANYTHING))
def test_no_text_of_a_user_is_taken_for_html(texts: tuple[str, str, str]) -> None:
    # A dot would make a module more, and a number at the end might make two modules alike.
    texts = tuple(text.replace(".", "") + "x" for text in texts)  # type: ignore[assignment]
    text = told(*texts)
    text.encode("utf-8")
    page, plain = html_pages.read(text), html_pages.read(told(BENIGN, BENIGN, BENIGN))
    assert skeleton(page) == skeleton(plain)
    visible = "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode()
        for c in texts[1].replace("\t", "    ")
    )
    assert visible in page.one("h1").text


def test_a_line_of_a_file_in_the_current_folder_is_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my policies").mkdir()
    file = Path("my policies/a#b.toml")
    rule, other = (
        '[[rule]]\ntype = "Linear"\ninit."*" = 1',
        '[[rule]]\nname = "x*"\noptional = true',
    )
    file.write_text(f'format = 1\n\n{rule}\n\n{other}\ninit."*" = 2\n')
    model = nn.Linear(2, 2)
    plan, advice = initpolicy.plan(model, file), initpolicy.lint(model, file)
    made = Report("m", plan, advice, folder=tmp_path / "out")
    page = html_pages.read(document(made))
    links = [one for one in page.all("a") if not one["href"].startswith("#")]
    assert {one["href"] for one in links} == {"../my%20policies/a%23b.toml"}
    assert "my policies/a#b.toml:5" in {one.text for one in links}
    (excerpt,) = [one for one in page.all("pre") if one.all("mark")]
    assert excerpt.text == rule
    assert excerpt.one("mark").text == 'init."*" = 1'
    file.unlink()
    again = html_pages.read(document(made))
    assert not [one for one in again.all("a") if not one["href"].startswith("#")]
    assert not again.all("mark")


def test_plans_do_not_import_what_renders_them() -> None:
    code = (
        "import sys, initpolicy.plans, initpolicy.verification, initpolicy.signals\n"
        "print([name for name in sys.modules if name.startswith('initpolicy.report')])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
