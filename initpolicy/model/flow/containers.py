"""What `nn.Sequential` tells of a model that is not run."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, cast

from torch import nn

from initpolicy.model.flow.steps import UNKNOWN, Step, plain


def contained(model: nn.Module) -> dict[int, list[Step]]:
    """The order of the modules in each container, by the id of the module."""
    steps: dict[int, list[Step]] = {}
    inner: set[int] = set()
    for module in model.modules():
        if not _in_order(module) or id(module) in inner:
            continue
        chain = [
            Step(one, plain(type(one).__name__), index=index)
            for index, one in enumerate(_leaves(module, inner))
        ]
        for step, following in pairwise(chain):
            following.take(step)
        if chain:
            Step(None, UNKNOWN, index=len(chain)).take(chain[-1])
        for step in chain:
            steps.setdefault(id(step.module), []).append(step)
    return steps


def _in_order(module: nn.Module) -> bool:
    return isinstance(module, nn.Sequential) and _forward(type(module)) is _forward(nn.Sequential)


def _forward(kind: type[nn.Module]) -> object:
    return cast("Any", kind).forward


def _leaves(module: nn.Module, inner: set[int]) -> Iterator[nn.Module]:
    for child in module.children():
        if _in_order(child):
            inner.add(id(child))
            yield from _leaves(child, inner)
        else:
            yield child
