"""A batch: shapes to draw, tensors, or what a callable gives."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import nn

from initpolicy import field as draws
from initpolicy.laws import Normal, Uniform
from initpolicy.model import ModelError
from initpolicy.model.load import load_attribute
from initpolicy.problems import InitPolicyError, Problem

_FORMS = "write a shape such as 8,3,224,224 or 8,128:int64, or file.py:function"
_ALONE = "a function gives all arguments at once: name it alone, and return a tuple or a mapping"
_KINDS = "give a tensor, a tuple or a mapping of them, a shape, or a callable that returns such"
_TOO_FEW = "Expected more than 1 "  # values, or spatial elements: what torch's norms say
_SHAPE = re.compile(r"(?:([A-Za-z_]\w*)=)?(\d+(?:,\d+)*)(?::(\w+)(?::(\d+))?)?")
_FUNCTION = re.compile(r".+\.\w+:[A-Za-z_]\w*")


@dataclass(frozen=True)
class Batch:
    """What the model is called with.

    >>> print(Batch((torch.ones(8, 3),), {"ids": torch.tensor([1, 2])}))
    8 x 3 float32, ids=2 int64
    """

    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict[str, Any])

    def __str__(self) -> str:
        return _told((self.args, self.kwargs)) or "nothing"


@dataclass(frozen=True)
class Shape:
    """A tensor to draw.

    >>> Shape.read("input_ids=8,128:int64:50257")
    Shape(sizes=(8, 128), dtype=torch.int64, ids=50257, name='input_ids')
    """

    sizes: tuple[int, ...]
    dtype: torch.dtype | None = None
    """None for that of the model's parameters."""
    ids: int | None = None
    """Of a tensor of integers, how many there are to choose from."""
    name: str = ""
    """The argument; empty if it is given by its place."""

    @classmethod
    def read(cls, text: str) -> Shape:
        """Read a shape as it is written on the command line."""
        found = _SHAPE.fullmatch(text.strip())
        if found is None:
            hint = _ALONE if _FUNCTION.fullmatch(text.strip()) else _FORMS
            raise InitPolicyError(Problem("IP751", f"there is no input {text!r}", hint))
        name, sizes, kind, ids = found.groups()
        dtype = None if kind is None else getattr(torch, kind, None)
        if kind is not None and not isinstance(dtype, torch.dtype):
            hint = "write one of torch's, such as float32, bfloat16 or int64"
            raise InitPolicyError(
                Problem("IP751", f"input {text!r}: there is no type {kind!r}", hint)
            )
        numbers = tuple(map(int, sizes.split(",")))
        return cls(numbers, dtype, None if ids is None else int(ids), name or "")

    def draw(self, model: nn.Module, seed: int, number: int) -> torch.Tensor:
        """Draw standard normal values, or integers that are all equally likely."""
        first = next((p for p in model.parameters() if p.is_floating_point()), None)
        device = None if first is None or first.is_meta else first.device
        own = torch.float32 if first is None else first.dtype
        dtype = self.dtype or own
        stream = draws.stream(seed, f"input {self.name or number}", "probe")
        try:
            values = torch.empty(self.sizes, device=device)
        except (RuntimeError, TypeError) as error:  # below 0, or more than there is memory for
            told = f"there is no room for a tensor of shape {list(self.sizes)}"
            raise InitPolicyError(Problem("IP751", told, _FORMS)) from error
        real = dtype.is_floating_point or dtype.is_complex
        law = Normal(0.0, 1.0) if real else Uniform(0.0, 1.0)
        draws.fill(law.fills(values, stream))
        law.write(values, stream)
        if real:
            return values.to(dtype)
        ids = self.ids or _ids_of(model)
        return (values.double() * ids).long().clamp_(0, ids - 1).to(dtype)


