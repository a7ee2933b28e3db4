"""Globs over module names, parameter names and class names.

Every glob is parsed once, into alternatives without braces, and matched without backtracking.
The pieces between two stars are placed one after the other, each as far left as it goes, and the
last one at the end. That is enough, because where a piece starts decides where it ends, and a
piece that starts earlier also ends earlier: if any placement works, then so does the leftmost.
The time for a match grows with the product of the two lengths, whatever the glob and the name.

| written    | matches                                                                         |
|------------|---------------------------------------------------------------------------------|
| `*`        | any characters within a segment; as a whole segment, exactly one segment        |
| `?`        | one character                                                                   |
| `**`       | any number of whole segments, also none                                         |
| `{a,b}`    | either; may be nested, and may contain dots                                     |
| `[0-9]`    | one of these characters; `[!0-9]` one that is not; `[*]` is a star itself       |
| `<i>`      | a whole number, captured as `i`                                                 |
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from itertools import pairwise
from keyword import iskeyword
from typing import TypeVar

from initpolicy.problems import suggest as suggest

LONGEST_GLOB = 1000
MOST_ALTERNATIVES = 256
MOST_TOKENS = 10_000  # over all alternatives: bounds the work of a match
LONGEST_NUMBER = 18  # digits; a longer run of digits is no layer's index

_DIGITS = frozenset("0123456789")
_NUMBER = re.compile("[0-9]+")


class GlobError(ValueError):
    """A glob that cannot be read: the message says why, and what to write instead."""

    def __init__(self, glob: str, problem: str) -> None:
        shown = glob if len(glob) <= 80 else f"{glob[:77]}..."
        super().__init__(f'glob "{shown}": {problem}')


# Tokens: what a glob consists of, once its braces are expanded


class _Wild(Enum):
    ONE = "?"
    MANY = "*"
    DEEP = "**"


@dataclass(frozen=True)
class _Set:
    ranges: tuple[tuple[str, str], ...]
    negated: bool

    def holds(self, character: str) -> bool:
        return self.negated != any(low <= character <= high for low, high in self.ranges)


@dataclass(frozen=True)
class _Capture:
    name: str


_Token = str | _Wild | _Set | _Capture  # a string is itself
_Tokens = tuple[_Token, ...]


def _read_set(glob: str, start: int) -> tuple[_Set, int]:
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
    return _Set(tuple(ranges), negated), end + 1


def _read_capture(glob: str, start: int) -> tuple[_Capture, int]:
    end = glob.find(">", start)
    if end < 0:
        raise GlobError(glob, '"<" is never closed; write "<i>", or "[<]" for the character')
    name = glob[start + 1 : end]
    if not (name.isascii() and name.isidentifier()) or name.startswith("_") or iskeyword(name):
        raise GlobError(
            glob, f'"<{name}>" is no capture; write a name like "<i>", which expressions can read'
        )
    return _Capture(name), end + 1


def _read_tokens(glob: str, start: int, *, captures: bool) -> tuple[_Tokens, int]:
    """Read what starts at a position that is not part of an alternation."""
    character = glob[start]
    if character == "*":
        if glob.startswith("**", start):
            return (_Wild.DEEP,), start + 2
        return (_Wild.MANY,), start + 1
    if character == "?":
        return (_Wild.ONE,), start + 1
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


def _check_size(glob: str, alternatives: Sequence[_Tokens]) -> None:
    if len(alternatives) > MOST_ALTERNATIVES:
        raise GlobError(
            glob, f'braces make more than {MOST_ALTERNATIVES} alternatives; write "*" or a list'
        )
    if sum(map(len, alternatives)) > MOST_TOKENS:
        raise GlobError(
            glob, f'braces make more than {MOST_TOKENS} characters; write "*" or a list'
        )


def _expand(glob: str, *, captures: bool = True) -> list[_Tokens]:
    """Read a glob into its alternatives, in the order in which they are written."""
    if len(glob) > LONGEST_GLOB:
        raise GlobError(glob, f"longer than {LONGEST_GLOB} characters; write a list of globs")
    # For each open brace: the alternatives before it, and those inside that are complete.
    open_braces: list[tuple[list[_Tokens], list[_Tokens]]] = []
    current: list[_Tokens] = [()]
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


def _split(tokens: _Tokens, separator: _Token) -> list[_Tokens]:
    parts: list[list[_Token]] = [[]]
    for token in tokens:
        if token == separator:
            parts.append([])
        else:
            parts[-1].append(token)
    return [tuple(part) for part in parts]


# Matching

_Captures = tuple[tuple[str, int], ...]
_Placed = tuple[int, _Captures]  # where a piece ends, and what it captured
_Piece = TypeVar("_Piece")


def _place_pieces(
    pieces: Sequence[_Piece],
    length: int,
    place: Callable[[_Piece, int], _Placed | None],
    last_starts: range,
) -> _Captures | None:
    """Place the pieces between stars: the first at 0, the last at the end, others leftmost.

    Of `last_starts`, one at most is where the last piece begins if it ends at the end.
    """
    placed = place(pieces[0], 0)
    if placed is None:
        return None
    end, captures = placed
    if len(pieces) == 1:
        return captures if end == length else None
    for piece in pieces[1:-1]:
        for start in range(end, length + 1):
            placed = place(piece, start)
            if placed is not None:
                end, found = placed
                captures += found
                break
        else:
            return None
    for start in last_starts:
        placed = place(pieces[-1], start) if start >= end else None
        if placed is not None and placed[0] == length:
            return captures + placed[1]
    return None


def _place_tokens(
    tokens: _Tokens, text: str, start: int, required: tuple[str, int] | None
) -> _Placed | None:
    """Place tokens without a star at a position of a text."""
    position = start
    captures: list[tuple[str, int]] = []
    for token in tokens:
        if isinstance(token, _Capture):
            if position > 0 and text[position - 1] in _DIGITS:
                return None
            number = _NUMBER.match(text, position)
            if number is None or number.end() - position > LONGEST_NUMBER:
                return None
            captured = (token.name, int(number[0]))
            if required is not None and token.name == required[0] and captured != required:
                return None
            captures.append(captured)
            position = number.end()
        elif isinstance(token, str):
            if not text.startswith(token, position):
                return None
            position += len(token)
        else:
            if position >= len(text):
                return None
            if isinstance(token, _Set) and not token.holds(text[position]):
                return None
            position += 1
    return position, tuple(captures)


@dataclass(frozen=True, eq=False)
class _Segment:
    """What one segment of a name must look like: pieces with a star between each two."""

    pieces: tuple[_Tokens, ...]
    literal: str | None

    @staticmethod
    def of(glob: str, tokens: _Tokens) -> _Segment:
        for left, right in pairwise(tokens):
            for capture, other in ((left, right), (right, left)):
                if isinstance(capture, _Capture) and (
                    isinstance(other, _Capture) or other in _DIGITS
                ):
                    raise GlobError(
                        glob,
                        f'"<{capture.name}>" takes every digit it touches, so that a digit or '
                        "another capture beside it never matches; write one capture",
                    )
        pieces = tuple(_join_literals(piece) for piece in _split(tokens, _Wild.MANY))
        literal = None
        if len(pieces) == 1 and len(pieces[0]) == 1 and isinstance(pieces[0][0], str):
            literal = pieces[0][0]
        return _Segment(pieces, literal)


def _join_literals(tokens: _Tokens) -> _Tokens:
    joined: list[_Token] = []
    for token in tokens:
        last = joined[-1] if joined else None
        if isinstance(token, str) and isinstance(last, str):
            joined[-1] = last + token
        else:
            joined.append(token)
    return tuple(joined)


@lru_cache(maxsize=1 << 16)
def _match_segment(
    segment: _Segment, text: str, required: tuple[str, int] | None = None
) -> _Captures | None:
    if not text:
        return None
    last = segment.pieces[-1]
    if any(isinstance(token, _Capture) for token in last):
        last_starts = range(len(text) + 1)
    else:
        start = len(text) - sum(len(token) if isinstance(token, str) else 1 for token in last)
        last_starts = range(start, start + 1)
    return _place_pieces(
        segment.pieces,
        len(text),
        lambda tokens, start: _place_tokens(tokens, text, start, required),
        last_starts,
    )


@dataclass(frozen=True, eq=False)
class _Path:
    """One alternative of a pattern: pieces of whole segments with a `**` between each two."""

    pieces: tuple[tuple[_Segment, ...], ...]
    repeated: tuple[str, int] | None  # the name that is captured more than once, and how often

    @staticmethod
    def of(glob: str, segments: Sequence[_Tokens]) -> _Path:
        pieces: list[list[_Segment]] = [[]]
        for tokens in segments:
            if tokens == (_Wild.DEEP,):
                pieces.append([])
            elif _Wild.DEEP in tokens:
                raise GlobError(
                    glob,
                    '"**" stands for whole segments; write "*" inside a segment, '
                    'or put dots around it, as in "a.**.b"',
                )
            elif not tokens:
                raise GlobError(glob, 'a segment is empty; write one dot, or "*" for any segment')
            else:
                pieces[-1].append(_Segment.of(glob, tokens))
        names = Counter(
            token.name for tokens in segments for token in tokens if isinstance(token, _Capture)
        )
        repeated = [(name, count) for name, count in names.items() if count > 1]
        if len(repeated) > 1:
            # With one name, each number of the text is tried; with more, their combinations.
            listed = " and ".join(f'"<{name}>"' for name, _ in repeated)
            raise GlobError(glob, f"{listed} are repeated; repeat one name at most")
        return _Path(tuple(map(tuple, pieces)), repeated[0] if repeated else None)

    def match(self, segments: Sequence[str]) -> _Captures | None:
        if self.repeated is None:
            return self._match(segments, None)
        name, count = self.repeated
        for number in _numbers(segments, at_least=count):
            captures = self._match(segments, (name, number))
            if captures is not None:
                return captures
        return None

    def _match(self, segments: Sequence[str], required: tuple[str, int] | None) -> _Captures | None:
        length = len(segments)

        def place(piece: tuple[_Segment, ...], start: int) -> _Placed | None:
            end = start + len(piece)
            if end > length:
                return None
            captures: _Captures = ()
            for position, segment in enumerate(piece, start):
                if segment.literal is None:
                    found = _match_segment(segment, segments[position], required)
                    if found is None:
                        return None
                    captures += found
                elif segment.literal != segments[position]:
                    return None
            return end, captures

        last_start = length - len(self.pieces[-1])
        return _place_pieces(self.pieces, length, place, range(last_start, last_start + 1))


def _numbers(segments: Sequence[str], at_least: int) -> list[int]:
    """Give the numbers that appear at least so often, by their first appearance."""
    counts = Counter(
        int(digits)
        for segment in segments
        for digits in _NUMBER.findall(segment)
        if len(digits) <= LONGEST_NUMBER
    )
    return [number for number, count in counts.items() if count >= at_least]


# What is made of it


@dataclass(frozen=True)
class _Pattern:
    text: str
    captures: frozenset[str] = field(compare=False, repr=False)
    _paths: tuple[_Path, ...] = field(compare=False, repr=False)


def _match_first(paths: Iterable[_Path], segments: Sequence[str]) -> _Captures | None:
    for path in paths:
        captures = path.match(segments)
        if captures is not None:
            return captures
    return None


def _captures(alternatives: Iterable[_Tokens]) -> frozenset[str]:
    return frozenset(
        token.name for tokens in alternatives for token in tokens if isinstance(token, _Capture)
    )


@dataclass(frozen=True)
class NamePattern(_Pattern):
    """A glob over dotted names of modules. The root module's name is empty: no segments.

    `*`, `?` and sets stay inside a segment; `**` is any number of whole segments, also none.
    `<i>` is a whole number of at most 18 digits, with no further digit before or after it.
    A name that is captured twice must be the same number both times; where several numbers fit,
    the one that comes first in the module's name is taken. Otherwise stars take as little as they
    can, from left to right, and of several alternatives the first that matches is taken.

    `text` is the glob as written; `captures` the names that any of its alternatives captures.

    >>> pattern = NamePattern.parse("**.h.<i>")
    >>> pattern
    NamePattern(text='**.h.<i>')
    >>> pattern.match("transformer.h.11")
    {'i': 11}
    >>> pattern.match("transformer.h.11.attn") is None
    True
    >>> NamePattern.parse("{encoder.a,decoder}.h*").match("encoder.a.h1")
    {}
    >>> NamePattern.parse("**").match("")
    {}
    >>> NamePattern.parse("*").match("") is None
    True
    >>> NamePattern.parse("stage<i>.block<i>").match("stage1.block2") is None
    True
    """

    @staticmethod
    def parse(text: str) -> NamePattern:
        """Parse a glob, or raise a `GlobError` that says what to write instead.

        >>> NamePattern.parse("h**.conv")
        Traceback (most recent call last):
        initpolicy.policy.glob.GlobError: glob "h**.conv": "**" stands for whole segments;
        write "*" inside a segment, or put dots around it, as in "a.**.b"
        """
        return _parse_name(text)

    def match(self, name: str) -> dict[str, int] | None:
        """Give the captured numbers if the whole name matches, and None if it does not."""
        captures = _match_name(self._paths, name)
        return None if captures is None else dict(captures)


@lru_cache(maxsize=1 << 16)
def _match_name(paths: tuple[_Path, ...], name: str) -> _Captures | None:
    return _match_first(paths, name.split(".") if name else [])


@lru_cache(maxsize=1024)
def _parse_name(text: str) -> NamePattern:
    alternatives = _expand(text)
    for tokens in alternatives:
        sets = [token for token in tokens if isinstance(token, _Set)]
        if any("." in bounds for members in sets for bounds in members.ranges):
            raise GlobError(text, 'a set never holds the dot; write "." between segments')
    paths = tuple(_Path.of(text, _split(tokens, ".") if tokens else []) for tokens in alternatives)
    return NamePattern(text, _captures(alternatives), paths)


@dataclass(frozen=True)
class WordPattern(_Pattern):
    """A glob over the names of parameters or buffers of one module: `NamePattern` without dots.

    >>> WordPattern.parse("weight_{ih,hh}_l<i>").match("weight_hh_l2")
    {'i': 2}
    >>> WordPattern.parse("*_bias").match("bias") is None
    True
    """

    @staticmethod
    def parse(text: str) -> WordPattern:
        """Parse a glob, or raise a `GlobError` that says what to write instead.

        >>> WordPattern.parse("attn.bias")
        Traceback (most recent call last):
        initpolicy.policy.glob.GlobError: glob "attn.bias": the name of a parameter has no dot;
        select the module by its name, and write what comes after the last dot
        """
        return _parse_word(text)

    def match(self, word: str) -> dict[str, int] | None:
        """Give the captured numbers if the whole word matches, and None if it does not."""
        captures = _match_first(self._paths, [word])
        return None if captures is None else dict(captures)


@lru_cache(maxsize=1024)
def _parse_word(text: str) -> WordPattern:
    alternatives = _expand(text)
    for tokens in alternatives:
        if not tokens:
            raise GlobError(text, 'the name of a parameter is never empty; write "*" for any')
        if "." in tokens:
            raise GlobError(
                text,
                "the name of a parameter has no dot; select the module by its name, "
                "and write what comes after the last dot",
            )
        if _Wild.DEEP in tokens:
            raise GlobError(text, 'the name of a parameter has one segment; write "*" for "**"')
    paths = tuple(_Path.of(text, [tokens]) for tokens in alternatives)
    return WordPattern(text, _captures(alternatives), paths)


def _items(items: str | Iterable[str]) -> tuple[tuple[str, ...], list[str], list[str]]:
    """Sort the items of a selector: as written, those that select, and those that exclude."""
    texts = (items,) if isinstance(items, str) else tuple(items)
    selecting = [text for text in texts if not text.startswith("!")]
    excluding = [text[1:] for text in texts if text.startswith("!")]
    return texts, selecting, excluding


@dataclass(frozen=True)
class NameSelector:
    """A list of name globs, of which those that begin with `!` exclude.

    A name is selected if any of the others matches, or if there are no others, and no `!` matches.

    >>> selector = NameSelector.parse(["**.fc<i>", "head", "!**.fc0"])
    >>> selector.match("classifier.fc3")
    {'i': 3}
    >>> selector.match("head")
    {}
    >>> selector.match("classifier.fc0") is None
    True
    """

    texts: tuple[str, ...]
    selecting: tuple[NamePattern, ...] = field(compare=False, repr=False)
    excluding: tuple[NamePattern, ...] = field(compare=False, repr=False)

    @staticmethod
    def parse(items: str | Iterable[str]) -> NameSelector:
        """Parse one glob or several, or raise the `GlobError` of the first that is not one."""
        texts, selecting, excluding = _items(items)
        return NameSelector(
            texts,
            tuple(map(NamePattern.parse, selecting)),
            tuple(map(NamePattern.parse, excluding)),
        )

    def match(self, name: str) -> dict[str, int] | None:
        """Give the numbers that the first matching glob captures, and None if unselected."""
        captures: dict[str, int] | None = None if self.selecting else {}
        for pattern in self.selecting:
            captures = pattern.match(name)
            if captures is not None:
                break
        if captures is None:
            return None
        excluded = any(pattern.match(name) is not None for pattern in self.excluding)
        return None if excluded else captures


@dataclass(frozen=True, eq=False)
class _TypePattern:
    exact: bool
    alternatives: tuple[tuple[bool, _Segment], ...]  # has a dot; what is matched

    @staticmethod
    def parse(text: str) -> _TypePattern:
        exact = text.startswith("=")
        glob = text[exact:]
        alternatives: list[tuple[bool, _Segment]] = []
        for tokens in _expand(glob, captures=False):
            if not tokens:
                raise GlobError(text, 'the name of a class is never empty; write "*" for any')
            if _Wild.DEEP in tokens:
                raise GlobError(text, '"*" crosses dots in the name of a class; write "*"')
            alternatives.append(("." in tokens, _Segment.of(text, tokens)))
        return _TypePattern(exact, tuple(alternatives))

    def match(self, cls: type) -> bool:
        for base in (cls,) if self.exact else cls.__mro__:
            if base is object:
                continue
            dotted = f"{base.__module__}.{base.__qualname__}"
            for has_dot, segment in self.alternatives:
                if _match_segment(segment, dotted if has_dot else base.__name__) is not None:
                    return True
        return False


@dataclass(frozen=True)
class TypeSelector:
    """A list of globs over the names of classes, of which those that begin with `!` exclude.

    A glob is tried on the class and on all its bases, `object` excepted, so that `Linear` selects
    subclasses of `Linear` too; with a leading `=` it is tried on the class alone.
    A glob with a dot is tried on the class's module and qualified name, where `*` also crosses
    dots. That is the module that defines the class, not the one it is imported from:
    `torch.nn.Linear` is `torch.nn.modules.linear.Linear`, for which `torch.nn.*.Linear` will do.

    >>> class Base: ...
    >>> class Conv2d(Base): ...
    >>> TypeSelector.parse("*Conv*").match(Conv2d), TypeSelector.parse("Base").match(Conv2d)
    (True, True)
    >>> TypeSelector.parse("=Base").match(Conv2d)
    False
    >>> TypeSelector.parse(["Base", "!=Base"]).match(Conv2d)
    True
    >>> TypeSelector.parse("*.glob.Conv?d").match(Conv2d)
    True
    """

    texts: tuple[str, ...]
    _selecting: tuple[_TypePattern, ...] = field(compare=False, repr=False)
    _excluding: tuple[_TypePattern, ...] = field(compare=False, repr=False)

    @staticmethod
    def parse(items: str | Iterable[str]) -> TypeSelector:
        """Parse one glob or several, or raise the `GlobError` of the first that is not one."""
        texts, selecting, excluding = _items(items)
        return TypeSelector(
            texts,
            tuple(map(_TypePattern.parse, selecting)),
            tuple(map(_TypePattern.parse, excluding)),
        )

    def match(self, cls: type) -> bool:
        """Say whether a class is selected."""
        selected = not self._selecting or any(_match_type(item, cls) for item in self._selecting)
        return selected and not any(_match_type(item, cls) for item in self._excluding)


@lru_cache(maxsize=4096)
def _match_type(pattern: _TypePattern, cls: type) -> bool:
    return pattern.match(cls)
