"""What follows a module: traced where torch.fx can trace, else as the containers say.

A trace runs `forward` of a copy that shares the model's tensors, with symbols in place of values.
What cannot be traced, such as a branch on the shape of the input, leaves the order in
`nn.Sequential`.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any, cast

import torch
from torch import fx, nn
from torch.nn.parameter import Parameter

OUTPUT = "output"
UNKNOWN = "unknown"

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
    sources: int = 0
    """How many calls it takes something from."""

    @property
    def passes(self) -> bool:
        """Whether it neither adds to its input nor changes its sign and scale."""
        if self.module is not None:
            return isinstance(self.module, _PASSING)
        return self.name in _PASSING_NAMES


@dataclass(frozen=True)
class Flow:
    """The calls of each module of a model."""

    steps: dict[int, list[Step]]
    traced: bool
    called: frozenset[str] = frozenset()
    """The names of all modules and functions that a trace has met."""

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


def flow_of(model: nn.Module, tensors: Collection[torch.Tensor] | None = None) -> Flow:
    """Find what follows each module of a model; `tensors` are those that it holds.

    >>> flow_of(nn.Sequential(nn.Linear(2, 2), nn.Tanh())).traced
    True
    """
    if tensors is None:
        tensors = [*model.parameters(), *model.buffers()]
    steps = _traced(model, tensors)
    return Flow(_contained(model), False) if steps is None else steps


def _traced(model: nn.Module, tensors: Collection[torch.Tensor]) -> Flow | None:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return None  # what a wrapper calls in `forward` may wait for the other processes
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            state = torch.random.get_rng_state()
            # What `forward` leaves on its modules is left on the copy; tensors are not copied.
            double = copy.deepcopy(model, {id(tensor): tensor for tensor in tensors}).eval()
            try:
                return _flow(model, fx.Tracer().trace(double))
            finally:
                torch.random.set_rng_state(state)
    except Exception:  # whatever a model does with a symbol that is no tensor
        return None


def _flow(model: nn.Module, graph: fx.Graph) -> Flow:
    made: dict[fx.Node, Step] = {}
    steps: dict[int, list[Step]] = {}
    for node in graph.nodes:
        module = None
        if node.op == "call_module":
            module = model.get_submodule(str(node.target))
        step = made[node] = Step(module, _name(node, module))
        if module is not None:
            steps.setdefault(id(module), []).append(step)
        for source in node.all_input_nodes:
            made[source].next.append(step)
            step.sources += 1
    return Flow(steps, True, frozenset(step.name for step in made.values()))


def _name(node: fx.Node, module: nn.Module | None) -> str:
    if module is not None:
        return plain(type(module).__name__)
    if node.op == "output":
        return OUTPUT
    target: Any = node.target
    return plain(target if isinstance(target, str) else getattr(target, "__name__", UNKNOWN))


def plain(name: str) -> str:
    """Write the name of a function as that of its module: `leaky_relu_` and `LeakyReLU` are one.

    >>> plain("leaky_relu_"), plain("LeakyReLU")
    ('leakyrelu', 'leakyrelu')
    """
    return name.replace("_", "").lower()


def _contained(model: nn.Module) -> dict[int, list[Step]]:
    steps: dict[int, list[Step]] = {}
    inner: set[int] = set()
    for module in model.modules():
        if not _in_order(module) or id(module) in inner:
            continue
        chain = [Step(one, plain(type(one).__name__)) for one in _leaves(module, inner)]
        for step, following in pairwise(chain):
            step.next.append(following)
        if chain:
            chain[-1].next.append(Step(None, UNKNOWN))
        for step in chain:
            steps.setdefault(id(step.module), []).append(step)
    return steps


def _in_order(module: nn.Module) -> bool:
    return isinstance(module, nn.Sequential) and _forward(type(module)) is _forward(nn.Sequential)


def _forward(kind: type[nn.Module]) -> object:
    return cast("Any", kind).forward


def _leaves(module: nn.Module, inner: set[int]) -> Iterator[nn.Module]:
    for child in module.children():
        if _in_order(child):
            inner.add(id(child))
            yield from _leaves(child, inner)
        else:
            yield child