def _ids_of(model: nn.Module) -> int:
    tables = [m.num_embeddings for m in model.modules() if isinstance(m, nn.Embedding)]
    if not tables:
        raise InitPolicyError(
            Problem(
                "IP751",
                "the model has no embedding that says how many token ids there are",
                "write their number behind the type, such as 8,128:int64:50257",
            )
        )
    return tables[0]  # that of positions may be larger


Input = (
    str
    | torch.Tensor
    | Callable[[], Any]
    | Mapping[str, Any]
    | Sequence[Any]
    | Batch
)  # fmt: skip


def batch_of(source: Input, model: nn.Module, seed: int = 0) -> Batch:
    """Make a batch of shapes, tensors, or a callable that gives them; a batch stays as it is."""
    if isinstance(source, Batch):
        return source
    given: Any = source
    if isinstance(given, str) and _SHAPE.fullmatch(given.strip()) is None and ":" in given:
        try:
            given = load_attribute(given)
        except ModelError as error:
            raise InitPolicyError(Problem("IP751", error.message, error.hint)) from error
    if callable(given) and not isinstance(given, torch.Tensor):
        try:
            given = given()
        except Exception as error:
            told = f"{type(error).__name__}: {error}"
            raise InitPolicyError(
                Problem("IP751", f"the input cannot be made: {told}", "it is called with nothing")
            ) from error
        if isinstance(given, Batch):
            return given
        if isinstance(given, tuple | list):
            return Batch(tuple(cast("Sequence[Any]", given)))
    if isinstance(given, torch.Tensor):
        return Batch((given,))
    if isinstance(given, Mapping):
        named = cast("Mapping[str, Any]", given)
        return Batch((), {key: _value(value, model, seed, 0) for key, value in named.items()})
    if isinstance(given, str) or _is_shape(given):
        given = [given]
    if not isinstance(given, Sequence):
        told = f"the input cannot be of type {type(given).__name__}"
        raise InitPolicyError(Problem("IP751", told, _KINDS))
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for name, value in _values(cast("Sequence[Any]", given), model, seed):
        if name:
            kwargs[name] = value
        else:
            args.append(value)
    return Batch(tuple(args), kwargs)


def why_not(error: Exception, batch: Batch) -> str:
    """Tell more of why a model failed on a batch: what helps, or what it was called with.

    >>> print(why_not(RuntimeError("no"), Batch((torch.ones(8, 3),))))
    it was called with 8 x 3 float32
    """
    if str(error).startswith(_TOO_FEW):
        return (
            "a norm needs more than one value of each channel; give more examples, or larger ones"
        )
    return f"it was called with {batch}"


def _told(given: Any) -> str:
    """What a model is given, in few words."""
    if isinstance(given, torch.Tensor):
        sizes = " x ".join(map(str, given.shape))
        return f"{sizes or 'one'} {str(given.dtype).removeprefix('torch.')}"
    if isinstance(given, Mapping):
        named = cast("Mapping[str, Any]", given)
        return ", ".join(f"{key}={_told(value)}" for key, value in named.items())
    if isinstance(given, tuple | list):
        return ", ".join(filter(None, map(_told, cast("Sequence[Any]", given))))
    return type(given).__name__


def _is_shape(given: Any) -> bool:
    return isinstance(given, Sequence) and all(
        isinstance(size, int) for size in cast("Sequence[Any]", given)
    )


def _values(given: Sequence[Any], model: nn.Module, seed: int) -> Iterator[tuple[str, Any]]:
    problems: list[Problem] = []
    for number, one in enumerate(given):
        try:
            shape = Shape.read(one) if isinstance(one, str) else None
            yield (shape.name if shape else ""), _value(shape or one, model, seed, number)
        except InitPolicyError as error:
            problems += error.problems
    if problems:
        raise InitPolicyError(problems)


def _value(given: Any, model: nn.Module, seed: int, number: int) -> Any:
    if isinstance(given, str):
        given = Shape.read(given)
    elif _is_shape(given):
        given = Shape(tuple(given))
    return given.draw(model, seed, number) if isinstance(given, Shape) else given
