"""Buffers that the constructor of their module makes."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from initpolicy.laws import Part, runs_of
from initpolicy.model import Inventory, shard_of
from initpolicy.plans import Plan
from initpolicy.resolve import recompute


class Rebuilt:
    """Values of buffers, by name, made before anything is written."""

    def __init__(self, values: Mapping[str, torch.Tensor]) -> None:
        self.values = values

    @torch.no_grad()
    def write(self, inventory: Inventory) -> None:
        """Copy the values into the buffers."""
        for name, value in self.values.items():
            tensor = inventory.by_name[name].tensor
            shard = shard_of(tensor, name)
            if shard is None:
                tensor.copy_(value)
            else:
                part = Part(shard.local, shard.shape, runs_of(shard))
                part.take(value.to(shard.local.device))


def rebuild(plan: Plan, inventory: Inventory) -> Rebuilt:
    """Make the values of every buffer that the plan wants recomputed; one build a module."""
    return Rebuilt(recompute(plan, inventory))
