"""Every name of every module, as it would be if nothing were wrapped."""

from __future__ import annotations

from collections import Counter

from torch import nn

from initpolicy.model.registered import children

# Names that only wrappers use: torch.compile, FSDP, activation checkpointing and offloading.
_WRAPPED = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})

# Wrappers that use a name which a user's module may well have: "module".
_WRAPPERS = frozenset({"DataParallel", "DistributedDataParallel", "FullyShardedDataParallel"})

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


def walk(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Every clean name with its module, in the order of `named_modules`, the root as `""`.

    A shared module comes once for each of its names, up to `MAX_NAMES`. A wrapper has the name of
    what it wraps and comes before it. A module inside itself is not entered a second time.

    >>> block = nn.Sequential(nn.ReLU())
    >>> [name for name, module in walk(nn.ModuleDict({"a": block, "b": block}))]
    ['', 'a', 'a.0', 'b', 'b.0']
    """
    found: list[tuple[str, nn.Module]] = []
    visits: Counter[int] = Counter()
    ancestors: set[int] = set()

    def visit(name: str, module: nn.Module) -> None:
        identity = id(module)
        if identity in ancestors or visits[identity] == MAX_NAMES:
            return
        visits[identity] += 1
        found.append((name, module))
        ancestors.add(identity)
        for segment, child in children(module):
            visit(name if hidden(module, segment) else join(name, segment), child)
        ancestors.remove(identity)

    visit("", model)
    return found


def is_wrapper(module: nn.Module) -> bool:
    """Whether `module` only wraps another one, whose name it then has.

    >>> is_wrapper(nn.DataParallel(nn.Linear(1, 1)))
    True
    """
    return any(hidden(module, segment) for segment, _ in children(module))
