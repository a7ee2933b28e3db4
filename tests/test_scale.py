"""A process of a world of thousands, which torch's fake process group pretends to be there."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from distributed import run

import initpolicy
from initpolicy.model import load_model, shard_of

ROOT = Path(__file__).parents[1]
WORLD, DATA, TENSOR, SEED = 4096, 512, 8, 3
RANKS = [0, 191, 4095]
SIZES = {
    # Of few rows, most ranks hold nothing.
    "small": {"hidden": 64, "feed_forward": 192, "key_value_heads": 8, "vocabulary": 4608},
    # Two layers of Llama 3 405B.
    "large": {
        "hidden": 16384,
        "feed_forward": 53248,
        "heads": 128,
        "key_value_heads": 8,
        "vocabulary": 128256,
    },
}
PLACES = {"layers.1.mlp.down_proj.weight": 12345, "layers.0.self_attn.q_proj.weight": 777}
Held = dict[str, torch.Tensor]


def load(file: str) -> Any:
    """Load a module that stands outside of the tests."""
    path = ROOT / file
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def filled(which: int) -> dict[str, tuple[Held, int]]:
    """Be one of the ranks; by size, what it holds of each tensor, and the bytes it was told of."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.testing._internal.distributed.fake_pg import FakeStore

    llama = load("examples/llama.py")
    dist.init_process_group("fake", rank=RANKS[which], world_size=WORLD, store=FakeStore())
    mesh = init_device_mesh("cpu", (DATA, TENSOR), mesh_dim_names=("data", "tensor"))
    found: dict[str, tuple[Held, int]] = {}
    for size, sizes in SIZES.items():
        with torch.device("meta"):
            model = llama.llama(**sizes)
        llama.share_out(model, mesh)
        told: list[int] = []
        initpolicy.apply(model, "llama", seed=SEED, device="cpu", progress=told.append)
        shards = {name: shard_of(tensor) for name, tensor in model.named_parameters()}
        held = {name: shard.local for name, shard in shards.items() if shard is not None}
        assert len(held) == len(shards)
        if size == "large":  # of which a few values are enough
            some = {name: held[name].flatten()[place].clone() for name, place in PLACES.items()}
            held = {name: local.to("meta") for name, local in held.items()} | some
        found[size] = held, sum(told)
    dist.destroy_process_group()
    return found


def cut(name: str, whole: torch.Tensor, rank: int) -> torch.Tensor:
    """Cut out what a rank holds: a share of the heads or neurons, and of that a share of rows."""
    data, tensor = divmod(rank, TENSOR)
    if whole.dim() == 2:
        columns = name.endswith(("o_proj.weight", "down_proj.weight"))
        whole = whole.chunk(TENSOR, dim=int(columns))[tensor]
    rows = whole.chunk(DATA)
    return rows[data] if data < len(rows) else whole[:0]


def test_a_rank_of_4096_draws_what_one_process_has_there_and_nothing_else() -> None:
    small = load_model(f"{ROOT}/examples/llama.py:llama", SIZES["small"])
    initpolicy.apply(small, "llama", seed=SEED)
    wholes = {name: tensor.detach() for name, tensor in small.named_parameters()}
    with torch.device("meta"):
        large = load_model(f"{ROOT}/examples/llama.py:llama", SIZES["large"])
    shapes = {name: tensor.shape for name, tensor in large.named_parameters()}
    ranks = run(filled, len(RANKS), backend=None)
    empty = 0
    for rank, found in zip(RANKS, ranks, strict=True):
        held, told = found["small"]
        assert held.keys() == wholes.keys()
        for name, local in held.items():
            assert torch.equal(local, cut(name, wholes[name], rank)), (rank, name)
            empty += local.numel() == 0
        assert told == sum(local.nbytes for local in held.values())
        check_large(rank, *found["large"], shapes)
    assert empty


def check_large(rank: int, held: Held, told: int, shapes: dict[str, torch.Size]) -> None:
    """Compare what is held of the layers of 405B with torch's cuts and the slow reference."""
    reference = load("tests/field/reference.py")
    drawn = 0
    for name, shape in shapes.items():
        expected = cut(name, torch.empty(shape, device="meta"), rank)
        drawn += expected.nbytes
        if name not in PLACES:
            assert held[name].shape == expected.shape
            continue
        rows, columns = divmod(PLACES[name], expected.shape[1])
        index = expected.storage_offset() + rows * expected.stride(0) + columns
        word = reference.word(reference.stream(SEED, name), index)
        assert held[name].item() == float(reference.normal(word, 0.0, 0.02))
    assert told == drawn
    assert drawn < 1.05 * sum(4 * shape.numel() for shape in shapes.values()) / WORLD
