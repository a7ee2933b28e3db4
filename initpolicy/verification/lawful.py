"""Whether values follow a law, whoever drew them: what is impossible, and what is improbable."""

# The stubs of torch leave these functions without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from initpolicy.laws import Constant, DeltaOrthogonal, Drawn, Law, Normal, Orthogonal, Sparse
from initpolicy.laws.base import Piece, short
from initpolicy.laws.bases import centre
from initpolicy.verification import chance, scores

Floats = npt.NDArray[np.float64]

MOST = 1 << 20  # values of a tensor that tests of chance look at; support checks see all
_BLOCK = 1 << 20  # values whose support is checked at a time
_CHUNKS = 256  # pieces, evenly spread, that make up a sample of a larger tensor
_DISTINCT = 1 << 16  # values that are counted by how many are distinct
_SIDE = 128  # rows of a matrix whose singular values are found
_TAILS = 12  # tails of probability 1/2, 1/4, ... on both sides


@dataclass(frozen=True)
class Test:
    """One test of chance: the log of a bound on its probability, and what to say if it fails."""

    log_p: float
    code: str
    tell: Callable[[], str]


class Sample(NamedTuple):
    """Values that are independent and follow one law, if the tensor follows its own."""

    law: Drawn
    values: Floats
    """In the shape of the piece, or of one dimension if some are left out."""
    dtype: torch.dtype | None
    """The type that they were rounded to; None if they were computed from such values."""


def impossible(law: Law, values: Tensor) -> list[str]:
    """Say what is certain: values outside the support, constants, orthogonality, counts.

    >>> impossible(Constant(0.0), torch.tensor([0.0, 1.0]))
    ['1 of 2 values is not 0']
    """
    if not isinstance(law, Drawn | Constant) or values.numel() <= _BLOCK:
        return list(law.check(values)) if values.numel() else []
    flat = values.reshape(-1)
    for block in flat.split(_BLOCK):
        if not _inside(law, block) and law.check(block):
            return list(law.check(flat))
    return []


def _inside(law: Law, block: Tensor) -> bool:
    """Whether all values are numbers well within the support; to know that takes one reading."""
    if block.dtype.itemsize < 2 or not block.is_floating_point():
        return False
    least, most = (float(bound) for bound in torch.aminmax(block))
    low, high = law.support
    return math.isfinite(least) and math.isfinite(most) and low <= least and most <= high


def farthest(law: Law, values: Tensor) -> str:
    """Say where the value is that is farthest outside the support, if one is."""
    if isinstance(law, Constant) or not values.numel() or not values.is_floating_point():
        return ""
    wide = values.detach().double()
    low, high = law.support
    outside = torch.maximum(wide - high, low - wide).nan_to_num(math.inf, math.inf)
    place = int(outside.argmax())
    if not float(outside.reshape(-1)[place]) > 0:
        return ""
    index = [int(i) for i in np.unravel_index(place, values.shape)] if values.ndim else []
    value = float(wide.reshape(-1)[place])
    return f"; the worst is {value:.6g}" + (f" at {index}" if index else "")


def sample_of(piece: Piece, noise: np.random.Generator) -> Sample | None:
    """Give what is independent in a piece; None where that is not known."""
    law, values = piece.law, piece.values.detach()
    if isinstance(law, DeltaOrthogonal):
        law, values = Orthogonal(law.gain), centre(values)
    if isinstance(law, Drawn):
        if law.moments.variance == 0:
            return None
        return Sample(law, _floats(_some(values)), values.dtype)
    if isinstance(law, Sparse) and law.std:
        kept = _floats(_some(values)).reshape(-1)
        return Sample(Normal(0.0, law.std), kept[kept != 0], values.dtype)
    if isinstance(law, Orthogonal) and law.gain and values.ndim > 1:
        return Sample(Normal(0.0, 1.0), _whitened(_floats(values), law.gain, noise), None)
    return None


def _floats(values: Tensor) -> Floats:
    return cast("Floats", values.double().cpu().numpy())


def _some(values: Tensor) -> Tensor:
    """All values of a small tensor, and of a large one pieces that are evenly spread."""
    if values.numel() <= MOST:
        return values
    flat = values.reshape(-1)
    size = MOST // _CHUNKS
    starts = np.linspace(0, flat.numel() - size, _CHUNKS).astype(np.int64)
    return torch.cat([flat[start : start + size] for start in starts.tolist()])


