"""Clean models, small and many: nothing may be found in them."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

import initpolicy
from initpolicy.plans import Plan
from initpolicy.policy import parse

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.float8_e4m3fn)

# What a matrix may begin with; those of the second row may fill any tensor.
MATRICES = (
    '"orthogonal"',
    '{ fn = "orthogonal", gain = 1.4 }',
    '{ fn = "sparse", sparsity = 0.3, std = 0.05 }',
    '"eye"',
    '"dct"',
    '"hadamard"',
    '"kaiming_uniform"',
    '{ fn = "kaiming_normal", mode = "fan_out", nonlinearity = "relu" }',
    '"xavier_normal"',
    '{ chunks = ["xavier_uniform", "orthogonal"] }',
    '{ fn = "normal", std = 0.02, zero_index = 0 }',
    '{ fn = "stratified_normal", std = 0.1 }',
    '{ fn = "orthogonal", layout = "i o" }',
)
ELEMENTS = (
    "0",
    "1",
    '{ fn = "uniform", a = -0.1, b = 0.1 }',
    '{ fn = "uniform", a = 0.5, b = 2 }',
    '{ fn = "normal", std = 0.02 }',
    '{ fn = "normal", mean = 1, std = 0.01 }',
    '{ fn = "trunc_normal", std = 0.02, a = -0.04, b = 0.04 }',
    '{ fn = "trunc_normal", std = 1, a = 0.5, b = 3 }',
    '{ fn = "formula", value = "0.1 * z" }',
)
NARROW = ELEMENTS[:7]


def clean(seed: int) -> tuple[nn.Module, Plan]:
    """A model of a few tensors, whose laws, types and shapes follow from the seed, and its plan."""
    choose = np.random.default_rng(seed)
    draws = "torch" if seed % 3 == 0 else "initpolicy"
    dtypes = (torch.float32, torch.float64) if draws == "torch" else DTYPES
    model = nn.Module()
    rules: list[str] = []
    for number in range(4):
        dtype = dtypes[int(choose.choice(len(dtypes), p=_weights(len(dtypes))))]
        out, inside = 2 * (int(choose.integers(1, 24)) if choose.random() < 0.8 else 60), 48
        inside = int(choose.integers(1, inside))
        kind = int(choose.integers(3))
        shape: tuple[int, ...] = ((out,), (out, inside), (out, inside % 8 + 1, 3, 3))[kind]
        laws = ELEMENTS + MATRICES if kind == 1 else ELEMENTS
        law = str(choose.choice(NARROW if dtype.itemsize == 1 else laws))
        owner = nn.Module()
        owner.weight = nn.Parameter(torch.empty(shape, dtype=dtype))
        model.add_module(f"m{number}", owner)
        rules.append(f'[[rule]]\nname = "m{number}"\ninit.weight = {law}\n')
    policy = parse("format = 1\n" + "".join(rules))
    if draws == "torch":
        torch.manual_seed(seed)
    return model, initpolicy.apply(model, policy, seed=seed, draws=draws)


def _weights(count: int) -> list[float]:
    return [0.5, *[0.5 / (count - 1)] * (count - 1)]
