"""Laws as a person reads them in a lock: one line, every number in full."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import lru_cache
from typing import cast

from initpolicy.laws import Law, LawError, from_json

LONGEST = 1 << 16
"""Characters of a law's text."""

DEEPEST = 16
"""How deep laws may lie in one another."""


def quoted(text: str) -> str:
    r"""A text in quotes, on one line and without characters that nobody sees, as JSON escapes them.

    >>> print(quoted('a "b"\n\u202ec é'))
    "a \"b\"\n\u202ec é"
    """
    shown = json.dumps(text, ensure_ascii=False)
    if shown.isprintable():
        return shown
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in shown)


def unquoted(text: str) -> str:
    """Read what `quoted` wrote; raises `ValueError` for anything else."""
    read = json.loads(text)
    if not isinstance(read, str):
        raise ValueError(f"{text} is no text in quotes")
    return read


def write_law(law: Law) -> str:
    """A law by its kind and parameters.

    >>> from initpolicy.laws import Normal, ZeroRows
    >>> write_law(ZeroRows(Normal(0, 0.02), (0,)))
    'zero_rows(law=normal(mean=0.0, std=0.02), rows=[0])'
    """
    return _written(law.to_json())


def _written(value: object) -> str:
    if isinstance(value, dict):
        given = cast("dict[str, object]", value)
        kind = given["kind"]
        told = ", ".join(f"{name}={_written(of)}" for name, of in given.items() if name != "kind")
        return f"{kind}({told})"
    if isinstance(value, list):
        return f"[{', '.join(map(_written, cast('list[object]', value)))}]"
    if isinstance(value, str):
        return value if value in _INFINITE else quoted(value)
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else repr(value)


_INFINITE = ("inf", "-inf")
_WORDS = {"none": None, "true": True, "false": False, "inf": "inf", "-inf": "-inf"}

# The lengths bound what a hostile file can have us compute.
_TOKEN = re.compile(
    r"""(?P<text>"(?:[^"\\]|\\.)*")
      | (?P<number>-?[0-9]{1,400}(?P<fraction>(?:\.[0-9]{1,400})?(?:e[+-]?[0-9]{1,4})?))(?![\w.])
      | (?P<word>-?[a-z_][a-z0-9_]{0,63})
      | (?P<mark>[()\[\]=,])
    """,
    re.VERBOSE,
)


@lru_cache(maxsize=4096)  # few laws make up most of a model
def read_law(text: str) -> Law:
    """Read what `write_law` wrote; raises `ValueError` for anything else.

    >>> print(read_law("uniform(low=-0.5, high=0.5)"))
    U(-0.5, 0.5)
    """
    if len(text) > LONGEST:
        raise ValueError(f"a law is longer than {LONGEST:,} characters")
    reading = _Reading(text)
    data = reading.value(0)
    reading.end()
    if not isinstance(data, dict):
        raise ValueError(f"`{text}` is no law; a law is written as normal(mean=0.0, std=0.02)")
    try:
        return from_json(cast("object", data))
    except LawError as error:
        raise ValueError(error.message) from None


class _Reading:
    """A text, and how far it was read."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.place = 0

    def value(self, depth: int) -> object:
        if depth > DEEPEST:
            raise ValueError(f"laws lie more than {DEEPEST} deep in one another")
        found = self.token()
        if found["text"]:
            return unquoted(found["text"])
        if found["number"]:
            return float(found["number"]) if found["fraction"] else int(found["number"])
        if found["mark"] == "[":
            return self.items("]", lambda: self.value(depth + 1))
        word = found["word"]
        if word and self.text.startswith("(", self.place):
            self.place += 1
            return self.law(word, depth)
        if word in _WORDS:
            return _WORDS[word]
        raise self.surprised(found[0])

    def law(self, kind: str, depth: int) -> dict[str, object]:
        data: dict[str, object] = {"kind": kind}

        def parameter() -> None:
            found = self.token()
            if not found["word"] or found["word"] in data:
                raise self.surprised(found[0])
            self.expect("=")
            data[found["word"]] = self.value(depth + 1)

        self.items(")", parameter)
        return data

    def items(self, end: str, item: Callable[[], object]) -> list[object]:
        """Read items with commas between them, up to the mark that ends them."""
        found: list[object] = []
        if self.text.startswith(end, self.place):
            self.place += 1
            return found
        while True:
            found.append(item())
            mark = self.token()[0]
            if mark == end:
                return found
            if mark != ",":
                raise self.surprised(mark)
            if self.text.startswith(" ", self.place):
                self.place += 1

    def token(self) -> re.Match[str]:
        found = _TOKEN.match(self.text, self.place)
        if found is None:
            raise self.surprised(self.text[self.place : self.place + 1])
        self.place = found.end()
        return found

    def expect(self, mark: str) -> None:
        found = self.token()[0]
        if found != mark:
            raise self.surprised(found)

    def end(self) -> None:
        if self.place < len(self.text):
            raise self.surprised(self.text[self.place])

    def surprised(self, found: str) -> ValueError:
        what = f"{quoted(found[:40])} in" if found else "the end of"
        return ValueError(f"{what} the law {quoted(self.text[:80])} means nothing")
