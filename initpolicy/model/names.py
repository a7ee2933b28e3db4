"""Every name of every module, as it would be if nothing were wrapped."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn

from initpolicy.model.registered import children

# Names that only wrappers use: torch.compile, FSDP, activation checkpointing and offloading.
_WRAPPED = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})

# Wrappers that use a name which a user's module may well have: "module".
_WRAPPERS = frozenset({"DataParallel", "DistributedDataParallel", "FullyShardedDataParallel"})

_SUSPECT = _WRAPPED | {"module"}

# Modules shared within shared modules have exponentially many names. Whatever is beyond this many
# names of one module is an alias that nobody can have meant to write.
MAX_NAMES = 4096


def hidden(parent: nn.Module, segment: str) -> bool:
    """Whether `segment`, the name of a child of `parent`, is there only because of wrapping.

    >>> hidden(nn.DataParallel(nn.Linear(1, 1)), "module")
    True
    >>> hidden(nn.Sequential(), "module")
    False
    """
    if segment in _WRAPPED:
        return True
    # By name: to import the distributed wrappers costs more than to read most models.
    return segment == "module" and any(
        base.__name__ in _WRAPPERS and base.__module__.startswith("torch.")
        for base in type(parent).__mro__
    )


def join(module_name: str, local_name: str) -> str:
    """Name what is called `local_name` in the module called `module_name`.

    >>> join("", "fc"), join("fc", "weight")
    ('fc', 'fc.weight')
    """
    return f"{module_name}.{local_name}" if module_name else local_name


class Visit(NamedTuple):
    """One module under one of its names."""

    name: str
    module: nn.Module
    wraps: bool
    """Whether the module only wraps another one, whose name it then has."""


def walk(model: nn.Module) -> list[Visit]:
    """Visit every module under every clean name, in the order of `named_modules`.

    The root is called `""`. A shared module is visited once for each of its names, up to
    `MAX_NAMES`. A wrapper comes before what it wraps. A module inside itself is not entered a
    second time.

    >>> block = nn.Sequential(nn.ReLU())
    >>> [visit.name for visit in walk(nn.ModuleDict({"a": block, "b": block}))]
    ['', 'a', 'a.0', 'b', 'b.0']
    """
    walking = _Walking()
    walking.visit("", model)
    return walking.visits


class _Walking:
    """One call of `walk`."""

    def __init__(self) -> None:
        self.visits: list[Visit] = []
        self.names: dict[int, int] = {}  # how many each module has
        self.ancestors: set[int] = set()

    def visit(self, name: str, module: nn.Module) -> None:
        identity = id(module)
        known = self.names.get(identity, 0)
        if known == MAX_NAMES or identity in self.ancestors:
            return
        self.names[identity] = known + 1
        inside = children(module)
        if not inside:
            self.visits.append(Visit(name, module, False))
            return
        suspects = _SUSPECT.intersection(inside.keys())
        wrapped = [segment for segment in suspects if hidden(module, segment)] if suspects else ()
        self.visits.append(Visit(name, module, bool(wrapped)))
        self.ancestors.add(identity)
        prefix = join(name, "")
        for segment, child in inside.items():
            if child is not None:
                self.visit(name if segment in wrapped else prefix + segment, child)
        self.ancestors.remove(identity)
