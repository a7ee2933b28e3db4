"""What every initializer promises, as functions that say where one breaks its promise.

Each takes an initializer with its arguments and a tensor, and yields what is wrong and what to do.
"""

# The stubs of torch and numpy leave these functions without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from initpolicy import field
from initpolicy.laws import Drawn, Law, LawError, Moments, Part, from_json, keeps_some
from initpolicy.testing import statistics
from initpolicy.testing.draws import STREAMS, Broken, drawn, empty, in_bounds, named, same
from initpolicy.testing.tensors import Case, Shape


def determinism(case: Case) -> Iterator[Broken]:
    """The same law and the same bits each time, and no global generator is asked."""
    if case.lower() != case.law:
        yield Broken(
            "IP553",
            f"the same arguments give {named(case.law)}, and then {named(case.lower())}",
            "make the law of the arguments and the facts alone, a frozen dataclass",
        )
        return
    before = _states()
    first = drawn(case.law, empty(case), STREAMS[0])
    asked = [name for name, state in _states().items() if state != before[name]]
    if asked:
        yield Broken(
            "IP553",
            f"the draws advance the global generator of {' and '.join(asked)}",
            "take every draw from the stream that the law is given",
        )
    elif not same(first, drawn(case.law, empty(case), STREAMS[0])):
        yield Broken(
            "IP553",
            f"the law {named(case.law)}, drawn twice from one stream, gives two tensors",
            "take every draw from the stream that the law is given",
        )


def _states() -> dict[str, object]:
    kind, keys, *rest = np.random.get_state()
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": (kind, np.asarray(keys).tobytes(), *rest),
        "Python": random.getstate(),
    }


def completeness(case: Case) -> Iterator[Broken]:
    """Every element is written, whatever was there before and however it lies in memory."""
    first = drawn(case.law, empty(case), STREAMS[0])
    if not keeps_some(case.law):
        other = drawn(case.law, empty(case, canvas=math.nan), STREAMS[0])
        left = int((torch.isnan(other) & ~torch.isnan(first)).sum())
        if left or not same(first, other):
            yield Broken(
                "IP554",
                f"{left or 'some'} of {first.numel()} values depend on what the memory held before",
                "write every element in `fills` or in `write`",
            )
            return
    if first.ndim >= 2:
        turned = torch.full(case.shape[::-1], 7.0).to(case.dtype).permute(*range(first.ndim)[::-1])
        if not same(first, drawn(case.law, turned, STREAMS[0])):
            yield Broken(
                "IP554",
                "a tensor that lies otherwise in memory gets other values",
                "count elements row by row, as `tensor.shape` has them, whatever the strides are",
            )


def bounds(case: Case) -> Iterator[Broken]:
    """Values lie in the support; `check` passes them, and would not pass others."""
    if isinstance(case.law, Drawn):
        low, high = case.law.support
        inside = float(case.law.cdf(high)) if math.isfinite(high) else 1.0
        below = float(case.law.cdf(math.nextafter(low, -math.inf))) if math.isfinite(low) else 0.0
        if below > 1e-9 or inside < 1 - 1e-9:
            yield Broken(
                "IP555",
                f"{named(case.law)} has the support [{low:.4g}, {high:.4g}], and its `cdf` gives "
                f"values outside it the probability {below + 1 - inside:.2g}",
                "correct `support`, or `cdf`",
            )
            return
    values = drawn(case.law, empty(case), STREAMS[0])
    yield from in_bounds(case.law, values, "draws")
    if not values.numel() or keeps_some(case.law):
        return
    spoiled = values.clone()
    spoiled.view(-1)[-1] = math.nan
    if not case.law.check(spoiled):
        yield Broken(
            "IP555",
            f"`check` of {named(case.law)} finds nothing wrong with a NaN",
            "let `check` count values that are not finite",
        )
    beyond = _beyond(case.law.support, case.dtype)
    if beyond is not None:
        spoiled.view(-1)[-1] = beyond
        if not case.law.check(spoiled):
            yield Broken(
                "IP555",
                f"`check` of {named(case.law)} finds nothing wrong with {beyond:.4g}, outside its "
                "support",
                "let `check` compare values with the support",
            )


