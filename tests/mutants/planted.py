"""Defects planted in a model of half a million parameters, one at a time."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import nn

import initpolicy
from initpolicy.policy import parse
from initpolicy.verification import Verdict

POLICY = parse("""
format = 1
[[rule]]
type = "Linear"
init.weight = { fn = "kaiming_normal", mode = "fan_out", nonlinearity = "relu" }
init.bias = { fn = "uniform", a = -0.05, b = 0.05 }
[[rule]]
type = "Conv2d"
init.weight = { fn = "kaiming_normal" }
init.bias = 0
[[rule]]
type = "Embedding"
init.weight = { fn = "normal", std = 0.02, zero_index = "module.padding_idx" }
[[rule]]
name = "cut"
init.weight = { fn = "trunc_normal", std = 0.02, a = -0.04, b = 0.04 }
[[rule]]
name = "even"
init.weight = "xavier_uniform"
[[rule]]
name = "turn"
init.weight = "orthogonal"
[[rule]]
name = "delta"
init.weight = "delta_orthogonal"
[[rule]]
name = "holes"
init.weight = { fn = "sparse", sparsity = 0.25, std = 0.05 }
[[rule]]
name = "waves"
init.weight = "dct"
[[rule]]
name = "layers"
init.weight = { fn = "stratified_normal", std = 0.05 }
[[rule]]
name = "gates"
init.weight = { chunks = ["xavier_uniform", "orthogonal", { fn = "normal", std = 0.03 }] }
[[rule]]
type = "BatchNorm2d"
init.weight = 1
init.bias = 0
buffer.running_mean = 0
buffer.running_var = 1
buffer.num_batches_tracked = 0
""")


class Network(nn.Module):
    """Half a million parameters under every kind of law; never run."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(300, 128, padding_idx=0)
        self.conv = nn.Conv2d(32, 64, 3)
        self.wide = nn.Conv2d(64, 96, 3)
        self.norm = nn.BatchNorm2d(96)
        self.first = nn.Linear(256, 320)
        self.second = nn.Linear(320, 256)
        self.twin = nn.Linear(320, 256)
        self.cut = nn.Linear(192, 160)
        self.even = nn.Linear(160, 192)
        self.turn = nn.Linear(128, 128)
        self.delta = nn.Conv2d(32, 64, 3)
        self.holes = nn.Linear(96, 96)
        self.waves = nn.Linear(64, 64)
        self.layers = nn.Linear(96, 64)
        self.gates = nn.Linear(64, 192)


def made(seed: int, draws: str = "initpolicy") -> tuple[Network, initpolicy.Plan]:
    """The model as the policy says, and its plan."""
    model = Network()
    if draws == "torch":
        torch.manual_seed(seed)
    return model, initpolicy.apply(model, POLICY, seed=seed, draws=draws)


@dataclass(frozen=True)
class Defect:
    """One defect: what it is, where, and how it gets in."""

    name: str
    tensor: str
    plant: Callable[[Network, torch.Generator], object]

    @property
    def quick(self) -> bool:
        """Whether every run of the tests plants it."""
        return self.name in _QUICK


def _draw(tensor: torch.Tensor, generator: torch.Generator, std: float) -> None:
    tensor.normal_(0, std, generator=generator)


def _half_default(model: Network, generator: torch.Generator) -> None:
    weight = model.first.weight
    bound = 1 / math.sqrt(256)
    weight[160:].uniform_(-bound, bound, generator=generator)


def _grid(model: Network, generator: torch.Generator) -> None:
    weight = model.wide.weight
    step = weight.abs().max() / 127
    weight.copy_((weight / step).round() * step)


def _rotated(model: Network, generator: torch.Generator) -> None:
    noise = torch.empty(128, 128).normal_(generator=generator)
    model.turn.weight.add_(noise / noise.norm() * model.turn.weight.norm() * 1e-3)


def _repeated(dim: int) -> Callable[[Network, torch.Generator], object]:
    def plant(model: Network, generator: torch.Generator) -> None:
        first, *others = model.second.weight.chunk(4, dim)
        for other in others:
            other.copy_(first)

    return plant


