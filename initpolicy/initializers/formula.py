"""Elements computed from their places: indices, and draws."""

from __future__ import annotations

from initpolicy.expressions import Expression
from initpolicy.laws import Formula
from initpolicy.model.facts import Facts


def formula(tensor: Facts, *, value: Expression) -> Formula:
    """Every element is a formula of its indices `i0`, `i1`, ..., and of draws `u` and `z`.

    `i` is the row-major index; `u` is uniform between 0 and 1, `z` is N(0, 1).

    >>> print(formula(Facts((16,)), value=Expression.parse("log(i0 + 1)")))
    log(i0 + 1)
    """
    return Formula(value.text)
