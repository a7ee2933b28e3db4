"""The steps that need data: checked before anything is written, done after the draws."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from initpolicy import calibration, digests
from initpolicy.application.carry_out import Progress
from initpolicy.batches import Batch, Input, batch_of
from initpolicy.model import Inventory, is_sharded
from initpolicy.plans import Plan, Step
from initpolicy.problems import InitPolicyError, Problem, listed


def check_steps(
    model: nn.Module, plan: Plan, inventory: Inventory, data: Input | None
) -> tuple[Plan, Batch | None]:
    """Give the plan with the digest of its data, and the batch; None if the plan has no steps.

    Raises `InitPolicyError` if there are no data, or if the model is shared out.
    """
    if not plan.steps:
        return plan, None
    if data is None:
        raise InitPolicyError(
            Problem(
                "IP311",
                f"{_steps(plan)} need{'s' if len(plan.steps) == 1 else ''} data",
                "give it a batch, with `data=` or `--data file.py:function`",
                plan.steps[0].location,
            )
        )
    shared = [slot.name for slot in inventory.slots if any(map(is_sharded, slot.tensors))]
    if shared:
        raise InitPolicyError(
            Problem(
                "IP775",
                f"{_steps(plan)} calibrate whole layers, and {len(shared)} tensors are shared out "
                f"over processes: {listed(shared)}",
                "calibrate before the model is sharded, and load the values from a checkpoint",
                plan.steps[0].location,
            )
        )
    names = _names(model, inventory)
    for step in plan.steps:
        with _telling(step):
            calibration.check(model, step.fn, dict(step.arguments), _layers(step, names))
    batch = batch_of(data, model, plan.seed)
    digest = data_digest(batch)
    if any(step.data not in ("", digest) for step in plan.steps):
        raise InitPolicyError(
            Problem(
                "IP312",
                f"the plan has the digest {plan.steps[0].data} of its data; these have {digest}",
                "give the data that it was made with, or the policy in place of the plan",
                plan.steps[0].location,
            )
        )
    return _with_digest(plan, digest), batch


def _steps(plan: Plan) -> str:
    calls = dict.fromkeys(step.call for step in plan.steps)
    return f"the step{'s' if len(plan.steps) > 1 else ''} {listed(calls)}"


def told(plan: Plan, model: nn.Module, data: Input | None) -> Plan:
    """The plan, with the digest of the data for its steps if they are given; `model` is not run."""
    if data is None or not plan.steps:
        return plan
    return _with_digest(plan, data_digest(batch_of(data, model, plan.seed)))


def _with_digest(plan: Plan, digest: str) -> Plan:
    return replace(plan, steps=tuple(replace(step, data=digest) for step in plan.steps))


def rehearse(model: nn.Module, plan: Plan, inventory: Inventory, batch: Batch | None) -> None:
    """Raise `InitPolicyError` if the model cannot be called with the batch; changes nothing."""
    if batch is None:
        return
    names = _names(model, inventory)
    for step in plan.steps:
        with _telling(step):
            calibration.rehearse(model, _layers(step, names), batch)


def calibrate(
    model: nn.Module,
    plan: Plan,
    inventory: Inventory,
    batch: Batch | None,
    progress: Progress | None = None,
) -> Plan:
    """Carry out the steps of a plan that `check_steps` gave, and give it with what they did.

    Raises `InitPolicyError` for one that fails; then its layers are as they were before it.
    """
    if batch is None:
        return plan
    names = _names(model, inventory)
    done: list[Step] = []
    for step in plan.steps:
        share = sum(plan[name].nbytes for name in step.tensors) // max(1, len(step.layers))
        layers = _layers(step, names)
        canonical = dict(zip(layers, step.layers, strict=True))
        with _telling(step):
            changed = calibration.calibrate(
                model,
                step.fn,
                dict(step.arguments),
                layers,
                batch,
                seed=plan.seed,
                progress=None if progress is None else _shares(progress, share),
            )
        results = tuple(f"{canonical[one.layer] or 'the model'}: {one.text}" for one in changed)
        done.append(replace(step, results=results))
    return replace(plan, steps=tuple(done))


def data_digest(batch: Batch) -> str:
    """One hash of all that a batch holds: tensors and arrays by value, all else by its text."""
    leaves, structure = pytree.tree_flatten((batch.args, batch.kwargs))
    texts = [str(structure), *(_text(leaf) for leaf in leaves if not isinstance(leaf, Tensor))]
    told = torch.tensor(list(json.dumps(texts).encode()), dtype=torch.uint8)
    tensors = {str(place): leaf for place, leaf in enumerate(leaves) if isinstance(leaf, Tensor)}
    if any(leaf.is_meta for leaf in tensors.values()):
        hint = "move them to the device of the model when they are made"
        raise InitPolicyError(Problem("IP751", "the data are on the meta device: no values", hint))
    return digests.combined(digests.of_tensors({**tensors, "rest": told}))


def _text(leaf: object) -> str:
    """What stands for something else than a tensor; the text of a large array leaves values out."""
    if not isinstance(leaf, np.ndarray):
        return repr(leaf)
    array = cast("np.ndarray[Any, Any]", leaf)
    if array.dtype.hasobject:
        return repr(array.tolist())
    return f"{array.dtype} {array.shape} {hashlib.blake2b(array.tobytes()).hexdigest()}"


def _shares(progress: Progress, share: int) -> Progress:
    """Progress in bytes, a layer's share at a time."""

    def count(layers: int) -> None:
        progress(layers * share)

    return count


def _names(model: nn.Module, inventory: Inventory) -> dict[str, str]:
    """The names that the model's own `named_modules` has for the canonical ones."""
    modules = cast("Iterable[tuple[str, nn.Module]]", model.named_modules())
    own = {id(module): name for name, module in modules}
    return {
        name: own[id(module)] for name, module in inventory.named_modules() if id(module) in own
    }


def _layers(step: Step, names: Mapping[str, str]) -> list[str]:
    """What the model calls the layers of a step."""
    unknown = [name for name in step.layers if name not in names]
    if unknown:
        raise InitPolicyError(
            Problem(
                "IP301",
                f"the step {step.call} is for layers that the model lacks: {listed(unknown)}",
                "make a plan for this model",
                step.location,
            )
        )
    return [names[name] for name in step.layers]


@contextmanager
def _telling(step: Step) -> Generator[None, None, None]:
    """Raise what goes wrong in a step as a problem at its place in the policy."""
    try:
        yield
    except calibration.CalibrationError as error:
        told = f"step {step.call}, {step.rule}: {error.message}"
        raise InitPolicyError(Problem(error.code, told, error.hint, step.location)) from error