def _low_rank(model: Network, generator: torch.Generator) -> None:
    a, b = torch.empty(256, 16), torch.empty(16, 320)
    _draw(a, generator, 1.0)
    _draw(b, generator, math.sqrt(2 / 256 / 16))
    model.second.weight.copy_(a @ b)


def _shared(model: Network, generator: torch.Generator) -> None:
    """The uniform layer has the numbers of the normal one."""
    scores = model.first.weight.reshape(-1)[: 160 * 192] / math.sqrt(2 / 320)
    bound = math.sqrt(6 / (160 + 192))
    model.even.weight.copy_(((torch.special.ndtr(scores) * 2 - 1) * bound).view(192, 160))


def _clamped(model: Network, generator: torch.Generator) -> None:
    _draw(model.cut.weight, generator, 0.02)
    model.cut.weight.clamp_(-0.04, 0.04)


def _one(tensor: str, value: float) -> Callable[[Network, torch.Generator], object]:
    def plant(model: Network, generator: torch.Generator) -> None:
        flat = model.get_parameter(tensor).view(-1)
        flat[int(torch.randint(len(flat), (), generator=generator))] = value

    return plant


DEFECTS = (
    Defect("std 5 % high", "second.weight", lambda m, g: m.second.weight.mul_(1.05)),
    Defect("std 5 % low", "wide.weight", lambda m, g: m.wide.weight.mul_(0.95)),
    Defect("std 5 % low, uniform", "even.weight", lambda m, g: m.even.weight.mul_(0.95)),
    Defect("std 5 % high, uniform", "even.weight", lambda m, g: m.even.weight.mul_(1.05)),
    Defect("std 5 % low, cut", "cut.weight", lambda m, g: m.cut.weight.mul_(0.95)),
    Defect("std 5 % high, cut", "cut.weight", lambda m, g: m.cut.weight.mul_(1.05)),
    Defect("std 5 % high, stratified", "layers.weight", lambda m, g: m.layers.weight.mul_(1.05)),
    Defect(
        "fan_in for fan_out",
        "first.weight",
        lambda m, g: _draw(m.first.weight, g, math.sqrt(2 / 256)),
    ),
    Defect(
        "fan_out for fan_in",
        "conv.weight",
        lambda m, g: _draw(m.conv.weight, g, math.sqrt(2 / (64 * 9))),
    ),
    Defect(
        "uniform of equal variance for normal",
        "conv.weight",
        lambda m, g: m.conv.weight.uniform_(-math.sqrt(6 / 288), math.sqrt(6 / 288), generator=g),
    ),
    Defect(
        "normal of equal variance for uniform",
        "even.weight",
        lambda m, g: _draw(m.even.weight, g, math.sqrt(2 / 352)),
    ),
    Defect("untruncated for truncated", "cut.weight", lambda m, g: _draw(m.cut.weight, g, 0.02)),
    Defect("clamped for truncated", "cut.weight", _clamped),
    Defect("one value out of bounds", "even.weight", _one("even.weight", 0.131)),
    Defect("one value below the cut", "cut.weight", _one("cut.weight", -0.0401)),
    Defect("one NaN", "embed.weight", _one("embed.weight", math.nan)),
    Defect("one infinity", "conv.weight", _one("conv.weight", -math.inf)),
    Defect("a forgotten bias of zeros", "first.bias", lambda m, g: m.first.bias.zero_()),
    Defect(
        "a forgotten bias at torch's default",
        "conv.bias",
        lambda m, g: m.conv.bias.uniform_(-0.06, 0.06, generator=g),
    ),
    Defect(
        "two equal filters", "conv.weight", lambda m, g: m.conv.weight[40].copy_(m.conv.weight[3])
    ),
    Defect(
        "two opposite filters",
        "wide.weight",
        lambda m, g: m.wide.weight[9].copy_(-m.wide.weight[8]),
    ),
    Defect(
        "two equal columns",
        "first.weight",
        lambda m, g: m.first.weight[:, 200].copy_(m.first.weight[:, 0]),
    ),
    Defect("a layer copied", "twin.weight", lambda m, g: m.twin.weight.copy_(m.second.weight)),
    Defect(
        "a layer copied and negated",
        "twin.weight",
        lambda m, g: m.twin.weight.copy_(-m.second.weight),
    ),
    Defect(
        "a layer copied and scaled",
        "second.weight",
        lambda m, g: m.second.weight.copy_(m.first.weight.T * math.sqrt(320 / 256)),
    ),
    Defect("draws shared across laws", "even.weight", _shared),
    Defect("mean shifted by 0.1 sigma", "first.weight", lambda m, g: m.first.weight.add_(0.0079)),
    Defect("half a tensor at torch's default", "first.weight", _half_default),
    Defect("a grid of 8 bits", "wide.weight", _grid),
    Defect(
        "values that went through bfloat16",
        "second.weight",
        lambda m, g: m.second.weight.copy_(m.second.weight.bfloat16()),
    ),
    Defect("0.1 % off orthogonal", "turn.weight", _rotated),
    Defect(
        "an identity for a random rotation", "turn.weight", lambda m, g: nn.init.eye_(m.turn.weight)
    ),
    Defect("a value beside the middle tap", "delta.weight", _one("delta.weight", 1e-3)),
    Defect("a hole filled", "holes.weight", lambda m, g: m.holes.weight[:, 5].fill_(0.02)),
    Defect("sparse with std 10 % high", "holes.weight", lambda m, g: m.holes.weight.mul_(1.1)),
    Defect("a wave replaced", "waves.weight", lambda m, g: m.waves.weight[3].mul_(-1)),
    Defect(
        "two layers' values exchanged in order",
        "layers.weight",
        lambda m, g: m.layers.weight.copy_(m.layers.weight.view(-1).sort().values.view(64, 96)),
    ),
    Defect(
        "a gate of another law", "gates.weight", lambda m, g: _draw(m.gates.weight[128:], g, 0.04)
    ),
    Defect("a padding row drawn", "embed.weight", lambda m, g: _draw(m.embed.weight[0], g, 0.02)),
    Defect("a row of zeros", "embed.weight", lambda m, g: m.embed.weight[17].zero_()),
    Defect("a matrix of rank 16", "second.weight", _low_rank),
    Defect("ranks that repeated each other's draws, rows", "second.weight", _repeated(0)),
    Defect("ranks that repeated each other's draws, columns", "second.weight", _repeated(1)),
    Defect(
        "a fan taken from a local shard",
        "first.weight",
        lambda m, g: _draw(m.first.weight, g, math.sqrt(2 / 80)),
    ),
    Defect(
        "a fan of xavier taken from a local shard",
        "even.weight",
        lambda m, g: nn.init.uniform_(
            m.even.weight, -math.sqrt(6 / (160 + 48)), math.sqrt(6 / (160 + 48)), generator=g
        ),
    ),
    Defect("a running variance of 0", "norm.running_var", lambda m, g: m.norm.running_var.zero_()),
)


_kept = lru_cache(maxsize=4)(made)


_QUICK = {
    "std 5 % high",
    "fan_in for fan_out",
    "uniform of equal variance for normal",
    "untruncated for truncated",
    "one value out of bounds",
    "one NaN",
    "a forgotten bias of zeros",
    "two equal filters",
    "a layer copied",
    "mean shifted by 0.1 sigma",
    "half a tensor at torch's default",
    "a grid of 8 bits",
    "0.1 % off orthogonal",
    "ranks that repeated each other's draws, columns",
    "a fan taken from a local shard",
}


def verdict_on(defect: Defect, seed: int) -> Verdict:
    """Plant a defect, and judge the model by law alone."""
    whole, plan = _kept(seed)
    model = copy.deepcopy(whole)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        defect.plant(model, generator)
    return initpolicy.verify(model, plan, exact=False)
