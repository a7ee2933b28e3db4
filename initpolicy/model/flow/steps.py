"""The calls of a model's modules and functions, and what takes what they return."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

from torch import nn
from torch.nn.parameter import Parameter

OUTPUT = "output"
UNKNOWN = "unknown"
INPUT = "placeholder"
CONSTANT = "constant"

_PASSING = (
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.Identity,
    nn.Flatten,
    nn.Unflatten,
    nn.MaxPool1d,
    nn.MaxPool2d,
    nn.MaxPool3d,
)
_PASSING_NAMES = frozenset(
    [
        "dropout",
        "flatten",
        "reshape",
        "view",
        "permute",
        "transpose",
        "contiguous",
        "maxpool2d",
        "boolean_dispatch",
    ]
)


@dataclass(eq=False)
class Step:
    """A call of a module or of a function, and the calls that take what it returns."""

    module: nn.Module | None
    name: str
    """Of the function, or of the class of the module: lower case, no underscores."""
    next: list[Step] = field(default_factory=list["Step"])
    inputs: list[Step] = field(default_factory=list["Step"])
    """The calls that it takes something from, each once."""
    function: Callable[..., Any] | None = None
    """What is called, if it is no module."""
    args: tuple[Any, ...] = ()
    """What it is called with; other steps stand for what they return."""
    kwargs: dict[str, Any] = field(default_factory=dict[str, Any])
    index: int = 0
    """The place in the order of calls."""
    inside: str = ""
    """The class of the small module that calls a function, if all that it has is functions."""

    @property
    def sources(self) -> int:
        """How many calls it takes something from."""
        return len(self.inputs)

    @property
    def passes(self) -> bool:
        """Whether it neither adds to its input nor changes its sign and scale."""
        if self.module is not None:
            return isinstance(self.module, _PASSING)
        return self.name in _PASSING_NAMES

    def take(self, source: Step) -> None:
        """Note that it takes something from another step."""
        if all(source is not one for one in self.inputs):
            self.inputs.append(source)
            source.next.append(self)


@dataclass(frozen=True)
class Flow:
    """The calls of each module of a model."""

    steps: dict[int, list[Step]]
    """By the id of the module."""
    traced: bool
    called: frozenset[str] = frozenset()
    """The names of all modules and functions that a trace has met."""
    reason: str = ""
    """Why the model could not be traced, if it could not."""

    @cached_property
    def branches(self) -> int:
        """How many layers with a weight end a residual branch."""
        modules = [found[0].module for found in self.steps.values()]
        weighted = [one for one in modules if isinstance(getattr(one, "weight", None), Parameter)]
        return sum(self.ends_branch(one) for one in weighted if one is not None)

    def ends_branch(self, module: nn.Module) -> bool:
        """Whether all that takes the output of a module is an addition to something else."""
        found = self.steps.get(id(module), [])
        return bool(found) and all(map(_ends_branch, found))

    def after(self, module: nn.Module) -> list[Step]:
        """What takes the output of a module first, besides what passes it on; empty if unknown.

        >>> from initpolicy.model.flow import flow_of
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(), nn.ReLU())
        >>> [step.name for step in flow_of(model).after(model[0])]
        ['relu']
        """
        found: list[Step] = []
        for step in self.steps.get(id(module), ()):
            found += beyond(step)
        return found


def _ends_branch(step: Step) -> bool:
    taking = list(beyond(step))
    return bool(taking) and all(one.name in ("add", "iadd") and one.sources > 1 for one in taking)


def beyond(step: Step) -> Iterator[Step]:
    """What takes the output of a step, beyond what passes it on."""
    waiting, seen = list(step.next), set[int]()
    while waiting:
        one = waiting.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        if one.passes:
            waiting += one.next
        else:
            yield one


def plain(name: str) -> str:
    """Write the name of a function as that of its module: `leaky_relu_` and `LeakyReLU` are one.

    >>> plain("leaky_relu_"), plain("LeakyReLU")
    ('leakyrelu', 'leakyrelu')
    """
    return name.replace("_", "").lower()


def calls_of(steps: Iterable[Step], owners: Mapping[int, nn.Module]) -> dict[int, list[Step]]:
    """The calls of each module, by its id; `owners` has the module of each parameter, by its id.

    A module that is not called, and of which a function takes a parameter, is that function.
    """
    called: dict[int, list[Step]] = {}
    taken: dict[int, list[Step]] = {}
    for step in steps:
        if step.module is not None:
            called.setdefault(id(step.module), []).append(step)
            if isinstance(step.module, nn.MultiheadAttention):
                taken.setdefault(id(step.module.out_proj), []).append(step)
        for one in step.inputs:
            owner = owners.get(id(one.args[0])) if one.name == CONSTANT and one.args else None
            if owner is not None:
                taken.setdefault(id(owner), []).append(step)
    return {**taken, **called}


def drop_unused(steps: Iterable[Step]) -> None:
    """Take out of what is next whatever does not lead to the output, if anything does.

    Those are values that only decide on a branch, and what `forward` computes for nobody.
    """
    known = list(steps)
    waiting = [step for step in known if step.name == OUTPUT and step.inputs]
    if not waiting:
        return
    used: set[int] = set()
    while waiting:
        step = waiting.pop()
        if id(step) not in used:
            used.add(id(step))
            waiting += step.inputs
    for step in known:
        step.next = [one for one in step.next if id(one) in used]


def is_unit(module: nn.Module) -> bool:
    """Whether a module is one step, and what it calls is not looked at.

    Those are the modules of torch without modules inside, attention among them, and those of
    anyone else that have no modules inside and either have parameters or are named as norms.
    """
    if isinstance(module, nn.MultiheadAttention | nn.RNNBase):
        return True
    if _has_modules(module) or isinstance(module, nn.Sequential):
        return False
    if type(module).__module__.startswith(("torch.nn", "torch.ao.nn")):
        return True
    return any(True for _ in module.parameters(False)) or "norm" in type(module).__name__.lower()


def is_small(module: nn.Module) -> bool:
    """Whether a module has nothing but functions, as activations of other libraries have."""
    return not _has_modules(module) and not any(True for _ in module.parameters())


def _has_modules(module: nn.Module) -> bool:
    return any(name != "parametrizations" for name, _ in module.named_children())


def map_steps(given: Any, fill: Callable[[Any], Any]) -> Any:
    """The same arguments, with something else in place of each that is no collection."""
    if isinstance(given, slice):
        ends = cast("Any", given)
        return slice(*(map_steps(one, fill) for one in (ends.start, ends.stop, ends.step)))
    if isinstance(given, tuple | list):
        filled = [map_steps(one, fill) for one in cast("list[Any]", given)]
        return tuple(filled) if isinstance(given, tuple) else filled
    if isinstance(given, dict):
        items = cast("dict[Any, Any]", given).items()
        return {key: map_steps(one, fill) for key, one in items}
    return fill(given)
