"""The tensors of a plan as the tree of modules, in which a run of like modules is one branch."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from initpolicy.plans import Decision, Plan
from initpolicy.report.summary import skeleton

_NUMBERED = re.compile(r"(.*?)(\d{1,9})")
_LONGEST_PERIOD = 6


@dataclass(frozen=True)
class Tensors:
    """The tensors of one name in modules that are alike."""

    name: str
    decisions: tuple[Decision, ...]


@dataclass(frozen=True)
class Branch:
    """One module, or several modules that are alike, with all that is below."""

    names: tuple[str, ...]
    """The last segments of their names."""
    type: str
    """The class; empty if it is not known."""
    tensors: tuple[Tensors, ...]
    branches: tuple[Branch, ...]

    @property
    def title(self) -> str:
        """The modules in a few words.

        >>> Branch(("0", "1", "2", "3"), "", (), ()).title
        '0\N{EN DASH}3'
        >>> Branch(("conv0", "conv2", "conv4"), "", (), ()).title
        'conv0, conv2 ... conv4'
        """
        if len(self.names) == 1:
            return self.names[0]
        (stem, first), *_, (_, last) = (_numbered(name) or ("", 0) for name in self.names)
        if last - first + 1 == len(self.names):
            return f"{stem}{first}\N{EN DASH}{last}"
        return f"{self.names[0]}, {self.names[1]} ... {self.names[-1]}"

    def __iter__(self) -> Iterator[Decision]:
        """Every decision in it."""
        for tensors in self.tensors:
            yield from tensors.decisions
        for branch in self.branches:
            yield from branch


@dataclass
class _Node:
    name: str
    type: str
    decisions: list[Decision] = field(default_factory=list[Decision])
    children: dict[str, _Node] = field(default_factory=dict[str, "_Node"])
    kind: int = 0
    """The same for nodes that are alike."""


def tree(plan: Plan, classes: Mapping[str, str]) -> Branch:
    """The tree of a plan; `classes` names the class of each module, by the name of the module.

    Modules without tensors are left out. Modules are alike if they have the same classes, tensors
    of the same names, and rules and initializers that are the same; sizes and numbers may differ.
    """
    root = _Node("", classes.get("", ""))
    for decision in plan:
        node, path = root, ""
        *parents, _ = decision.name.split(".")
        for name in parents:
            path = f"{path}.{name}" if path else name
            node = node.children.setdefault(name, _Node(name, classes.get(path, "")))
        node.type = node.type or decision.module_type
        node.decisions.append(decision)
    _compare(root, {})
    return _branch([root], ("",))


def _compare(node: _Node, known: dict[Hashable, int]) -> None:
    """Give all nodes that are alike the same number, from the leaves on."""
    for child in node.children.values():
        _compare(child, known)
    own = tuple(
        (
            decision.name.rpartition(".")[2],
            decision.kind,
            decision.dtype,
            len(decision.shape),
            decision.winner,
            skeleton(decision.begins_as),
        )
        for decision in node.decisions
    )
    below = tuple((child.name, child.kind) for child in node.children.values())
    node.kind = known.setdefault((node.type, own, below), len(known))


def _branch(alike: Sequence[_Node], names: tuple[str, ...]) -> Branch:
    children = [list(node.children.values()) for node in alike]
    first = children[0]
    tensors = [
        Tensors(decision.name.rpartition(".")[2], tuple(node.decisions[place] for node in alike))
        for place, decision in enumerate(alike[0].decisions)
    ]
    branches = [
        _branch(
            [others[place] for others in children for place in places],
            tuple(first[place].name for place in places),
        )
        for places in runs([(child.name, child.kind) for child in first])
    ]
    return Branch(names, alike[0].type, tuple(tensors), tuple(branches))


def runs(named: Sequence[tuple[str, int]]) -> list[list[int]]:
    """Which places of a row of numbered things are alike, also if several kinds alternate.

    >>> runs([("0", 5), ("1", 5), ("2", 5), ("norm", 5)])
    [[0, 1, 2], [3]]
    >>> runs([("0", 1), ("1", 2), ("3", 1), ("4", 2), ("6", 1), ("7", 2)])
    [[0, 2, 4], [1, 3, 5]]
    """
    keys: list[Hashable] = []
    for place, (name, kind) in enumerate(named):
        numbered = _numbered(name)
        keys.append((numbered[0], kind) if numbered else place)
    found: list[list[int]] = []
    start = 0
    while start < len(keys):
        period, times = max(
            ((period, _times(keys, start, period)) for period in range(1, _LONGEST_PERIOD + 1)),
            key=lambda one: (one[0] * one[1] if one[1] > 1 else 0, -one[0]),
        )
        if times == 1:
            period = 1
        found += [
            [start + offset + period * turn for turn in range(times)] for offset in range(period)
        ]
        start += period * times
    return found


def _times(keys: Sequence[Hashable], start: int, period: int) -> int:
    """How often the next things repeat."""
    stop = start + period
    while stop < len(keys) and keys[stop] == keys[stop - period]:
        stop += 1
    return max(1, (stop - start) // period)


def _numbered(name: str) -> tuple[str, int] | None:
    match = _NUMBERED.fullmatch(name)
    return (match[1], int(match[2])) if match else None
