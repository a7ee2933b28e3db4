"""What installed packages add under the names of an entry-point group."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

from initpolicy.initializers.initializer import InitializerError


@cache
def installed(group: str) -> dict[str, EntryPoint]:
    """The entry points of a group, by their names."""
    return {entry.name: entry for entry in entry_points(group=group)}


def loaded(what: str, entry: EntryPoint) -> Callable[..., Any]:
    """Load the function that an entry names; `InitializerError` says why that fails."""
    try:
        function = entry.load()
    except Exception as error:  # whatever another package raises when it is imported
        raise InitializerError(
            f"the {what} `{entry.name}` cannot be loaded from {entry.value}: {error}"
        ) from error
    if not callable(function):
        raise InitializerError(f"the {what} `{entry.name}`, {entry.value}, is no function")
    return cast("Callable[..., Any]", function)
