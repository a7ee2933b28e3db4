"""A Llama on several processes begins with the values that it has on one.

    torchrun --nproc-per-node 4 examples/fsdp.py

The model is built on the meta device, and shared out by torch: two processes hold the halves of
each matrix (tensor parallelism), and FSDP2 divides those halves once more. Any number of processes
gives the same digest. Beside it is what a `DTensor` draws by itself on the same mesh.
"""

from __future__ import annotations

import logging
import warnings

import torch
import torch.distributed as dist
from llama import llama, share_out
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor
from torch.nn import functional

import initpolicy

SEED = 0
STEPS = 5


def say(*words: object) -> None:
    if dist.get_rank() == 0:
        print(*words, flush=True)


def build(mesh: DeviceMesh) -> nn.Module:
    """Build the model on the meta device, share it out, and give it its first values."""
    with torch.device("meta"):
        model = llama()
    share_out(model, mesh)
    initpolicy.apply(model, "llama", device="cpu", seed=SEED)
    return model


def alone() -> nn.Module:
    """Build the model as one process does."""
    model = llama()
    initpolicy.apply(model, "llama", seed=SEED)
    return model


def train(model: nn.Module, mesh: DeviceMesh) -> None:
    """Learn to count on, in steps of three; each group of "data" has tokens of its own."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, foreach=False)
    generator = torch.Generator().manual_seed(mesh["data"].get_local_rank())
    say()
    for step in range(STEPS):
        first = torch.randint(256, (8, 1), generator=generator)
        tokens = (first + 3 * torch.arange(33)) % 256
        logits = model(tokens[:, :-1])
        loss = functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        mean = loss.detach() / dist.get_world_size()
        dist.all_reduce(mean)
        say(f"step {step}: loss {mean.item():.4f}")


def draw_with_torch(model: nn.Module) -> None:
    """Draw every parameter by `normal_`, from torch's generator."""
    torch.manual_seed(SEED)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that meshes of CPUs are not fully supported
        for parameter in model.parameters():
            parameter.normal_(0, 0.02)


def repeated(model: nn.Module) -> str:
    """Count the values of a gathered matrix that some other element has too."""
    matrix = model.get_parameter("layers.0.mlp.up_proj.weight").detach()
    whole = matrix.full_tensor() if isinstance(matrix, DTensor) else matrix
    counts = whole.flatten().unique(return_counts=True)[1]
    return f"{int(counts[counts > 1].sum()):,} of {whole.numel():,}"


def compare(title: str, model: nn.Module, single: nn.Module) -> None:
    """Print the digests of the model that is shared out and of the one that is not."""
    digest, expected = initpolicy.digest(model), initpolicy.digest(single)
    say(f"\n{title}: {'equal' if digest == expected else 'DIFFERENT'}")
    say(f"  {digest}  of {dist.get_world_size()} processes")
    say(f"  {expected}  of one process")
    say(f"  values of a matrix that occur more than once: {repeated(model)}")


def show() -> None:
    """Compare, train, and compare with torch's own draws; torch's process group is there."""
    world = dist.get_world_size()
    halves = 2 if world % 2 == 0 else 1
    mesh = init_device_mesh("cpu", (world // halves, halves), mesh_dim_names=("data", "tensor"))
    say(f"a mesh of {world // halves} x {halves}: FSDP2 x tensor parallelism")

    model, single = build(mesh), alone()
    compare("initpolicy.apply", model, single)
    train(model, mesh)
    for one in (model, single):
        draw_with_torch(one)
    compare("torch's normal_, the same seed on all processes", model, single)


def main() -> None:
    logging.getLogger("torch.distributed.tensor").setLevel(logging.ERROR)  # gathering may be slow
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view")
    dist.init_process_group("gloo")
    show()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
