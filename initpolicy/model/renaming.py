"""Names that a part of a model is given, so that it has those of the whole.

A stage of a pipeline holds a few layers, often numbered anew. What it draws follows from the names
that its tensors have in the whole model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from initpolicy.model.errors import ModelError, RenameError
from initpolicy.model.slots import Inventory, ModuleEntry, Site, Slot
from initpolicy.problems import suggest

_HINT = "write dotted names of modules or tensors, of this model and of the whole one"


def renamed(inventory: Inventory, prefixes: Mapping[str, str]) -> Inventory:
    """Give the modules and tensors of a part of a model the names of the whole.

    `prefixes` maps names of modules or tensors, or what they begin with, segment by segment, to
    names in the whole model. Of several keys that a name begins with, the longest decides, and
    all names are changed at once, so that two can change places. A tensor under a key of its own
    may move to another module, and keeps the last segment of its name.

    Raises `RenameError` for keys that no name begins with, names that can be none, and tensors of
    which two would have one name.

    >>> from torch import nn
    >>> from initpolicy.model import read
    >>> stage = nn.ModuleDict({"layers": nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])})
    >>> part = renamed(read(stage), {"layers.0": "layers.8", "layers.1": "layers.9"})
    >>> list(part.by_name)
    ['layers.8.weight', 'layers.8.bias', 'layers.9.weight', 'layers.9.bias']
    """
    errors = list(_no_names(prefixes))
    if errors:
        raise RenameError(errors)
    names = [name for name, _ in inventory.named_modules()]
    errors = list(_unused(prefixes, [*names, *inventory.by_name]))
    slots: list[Slot] = []
    owners: dict[str, tuple[Slot, Site]] = {}
    homes: dict[int, dict[str, None]] = {}  # of each module, where its tensors are
    for slot in inventory.slots:
        sites: dict[str, Site] = {}
        for site in slot.sites:
            new = _moved(site, prefixes)
            error = _wrong(site, new, *owners.setdefault(new.name, (slot, site)), slot)
            if error is None:
                sites.setdefault(new.name, new)  # two names of one tensor may become one
                homes.setdefault(id(site.module), {})[new.module_name] = None
            else:
                errors.append(error)
        slots.append(replace(slot, sites=tuple(sites.values())))
    if errors:
        raise RenameError(errors)
    modules: list[ModuleEntry] = []
    for entry in inventory.modules:
        own = dict.fromkeys(_renamed(name, prefixes) for name in entry.names)
        modules.append(ModuleEntry(tuple(own | homes.get(id(entry.module), {})), entry.module))
    return Inventory(tuple(modules), tuple(slots), is_part=True)


def _moved(site: Site, prefixes: Mapping[str, str]) -> Site:
    name = _renamed(site.name, prefixes)
    part_of = _renamed(site.part_of, prefixes) if site.part_of else ""
    return site._replace(name=name, module_name=name.rpartition(".")[0], part_of=part_of)


def _wrong(site: Site, new: Site, owner: Slot, first: Site, slot: Slot) -> ModelError | None:
    if new.name.rpartition(".")[2] != site.local_name:
        return ModelError(
            f"`rename`: the tensor `{site.name}` cannot become `{new.name}`",
            hint="the last part of a tensor's name stays, since rules go by it",
        )
    if owner is not slot:
        return ModelError(
            f"`rename`: `{first.name}` and `{site.name}` would both be `{new.name}`",
            hint="each tensor needs a name of its own",
        )
    return None


def _renamed(name: str, prefixes: Mapping[str, str]) -> str:
    key = name
    while key not in prefixes:
        if not key:
            return name
        key = key.rpartition(".")[0]
    rest = name[len(key) :].lstrip(".")
    return ".".join(part for part in (prefixes[key], rest) if part)


def _no_names(prefixes: Mapping[str, str]) -> Iterator[ModelError]:
    if not isinstance(prefixes, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        yield ModelError(f"`rename` is a {type(prefixes).__name__}, and no mapping", hint=_HINT)
        return
    for name in (name for pair in prefixes.items() for name in pair):
        if not isinstance(name, str) or (name and not all(name.split("."))):  # pyright: ignore[reportUnnecessaryIsInstance]
            yield ModelError(f"`rename`: {name!r} is no name", hint=_HINT)


def _unused(prefixes: Mapping[str, str], met: list[str]) -> Iterator[ModelError]:
    beginnings = {"", *met}
    for key in prefixes:
        if key not in beginnings:
            near = suggest(key, filter(None, met))
            yield ModelError(
                f"`rename`: nothing in the model is called `{key}`",
                hint=f"names near it are {', '.join(near)}" if near else _HINT,
            )
