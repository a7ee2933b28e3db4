"""Every architecture of the zoo begins, under its policy, as its library begins it.

`make zoo` runs all, and then `table.py`, which writes docs/zoo.md from what these tests found.
"""

from __future__ import annotations

import pytest
from catalogue import CATALOGUE
from harness import Architecture, compare

ALL = [
    pytest.param(
        library,
        architecture,
        id=f"{library}-{architecture.name}".replace(" ", "-"),
        marks=() if architecture.quick else pytest.mark.zoo,
    )
    for library, architectures in CATALOGUE.items()
    for architecture in architectures
]


@pytest.mark.parametrize(("library", "architecture"), ALL)
def test_the_policy_does_what_the_constructor_does(
    library: str, architecture: Architecture, request: pytest.FixtureRequest
) -> None:
    key = f"zoo/{library}/{architecture.name}"
    cache = request.config.cache
    cache.set(key, None)
    result = compare(architecture)
    assert result.failures == []
    cache.set(key, result.to_json())


def test_names_are_unique() -> None:
    for architectures in CATALOGUE.values():
        names = [architecture.name for architecture in architectures]
        assert len(names) == len(set(names))
