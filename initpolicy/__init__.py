"""How the weights of neural networks begin, as a file.

A policy maps globs over module types and names to initializers. It is resolved against a model
into a plan, and the plan is carried out:

>>> import torch, initpolicy
>>> model = torch.nn.Linear(3, 2)
>>> plan = initpolicy.apply(model, "torch", seed=1)
>>> print(plan)
PyTorch's defaults, seed 1: 2 tensors filled
  weight [2, 3] float32: U(-0.5774, 0.5774)
  bias [2] float32: U(-0.5774, 0.5774)

What a function needs is imported when it is called, so that importing this package is cheap.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch
    from torch import nn

    from initpolicy.batches import Batch, Input
    from initpolicy.digests import Source
    from initpolicy.laws import Part
    from initpolicy.linting import Advice
    from initpolicy.materialization import Checkpoint
    from initpolicy.model import Inventory
    from initpolicy.plans import Plan
    from initpolicy.policy import Policy
    from initpolicy.problems import InitPolicyError
    from initpolicy.signals import Limits, Loss, Probe
    from initpolicy.verification import Verdict

__version__ = "0.1.0"

__all__ = [
    "InitPolicyError",
    "Part",
    "Plan",
    "Policy",
    "apply",
    "digest",
    "fill",
    "lint",
    "load",
    "materialize",
    "plan",
    "probe",
    "verify",
]


def load(policy: str | os.PathLike[str] | Policy) -> Policy:
    """Load a policy: the path of a TOML file, or the name of a built-in one.

    A file comes before a built-in of the same name. Raises `InitPolicyError` with every problem
    that was found in it and in the policies it extends.

    >>> load("densenet.toml").rules[0].type.texts
    ('Conv2d',)
    """
    from initpolicy.policy import load

    return load(policy)


def plan(
    model: nn.Module,
    policy: str | os.PathLike[str] | Policy,
    *,
    seed: int | None = None,
    vars: Mapping[str, float | str] | None = None,
    rename: Mapping[str, str] | None = None,
    input: Input | None = None,
) -> Plan:
    """Decide for each tensor of `model` what it begins with, and change nothing.

    The model may be on the meta device. `seed` and `vars` replace what the policy says; a variable
    is a number or an expression. Raises `InitPolicyError` with every problem that was found.

    `rename` says that the model is a part of another one, such as a stage of a pipeline, and maps
    the beginnings of its names to those in the whole: `{"layers.0": "layers.8"}`. It may be empty.

    For `gain = "auto"` the model is traced. One that cannot be is run once on `input`, as a copy
    and on the meta device where it can be: a shape, tensors, or a callable that gives them.

    >>> import torch
    >>> model = torch.nn.Linear(784, 10, device="meta")
    >>> print(plan(model, "mlp")["weight"].law)
    N(0, 0.01)
    """
    from initpolicy.resolve import resolve

    return resolve(model, load(policy), seed=seed, variables=vars, rename=rename, input=input)


def apply(
    model: nn.Module,
    policy: str | os.PathLike[str] | Policy | Plan,
    *,
    seed: int | None = None,
    vars: Mapping[str, float | str] | None = None,
    rename: Mapping[str, str] | None = None,
    device: str | torch.device | None = None,
    draws: Literal["initpolicy", "torch"] = "initpolicy",
    data: Input | None = None,
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Plan:
    """Give the tensors of `model` their first values, in place, and return the plan.

    A value depends on nothing but the seed, the tensor's name and shape, and its law, and no
    global generator is touched. With `draws="torch"` the same laws are drawn through
    `torch.nn.init` and torch's global generator instead, in the order of `named_modules`, so that
    a policy can be proved equal to the loop it replaces.

    Tensors on the meta device get memory on `device`, and stay tied as they are. Of a `DTensor`
    each process fills what it holds, with the values that one process would give it; all processes
    that hold parts of the model must call this, and where one of them fails, all do. `rename` is
    that of `plan`. `data` is a batch for the policy's `[[calibrate]]` steps, as `probe` takes its
    input: tensors, a mapping, a callable that gives them, or its name. For `gain = "auto"` it is
    also what `plan` is given as its input. Data for a policy with neither are an error.

    `policy` may be a plan, which is then carried out as it is. `threads` is how many may draw, and
    `progress` is called with the number of bytes just written. Raises `InitPolicyError` with every
    problem that was found, and then no tensor has changed; only a step that the data make fail
    comes after the draws, and leaves these and what the steps before it did.

    >>> import torch
    >>> model = torch.nn.Linear(784, 10, device="meta")
    >>> print(apply(model, "torch", seed=0, device="cpu")["weight"])
    weight [10, 784] float32: U(-0.03571, 0.03571)
    """
    from initpolicy.application import apply, check_use
    from initpolicy.plans import Plan
    from initpolicy.problems import InitPolicyError, Problem
    from initpolicy.resolve import read_model, resolve

    def decide(inventory: Inventory) -> Plan:
        given = policy if isinstance(policy, Plan) else load(policy)
        check_use(given, data)
        if not isinstance(given, Plan):
            return resolve(model, given, seed=seed, variables=vars, inventory=inventory, input=data)
        if seed is not None or vars is not None:
            raise InitPolicyError(
                Problem("IP304", "a plan has its seed and its variables", "give the policy instead")
            )
        return given

    return apply(
        model,
        lambda model: read_model(model, rename),
        decide,
        device=device,
        draws=draws,
        data=data,
        threads=threads,
        progress=progress,
    )


def fill(
    plan: Plan,
    parts: Mapping[str, Part],
    *,
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Fill parts of tensors with what the whole tensors of `plan` have there.

    For engines that share tensors out without `DTensor`, and for stages of a pipeline: `parts`
    says by the name in the plan which memory holds which elements. Only those are drawn. Raises
    `InitPolicyError`, with nothing changed, for names, shapes and runs that the plan lacks.

    >>> import torch, initpolicy
    >>> plan = initpolicy.plan(torch.nn.Linear(784, 10, device="meta"), "mlp", seed=0)
    >>> rows = torch.empty(5, 784)  # the second half
    >>> fill(plan, {"weight": initpolicy.Part(rows, (10, 784), [(5 * 784, 10 * 784)])})
    >>> model = torch.nn.Linear(784, 10)
    >>> _ = apply(model, plan)
    >>> torch.equal(rows, model.weight[5:])
    True
    """
    from initpolicy.application import fill

    fill(plan, parts, threads=threads, progress=progress)


