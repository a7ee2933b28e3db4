"""Which functions of torch make a network's signals, and what is to be seen at each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import FunctionType
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

Function = Callable[..., Any]
Kind = Literal["weights", "activation", "attention"]

_PLACES: tuple[object, ...] = (F, torch, torch.Tensor, getattr(torch._C, "_nn", None))  # pyright: ignore[reportPrivateUsage]


def _named(names: Iterable[str]) -> dict[Function, str]:
    """Every function of these names, wherever torch has it."""
    return {
        function: name
        for name in names
        for place in _PLACES
        if (function := getattr(place, name, None)) is not None
    }


_ELEMENTWISE = """
    relu relu6 leaky_relu rrelu elu selu celu gelu silu mish hardswish hardtanh hardsigmoid
    hardshrink softshrink tanhshrink threshold tanh sigmoid logsigmoid softplus softsign
""".split()  # noqa: SIM905

ACTIVATIONS: dict[Function, str] = {
    function: name.rstrip("_")
    for function, name in _named(
        form for name in _ELEMENTWISE for form in (name, f"{name}_")
    ).items()
}
"""Functions of each element by itself, under their plain names."""

SOFTMAX = _named(["softmax", "_safe_softmax"])
ATTENTION = _named(["scaled_dot_product_attention"])
COMPOSITE = _named(["multi_head_attention_forward"])
"""Functions that are looked into."""

DROPOUT = _named(
    ["dropout", "dropout_", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout",
     "alpha_dropout_", "feature_alpha_dropout", "feature_alpha_dropout_"]
)  # fmt: skip

UNITS: dict[Function, int] = {
    **dict.fromkeys(_named(["linear", "bilinear", "embedding", "embedding_bag"]), -1),
    **dict.fromkeys(_named(["lstm", "gru", "rnn_tanh", "rnn_relu"]), -1),
    **{f: -1 - size for size in (1, 2, 3) for f in _named([f"conv{size}d"])},
    **{f: -1 - size for size in (1, 2, 3) for f in _named([f"conv_transpose{size}d"])},
}
"""Functions of weights, each with the dimension of the output that counts its units."""

PRODUCTS = _named(["matmul", "mm", "bmm", "addmm", "baddbmm", "einsum", "__matmul__"])
"""Functions that are of weights if a parameter is among what they are given."""

NORMALIZATIONS: dict[Function, bool] = {
    **dict.fromkeys(_named(["layer_norm", "rms_norm"]), False),
    **dict.fromkeys(_named(["batch_norm", "group_norm", "instance_norm"]), True),
}
"""Whether the units stand in the second dimension; in the last one otherwise."""

EMBEDDINGS = frozenset({"embedding", "embedding_bag"})


def has_weight(arguments: Iterable[object]) -> bool:
    """Whether a parameter, or a view of one, is among the arguments.

    >>> weight = nn.Parameter(torch.eye(2))
    >>> has_weight([torch.eye(2), weight.t()]), has_weight([torch.eye(2)])
    (True, False)
    """
    return any(True for _ in _parameters_of(arguments))


def weight_of(arguments: Iterable[object]) -> nn.Parameter | None:
    """The first parameter of several dimensions among the arguments; or None.

    >>> layer = nn.Linear(2, 3)
    >>> weight_of([torch.eye(2), layer.bias, layer.weight]) is layer.weight
    True
    """
    return next((one for one in _parameters_of(arguments) if one.ndim > 1), None)


def _parameters_of(arguments: Iterable[object]) -> Iterator[nn.Parameter]:
    """The parameters among the arguments, as they are, as views, or in lists."""
    for one in arguments:
        if isinstance(one, list | tuple):
            yield from _parameters_of(cast("Iterable[object]", one))
        else:
            for tensor in (one, getattr(one, "_base", None)):
                if isinstance(tensor, nn.Parameter):
                    yield tensor


def _no(_: object) -> bool:
    return False


def looked_into(function: Function) -> Function:
    """The same function, which calls the functions it is made of one by one.

    torch hands a function that is written in Python to whoever observes calls as a whole, and not
    what it calls.
    """
    if not isinstance(function, FunctionType):
        return function
    opened = FunctionType(
        function.__code__,
        {**function.__globals__, "has_torch_function": _no},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    opened.__kwdefaults__ = function.__kwdefaults__
    return opened


def is_activation(module: nn.Module) -> bool:
    """Whether a module of another library is an activation made of several functions.

    Those of torch call one function each, and that is seen.
    """
    path = type(module).__module__.split(".")
    return (
        path[0] != "torch"
        and path[-1].startswith("activation")
        and not type(module).__name__.startswith("Softmax")
        and not any(True for _ in module.children())
        and not any(True for _ in module.parameters())
    )
