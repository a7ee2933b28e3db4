"""Which values are the same bits on every machine."""

from __future__ import annotations

from initpolicy.laws import Arranged, Law, Stacked, ZeroRows
from initpolicy.lockfile.document import Entry


def is_known(law: Law) -> bool:
    """Whether a law decides on every value, and leaves none as it is.

    >>> from initpolicy.laws import Constant
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
    return entry.law is not None and (entry.computed or bool(entry.steps) or not entry.law.is_exact)


def has_digest(entry: Entry) -> bool:
    """Whether the values of a tensor can have a digest that holds on every machine."""
    return entry.law is not None and is_known(entry.law) and not is_rounded(entry)