def _whitened(values: Floats, gain: float, noise: np.random.Generator) -> Floats:
    """Turn a uniformly random orthogonal matrix into independent standard normals.

    A normal matrix is L Q, where Q is uniform, and L independent of it: a lower triangle of
    normals, with chi-distributed numbers on its diagonal (M. S. Bartlett, 1933). So to multiply by
    a random L turns Q, and nothing but such a Q, into a normal matrix.
    """
    matrix = values.reshape(values.shape[0], -1) / gain
    matrix = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    rows, columns = min(matrix.shape[0], _SIDE), matrix.shape[1]
    factor = np.tril(noise.standard_normal((rows, rows)), -1)
    degrees = columns - np.arange(rows)
    factor[np.diag_indices(rows)] = np.sqrt(noise.chisquare(degrees))
    return factor @ matrix[:rows]


def tests(piece: Piece, noise: np.random.Generator) -> tuple[list[Test], int | None]:
    """Give the tests of a piece, and how many values its std was judged by."""
    sample = sample_of(piece, noise)
    if sample is None or sample.values.size == 0:
        return [], None
    finite = np.isfinite(sample.values)
    whole = bool(finite.all())
    values = sample.values if whole else sample.values[finite]
    if values.size == 0:
        return [], None
    law, dtype = sample.law, sample.dtype
    kind = dtype or torch.float32
    uniform = scores.uniform_scores(law, values, kind, noise)
    z = scores.normal_scores(law, values, uniform, kind)
    found = list(_moments(law, values, z))
    found.append(_shape(law, uniform))
    if z.ndim > 1:
        found += [*_slices(z), *_spectrum(z)]
    if dtype is not None:
        found.append(_resolution(law, values.reshape(-1), dtype))
        if isinstance(piece.law, Drawn):
            found.append(_zeros(law, piece.values, dtype))
    return found, values.size


_SEGMENTS = (
    ("", 0, 4),
    (" of the first half", 0, 2),
    (" of the second half", 2, 4),
    *((f" of quarter {k + 1}", k, k + 1) for k in range(4)),
)


