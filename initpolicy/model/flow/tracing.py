"""The flow through a model that torch.fx can trace.

A trace runs `forward` of a copy that shares the model's tensors, with symbols in place of values.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Collection
from operator import attrgetter
from typing import Any

import torch
from torch import fx, nn

from initpolicy.model.flow.steps import (
    CONSTANT,
    INPUT,
    OUTPUT,
    UNKNOWN,
    Flow,
    Step,
    calls_of,
    drop_unused,
    is_small,
    is_unit,
    map_steps,
    plain,
)

_OTHERS = {"placeholder": INPUT, "get_attr": CONSTANT, "output": OUTPUT}


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether a module is one step."""
        return super().is_leaf_module(m, module_qualified_name) or is_unit(m)


def traced(
    model: nn.Module, tensors: Collection[torch.Tensor], training: bool = False
) -> Flow | str:
    """Trace a model that holds `tensors`, or say why that is not possible."""
    if among_processes() and _may_wait(model, tensors):
        return "what is sharded may wait for other processes; plan the model before it is sharded"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            state = torch.random.get_rng_state()
            # What `forward` leaves on its modules is left on the copy; tensors are not copied.
            double = copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})
            double.train(training)
            try:
                tracer = _Tracer()
                return _flow(model, tracer.trace(double), tracer.root)
            finally:
                torch.random.set_rng_state(state)
    except Exception as error:  # whatever a model does with a symbol that is no tensor
        return f"{type(error).__name__}: {error}".partition("\n")[0]


def among_processes() -> bool:
    """Whether this is one of several processes that wait for each other."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _may_wait(model: nn.Module, tensors: Collection[torch.Tensor]) -> bool:
    if any(type(tensor) not in (torch.Tensor, nn.Parameter) for tensor in tensors):
        return True
    hooks = ("_forward_hooks", "_forward_pre_hooks")
    return any(getattr(module, name) for module in model.modules() for name in hooks)


def _flow(model: nn.Module, graph: fx.Graph, root: nn.Module) -> Flow:
    made: dict[fx.Node, Step] = {}

    def step_of(one: Any) -> Any:
        return made[one] if isinstance(one, fx.Node) else one

    for index, node in enumerate(graph.nodes):
        module = None
        if node.op == "call_module":
            module = model.get_submodule(str(node.target))
        step = made[node] = Step(module, _name(node, module), index=index)
        step.args, step.kwargs = map_steps((node.args, node.kwargs), step_of)
        if node.op in ("call_function", "call_method"):
            target: Any = node.target
            step.function = getattr(torch.Tensor, target, None) if _is_text(target) else target
            step.inside = _inside(model, node)
        if node.op == "get_attr":
            step.args = (attrgetter(str(node.target))(root),)
        for source in node.all_input_nodes:
            step.take(made[source])
    drop_unused(made.values())
    owners = {id(own): one for one in model.modules() for own in one.parameters(False)}
    called = frozenset(step.name for step in made.values())
    return Flow(calls_of(made.values(), owners), True, called)


def _is_text(target: object) -> bool:
    return isinstance(target, str)


def _inside(model: nn.Module, node: fx.Node) -> str:
    stack: dict[str, tuple[str, Any]] = node.meta.get("nn_module_stack") or {}
    if not stack:
        return ""
    path, _ = list(stack.values())[-1]
    inner = model.get_submodule(path)
    return plain(type(inner).__name__) if path and is_small(inner) else ""


def _name(node: fx.Node, module: nn.Module | None) -> str:
    if module is not None:
        return plain(type(module).__name__)
    if node.op in _OTHERS:
        return _OTHERS[node.op]
    target: Any = node.target
    return plain(target if isinstance(target, str) else getattr(target, "__name__", UNKNOWN))
