"""How tokens match a text: without backtracking, and with the numbers that they capture.

The pieces between two stars are placed one after the other, each as far
left as it goes, and the last one at the end. That is enough, because where a piece starts decides
where it ends, and a piece that starts earlier also ends earlier: if any placement works, then so
does the leftmost. The time for a match grows with the product of the two lengths, whatever the
glob and the name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TypeVar

from initpolicy.policy.glob.tokens import Capture, GlobError, OneOf, Token, Tokens, Wild, split

LONGEST_NUMBER = 18  # digits; a longer run of digits is no layer's index

_DIGITS = frozenset("0123456789")
_NUMBER = re.compile("[0-9]+")

Captures = tuple[tuple[str, int], ...]
_Placed = tuple[int, Captures]  # where a piece ends, and what it captured
_Piece = TypeVar("_Piece")


def _place_pieces(
    pieces: Sequence[_Piece],
    length: int,
    place: Callable[[_Piece, int], _Placed | None],
    last_starts: range,
) -> Captures | None:
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
    tokens: Tokens, text: str, start: int, required: tuple[str, int] | None
) -> _Placed | None:
    """Place tokens without a star at a position of a text."""
    position = start
    captures: list[tuple[str, int]] = []
    for token in tokens:
        if isinstance(token, Capture):
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
            if isinstance(token, OneOf) and not token.holds(text[position]):
                return None
            position += 1
    return position, tuple(captures)


@dataclass(frozen=True, eq=False)
class Segment:
    """What one segment of a name must look like: pieces with a star between each two."""

    pieces: tuple[Tokens, ...]
    literal: str | None

    @staticmethod
    def of(glob: str, tokens: Tokens) -> Segment:
        """Make a segment of tokens without dots; raises the `GlobError` of what never matches."""
        for left, right in pairwise(tokens):
            for capture, other in ((left, right), (right, left)):
                if isinstance(capture, Capture) and (
                    isinstance(other, Capture) or other in _DIGITS
                ):
                    raise GlobError(
                        glob,
                        f'"<{capture.name}>" takes every digit it touches, so that a digit or '
                        "another capture beside it never matches; write one capture",
                    )
        pieces = tuple(_join_literals(piece) for piece in split(tokens, Wild.MANY))
        literal = None
        if len(pieces) == 1 and len(pieces[0]) == 1 and isinstance(pieces[0][0], str):
            literal = pieces[0][0]
        return Segment(pieces, literal)


def _join_literals(tokens: Tokens) -> Tokens:
    joined: list[Token] = []
    for token in tokens:
        last = joined[-1] if joined else None
        if isinstance(token, str) and isinstance(last, str):
            joined[-1] = last + token
        else:
            joined.append(token)
    return tuple(joined)


@lru_cache(maxsize=1 << 16)
def match_segment(
    segment: Segment, text: str, required: tuple[str, int] | None = None
) -> Captures | None:
    """Give what a segment captures in a text, and None if it does not match all of it.

    With `required`, a name that is captured and the one number that it may be.
    """
    if not text:
        return None
    last = segment.pieces[-1]
    if any(isinstance(token, Capture) for token in last):
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
class SegmentPath:
    """One alternative of a pattern: pieces of whole segments with a `**` between each two."""

    pieces: tuple[tuple[Segment, ...], ...]
    repeated: tuple[str, int] | None  # the name that is captured more than once, and how often

    @staticmethod
    def of(glob: str, segments: Sequence[Tokens]) -> SegmentPath:
        """Make a path of the tokens of each segment, or raise a `GlobError`."""
        pieces: list[list[Segment]] = [[]]
        for tokens in segments:
            if tokens == (Wild.DEEP,):
                pieces.append([])
            elif Wild.DEEP in tokens:
                raise GlobError(
                    glob,
                    '"**" stands for whole segments; write "*" inside a segment, '
                    'or put dots around it, as in "a.**.b"',
                )
            elif not tokens:
                raise GlobError(glob, 'a segment is empty; write one dot, or "*" for any segment')
            else:
                pieces[-1].append(Segment.of(glob, tokens))
        names = Counter(
            token.name for tokens in segments for token in tokens if isinstance(token, Capture)
        )
        repeated = [(name, count) for name, count in names.items() if count > 1]
        if len(repeated) > 1:
            # With one name, each number of the text is tried; with more, their combinations.
            listed = " and ".join(f'"<{name}>"' for name, _ in repeated)
            raise GlobError(glob, f"{listed} are repeated; repeat one name at most")
        return SegmentPath(tuple(map(tuple, pieces)), repeated[0] if repeated else None)

    def match(self, segments: Sequence[str]) -> Captures | None:
        """Give what is captured in the segments of a name, and None if they do not match."""
        if self.repeated is None:
            return self._match(segments, None)
        name, count = self.repeated
        for number in _numbers(segments, at_least=count):
            captures = self._match(segments, (name, number))
            if captures is not None:
                return captures
        return None

    def _match(self, segments: Sequence[str], required: tuple[str, int] | None) -> Captures | None:
        length = len(segments)

        def place(piece: tuple[Segment, ...], start: int) -> _Placed | None:
            end = start + len(piece)
            if end > length:
                return None
            captures: Captures = ()
            for position, segment in enumerate(piece, start):
                if segment.literal is None:
                    found = match_segment(segment, segments[position], required)
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


def match_first(paths: Iterable[SegmentPath], segments: Sequence[str]) -> Captures | None:
    """Give what the first path that matches captures, and None if none does."""
    for path in paths:
        captures = path.match(segments)
        if captures is not None:
            return captures
    return None
