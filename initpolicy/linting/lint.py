"""The walk over a plan: every check on every tensor, and what the rules allow left out."""

from __future__ import annotations

from collections import defaultdict
from itertools import product

from initpolicy.batches import Input
from initpolicy.laws import Law
from initpolicy.linting.checks import CHECKS
from initpolicy.linting.finding import Advice, Finding
from initpolicy.linting.subject import Context, Subject
from initpolicy.model import Inventory
from initpolicy.plans import Choice, Plan
from initpolicy.policy.model import Call, Entry, Policy, Rule
from initpolicy.problems import Location
from initpolicy.resolve.finding import flow_in
from initpolicy.resolve.gains import as_written

Written = dict[tuple[Location, str], tuple[Rule, Entry]]


def lint(policy: Policy, plan: Plan, inventory: Inventory, input: Input | None = None) -> Advice:
    """Say what is probably wrong with a plan, from types, names, laws and order alone.

    `plan` is what `policy` decides for the model of which `inventory` takes stock. Nothing is
    drawn, and no value is read. With an `input` the model is run on it, on the meta device where
    it can be, to see what follows its layers; else it is traced.
    """
    written: Written = {
        (entry.location, str(entry.value)): (rule, entry)
        for rule in policy.rules
        for entry in rule.entries
    }
    laws: dict[int, Law] = {}
    streams: defaultdict[str, list[str]] = defaultdict(list)
    for decision in plan.filled:
        assert decision.law is not None
        laws[id(inventory.by_name[decision.name].tensor)] = decision.law
        if decision.law.is_drawn:
            streams[decision.stream_name].append(decision.name)
    flow = flow_in(inventory, input)
    kinds = {type(entry.module).__name__.lower() for entry in inventory.modules} | flow.called
    normalizes = any(word in kind for kind in kinds for word in ("norm", "rsqrt", "std", "var"))
    first: dict[int, str] = {}
    context = Context(plan, flow, laws, dict(streams), normalizes, set(), first)
    subjects: list[Subject] = []
    for decision in plan.filled:
        if decision.law is None or decision.winner is None:
            continue
        winner = decision.winner
        rule, entry = written.get((winner.location, as_written(winner.initializer)), (None, None))
        call = entry.value if entry and isinstance(entry.value, Call) else None
        slot = inventory.by_name[decision.name]
        subjects.append(Subject(decision, decision.law, winner, call, slot, context, rule))
        first.setdefault(id(rule), decision.name)
    found: dict[tuple[str, Choice], list[tuple[str, str]]] = {}
    allowed = 0
    for check, subject in product(CHECKS, subjects):
        rule = subject.rule
        for message in check.look(subject):
            if rule is not None and check.code in rule.allow:
                allowed += 1
                context.silenced.add((id(rule), check.code))
            else:
                told = found.setdefault((check.code, subject.winner), [])
                told.append((subject.decision.name, message))
    titles = {check.code: check.title for check in CHECKS}
    findings = [
        Finding(code, titles[code], tuple(name for name, _ in told), told[0][1], winner)
        for (code, winner), told in found.items()
    ]
    findings.sort(key=lambda one: (one.rule.location, one.code))
    reason = "" if input is None or flow.traced else flow.reason
    return Advice(plan.title or plan.policy, tuple(findings), allowed, flow.traced, reason)
