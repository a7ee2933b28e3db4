"""Networks, scikit-learn's digits, and what a layer gives: measured apart from the package."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from sklearn.datasets import load_digits
from torch import nn

from initpolicy.batches import Batch


@cache
def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """1797 images of 8 x 8 pixels from 0 to 1, and what they show."""
    data = load_digits()
    return torch.tensor(data.data / 16, dtype=torch.float32), torch.tensor(data.target)


def normalized() -> torch.Tensor:
    """The images with mean 0 and std 1 over all pixels."""
    images = digits()[0]
    return (images - images.mean()) / images.std()


def chain(
    widths: Sequence[int], activation: Callable[[], nn.Module], bias: bool = True
) -> nn.Sequential:
    """Linear layers with an activation between each two; the layers have even names."""
    model = nn.Sequential()
    for fan_in, fan_out in pairwise(widths):
        model.append(nn.Linear(fan_in, fan_out, bias=bias))
        model.append(activation())
    return model[:-1]


def layers_of(model: nn.Module) -> list[str]:
    kinds = (nn.Linear, nn.modules.conv._ConvNd)
    return [name for name, module in model.named_modules() if isinstance(module, kinds)]


def randomly(model: nn.Module, seed: int, std: Callable[[int], float]) -> nn.Module:
    """Draw the weights with a std of the fan in, and biases with a tenth of it."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 0
            values = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(values * (std(fan_in) if fan_in else 0.1))
    return model


def orthogonal(model: nn.Module, seed: int = 0) -> nn.Module:
    """The papers' begin: orthogonal weights and biases of 0."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.orthogonal_(module.weight, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return model


def outputs(
    model: nn.Module, names: Sequence[str], batch: Batch, *, dropped: bool = False
) -> dict[str, np.ndarray[Any, Any]]:
    """What layers give at their first call in a pass of training, with dropout off."""
    found: dict[str, np.ndarray[Any, Any]] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: object, output: torch.Tensor) -> None:
            found.setdefault(name, output.detach().double().numpy())

        return hook

    model.train()
    for module in model.modules():
        if isinstance(module, nn.Dropout) and not dropped:
            module.eval()
    handles = [model.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        model(*batch.args, **batch.kwargs)
    model.load_state_dict(before)
    model.train()
    for handle in handles:
        handle.remove()
    return found


def values(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor]) -> bool:
    return list(first) == list(second) and all(
        torch.equal(first[name], second[name]) for name in first
    )


def loss_after(
    model: nn.Module, inputs: torch.Tensor, steps: int, rate: float, momentum: float = 0.9
) -> float:
    """The loss over all digits after some steps of gradient descent on batches of 64."""
    target = digits()[1]
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.SGD(model.parameters(), rate, momentum=momentum)
    for _ in range(steps):
        chosen = torch.randint(0, len(inputs), (64,), generator=generator)
        loss = F.cross_entropy(model(inputs[chosen]), target[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return float(F.cross_entropy(model(inputs), target))
