"""Initializers by name: those that come with initpolicy, and those that packages add."""

from __future__ import annotations

from functools import cache

from initpolicy.initializers import (
    bases,
    formula,
    from_file,
    kaiming,
    plain,
    structured,
    truncated,
    variance,
    xavier,
)
from initpolicy.initializers.initializer import Initializer, InitializerError, suggestion
from initpolicy.initializers.packages import installed, loaded

GROUP = "initpolicy.initializers"
"""The entry-point group under which a package names functions from facts to laws."""

_BUILT_IN = {
    function.__name__: function
    for function in (
        plain.constant,
        plain.normal,
        plain.ones,
        plain.uniform,
        plain.zeros,
        truncated.trunc_normal,
        xavier.xavier_normal,
        xavier.xavier_uniform,
        kaiming.kaiming_normal,
        kaiming.kaiming_uniform,
        variance.lecun_normal,
        variance.lecun_uniform,
        variance.variance_scaling,
        structured.dirac,
        structured.eye,
        structured.orthogonal,
        structured.sparse,
        bases.identity,
        bases.delta_orthogonal,
        bases.hadamard,
        bases.dct,
        bases.fourier,
        bases.haar,
        bases.frame,
        bases.stratified_uniform,
        bases.stratified_normal,
        bases.mimetic,
        formula.formula,
        from_file.from_file,
    )
}


def names() -> tuple[str, ...]:
    """Give the names of all initializers in order, those of installed packages included.

    >>> "kaiming_normal" in names()
    True
    """
    return tuple(sorted({*_BUILT_IN, *installed(GROUP)}))


@cache
def get(name: str) -> Initializer:
    """Find an initializer; other packages are asked only for names that are not built in.

    Raises `InitializerError` if there is none of that name, or if a package's cannot be loaded.

    >>> get("normal").summary
    'N(mean, std). As `torch.nn.init.normal_`.'
    >>> get("kaimng_normal")
    Traceback (most recent call last):
        ...
    initpolicy.initializers.initializer.InitializerError: there is no initializer `kaimng_normal`
    """
    if name in _BUILT_IN:
        return Initializer.of(_BUILT_IN[name])
    if name in installed(GROUP):
        return Initializer.of(loaded("initializer", installed(GROUP)[name]), name)
    raise InitializerError(
        f"there is no initializer `{name}`",
        hint=suggestion(name.removesuffix("_"), names())
        or f"the initializers are {', '.join(names())}",
    )
