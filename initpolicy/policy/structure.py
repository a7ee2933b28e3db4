"""What is wrong with the structure of a file: no TOML, or keys and values that do not fit."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, cast

from pydantic import ValidationError

from initpolicy.policy import document as toml
from initpolicy.policy.lines import Path as KeyPath
from initpolicy.problems import Location, Problem, suggest

At = Callable[..., Location]
"""Gives the place of a path of keys."""


MOST_PARTS = 32  # of a key; what a parser does grows with the square of their number

_KEY_TOKEN = re.compile(
    r"""(?P<part>"(?:\\.|[^"\\])*"?|'[^']*'?|[\w-]+)|(?P<space>[ \t]+)|(?P<other>(?s:.))"""
)


def check_keys(text: str) -> None:
    """Raise `ValueError` for a key of more parts than anyone writes."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.count(".") >= MOST_PARTS and _longest_key(line) > MOST_PARTS:
            raise ValueError(f"a key has more than {MOST_PARTS} parts (at line {number}, column 1)")


def _longest_key(line: str) -> int:
    """How many parts with dots between them follow each other at most."""
    parts = longest = 0
    dotted = False
    for token in _KEY_TOKEN.finditer(line):
        if token["part"]:
            parts = parts + 1 if dotted else 1
            longest = max(longest, parts)
        if not token["space"]:
            dotted = token[0] == "."
    return longest


def syntax(error: Exception, text: str, name: str) -> Problem:
    """The problem that a TOML parser's exception tells of."""
    if isinstance(error, RecursionError):
        return Problem("IP101", "tables or arrays are nested too deeply", "", Location(name))
    if str(error).startswith("Exceeds the limit"):  # of Python, for the digits of a whole number
        return Problem("IP101", "a number has thousands of digits", "", Location(name))
    message, _, place = str(error).partition(" (at ")
    found = re.match(r"line (\d+), column (\d+)", place)
    line = int(found[1]) if found else len(text.splitlines())  # "at end of document"
    column = f", column {found[2]}" if found else ""
    return Problem("IP101", f"not valid TOML{column}: {message}", "", Location(name, line))


def structure(
    error: ValidationError, data: dict[str, Any], at: At
) -> Iterator[tuple[Problem, KeyPath]]:
    """Each structural problem, with the path of what is wrong."""
    for detail in error.errors(include_url=False):
        # Tags of unions stand in the location beside the keys; a key is what the data has there.
        path: KeyPath = tuple(_keys(detail["loc"], data))
        place = at(*path)
        if detail["type"] == "extra_forbidden":
            yield _unknown_key(path[:-1], str(path[-1]), place), path
        elif detail["type"] == "missing":
            key = detail["loc"][-1]
            message = f"`{_dotted(path)}` has no `{key}`"
            yield Problem("IP103", message, f"write `{key} = ...` in it", place), path
        else:
            message = detail["msg"][0].lower() + detail["msg"][1:]
            told = f"`{_dotted(path)}` is {shown(detail['input'])}"
            # Without the key that says what kind of value it is, the rest says nothing.
            kind = path[-1:] in (("fn",), ("chunks",), ("recompute",))
            kind = kind and (len(path) > 4 or path[:1] == ("calibrate",))
            yield Problem("IP103", told, message, place), path[:-1] if kind else path


def leave_out(data: Any, path: KeyPath) -> None:
    """Take what is wrong out of the data, so that the rest can be checked."""
    for part in path[:-1]:
        try:
            data = data[part]
        except (KeyError, IndexError):  # left out with what was around it
            return
    if path and isinstance(data, dict):
        cast("dict[str | int, Any]", data).pop(path[-1], None)
    elif path and isinstance(path[-1], int) and path[-1] < len(data):
        # Others keep their numbers, by which their lines are found.
        data[path[-1]] = {"fn": ""} if path[0] == "calibrate" else {"optional": True}


def _keys(loc: tuple[int | str, ...], data: Any) -> Iterator[str | int]:
    for part in loc:
        inside = (isinstance(data, dict) and part in data) or (
            isinstance(data, list) and isinstance(part, int) and part < len(cast("Any", data))
        )
        if inside:
            data = cast("Any", data)[part]
            yield part


def _dotted(path: KeyPath) -> str:
    """Write a path as in TOML; which rule it is in, the line says."""
    text = ""
    for part in path[2:] if path[:1] in (("rule",), ("calibrate",)) and len(path) > 2 else path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def shown(value: object) -> str:
    """Write a value in a message, cut if it is long."""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _unknown_key(around: KeyPath, key: str, location: Location) -> Problem:
    tables = {"": ("a policy", toml.Document), "rule": ("a rule", toml.RuleTable)}
    names = ".".join(part for part in around if isinstance(part, str))
    if names not in tables:
        return Problem("IP102", f"unknown key `{key}` in `{_dotted(around)}`", "", location)
    what, model = tables[names]
    known = list(model.model_fields)
    near = suggest(key, known, n=1)
    hint = f"did you mean `{near[0]}`?" if near else f"it has {', '.join(known)}"
    return Problem("IP102", f"unknown key `{key}` in {what}", hint, location)
