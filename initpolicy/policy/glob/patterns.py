"""One glob over names, of modules or of what is in one of them: parsed once, then matched."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from initpolicy.policy.glob.matching import Captures, SegmentPath, match_first
from initpolicy.policy.glob.tokens import GlobError, OneOf, Wild, captured_names, expand, split


@dataclass(frozen=True)
class _Pattern:
    text: str
    captures: frozenset[str] = field(compare=False, repr=False)
    _paths: tuple[SegmentPath, ...] = field(compare=False, repr=False)


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
        initpolicy.policy.glob.tokens.GlobError: glob "h**.conv": "**" stands for whole segments;
        write "*" inside a segment, or put dots around it, as in "a.**.b"
        """
        return _parse_name(text)

    def match(self, name: str) -> dict[str, int] | None:
        """Give the captured numbers if the whole name matches, and None if it does not."""
        captures = _match_name(self._paths, name)
        return None if captures is None else dict(captures)


@lru_cache(maxsize=1 << 16)
def _match_name(paths: tuple[SegmentPath, ...], name: str) -> Captures | None:
    return match_first(paths, name.split(".") if name else [])


@lru_cache(maxsize=1024)
def _parse_name(text: str) -> NamePattern:
    alternatives = expand(text)
    for tokens in alternatives:
        sets = [token for token in tokens if isinstance(token, OneOf)]
        if any("." in bounds for members in sets for bounds in members.ranges):
            raise GlobError(text, 'a set never holds the dot; write "." between segments')
    paths = tuple(
        SegmentPath.of(text, split(tokens, ".") if tokens else []) for tokens in alternatives
    )
    return NamePattern(text, captured_names(alternatives), paths)


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
        initpolicy.policy.glob.tokens.GlobError: glob "attn.bias": the name of a parameter has no
        dot; select the module by its name, and write what comes after the last dot
        """
        return _parse_word(text)

    def match(self, word: str) -> dict[str, int] | None:
        """Give the captured numbers if the whole word matches, and None if it does not."""
        captures = match_first(self._paths, [word])
        return None if captures is None else dict(captures)


@lru_cache(maxsize=1024)
def _parse_word(text: str) -> WordPattern:
    alternatives = expand(text)
    for tokens in alternatives:
        if not tokens:
            raise GlobError(text, 'the name of a parameter is never empty; write "*" for any')
        if "." in tokens:
            raise GlobError(
                text,
                "the name of a parameter has no dot; select the module by its name, "
                "and write what comes after the last dot",
            )
        if Wild.DEEP in tokens:
            raise GlobError(text, 'the name of a parameter has one segment; write "*" for "**"')
    paths = tuple(SegmentPath.of(text, [tokens]) for tokens in alternatives)
    return WordPattern(text, captured_names(alternatives), paths)
