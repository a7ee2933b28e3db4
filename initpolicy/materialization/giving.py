"""What a plan can give to a file, and what it cannot."""

from __future__ import annotations

import torch

from initpolicy.laws import LawError, keeps_some
from initpolicy.laws.files import FileError
from initpolicy.materialization.container import TYPES, Entry
from initpolicy.materialization.layout import Given
from initpolicy.plans import Decision, Plan
from initpolicy.problems import InitPolicyError, Problem, listed


def given(plan: Plan, cast: torch.dtype | None) -> list[Given]:
    """Every tensor that a checkpoint of the plan holds, floating-point ones as `cast` if given.

    Raises `InitPolicyError` with every tensor whose values do not follow from the plan.
    """
    problems = _computed(plan) + _kept(plan)
    found: list[Given] = []
    for decision in plan:
        law = decision.law
        if law is None or not decision.persistent:
            continue
        dtype = _type(decision, cast)
        if dtype is None or dtype not in TYPES:
            message = f"{decision.name}: safetensors cannot hold {decision.dtype}"
            problems.append(Problem("IP513", message, "save the model with `torch.save` instead"))
            continue
        odd = [name for name in (decision.name, *decision.aliases) if not _is_name(name)]
        if odd:
            problems.append(Problem("IP513", f"{odd[0]!r} is no name that a file can hold"))
            continue
        try:
            law.validate(decision.shape, dtype)
        except LawError as error:
            code = "IP216" if isinstance(error, FileError) else "IP513"
            problems.append(Problem(code, f"{decision.name}: {error.message}", error.hint))
            continue
        entry = Entry(decision.name, decision.shape, dtype)
        found.append(Given(entry, law, decision.stream_name, decision.aliases))
    if problems:
        raise InitPolicyError(problems)
    return found


def _is_name(name: str) -> bool:
    """Whether it is text, and not the one word that the format keeps for itself."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return name != "__metadata__"


def _type(decision: Decision, cast: torch.dtype | None) -> torch.dtype | None:
    own = getattr(torch, decision.dtype, None)
    if not isinstance(own, torch.dtype):
        return None
    return cast if cast is not None and own.is_floating_point else own


def _computed(plan: Plan) -> list[Problem]:
    """Values that a module computes; what it computes them from can be anything that gives them."""
    names = _computed_names(plan)
    if not names:
        return []
    one = len(names) == 1
    return [
        Problem(
            "IP512",
            f"{'1 tensor is' if one else f'{len(names)} tensors are'} computed from others, which "
            f"a file would have to hold: {listed(names)}",
            f"write rules on the tensors that {'it is' if one else 'they are'} computed from, or "
            "apply the policy to the model in memory and save that",
        )
    ]


def _computed_names(plan: Plan) -> list[str]:
    # A parameter that no checkpoint holds is one that is computed.
    return [d.name for d in plan.filled if d.kind == "parameter" and not d.persistent]


def _kept(plan: Plan) -> list[Problem]:
    """Values that the plan leaves as they are: a file has none."""
    computed = _computed_names(plan)
    parts = tuple(f"{name}_" for name in computed) + tuple(
        ".".join(filter(None, (owner, "parametrizations", local, "")))
        for owner, _, local in (name.rpartition(".") for name in computed)
    )
    names = [
        decision.name
        for decision in plan
        if decision.persistent
        and (decision.law is None or keeps_some(decision.law))
        and not decision.name.startswith(parts)
    ]
    if not names:
        return []
    one = len(names) == 1
    return [
        Problem(
            "IP511",
            f"{'1 tensor is' if one else f'{len(names)} tensors are'} left as "
            f"{'it is' if one else 'they are'}, and a file has no values to leave: {listed(names)}",
            f"write rules that fill {'it' if one else 'them'} (`init.` for parameters, "
            "`buffer.` for buffers), or apply the policy to the model in memory and save that",
        )
    ]
