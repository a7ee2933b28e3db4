"""The comparison can fail: what is planted in a policy is found, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from harness import Architecture, Comparison, compare
from torch import nn
from torch.nn import init

RIGHT = """
format = 1

[[rule]]
type = "Conv2d"
init.weight = { fn = "kaiming_normal", mode = "fan_out" }
init.bias = 0.5

[[rule]]
type = "Linear"
init.weight = { chunks = [
    { fn = "normal", std = 0.02 }, { fn = "normal", std = 0.01 }, { fn = "normal", std = 0.02 },
] }
init.bias = { fn = "uniform", a = -0.1, b = 0.1 }

[[rule]]
type = "Embedding"
init.weight = { fn = "normal", zero_index = 3 }

[[rule]]
type = "RMSNorm"
init.weight = { fn = "uniform", a = 0.9, b = 1.1 }

[[rule]]
type = "Bilinear"
init.weight = { fn = "orthogonal" }

[[rule]]
type = "BatchNorm2d"
init.weight = 1
init.bias = 0
buffer."running_*" = "keep"
buffer.num_batches_tracked = 0
"""


def build() -> nn.Module:
    model = nn.ModuleDict(
        {
            "conv": nn.Conv2d(16, 64, 3),
            "linear": nn.Linear(24, 3072),
            "embedding": nn.Embedding(40, 16),
            "scale": nn.RMSNorm(80),
            "form": nn.Bilinear(6, 8, 32, bias=False),
            "norm": nn.BatchNorm2d(16),
        }
    )
    init.kaiming_normal_(model.conv.weight, mode="fan_out")
    init.constant_(model.conv.bias, 0.5)
    for part, std in zip(model.linear.weight.chunk(3), (0.02, 0.01, 0.02), strict=True):
        init.normal_(part, std=std)
    init.uniform_(model.linear.bias, -0.1, 0.1)
    init.uniform_(model.scale.weight, 0.9, 1.1)
    init.orthogonal_(model.form.weight)
    with torch.no_grad():
        model.embedding.weight[3] = 0
    return model


@pytest.fixture
def compared(tmp_path: Path) -> Callable[..., Comparison]:
    def run(*changes: tuple[str, str], build: Callable[[], nn.Module] = build) -> Comparison:
        text = RIGHT
        for old, new in changes:
            assert text.count(old) == 1
            text = text.replace(old, new)
        file = tmp_path / "planted.toml"
        file.write_text(text)
        return compare(Architecture("planted", build, str(file)))

    return run


def test_what_agrees_passes(compared: Callable[..., Comparison]) -> None:
    found = compared()
    assert found.failures == []
    assert (found.tensors, found.equal, found.random, found.kept) == (12, 4, 6, 2)
    assert 0 < found.comparisons < 300
    assert found.smallest < 0.5


def test_what_a_constructor_computed_may_be_kept(compared: Callable[..., Comparison]) -> None:
    found = compared(("bias = 0.5", 'bias = "keep"'))
    assert found.failures == []
    assert found.kept == 3


@pytest.mark.parametrize(
    ("old", "new", "tensor", "told"),
    [
        ('mode = "fan_out" }', 'mode = "fan_out", scale = 1.15 }', "conv.weight", "std is 0.8"),
        ('mode = "fan_out"', 'mode = "fan_in"', "conv.weight", "std is 0."),
        ("bias = 0.5", "bias = 0.499", "conv.bias", "0.499 here, 0.5 in the library"),
        ("bias = 0.5", 'bias = { fn = "normal", std = 1e-6, mean = 0.5 }', "conv.bias", "random"),
        (
            '"uniform", a = -0.1, b = 0.1',
            '"normal", std = 0.0577',
            "linear.bias",
            "bounds are beyond",
        ),
        ('"uniform", a = 0.9, b = 1.1', '"uniform", a = 0.99, b = 1.19', "", "not U(0.99, 1.19)"),
        ('"uniform", a = 0.9, b = 1.1', '"constant", val = 1', "scale.weight", "1 here"),
        (", zero_index = 3", "", "embedding.weight", "0 values are fixed here, 16 there"),
        ("zero_index = 3", "zero_index = 4", "embedding.weight", "16 values are fixed here, 16"),
        ('fn = "orthogonal"', 'fn = "normal", std = 0.14', "form.weight", "one side only"),
        ('"running_*" = "keep"', '"running_mean" = 0', "norm.running_var", "no rule covers it"),
        (
            'weight = { fn = "kaiming_normal", mode = "fan_out" }',
            'weight = "keep"',
            "conv.weight",
            "fixed values",
        ),
    ],
)
def test_what_disagrees_fails(
    old: str, new: str, tensor: str, told: str, compared: Callable[..., Comparison]
) -> None:
    found = compared((old, new))
    assert found.failures
    assert all(tensor in failure for failure in found.failures)
    assert any(told in failure for failure in found.failures)


def test_five_percent_of_a_standard_deviation_are_seen(compared: Callable[..., Comparison]) -> None:
    def wide() -> nn.Module:
        model = build()
        model.conv = nn.Conv2d(128, 64, 3)
        init.kaiming_normal_(model.conv.weight, mode="fan_out")
        init.constant_(model.conv.bias, 0.5)
        return model

    assert compared(build=wide).failures == []
    found = compared(('mode = "fan_out" }', 'mode = "fan_out", scale = 1.05 }'), build=wide)
    assert len(found.failures) == 1
    assert "conv.weight: the library's std is 0.95" in found.failures[0]


def test_blocks_that_change_places_are_seen(compared: Callable[..., Comparison]) -> None:
    def other() -> nn.Module:
        model = build()
        model.linear.weight.data = model.linear.weight.data.roll(1024, 0)
        return model

    found = compared(build=other)
    assert found.failures
    assert all(failure.startswith("linear.weight") for failure in found.failures)


def test_copies_are_seen(compared: Callable[..., Comparison]) -> None:
    def twice() -> nn.Module:
        model = build()
        model.other = nn.RMSNorm(80)
        model.other.weight.data.copy_(model.scale.weight.data)
        return model

    found = compared(build=twice)
    assert any("begins 2 tensors as copies" in failure for failure in found.failures)


def test_what_a_constructor_leaves_unset_is_seen(compared: Callable[..., Comparison]) -> None:
    def unset() -> nn.Module:
        model = build()
        model.scale.weight = nn.Parameter(torch.empty(80))
        return model

    found = compared(build=unset)
    assert found.failures == ["scale.weight: the library leaves values at torch.empty"]
