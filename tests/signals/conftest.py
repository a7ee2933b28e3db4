from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Policy = Callable[[str], Path]


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    """Writes a policy that says how all weights begin; biases are zero."""

    def write(weight: str) -> Path:
        file = tmp_path / "policy.toml"
        file.write_text(
            f'format = 1\n[[rule]]\ninit."*weight" = {weight}\ninit."*bias" = 0\n', encoding="utf-8"
        )
        return file

    return write
