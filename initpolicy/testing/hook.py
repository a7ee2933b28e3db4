"""Tells Hypothesis how to draw this package's types, and loads nothing to do so.

Hypothesis calls `register` when it is imported, long before it is known whether a test needs
torch. So a type is registered when the module that defines it has been imported, by whoever needs
it: until then `st.from_type` cannot be asked for it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

# The module that defines a type, the type, and the strategy of `initpolicy.testing.strategies`.
_TYPES = {
    "initpolicy.model.facts": (("Facts", "facts"),),
    "initpolicy.laws": (("Law", "laws"),),
    "initpolicy.initializers": (("Initializer", "initializers"),),
    "initpolicy.policy.model": (("Rule", "rules"), ("Policy", "policies")),
    "initpolicy.plans": (("Plan", "plans"),),
}


def register() -> None:
    """Register the types of modules that are loaded, now, and of others when they are."""
    waiting: set[str] = set()
    for name in _TYPES:
        module = sys.modules.get(name)
        if module is None or getattr(module.__spec__, "_initializing", False):
            waiting.add(name)
        else:
            _register(module)
    if waiting:
        sys.meta_path.insert(0, _Watch(waiting))


def _register(module: ModuleType) -> None:
    from hypothesis import strategies as st

    def strategy(name: str) -> Any:
        # Hypothesis calls it when a test draws such a value for the first time.
        def made(asked: type) -> Any:
            from initpolicy.testing import strategies

            return getattr(strategies, name)()

        return made

    for type_name, strategy_name in _TYPES[module.__name__]:
        st.register_type_strategy(getattr(module, type_name), strategy(strategy_name))


class _Watch(MetaPathFinder):
    """Sees modules being imported, and leaves the finding of them to others."""

    def __init__(self, waiting: set[str]) -> None:
        self.waiting = waiting

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Give the spec that others find, with a loader that registers the module's types."""
        if fullname not in self.waiting:
            return None
        # It stays among the finders: others may be going through their list just now.
        self.waiting.remove(fullname)
        spec = find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(Loader):
    """Another loader, after which the module's types are registered."""

    def __init__(self, inner: Loader) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Leave it to the other loader."""
        return self.inner.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Run the module, and register what it defines."""
        self.inner.exec_module(module)
        # Others, `inspect` among them, are to see the module as if nobody had watched.
        module.__loader__ = self.inner
        if module.__spec__ is not None:
            module.__spec__.loader = self.inner
        _register(module)
