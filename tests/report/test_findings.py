"""SARIF, JUnit and annotations of whatever may be found."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from initpolicy.problems import Location, Problem, codes, page
from initpolicy.report import findings, github, junit, sarif
from initpolicy.report.findings import KINDS, Case, Found

ANY = st.text(st.characters(codec=None))  # control characters and lone surrogates too
LOCATIONS = st.builds(Location, ANY.filter(bool), st.integers(0, 10**6))
FOUND = st.builds(
    Found,
    severity=st.sampled_from(["error", "warning"]),
    code=st.sampled_from([*codes(), *KINDS]),
    message=ANY,
    hint=ANY,
    location=st.none() | LOCATIONS,
    tensor=ANY,
)
CASES = st.lists(
    st.builds(
        Case,
        name=ANY,
        found=st.lists(FOUND, max_size=3).map(tuple),
        skipped=ANY,
        broken=st.booleans(),
    ),
    max_size=4,
)


@given(CASES)
def test_sarif_has_what_its_schema_requires(cases: list[Case]):
    document = json.loads(json.dumps(sarif.document(cases)))
    assert document["version"] == "2.1.0"
    (run,) = document["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"] == "initpolicy"
    assert len({rule["id"] for rule in driver["rules"]}) == len(driver["rules"])
    assert all(rule["help"]["text"] for rule in driver["rules"])
    found = [one for case in cases for one in case.found]
    assert len(run["results"]) == len(found)
    for result, one in zip(run["results"], found, strict=True):
        assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"] == one.code
        assert result["level"] == one.severity
        assert one.message in result["message"]["text"]
        for place in result["locations"]:
            physical = place.get("physicalLocation")
            assert (physical is None) == (one.location is None)
            if physical is not None:
                address = physical["artifactLocation"]["uri"]
                assert address.isascii()
                assert not set(address) & set(' "<>\\^`{|}\n')
                assert physical.get("region", {"startLine": 1})["startLine"] >= 1
            named = place.get("logicalLocations", [{"fullyQualifiedName": ""}])
            assert named[0]["fullyQualifiedName"] == one.tensor


@given(CASES)
def test_junit_is_xml_that_counts_its_cases(cases: list[Case]):
    written = junit.document("initpolicy", cases)
    assert written.isascii()
    root = ElementTree.fromstring(written)
    tests = root.findall("./testsuite/testcase")
    assert len(tests) == len(cases) == int(root.attrib["tests"])
    for name, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        told = len(root.findall(f"./testsuite/testcase/{tag}"))
        assert told == int(root.attrib[name])
    for test, case in zip(tests, cases, strict=True):
        fails = any(one.severity == "error" for one in case.found)
        assert fails == (test.find("failure") is not None or test.find("error") is not None)


@given(
    st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn"], exclude_characters="\ufffe\uffff"))
)
def test_what_xml_can_hold_is_held_as_it_is(text: str):
    root = ElementTree.fromstring(junit.document("suite", [Case(text)]))
    test = root.find("./testsuite/testcase")
    assert test is not None
    assert test.attrib["name"] == text


def unescaped(text: str) -> str:
    """What GitHub's runner makes of a property."""
    for code, char in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(code, char)
    return text


@given(FOUND)
def test_an_annotation_is_one_line_that_reads_back(one: Found):
    line = github.line(one)
    assert len(line.splitlines()) == 1
    command, properties, message = (
        line.removeprefix("::").split(" ", 1)[0],
        *(line.split(" ", 1)[1].split("::", 1)),
    )
    assert command == one.severity
    read = dict(item.split("=", 1) for item in properties.split(","))
    assert read["title"] == one.code
    assert ("file" in read) == (one.location is not None)
    if one.location is not None and one.location.line:
        assert read["line"] == str(one.location.line)
    if one.text.isprintable():
        assert unescaped(message) == one.text
    if one.location is not None and one.location.file.isprintable():
        assert unescaped(read["file"]) == one.location.file


def test_an_annotation_as_it_is_written():
    found = Found("error", "IP601", "50 %\nof all", "a, b", Location("a:b,c.toml", 3), "w")
    assert github.line(found) == (
        "::error file=a%3Ab%2Cc.toml,line=3,title=IP601::w: 50 %25%0Aof all; a, b"
    )


def test_a_rule_of_sarif_has_the_page_of_its_code():
    problem = Problem("IP201", "no rule covers w", "write one", Location("my net.toml", 4))
    document = sarif.document([findings.of_problems("p", [problem])])
    (run,) = document["runs"]
    assert run["tool"]["driver"]["rules"] == [
        {
            "id": "IP201",
            "shortDescription": {"text": "a parameter that no rule covers"},
            "help": {"text": page("IP201"), "markdown": page("IP201")},
        }
    ]
    assert run["results"] == [
        {
            "ruleId": "IP201",
            "ruleIndex": 0,
            "level": "error",
            "message": {"text": "no rule covers w; write one"},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {"uri": "my%20net.toml"},
                        "region": {"startLine": 4},
                    }
                }
            ],
        }
    ]


def test_an_absolute_path_is_told_from_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inside = Problem("IP201", "a", "", Location(str(tmp_path / "a" / "p.toml"), 2))
    outside = Problem("IP201", "a", "", Location(str(tmp_path.parent / "p.toml"), 2))
    found = findings.of_problems("p", [inside, outside]).found
    assert [one.location for one in found] == [Location("a/p.toml", 2), outside.location]
    assert sarif.uri(str(tmp_path)).startswith("file:///")


@pytest.mark.parametrize("code", [*codes(), *KINDS])
def test_every_code_has_a_title_of_one_line(code: str):
    assert findings.title(code)
    assert "\n" not in findings.title(code)
