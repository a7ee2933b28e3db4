"""Steps by name: those that come with initpolicy, and those that packages add."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import cast

from initpolicy.calibration.autoencoder import autoencoder
from initpolicy.calibration.errors import CalibrationError
from initpolicy.calibration.lsuv import lsuv
from initpolicy.calibration.step import Calibration, Done
from initpolicy.calibration.weight_norm import weight_norm_data
from initpolicy.initializers.initializer import suggestion

GROUP = "initpolicy.calibrations"
"""The entry-point group under which a package names functions that change a layer."""

_BUILT_IN = {function.__name__: function for function in (autoencoder, lsuv, weight_norm_data)}


def names() -> tuple[str, ...]:
    """Give the names of all steps in order, those of installed packages included.

    >>> "lsuv" in names()
    True
    """
    return tuple(sorted({*_BUILT_IN, *_installed()}))


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
    entry = _installed().get(name)
    if entry is None:
        hint = suggestion(name, names()) or f"the steps are {', '.join(names())}"
        raise CalibrationError(f"there is no step `{name}`", hint=hint, code="IP771")
    try:
        loaded = entry.load()
    except Exception as error:  # whatever another package raises when it is imported
        message = f"the step `{name}` cannot be loaded from {entry.value}: {error}"
        raise CalibrationError(message, code="IP771") from error
    if not callable(loaded):
        message = f"the step `{name}`, {entry.value}, is no function"
        raise CalibrationError(message, code="IP771")
    return Calibration.of(cast("Callable[..., Done]", loaded), name)


@cache
def _installed() -> dict[str, EntryPoint]:
    return {one.name: one for one in entry_points(group=GROUP)}
