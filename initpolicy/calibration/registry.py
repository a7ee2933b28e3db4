"""Steps by name: those that come with initpolicy, and those that packages add."""

from __future__ import annotations

from functools import cache

from initpolicy.calibration.autoencoder import autoencoder
from initpolicy.calibration.errors import CalibrationError
from initpolicy.calibration.lsuv import lsuv
from initpolicy.calibration.step import Calibration
from initpolicy.calibration.weight_norm import weight_norm_data
from initpolicy.initializers.initializer import InitializerError, suggestion
from initpolicy.initializers.packages import installed, loaded

GROUP = "initpolicy.calibrations"
"""The entry-point group under which a package names functions that change a layer."""

_BUILT_IN = {function.__name__: function for function in (autoencoder, lsuv, weight_norm_data)}


def names() -> tuple[str, ...]:
    """Give the names of all steps in order, those of installed packages included.

    >>> "lsuv" in names()
    True
    """
    return tuple(sorted({*_BUILT_IN, *installed(GROUP)}))


@cache
def get(name: str) -> Calibration:
    """Find a step; other packages are asked only for names that are not built in.

    Raises `CalibrationError` if there is none of that name, or if a package's cannot be loaded.

    >>> get("lsuw")
    Traceback (most recent call last):
        ...
    initpolicy.calibration.errors.CalibrationError: IP771 there is no step `lsuw`; did you mean
    `lsuv`?
    """
    function = _BUILT_IN.get(name)
    if function is not None:
        return Calibration.of(function)
    entry = installed(GROUP).get(name)
    if entry is None:
        hint = suggestion(name, names()) or f"the steps are {', '.join(names())}"
        raise CalibrationError(f"there is no step `{name}`", hint=hint, code="IP771")
    try:
        return Calibration.of(loaded("step", entry), name)
    except InitializerError as error:
        raise CalibrationError(error.message, hint=error.hint, code="IP771") from error
