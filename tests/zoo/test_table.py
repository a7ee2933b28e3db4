"""docs/zoo.md lists every architecture; `make zoo` writes it."""

from __future__ import annotations

import re
from pathlib import Path

from catalogue import CATALOGUE

TABLE = Path(__file__).parents[2] / "docs" / "zoo.md"


def test_every_architecture_has_a_row() -> None:
    text = TABLE.read_text(encoding="utf-8")
    parts = dict(zip(*[iter(re.split(r"^## (.+)$", text, flags=re.M)[1:])] * 2, strict=True))
    assert parts.keys() == CATALOGUE.keys()
    for library, architectures in CATALOGUE.items():
        rows = re.findall(r"^\| (.+?) \| \[(.+?)\]", parts[library], flags=re.M)
        assert rows == [(known.name, known.policy) for known in architectures]
