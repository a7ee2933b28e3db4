"""The tensors of a model: each once, with all the names it has.

A tensor is one *slot*, whatever number of names it hangs under; each name is a *site*. Reading
looks at types, shapes and addresses, never at a value, so that it works on the meta device.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.parameter import Parameter, is_lazy

from initpolicy.model.collecting import uncollected
from initpolicy.model.computed import Computed, computed
from initpolicy.model.distributed import PLAIN
from initpolicy.model.errors import ModelError
from initpolicy.model.facts import Facts
from initpolicy.model.flattened import check_whole
from initpolicy.model.names import join, walk
from initpolicy.model.registered import Kind, tensors


class Site(NamedTuple):
    """One name under which a tensor hangs."""

    name: str
    """The full dotted name without wrappers' segments, such as `features.conv0.weight`."""
    module_name: str
    """The name of the module that owns the tensor; `""` for the root."""
    module: nn.Module
    local_name: str
    """The name inside that module, such as `weight`."""
    kind: Kind
    persistent: bool
    """Whether `state_dict` holds the tensor under this name; always true of a parameter."""
    part_of: str = ""
    """The full name of the tensor that a module computes from this one, if one does."""

    @property
    def computed_local_name(self) -> str:
        """The local name of the tensor that is computed from this one; empty if none is."""
        return self.part_of.rpartition(".")[2]

    def __repr__(self) -> str:
        shown = ("name", "module_name", "local_name", "kind", "persistent")
        return f"Site({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"