def materialize(
    plan: Plan,
    out: str | os.PathLike[str],
    *,
    max_shard_size: int | str = "5GB",
    dtype: str | torch.dtype | None = None,
    part: tuple[int, int] | None = None,
    resume: bool = False,
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Checkpoint:
    """Write the values of `plan` into a folder of safetensors files, and never a model into memory.

    The values are those that `apply` gives, and the files those that Hugging Face loads: one, or
    several of at most `max_shard_size` bytes of tensors with an index. `dtype` is the type of all
    floating-point tensors, if not their own. With `part=(rank, world)` each of several processes
    writes its share of the files. Files appear under their names when they are complete; `resume`
    keeps those of this plan that are there, and without it nothing that is there is replaced.
    `threads` is how many may draw, and `progress` is called with the number of bytes just written.

    Raises `InitPolicyError` if the plan leaves tensors as they are, if the folder holds something
    else, or if the disk is full.

    >>> import torch, tempfile
    >>> model = torch.nn.Linear(784, 10, device="meta")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     checkpoint = materialize(plan(model, "torch"), folder, dtype="bfloat16")
    >>> [(file.name, file.tensors) for file in checkpoint.written]
    [('model.safetensors', 2)]
    """
    from initpolicy.materialization import begin

    task = begin(
        plan,
        out,
        max_shard_size=max_shard_size,
        dtype=dtype,
        part=part,
        resume=resume,
        threads=threads,
    )
    return task.carry_out(progress)


def digest(
    source: Source, *, threads: int | None = None, progress: Callable[[int], None] | None = None
) -> str:
    """Give one hash of all values of a model, a state dict, or a checkpoint at a path.

    It is the same however the values are laid out: on any device, sharded in any way, in a model
    or in its checkpoint. Of a sharded model all processes must call this. `initpolicy.digests` has
    the hash of each tensor. Raises `InitPolicyError` for values that cannot be read.

    >>> import torch
    >>> model = torch.nn.Linear(784, 10)
    >>> _ = apply(model, "torch", seed=0)
    >>> digest(model)
    '67e46cdbe8a5df54ae1c24712535498c'
    """
    from initpolicy.digests import digest

    return digest(source, threads=threads, progress=progress)


def lint(
    model: nn.Module,
    policy: str | os.PathLike[str] | Policy,
    *,
    seed: int | None = None,
    vars: Mapping[str, float | str] | None = None,
    input: Input | None = None,
) -> Advice:
    """Say what is probably wrong with how a policy begins a model, before anything runs.

    The model may be on the meta device. No value is drawn or read. What follows a layer is found by
    tracing `forward` with symbols, on a copy that shares the tensors, or is told by containers
    where that fails; with an `input`, such as `"8,128:int64"`, by running a copy once. The advice
    has `ok`, `findings`, and a text; `allow` in a rule of the policy says which findings are meant.
    Raises `InitPolicyError` if there is no plan.

    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(784, 100), torch.nn.ReLU())
    >>> [found.code for found in lint(model, "mlp").findings]
    []
    """
    from initpolicy.linting import lint
    from initpolicy.resolve import read_model, resolve

    inventory, loaded = read_model(model), load(policy)
    decided = resolve(model, loaded, seed=seed, variables=vars, inventory=inventory, input=input)
    return lint(loaded, decided, inventory, input)


def verify(
    source: Source,
    policy: str | os.PathLike[str] | Policy | Plan,
    *,
    model: nn.Module | None = None,
    seed: int | None = None,
    vars: Mapping[str, float | str] | None = None,
    rename: Mapping[str, str] | None = None,
    exact: bool = True,
    alpha: float = 1e-9,
    data: Input | None = None,
) -> Verdict:
    """Say whether the values of a model, a state dict, or a checkpoint are what a policy says.

    They must be the very values that `apply` gives, up to rounding where machines round otherwise.
    With `exact=False` any values will do that follow the policy's laws, whoever drew them and from
    whatever seed; then `alpha` bounds the probability that anything is found wrongly, in the whole
    model. The verdict has `ok`, `findings`, and a text. `policy` may be a plan. For what is no
    model, it is one, or `model` is what it is planned for, which may be on the meta device.
    `rename` is that of `plan`, and a checkpoint has the names that it gives. With the `data` of the
    policy's `[[calibrate]]` steps, a copy of the model is calibrated, and what they changed is
    compared to rounding; without, it is not judged.

    Raises `InitPolicyError` if there is nothing to judge, not for what is found.

    >>> import torch
    >>> model = torch.nn.Linear(784, 10)
    >>> _ = apply(model, "torch", seed=0)
    >>> verify(model, "torch", seed=0).ok, verify(model, "torch", seed=1).ok
    (True, False)
    >>> verify(torch.nn.Linear(784, 10), "torch", exact=False).ok
    True
    """
    from torch import nn

    from initpolicy.application import calibrated_values, check_use
    from initpolicy.plans import Plan
    from initpolicy.problems import InitPolicyError, Problem
    from initpolicy.resolve import read_model, resolve
    from initpolicy.verification import verify

    given = policy if isinstance(policy, Plan) else load(policy)
    check_use(given, data)
    inventory = read_model(source, rename) if isinstance(source, nn.Module) else None
    planned = source if isinstance(source, nn.Module) else model
    if isinstance(given, Plan):
        if seed is not None or vars is not None:
            raise InitPolicyError(
                Problem("IP601", "a plan has its seed and its variables", "give the policy instead")
            )
        decided = given
    elif planned is None:
        raise InitPolicyError(
            Problem(
                "IP601",
                "a checkpoint does not say what modules its tensors belong to",
                "give the model that it is of, `model=...`, or a plan in place of the policy",
            )
        )
    else:
        own = inventory or read_model(planned, rename)
        decided = resolve(planned, given, seed=seed, variables=vars, inventory=own, input=data)
    expected = None
    if exact and data is not None and decided.steps and planned is not None:
        expected = calibrated_values(planned, decided, lambda one: read_model(one, rename), data)
    return verify(source, decided, inventory, exact=exact, alpha=alpha, expected=expected)


def probe(
    model: nn.Module,
    policy: str | os.PathLike[str] | Policy | Plan,
    *,
    input: Input,
    seed: int | None = None,
    vars: Mapping[str, float | str] | None = None,
    draws: int = 3,
    loss: Loss = "projection",
    rate: float = 1e-3,
    training: bool = True,
    limits: Limits | None = None,
) -> Probe:
    """Say what the signals of a model are under a policy, layer by layer, and judge them.

    One forward and one backward pass for each of several `draws` of the policy, from the seed on.
    The model, its values and gradients, and all generators of random numbers are left as they are.
    `input` is a shape, a tensor, a callable that gives a batch, its name `file.py:function`, a
    list of arguments or a mapping of named ones; shapes may be texts such as `8,128:int64`. The
    gradients are those of a random projection of the outputs, or of half their mean square.
    `rate` is what an update has in proportion to the gradient, and `limits` are those of the
    conditions. `policy` may be a plan: it is drawn from its seed on, too. `[[calibrate]]` steps are
    given the input as their data. Of a sharded model all processes must call this, and all get the
    same probe. Raises `InitPolicyError` if the model cannot be run, not for what is found.

    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(20, 30), torch.nn.Tanh())
    >>> probe(model, "torch", input=(64, 20)).ok
    True
    """
    from dataclasses import replace

    from initpolicy.application import uses_data
    from initpolicy.plans import Plan
    from initpolicy.problems import InitPolicyError, Problem
    from initpolicy.signals import probe

    if isinstance(policy, Plan) and (seed is not None or vars is not None):
        raise InitPolicyError(
            Problem("IP753", "a plan has its seed and its variables", "give the policy instead")
        )

    def give(drawn: int | None, batch: Batch) -> Plan:
        given = policy if isinstance(policy, Plan) else load(policy)
        data = batch if uses_data(given) else None
        if not isinstance(given, Plan):
            return apply(model, given, seed=drawn, vars=vars, data=data)
        return apply(model, given if drawn is None else replace(given, seed=drawn), data=data)

    return probe(
        model,
        give,
        input,
        seed=seed,
        draws=draws,
        loss=loss,
        rate=rate,
        training=training,
        limits=limits,
    )


def __getattr__(name: str) -> Any:
    if name == "InitPolicyError":
        from initpolicy.problems import InitPolicyError

        return InitPolicyError
    if name == "Part":
        from initpolicy.laws import Part

        return Part
    if name == "Plan":
        from initpolicy.plans import Plan

        return Plan
    if name == "Policy":
        from initpolicy.policy import Policy

        return Policy
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
