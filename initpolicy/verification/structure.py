"""What is the same where draws must differ: slices of a tensor, and tensors of a model.

A slice or a tensor is known by its first 128 values. Two are the same if their values are, or their
negatives; and they share their draws if each value lies on the same side of the middle of its law
(or each on the other), as it does for copies that are scaled or mapped to another law.
"""

# The stubs of torch leave these functions without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from initpolicy.laws import Drawn, Law, Normal, Orthogonal, Stratified
from initpolicy.laws.base import Piece
from initpolicy.plans import Decision
from initpolicy.verification import scores
from initpolicy.verification.arrangements import Arrangements

Floats = npt.NDArray[np.float64]
Words = npt.NDArray[np.uint64]

LENGTH = 128
"""How many values a slice or a tensor is known by."""

MOST = 1 << 14
"""How many slices of each dimension are looked at."""

_WHOLE = -1
_CERTAIN = -40.0
_FEWEST = 48  # values whose sides are compared: fewer agree by chance


@dataclass(frozen=True, eq=False)
class _Owner:
    decision: Decision
    label: str
    values: Tensor = field(repr=False)
    atom: float
    """The log of the probability that two values are equal."""
    side: float
    """The log of the probability that two values lie on the same side."""
    arrangements: Arrangements | None = None
    """Those of a stratified tensor, whose values are no surprise but for their order."""

    @property
    def name(self) -> str:
        return f"{self.decision.name} ({self.label})" if self.label else self.decision.name

    @property
    def crossing(self) -> int:
        """How many values a row and a column have in common: one receptive field."""
        return self.values.numel() // math.prod(self.values.shape[:2])

    def alike(self, dim: int, length: int, weight: int, other: _Owner) -> float:
        """Bound the probability that a slice has the same `weight` values as one of `other`."""
        if self.arrangements is None:
            return weight * self.atom
        shape = self.values.shape
        each = self.values.numel() // (shape[0] * shape[1]) if dim == 1 else 1
        bound = self.arrangements.between if other is self else self.arrangements.given
        return bound(dim, length, each)


class _Known(NamedTuple):
    """What slices are known by."""

    words: Words  # of shape (slices, 2)
    signs: npt.NDArray[np.bool_]  # whether the negative of a slice has the words
    weights: npt.NDArray[np.int64]  # how many of its values count
    length: int


@dataclass
class _Class:
    """Slices of one kind and length, by what they are known by."""

    words: list[Words] = field(default_factory=list[Words])  # of shape (slices, 2)
    signs: list[npt.NDArray[np.bool_]] = field(default_factory=list[Any])
    weights: list[npt.NDArray[np.int64]] = field(default_factory=list[Any])
    owners: list[int] = field(default_factory=list[int])
    dims: list[int] = field(default_factory=list[int])


@dataclass(frozen=True)
class Same:
    """Slices of `one` that are the same as slices of `other`, which may be the same tensor."""

    one: Decision
    other: Decision
    log_p: float
    message: str
    code: str


