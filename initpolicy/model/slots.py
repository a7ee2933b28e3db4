"""The tensors of a model: each once, with all the names it has.

A tensor is one *slot*, whatever number of names it hangs under; each name is a *site*. Reading
looks at types, shapes and addresses, never at a value, so that it works on the meta device.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import nn
from torch.nn.parameter import Parameter, is_lazy

from initpolicy.model.errors import ModelError
from initpolicy.model.facts import Facts
from initpolicy.model.names import is_wrapper, join, walk
from initpolicy.model.registered import Kind, tensors


@dataclass(frozen=True)
class Site:
    """One name under which a tensor hangs."""

    name: str
    """The full dotted name without wrappers' segments, such as `features.conv0.weight`."""
    module_name: str
    """The name of the module that owns the tensor; `""` for the root."""
    module: nn.Module = field(repr=False)
    local_name: str
    """The name inside that module, such as `weight`."""
    kind: Kind
    persistent: bool
    """Whether `state_dict` holds the tensor under this name; always true of a parameter."""


@dataclass(frozen=True, eq=False)
class Slot:
    """One tensor, with every name it has; two slots are equal only if they are the same."""

    tensor: torch.Tensor = field(repr=False)
    """Of any shape and on any device. Tied parameters that are separate objects share its memory,
    so that only a write in place reaches them all."""
    sites: tuple[Site, ...]
    """The canonical one first: parameters before buffers, in the order of `named_modules`."""

    @property
    def name(self) -> str:
        """The canonical name: the first that `named_parameters` gives, without wrappers."""
        return self.sites[0].name

    @property
    def module(self) -> nn.Module:
        """The module that owns the tensor under its canonical name."""
        return self.sites[0].module

    @property
    def module_name(self) -> str:
        """The canonical name of the owning module; `""` for the root."""
        return self.sites[0].module_name

    @property
    def local_name(self) -> str:
        """The name inside the owning module."""
        return self.sites[0].local_name

    @property
    def kind(self) -> Kind:
        """`parameter` or `buffer`; a tensor that is both is a parameter."""
        return self.sites[0].kind

    @property
    def persistent(self) -> bool:
        """Whether `state_dict` holds the tensor under any of its names."""
        return any(site.persistent for site in self.sites)

    @property
    def aliases(self) -> tuple[Site, ...]:
        """The names other than the canonical one."""
        return self.sites[1:]

    @property
    def lazy(self) -> bool:
        """Whether the tensor has no shape before the first forward pass, as in `nn.LazyLinear`."""
        return is_lazy(self.tensor)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape; the global one of a tensor that is sharded as a `DTensor`.

        Raises `ModelError` if the tensor is lazy.
        """
        if self.lazy:
            raise ModelError(
                f"{self.name} has no shape yet: {type(self.module).__name__} infers it in the "
                "first forward pass",
                hint="call the model once on an example input before it is initialized",
            )
        return tuple(self.tensor.shape)

    @property
    def dtype(self) -> torch.dtype:
        """The type of the elements, also of a lazy tensor."""
        return self.tensor.dtype

    @property
    def facts(self) -> Facts:
        """What formulas may know about the tensor; raises `ModelError` if it is lazy."""
        return Facts(self.shape, str(self.dtype).removeprefix("torch."))


@dataclass(frozen=True)
class ModuleEntry:
    """One module, with every name it has, the canonical one first."""

    names: tuple[str, ...]
    module: nn.Module = field(repr=False)

    @property
    def name(self) -> str:
        """The first name that `named_modules` gives, without wrappers; `""` for the root."""
        return self.names[0]


@dataclass(frozen=True, eq=False)
class Inventory:
    """All modules and tensors of a model, in the order of `named_modules`."""

    modules: tuple[ModuleEntry, ...]
    """Each module once; wrappers are left out."""
    slots: tuple[Slot, ...]
    """Each tensor once, within a module the parameters before the buffers."""

    def named_modules(self) -> Iterator[tuple[str, nn.Module]]:
        """Each module under each of its names."""
        for entry in self.modules:
            for name in entry.names:
                yield name, entry.module

    @cached_property
    def by_name(self) -> dict[str, Slot]:
        """The slot of each name, aliases included."""
        return {site.name: slot for slot in self.slots for site in slot.sites}


def read(model: nn.Module) -> Inventory:
    """Take stock of a model without touching the memory of any tensor.

    Tensors are tied, and are one slot, if they are one object, or if they are the same view of
    the same memory (`b.weight.data = a.weight.data`). Raises `ModelError` if two different tensors
    have the same name once the segments of wrappers are left out.

    >>> model = nn.Sequential(nn.Linear(4, 4, bias=False, device="meta"), nn.Linear(4, 4))
    >>> model[1].weight = model[0].weight
    >>> for slot in read(model).slots:
    ...     print(slot.name, slot.shape, [alias.name for alias in slot.aliases])
    0.weight (4, 4) ['1.weight']
    1.bias (4,) []
    """
    modules: dict[int, tuple[nn.Module, dict[str, None]]] = {}
    found: dict[Hashable, dict[str, tuple[Site, torch.Tensor]]] = {}
    owners: dict[str, tuple[Hashable, Site]] = {}
    for module_name, module in walk(model):
        if not is_wrapper(module):
            modules.setdefault(id(module), (module, {}))[1][module_name] = None
        for local_name, tensor, kind, persistent in tensors(module):
            name = join(module_name, local_name)
            site = Site(name, module_name, module, local_name, kind, persistent)
            identity = _identity(tensor)
            owner, first = owners.setdefault(name, (identity, site))
            if owner != identity:
                raise _same_name(first, site)
            found.setdefault(identity, {}).setdefault(name, (site, tensor))
    return Inventory(
        tuple(ModuleEntry(tuple(names), module) for module, names in modules.values()),
        tuple(_slot(list(hung.values())) for hung in found.values()),
    )


def _slot(hung: list[tuple[Site, torch.Tensor]]) -> Slot:
    hung.sort(key=lambda site_and_tensor: site_and_tensor[0].kind == "buffer")
    return Slot(hung[0][1], tuple(site for site, _ in hung))


def _identity(tensor: torch.Tensor) -> Hashable:
    """Equal for two tensors if writing one writes exactly the other."""
    # Subclasses (DTensor, fake and quantized tensors) keep their memory elsewhere, and lazy ones
    # have none: an address would say nothing about them.
    if type(tensor) not in (torch.Tensor, Parameter) or tensor.layout is not torch.strided:
        return id(tensor)
    if tensor.numel() == 0:
        return id(tensor)
    # Meta tensors have no address, yet share their storage as real ones do.
    address = (
        (tensor.untyped_storage()._cdata, tensor.storage_offset())  # pyright: ignore[reportPrivateUsage]
        if tensor.is_meta
        else tensor.data_ptr()
    )
    if address == 0:  # no memory of its own: freed, or of a device that does not tell
        return id(tensor)
    return address, tensor.device, tensor.dtype, tensor.shape, tensor.stride()


def _same_name(first: Site, second: Site) -> ModelError:
    return ModelError(
        f"two different tensors are named {first.name!r} when wrappers are left out of the names: "
        f"one of {type(first.module).__name__}, one of {type(second.module).__name__}",
        hint="rename one of them; a wrapper's tensors must not be called as what it wraps",
    )
