"""Which pairs of places in a window have which relative position: told of square windows alone."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import initpolicy

SIZES = st.tuples(st.integers(1, 16), st.integers(1, 16)) | st.integers(1, 16).map(lambda w: (w, w))


@pytest.fixture(scope="module")
def windows(zoo: ModuleType) -> dict[str, Callable[[int, int], nn.Module]]:
    """What makes the attention of a window, for each policy that knows such windows."""
    layers = pytest.importorskip("timm").layers
    swin = zoo.swin_transformer

    def v1(high: int, wide: int) -> nn.Module:
        return swin.ShiftedWindowAttention(4, [high, wide], [0, 0], 2)

    def v2(high: int, wide: int) -> nn.Module:
        return swin.ShiftedWindowAttentionV2(4, [high, wide], [0, 0], 2)

    def timm(high: int, wide: int) -> nn.Module:
        return layers.RelPosBias((high, wide), 2)

    return {"v1": v1, "v2": v2, "timm": timm}


@pytest.mark.parametrize(("kind", "policy"), [("v1", "swin"), ("v2", "swin"), ("timm", "timm")])
def test_a_window_has_the_positions_of_its_library_or_keeps_them(
    windows: dict[str, Callable[[int, int], nn.Module]], kind: str, policy: str
) -> None:
    least = 2 if kind == "v2" else 1  # whose table is not a number where a side is 1

    @given(SIZES.filter(lambda size: min(size) >= least))
    @settings(max_examples=25)
    def check(size: tuple[int, int]) -> None:
        ours = nn.Sequential(windows[kind](*size))
        expected = {name: one.clone() for name, one in ours.named_buffers()}
        square = size[0] == size[1]
        if square:
            for one in ours.buffers():
                one.fill_(-7)
        plan = initpolicy.apply(ours, policy, seed=0)
        for name, one in ours.named_buffers():
            assert plan[name].gives_values is square, name
            if name.endswith("index"):
                assert torch.equal(one, expected[name]), name
            else:
                assert torch.allclose(one, expected[name], atol=1e-6), name

    check()
