"""Look at a model's signals under several draws of a policy."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from hashlib import blake2b
from typing import Any, Literal, cast

import torch
from torch import nn

from initpolicy import field
from initpolicy.batches import Batch, Input, batch_of, why_not
from initpolicy.laws import Normal
from initpolicy.model import is_sharded, read
from initpolicy.model.load import random_state_kept
from initpolicy.plans import Plan
from initpolicy.problems import InitPolicyError, Problem, listed
from initpolicy.signals import statistics
from initpolicy.signals.growth import growth
from initpolicy.signals.judging import chain, judge
from initpolicy.signals.keeping import left_as_it_was
from initpolicy.signals.ranks import Measured, Ranks
from initpolicy.signals.record import Recorder, Signal
from initpolicy.signals.result import LayerSignal, Limits, ParameterSignal, Probe

Loss = Literal["projection", "mean square"]
Given = Callable[[int | None, Batch], Plan]
Key = tuple[str, str, int]

_torch: Any = torch  # of which not every function has a type


def probe(
    model: nn.Module,
    give: Given,
    given: Input,
    *,
    seed: int | None = None,
    draws: int = 3,
    loss: Loss = "projection",
    rate: float = 1e-3,
    training: bool = True,
    limits: Limits | None = None,
) -> Probe:
    """Measure one forward and backward pass for each draw, and leave the model as it was.

    `give` applies the policy with a seed and a batch for its steps, and returns the plan. Of a
    model that is shared out over processes all must call this, and each measures what it holds.
    """
    ranks = Ranks(model)
    kept_to = limits or Limits()
    mode = "training" if training else "evaluation"
    options = f"{draws} draws, loss {loss}, rate {rate}, {mode}, {kept_to}"

    def prepare() -> Batch:
        _check(model, draws, loss, rate)
        with random_state_kept():
            return batch_of(given, model)

    batch = ranks.together(prepare, lambda batch: f"{batch}, {options}")
    inventory = read(model)
    modules = [(entry.name, entry.module) for entry in inventory.modules]
    names = {
        id(tensor): slot.name
        for slot in inventory.slots
        for tensor in slot.tensors
        if isinstance(tensor, nn.Parameter)
    }
    passes: list[dict[Key, Signal]] = []
    weights: list[dict[str, Measured]] = []
    plans: list[Plan] = []
    with left_as_it_was(model) as kept, _eagerly():
        for number in range(draws):
            kept.restore_values()
            drawn = seed if number == 0 else plans[0].seed + number
            plans.append(ranks.together(lambda drawn=drawn: give(drawn, batch), _told))
            _check_seeds(plans[0].seed, draws)
            model.train(training)
            _torch.manual_seed(plans[-1].seed)
            signals = _one_pass(model, Recorder(names), modules, batch, loss)
            passes.append(
                ranks.signals({(one.module, one.function, one.call): one for one in signals})
            )
            found = _parameters(model, names)
            weights.append(ranks.parameters({one.name: one for one in found}))
    layers = tuple(_average_layers(passes))
    places = chain(layers)
    keys = list(passes[0])
    forwards = [[one[keys[place]].rms for place in places if keys[place] in one] for one in passes]
    backwards = [
        [one[keys[place]].gradient or 0.0 for place in reversed(places) if keys[place] in one]
        for one in passes
    ]
    return Probe(
        plans[0].policy,
        tuple(plan.seed for plan in plans),
        layers,
        tuple(_average_parameters(weights, rate)),
        growth(forwards),
        growth(backwards),
        rate,
        kept_to,
        judge(layers, kept_to, plans[0]),
    )


def _check_seeds(first: int, draws: int) -> None:
    if first + draws > 2**64:
        what = f"there are no {draws} seeds from {first} on, which are below 2**64"
        raise InitPolicyError(Problem("IP753", what, "ask for fewer draws, or from another seed"))


def _told(plan: Plan) -> str:
    """What must be the same in all processes, in few words."""
    laws = blake2b("\n".join(map(str, plan)).encode(), digest_size=4).hexdigest()
    return f"{plan.policy} with seed {plan.seed}, laws {laws}"


def _eagerly() -> AbstractContextManager[Any]:
    """Run what is compiled as it is written, so that its functions are seen."""
    if "torch._dynamo" not in sys.modules:  # without it, nothing is compiled
        return nullcontext()
    return _torch.compiler.set_stance("force_eager")


def _check(model: nn.Module, draws: int, loss: str, rate: float) -> None:
    problems: list[Problem] = []
    if draws < 1:
        problems.append(Problem("IP753", f"there cannot be {draws} draws", "ask for one or more"))
    if loss not in ("projection", "mean square"):
        hint = 'write "projection" or "mean square"'
        problems.append(Problem("IP753", f"there is no loss {loss!r}", hint))
    if not (rate > 0 and math.isfinite(rate)):
        problems.append(Problem("IP753", f"the rate {rate!r} is not a positive number"))
    tensors = [*model.named_parameters(), *model.named_buffers()]
    if names := [name for name, tensor in tensors if tensor.is_meta]:
        what = f"{listed(names, 3)} is on the meta device, where tensors have no values"
        hint = 'give it memory first, such as `model.to_empty(device="cpu")`'
        problems.append(Problem("IP754", what, hint))
    old = getattr(sys.modules.get("torch.distributed.fsdp"), "FullyShardedDataParallel", None)
    if old is not None and any(isinstance(module, old) for module in model.modules()):
        what = "the model is wrapped in FullyShardedDataParallel, which moves its values around"
        hint = "probe it before it is wrapped, or use `fully_shard` in place of the wrapper"
        problems.append(Problem("IP754", what, hint))
    if problems:
        raise InitPolicyError(problems)


def _one_pass(
    model: nn.Module,
    recorder: Recorder,
    modules: Sequence[tuple[str, nn.Module]],
    batch: Batch,
    loss: Loss,
) -> list[Signal]:
    try:
        with torch.enable_grad():
            with recorder.watching(modules):
                outputs = model(*batch.args, **batch.kwargs)
            _torch.autograd.backward(loss_of(outputs, loss))
    except InitPolicyError:
        raise
    except Exception as error:  # whatever a user's model raises
        raise InitPolicyError(
            Problem(
                "IP752",
                f"the model cannot be run on this input: {type(error).__name__}: {error}",
                why_not(error, batch),
            )
        ) from error
    if not recorder.signals:
        raise InitPolicyError(
            Problem(
                "IP754",
                "the model calls no function of weights, activation or attention that is known",
                "probe one that is not compiled, and whose forward pass uses torch.nn.functional",
            )
        )
    return recorder.signals


def loss_of(outputs: Any, loss: Loss) -> torch.Tensor:
    """A number of all outputs whose gradient has the size that it has in training.

    The projection on standard normal values, divided by the size of the batch and by the root of
    the number of outputs of each sample; or half the mean of squares.
    """
    total: torch.Tensor | None = None
    for number, output in enumerate(_tensors(outputs)):
        if loss == "mean square":
            one = output.square().mean() / 2
        else:
            direction = torch.empty(output.shape, device=output.device)
            stream = field.stream(0, f"output {number}", "probe")
            law = Normal(0.0, 1.0)
            field.fill(law.fills(direction, stream))
            samples = output.shape[0] if output.ndim else 1
            size = samples * math.sqrt(max(1, output.numel() / max(1, samples)))
            one = (output * (direction / size).to(output.dtype)).sum()
        total = one if total is None else total + one
    if total is None:
        raise InitPolicyError(
            Problem(
                "IP754",
                "no output depends on a parameter that requires a gradient",
                "probe a model whose parameters are trained, and that returns tensors",
            )
        )
    return total


def _tensors(outputs: Any) -> Iterator[torch.Tensor]:
    if isinstance(outputs, torch.Tensor):
        if outputs.requires_grad and outputs.is_floating_point():
            yield cast("Any", outputs).full_tensor() if is_sharded(outputs) else outputs
    elif isinstance(outputs, Mapping):
        for value in outputs.values():  # pyright: ignore[reportUnknownVariableType]
            yield from _tensors(value)
    elif isinstance(outputs, tuple | list):
        for value in outputs:  # pyright: ignore[reportUnknownVariableType]
            yield from _tensors(value)


def _parameters(model: nn.Module, names: Mapping[int, str]) -> Iterator[Measured]:
    for name, parameter in model.named_parameters():
        held = statistics.local(parameter)
        gradient = parameter.grad
        if gradient is not None and gradient.layout is not torch.strided:
            gradient = gradient.to_dense()
        slope = None
        if gradient is not None:
            slope = statistics.root_mean_square(statistics.local(gradient))
        size = statistics.root_mean_square(held)
        yield Measured(names.get(id(parameter), name), held.numel(), size, slope)


def _average_layers(passes: Sequence[Mapping[Key, Signal]]) -> Iterator[LayerSignal]:
    for key, first in passes[0].items():
        same = [one[key] for one in passes if key in one]

        def mean(name: str, same: Sequence[Signal] = same) -> float | None:
            return _mean([getattr(one, name) for one in same])

        def sure(name: str, same: Sequence[Signal] = same) -> float:
            return sum(getattr(one, name) for one in same) / len(same)

        call = f" #{first.call}" if first.call > 1 else ""
        yield LayerSignal(
            first.module + call,
            first.function,
            first.kind,
            sure("mean"),
            sure("std"),
            sure("rms"),
            sure("zeros"),
            mean("dead"),
            mean("saturated"),
            mean("logit_std"),
            mean("entropy"),
            mean("gradient"),
            first.weight,
            tuple(one.std for one in same),
            tuple(one.gradient for one in same if one.gradient is not None),
        )


def _average_parameters(
    draws: Sequence[Mapping[str, Measured]], rate: float
) -> Iterator[ParameterSignal]:
    for name in draws[0]:
        same = [draw[name] for draw in draws]
        updates = [rate * one.gradient / one.rms for one in same if one.gradient and one.rms]
        yield ParameterSignal(
            name,
            sum(one.rms for one in same) / len(same),
            _mean([one.gradient for one in same]),
            _mean(updates),
        )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