def _beyond(support: tuple[float, float], dtype: torch.dtype) -> float | None:
    """Give a value that is certainly outside the support, if there is one."""
    low, high = support
    if dtype.is_complex or math.isinf(high):
        return None
    value = high + max(1.0, abs(high), high - low if math.isfinite(low) else 0.0)
    return value if value < torch.finfo(dtype).max else None


def dependence(case: Case) -> Iterator[Broken]:
    """Draws differ from name to name and from seed to seed, and without chance nothing does."""
    tensors = [drawn(case.law, empty(case), stream) for stream in STREAMS]
    alike = all(same(tensors[0], other) for other in tensors[1:])
    moments = case.law.moments
    if not case.law.is_drawn and not alike:
        yield Broken(
            "IP556",
            f"{named(case.law)} says that nothing is drawn, and depends on the stream",
            "set `is_drawn = True` on the class of the law",
        )
    # Two float32 draws are equal by chance once in 2^20 at most, four of them never.
    visible = case.dtype in (torch.float32, torch.float64) and tensors[0].numel()
    if case.law.is_drawn and alike and visible and moments and statistics.resolved(moments):
        yield Broken(
            "IP556",
            f"{named(case.law)} gives tensors of other names, and under other seeds, the same "
            "values",
            "draw from the stream that the law is given, or set `is_drawn = False`",
        )


def order(case: Case) -> Iterator[Broken]:
    """What a tensor gets does not depend on which others are filled before it, or with it."""
    law = case.law
    alone = [drawn(law, empty(case), stream) for stream in STREAMS]
    together = [empty(case) for _ in STREAMS]
    pairs = list(zip(together, STREAMS, strict=True))[::-1]
    with torch.no_grad():
        field.fill([fill for tensor, stream in pairs for fill in law.fills(tensor, stream)])
        for tensor, stream in pairs:
            law.write(tensor, stream)
    if not all(map(same, alone, together)):
        yield Broken(
            "IP557",
            "a tensor gets other values with others, in another order, than alone",
            "keep nothing between draws: a value follows from the stream and its own place",
        )


def independence_of_type(case: Case) -> Iterator[Broken]:
    """Values of each type are those of a wider one, rounded once."""
    wide = case.dtype
    if wide.is_complex or not wide.is_floating_point:
        return
    pairs = [(torch.float64, torch.float32), (torch.float32, torch.bfloat16)]
    pairs.append((torch.float32, torch.float16))
    for wide, narrow in pairs:
        try:
            for dtype in (wide, narrow):
                case.law.validate(case.shape, dtype)
        except LawError:
            continue
        exact = drawn(case.law, empty(case, dtype=wide), STREAMS[0])
        found = drawn(case.law, empty(case, dtype=narrow), STREAMS[0])
        if not _is_rounded(case.law, exact, found):
            names = [str(dtype).removeprefix("torch.") for dtype in (narrow, wide)]
            yield Broken(
                "IP558",
                f"the values in {names[0]} are not those in {names[1]}, rounded once",
                "draw in float32 and convert once; take no word of the stream for the type",
            )
            return


def _is_rounded(law: Law, exact: Tensor, found: Tensor) -> bool:
    if same(exact.to(found.dtype), found):
        return True
    # A value that would be rounded out of the support is moved to the next one within it. Laws of
    # whole matrices are computed in each type anew, and accumulate its errors.
    whole = law.room(tuple(found.shape), found.dtype) > 0
    info = torch.finfo(found.dtype)
    error = (exact.double() - found.double()).abs()
    scale = exact.double().abs()
    if whole:
        allowed = 64 * info.eps * scale.max() if scale.numel() else scale
    else:
        low, high = law.support
        outside = (exact.to(found.dtype).double() < low) | (exact.to(found.dtype).double() > high)
        allowed = torch.where(outside, info.eps * scale + info.smallest_normal, 0.0)
        error = torch.where(exact.to(found.dtype) == found, 0.0, error)
    return bool((error <= allowed).all())


