"""The truncated normal distribution, with absolute bounds or with bounds in sigma."""

from __future__ import annotations

from initpolicy.initializers.initializer import InitializerError
from initpolicy.laws import TruncatedNormal
from initpolicy.model.facts import Facts


def trunc_normal(
    tensor: Facts,
    *,
    mean: float = 0.0,
    std: float = 1.0,
    a: float | None = None,
    b: float | None = None,
    cut: float | None = None,
    corrected: bool = False,
) -> TruncatedNormal:
    """N(mean, std) in [a, b], or within `cut` sigma. As `torch.nn.init.trunc_normal_`.

    The bounds a and b are absolute, -2 and 2 as in torch if not given, so that with std = 0.02
    nothing is truncated. `cut` gives them in sigma instead: mean - cut * std and mean + cut * std.
    Truncation lowers the standard deviation, to 0.8796 of std at cut = 2; with `corrected` the
    law's std is divided by that factor first, so that the values' own standard deviation is std
    and their bounds are as much wider.

    Raises `InitializerError` if `cut` comes with a or b, or `corrected` without `cut`.

    >>> print(trunc_normal(Facts((10,)), std=0.02))
    N(0, 0.02) in [-2, 2]
    >>> print(trunc_normal(Facts((10,)), std=0.02, cut=2))
    N(0, 0.02) in [-0.04, 0.04]
    >>> law = trunc_normal(Facts((10,)), std=0.02, cut=2, corrected=True)
    >>> f"{law.moments.std:.15f}"
    '0.020000000000000'
    """
    if cut is None:
        if corrected:
            raise InitializerError("`corrected` needs the bounds in sigma", hint="write `cut = 2`")
        low, high = -2.0 if a is None else a, 2.0 if b is None else b
        return TruncatedNormal(mean, std, low, high)
    if a is not None or b is not None:
        raise InitializerError(
            "`cut` and the absolute bounds `a` and `b` exclude each other",
            hint="leave out `cut`, or `a` and `b`",
        )
    if not cut > 0:
        raise InitializerError(f"`cut` must be positive, and is {cut:g}")
    if corrected:
        std = std / realised(cut)
    return TruncatedNormal(mean, std, mean - cut * std, mean + cut * std)


def realised(cut: float) -> float:
    """Give the standard deviation of a standard normal truncated at -cut and cut.

    Its square is 1 - 2 cut phi(cut) / (2 Phi(cut) - 1) (Burkardt, "The truncated normal
    distribution").

    >>> f"{realised(2.0):.15f}"
    '0.879625661034240'
    """
    return TruncatedNormal(0.0, 1.0, -cut, cut).moments.std
