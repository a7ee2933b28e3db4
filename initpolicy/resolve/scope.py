"""What expressions can read: variables, captures, and facts of tensors and modules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, cast

from torch import nn

from initpolicy.expressions import Expression, ExpressionError
from initpolicy.initializers import InitializerError, gain
from initpolicy.model import Facts, FanError, Inventory, Site, Slot
from initpolicy.policy.model import AttributeVariable, CountVariable, Policy, Variable
from initpolicy.policy.names import AUTO_GAIN, TENSOR_FACTS
from initpolicy.problems import suggest
from initpolicy.resolve.gains import Gains


def _gain(nonlinearity: str, parameter: float | None = None) -> float:
    try:
        return gain(nonlinearity, parameter)
    except InitializerError as error:
        raise ValueError(
            f"{error.message}; {error.hint}" if error.hint else error.message
        ) from None


FUNCTIONS = {"gain": _gain}


class Variables(Mapping[str, float]):
    """The variables of a policy, computed when they are first read.

    Overrides replace what the policy says. Raises an `ExpressionError` for a variable that has no
    value for this model, and `KeyError` for one that there is not.
    """

    def __init__(
        self,
        policy: Policy,
        overrides: Mapping[str, float | Expression],
        model: nn.Module,
        inventory: Inventory,
    ) -> None:
        self._definitions: dict[str, Variable] = {**policy.variables, **overrides}
        self._model = model
        self._inventory = inventory
        self._being_computed: list[str] = []
        self.computed: dict[str, float] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._definitions)

    def __len__(self) -> int:
        return len(self._definitions)

    def __getitem__(self, name: str) -> float:
        if name not in self.computed:
            definition = self._definitions[name]
            if name in self._being_computed:
                circle = " -> ".join([*self._being_computed, name])
                raise ExpressionError(f"variable `{name}` is defined by itself: {circle}")
            self._being_computed.append(name)
            try:
                self.computed[name] = self._compute(name, definition)
            except RecursionError:
                if len(self._being_computed) > 1:
                    raise
                raise ExpressionError(
                    f"variable `{name}` is defined through too many others, one by the next"
                ) from None
            finally:
                self._being_computed.pop()
        return self.computed[name]

    def _compute(self, name: str, definition: Variable) -> float:
        if isinstance(definition, Expression):
            value = definition.evaluate(self, FUNCTIONS)
            if isinstance(value, bool):
                raise ExpressionError(f"variable `{name}` is true or false, not a number")
            return value
        if isinstance(definition, CountVariable):
            return self._count(name, definition)
        if isinstance(definition, AttributeVariable):
            return self._follow(name, definition)
        return float(definition)

    def _count(self, name: str, definition: CountVariable) -> float:
        glob = definition.pattern
        if self._inventory.is_part:
            raise ExpressionError(
                f"variable `{name}` counts modules of the whole model, and this is a part of it; "
                f'pass the number, such as `vars={{"{name}": 32}}`'
            )
        names = [entry.name for entry in self._inventory.modules]
        counted = [(one, found) for one in names if (found := glob.match(one)) is not None]
        if counted:
            if gap := _gap(counted, names):
                raise ExpressionError(
                    f"variable `{name}`: `{glob.text}` matches {len(counted)} modules, and there "
                    f"is no {gap}, so this seems to be a part of a model; "
                    f'pass the number of the whole, such as `vars={{"{name}": 32}}`'
                )
            return float(len(counted))
        if definition.default is None:
            near = suggest(
                glob.text, [entry.name for entry in self._inventory.modules if entry.name]
            )
            hint = f"; names near it are {', '.join(near)}" if near else ""
            raise ExpressionError(
                f"variable `{name}`: no module's name matches `{glob.text}`{hint}; "
                "mend the glob, or give it a `default`"
            )
        return definition.default

    def _follow(self, name: str, definition: AttributeVariable) -> float:
        value: Any = self._model
        for part in definition.path.split("."):
            value = _member(value, part)
            if value is None:
                break
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if value is None and definition.default is not None:
            return definition.default
        found = "has no" if value is None else f"has a {type(value).__name__} as"
        raise ExpressionError(
            f"variable `{name}`: the model {found} `{definition.path}`; "
            "give it a `default`, or pass the number with `--var`"
        )


def _gap(counted: Iterable[tuple[str, Mapping[str, int]]], names: Iterable[str]) -> str:
    """Name the first module that is missing before those that were counted; empty if none is.

    Lists of modules are numbered from 0. A list that is not has lost its beginning, or its middle,
    to other processes.
    """
    known = set(names)
    complete: dict[tuple[str, ...], int] = {}  # up to which number the lists are there
    for name, captures in counted:
        segments = tuple(name.split("."))
        for place, segment in enumerate(segments):
            if not segment.isdecimal() or int(segment) not in captures.values():
                continue
            around = segments[:place]
            for index in range(complete.get(around, 0), int(segment)):
                sibling = ".".join((*around, str(index)))
                if sibling not in known:
                    return sibling
                complete[around] = index + 1
    return ""


def _member(value: Any, name: str) -> Any:
    """An attribute, or an entry of a mapping such as `config.rope_parameters`; None for neither."""
    found: Any = getattr(value, name, None)
    if found is None and isinstance(value, Mapping):
        found = cast("Mapping[str, Any]", value).get(name)
    return found


class Neighbours:
    """The facts of every tensor of a model, by the module that owns it and its local name."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory

    @cached_property
    def _slots(self) -> dict[tuple[int, str], Slot]:
        return {
            (id(site.module), site.local_name): slot
            for slot in self._inventory.slots
            for site in slot.sites
        }

    def facts(self, module: nn.Module, local_name: str) -> Facts | None:
        """The facts of a tensor of `module`, or None if it has none of that name with a shape."""
        slot = self._slots.get((id(module), local_name))
        return None if slot is None or slot.lazy else slot.facts


