"""A plan in few words: what each rule gave, and what was left as it is."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from initpolicy.plans import Decision, Plan

_NUMBER = re.compile(r"(?<![A-Za-z0-9_.])-?\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![A-Za-z0-9_])")
_PART = re.compile(r"(.*?)(?:parametrizations\.(\w+)\.original\d*|(\w+)_[gv])")
"""What torch calls the parameters from which it computes another one."""


@dataclass(frozen=True)
class Share:
    """The tensors that one rule gave values in one way."""

    rule: str
    initializer: str
    decisions: tuple[Decision, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """What the tensors are called inside their modules."""
        return _local_names(self.decisions)

    @property
    def law(self) -> str:
        """What the tensors begin as, or the range of it."""
        return ranged(decision.begins_as for decision in self.decisions)

    @property
    def values(self) -> int:
        """How many values the tensors have together."""
        return sum(decision.numel for decision in self.decisions)


@dataclass(frozen=True)
class Leftover:
    """Tensors of one kind and one type of module that were left as they are, for one reason."""

    kind: str
    module_type: str
    rule: str | None
    """The rule that says "keep"; None if no rule says anything."""
    decisions: tuple[Decision, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """What the tensors are called inside their modules."""
        return _local_names(self.decisions)

    @property
    def reason(self) -> str:
        """Why they were left."""
        them = "it" if len(self.decisions) == 1 else "them"
        return f"rule {self.rule} keeps {them}" if self.rule else f"no rule covers {them}"


def shares(plan: Plan) -> list[Share]:
    """What each rule gave, in the order in which the rules first decide something."""
    groups: dict[tuple[str, str, str], list[Decision]] = {}
    for decision in plan.given:
        winner = decision.winner
        # A plan read from JSON may fill a tensor without saying why.
        key = (winner.rule, winner.location.file, winner.initializer) if winner else ("", "", "")
        groups.setdefault(key, []).append(decision)
    ranks: dict[tuple[str, str], int] = {}
    for rule, file, _ in groups:
        ranks.setdefault((rule, file), len(ranks))
    ordered = sorted(groups.items(), key=lambda group: ranks[group[0][:2]])
    return [Share(rule, said, tuple(found)) for (rule, _, said), found in ordered]


def leftovers(plan: Plan) -> list[Leftover]:
    """What was left as it is, and why.

    What gets its values through a tensor that is computed from it is not left.
    """
    groups: dict[tuple[str, str, str | None], list[Decision]] = {}
    for decision in plan:
        if not decision.gives_values and not _is_set_through_another(decision, plan):
            rule = decision.winner and decision.winner.rule
            key = (decision.kind, decision.module_type, rule)
            groups.setdefault(key, []).append(decision)
    return [Leftover(*key, tuple(found)) for key, found in groups.items()]


def _is_set_through_another(decision: Decision, plan: Plan) -> bool:
    found = _PART.fullmatch(decision.name)
    if found is None or decision.winner is not None or decision.kind != "parameter":
        return False
    whole = plan.by_name.get(found[1] + (found[2] or found[3]))
    # Of parameters only those that are computed are not in checkpoints.
    return whole is not None and whole.gives_values and not whole.persistent


def _local_names(decisions: Iterable[Decision]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(decision.name.rpartition(".")[2] for decision in decisions))


def ranged(laws: Iterable[str]) -> str:
    """Several laws in one text: numbers that differ become ranges.

    >>> ranged(["N(0, 0.2041)", "N(0, 0.0204)", "N(0, 0.1)"])
    'N(0, 0.0204..0.2041)'
    >>> ranged(["N(0, 1)", "U(-1, 1)"])
    '2 laws'
    """
    distinct = list(dict.fromkeys(laws))
    if len(set(map(skeleton, distinct))) > 1:
        return f"{len(distinct)} laws"
    columns = zip(*(_NUMBER.findall(law) for law in distinct), strict=True)
    spans = [_span(sorted(set(column), key=float)) for column in columns]
    return _NUMBER.sub(lambda _: spans.pop(0), distinct[0])


def skeleton(law: str) -> str:
    """A law without its numbers, in which laws of one kind are alike.

    >>> skeleton("N(0, 0.2041)")
    'N(#, #)'
    """
    return _NUMBER.sub("#", law)


def _span(numbers: list[str]) -> str:
    return numbers[0] if len(numbers) == 1 else f"{numbers[0]}..{numbers[-1]}"


def count(number: int, noun: str) -> str:
    """A number with its noun.

    >>> count(1, "tensor"), count(7978856, "value")
    ('1 tensor', '7,978,856 values')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def totals(plan: Plan) -> str:
    """How much a plan fills.

    Parameters are counted apart from buffers: theirs is the number that a model is known by.
    """
    told: list[str] = []
    for kind, noun in (("parameter", "parameter tensor"), ("buffer", "buffer")):
        found = [decision for decision in plan.given if decision.kind == kind]
        if found:
            values = sum(decision.numel for decision in found)
            told.append(f"{count(len(found), noun)} ({count(values, 'value')})")
    return " and ".join(told) or "nothing"


def room(plan: Plan) -> int:
    """Bytes that a process takes for a while beside what it holds, if the model is sharded.

    Laws such as `orthogonal` make a tensor whole, one after the other, and keep what is held of it.
    A plan with steps is not for a model that is sharded.
    """
    import torch

    if plan.steps:
        return 0
    laws = ((d.law, d.shape, getattr(torch, d.dtype)) for d in plan.given)
    return max((law.room(shape, dtype) for law, shape, dtype in laws if law), default=0)


def in_bytes(size: int) -> str:
    """A size that a person can read.

    >>> in_bytes(512), in_bytes(32_375_112)
    ('512 bytes', '32.4 MB')
    """
    if size < 1000:
        return count(size, "byte")
    number = float(size)
    for unit in ("kB", "MB", "GB"):
        number /= 1000
        if number < 999.95:
            return f"{number:.1f} {unit}"
    return f"{number / 1000:,.1f} TB"
