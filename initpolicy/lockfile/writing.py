"""A lock as text: a few lines on what decided, and a line for each tensor.

Nothing is aligned and nothing is counted, so that a tensor that changes changes its own line and
no other, and two branches that change different tensors merge.
"""

from __future__ import annotations

import re

from initpolicy.lockfile.document import LOCK_VERSION, Entry, Lock
from initpolicy.lockfile.exact import is_rounded
from initpolicy.lockfile.lawtext import quoted

HEAD = (
    "# What each tensor begins with. `initpolicy lock` writes this file: review it, do not edit it."
)

PLAIN = r"[A-Za-z0-9_./+-]+"
"""A name that needs no quotes."""

NOTE = r'"[^"\\]*"'
"""A rule that is written as it is."""

ROUNDING = "rounding"
"""Stands in place of a digest where machines agree up to rounding only."""


def write(lock: Lock) -> str:
    """A lock as text, which `parse` reads back.

    >>> from initpolicy.laws import Normal
    >>> entry = Entry("w", (2, 3), "float32", "parameter", True, Normal(0.0, 0.02), rule='"all"')
    >>> print(write(Lock((entry,), seed=0, draws=1, digests="none")).splitlines()[-1])
    w  [2, 3] float32  normal(mean=0.0, std=0.02)  by "all"
    """
    lines = [
        HEAD,
        f"lock = {LOCK_VERSION}",
        f"draws = {lock.draws}",
        f"policy = {quoted(lock.policy)}",
        f"title = {quoted(lock.title)}",
        f"seed = {lock.seed}",
        f"digests = {quoted(lock.digests)}",
    ]
    lines += [f"var {name_of(name)} = {value!r}" for name, value in lock.variables.items()]
    for rule, places in lock.rules.items():
        told = ", ".join(f"{name_of(place.file)}:{place.line}" for place in places)
        lines.append(f"rule {rule_of(rule)} = {told}")
    for number, step in enumerate(lock.steps, 1):
        data = f"  data {step.data}" if step.data else ""
        lines.append(f"step {number} = {quoted(step.call)}  by {rule_of(step.rule)}{data}")
    lines.append("")
    lines += map(_line, lock)
    return "\n".join(lines) + "\n"


def _line(entry: Entry) -> str:
    what = f"{list(entry.shape)} {entry.dtype}"
    what += " buffer" if entry.kind == "buffer" else ""
    what += "" if entry.persistent else " unsaved"
    begins = f"constructor of {name_of(entry.constructor)}" if entry.constructor else entry.begins
    fields = [name_of(entry.name), what, begins]
    if entry.gain:
        fields.append(f"gain {quoted(entry.gain)}")
    if entry.rule is not None:
        fields.append(f"by {rule_of(entry.rule)}")
    if entry.stream:
        fields.append(f"drawn as {name_of(entry.stream)}")
    if entry.aliases:
        fields.append(f"also {', '.join(map(name_of, entry.aliases))}")
    if entry.steps:
        fields.append(f"then {', '.join(entry.steps)}")
    if entry.digest is not None:
        fields.append(entry.digest)
    elif is_rounded(entry):
        fields.append(ROUNDING)
    return "  ".join(fields)


def name_of(text: str) -> str:
    """A name, in quotes if it has unusual letters.

    >>> print(name_of("h.0.attn.weight"), name_of("my weight"))
    h.0.attn.weight "my weight"
    """
    return text if re.fullmatch(PLAIN, text) else quoted(text)


def rule_of(text: str) -> str:
    """A rule: its note, which has quotes already, or its selectors in single quotes.

    >>> print(rule_of('"residual"'), rule_of("type Conv2d"))
    "residual" 'type Conv2d'
    """
    if re.fullmatch(NOTE, text) and text.isprintable():
        return text
    inner = quoted(text)[1:-1].replace('\\"', '"').replace("'", "\\u0027")
    return f"'{inner}'"
