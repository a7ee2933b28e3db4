"""Tensors that a module computes from others: parametrizations, and the older weight norm.

`torch.nn.utils.parametrize` puts a property in a parameter's place, which computes it from its
*originals*. `torch.nn.utils.weight_norm` does so in a hook. Both are set through what computes
them: an assignment to the tensor itself would be lost with the next forward pass.
"""
# pyright: reportPrivateUsage=false, reportUnknownMemberType=false

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from initpolicy.model.errors import ModelError
from initpolicy.model.registered import children

POWER_ITERATIONS = 15  # as many as spectral_norm itself begins with


class Computed(ABC):
    """One tensor that `module` computes under `local_name`.

    `originals` holds what it is computed from: the module that owns each, and the local name there.
    """

    def __init__(self, module: nn.Module, local_name: str) -> None:
        self.module = module
        self.local_name = local_name
        self.originals: tuple[tuple[nn.Module, str], ...] = ()

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The originals."""
        return tuple(getattr(owner, name) for owner, name in self.originals)

    @property
    @abstractmethod
    def how(self) -> str:
        """What computes it, as a person reads it."""

    @property
    @abstractmethod
    def obstacle(self) -> str:
        """Why it cannot be set; empty if it can."""

    @abstractmethod
    def outline(self) -> Tensor:
        """Give a tensor of its shape and type without memory; `ModelError` if they are not known.

        No tensor's memory is read.
        """

    @abstractmethod
    def attempt(self, values: Tensor | None, seed: int) -> Tensor:
        """Give what the module would compute if it were set to `values`, and change nothing.

        None stands for what it is set to. Raises whatever the computation raises.
        """

    @abstractmethod
    def assign(self, values: Tensor, seed: int) -> None:
        """Set the originals in place so that the module computes `values`.

        `seed` is for what has to be completed at random; no generator is touched.
        """

    @abstractmethod
    def refresh(self, seed: int) -> None:
        """Renew what was computed from the originals and is kept, after they have changed."""


def computed(module: nn.Module) -> Sequence[Computed]:
    """Give every tensor that a module computes in a way that is known here.

    >>> layer = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2, device="meta"))
    >>> [(one.local_name, one.how, tuple(one.outline().shape)) for one in computed(layer)]
    [('weight', 'weight norm', (2, 3))]
    """
    hooks = cast("Mapping[int, Any]", getattr(module, "_forward_pre_hooks", None))
    if not hooks and "parametrizations" not in children(module):
        return ()  # as nearly all modules
    return [*_parametrized(module), *_weight_normed(module, hooks or {})]


def _parametrized(module: nn.Module) -> Iterator[Computed]:
    inside = children(module)
    parametrized = inside["parametrizations"] if "parametrizations" in inside else None  # noqa: SIM401
    if parametrized is not None:
        from torch.nn.utils import parametrize

        if parametrize.is_parametrized(module):
            for name, functions in children(parametrized).items():
                if functions is not None and not any(map(is_lazy, functions.parameters())):
                    yield Parametrized(module, name, functions)


def _weight_normed(module: nn.Module, hooks: Mapping[int, Any]) -> Iterator[Computed]:
    for hook in hooks.values():
        # By name: to import the class tells those who use it that it is deprecated.
        if type(hook).__name__ == "WeightNorm" and type(hook).__module__.startswith("torch."):
            yield WeightNormed(module, hook)


def class_of(module: nn.Module) -> type[nn.Module]:
    """The class of a module, without what parametrizations and torch's sharding put before it.

    >>> class_of(nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))).__name__
    'Linear'
    """
    return _class_of(type(module), "parametrizations" in children(module))


@lru_cache(maxsize=256)  # few classes make up a model
def _class_of(own: type[nn.Module], parametrized: bool) -> type[nn.Module]:
    while (before := _class_before(own, parametrized)) is not None:
        own = before
    return own


def _class_before(own: type[nn.Module], parametrized: bool) -> type[nn.Module] | None:
    """The class that a module had before torch gave it `own`; None if torch did not."""
    if parametrized and own.__module__ == "torch.nn.utils.parametrize":
        return cast("type[nn.Module]", own.__mro__[1])
    # fully_shard and replicate put a class of theirs, which is no module, before the module's.
    bases = own.__bases__
    mixed = len(bases) == 2 and not issubclass(bases[0], nn.Module)
    if (
        mixed
        and own.__module__.startswith("torch.distributed.")
        and issubclass(bases[1], nn.Module)
    ):
        return bases[1]
    return None


class Parametrized(Computed):
    """A tensor under `torch.nn.utils.parametrize`."""

    def __init__(self, module: nn.Module, local_name: str, functions: nn.Module) -> None:
        super().__init__(module, local_name)
        self.functions: Any = functions
        count: int = self.functions.ntensors
        names = ["original"] if self.functions.is_tensor else [f"original{k}" for k in range(count)]
        self.originals = tuple((functions, name) for name in names)

    @property
    def how(self) -> str:
        """The classes of the parametrizations; those of torch by the names of their functions."""
        return " of ".join(_name_of(one) for one in reversed(list(self.functions)))

    @property
    def obstacle(self) -> str:
        """A parametrization that has no right_inverse."""
        lacking = [_name_of(one) for one in self.functions if not hasattr(one, "right_inverse")]
        return f"{lacking[0]} has no right_inverse" if lacking else ""

    def outline(self) -> Tensor:
        """Compute it on the meta device."""
        held = [*self.functions.parameters(), *self.functions.buffers()]
        memory = {id(tensor): _without_memory(tensor) for tensor in held}
        try:
            with torch.no_grad():
                found = copy.deepcopy(self.functions, memory)()
            return torch.empty_like(found, device="meta")
        except Exception as error:  # whatever a user's parametrization raises on meta
            if not self.functions.unsafe and self.functions.is_tensor:
                return torch.empty_like(self.functions.original, device="meta")
            raise ModelError(
                f"{self.local_name} of {class_of(self.module).__name__} is computed by "
                f"{self.how}, which does not tell its shape: {error}",
                hint="let the parametrization work on the meta device",
            ) from error

    def attempt(self, values: Tensor | None, seed: int) -> Tensor:
        """Set a copy, and compute it."""
        functions = copy.deepcopy(self.functions)
        with torch.no_grad(), _own_generator(self.tensors[0].device, seed):
            if values is not None:
                _set(functions, values)
                _renew(functions)
            return functions()

    def assign(self, values: Tensor, seed: int) -> None:
        """Apply each right_inverse, the last parametrization's first."""
        with torch.no_grad(), _own_generator(self.tensors[0].device, seed):
            _set(self.functions, values)
            _renew(self.functions)

    def refresh(self, seed: int) -> None:
        """Renew the singular vectors of a spectral norm."""
        with torch.no_grad(), _own_generator(self.tensors[0].device, seed):
            _renew(self.functions)


