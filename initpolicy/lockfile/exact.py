"""Which values are the same bits on every machine."""

from __future__ import annotations

from initpolicy.laws import (
    Arranged,
    Constant,
    Dirac,
    Drawn,
    Eye,
    FromFile,
    Identity,
    Law,
    Sparse,
    Stacked,
    Stratified,
    Uniform,
    ZeroRows,
)
from initpolicy.lockfile.document import Entry

_ALONE = (Constant, Drawn, Eye, Dirac, Identity, Sparse, FromFile)


def is_exact(law: Law) -> bool:
    """Whether a law gives the same bits everywhere.

    The others are computed with functions that machines round otherwise: matrix products, cosines.

    >>> from initpolicy.laws import Normal, Orthogonal
    >>> is_exact(Normal(0, 1)), is_exact(Stacked((Normal(0, 1), Orthogonal())))
    (True, False)
    """
    if isinstance(law, ZeroRows | Arranged):
        return is_exact(law.law)
    if isinstance(law, Stacked):
        return all(part is None or is_exact(part) for part in law.parts)
    if isinstance(law, Stratified):
        return isinstance(law.law, Uniform)
    return isinstance(law, _ALONE)


def is_known(law: Law) -> bool:
    """Whether a law decides on every value, and leaves none as it is.

    >>> is_known(Stacked((Constant(1), None)))
    False
    """
    if isinstance(law, ZeroRows | Arranged):
        return is_known(law.law)
    if isinstance(law, Stacked):
        return all(part is not None and is_known(part) for part in law.parts)
    return True


def is_rounded(entry: Entry) -> bool:
    """Whether machines agree on the values of a tensor up to rounding only."""
    return entry.law is not None and (entry.computed or not is_exact(entry.law))


def has_digest(entry: Entry) -> bool:
    """Whether the values of a tensor can have a digest that holds on every machine."""
    return entry.law is not None and is_known(entry.law) and not is_rounded(entry)
