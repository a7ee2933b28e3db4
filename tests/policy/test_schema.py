"""The schema and the parser must agree on every document, valid or not."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable
from datetime import date
from typing import Any

import jsonschema
import pytest
import tomlkit
from hypothesis import example, given, settings
from hypothesis import strategies as st

from initpolicy import calibration, initializers
from initpolicy.policy import builtins, parse
from initpolicy.policy.files import builtin_folder
from initpolicy.policy.load import tomllib
from initpolicy.policy.names import COMMON_ARGUMENTS, RESERVED
from initpolicy.policy.schema import schema
from initpolicy.problems import InitPolicyError

VALIDATOR = jsonschema.Draft202012Validator(schema())


def problems(document: dict[str, Any]) -> set[str]:
    try:
        parse(tomlkit.dumps(document))
    except InitPolicyError as error:
        return {problem.code for problem in error.problems}
    return set()


# Of the inside of globs and expressions, and of other policies, only the parser knows.
BEYOND_THE_SCHEMA = {"IP105", "IP106", "IP107", "IP110"}


# Documents of which every part is right. Texts that the parser reads further are chosen from a few.

type_globs = st.sampled_from(["Linear", "=Linear", "*Conv*", "torch.nn.*", "!x"])
name_globs = st.sampled_from(["fc", "*conv*", "**.h.<i>", "", "!x"])
expressions = st.sampled_from(["2", "sqrt(2 / fan_in)", "width", "gain('relu')"])
floats = st.floats(allow_nan=False, allow_infinity=False)
numbers = floats | st.integers(-(2**63), 2**63 - 1)
texts = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), max_size=20)
layouts = st.sampled_from(["i o", "b o i", "o i k*", "o i i k"])
keys = st.sampled_from(["weight", "bias", "weight_*", "*"])


def tables(fields: dict[str, st.SearchStrategy[Any]], *required: str) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(
        {key: value for key, value in fields.items() if key in required},
        optional={key: value for key, value in fields.items() if key not in required},
    )


TEXTS_OF = {
    "FileName": st.sampled_from(["model.safetensors", "../a/model.safetensors.index.json"]),
    "Template": st.sampled_from(["{name}", "model.layers.{i}.{local}", "weight"]),
}


def argument(parameter: initializers.Parameter) -> st.SearchStrategy[Any]:
    if parameter.choices:
        return st.sampled_from(parameter.choices)
    if parameter.type is bool:
        return st.booleans()
    if parameter.is_formula:
        return expressions
    if not parameter.is_number:
        return TEXTS_OF.get(parameter.annotation, texts)
    return expressions | (st.integers(-9, 9) if parameter.type is int else numbers)


def call(name: str) -> st.SearchStrategy[Any]:
    parameters = initializers.get(name).parameters
    fields = {item.name: argument(item) for item in parameters}
    fields |= {
        common: numbers | expressions if about.is_number else layouts if about.pattern else texts
        for common, about in COMMON_ARGUMENTS.items()
    }
    required = [item.name for item in parameters if item.required]
    return tables({"fn": st.just(name), **fields}, "fn", *required)


ALONE = [
    name
    for name in initializers.names()
    if not any(item.required for item in initializers.get(name).parameters)
]
parts = (
    numbers
    | st.just("keep")
    | st.sampled_from(ALONE)
    | st.sampled_from(initializers.names()).flatmap(call)
)
chunks = st.lists(
    parts.filter(lambda part: not isinstance(part, dict) or "stream" not in part),
    min_size=1,
    max_size=3,
)
values = parts | st.fixed_dictionaries({"chunks": chunks})


def selectors(globs: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    return globs | st.lists(globs, min_size=1, max_size=3)


entries = st.dictionaries(keys, values, min_size=1, max_size=3)
recompute = st.just({"recompute": "constructor"})
buffer_entries = st.dictionaries(keys, values | recompute, min_size=1, max_size=3)
rules = st.sampled_from(["init", "buffer"]).flatmap(
    lambda needed: tables(
        {
            "type": selectors(type_globs),
            "name": selectors(name_globs),
            "within": selectors(type_globs),
            "where": expressions,
            "init": entries,
            "buffer": buffer_entries,
            "optional": st.booleans(),
            "allow": st.lists(st.from_regex(r"IP7[0-2][0-9]", fullmatch=True), max_size=2),
            "note": texts,
        },
        needed,
    )
)


def step(name: str) -> st.SearchStrategy[Any]:
    parameters = calibration.get(name).parameters
    limits = calibration.get(name).limits
    fields = {
        item.name: st.sampled_from([1, 2, 0.5] if item.type is float else [1, 2])
        if item.is_number
        else argument(item)
        for item in parameters
        if item.name not in limits or "exclusiveMaximum" not in limits[item.name].schema
    }
    common = {
        "type": selectors(type_globs),
        "name": selectors(name_globs),
        "within": selectors(type_globs),
        "optional": st.booleans(),
        "note": texts,
    }
    return tables({"fn": st.just(name), **fields, **common}, "fn")


steps = st.sampled_from(calibration.names()).flatmap(step)
names = st.from_regex("[A-Za-z][A-Za-z0-9_]{0,8}", fullmatch=True).filter(
    lambda name: name not in RESERVED
)
variables = (
    numbers
    | expressions
    | tables({"count": st.just("**.h.<i>"), "default": numbers}, "count")
    | tables({"attr": st.just("config.n_embd"), "default": numbers}, "attr")
)
documents = tables(
    {
        "format": st.just(1),
        "title": texts,
        "source": texts,
        "seed": st.integers(0, 2**63 - 1),
        "extends": st.lists(st.sampled_from(["mlp", "torch.toml"]), max_size=2),
        "uncovered": st.sampled_from(["error", "warn", "keep"]),
        "vars": st.dictionaries(names, variables, max_size=3),
        "rule": st.lists(rules, max_size=3),
        "calibrate": st.lists(steps, max_size=2),
    },
    "format",
)

# Documents of which one part, somewhere, may be wrong.

FOREIGN: list[Any] = [True, False, -1, 0, 2.5, date(2020, 1, 1)]
FOREIGN += ["x", "keep", "normal", "sparse", "nonsense", [], ["x"], [3], [[]], {}, {"default": 1}]
FOREIGN += [{"fn": "normal"}, {"fn": "keep"}, {"fn": 3}, {"fn": "normal", "std": True}]
FOREIGN += [{"fn": "lsuv"}, {"fn": "lsuv", "tolerance": "0.1"}, {"fn": "lsuv", "where": "1"}]
FOREIGN += [{"recompute": "constructor"}, {"recompute": "x"}, {"recompute": 3}]
FOREIGN += [{"count": "x"}, {"attr": "x"}, {"attr": "x", "count": "x"}]
foreign = st.sampled_from(FOREIGN)
new_keys = st.sampled_from(
    ["x", "fn", "std", "val", "scale", "stream", "typ", "init", "default", "count", "depth", "_x"]
)


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner: Iterable[tuple[Any, Any]] = ()
    if isinstance(node, dict | list):
        inner = node.items() if isinstance(node, dict) else enumerate(node)
    return [path, *(place for key, value in inner for place in places(value, (*path, key)))]


@st.composite
def mutated(draw: Callable[..., Any]) -> dict[str, Any]:
    document = copy.deepcopy(draw(documents))
    path = draw(st.sampled_from(places(document)))
    *way, last = path or (None,)
    around = document
    for key in way:
        around = around[key]
    target = around[last] if path else document
    kinds = ["keep", "replace", "remove"] if path else ["keep"]
    if isinstance(target, dict):
        kinds.append("add")
    kind = draw(st.sampled_from(kinds))
    if kind == "add":
        target[draw(new_keys)] = draw(foreign)
    elif kind == "remove":
        del around[last]
    elif kind == "replace":
        around[last] = draw(foreign)
    return document


@given(documents)
def test_both_accept_what_is_right(document: dict[str, Any]) -> None:
    VALIDATOR.validate(document)
    assert problems(document) == set()


@settings(max_examples=300)
@given(mutated())
@example({"format": True})
@example({"format": 1, "vars": {"depth": 1}})
@example({"format": 1, "vars": {"a": {"attr": "x", "count": "x"}}})
@example({"format": 1, "rule": [{}]})
@example({"format": 1, "rule": [{"init": {}}]})
@example({"format": 1, "rule": [{"init": {}, "buffer": {"x": 0}}]})
@example({"format": 1, "rule": [{"init": {"x": "constant"}}]})
@example({"format": 1, "rule": [{"init": {"x": {"fn": "normal", "scale": True}}}]})
@example({"format": 1, "rule": [{"init": {"x": {"fn": "normal", "stream": 1}}}]})
@example({"format": 1, "rule": [{"init": {"x": {"fn": "dirac", "groups": 2.5}}}]})
@example({"format": 1, "rule": [{"init": {"x": {"fn": "trunc_normal", "corrected": 1}}}]})
@example({"format": 1, "rule": [{"init": {"x": {"recompute": "constructor"}}}]})
@example({"format": 1, "rule": [{"buffer": {"x": {"recompute": "constructor", "fn": "normal"}}}]})
@example({"format": 1, "rule": [{"buffer": {"x": {"recompute": "constructor", "std": 1}}}]})
@example({"format": 1, "title": "x" * 10_001})
@example({"format": 1, "seed": -1})
def test_both_judge_alike(document: dict[str, Any]) -> None:
    told = "; ".join(error.message for error in VALIDATOR.iter_errors(document))
    assert bool(problems(document) - BEYOND_THE_SCHEMA) == bool(told), told


def test_mutations_are_often_wrong_and_often_right() -> None:
    """Else the property above would say little."""
    seen: list[bool] = []

    @settings(max_examples=200, database=None)
    @given(mutated())
    def look(document: dict[str, Any]) -> None:
        seen.append(VALIDATOR.is_valid(document))

    look()
    assert 0.1 < sum(seen) / len(seen) < 0.9


def test_the_schema_is_a_schema_and_is_plain_json() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    assert json.loads(json.dumps(schema(), allow_nan=False)) == schema()


def test_every_shipped_policy_fits_the_committed_schema_and_names_it() -> None:
    folder = builtin_folder()
    committed = json.loads((folder / "policy.schema.json").read_text(encoding="utf-8"))
    assert committed == schema()
    assert builtins()
    for name in builtins():
        text = (folder / f"{name}.toml").read_text(encoding="utf-8")
        assert text.startswith("#:schema policy.schema.json\n")
        VALIDATOR.validate(tomllib.loads(text))


@pytest.mark.parametrize(
    ("document", "path", "told"),
    [
        ({"format": 2}, "format", "1 was expected"),
        ({"format": 1, "uncovered": "no"}, "uncovered", "'no' is not one of ['error', "),
        ({"format": 1, "seed": "0"}, "seed", "'0' is not of type 'integer'"),
    ],
)
def test_editors_say_what_is_wrong(document: dict[str, Any], path: str, told: str) -> None:
    (error,) = VALIDATOR.iter_errors(document)
    assert (error.json_path, error.message[: len(told)]) == (f"$.{path}", told)
