"""A small Llama, and how torch shares it out over a mesh of processes.

Sizes are those of Llama 3 (Grattafiori et al. 2024, table 3), and names those of transformers:
normalization before each block, rotary positions, grouped keys and values, SwiGLU.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.nn import functional


@dataclass(frozen=True)
class Sizes:
    """How large the model is."""

    layers: int = 2
    hidden: int = 64
    feed_forward: int = 192
    heads: int = 8
    key_value_heads: int = 4
    vocabulary: int = 256


LLAMA_3_405B = Sizes(126, 16384, 53248, 128, 8, 128256)


class Rotary(nn.Module):
    """Turns pairs of queries and keys by angles that grow with the position."""

    def __init__(self, head: int, base: float = 500_000.0) -> None:
        super().__init__()
        self.head, self.base = head, base
        frequencies = base ** (-torch.arange(0, head, 2, dtype=torch.float32) / head)
        self.register_buffer("inv_freq", frequencies, persistent=False)

    def forward(self, x: Tensor) -> Tensor:  # batch, heads, positions, head
        angles = torch.arange(x.shape[-2], device=x.device)[:, None] * self.inv_freq
        cos, sin = angles.cos(), angles.sin()
        one, other = x.chunk(2, dim=-1)
        return torch.cat([one * cos - other * sin, other * cos + one * sin], dim=-1)


class Attention(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.head = sizes.hidden // sizes.heads
        grouped = sizes.key_value_heads * self.head
        self.q_proj = nn.Linear(sizes.hidden, sizes.hidden, bias=False)
        self.k_proj = nn.Linear(sizes.hidden, grouped, bias=False)
        self.v_proj = nn.Linear(sizes.hidden, grouped, bias=False)
        self.o_proj = nn.Linear(sizes.hidden, sizes.hidden, bias=False)

    def forward(self, x: Tensor, rotary: Rotary) -> Tensor:
        # A process has its share of the heads: their number is not asked for.
        q, k, v = (
            projection(x).unflatten(-1, (-1, self.head)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed = functional.scaled_dot_product_attention(
            rotary(q), rotary(k), v, is_causal=True, enable_gqa=True
        )
        return self.o_proj(mixed.transpose(1, 2).flatten(-2))


class FeedForward(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(sizes.hidden, sizes.feed_forward, bias=False)
        self.up_proj = nn.Linear(sizes.hidden, sizes.feed_forward, bias=False)
        self.down_proj = nn.Linear(sizes.feed_forward, sizes.hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(sizes.hidden, eps=1e-5)
        self.self_attn = Attention(sizes)
        self.post_attention_layernorm = nn.RMSNorm(sizes.hidden, eps=1e-5)
        self.mlp = FeedForward(sizes)

    def forward(self, x: Tensor, rotary: Rotary) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), rotary)
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(sizes.vocabulary, sizes.hidden)
        self.layers = nn.ModuleList(Layer(sizes) for _ in range(sizes.layers))
        self.norm = nn.RMSNorm(sizes.hidden, eps=1e-5)
        self.lm_head = nn.Linear(sizes.hidden, sizes.vocabulary, bias=False)
        self.rotary = Rotary(sizes.hidden // sizes.heads)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed_tokens(tokens)
        for layer in self.layers:
            x = layer(x, self.rotary)
        return self.lm_head(self.norm(x))


def llama(
    layers: int = Sizes.layers,
    hidden: int = Sizes.hidden,
    feed_forward: int = Sizes.feed_forward,
    heads: int = Sizes.heads,
    key_value_heads: int = Sizes.key_value_heads,
    vocabulary: int = Sizes.vocabulary,
) -> Llama:
    """From tokens to logits of the next ones."""
    return Llama(Sizes(layers, hidden, feed_forward, heads, key_value_heads, vocabulary))


def share_out(model: Llama, mesh: DeviceMesh) -> Llama:
    """Share the tensors out: tensor parallelism over "tensor", then FSDP2 over "data"."""
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import Replicate
    from torch.distributed.tensor.parallel import (
        ColwiseParallel,
        RowwiseParallel,
        parallelize_module,
    )

    columns, rows = ColwiseParallel(), RowwiseParallel()
    tensor, data = mesh["tensor"], mesh["data"]
    parallelize_module(
        model,
        tensor,
        {
            "embed_tokens": RowwiseParallel(input_layouts=Replicate()),
            "layers.*.self_attn.[qkv]_proj": columns,
            "layers.*.self_attn.o_proj": rows,
            "layers.*.mlp.gate_proj": columns,
            "layers.*.mlp.up_proj": columns,
            "layers.*.mlp.down_proj": rows,
            "lm_head": ColwiseParallel(output_layouts=Replicate()),
        },
    )
    for layer in model.layers:
        fully_shard(layer, mesh=data)
    fully_shard(model, mesh=data)
    return model