class Structure:
    """Collects the pieces of a model, and finds what is the same."""

    def __init__(self) -> None:
        self._owners: list[_Owner] = []
        self._classes: dict[tuple[str, bool, int], _Class] = {}
        numbers = np.random.default_rng(20_260_101)
        self._factors = numbers.integers(0, 1 << 64, (LENGTH, 2), np.uint64) | np.uint64(1)

    @property
    def tests(self) -> int:
        """How many tests there are."""
        return len(self._classes)

    def add(self, decision: Decision, piece: Piece) -> None:
        """Take in a piece, if its law makes equal values a surprise."""
        law = _like(piece)
        values = piece.values.detach()
        if law is None or not values.is_floating_point() or not values.numel():
            return
        atom = math.log(min(1.0, 2 * scores.atoms(law, values.dtype)[0]))
        middle = scores.at(law, law.moments.mean, values.dtype)
        side = math.log((1 + min(1.0, middle) ** 2) / 2)
        owner = len(self._owners)
        even = Arrangements.of(piece.law, values) if isinstance(piece.law, Stratified) else None
        self._owners.append(_Owner(decision, piece.label, values, atom, side, even))
        for dim, matrix in _slices(values, isinstance(piece.law, Orthogonal)):
            length = matrix.shape[1]
            self._take("values", dim, owner, self._hashed(matrix))
            # In a whole matrix, and in rows that are evenly spread, sides go together.
            if length >= _FEWEST and not isinstance(piece.law, Orthogonal | Stratified):
                self._take("sides", dim, owner, _sides(law, matrix))

    def _take(self, what: str, dim: int, owner: int, known: _Known) -> None:
        found = self._classes.setdefault((what, dim != _WHOLE, known.length), _Class())
        found.words.append(known.words)
        found.signs.append(known.signs)
        found.weights.append(known.weights)
        found.owners.append(owner)
        found.dims.append(dim)

    def _hashed(self, matrix: Floats) -> _Known:
        """Hash each row to 128 bits, and its negative to the same."""
        weights = np.count_nonzero(matrix, axis=1)
        first = np.take_along_axis(matrix, (matrix != 0).argmax(1)[:, None], 1)
        negative = first[:, 0] < 0
        bits = np.ascontiguousarray(matrix * np.where(negative, -1.0, 1.0)[:, None] + 0.0)
        words = bits.view(np.uint64)
        words = words ^ (words >> np.uint64(29))
        factors = self._factors[: matrix.shape[1]]
        with np.errstate(over="ignore"):
            sums = [(words * factors[:, k]).sum(1, dtype=np.uint64) for k in range(2)]
        return _Known(np.stack(sums, 1), negative, weights, matrix.shape[1])

    def same(self) -> Iterator[Same]:
        """Give what is the same, with a bound on how probable that is; told once a pair."""
        told: set[tuple[int, int]] = set()
        # What is most like comes first: values before sides, tensors before slices.
        for (what, _, length), found in sorted(
            self._classes.items(), key=lambda item: (item[0][0] != "values", item[0][1])
        ):
            counts = [len(some) for some in found.words]
            owners, dims = np.repeat(found.owners, counts), np.repeat(found.dims, counts)
            index = np.concatenate([np.arange(number) for number in counts])
            signs, weights = np.concatenate(found.signs), np.concatenate(found.weights)
            pairs: dict[tuple[int, int], list[tuple[int, int]]] = {}
            for group in _groups(np.concatenate(found.words)):
                first = int(group[0])
                for other in group[1:].tolist():
                    key = int(owners[first]), int(owners[other])
                    pairs.setdefault(key, []).append((first, other))
            many = math.log(max(1.0, len(owners) * (len(owners) - 1)))
            for key, every in pairs.items():
                one, other = self._owners[key[0]], self._owners[key[1]]
                if key in told or _may_share(one.decision, other.decision):
                    continue
                both, shared = _surprising(every, dims, one, length) if one is other else (every, 0)
                if not both:
                    continue
                if what == "values":
                    weight = max(0, int(weights[[a for a, _ in both]].max()) - shared)
                    log_p = many + max(
                        owner.alike(dim, length, weight, another)
                        for owner, another, side in ((one, other, 0), (other, one, 1))
                        for dim in {int(dims[pair[side]]) for pair in both}
                    )
                else:
                    # The side of the first value is what the others are compared with.
                    log_p = many + max(0, length - 1 - shared) * max(one.side, other.side)
                first, second = both[0]
                negated = bool(signs[first] != signs[second])
                places = tuple((int(dims[k]), int(index[k])) for k in (first, second))
                yield Same(
                    other.decision,
                    one.decision,
                    log_p,
                    _tell(what, one, other, (places[0], places[1]), len(both), negated),
                    "IP612" if key[0] == key[1] else "IP613",
                )
                if log_p < _CERTAIN:
                    told.add(key)


def _surprising(
    pairs: list[tuple[int, int]], dims: npt.NDArray[np.int64], owner: _Owner, length: int
) -> tuple[list[tuple[int, int]], int]:
    """Leave out pairs of slices of one tensor that are the same values in the same places.

    Also gives how many values those that are left may have in common: a row and the column of its
    index share a receptive field.
    """
    along = [pair for pair in pairs if dims[pair[0]] == dims[pair[1]]]
    if along:
        return along, 0
    shared = owner.crossing
    if shared >= length or (owner.arrangements is not None and shared > 1):
        return [], 0
    return pairs, shared


def _groups(words: Words) -> Iterator[npt.NDArray[np.int64]]:
    order = np.lexsort((words[:, 1], words[:, 0]))
    ordered = words[order]
    equal = (ordered[1:] == ordered[:-1]).all(1)
    if not equal.any():
        return
    edges = np.flatnonzero(~equal) + 1
    for group in np.split(order, edges):
        if len(group) > 1:
            yield np.sort(group)