def shards(case: Case) -> Iterator[Broken]:
    """A part of a tensor has the bits that the whole has there."""
    whole = drawn(case.law, empty(case), STREAMS[0]).reshape(-1)
    for name, indices in _divisions(case.shape):
        held = torch.full((len(indices),), 7.0).to(case.dtype)
        runs = _runs(indices)
        part = Part(held, case.shape, runs)
        with torch.no_grad():
            field.fill(case.law.fills_part(part, STREAMS[0]))
            case.law.write_part(part, STREAMS[0])
        if not same(held, whole[indices]):
            yield Broken(
                "IP559",
                f"{name} gets other values by itself than as a part of the whole tensor",
                "leave `fills_part` and `write_part` to `Law`, or number elements as in the whole",
            )
            return


def _divisions(shape: Shape) -> Iterator[tuple[str, Tensor]]:
    """Some parts, each by the indices of its elements."""
    indices = torch.arange(torch.Size(shape).numel())
    half = len(indices) // 2
    yield "the second half of its elements", indices[half:]
    yield "every third of its elements", indices[1::3]
    yield "an empty part", indices[:0]
    if len(shape) >= 2:
        columns = indices.view(shape).narrow(1, 0, (shape[1] + 1) // 2)
        yield "the first half of its columns", columns.reshape(-1)


def _runs(indices: Tensor) -> field.Runs:
    if not len(indices):
        return field.Runs.one(0, 0)
    breaks = torch.nonzero(indices[1:] != indices[:-1] + 1).flatten()
    starts = torch.cat([indices[:1], indices[breaks + 1]])
    stops = torch.cat([indices[breaks] + 1, indices[-1:] + 1])
    return field.Runs.of(list(zip(starts.tolist(), stops.tolist(), strict=True)))


def scaling(case: Case) -> Iterator[Broken]:
    """The law of twice the values has twice the values and moments."""
    try:
        twice = case.law.scaled(2.0)
        twice.validate(case.shape, case.dtype)
    except LawError:
        return
    moments, scaled = case.law.moments, twice.moments
    if moments is not None:
        wanted = Moments(2 * moments.mean, 4 * moments.variance)
        if scaled is None or not (
            math.isclose(scaled.mean, wanted.mean, rel_tol=1e-6, abs_tol=1e-6 * wanted.std)
            and math.isclose(scaled.variance, wanted.variance, rel_tol=1e-6)
        ):
            yield Broken(
                "IP560",
                f"{named(case.law)} times 2 is {named(twice)}, whose moments are not those of "
                "twice the values",
                "let `scaled` give the law of `factor` times the values",
            )
            return
    values = drawn(case.law, empty(case), STREAMS[0])
    doubled = drawn(twice, empty(case), STREAMS[0])
    info = torch.finfo(case.dtype)
    error = (doubled - 2 * values).abs().nan_to_num(0.0, posinf=0.0)
    size = values.abs().nan_to_num(0.0, posinf=0.0)
    size = float(size.max()) if size.numel() else 0.0
    off = error > 8 * info.eps * size + 8 * info.smallest_normal
    if bool(off.any()) and not keeps_some(case.law):
        yield Broken(
            "IP560",
            f"{named(case.law)} times 2 is {named(twice)}, which does not draw twice the values",
            "let `scaled` give the law of `factor` times the values",
        )


def survival(case: Case) -> Iterator[Broken]:
    """The law can be told as JSON, and read back, where its kind can be read."""
    hint = "make the law a frozen dataclass of numbers, texts, tuples and laws"
    try:
        text = json.dumps(case.law.to_json(), allow_nan=False)
    except (TypeError, ValueError) as error:
        yield Broken("IP561", f"{named(case.law)} cannot be written as JSON: {error}", hint)
        return
    try:
        again = from_json(json.loads(text))
    except LawError as error:
        if "no kind of law" not in error.message:  # plans with a package's own law are not read
            yield Broken("IP561", f"{named(case.law)} cannot be read back: {error}", hint)
        return
    if again != case.law:
        yield Broken("IP561", f"{named(case.law)} is read back as {named(again)}", hint)
