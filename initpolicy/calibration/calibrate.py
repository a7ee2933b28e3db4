"""Carry a step out: one forward pass, in which each layer is changed when it is first reached."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn

from initpolicy import field as draws
from initpolicy.batches import Batch
from initpolicy.calibration.errors import CalibrationError
from initpolicy.calibration.keeping import as_in_training, call, left_alone
from initpolicy.calibration.registry import get
from initpolicy.calibration.step import Calibration, Done, Layer
from initpolicy.calibration.weights import Tunable, find
from initpolicy.initializers.initializer import suggestion
from initpolicy.model import Inventory, ModelError, Site, is_sharded, may_be_sharded, read
from initpolicy.problems import listed


@dataclass(frozen=True)
class Changed:
    """What a step did to one layer."""

    layer: str
    """The name of the module, as it was given."""
    tensors: tuple[str, ...]
    """The local names of the tensors whose values are others now."""
    text: str
    """A line for a person, such as `std 3.214 -> 1.002 in 2 steps`."""
    numbers: dict[str, float] = field(default_factory=dict[str, float])


def changes(fn: str, module: nn.Module) -> tuple[str, ...]:
    """Give the local names of the tensors that a step would change in a module.

    There is none if the step cannot take such a module. A tensor that the module computes from
    others has its own name, `weight` and not `weight_g`. The module may be on the meta device.

    >>> changes("lsuv", nn.Linear(3, 2, device="meta")), changes("lsuv", nn.ReLU())
    (('weight',), ())
    """
    return get(fn).changes(module)


def check(
    model: nn.Module, fn: str, arguments: Mapping[str, object], layers: Sequence[str]
) -> None:
    """Raise `CalibrationError` for whatever can be known to fail without data.

    The model may be on the meta device.
    """
    step = get(fn)
    _prepare(step, step.settled(arguments), model, _choose(model, layers, read_model(model)))


def rehearse(model: nn.Module, layers: Sequence[str], batch: Batch) -> None:
    """Run the forward pass once and change nothing.

    Raises `CalibrationError` if it fails, or if it does not reach one of the layers.
    """
    chosen = _choose(model, layers, read_model(model))
    _check_memory(model)

    def reached(one: _Chosen, *_: object) -> None:
        one.calls += 1

    with as_in_training(model, 0):
        _watch(model, chosen, reached, batch)


def calibrate(
    model: nn.Module,
    fn: str,
    arguments: Mapping[str, object],
    layers: Sequence[str],
    batch: Batch,
    *,
    seed: int,
    progress: Callable[[int], None] | None = None,
) -> tuple[Changed, ...]:
    """Carry out a step on some layers, in the order in which the forward pass reaches them.

    The pass is one of training in which dropout drops nothing, so that batch norm normalizes by the
    batch. Modes, running statistics and generators of random numbers are left as they were. A layer
    is changed at its first call, and the layers behind it are given what it gives then. `progress`
    is called with 1 after each layer.

    Raises `CalibrationError` if the step cannot be carried out; every tensor then has the values
    that it had.

    >>> from initpolicy.batches import Batch
    >>> model = nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, 4))
    >>> batch = Batch((torch.randn(256, 8),))
    >>> done = calibrate(model, "lsuv", {}, ["2", "0"], batch, seed=0)
    >>> [(one.layer, one.tensors, abs(one.numbers["variance"] - 1) < 0.1) for one in done]
    [('0', ('weight',), True), ('2', ('weight',), True)]
    """
    step = get(fn)
    settled = step.settled(arguments)
    inventory = read_model(model)
    chosen = _choose(model, layers, inventory)
    _check_memory(model)
    prepared = _prepare(step, settled, model, chosen)
    work = _Work(step, settled, prepared, seed, progress)
    try:
        with as_in_training(model, seed):
            _watch(model, chosen, work.reached, batch)
    except BaseException:
        work.undo()
        raise
    work.refresh()
    return tuple(work.result(one) for one in sorted(chosen, key=lambda one: one.place))


@dataclass(eq=False)
class _Chosen:
    """A layer to change."""

    name: str
    clean: str
    """Its name without the segments of wrappers."""
    module: nn.Module
    shared: tuple[tuple[str, Site], ...] = ()
    """The local names of its tensors that other modules have too, and where those have them."""
    calls: int = 0
    place: int = 0
    """How many layers were reached before it."""

    @property
    def told(self) -> str:
        """What it is called where something is said of it."""
        return self.name or "the model"


Reached = Callable[[_Chosen, tuple[Any, ...], dict[str, Any], Any], Any]


def _watch(model: nn.Module, chosen: Sequence[_Chosen], reached: Reached, batch: Batch) -> None:
    """Run the model, and call `reached` whenever one of the layers has been called."""
    before: set[int] = set()

    def called(module: nn.Module, args: object) -> None:
        before.add(id(module))

    def first(one: _Chosen, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        if not one.calls:
            _check_sharing(one, before)
        return reached(one, args, kwargs, output)

    own = {id(one.module) for one in chosen}
    others = {id(site.module): site.module for one in chosen for _, site in one.shared}
    handles = [
        # Before the hooks of others, so that what they make of the output is made of the new one.
        one.module.register_forward_hook(_hook(one, first), prepend=True, with_kwargs=True)
        for one in chosen
    ]
    handles += [
        other.register_forward_pre_hook(called) for key, other in others.items() if key not in own
    ]
    try:
        call(model, batch)
    finally:
        for handle in handles:
            handle.remove()
    missed = [one.name for one in chosen if not one.calls]
    if missed:
        raise CalibrationError(
            f"the forward pass does not call {listed(missed, 3)}",
            hint="a module whose weight another one uses is not called itself; leave it out",
            code="IP773",
        )


def _hook(one: _Chosen, reached: Reached) -> Callable[..., Any]:
    def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        return reached(one, args, kwargs, output)

    return hook


def _check_sharing(one: _Chosen, before: Collection[int]) -> None:
    """Refuse a layer whose inputs depend on the tensors that are to be changed."""
    for name, site in one.shared:
        if id(site.module) in before:
            raise CalibrationError(
                f"{one.told}: its {name} is also {site.name}, which is used before it, so that to "
                "change it would change what the layer is given",
                hint="leave it out, or untie it first",
                code="IP772",
            )


class _Work:
    """A step under way: what has been changed so far, and what was there before."""

    def __init__(
        self,
        step: Calibration,
        arguments: Mapping[str, object],
        prepared: Mapping[str, Any],
        seed: int,
        progress: Callable[[int], None] | None,
    ) -> None:
        self.step = step
        self.arguments = arguments
        self.prepared = prepared
        self.seed = seed
        self.progress = progress
        self.kept: list[tuple[Tunable, list[tuple[Tensor, Tensor]]]] = []
        self.owners: dict[int, str] = {}
        self.done: dict[str, Changed] = {}

    def reached(
        self, one: _Chosen, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> Any:
        """Change the layer, and give what it gives now in place of its output."""
        one.calls += 1
        if one.calls > 1:
            return None
        one.place = len(self.done)
        names = self.step.changes(one.module)
        own = [tunable for name in names if (tunable := find(one.module, name)) is not None]
        held = {tensor.data_ptr(): tensor for part in own for tensor in part.tensors}
        owner = next((self.owners[address] for address in held if address in self.owners), None)
        if owner is None:
            self.owners |= dict.fromkeys(held, one.name)
            for part in own:
                copies = [(tensor, tensor.detach().clone()) for tensor in part.tensors]
                self.kept.append((part, copies))
            stream = draws.stream(self.seed, one.clean, f"calibrate {self.step.name}")
            prepared = self.prepared.get(one.clean)
            layer = Layer(one.told, one.module, args, kwargs, output, self.seed, stream, prepared)
            found = self.step.function(layer, **self.arguments)
            output = layer.output
            self.done[one.clean] = self._changed(one, own, found)
        else:
            text = f"left as it is: it shares its values with {owner}, which comes before it"
            self.done[one.clean] = Changed(one.name, (), text)
        if self.progress is not None:
            self.progress(1)
        return output

    def _changed(self, one: _Chosen, own: Sequence[Tunable], found: Done) -> Changed:
        before = {id(part): copies for part, copies in self.kept}
        names = tuple(
            part.name
            for part in own
            if any(not torch.equal(tensor, old) for tensor, old in before[id(part)])
        )
        others = [site.name for name, site in one.shared if name in names]
        text = f"{found.text}; shared with {listed(others, 3)}" if others else found.text
        return Changed(one.name, names, text, found.numbers)

    def result(self, one: _Chosen) -> Changed:
        """What was done to a layer, and at which of its calls."""
        done = self.done[one.clean]
        if one.calls == 1:
            return done
        text = f"{done.text}; at the first of {one.calls} calls"
        return Changed(done.layer, done.tensors, text, done.numbers)

    def undo(self) -> None:
        """Give every tensor its old values."""
        with torch.no_grad():
            for _, copies in self.kept:
                for tensor, old in copies:
                    tensor.copy_(old)

    def refresh(self) -> None:
        """Renew what modules computed from tensors that have been changed."""
        for part, _ in self.kept:
            part.refresh(self.seed)


def read_model(model: nn.Module) -> Inventory:
    """Take stock of a model; `CalibrationError` if that is not possible."""
    try:
        return read(model)
    except ModelError as error:
        raise CalibrationError(error.message, hint=error.hint, code="IP775") from error


def _choose(model: nn.Module, layers: Sequence[str], inventory: Inventory) -> list[_Chosen]:
    """Find the layers, each once."""
    named = dict(inventory.named_modules())
    named |= cast("Iterable[tuple[str, nn.Module]]", model.named_modules())
    clean = {id(entry.module): entry.name for entry in inventory.modules}
    chosen: dict[int, _Chosen] = {}
    sharing = _sharing(inventory)
    for name in layers:
        if name not in named:
            raise CalibrationError(
                f"the model has no module `{name}`", hint=suggestion(name, named), code="IP772"
            )
        module = named[name]
        chosen.setdefault(
            id(module),
            _Chosen(name, clean.get(id(module), name), module, tuple(sharing.get(id(module), ()))),
        )
    return list(chosen.values())


def _check_memory(model: nn.Module) -> None:
    """Refuse what is shared out between processes, has no values, or cannot be changed."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    sharded = [name for name, one in tensors if may_be_sharded() and is_sharded(one)]
    meta = [name for name, one in tensors if one.is_meta]
    for names, what, hint in (
        (
            sharded,
            "shared out between processes",
            "calibrate the model in one process, and load its values into the sharded one",
        ),
        (meta, "on the meta device, where tensors have no values", "give it memory first"),
        (
            [name for name, one in tensors if one.is_inference()],
            "made in inference mode, and cannot be changed step by step",
            "build the model outside `torch.inference_mode()`",
        ),
    ):
        if names:
            raise CalibrationError(f"{listed(names, 3)} is {what}", hint=hint, code="IP775")


def _prepare(
    step: Calibration,
    arguments: Mapping[str, object],
    model: nn.Module,
    chosen: Sequence[_Chosen],
) -> Mapping[str, Any]:
    """Refuse layers that the step cannot take, and let it find out what it needs to know."""
    for one in chosen:
        if not step.changes(one.module):
            raise CalibrationError(
                f"{one.told}: {step.name} cannot take a {type(one.module).__name__}",
                hint='select layers of weights, such as `type = "Linear"`',
                code="IP772",
            )
    if step.prepare is None:
        return {}
    with left_alone(model):  # to trace a model is to run what it does besides
        return step.prepare(model, {one.clean: one.module for one in chosen}, arguments)


def _sharing(inventory: Inventory) -> dict[int, list[tuple[str, Site]]]:
    """Of each module, its tensors that other modules have too, each with where those have it."""
    found: dict[int, list[tuple[str, Site]]] = {}
    for slot in inventory.slots:
        for site in slot.sites if slot.aliases else ():
            others = [one for one in slot.sites if one.module is not site.module]
            found.setdefault(id(site.module), []).extend((site.local_name, one) for one in others)
    return found
