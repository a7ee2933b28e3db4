"""The pytest plugin: a marker that makes a test verify how a model begins.

    @pytest.mark.initpolicy("resnet.toml", model="mylibrary.models:resnet18")
    def test_resnet_begins_as_the_paper_says(): ...

pytest imports this file in every run, whether or not a test is marked: nothing is imported here
that a test without the marker would not need.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

if TYPE_CHECKING:
    from torch import nn

_MARKER = (
    "initpolicy(policy, *, model=None, kwargs=None, seed=None, vars=None, exact=None, alpha=1e-9): "
    "verify that the model has the values of the policy, before the test runs; bit for bit if the "
    "seed is given, by law if not. The model is what `model` names, or what the fixture `model` "
    "gives"
)
_NAMES = ("policy", "model", "kwargs", "seed", "vars", "exact", "alpha")


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", _MARKER)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Verify what the markers of a test say, those of its module and class first; then run it."""
    for mark in reversed(list(item.iter_markers("initpolicy"))):
        _verify(item, mark)
    return (yield)


def _verify(item: pytest.Item, mark: pytest.Mark) -> None:
    from initpolicy.problems import InitPolicyError

    try:
        from initpolicy.testing import assert_initialized

        wanted = Wanted.of(mark, item.path.parent)
        assert_initialized(
            wanted.build(getattr(item, "funcargs", {})), wanted.policy, **wanted.options
        )
        return
    except (AssertionError, InitPolicyError) as error:
        told = str(error)
    pytest.fail(told, pytrace=False)


@dataclass(frozen=True)
class Wanted:
    """What a marker asks for."""

    policy: Any
    model: Any = None
    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    folder: Path = Path()

    @classmethod
    def of(cls, mark: pytest.Mark, folder: Path = Path()) -> Wanted:
        """Read a marker; the files that it names begin in `folder`, or are found as always.

        Raises `InitPolicyError` for a marker that says too little or too much.
        """
        from initpolicy.problems import InitPolicyError, Problem

        given = dict(zip(("policy",), mark.args, strict=False)) | dict(mark.kwargs)
        unknown = [name for name in given if name not in _NAMES]
        if len(mark.args) > 1 or unknown or "policy" not in given:
            said = "several arguments without a name" if len(mark.args) > 1 else "no policy"
            said = f"`{unknown[0]}`" if unknown else said
            raise InitPolicyError(
                Problem(
                    "IP564",
                    f"the marker `initpolicy` is given {said}",
                    f"it takes a policy, and by name {', '.join(_NAMES[1:])}",
                )
            )
        policy = given.pop("policy")
        model = given.pop("model", None)
        kwargs: dict[str, Any] = dict(given.pop("kwargs", None) or {})
        return cls(_found(policy, folder), model, kwargs, given, folder)

    def build(self, fixtures: Mapping[str, Any]) -> nn.Module:
        """Give the model: built by name, built by a callable, or that of the fixture `model`.

        Raises `InitPolicyError` if there is none.
        """
        from torch import nn

        from initpolicy.model import ModelError, load_model
        from initpolicy.problems import InitPolicyError, Problem

        model = self.model if self.model is not None else fixtures.get("model")
        if isinstance(model, str):
            source, colon, name = model.rpartition(":")
            try:
                model = load_model(f"{_found(source, self.folder)}{colon}{name}", self.kwargs)
            except ModelError as error:
                raise InitPolicyError(Problem("IP401", error.message, error.hint)) from error
        elif callable(model) and not isinstance(model, nn.Module):
            model = model(**self.kwargs)
        if not isinstance(model, nn.Module):
            told = "no model" if model is None else f"the model {model!r}, which is no torch module"
            raise InitPolicyError(
                Problem(
                    "IP564",
                    f"the marker `initpolicy` is given {told}",
                    'write `model="package.module:callable"`, or let the test have a fixture '
                    "`model` that builds one",
                )
            )
        return model


def _found(named: Any, folder: Path) -> Any:
    """The file beside the test, if there is one of that name; else what was given."""
    if named and isinstance(named, str | os.PathLike):
        beside = folder / str(os.fspath(cast("str", named)))
        if beside.is_file():
            return str(beside)
    return cast("Any", named)