def _like(piece: Piece) -> Drawn | None:
    """The law of each element, if elements are as good as independent."""
    law: Law = piece.law
    if isinstance(law, Stratified):
        law = law.law
    if isinstance(law, Orthogonal) and piece.values.ndim > 1 and law.gain:
        rows = piece.values.shape[0]
        short, long = sorted((rows, piece.values.numel() // max(1, rows)))
        # Fewer angles than that are alike by chance.
        if short * long - short * (short + 1) // 2 < 2 * LENGTH:
            return None
        return Normal(0.0, abs(law.gain) / math.sqrt(long))
    if isinstance(law, Drawn) and law.moments.variance > 0:
        return law
    return None


def _slices(values: Tensor, whole_only: bool) -> Iterator[tuple[int, Floats]]:
    """The first values of the tensor, and of each slice along the first two dimensions."""
    flat = values.reshape(-1) if values.is_contiguous() else values[: LENGTH + 1].reshape(-1)
    if not values.is_contiguous() and values.ndim == 0:
        flat = values.reshape(-1)
    yield _WHOLE, _known(flat[None, :LENGTH])
    for dim in range(0 if whole_only else min(2, values.ndim)):
        size = values.shape[dim]
        if size < 2 or values.numel() == size:
            continue
        rest = values.numel() // (size * (1 if dim == 0 else values.shape[0]))
        some = values.narrow(dim, 0, min(size, MOST))
        if dim == 1:
            some = some[: math.ceil(LENGTH / rest)].movedim(1, 0)
        yield dim, _known(some.flatten(1)[:, :LENGTH])


def _known(values: Tensor) -> Floats:
    return cast("Floats", torch.nan_to_num(values.double().cpu()).numpy())


def _sides(law: Drawn, matrix: Floats) -> _Known:
    """Say of each value on which side of the law's middle it lies, in 128 bits."""
    mean = law.moments.mean
    symmetric = float(law.cdf(mean)) == 0.5
    upper = matrix > mean if symmetric else law.cdf(matrix) > 0.5
    flipped = upper[:, 0].copy()
    upper = upper ^ flipped[:, None]
    padded = np.zeros((len(upper), LENGTH), np.bool_)
    padded[:, : upper.shape[1]] = upper
    words = np.packbits(padded, axis=1).view(np.uint64).reshape(len(upper), 2)
    return _Known(words, flipped, np.full(len(upper), upper.shape[1]), upper.shape[1])


def _may_share(one: Decision, other: Decision) -> bool:
    """Whether two tensors name the same stream, and so are meant to have the same draws."""
    return one is not other and one.stream_name == other.stream_name


def _tell(
    what: str,
    one: _Owner,
    other: _Owner,
    places: tuple[tuple[int, int], tuple[int, int]],
    many: int,
    negated: bool,
) -> str:
    """Say that a place of `other` is the same as one of `one`; a place is a dimension and index."""
    (dim, _), (_, _) = places
    sign = "the negative of " if negated else ""
    if dim == _WHOLE:
        if what == "sides":
            return f"it has the same random numbers as {one.name}{_ratio(one, other)}"
        if one.values.numel() == other.values.numel() and _equal(one, other, negated):
            return f"it is {sign or 'a copy of '}{one.name}"
        return f"its first {LENGTH} values are {sign or 'those of '}{one.name}"
    first, second = (f"{('row', 'column')[kind]} {index}" for kind, index in places)
    whose = "" if one is other else f" of {one.name}"
    same = sign or "equal to " if what == "values" else "drawn from the same random numbers as "
    rest = f"; {many:,} pairs are such" if many > 1 else ""
    return f"{second} is {same}{first}{whose}{rest}"


def _equal(one: _Owner, other: _Owner, negated: bool) -> bool:
    first, second = one.values.reshape(-1), other.values.reshape(-1)
    return first.dtype == second.dtype and torch.equal(first, -second if negated else second)


def _ratio(one: _Owner, other: _Owner) -> str:
    """Say by what factor values differ, if it is one for all."""
    size = min(one.values.numel(), other.values.numel(), LENGTH)
    first, second = (o.values.reshape(-1)[:size].double().cpu() for o in (one, other))
    if bool((first == 0).any()):
        return ""
    ratio = second / first
    middle = float(ratio.median())
    spread = float((ratio - middle).abs().max())
    eps = max(torch.finfo(o.values.dtype).eps for o in (one, other))
    return f", times {middle:.4g}" if spread <= 4 * eps * abs(middle) else ""