class TensorScope(Mapping[str, Any]):
    """What an expression sees when it is evaluated for one tensor."""

    def __init__(
        self,
        site: Site,
        facts: Facts,
        captures: Mapping[str, int],
        variables: Variables,
        neighbours: Neighbours,
        *,
        canonical: Site,
        gains: Gains | None = None,
    ) -> None:
        self._gains = gains
        self._canonical = canonical
        self._alias = site is not canonical
        self._site = site
        self._facts = facts
        self._captures = captures
        self._variables = variables
        self._neighbours = neighbours

    @property
    def texts(self) -> dict[str, str]:
        """What stands for the tensor in texts: its name, and the two parts of it.

        Its name is the canonical one, whatever name is asked about: one tensor has one value.
        """
        site = self._canonical
        return {"name": site.name, "module": site.module_name, "local": site.local_name}

    def of(self, facts: Facts) -> TensorScope:
        """The same, for facts that are read in another way."""
        return TensorScope(
            self._site,
            facts,
            self._captures,
            self._variables,
            self._neighbours,
            canonical=self._canonical,
            gains=self._gains,
        )

    @cached_property
    def _known(self) -> tuple[str, ...]:
        own = (*TENSOR_FACTS, "alias", "depth", *([AUTO_GAIN] if self._gains else []))
        return (*self._captures, *self._variables, *own)

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)

    def __getitem__(self, name: str) -> Any:
        if name in self._captures:
            return self._captures[name]
        if name in TENSOR_FACTS:
            return _fact(self._facts, name)
        if name == "alias":
            return self._alias
        if name == "depth":
            return len(self._site.module_name.split(".")) if self._site.module_name else 0
        if name == AUTO_GAIN and self._gains is not None:
            return self._gains.of(self._site.module).value
        owner, dot, rest = name.partition(".")
        if not dot:
            return self._variables[name]
        if owner == "module":
            return self._attribute(rest)
        facts = self._neighbours.facts(self._site.module, owner)
        if facts is None or rest not in TENSOR_FACTS:
            raise KeyError(name)
        return _fact(facts, rest)

    def _attribute(self, path: str) -> Any:
        value: Any = self._site.module
        for part in path.split("."):
            # A tensor's values are no part of a decision, and would be read here.
            if not hasattr(value, part):
                owner = type(self._site.module).__name__
                raise ExpressionError(f"module.{path}: {owner} has no `{part}`")
            value = getattr(value, part)
        return value


def _fact(facts: Facts, name: str) -> Any:
    try:
        return getattr(facts, name)
    except FanError as error:
        raise ExpressionError(f"{name}: {error}") from None