class WeightNormed(Computed):
    """A tensor under `torch.nn.utils.weight_norm`, which a hook computes before each pass."""

    def __init__(self, module: nn.Module, hook: Any) -> None:
        super().__init__(module, hook.name)
        self.hook = hook
        self.originals = tuple((module, f"{hook.name}_{part}") for part in "gv")

    @property
    def how(self) -> str:
        """Its name."""
        return "weight norm"

    @property
    def obstacle(self) -> str:
        """There is none."""
        return ""

    def outline(self) -> Tensor:
        """The direction has its shape."""
        return torch.empty_like(self.tensors[1], device="meta")

    def attempt(self, values: Tensor | None, seed: int) -> Tensor:
        """Compute it from the norm and from itself."""
        if values is None:
            return self.hook.compute_weight(self.module).detach()
        norm = torch.norm_except_dim(values, 2, self.hook.dim)
        return cast("Any", torch)._weight_norm(values, norm, self.hook.dim)

    def assign(self, values: Tensor, seed: int) -> None:
        """Set the direction to the values, and the magnitude to their norm."""
        g, v = self.tensors
        with torch.no_grad():
            v.copy_(values)
            g.copy_(torch.norm_except_dim(values, 2, self.hook.dim))
        self.refresh(seed)

    def refresh(self, seed: int) -> None:
        """Compute it anew, as the hook does before a forward pass."""
        self.hook(self.module, None)


def _name_of(parametrization: nn.Module) -> str:
    name = type(parametrization).__name__
    known = {"_WeightNorm": "weight norm", "_SpectralNorm": "spectral norm"}
    known["_Orthogonal"] = "the orthogonal parametrization"
    if type(parametrization).__module__.startswith("torch."):
        return known.get(name, name)
    return name


def _without_memory(tensor: Tensor) -> Tensor:
    outline = torch.empty_like(tensor, device="meta")
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(outline, tensor.requires_grad)
    return outline


def _set(functions: Any, values: Tensor) -> None:
    """Set the originals as `ParametrizationList.right_inverse` does, but in their own memory."""
    found: Any = values
    for function in reversed(list(functions)):
        found = function.right_inverse(found)
    parts = cast("Sequence[Tensor]", [found] if isinstance(found, Tensor) else list(found))
    names = ["original"] if functions.is_tensor else [f"original{k}" for k in range(len(parts))]
    if len(parts) != functions.ntensors:
        raise ValueError(f"right_inverse gave {len(parts)} tensors, not {functions.ntensors}")
    originals = [cast("Tensor", getattr(functions, name)) for name in names]
    for name, original, part in zip(names, originals, parts, strict=True):
        if part.shape != original.shape or part.dtype != original.dtype:
            raise ValueError(
                f"right_inverse gave {name} as {part.dtype} of shape {tuple(part.shape)}, "
                f"not {original.dtype} of shape {tuple(original.shape)}"
            )
    for original, part in zip(originals, parts, strict=True):
        original.copy_(part)


def _renew(functions: Any) -> None:
    """Find the singular vectors of each spectral norm anew, from a random start."""
    spectral = [hasattr(one, "_u") and type(one).__name__ == "_SpectralNorm" for one in functions]
    if not any(spectral):
        return
    names = ["original"]
    if not functions.is_tensor:
        names = [f"original{k}" for k in range(functions.ntensors)]
    values = [cast("Tensor", getattr(functions, name)).detach() for name in names]
    for function, has_vectors in zip(functions, spectral, strict=True):
        if has_vectors:
            for vector in (function._u, function._v):
                vector.normal_()
                vector.div_(vector.norm().clamp_min(function.eps))
            matrix = function._reshape_weight_to_matrix(values[0])
            function._power_method(matrix, POWER_ITERATIONS)
        values = [cast("Tensor", function(*values)).detach()]


@contextmanager
def _own_generator(device: torch.device, seed: int) -> Generator[None]:
    """Seed torch's generators for a while, and leave them as they were."""
    cuda = [device] if device.type == "cuda" else []
    seed = math.trunc(seed) % 2**63
    with torch.random.fork_rng(devices=cuda):
        torch.default_generator.manual_seed(seed)
        for one in cuda:
            with torch.cuda.device(one):
                torch.cuda.manual_seed(seed)
        yield
