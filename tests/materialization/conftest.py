from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import initpolicy
from initpolicy.plans import Plan

Planned = Callable[..., Plan]


@pytest.fixture
def planned(tmp_path: Path) -> Planned:
    """Plans a model of square layers on the meta device, 4 * width**2 bytes each."""

    def plan(layers: int = 5, width: int = 64, seed: int = 3, text: str = "") -> Plan:
        file = tmp_path / "policy.toml"
        file.write_text(text or 'format = 1\n[[rule]]\ninit.weight = "normal"\n')
        with torch.device("meta"):
            model = nn.Sequential(*[nn.Linear(width, width, bias=False) for _ in range(layers)])
        return initpolicy.plan(model, str(file), seed=seed)

    return plan
