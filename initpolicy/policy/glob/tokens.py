"""What a glob consists of: its text is read into alternatives of tokens, without braces."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from keyword import iskeyword

LONGEST_GLOB = 1000
MOST_ALTERNATIVES = 256
MOST_TOKENS = 10_000  # over all alternatives: bounds the work of a match


class GlobError(ValueError):
    """A glob that cannot be read: the message says why, and what to write instead."""

    def __init__(self, glob: str, problem: str) -> None:
        shown = glob if len(glob) <= 80 else f"{glob[:77]}..."
        super().__init__(f'glob "{shown}": {problem}')


class Wild(Enum):
    """What stands for any text of some length."""

    ONE = "?"
    MANY = "*"
    DEEP = "**"


@dataclass(frozen=True)
class OneOf:
    """A set of characters, one of which is met, or with `negated` none of which is."""

    ranges: tuple[tuple[str, str], ...]
    negated: bool

    def holds(self, character: str) -> bool:
        """Say whether a character may stand here."""
        return self.negated != any(low <= character <= high for low, high in self.ranges)


@dataclass(frozen=True)
class Capture:
    """A whole number, and the name that it is given."""

    name: str


Token = str | Wild | OneOf | Capture  # a string is itself
Tokens = tuple[Token, ...]


def _read_set(glob: str, start: int) -> tuple[OneOf, int]:
    position = start + 1
    negated = glob.startswith("!", position)
    position += negated
    if glob.startswith("^", position) and not negated:
        raise GlobError(glob, 'a set is negated with "!"; write "[!...]"')
    end = glob.find("]", position + 1)  # a "]" that comes first is a member
    if end < 0:
        raise GlobError(glob, '"[" is never closed; write "[0-9]", or "[[]" for the character')
    members = glob[position:end]
    ranges: list[tuple[str, str]] = []
    index = 0
    while index < len(members):
        low = high = members[index]
        if members[index + 1 : index + 2] == "-" and index + 2 < len(members):
            high = members[index + 2]
            index += 2
        if low > high:
            raise GlobError(glob, f'the range "{low}-{high}" is empty; write "{high}-{low}"')
        ranges.append((low, high))
        index += 1
    return OneOf(tuple(ranges), negated), end + 1


def _read_capture(glob: str, start: int) -> tuple[Capture, int]:
    end = glob.find(">", start)
    if end < 0:
        raise GlobError(glob, '"<" is never closed; write "<i>", or "[<]" for the character')
    name = glob[start + 1 : end]
    if not (name.isascii() and name.isidentifier()) or name.startswith("_") or iskeyword(name):
        raise GlobError(
            glob, f'"<{name}>" is no capture; write a name like "<i>", which expressions can read'
        )
    return Capture(name), end + 1


def _read_tokens(glob: str, start: int, *, captures: bool) -> tuple[Tokens, int]:
    """Read what starts at a position that is not part of an alternation."""
    character = glob[start]
    if character == "*":
        if glob.startswith("**", start):
            return (Wild.DEEP,), start + 2
        return (Wild.MANY,), start + 1
    if character == "?":
        return (Wild.ONE,), start + 1
    if character == "[":
        members, end = _read_set(glob, start)
        return (members,), end
    if character == "<":
        if captures:
            capture, end = _read_capture(glob, start)
            return (capture,), end
        for scope in ("<locals>", "<lambda>"):  # parts of the names of classes
            if glob.startswith(scope, start):
                return tuple(scope), start + len(scope)
        raise GlobError(glob, '"<...>" captures only in names of modules; write "*"')
    if character in "]>,}":
        raise GlobError(
            glob, f'"{character}" opens nothing; write "[{character}]" for the character'
        )
    if character == "!" and start == 0:
        raise GlobError(glob, '"!" excludes, and only as the start of an item of a selector')
    return (character,), start + 1


def _check_size(glob: str, alternatives: Sequence[Tokens]) -> None:
    if len(alternatives) > MOST_ALTERNATIVES:
        raise GlobError(
            glob, f'braces make more than {MOST_ALTERNATIVES} alternatives; write "*" or a list'
        )
    if sum(map(len, alternatives)) > MOST_TOKENS:
        raise GlobError(
            glob, f'braces make more than {MOST_TOKENS} characters; write "*" or a list'
        )


def expand(glob: str, *, captures: bool = True) -> list[Tokens]:
    """Read a glob into its alternatives, in the order in which they are written."""
    if len(glob) > LONGEST_GLOB:
        raise GlobError(glob, f"longer than {LONGEST_GLOB} characters; write a list of globs")
    # For each open brace: the alternatives before it, and those inside that are complete.
    open_braces: list[tuple[list[Tokens], list[Tokens]]] = []
    current: list[Tokens] = [()]
    position = 0
    while position < len(glob):
        character = glob[position]
        if character == "{":
            open_braces.append((current, []))
            current = [()]
            position += 1
        elif character == "," and open_braces:
            open_braces[-1][1].extend(current)
            current = [()]
            position += 1
        elif character == "}" and open_braces:
            before, inside = open_braces.pop()
            inside.extend(current)
            if len(before) * len(inside) <= MOST_ALTERNATIVES:
                current = [head + tail for head in before for tail in inside]
            else:
                current = [()] * (MOST_ALTERNATIVES + 1)
            position += 1
        else:
            tokens, position = _read_tokens(glob, position, captures=captures)
            current = [head + tokens for head in current]
        _check_size(glob, current)
    if open_braces:
        raise GlobError(glob, '"{" is never closed; write "{a,b}", or "[{]" for the character')
    return current


def split(tokens: Tokens, separator: Token) -> list[Tokens]:
    """Split tokens at each that is the separator, as `str.split` splits a text."""
    parts: list[list[Token]] = [[]]
    for token in tokens:
        if token == separator:
            parts.append([])
        else:
            parts[-1].append(token)
    return [tuple(part) for part in parts]


def captured_names(alternatives: Iterable[Tokens]) -> frozenset[str]:
    """Give the names that any of the alternatives captures."""
    return frozenset(
        token.name for tokens in alternatives for token in tokens if isinstance(token, Capture)
    )
