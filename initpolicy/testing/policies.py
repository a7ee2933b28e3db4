"""Hypothesis strategies for rules, policies, their text, and plans."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from initpolicy.plans import Plan
from initpolicy.policy import Policy, parse
from initpolicy.policy.model import Rule
from initpolicy.resolve import resolve
from initpolicy.testing import models as small
from initpolicy.testing.tensors import arguments

Table = dict[str, Any]

_NAMES = st.sampled_from(["**", "a.**", "**.h<n>", "*", "{a,b}", "**.[ab]", "h[12].*", "**.a"])
_TYPES = st.sampled_from([*small.LAYERS, "*", "Conv*", "*Norm*", "=Linear"])
_FOR_ALL = ("constant", "normal", "uniform", "trunc_normal", "ones", "zeros", "stratified_normal")
_FOR_MATRICES = ("kaiming_normal", "xavier_uniform", "orthogonal", "dct", "lecun_normal")


def values(*, matrices: bool = False) -> SearchStrategy[Any]:
    """What a key may say, for tensors of any shape; with `matrices`, of two dimensions and more."""
    names = _FOR_MATRICES if matrices else _FOR_ALL
    calls = st.sampled_from(names).flatmap(
        lambda name: arguments(name, (4, 4)).map(lambda given: {"fn": name, **given})
    )
    formulas = st.sampled_from(["i", "0.02 * z", "1 / numel", "sqrt(numel) * u"])
    said = calls if matrices else calls | formulas.map(lambda text: _call("formula", text))
    others: list[Any] = ["keep", *names[-2:]] if matrices else ["keep", "ones", "normal", 0, 0.5]
    return st.sampled_from(others) | said | said.map(_expressed)


def _call(name: str, text: str) -> Table:
    return {"fn": name, "value": text}


def _expressed(said: Table) -> Table:
    """Write one of the numbers of a call as an expression."""
    for name, value in said.items():
        if isinstance(value, float):
            return said | {name: f"{value!r} * (numel / numel)"}
    return said


@st.composite
def rule_tables(draw: Any) -> Table:
    """Rules as TOML tables that `models()` can follow, whether or not they match something."""
    table: Table = {"optional": True}
    for key, globs in (("type", _TYPES), ("name", _NAMES)):
        if draw(st.booleans()):
            one = draw(globs)
            table[key] = draw(st.sampled_from([one, [one, draw(globs)]]))
    if draw(st.booleans()):
        table["note"] = draw(st.text('abc äöü"\\', min_size=1, max_size=8))
    matrices = draw(st.booleans())
    if matrices:
        table["where"] = "ndim >= 2"
    table["init"] = {"*": draw(values(matrices=matrices))}
    return table


@st.composite
def documents(draw: Any) -> Table:
    """Policies as TOML documents, for every model that `models()` draws."""
    document: Table = {"format": 1}
    optional = {
        "title": st.text("abc '\"\\\n", max_size=8),
        "source": st.text("abc", max_size=8),
        "seed": st.integers(0, 2**64 - 1),
        "uncovered": st.sampled_from(["error", "warn", "keep"]),
    }
    for key, strategy in optional.items():
        if draw(st.booleans()):
            document[key] = draw(strategy)
    first = {"init": {"*": draw(values())}, "optional": True, "note": "everything"}
    document["rule"] = [first, *draw(st.lists(rule_tables(), max_size=4))]
    return document


def policy_texts() -> SearchStrategy[str]:
    """Policies as TOML text, for every model that `models()` draws.

    Their first rule covers every parameter, the others some of them, or none.
    """
    return documents().map(to_toml)


def policies() -> SearchStrategy[Policy]:
    """Policies that every model of `models()` can follow."""
    return policy_texts().map(lambda text: parse(text, "drawn.toml"))


def rules() -> SearchStrategy[Rule]:
    """Rules of such policies."""
    return policies().flatmap(lambda policy: st.sampled_from(policy.rules))


def plans() -> SearchStrategy[Plan]:
    """Plans of such policies for such models."""
    return st.builds(resolve, small.models(), policies())


def to_toml(document: Mapping[str, Any]) -> str:
    """Write a document as TOML: its tables in one line each, its rules one after the other."""
    lines = [f"{key} = {_value(value)}" for key, value in document.items() if key != "rule"]
    for rule in document.get("rule", []):
        lines += ["", "[[rule]]", *(f"{key} = {_value(value)}" for key, value in rule.items())]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        table = cast("Mapping[str, Any]", value)
        inside = [f"{json.dumps(key)} = {_value(one)}" for key, one in table.items()]
        return f"{{ {', '.join(inside)} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, cast('list[Any]', value)))}]"
    return json.dumps(value, ensure_ascii=False)
