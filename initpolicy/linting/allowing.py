"""Exceptions that are argued for nothing."""

from __future__ import annotations

from collections.abc import Iterator

from initpolicy.linting.subject import Subject
from initpolicy.policy.files import builtins
from initpolicy.problems import Location


def allowed_for_nothing(subject: Subject) -> Iterator[str]:
    """An exception that nothing needs.

    A rule allows a code, and nothing of that code is found in the tensors that the rule decides
    on: what it was written for has been mended or was never there, and it would hide the next
    mistake. It is told only of rules of the policy's own, neither of those that it extends nor of
    ready policies, which are for many models, and only where the model was traced.
    """
    rule = subject.rule
    if rule is None or not rule.allow or rule.inherited or not subject.context.flow.traced:
        return
    if subject.context.first[id(rule)] != subject.decision.name or _is_ready(rule.location):
        return
    needless = [code for code in rule.allow if (id(rule), code) not in subject.context.silenced]
    if needless:
        yield f"allow = {needless} silences nothing; take it out".replace("'", '"')


def _is_ready(location: Location) -> bool:
    folder, _, name = location.file.removesuffix(".toml").partition("/")
    return folder == "policies" and name in builtins()  # which go by their place among built-ins
