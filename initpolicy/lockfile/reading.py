"""Read the text of a lock, of which nothing is believed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import torch

from initpolicy.lockfile.document import LOCK_VERSION, Calibrated, Entry, Lock
from initpolicy.lockfile.exact import has_digest, is_rounded
from initpolicy.lockfile.lawtext import read_law, unquoted
from initpolicy.lockfile.writing import HEAD, NOTE, PLAIN, ROUNDING
from initpolicy.policy.document import MAX_SEED
from initpolicy.problems import InitPolicyError, Location, Problem

LARGEST_FILE = 64 * 2**20
"""Bytes: some hundred thousand tensors."""

LONGEST_LINE = 1 << 16
"""Characters."""

MOST_PROBLEMS = 20
"""Lines that are told, of a file in which more are wrong."""

_QUOTED = r'"(?:[^"\\]|\\.)*"'
_SELECTORS = r"'(?:[^'\\]|\\.)*'"
_BY = rf"(?:{NOTE}|{_SELECTORS})"
_NAME = rf"(?:{_QUOTED}|{PLAIN})"
_FLOAT = r"-?[0-9]{1,400}(?:\.[0-9]{1,400})?(?:e[+-]?[0-9]{1,4})?|-?inf|nan"
_PLACE = re.compile(rf"(?P<file>{_NAME}):(?P<line>[0-9]{{1,9}})")
_KEY = re.compile(r"(?P<key>lock|draws|policy|title|seed|digests) = (?P<value>.+)")
_VARIABLE = re.compile(rf"var (?P<name>{_NAME}) = (?P<value>{_FLOAT})")
_PLACES = rf"{_NAME}:[0-9]{{1,9}}"
_RULE = re.compile(rf"rule (?P<name>{_BY}) = (?P<places>{_PLACES}(?:, {_PLACES})*)")
_STEP = re.compile(
    rf"step (?P<number>[0-9]{{1,6}}) = (?P<call>{_QUOTED})  by (?P<rule>{_BY})"
    r"(?:  data (?P<data>[0-9a-f]{32}))?"
)
_LINE = re.compile(
    rf"(?P<name>{_NAME})"
    r"  \[(?P<shape>[0-9, ]*)\] (?P<dtype>[a-z0-9_]{1,32})"
    r"(?P<buffer> buffer)?(?P<unsaved> unsaved)?"
    rf"  (?P<begins>(?:[^ \"]| (?! )|{_QUOTED})+)"
    rf"(?:  gain (?P<gain>{_QUOTED}))?"
    rf"(?:  by (?P<rule>{_BY}))?"
    rf"(?:  drawn as (?P<stream>{_NAME}))?"
    rf"(?:  also (?P<aliases>{_NAME}(?:, {_NAME})*))?"
    r"(?:  then (?P<steps>\w+(?:, \w+)*))?"
    rf"(?:  (?P<digest>[0-9a-f]{{32}}|{ROUNDING}))?"
)
_CONSTRUCTOR = re.compile(rf"constructor of (?P<name>{_NAME})")
_SHAPE = re.compile(r"(?:(?:0|[1-9][0-9]{0,18})(?:, (?:0|[1-9][0-9]{0,18})){0,63})?")

_AGAIN = "write it anew with `initpolicy lock MODEL POLICY`"


def read(file: str | Path) -> Lock:
    """Read a file that `initpolicy lock` wrote.

    Raises `InitPolicyError` with the line of everything in it that is no part of a lock.
    """
    path = Path(file)
    try:
        if not path.is_file():
            told, hint = "there is no such lock", "write it with `initpolicy lock MODEL POLICY`"
            raise InitPolicyError(Problem("IP531", told, hint, Location(str(file))))
        if path.stat().st_size > LARGEST_FILE:
            raise _no_lock(str(file), f"it is larger than {LARGEST_FILE:,} bytes")
        content = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise _no_lock(str(file), f"it is no text in UTF-8: {error.reason}") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise _no_lock(str(file), f"it cannot be read: {reason}") from error
    return parse(content, str(file))


def is_lock(beginning: str) -> bool:
    r"""Whether a file that begins so is meant as a lock.

    >>> is_lock("# a comment\nlock = 1\n"), is_lock("format = 1\n")
    (True, False)
    """
    return beginning.startswith(HEAD[:31]) or bool(re.match(r"(?:#[^\n]*\n)*lock = ", beginning))


def parse(content: str, file: str = "<lock>") -> Lock:
    """Read the text of a lock; raises `InitPolicyError` with every line that is wrong."""
    reading = _Reading(file)
    # Files of Windows end their lines with two characters, and git may make them so.
    lines = content.replace("\r\n", "\n").split("\n")
    body = lines.index("") if "" in lines else len(lines)
    for number, line in enumerate(lines, 1):
        if line.startswith("#") and number <= body:
            continue
        if number <= body:
            reading.line(number, line, reading.header)
        elif line:
            reading.line(number, line, reading.entry)
    return reading.lock()


def _no_lock(file: str, why: str) -> InitPolicyError:
    return InitPolicyError(Problem("IP531", f"this is no lock: {why}", _AGAIN, Location(file)))


class _Reading:
    """One file: what was read so far, and what was wrong."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.wrong: list[tuple[int, str]] = []
        self.keys: dict[str, str] = {}
        self.numbers: dict[str, int] = {}
        self.variables: dict[str, float] = {}
        self.rules: dict[str, tuple[Location, ...]] = {}
        self.steps: list[Calibrated] = []
        self.entries: list[Entry] = []
        self.names: set[str] = set()

    def line(self, number: int, text: str, read: Callable[[str], None]) -> None:
        try:
            if re.match(r"<{7}|={7}|>{7}", text):
                raise ValueError("a merge left its conflict here")
            if len(text) > LONGEST_LINE:
                raise ValueError(f"the line is longer than {LONGEST_LINE:,} characters")
            read(text)
        except (ValueError, RecursionError) as error:
            self.wrong.append((number, str(error)))

    def header(self, text: str) -> None:
        if found := _KEY.fullmatch(text):
            key, value = found["key"], found["value"]
            if key in self.keys or key in self.numbers:
                raise ValueError(f"`{key}` is there twice")
            if key in ("policy", "title", "digests"):
                self.keys[key] = _text(value)
            else:
                self.numbers[key] = _whole(key, value)
        elif found := _VARIABLE.fullmatch(text):
            name = _named(found["name"])
            if name in self.variables:
                raise ValueError(f"the variable `{name}` is there twice")
            self.variables[name] = float(found["value"])
        elif found := _RULE.fullmatch(text):
            rule = _rule(found["name"])
            if rule in self.rules:
                raise ValueError("the rule is there twice")
            self.rules[rule] = tuple(
                Location(_named(place["file"]), int(place["line"]))
                for place in _PLACE.finditer(found["places"])
            )
        elif found := _STEP.fullmatch(text):
            if int(found["number"]) != len(self.steps) + 1:
                raise ValueError(f"step {found['number']} is not in its place")
            call, rule = _text(found["call"]), _rule(found["rule"])
            self.steps.append(Calibrated(call, rule, found["data"] or ""))
        else:
            raise ValueError("the line is no setting, as `seed = 0` is one")

    def entry(self, text: str) -> None:
        found = _LINE.fullmatch(text)
        if found is None:
            raise ValueError("the line is no tensor, as `w  [2, 3] float32  keep` is one")
        constructor = _CONSTRUCTOR.fullmatch(found["begins"])
        keeps = constructor is not None or found["begins"] == "keep"
        aliases = re.findall(_NAME, found["aliases"]) if found["aliases"] else []
        entry = Entry(
            name=_named(found["name"]),
            shape=_shape(found["shape"]),
            dtype=_dtype(found["dtype"]),
            kind="buffer" if found["buffer"] else "parameter",
            persistent=not found["unsaved"],
            law=None if keeps else read_law(found["begins"]),
            constructor=_named(constructor["name"]) if constructor else "",
            gain=unquoted(found["gain"]) if found["gain"] else "",
            rule=_rule(found["rule"]) if found["rule"] else None,
            stream=_named(found["stream"]) if found["stream"] else "",
            aliases=tuple(map(_named, aliases)),
            digest=None if found["digest"] == ROUNDING else found["digest"],
            steps=tuple(found["steps"].split(", ")) if found["steps"] else (),
        )
        for name in (entry.name, *entry.aliases):
            if name in self.names:
                raise ValueError(f"there are two tensors of the name `{name}`")
            self.names.add(name)
        if is_rounded(entry) != (found["digest"] == ROUNDING):
            raise ValueError(f"`{ROUNDING}` is where a digest cannot be, and nowhere else")
        if self.keys.get("digests") == "values" and has_digest(entry) != bool(entry.digest):
            raise ValueError("the line lacks its digest, or has one that it cannot have")
        if self.keys.get("digests") != "values" and entry.digest:
            raise ValueError("the line has a digest, in a lock without digests")
        self.entries.append(entry)

    def lock(self) -> Lock:
        """What was read; raises if anything was wrong."""
        lacks = [key for key in _KEYS if key not in self.keys and key not in self.numbers]
        if lacks and not self.wrong:
            self.wrong.append((0, f"it lacks {', '.join(f'`{key}`' for key in lacks)}"))
        version = self.numbers.get("lock", LOCK_VERSION)
        if version != LOCK_VERSION:
            self.wrong = [(0, f"it has version {version}, and this program reads {LOCK_VERSION}")]
        if not self.wrong and self.keys["digests"] not in ("values", "none"):
            self.wrong.append((0, '`digests` is neither "values" nor "none"'))
        if self.wrong:
            raise InitPolicyError(self.problems())
        return Lock(
            tuple(self.entries),
            self.numbers["seed"],
            self.numbers["draws"],
            self.keys["policy"],
            self.keys["title"],
            self.variables,
            self.rules,
            "values" if self.keys["digests"] == "values" else "none",
            tuple(self.steps),
        )

    def problems(self) -> list[Problem]:
        """The first lines that are wrong, and how many more there are."""
        shown, more = self.wrong[:MOST_PROBLEMS], len(self.wrong) - MOST_PROBLEMS
        problems = [
            Problem("IP531", f"this is no lock: {why}", _AGAIN, Location(self.file, number))
            for number, why in shown
        ]
        if more > 0:
            told = f"this is no lock: {more:,} more lines are wrong"
            problems.append(Problem("IP531", told, _AGAIN, Location(self.file)))
        return problems


_KEYS = ("lock", "draws", "policy", "title", "seed", "digests")


def _named(text: str) -> str:
    return unquoted(text) if text.startswith('"') else text


def _rule(text: str) -> str:
    if text.startswith('"'):
        return text
    inner = text[1:-1].replace('"', '\\"')
    return unquoted(f'"{inner}"')


def _text(value: str) -> str:
    if not re.fullmatch(_QUOTED, value):
        raise ValueError(f"{value} is no text in quotes")
    return unquoted(value)


def _whole(key: str, value: str) -> int:
    if not re.fullmatch("[0-9]{1,20}", value) or int(value) > MAX_SEED:
        raise ValueError(f"`{key}` is no whole number from 0 to 2**64 - 1")
    return int(value)


def _shape(text: str) -> tuple[int, ...]:
    if not _SHAPE.fullmatch(text):
        raise ValueError(f"[{text}] is no shape, as [2, 3] is one")
    return tuple(int(size) for size in text.split(", ")) if text else ()


def _dtype(text: str) -> str:
    if not isinstance(getattr(torch, text, None), torch.dtype):
        raise ValueError(f"{text} is no type that torch has")
    return text
