"""The walk from policy and model to plan, collecting every problem on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import nn

from initpolicy.expressions import Expression, ExpressionError
from initpolicy.laws import Law
from initpolicy.model import (
    Inventory,
    ModelError,
    RenameError,
    Site,
    Slot,
    class_of,
    constructor_arguments,
    read,
    renamed,
    uncollected,
)
from initpolicy.plans import Choice, Decision, Plan
from initpolicy.policy.document import MAX_SEED
from initpolicy.policy.model import Call, Keep, Policy, Recompute, Rule
from initpolicy.problems import InitPolicyError, Location, Problem, listed, suggest
from initpolicy.resolve import coverage
from initpolicy.resolve.gains import GainError, Gains, asks, told
from initpolicy.resolve.lowering import Lowered, Lowering, LoweringError
from initpolicy.resolve.matching import Match, Matches, Matching, match
from initpolicy.resolve.scope import FUNCTIONS, Neighbours, TensorScope, Variables
from initpolicy.resolve.steps import steps

if TYPE_CHECKING:
    from initpolicy.batches import Input


@uncollected()
def resolve(
    model: nn.Module,
    policy: Policy,
    *,
    seed: int | None = None,
    variables: Mapping[str, float | str] | None = None,
    rename: Mapping[str, str] | None = None,
    inventory: Inventory | None = None,
    input: Input | None = None,
) -> Plan:
    """Decide for each tensor of `model` what it begins with.

    Touches no tensor's memory, works on the meta device and draws no random number. `seed` and
    `variables` replace what the policy says; a variable may be a number or an expression.
    `rename` is that of `read_model`. `inventory` is what was read off the model, if that was done
    before. `input` is what the model is called with, for gains that follow from what follows a
    layer. Raises `InitPolicyError` with every problem that was found; warnings are part of the
    plan.
    """
    seed = policy.seed if seed is None else seed
    problems = [*_check_seed(seed)]
    overrides = _overrides(policy, variables or {}, problems)
    if inventory is None:
        inventory = read_model(model, rename)
    resolving = _Resolving(model, policy, seed, inventory, overrides, problems, input)
    try:
        return resolving.plan()
    finally:
        del resolving.gains  # which refers back to it: both would outlive this, and the model


def read_model(model: nn.Module, rename: Mapping[str, str] | None = None) -> Inventory:
    """Take stock of a model; raises `InitPolicyError` if its tensors cannot be told apart.

    `rename` says that the model is a part of another one, and what its names are in the whole:
    those that begin with a key begin with its value there. It may be empty.
    """
    try:
        inventory = read(model)
        return inventory if rename is None else renamed(inventory, rename)
    except RenameError as errors:
        raise InitPolicyError(
            [Problem("IP219", error.message, error.hint) for error in errors.errors]
        ) from None
    except ModelError as error:
        raise InitPolicyError(Problem("IP213", error.message, error.hint)) from None


def _check_seed(seed: int) -> list[Problem]:
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MAX_SEED:  # pyright: ignore[reportUnnecessaryIsInstance]
        return [
            Problem("IP210", f"the seed is {seed!r}", "write a whole number from 0 to 2**64 - 1")
        ]
    return []


def _overrides(
    policy: Policy, given: Mapping[str, float | str], problems: list[Problem]
) -> dict[str, float | Expression]:
    overrides: dict[str, float | Expression] = {}
    for name, value in given.items():
        if name not in policy.variables:
            near = suggest(name, policy.variables, n=1)
            known = ", ".join(policy.variables) or "no variables"
            hint = f"did you mean `{near[0]}`? " if near else ""
            problems.append(
                Problem("IP209", f"the policy has no variable `{name}`", f"{hint}it has {known}")
            )
            continue
        try:
            overrides[name] = Expression.parse(value) if isinstance(value, str) else float(value)
        except (ExpressionError, TypeError, ValueError) as error:
            problems.append(Problem("IP209", f"variable `{name}`: {error}", "give it a number"))
    return overrides


class _Resolving:
    """One call of `resolve`: what it was given, and the problems so far."""

    def __init__(
        self,
        model: nn.Module,
        policy: Policy,
        seed: int,
        inventory: Inventory,
        overrides: Mapping[str, float | Expression],
        problems: list[Problem],
        input: Input | None,
    ) -> None:
        self.policy = policy
        self.seed = seed
        self.inventory = inventory
        self.variables = Variables(policy, overrides, model, inventory)
        self.neighbours = Neighbours(inventory)
        self.lowering = Lowering()
        self.matching: Matching | None = None
        self.gains = Gains(inventory, self.law_of, input)
        # Most tensors are decided as others were: by the same rules, and often of one shape.
        self.by_rules: dict[tuple[int, type, bool], Decision] = {}
        self.by_shape: dict[tuple[int, type, bool, int], Decision] = {}
        self.choices: dict[int, Choice] = {}  # of each entry, which stands for many tensors
        self.problems = problems
        # The same mistake in one rule is found again for every tensor: told once, with a count.
        self.repeated: dict[tuple[str, str, Location], tuple[str, list[str]]] = {}

    def plan(self) -> Plan:
        self.check_lazy()
        matching = match(self.policy, self.inventory, self.holds)
        self.problems += coverage.unmatched(self.policy, self.inventory, matching)
        self.matching = matching
        decided = zip(self.inventory.slots, matching.deciding, strict=True)
        decisions = tuple(
            [self.decision(slot, found, matching) for slot, found in decided if not slot.lazy]
        )
        self.problems += coverage.overridden(self.policy, matching)
        self.problems += coverage.both(self.inventory, matching)
        left = coverage.left(self.inventory, matching)
        if (problem := coverage.uncovered(self.policy, left)) is not None:
            self.problems.append(problem)
        self.problems += self.summed_up()
        found, wrong = steps(self.policy, self.inventory)
        self.problems += wrong
        if any(problem.severity == "error" for problem in self.problems):
            raise InitPolicyError(sorted(self.problems, key=_by_place))
        return Plan(
            decisions=decisions,
            seed=self.seed,
            policy=self.policy.name,
            title=self.policy.title,
            source=self.policy.source,
            variables=dict(self.variables.computed),
            warnings=tuple(sorted(self.problems, key=_by_place)),
            steps=tuple(found),
        )

    def check_lazy(self) -> None:
        lazy = [slot for slot in self.inventory.slots if slot.lazy]
        if lazy:
            noun = "tensor has" if len(lazy) == 1 else "tensors have"
            shown = listed(f"{slot.name} ({type(slot.module).__name__})" for slot in lazy)
            self.problems.append(
                Problem(
                    "IP208",
                    f"{len(lazy)} {noun} no shape yet: {shown}",
                    "run one batch through the model first, so that its lazy modules learn theirs",
                )
            )

    def scope(self, slot: Slot, site: Site, captures: Mapping[str, int]) -> TensorScope:
        return TensorScope(
            site,
            slot.facts,
            captures,
            self.variables,
            self.neighbours,
            canonical=slot.sites[0],
            gains=self.gains if self.matching else None,  # no condition waits for what it decides
        )

    def holds(self, slot: Slot, site: Site, rule: Rule, captures: Mapping[str, int]) -> bool:
        """Whether the `where` of a rule holds for a tensor."""
        if rule.where is None or slot.lazy:
            return True
        try:
            value = rule.where.evaluate(self.scope(slot, site, captures), FUNCTIONS)
        except ExpressionError as error:
            self.repeat("IP205", f"rule {rule}: `where`", str(error), rule.location, site.name)
            return False
        if not isinstance(value, bool):
            message = f"{rule.where.text}: it is a number, where a condition is needed"
            self.repeat("IP205", f"rule {rule}: `where`", message, rule.location, site.name)
            return False
        return value

    def decision(self, slot: Slot, matches: Matches, matching: Matching) -> Decision:
        site, *others = slot.sites
        shared = not others and slot.computed is None
        alike = (id(matches), type(site.module), site.persistent, id(slot.measured))
        known = self.by_shape.get(alike)
        if known is not None and shared:
            return known.changed(name=site.name)
        facts = slot.facts
        winner = matches[-1] if matches else None
        lowered = self.lowered(winner, slot, site) if winner else None
        recompute = winner.entry.value if winner else None
        if winner and lowered and slot.computed is not None and slot.computed.obstacle:
            self.repeat(
                "IP215",
                f"rule {winner.rule}: `{winner.entry.key}`",
                f"it is computed, and cannot be set: {slot.computed.obstacle}; write a rule on "
                f"`{slot.computed.originals[0][1]}` of "
                f"{type(slot.computed.originals[0][0]).__name__}, from which it is computed",
                winner.entry.location,
                site.name,
            )
        if others and winner:
            self.compare_aliases(slot, matching, lowered)
        own: dict[str, Any] = {
            "name": site.name,
            "shape": facts.shape,
            "dtype": facts.dtype,
            "law": lowered.law if lowered else None,
            "stream": lowered.stream if lowered else "",
        }
        similar = self.by_rules.get(alike[:3]) if shared and lowered else None
        if similar is not None:
            decision = similar.changed(**own)
        else:
            decision = Decision(
                **own,
                kind=site.kind,
                module_type=class_of(site.module).__name__,
                winner=self.winning(winner, site) if winner else None,
                losers=tuple(map(self.choice, matches[-2::-1])) if len(matches) > 1 else (),
                aliases=tuple([site.name for site in others]),
                persistent=slot.persistent if others else site.persistent,
                recompute=recompute.by if isinstance(recompute, Recompute) else "",
            )
        if shared and lowered and winner and self.is_closed(winner):
            self.by_rules[alike[:3]] = self.by_shape[alike] = decision
        return decision

    @staticmethod
    def is_closed(match: Match) -> bool:
        """Whether what a match says is the same for every tensor of a shape."""
        return isinstance(match.entry.value, Call) and match.entry.value.is_closed

    def lowered(self, match: Match, slot: Slot, site: Site) -> Lowered | None:
        """The law that a match gives; None if it gives none, or fails, which is then noted."""
        value = match.entry.value
        if isinstance(value, Keep):
            return None
        if isinstance(value, Recompute):
            self.check_constructor(match, slot, site)
            return None
        try:
            return self.lowering.lower(value, slot, partial(self.scope, slot, site, match.captures))
        except LoweringError as error:
            message = f"{error.message}; {error.hint}" if error.hint else error.message
            what = f"rule {match.rule}: `{match.entry.key}`"
            self.repeat(error.code, what, message, match.entry.location, site.name)
            return None

    def check_constructor(self, match: Match, slot: Slot, site: Site) -> None:
        """Note it if the module does not keep what its constructor would have to be given."""
        what = f"rule {match.rule}: `{match.entry.key}`"
        if slot.computed is not None:
            message = f"it is computed by {slot.computed.how}, and is no buffer of its own"
            self.repeat("IP218", what, message, match.entry.location, site.name)
            return
        try:
            constructor_arguments(site.module)
        except ModelError as error:
            message = f"{error.message}; {error.hint}"
            self.repeat("IP218", what, message, match.entry.location, site.name)

    def choice(self, match: Match) -> Choice:
        key = id(match.entry)
        if key not in self.choices:
            entry = match.entry
            self.choices[key] = Choice(str(match.rule), str(entry.value), entry.location)
        return self.choices[key]

    def winning(self, match: Match, site: Site) -> Choice:
        """The choice of the winner, with the gain that it asked for."""
        choice = self.choice(match)
        if self.is_closed(match) or not asks(match.entry.value):
            return choice
        try:
            gain = self.gains.of(site.module)
        except GainError:  # noted where its law was asked for
            return choice
        return replace(choice, initializer=told(choice.initializer, gain))

    def law_of(self, slot: Slot) -> Law | None:
        """The law of a tensor that another one depends on."""
        matches = self.matching.by_site[slot.name] if self.matching else ()
        lowered = self.lowered(matches[-1], slot, slot.sites[0]) if matches else None
        return lowered.law if lowered else None

    def compare_aliases(self, slot: Slot, matching: Matching, decided: Lowered | None) -> None:
        """Warn where another name of a tied tensor would have it begin otherwise."""
        for site in slot.aliases:
            matches = matching.by_site[site.name]
            if not matches:
                continue
            winner = matches[-1]
            other = self.lowered(winner, slot, site)
            if (other and other.law) == (decided and decided.law):
                continue
            says = other.law if other else "keep"
            self.problems.append(
                Problem(
                    "IP207",
                    f"{slot.name} and {site.name} are one tensor, which begins as "
                    f"{decided.law if decided else 'it is'}; rule {winner.rule} says {says} of "
                    f"{site.name}, and is not followed",
                    'give both names the same law, or write `where = "not alias"` in the rule',
                    winner.entry.location,
                    "warning",
                )
            )

    def repeat(self, code: str, what: str, message: str, location: Location, name: str) -> None:
        _, names = self.repeated.setdefault((code, what, location), (message, []))
        if name not in names:
            names.append(name)

    def summed_up(self) -> list[Problem]:
        return [
            Problem(code, f"{what}, for {listed(names, 3)}: {message}", "", location)
            for (code, what, location), (message, names) in self.repeated.items()
        ]


def _by_place(problem: Problem) -> tuple[str, int, str]:
    location = problem.location or Location("")
    return location.file, location.line, problem.code
