"""What stands on the command line beside a model and a policy: `name=value`, read and checked."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from initpolicy.problems import InitPolicyError, Problem

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_PYTHON = {"True": "true", "False": "false"}


def keywords(given: Sequence[str]) -> dict[str, Any]:
    """The arguments of a model: values are written as in TOML.

    >>> keywords(["depth=121", "widths=[64, 128]", 'act="relu"', "bias=false"])
    {'depth': 121, 'widths': [64, 128], 'act': 'relu', 'bias': False}
    """
    found: dict[str, Any] = {}
    problems: list[Problem] = []
    for name, text in _pairs("--kwarg", given, problems):
        try:
            document = tomllib.loads(f"value = {text}")
            if set(document) != {"value"}:
                raise ValueError("it is more than one value")
            found[name] = document["value"]
        except (ValueError, RecursionError):
            problems.append(
                Problem("IP402", f"`--kwarg {name}`: {text} is no TOML value", _quoted(name, text))
            )
    if problems:
        raise InitPolicyError(problems)
    return found


def _quoted(name: str, text: str) -> str:
    # A bare word is refused and not taken for a text: `bias=False` would otherwise be true.
    if text in _PYTHON:
        return f"write `--kwarg {name}={_PYTHON[text]}`"
    return f"write a text in quotes, `--kwarg '{name}={json.dumps(text, ensure_ascii=False)}'`"


def variables(given: Sequence[str]) -> dict[str, float | str]:
    """The variables of a policy: numbers or expressions.

    >>> variables(["n_layer=12", "width=64 * 12"])
    {'n_layer': '12', 'width': '64 * 12'}
    """
    problems: list[Problem] = []
    found: dict[str, float | str] = dict(_pairs("--var", given, problems))
    if problems:
        raise InitPolicyError(problems)
    return found


def _pairs(option: str, given: Sequence[str], problems: list[Problem]) -> list[tuple[str, str]]:
    found: dict[str, str] = {}
    for item in given:
        name, equals, text = (part.strip() for part in item.partition("="))
        if not equals or not name.isidentifier() or not text:
            problems.append(
                Problem("IP402", f"`{option} {item}` is no name with a value", "write NAME=VALUE")
            )
        elif name in found:
            problems.append(
                Problem("IP402", f"`{option} {name}` is given twice", "take one of the two out")
            )
        else:
            found[name] = text
    return list(found.items())
