"""A lock as data: what each tensor of a model begins with, in an order that nothing moves."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from initpolicy.laws import Law
from initpolicy.lockfile.lawtext import write_law
from initpolicy.plans import Kind
from initpolicy.problems import Location

LOCK_VERSION = 1

Digests = Literal["values", "none"]


@dataclass(frozen=True)
class Entry:
    """One tensor of a lock."""

    name: str
    """The canonical name, from which its draws follow."""
    shape: tuple[int, ...]
    dtype: str
    """As `float32`."""
    kind: Kind
    persistent: bool
    """Whether a checkpoint holds it."""
    law: Law | None
    """What its values follow; None if it is left as it is, or recomputed."""
    constructor: str = ""
    """The class whose constructor makes its values, if one does."""
    gain: str = ""
    """The gain that followed from what follows the layer, and what it is for."""
    rule: str | None = None
    """The rule that decided: its note, or its selectors; None if no rule covers the tensor."""
    stream: str = ""
    """The name that its draws are made from, if it is not its own."""
    aliases: tuple[str, ...] = ()
    """The other names of a tied tensor."""
    digest: str | None = None
    """The digest of its values, where there is one."""
    steps: tuple[str, ...] = ()
    """The calibrations that change it after its draws."""

    @property
    def begins(self) -> str:
        """What it begins with, with every number in full.

        Equal texts are equal bits; equal laws need not be, since 0 and -0 are equal numbers.
        """
        if self.constructor:
            return f"constructor of {self.constructor}"
        return "keep" if self.law is None else write_law(self.law)

    @property
    def computed(self) -> bool:
        """Whether a module computes it from other tensors, which gives its values to rounding."""
        return self.kind == "parameter" and not self.persistent

    def to_json(self) -> dict[str, Any]:
        """The entry as plain data."""
        return {
            "name": self.name,
            "shape": list(self.shape),
            "dtype": self.dtype,
            "kind": self.kind,
            "persistent": self.persistent,
            "law": None if self.law is None else self.law.to_json(),
            "constructor": self.constructor,
            "gain": self.gain,
            "rule": self.rule,
            "stream": self.stream,
            "aliases": list(self.aliases),
            "digest": self.digest,
            "steps": list(self.steps),
        }


@dataclass(frozen=True)
class Calibrated:
    """A step after the draws."""

    call: str
    """The calibration with its arguments, as in `lsuv(tolerance=0.05)`."""
    rule: str
    """The note of its table in the policy, or its selectors."""
    data: str
    """The digest of its data; empty in a lock without digests."""

    def to_json(self) -> dict[str, Any]:
        """The step as plain data."""
        return {"call": self.call, "rule": self.rule, "data": self.data}


@dataclass(frozen=True)
class Lock:
    """The entries of a model's tensors, and what they were decided with.

    Entries lie in the natural order of their names, in which `h.2` comes before `h.10`.
    """

    entries: tuple[Entry, ...]
    seed: int
    draws: int
    """The version of the draws."""
    policy: str = ""
    """What the policy was called; no value depends on it."""
    title: str = ""
    variables: Mapping[str, float] = field(default_factory=dict[str, float])
    rules: Mapping[str, tuple[Location, ...]] = field(
        default_factory=dict[str, "tuple[Location, ...]"]
    )
    """For each rule that decided on a tensor the first line of each file where it did."""
    digests: Digests = "values"
    """Whether there are digests."""
    steps: tuple[Calibrated, ...] = ()
    """What is done with data after the draws, in order."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "entries", tuple(sorted(self.entries, key=_place)))
        object.__setattr__(self, "variables", dict(sorted(self.variables.items())))
        rules = {
            rule: tuple(sorted(places)) for rule, places in sorted(self.rules.items(), key=_first)
        }
        object.__setattr__(self, "rules", rules)

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    @cached_property
    def by_name(self) -> dict[str, Entry]:
        """Every entry under the canonical name of its tensor."""
        return {entry.name: entry for entry in self.entries}

    def to_json(self) -> dict[str, Any]:
        """The lock as plain data."""
        return {
            "lock": LOCK_VERSION,
            "draws": self.draws,
            "policy": self.policy,
            "title": self.title,
            "seed": self.seed,
            "digests": self.digests,
            "variables": dict(self.variables),
            "rules": {rule: list(map(str, places)) for rule, places in self.rules.items()},
            "steps": [step.to_json() for step in self.steps],
            "entries": [entry.to_json() for entry in self.entries],
        }


def natural(name: str) -> tuple[tuple[str, int], ...]:
    """A key for sorting in which numbers are numbers.

    >>> sorted(["h.10.b", "h.2.b", "h.a", "h"], key=natural)
    ['h', 'h.2.b', 'h.10.b', 'h.a']
    """
    texts = _NUMBER.split(name)
    return tuple(
        (text, int(number)) for text, number in zip(texts[::2], [*texts[1::2], "-1"], strict=True)
    )


# Longer rows of digits are no counts, and Python refuses to read very long ones.
_NUMBER = re.compile(r"(?<![0-9])([0-9]{1,18})(?![0-9])")


def _place(entry: Entry) -> tuple[tuple[tuple[str, int], ...], str]:
    return natural(entry.name), entry.name


def _first(item: tuple[str, tuple[Location, ...]]) -> tuple[list[Location], str]:
    return sorted(item[1]), item[0]