# Not frozen: that doubles what a slot costs to make, and models have thousands.
@dataclass(eq=False, slots=True)
class Slot:
    """One tensor, with every name it has; two slots are equal only if they are the same."""

    tensor: torch.Tensor = field(repr=False)
    """Of any shape and on any device. Tied parameters that are separate objects share its memory,
    so that only a write in place reaches them all."""
    sites: tuple[Site, ...]
    """The canonical one first: parameters before buffers, in the order of `named_modules`."""
    measured: Facts | None = field(repr=False)
    """The facts, or None if the tensor is lazy: it has no shape before the first forward pass."""
    computed: Computed | None = field(default=None, repr=False)
    """How the tensor is computed from others, if it is; `tensor` has no memory then."""

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
    def tensors(self) -> tuple[torch.Tensor, ...]:
        """What holds the values: the tensor itself, or those that it is computed from."""
        return (self.tensor,) if self.computed is None else self.computed.tensors

    def values(self) -> torch.Tensor:
        """Give the values, computed if the tensor is; the model is left as it is."""
        return self.tensor if self.computed is None else self.computed.attempt(None, 0)

    @property
    def lazy(self) -> bool:
        """Whether the tensor has no shape before the first forward pass, as in `nn.LazyLinear`."""
        return self.measured is None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape; the global one of a tensor that is sharded as a `DTensor`.

        Raises `ModelError` if the tensor is lazy.
        """
        return self.facts.shape

    @property
    def dtype(self) -> torch.dtype:
        """The type of the elements, also of a lazy tensor."""
        return self.tensor.dtype

    @property
    def facts(self) -> Facts:
        """What formulas may know about the tensor; raises `ModelError` if it is lazy."""
        if self.measured is None:
            raise ModelError(
                f"{self.name} has no shape yet: {type(self.module).__name__} infers it in the "
                "first forward pass",
                hint="call the model once on an example input before it is initialized",
            )
        return self.measured


class ModuleEntry(NamedTuple):
    """One module, with every name it has, the canonical one first."""

    names: tuple[str, ...]
    module: nn.Module

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
    is_part: bool = False
    """Whether the model is a part of another one, whose names it was given."""

    def named_modules(self) -> Iterator[tuple[str, nn.Module]]:
        """Each module under each of its names."""
        for entry in self.modules:
            for name in entry.names:
                yield name, entry.module

    @cached_property
    def computed(self) -> tuple[Slot, ...]:
        """The tensors that modules compute from others."""
        return tuple([slot for slot in self.slots if slot.computed is not None])

    @cached_property
    def by_name(self) -> dict[str, Slot]:
        """The slot of each name, aliases included."""
        return {site.name: slot for slot in self.slots for site in slot.sites}


@uncollected()
def read(model: nn.Module) -> Inventory:
    """Take stock of a model without touching the memory of any tensor.

    Tensors are tied, and are one slot, if they are one object, or if they are the same view of
    the same memory (`b.weight.data = a.weight.data`). Raises `ModelError` if two different tensors
    have the same name once the segments of wrappers are left out, or if FSDP has flattened some.

    >>> model = nn.Sequential(nn.Linear(4, 4, bias=False, device="meta"), nn.Linear(4, 4))
    >>> model[1].weight = model[0].weight
    >>> for slot in read(model).slots:
    ...     print(slot.name, slot.shape, [alias.name for alias in slot.aliases])
    0.weight (4, 4) ['1.weight']
    1.bias (4,) []
    """
    modules: dict[int, ModuleEntry] = {}
    slots: dict[Hashable, Slot] = {}
    owners: dict[str, Hashable] = {}  # the slot of each name
    parts: dict[tuple[int, str], str] = {}
    identity_of = _Memory().identity
    visits = walk(model)
    check_whole(visits)
    for module_name, module, wraps in visits:
        here = id(module)
        if not wraps:
            known = modules[here].names if here in modules else ()
            modules[here] = ModuleEntry((*known, module_name), module)
        prefix = join(module_name, "")
        for one in computed(module):
            name = prefix + one.local_name
            made_by = (here, one.local_name)
            owners[name] = made_by
            is_parameter = any(isinstance(tensor, Parameter) for tensor in one.tensors)
            kind = "parameter" if is_parameter else "buffer"
            site = Site(name, module_name, module, one.local_name, kind, False)
            if made_by in slots:
                slots[made_by] = _with_site(slots[made_by], site, slots[made_by].tensor)
            else:
                outline = one.outline()
                slots[made_by] = Slot(outline, (site,), _measure(outline), one)
            for owner, part in one.originals:  # which are met next, in this module or below it
                parts[id(owner), part] = name
        for local_name, tensor, kind, persistent in tensors(module):
            name = prefix + local_name
            identity = identity_of(tensor)
            if name in owners:
                # A wrapper may hang a tensor of what it wraps under the same name once more.
                if owners[name] == identity:
                    continue
                raise _same_name(name, slots[owners[name]].sites, module)
            owners[name] = identity
            part_of = parts.get((here, local_name), "") if parts else ""
            site = Site(name, module_name, module, local_name, kind, persistent, part_of)
            if identity in slots:
                slots[identity] = _with_site(slots[identity], site, tensor)
            else:
                slots[identity] = Slot(tensor, (site,), _measure(tensor))
    return Inventory(tuple(modules.values()), tuple(slots.values()))


def _with_site(slot: Slot, site: Site, tensor: torch.Tensor) -> Slot:
    """Give a slot one more name, under which it is `tensor`."""
    if slot.kind == "buffer" and site.kind == "parameter":
        slot = replace(slot, tensor=tensor)
    sites = sorted((*slot.sites, site), key=lambda site: site.kind == "buffer")
    return replace(slot, sites=tuple(sites))


def _measure(tensor: torch.Tensor) -> Facts | None:
    if type(tensor) not in PLAIN and is_lazy(tensor):
        return None
    return _facts(tensor.shape, tensor.dtype)


@lru_cache(maxsize=4096)  # few shapes make up most of a model
def _facts(shape: torch.Size, dtype: torch.dtype) -> Facts:
    return Facts(tuple(shape), str(dtype).removeprefix("torch."))


class _Memory:
    """Tells which tensors are the same view of the same memory."""

    def __init__(self) -> None:
        self._first: dict[int, torch.Tensor] = {}
        self._views: dict[Hashable, int] = {}

    def identity(self, tensor: torch.Tensor) -> int:
        """Give equal numbers to two tensors if to write one is to write exactly the other."""
        # Subclasses (DTensor, fake and quantized tensors) keep their memory elsewhere, and lazy
        # ones have none: an address would say nothing about them.
        if type(tensor) not in PLAIN or tensor.layout is not _STRIDED:
            return id(tensor)
        address = tensor.data_ptr()
        if address == 0 and tensor.is_meta and tensor.numel():
            address = _storage(tensor)  # which meta tensors share as real ones do
        if address == 0:  # no elements, freed, or of a device that does not tell
            return id(tensor)
        first = self._first.setdefault(address, tensor)
        if first is tensor:
            return id(tensor)
        self._views.setdefault(_view(first), id(first))
        return self._views.setdefault(_view(tensor), id(tensor))


_STRIDED = torch.strided


def _storage(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata  # pyright: ignore[reportPrivateUsage]


def _view(tensor: torch.Tensor) -> Hashable:
    start = (_storage(tensor), tensor.storage_offset()) if tensor.is_meta else tensor.data_ptr()
    return start, tensor.device, tensor.dtype, tensor.shape, tensor.stride()


def _same_name(name: str, sites: tuple[Site, ...], module: nn.Module) -> ModelError:
    first = next(site for site in sites if site.name == name)
    return ModelError(
        f"two different tensors are named {name!r} when wrappers are left out of the names: "
        f"one of {type(first.module).__name__}, one of {type(module).__name__}",
        hint="rename one of them; a wrapper's tensors must not be called as what it wraps",
    )
