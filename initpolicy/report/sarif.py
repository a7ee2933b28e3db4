"""What was found as SARIF 2.1.0, which code hosts and editors read."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from initpolicy import __version__
from initpolicy.problems import Location
from initpolicy.report.findings import Case, Found, every, help_of, title

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def document(cases: Iterable[Case]) -> dict[str, Any]:
    """All that was found, as one run."""
    found = list(every(cases))
    rules = sorted({one.code for one in found})
    driver = {"name": "initpolicy", "version": __version__, "rules": [*map(_rule, rules)]}
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": driver},
                "results": [_result(one, rules.index(one.code)) for one in found],
            }
        ],
    }


def _rule(code: str) -> dict[str, Any]:
    told = help_of(code)
    return {
        "id": code,
        "shortDescription": {"text": title(code)},
        "help": {"text": told, "markdown": told},
    }


def _result(found: Found, rule: int) -> dict[str, Any]:
    place: dict[str, Any] = {}
    if found.location is not None:
        place["physicalLocation"] = _physical(found.location)
    if found.tensor:
        place["logicalLocations"] = [{"fullyQualifiedName": found.tensor, "kind": "variable"}]
    return {
        "ruleId": found.code,
        "ruleIndex": rule,
        "level": found.severity,
        "message": {"text": found.text},
        "locations": [place] if place else [],
    }


def _physical(location: Location) -> dict[str, Any]:
    physical: dict[str, Any] = {"artifactLocation": {"uri": uri(location.file)}}
    if location.line:
        physical["region"] = {"startLine": location.line}
    return physical


def uri(file: str) -> str:
    """A file as a reference that may stand in a URI.

    >>> uri("policies/my net.toml")
    'policies/my%20net.toml'
    """
    if os.path.isabs(file):
        return Path(file).as_uri()
    # The first segment of a relative reference may hold no colon, which `quote` writes as %3A.
    return quote(file.replace(os.sep, "/"), errors="surrogatepass")
