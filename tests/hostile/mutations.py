"""Changes of valid inputs: of bytes, of text, and of data as JSON has it."""

from __future__ import annotations

import copy
import json
import struct
from collections.abc import Iterator
from random import Random
from typing import Any

WORDS = [
    "nan",
    "inf",
    "-inf",
    "1e400",
    "-0",
    "0x10",
    "true",
    "null",
    "{a,b}",
    "{{{{",
    "**",
    "*",
    "?",
    "[!a]",
    "<i>",
    "../",
    "\\",
    "\\u0000",
    "\ud7ff",
    "\u202e",
    "\u0661",
    "\U0010ffff",
    "é",
    "#",
    "=",
    "==",
    ".",
    "..",
    ",",
    ";",
    "(",
    ")",
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "'",
    '"',
    "'''",
    '"""',
    '\\"',
    "@",
    "~",
    "%",
    "$",
    "init",
    "rule",
    "extends",
    "fn",
    "chunks",
    "recompute",
    "normal",
    "formula",
    "from_file",
    "keep",
    "gain(",
    "where(",
    "zero_rows(",
    "stacked(",
]
NUMBERS = (0, -1, 1, 2**31, 2**53, 2**63, 2**64, -(2**63), 10**30, 10**400, 1e308, 5e-324, -1e308)
VALUES: tuple[Any, ...] = (
    *NUMBERS,
    None,
    True,
    "",
    "inf",
    "\0",
    "a" * 5000,
    "\ud800",
    "../../etc/passwd",
    "/dev/zero",
    [],
    {},
    [[]],
    [0] * 1000,
    {"kind": "normal"},
    float("nan"),
    float("inf"),
)


def mutated_bytes(random: Random, content: bytes) -> bytes:
    """Content with a few places changed, cut, doubled, or taken out."""
    data = bytearray(content)
    for _ in range(random.choice((1, 1, 1, 2, 3, 8))):
        place = random.randrange(len(data) + 1)
        what = random.randrange(6)
        if what == 0 and data:
            data[place % len(data)] = random.choice((0, 0xFF, 0x80, random.randrange(256)))
        elif what == 1:
            del data[place : place + random.choice((1, 4, 8, 100, len(data)))]
        elif what == 2:
            data[place:place] = random.randbytes(random.choice((1, 8, 64)))
        elif what == 3:
            data[place : place + 8] = struct.pack("<Q", random.choice((2**63, 2**64 - 1, 2**40, 0)))
        elif what == 4:
            stop = place + random.choice((1, 8, 64))
            data[place:place] = data[place:stop] * random.choice((1, 2, 50))
        elif data:
            data[place % len(data)] ^= 1 << random.randrange(8)
    return bytes(data)


def mutated_text(random: Random, text: str) -> str:
    """Text with words put in, taken out, doubled or nested; characters that are no bytes aside."""
    for _ in range(random.choice((1, 1, 2, 4))):
        start = random.randrange(len(text) + 1)
        stop = min(len(text), start + random.choice((0, 1, 3, 10, 60)))
        word = random.choice((*WORDS, str(random.choice(NUMBERS))))
        piece = random.choice(
            (word, word * random.choice((2, 40, 400)), "", text[start:stop] * 2, f"({word})")
        )
        text = text[:start] + piece + text[stop:]
    return text


def places(data: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in the data with each of its keys."""
    waiting = [data]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict | list):
            keys = list(one) if isinstance(one, dict) else range(len(one))
            for key in keys:
                yield one, key
                waiting.append(one[key])


def mutated_json(random: Random, data: Any) -> Any:
    """Data with values replaced, taken out, wrapped, moved, or under another key."""
    data = copy.deepcopy(data)
    wrapped = False
    for _ in range(random.choice((1, 1, 2, 3))):
        found = list(places(data))
        if not found:
            return random.choice(VALUES)
        one, key = random.choice(found)
        what = random.randrange(6)
        if what <= 1:
            one[key] = copy.deepcopy(random.choice(VALUES))
        elif what == 2:
            del one[key]
        elif what == 3:
            other, place = random.choice(found)
            if not wrapped:  # what lies so deep in one another cannot be copied
                one[key] = copy.deepcopy(other[place])
        elif what == 4 and isinstance(one, dict):
            one[random.choice(("", "kind", "\ud800", "a" * 300, "name"))] = one.pop(key)
        else:
            wrapped = True
            for _ in range(random.choice((1, 3, 500))):
                one[key] = random.choice(([one[key]], {"law": one[key]}))
    return data


def json_bytes(random: Random, data: Any) -> bytes:
    """Mutated data as JSON, and at times that again mutated."""
    try:
        text = json.dumps(mutated_json(random, data)).encode()
    except (RecursionError, ValueError):
        text = b"[" * 100_000
    return mutated_bytes(random, text) if random.random() < 0.2 else text


def safetensors_bytes(random: Random, header: Any, values: bytes) -> bytes:
    """A file of a mutated header, of which the length may be another."""
    text = json_bytes(random, header)
    length = len(text)
    if random.random() < 0.2:
        length = random.choice((0, 1, length + 1, length - 1, 2**31, 2**63, 2**64 - 1)) % 2**64
    return struct.pack("<Q", length) + text + values[: random.choice((len(values), 3, 0))]
