"""Lists of globs, some of which exclude: which modules a rule is for, by name and by class."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeVar

from initpolicy.policy.glob.matching import Segment, match_segment
from initpolicy.policy.glob.patterns import NamePattern
from initpolicy.policy.glob.tokens import GlobError, Wild, expand

Pattern = TypeVar("Pattern")


def _sorted(
    items: str | Iterable[str], parse: Callable[[str], Pattern]
) -> tuple[tuple[str, ...], tuple[Pattern, ...], tuple[Pattern, ...]]:
    """Sort the items of a selector: as written, those that select, and those that exclude."""
    texts = (items,) if isinstance(items, str) else tuple(items)
    selecting = tuple([parse(text) for text in texts if not text.startswith("!")])
    excluding = tuple([parse(text[1:]) for text in texts if text.startswith("!")])
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
        return NameSelector(*_sorted(items, NamePattern.parse))

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
    alternatives: tuple[tuple[bool, Segment], ...]  # has a dot; what is matched

    @staticmethod
    def parse(text: str) -> _TypePattern:
        exact = text.startswith("=")
        glob = text[exact:]
        alternatives: list[tuple[bool, Segment]] = []
        for tokens in expand(glob, captures=False):
            if not tokens:
                raise GlobError(text, 'the name of a class is never empty; write "*" for any')
            if Wild.DEEP in tokens:
                raise GlobError(text, '"*" crosses dots in the name of a class; write "*"')
            alternatives.append(("." in tokens, Segment.of(text, tokens)))
        return _TypePattern(exact, tuple(alternatives))

    def match(self, cls: type) -> bool:
        for base in (cls,) if self.exact else cls.__mro__:
            if base is object:
                continue
            dotted = f"{base.__module__}.{base.__qualname__}"
            for has_dot, segment in self.alternatives:
                if match_segment(segment, dotted if has_dot else base.__name__) is not None:
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
    >>> TypeSelector.parse("*.selectors.Conv?d").match(Conv2d)
    True
    """

    texts: tuple[str, ...]
    _selecting: tuple[_TypePattern, ...] = field(compare=False, repr=False)
    _excluding: tuple[_TypePattern, ...] = field(compare=False, repr=False)

    @staticmethod
    def parse(items: str | Iterable[str]) -> TypeSelector:
        """Parse one glob or several, or raise the `GlobError` of the first that is not one."""
        return TypeSelector(*_sorted(items, _TypePattern.parse))

    def match(self, cls: type) -> bool:
        """Say whether a class is selected."""
        selected = not self._selecting or any(_match_type(item, cls) for item in self._selecting)
        return selected and not any(_match_type(item, cls) for item in self._excluding)


@lru_cache(maxsize=4096)
def _match_type(pattern: _TypePattern, cls: type) -> bool:
    return pattern.match(cls)