def _segments(count: int) -> Iterator[tuple[str, slice]]:
    for name, start, stop in _SEGMENTS if count >= 64 else _SEGMENTS[:1]:
        yield name, slice(start * count // 4, stop * count // 4)


def _moments(law: Drawn, values: Floats, z: Floats) -> Iterator[Test]:
    """Mean and std, of the tensor and of its halves and quarters."""
    flat, raw = z.reshape(-1), values.reshape(-1)
    places = list(_segments(flat.size))
    means = [
        chance.normal(flat[part].sum() / math.sqrt(flat[part].size)).item() for _, part in places
    ]
    spreads = [
        chance.squares(np.square(flat[part]).sum(), flat[part].size).item() for _, part in places
    ]
    moments = law.moments

    def tell(logs: list[float], what: str, of: Callable[[Floats], float], due: float) -> str:
        name, part = places[int(np.argmin(logs))]
        return f"the {what}{name} is {of(raw[part]):.4g}, and the law's is {short(due)}"

    def spread(some: Floats) -> float:
        return math.sqrt(float(np.square(some - moments.mean).mean()))

    share = math.log(len(places))
    yield Test(
        min(means) + share,
        "IP606",
        lambda: tell(means, "mean", lambda some: float(some.mean()), moments.mean),
    )
    yield Test(min(spreads) + share, "IP607", lambda: tell(spreads, "std", spread, moments.std))


def _shape(law: Drawn, uniform: Floats) -> Test:
    """The distribution function, and how many values lie in its tails."""
    flat = uniform.reshape(-1)
    logs: list[float] = []
    texts: list[str] = []
    for name, part in _segments(flat.size):
        ordered = np.sort(flat[part])
        size = ordered.size
        steps = np.arange(size + 1) / size
        gap = float(max((steps[1:] - ordered).max(), (ordered - steps[:-1]).max()))
        logs.append(chance.distance(gap, size))
        texts.append(
            f"the distribution{name} is {gap:.3g} from that of {law}, at most {_due(size)}"
        )
    ordered = np.sort(flat)
    edges = 0.5 ** np.arange(1, _TAILS + 1)
    below = np.searchsorted(ordered, edges)
    above = flat.size - np.searchsorted(ordered, 1 - edges)
    for edge, low, high in zip(edges.tolist(), below.tolist(), above.tolist(), strict=True):
        for found, side in ((low, "lowest"), (high, "highest")):
            logs.append(chance.count(found, flat.size, edge))
            texts.append(
                f"{found:,} of {flat.size:,} values lie in the {side} {100 * edge:.3g} % of {law}, "
                f"and {flat.size * edge:,.0f} should"
            )
    worst = int(np.argmin(logs))
    return Test(logs[worst] + math.log(len(logs)), "IP608", lambda: texts[worst])


def _due(size: int) -> str:
    return f"{math.sqrt(30 / (2 * size)):.2g} is usual"


def _slices(z: Floats) -> Iterator[Test]:
    """Mean and std of each slice along the first two dimensions."""
    logs: list[float] = []
    texts: list[Callable[[], str]] = []
    for axis in range(min(2, z.ndim)):
        if z.shape[axis] < 2:
            continue
        matrix = np.moveaxis(z, axis, 0).reshape(z.shape[axis], -1)
        size = matrix.shape[1]
        kinds = (
            ("mean", chance.normal(matrix.sum(1) / math.sqrt(size)), matrix.mean(1)),
            ("std", chance.squares(np.square(matrix).sum(1), size), matrix.std(1)),
        )
        for what, each, seen in kinds:
            worst = int(np.argmin(each))
            logs.append(float(each[worst]) + math.log(len(each)))
            where = f"{'row' if axis == 0 else 'column'} {worst}"
            number = float(seen[worst])
            due = "0 sigma" if what == "mean" else "1 sigma"
            texts.append(
                lambda where=where, what=what, number=number, due=due: (
                    f"{where} has a {what} of {number:.3g} sigma, and {due} is due"
                )
            )
    if logs:
        worst = int(np.argmin(logs))
        yield Test(logs[worst] + math.log(len(logs)), "IP610", lambda: texts[worst]())


def _spectrum(z: Floats) -> Iterator[Test]:
    """The largest and the smallest singular value: rank, and rows that go together."""
    matrix = z.reshape(z.shape[0], -1)[:_SIDE, : 4 * _SIDE]
    rows, columns = matrix.shape
    if min(rows, columns) < 4:
        return
    side = torch.from_numpy(np.ascontiguousarray(matrix if rows <= columns else matrix.T))
    squares = torch.linalg.eigvalsh(side @ side.mT)
    smallest, largest = math.sqrt(max(0.0, float(squares[0]))), math.sqrt(float(squares[-1]))
    low = max(0.0, abs(math.sqrt(columns) - math.sqrt(rows)))
    high = math.sqrt(columns) + math.sqrt(rows)
    yield Test(
        chance.singular(smallest, largest, rows, columns),
        "IP614",
        lambda: (
            f"singular values of {rows} x {columns} elements lie between {smallest:.3g} and "
            f"{largest:.3g} sigma, and independent ones between {low:.3g} and {high:.3g}: rows or "
            "columns depend on each other"
        ),
    )


def _resolution(law: Drawn, values: Floats, dtype: torch.dtype) -> Test:
    """How many distinct values there are."""
    some = values[:_DISTINCT] if values.size > _DISTINCT else values
    found = np.unique(some).size
    due = scores.distinct(law, dtype, some.size)
    return Test(
        chance.lacking(due - found, some.size),
        "IP611",
        lambda: (
            f"{some.size:,} values are {found:,} distinct ones, and {due:,.0f} or more are due: "
            f"they lie on a coarser grid than that of {str(dtype).removeprefix('torch.')}"
        ),
    )


def _zeros(law: Drawn, values: Tensor, dtype: torch.dtype) -> Test:
    """How many values are exactly 0."""
    total = values.numel()
    zeros = total - int(torch.count_nonzero(values if dtype.itemsize > 1 else values.float()))
    low, high = law.support
    probability = scores.at(law, 0.0, dtype) if low <= 0 <= high else 0.0
    return Test(
        chance.at_least(zeros, total, probability),
        "IP609",
        lambda: f"{zeros:,} of {total:,} values are exactly 0, and {law} gives hardly any",
    )


def visible(size: int, level: float) -> float:
    """Give the relative deviation of std that is seen with 99 % certainty.

    `size` values are judged, and a test must fall below `level`, the log of a probability.

    >>> round(visible(100_000, math.log(1e-12)), 3), visible(2, math.log(1e-12)) > 10
    (0.023, True)
    """
    level -= math.log(len(_SEGMENTS) if size >= 64 else 1)
    low, high = 1.0, 2.0
    while chance.squares(high * size, size) > level:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (
            (low, middle) if chance.squares(middle * size, size) <= level else (middle, high)
        )
    # The lowest hundredth of a chi-square variable, by E. B. Wilson and M. M. Hilferty (1931).
    spread = 2 / (9 * size)
    least = 1 - spread - 2.326348 * math.sqrt(spread)
    return math.inf if least <= 0 else math.sqrt(high / least**3) - 1
