"""Which functions take what a layer makes, before another layer takes it.

From the output of a layer on, whatever acts on each element alone is put together to one function,
up to the next layer, matrix product, softmax or addition, or to the end of the model. What gives
the numbers on, in another order or scale, is looked through.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd  # pyright: ignore[reportPrivateUsage]
from torch.nn.modules.rnn import RNNBase, RNNCellBase

from initpolicy.model.flow import names
from initpolicy.model.flow.elementwise import Elementwise, ElementwiseError, is_affine
from initpolicy.model.flow.elementwise import is_elementwise as acts_on_each
from initpolicy.model.flow.steps import (
    CONSTANT,
    INPUT,
    OUTPUT,
    UNKNOWN,
    Flow,
    Step,
    is_unit,
    map_steps,
)

Settle = Callable[[nn.Module], "Elementwise | None"]
"""Gives the function of an activation, on the CPU; None if its parameters are not known numbers."""

Kind = Literal["inside", "unseen", "gate", "unknown"]

LAYERS = (nn.Linear, nn.Bilinear, _ConvNd, nn.Embedding, nn.EmbeddingBag, nn.MultiheadAttention)


class FollowingError(ValueError):
    """Why it is not known what function takes what a layer makes."""

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(message)
        self.kind: Kind = kind
        self.message = message


@dataclass(frozen=True)
class After:
    """One way in which something takes what a layer makes."""

    name: str
    """Of the function; or of what takes the values as they are, in words."""
    function: Elementwise | None = None
    """None if nothing but a factor and an addend comes before the next layer or the end."""


def following(flow: Flow, module: nn.Module, settle: Settle) -> list[After]:
    """Find every way in which the output of a module is taken; raises `FollowingError`.

    >>> from initpolicy.model.flow import flow_of
    >>> model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2), nn.ReLU(), nn.Linear(2, 2))
    >>> flow = flow_of(model)
    >>> [after.name for after in following(flow, model[0], lambda module: module)]
    ['relu']
    >>> [after.name for after in following(flow, model[3], lambda module: module)]
    ['the end of the model']
    """
    kind = type(module).__name__
    if isinstance(module, nn.MultiheadAttention):
        return [After("attention")]
    if isinstance(module, RNNBase | RNNCellBase):
        raise FollowingError("inside", f"the functions inside {kind} are not looked at")
    calls = flow.steps.get(id(module))
    if not calls:
        where = "in the model" if flow.traced else "in a container of the model"
        raise FollowingError("unseen", f"no call of {kind} is seen {where}")
    found = [after for call in calls for after in _Region(call, settle).walk()]
    return list(dict.fromkeys(found))


@dataclass(eq=False)
class _Value:
    """What has become of the numbers that a layer made."""

    tag: int
    """Two values belong together, element by element, if they have one tag."""
    words: tuple[str, ...] = ()
    of: tuple[_Value, ...] = ()
    apply: Callable[[list[torch.Tensor]], torch.Tensor] | None = None
    reduced: bool = False
    """Whether it is a mean, a sum or the like."""

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        return self._at(values, {})

    def _at(self, values: torch.Tensor, known: dict[int, torch.Tensor]) -> torch.Tensor:
        if self.apply is None:
            return self.of[0]._at(values, known) if self.of else values
        if id(self) not in known:
            # Copies, since a function may change what it is given.
            known[id(self)] = self.apply([one._at(values, known).clone() for one in self.of])
        return known[id(self)]

    def handed_on(self, tag: int | None = None, *, reduced: bool = False) -> _Value:
        """The same numbers in another arrangement."""
        own = self.tag if tag is None else tag
        return _Value(own, self.words, (self,), None, reduced or self.reduced)


class _Region:
    """The steps from one call of a layer up to whatever ends them."""

    def __init__(self, call: Step, settle: Settle) -> None:
        self.call = call
        self.settle = settle
        self.values: dict[int, _Value] = {id(call): _Value(id(call))}
        self.ends: list[tuple[_Value, str]] = []

    def walk(self) -> Iterator[After]:
        """Every way in which the output is taken."""
        waiting = [(step.index, id(step), step) for step in self.call.next]
        heapq.heapify(waiting)
        seen: set[int] = set()
        if not waiting:
            self.ends.append((self.values[id(self.call)], "the end of the model"))
        while waiting:  # in the order of calls, so that what a step takes is known before it is
            _, key, step = heapq.heappop(waiting)
            if key in seen:
                continue
            seen.add(key)
            value = self.taken(step)
            if value is None:
                continue
            self.values[key] = value
            for one in step.next:
                heapq.heappush(waiting, (one.index, id(one), one))
            if not step.next:
                self.ends.append((value, "the end of the model"))
        for value, what in self.ends:
            yield self.after(value, what)

    def after(self, value: _Value, what: str) -> After:
        try:
            if is_affine(value):
                return After(what)
        except ElementwiseError as error:
            raise FollowingError("unknown", f"{_label(value)} follows, and {error}") from None
        return After(_label(value), value)

    def taken(self, step: Step) -> _Value | None:
        """What a step makes of the values that it takes; None where they end."""
        inside = [self.values[id(one)] for one in step.inputs if id(one) in self.values]
        if step.name == OUTPUT:
            return self.end(inside, "the end of the model")
        if step.name == UNKNOWN:
            raise FollowingError("unknown", "what follows its container is not known")
        if any(word in step.name for word in names.SOFTMAX):
            return self.end(inside, "a softmax")
        if step.name.endswith("glu") and step.name not in ("silu", "gelu"):
            raise _gate(step.name)
        if step.name in names.REDUCED and step.module is None and len(inside) == 1:
            return inside[0].handed_on(id(step), reduced=True)
        if "norm" in step.name and inside[0].words:
            return self.end(inside, "a norm")  # whatever the scale was, it is another now
        if any(word in step.name for word in names.LOOKED_THROUGH):
            return inside[0].handed_on()
        if step.module is not None:
            return self.module(step, step.module, inside)
        return self.function(step, inside)

    def end(self, inside: Iterable[_Value], what: str) -> None:
        self.ends += [(value, what) for value in inside]

    def module(self, step: Step, module: nn.Module, inside: list[_Value]) -> _Value | None:
        if not is_unit(module) and any(True for _ in module.children()):
            raise FollowingError(
                "unknown", f"{type(module).__name__} follows, which is not looked into"
            )
        if not isinstance(module, (*LAYERS, RNNBase, RNNCellBase)):
            function = self.settle(module)
            if function is not None and acts_on_each(function):
                value = inside[0]
                words = value.words if is_affine(function) else (*value.words, step.name)
                return _Value(value.tag, words, (value,), lambda given: function(given[0]))
            if not any(True for _ in module.parameters()):
                raise _unknown(type(module).__name__)
        return self.end(inside, "a layer")

    def function(self, step: Step, inside: list[_Value]) -> _Value | None:
        value, name = inside[0], step.name
        if name in names.SHAPES or (name == "getattr" and step.args[1] not in names.ATTRIBUTES):
            return None
        if name in names.PRODUCTS:
            return self.end(inside, "a layer" if name.startswith("conv") else "a matrix product")
        if name in names.PARTS:
            return value.handed_on(id(step))
        if name in names.PASSING or name == "getattr" or isinstance(step.function, type):
            return value.handed_on()  # a class that is called holds outputs by name
        if others := [one for one in step.inputs if id(one) not in self.values and not _known(one)]:
            return self.with_others(step, inside, others)
        if len({one.tag for one in inside}) > 1:
            return self.of_parts(step, inside)
        words = _words(step, inside)
        made = _Value(value.tag, words, tuple(inside), self.applied(step), value.reduced)
        if not acts_on_each(made):
            raise _unknown(step.inside or name)
        return made

    def with_others(
        self, step: Step, inside: list[_Value], others: Sequence[Step]
    ) -> _Value | None:
        """A function of the values, and of something else that the model computes."""
        value = inside[0]
        if step.name not in names.ARITHMETIC and any(map(_is_learnt, others)):
            return self.end(inside, "a layer")
        if step.name in names.ADDITIONS:
            if any(_has_source(one, _is_made) for one in others):
                return self.end(inside, "an addition")
            return value.handed_on()
        if step.name not in names.MULTIPLICATIONS | names.CHOICES:
            raise _unknown(step.inside or step.name)
        made = [one for one in others if _has_source(one, _is_layer)]
        if not made:  # a mask, a table of angles, a learnt factor
            return value.handed_on()
        if all(_has_source(one, lambda one: one is self.call) for one in made):
            return self.end(inside, "a product with what is made of it")
        raise _gate(_label(value) if value.words else "")

    def of_parts(self, step: Step, inside: list[_Value]) -> _Value | None:
        """A function of different parts of what the layer makes, or of their means."""
        name = step.name
        whole = [one for one in inside if not one.reduced]
        if name in names.ARITHMETIC and len(whole) == 1 < len(inside):
            return whole[0].handed_on()  # a normalization
        if name in names.ADDITIONS:
            return self.end(inside, "an addition")
        if name in names.MULTIPLICATIONS:
            raise _gate(next((_label(one) for one in inside if one.words), ""))
        raise _unknown(step.inside or name)

    def applied(self, step: Step) -> Callable[[list[torch.Tensor]], torch.Tensor]:
        """The function of a step, of the values that are in the region alone."""
        places = [id(one) for one in step.inputs if id(one) in self.values]
        function = step.function
        assert function is not None

        def apply(given: list[torch.Tensor]) -> torch.Tensor:
            known: dict[int, Any] = dict(zip(places, given, strict=True))
            args, kwargs = _filled((step.args, step.kwargs), known)
            return function(*args, **kwargs)

        return apply


def _filled(given: Any, known: dict[int, Any]) -> Any:
    def fill(one: Any) -> Any:
        if not isinstance(one, Step):
            return one
        return known[id(one)] if id(one) in known else one.args[0].to("cpu", torch.float64)

    return map_steps(given, fill)


def _known(step: Step) -> bool:
    """Whether a step is one number that is part of the model, and is not learnt."""
    value = step.args[0] if step.name == CONSTANT and step.args else None
    return (
        isinstance(value, torch.Tensor)
        and not isinstance(value, nn.Parameter)
        and value.numel() == 1
        and not value.is_meta
    )


def _is_learnt(step: Step) -> bool:
    return step.name == CONSTANT and bool(step.args) and isinstance(step.args[0], nn.Parameter)


def _is_layer(step: Step) -> bool:
    if step.module is not None:
        return isinstance(step.module, (*LAYERS, RNNBase, RNNCellBase)) or (
            "norm" not in step.name and any(True for _ in step.module.parameters())
        )
    # A parameter that is reshaped, or made positive, meets nothing else there.
    return (
        step.name not in names.ARITHMETIC
        and any(map(_is_learnt, step.inputs))
        and any(one.name != CONSTANT for one in step.inputs)
    )


def _is_made(step: Step) -> bool:
    return step.name == INPUT or _is_layer(step)


def _has_source(step: Step, wanted: Callable[[Step], bool]) -> bool:
    """Whether a step, or something that it is computed from, is wanted; shapes do not count."""
    waiting, seen = [step], set[int]()
    while waiting:
        one = waiting.pop()
        if id(one) in seen or one.name in names.SHAPES:
            continue
        seen.add(id(one))
        if one.name == "getattr" and one.args[1] not in names.ATTRIBUTES:
            continue
        if wanted(one):
            return True
        waiting += one.inputs
    return False


def _words(step: Step, inside: Sequence[_Value]) -> tuple[str, ...]:
    words = tuple(dict.fromkeys(word for one in inside for word in one.words))
    if step.name in names.ARITHMETIC and len(inside) == 1:
        return words
    word = step.inside or step.name
    return words if words and words[-1] == word else (*words, word)


def _label(value: _Value) -> str:
    return " then ".join(value.words)


def _gate(name: str) -> FollowingError:
    told = f"{name} follows, and a product" if name else "a product"
    if name.endswith("glu"):
        return FollowingError("gate", f"{name} follows, which multiplies one half by the other")
    return FollowingError("gate", f"{told} with something else that the model computes follows")


def _unknown(name: str) -> FollowingError:
    return FollowingError("unknown", f"{name} follows, which is no function of each element alone")
