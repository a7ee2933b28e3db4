"""Check an initializer over many arguments, shapes and types, and show the simplest failure."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis.errors import FailedHealthCheck, Unsatisfiable
from hypothesis.strategies import SearchStrategy

from initpolicy.initializers import Initializer, InitializerError
from initpolicy.laws import Law
from initpolicy.problems import InitPolicyError, Problem
from initpolicy.testing.invariants import Broken, broken
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


def _problems(case: Case, found: list[Broken]) -> list[Problem]:
    return [Problem(one.code, f"{case}: {one.message}", one.hint) for one in found]


def _nothing_fits(initializer: Initializer) -> Problem:
    return Problem(
        "IP551",
        f"hardly any arguments, shapes and types were found that {initializer.name} accepts",
        "say some with `arguments = {...}`, `shapes = [...]` and `dtypes = [...]`",
    )
