"""What docs/sharding.md shows works as shown, on four ranks."""

from __future__ import annotations

import os
import re
from pathlib import Path

from distributed import run

DOCUMENT = Path(__file__).parent.parent / "docs" / "sharding.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)


def run_blocks(rank: int, folder: str, python: list[str]) -> set[str]:
    os.chdir(folder)
    names: dict[str, object] = {}
    for block in python:
        exec(block, names)
    return set(names)


def test_every_block_runs_on_four_ranks(tmp_path: Path) -> None:
    (policy,) = blocks("toml")
    (tmp_path / "tied.toml").write_text(policy)
    python = blocks("python")
    assert len(python) == 5
    for names in run(run_blocks, 4, str(tmp_path), python):
        assert {"model", "sharded", "rows", "columns", "stage", "first", "last"} <= names
