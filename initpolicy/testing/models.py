"""Hypothesis strategies for small models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from torch import nn

Path = tuple[str, ...]

_SMALL = st.integers(1, 5)
_LAYERS: dict[str, SearchStrategy[nn.Module]] = {
    "Linear": st.builds(nn.Linear, _SMALL, _SMALL, st.booleans()),
    "Conv1d": st.builds(nn.Conv1d, _SMALL, _SMALL, st.integers(1, 3)),
    "LayerNorm": st.builds(nn.LayerNorm, _SMALL),
    "BatchNorm1d": st.builds(nn.BatchNorm1d, _SMALL),
    "Embedding": st.builds(nn.Embedding, st.integers(2, 5), _SMALL, st.sampled_from([None, 1])),
    "ReLU": st.builds(nn.ReLU),
}
LAYERS = tuple(_LAYERS)
"""The classes of the layers that models are made of."""

SEGMENTS = ("a", "b", "h1", "h2")
"""The segments of which the names of their modules are made."""


def layers() -> SearchStrategy[nn.Module]:
    """Layers as they are found in models, with few parameters or none."""
    return st.one_of(*_LAYERS.values())


@st.composite
def models(draw: Callable[[SearchStrategy[Any]], Any], *, most: int = 5) -> nn.Module:
    """Models of one to `most` layers in nested modules; sometimes two share a weight.

    Their names are made of `a`, `b`, `h1` and `h2`, and their layers are of the classes of
    `initpolicy.testing.models.LAYERS`, all on the CPU and of float32.
    """
    segments = st.lists(st.sampled_from(SEGMENTS), min_size=1, max_size=3).map(tuple)
    paths = draw(st.lists(segments, min_size=1, max_size=most, unique=True))
    model = nn.Module()
    linear: list[nn.Linear] = []
    for path in sorted(paths):
        if any(path != other and path == other[: len(path)] for other in paths):
            continue  # a module lies inside it
        layer = draw(layers())
        _hang(model, path, layer)
        if isinstance(layer, nn.Linear):
            linear.append(layer)
    alike = [other for other in linear[1:] if other.weight.shape == linear[0].weight.shape]
    if alike and draw(st.booleans()):
        alike[0].weight = linear[0].weight
    return model


def _hang(model: nn.Module, path: Path, layer: nn.Module) -> None:
    for segment in path[:-1]:
        if not hasattr(model, segment):
            model.add_module(segment, nn.Module())
        model = getattr(model, segment)
    model.add_module(path[-1], layer)
