"""What tests of models, policies and initializers are made of.

`assert_initialized` asks whether a model has the values that a policy gives, `check_initializer`
whether an initializer, a user's own included, keeps what every initializer promises, and
`initpolicy.testing.strategies` draws models, policies, laws and arguments with Hypothesis:

>>> from initpolicy.testing import check_initializer
>>> check_initializer("kaiming_normal")

What a function needs is imported when it is called: pytest and Hypothesis load parts of this
package when they start.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from hypothesis.strategies import SearchStrategy
    from torch import nn

    from initpolicy.initializers import Initializer
    from initpolicy.laws import Law
    from initpolicy.plans import Plan
    from initpolicy.policy import Policy

__all__ = ["assert_initialized", "assert_policies", "check_initializer"]


def assert_initialized(
    model: nn.Module,
    policy: str | os.PathLike[str] | Policy | Plan,
    **options: Any,
) -> None:
    """Raise `AssertionError`, with what is wrong, unless the model has the values of the policy.

    Options are those of `initpolicy.verify`. If `exact` is not among them, values are compared bit
    for bit where a `seed` is given, and judged by their laws where none is: a constructor that
    draws with a generator of its own passes if what it draws follows the policy.

    >>> import torch, initpolicy
    >>> model = torch.nn.Linear(784, 10)
    >>> plan = initpolicy.apply(model, "mlp", seed=3)
    >>> assert_initialized(model, "mlp", seed=3)
    """
    from initpolicy.testing.assertions import assert_initialized

    assert_initialized(model, policy, **options)


def assert_policies(place: str | os.PathLike[str], *, strict: bool = False) -> None:
    """Raise `PoliciesError`, with what is wrong, unless every policy of a folder holds.

    Each is resolved, carried out and verified on the models that it names in lines
    `#:model file.py:callable`, as by `initpolicy test`. `place` may also be one policy's file; with
    `strict`, warnings count as errors.
    """
    from initpolicy.testing.assertions import assert_policies

    assert_policies(place, strict=strict)


def check_initializer(
    initializer: str | Initializer | Callable[..., Law],
    *,
    arguments: Mapping[str, Any] | None = None,
    shapes: Sequence[tuple[int, ...]] | SearchStrategy[tuple[int, ...]] | None = None,
    dtypes: Sequence[torch.dtype] | SearchStrategy[torch.dtype] | None = None,
    examples: int = 25,
    alpha: float = 1e-9,
) -> None:
    """Raise `BrokenInitializerError` unless an initializer keeps what every initializer promises.

    `initializer` is a function from the facts of a tensor to a law, as packages register them, or
    the name of one that is registered. Its arguments are drawn from what their annotations allow,
    and shapes and types from those that its law accepts; `arguments` says some of them, each as a
    value or as a strategy, and `shapes` and `dtypes` say which to take.

    So many `examples` are tried, always the same ones, and of one that fails the simplest form is
    shown. Statistics are compared on samples of 2^15 values and more; all of them together call an
    initializer that is right broken with a probability of at most `alpha`.

    >>> from initpolicy.laws import Normal
    >>> def small(tensor, *, gain: float = 1.0) -> Normal:
    ...     return Normal(0.0, 0.01 * abs(gain))
    >>> check_initializer(small, shapes=[(8, 8)])
    """
    from initpolicy.testing.checking import check_initializer

    check_initializer(
        initializer,
        arguments=arguments,
        shapes=shapes,
        dtypes=dtypes,
        examples=examples,
        alpha=alpha,
    )
