"""A small model with all that sharding makes hard, and the ways in which it is shared out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    RowwiseParallel,
    parallelize_module,
)

from initpolicy.policy import parse

POLICY = parse(
    """
format = 1

[[rule]]
type = "Embedding"
init.weight = { fn = "normal", std = 0.02 }

[[rule]]
type = "Linear"
init.weight = { fn = "trunc_normal", std = 0.1, a = -0.2, b = 0.2 }
init.bias = { fn = "uniform", a = -1, b = 1 }

[[rule]]
name = "**.up"
init.weight = { fn = "orthogonal", chunks = 2 }

[[rule]]
name = "**.down"
init.weight = { fn = "orthogonal", gain = 2 }

[[rule]]
type = ["RMSNorm", "BatchNorm1d"]
init.weight = 1
init.bias = 0
buffer."running_mean" = 0
buffer."running_var" = 1
buffer."num_batches_tracked" = 0

[[rule]]
type = "Block"
buffer.freq = { recompute = "constructor" }
"""
)

VOCABULARY, WIDTH, HIDDEN = 13, 7, 10  # no number of ranks divides the first two


class Block(nn.Module):
    def __init__(self, width: int = WIDTH, hidden: int = HIDDEN, device: Any = None) -> None:
        super().__init__()
        self.width, self.hidden = width, hidden
        self.norm = nn.RMSNorm(width, device=device)
        self.up = nn.Linear(width, hidden, device=device)
        self.down = nn.Linear(hidden, width, bias=False, device=device)
        freq = 100.0 ** -torch.arange(0, 1, 1 / width, device=device)
        self.register_buffer("freq", freq[:width], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(torch.tanh(self.up(self.norm(x) * self.freq.to(x))))


class Model(nn.Module):
    """Blocks between an embedding and a head that is tied to it, and statistics at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, WIDTH)
        self.blocks = nn.ModuleList([Block(), Block()])
        self.small = nn.Linear(WIDTH, 1)  # most ranks hold nothing of it
        self.last = nn.BatchNorm1d(WIDTH)
        self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x)
        x = x * torch.sigmoid(self.small(x))
        return self.head(self.last(x.flatten(0, 1)))


def build(device: str | None = None) -> Model:
    """The model, on the meta device or with torch's own values."""
    with torch.device(device or "cpu"):
        return Model()


def sharded(
    model: Model, mesh: DeviceMesh, blocks: dict[str, Any] | None = None, **options: Any
) -> Model:
    """FSDP2, block by block; `blocks` are more options for these."""
    for block in model.blocks:
        fully_shard(block, mesh=mesh, **options, **(blocks or {}))
    fully_shard(model, mesh=mesh, **options)
    return model


def parallel(model: Model, mesh: DeviceMesh) -> Model:
    """Tensor parallelism of the blocks' hidden features."""
    for block in model.blocks:
        plan = {"up": ColwiseParallel(), "down": RowwiseParallel()}
        parallelize_module(block, mesh, plan)
    return model


def square(*names: str) -> DeviceMesh:
    return init_device_mesh("cpu", (2, 2), mesh_dim_names=names)


def on_two(model: Model) -> Model:
    mesh = square("dp", "tp")
    return sharded(parallel(model, mesh["tp"]), mesh["dp"])


LAYOUTS: dict[str, Callable[[Model], Model]] = {
    "FSDP2": lambda model: sharded(model, init_device_mesh("cpu", (4,))),
    "FSDP2 that keeps": lambda model: sharded(
        model, init_device_mesh("cpu", (4,)), reshard_after_forward=False
    ),
    "HSDP": lambda model: sharded(model, square("replicate", "shard")),
    "TP": lambda model: parallel(model, square("dp", "tp")["tp"]),
    "FSDP2 over TP": on_two,
}
"""By name, on four ranks."""


def held(model: nn.Module) -> dict[str, Tensor]:
    """What this process holds of each parameter and buffer, copied; whole tensors as they are."""
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {
        name: (tensor.to_local() if isinstance(tensor, DTensor) else tensor).detach().clone()
        for name, tensor in tensors.items()
    }


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 2) -> list[float]:
    """Take steps on the same few tokens in every process, and give the losses."""
    tokens = torch.arange(24).view(4, 6) * 5 % VOCABULARY
    losses: list[float] = []
    for _ in range(steps):
        loss = nn.functional.cross_entropy(model(tokens), tokens.flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses
