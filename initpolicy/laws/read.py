"""Laws from JSON data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, cast

from initpolicy.laws.base import Law, LawError
from initpolicy.laws.bases import Dct, Fourier, Haar, Hadamard, Identity
from initpolicy.laws.compose import Arranged, Stacked, ZeroRows
from initpolicy.laws.delta import DeltaOrthogonal
from initpolicy.laws.elementwise import Constant, Normal, TruncatedNormal, Uniform
from initpolicy.laws.formula import Formula
from initpolicy.laws.frame import Frame
from initpolicy.laws.from_file import FromFile
from initpolicy.laws.mimetic import Mimetic
from initpolicy.laws.orthogonal import Orthogonal
from initpolicy.laws.sparse import Sparse
from initpolicy.laws.stratified import Stratified
from initpolicy.laws.structured import Dirac, Eye

_LAWS: dict[str, type[Law]] = {
    law.kind: law
    for law in (
        Constant,
        Uniform,
        Normal,
        TruncatedNormal,
        Eye,
        Dirac,
        Orthogonal,
        Sparse,
        Identity,
        DeltaOrthogonal,
        Hadamard,
        Dct,
        Fourier,
        Haar,
        Frame,
        Stratified,
        Mimetic,
        Formula,
        FromFile,
        Arranged,
        Stacked,
        ZeroRows,
    )
}


def from_json(data: object) -> Law:
    """Read what `Law.to_json` wrote; `LawError` for anything else.

    >>> from_json({"kind": "normal", "mean": 0.0, "std": 0.02})
    Normal(mean=0.0, std=0.02)
    """
    if not isinstance(data, Mapping):
        raise LawError(f"a law must be a table with a kind, not {data!r}")
    parameters = dict(cast("Mapping[str, object]", data))
    kind = parameters.pop("kind", None)
    law = _LAWS.get(kind) if isinstance(kind, str) else None
    if law is None:
        raise LawError(
            f"{kind!r} is no kind of law", hint=f"the kinds are {', '.join(sorted(_LAWS))}"
        )
    names = [item.name for item in dataclasses.fields(cast("Any", law))]
    if set(parameters) != set(names):
        raise LawError(
            f"the law {kind!r} has the parameters {', '.join(names)}, "
            f"not {', '.join(map(str, parameters)) or 'none'}"
        )
    return law(**{name: _parameter(value) for name, value in parameters.items()})


def _parameter(value: object) -> object:
    if isinstance(value, Mapping):
        return from_json(cast("object", value))
    if isinstance(value, list):
        return tuple(_parameter(item) for item in cast("list[object]", value))
    if value in ("inf", "-inf"):
        return float(cast("str", value))
    return value
