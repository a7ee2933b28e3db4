"""The tensors of a layer that a step changes: plain ones, and those that a module computes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from initpolicy.model.computed import Computed, Parametrized, WeightNormed, computed
from initpolicy.model.registered import tensors


class Tunable:
    """A tensor of a module, plain or computed from others, that can be read and written."""

    def __init__(self, module: nn.Module, name: str, held: Tensor | Computed) -> None:
        self.module = module
        self.name = name
        self._held = held

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What holds the values: the tensor itself, or those that it is computed from."""
        return self._held.tensors if isinstance(self._held, Computed) else (self._held,)

    @property
    def outline(self) -> Tensor:
        """A tensor of this shape and type; its values mean nothing."""
        return self._held.outline() if isinstance(self._held, Computed) else self._held

    @property
    def obstacle(self) -> str:
        """Why it cannot be written; empty if it can."""
        return self._held.obstacle if isinstance(self._held, Computed) else ""

    def values(self) -> Tensor:
        """The values, apart from the module's memory if it computes them."""
        if isinstance(self._held, Computed):
            return self._held.attempt(None, 0).detach()
        return self._held.detach()

    def write(self, values: Tensor, seed: int) -> None:
        """Set the values, through whatever computes them."""
        if isinstance(self._held, Computed):
            self._held.assign(values.to(self.tensors[0].dtype), seed)
        else:
            with torch.no_grad():
                self._held.copy_(values)

    def scale(self, factor: Tensor, seed: int) -> None:
        """Multiply the values; under weight norm the magnitude alone, where it can carry it."""
        magnitude = self._magnitude()
        if magnitude is not None and _fits(factor, magnitude):
            with torch.no_grad():
                magnitude.copy_(_product(magnitude, factor))
            self.refresh(seed)
        else:
            self.write(_product(self.values(), factor), seed)

    def refresh(self, seed: int) -> None:
        """Renew what a module computed from the tensors and keeps, after they have changed."""
        if isinstance(self._held, Computed):
            self._held.refresh(seed)

    def _magnitude(self) -> Tensor | None:
        """The magnitude g of weight norm, if that alone computes the tensor."""
        held = self._held
        if isinstance(held, WeightNormed):
            return held.tensors[0]
        if isinstance(held, Parametrized) and (len(held.functions), held.how) == (1, "weight norm"):
            return held.tensors[0]
        return None


def wide(dtype: torch.dtype) -> torch.dtype:
    """The type to calculate in: float64, or float32 for shorter types.

    >>> wide(torch.bfloat16)
    torch.float32
    """
    return dtype if dtype == torch.float64 else torch.float32


def _product(values: Tensor, factor: Tensor) -> Tensor:
    exact = wide(values.dtype)
    return (values.to(exact) * factor.to(values.device, exact)).to(values.dtype)


def _fits(factor: Tensor, magnitude: Tensor) -> bool:
    """Whether the factor varies only along dimensions along which the magnitude does."""
    if factor.ndim == 0:
        return True
    pairs = zip(factor.shape, magnitude.shape, strict=False)
    return factor.ndim == magnitude.ndim and all(own in (1, size) for own, size in pairs)


def find(module: nn.Module, name: str) -> Tunable | None:
    """Find a floating-point parameter of a module; None if it has none of this name and a shape.

    >>> layer = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2, bias=False))
    >>> [tuple(tensor.shape) for tensor in find(layer, "weight").tensors]
    [(2, 1), (2, 3)]
    >>> find(layer, "bias")
    """
    held: Tensor | Computed | None = None
    for own, tensor, kind, _ in tensors(module):
        if (own, kind) == (name, "parameter") and not is_lazy(tensor):
            held = tensor
    for one in computed(module):
        if one.local_name == name:
            held = one
    if held is None:
        return None
    found = Tunable(module, name, held)
    return found if all(tensor.is_floating_point() for tensor in found.tensors) else None
