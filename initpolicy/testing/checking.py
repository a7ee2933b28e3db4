"""Check an initializer over many arguments, shapes and types, and show the simplest failure."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis.errors import FailedHealthCheck, Unsatisfiable
from hypothesis.strategies import SearchStrategy

from initpolicy.initializers import Initializer, InitializerError
from initpolicy.laws import Law
from initpolicy.problems import InitPolicyError, Problem
from initpolicy.testing.draws import Broken, named
from initpolicy.testing.invariants import (
    bounds,
    completeness,
    dependence,
    determinism,
    independence_of_type,
    order,
    scaling,
    shards,
    survival,
)
from initpolicy.testing.samples import STATISTICS, samples, torch_draws
from initpolicy.testing.tensors import Case, cases, read


class BrokenInitializerError(InitPolicyError, AssertionError):
    """An initializer does not keep a promise; `problems` say which, and for which tensor."""


class _FoundError(Exception):
    def __init__(self, case: Case, found: list[Broken]) -> None:
        super().__init__()
        self.case = case
        self.found = found


def check_initializer(
    initializer: str | Initializer | Callable[..., Law],
    *,
    arguments: Mapping[str, Any] | None,
    shapes: Sequence[tuple[int, ...]] | SearchStrategy[tuple[int, ...]] | None,
    dtypes: Sequence[torch.dtype] | SearchStrategy[torch.dtype] | None,
    examples: int,
    alpha: float,
) -> None:
    """See `initpolicy.testing.check_initializer`."""
    try:
        checked = read(initializer)
    except InitializerError as error:
        raise BrokenInitializerError(Problem("IP551", error.message, error.hint)) from None
    tried = cases(checked, arguments=arguments, shapes=shapes, dtypes=dtypes)

    # What failed in an earlier run is not tried first: the same cases are tried in every run.
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        print_blob=False,
        report_multiple_bugs=False,
        verbosity=Verbosity.quiet,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.nested_given],
    )
    @given(tried)
    def holds(case: Case) -> None:
        if found := list(broken(case, alpha / examples)):
            raise _FoundError(case, found)

    try:
        with _one_thread():
            holds()
    except _FoundError as error:
        raise BrokenInitializerError(_problems(error.case, error.found)) from None
    except (Unsatisfiable, FailedHealthCheck):
        raise BrokenInitializerError(_nothing_fits(checked)) from None


@contextmanager
def _one_thread() -> Generator[None, None, None]:
    """Compute with one thread: for tensors as small as these, more of them only wait."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def broken(case: Case, alpha: float) -> Iterator[Broken]:
    """Say everything that one case breaks.

    What is drawn must be settled before anything else can be said of it. Statistics call a case
    that is right broken with a probability of at most `alpha`.
    """
    for check in (determinism, completeness, dependence, order):
        if found := _guarded(case, check):
            yield from found
            return
    for check in (shards, independence_of_type, scaling, survival):
        yield from _guarded(case, check)
    found = _guarded(case, bounds)
    yield from found
    if not found:
        yield from _guarded(case, torch_draws)
        yield from _guarded(case, partial(samples, alpha=alpha / STATISTICS))


def _guarded(case: Case, check: Callable[[Case], Iterator[Broken]]) -> list[Broken]:
    try:
        with _torch_state_kept():
            return list(check(case))
    except Exception as error:  # whatever another package raises
        told = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return [
            Broken(
                "IP552",
                f"the law {named(case.law)} accepts the tensor and fails all the same: {told}",
                "let `validate` raise `LawError` for what the law cannot fill",
            )
        ]


@contextmanager
def _torch_state_kept() -> Generator[None, None, None]:
    state = torch.get_rng_state()
    try:
        yield
    finally:
        torch.set_rng_state(state)


def _problems(case: Case, found: list[Broken]) -> list[Problem]:
    return [Problem(one.code, f"{case}: {one.message}", one.hint) for one in found]


def _nothing_fits(initializer: Initializer) -> Problem:
    return Problem(
        "IP551",
        f"hardly any arguments, shapes and types were found that {initializer.name} accepts",
        "say some with `arguments = {...}`, `shapes = [...]` and `dtypes = [...]`",
    )
