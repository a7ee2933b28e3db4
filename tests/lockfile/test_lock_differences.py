"""What changed between two locks, or two policies: all of it, and nothing else."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from locks import calibrated, digests, entries, laws, locks, names, steps, texts

from initpolicy.laws import Constant, Normal, Orthogonal, Stacked, Uniform
from initpolicy.lockfile import Change, Entry, Lock, differences, has_digest, policy_differences
from initpolicy.lockfile.differences import FIELDS
from initpolicy.policy import parse
from initpolicy.problems import Location

CHANGES = {
    "shape": st.lists(st.integers(0, 9), max_size=3).map(tuple),
    "dtype": st.sampled_from(["float16", "float64", "float32"]),
    "kind": st.sampled_from(["parameter", "buffer"]),
    "persistent": st.booleans(),
    "law": st.none() | laws,
    "rule": st.none() | texts,
    "stream": texts,
    "aliases": st.lists(texts, max_size=2, unique=True).map(tuple),
    "gain": texts,
    "steps": steps,
    "digest": st.none() | digests,
}


def told(entry: Entry, field: str) -> object:
    """A field as JSON has it, in which 0 and -0 are two things."""
    return repr(entry.to_json()[field])


@settings(max_examples=30)
@given(locks(), st.randoms(use_true_random=False))
def test_equal_locks_have_no_differences(lock: Lock, rng: random.Random) -> None:
    shuffled = list(lock.entries)
    rng.shuffle(shuffled)
    found = differences(lock, replace(lock, entries=tuple(shuffled)))
    assert found.same
    assert found.to_json() == {"same": True, "settings": [], "changes": []}


@settings(max_examples=30)
@given(locks(), texts, texts, st.dictionaries(texts, st.just((Location("x", 3),)), max_size=2))
def test_names_titles_and_lines_are_no_differences(lock: Lock, policy, title, rules) -> None:
    assert differences(lock, replace(lock, policy=policy, title=title, rules=rules)).same


def test_every_field_of_an_entry_is_compared() -> None:
    assert set(FIELDS) == set(CHANGES)
    assert set(vars(Entry("w", (), "int8", "buffer", True, None))) == {
        "name", "constructor", *FIELDS,
    }  # fmt: skip


@pytest.mark.parametrize("field", FIELDS)
@settings(max_examples=20)
@given(data=st.data())
def test_any_change_of_one_field_is_found(field: str, data: st.DataObject) -> None:
    entry, beside = (data.draw(entries(name, digest=True)) for name in ("h.2.w", "h.10.w"))
    assume(field != "law" or not entry.constructor)
    other = replace(entry, **{field: data.draw(CHANGES[field])})
    assume(told(other, field) != told(entry, field))
    before, after = Lock((entry, beside), 0, 1), Lock((beside, other), 0, 1)
    found = differences(before, after)
    assert found.changes == (Change(entry, other, (field,)),)
    assert not found.settings
    assert not found.same
    assert differences(after, before).changes == (Change(other, entry, (field,)),)


@settings(max_examples=50)
@given(locks(), st.data())
def test_a_change_of_a_setting_is_found(lock: Lock, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["seed", "draws", "variables", "steps"]))
    value = {
        "seed": st.integers(0, 2**64 - 1),
        "draws": st.integers(1, 9),
        "variables": st.dictionaries(texts, st.floats(allow_nan=False), max_size=3),
        "steps": st.lists(calibrated(lock.digests == "values"), max_size=2).map(tuple),
    }[name]
    other = replace(lock, **{name: data.draw(value)})
    assume(repr(getattr(other, name)) != repr(getattr(lock, name)))
    found = differences(lock, other)
    assert found.settings
    assert not found.changes
    assert not found.same


@settings(max_examples=50)
@given(locks(), locks())
def test_every_tensor_is_told_once_or_is_the_same(before: Lock, after: Lock) -> None:
    found = differences(before, after).changes
    old = [change.before.name for change in found if change.before]
    new = [change.after.name for change in found if change.after]
    assert len(set(old)) == len(old)
    assert len(set(new)) == len(new)
    compared = [field for field in FIELDS if field != "digest" or before.digests == after.digests]
    for one, other, met in ((before, after, old), (after, before, new)):
        for name, entry in one.by_name.items():
            twin = other.by_name.get(name)
            same = twin is not None and entry.begins == twin.begins and all(
                told(entry, field) == told(twin, field) for field in compared if field != "law"
            )  # fmt: skip
            if before.digests == after.digests == "values" or "digest" not in compared:
                assert (name in met) != same


@settings(max_examples=20)
@given(names, st.data())
def test_a_recomputed_buffer_is_not_one_that_is_kept(name: str, data: st.DataObject) -> None:
    entry = data.draw(entries(name, digest=False).filter(lambda entry: entry.law is None))
    other = replace(entry, constructor="" if entry.constructor else "Rotary")
    locked = [Lock((one,), 0, 1, digests="none") for one in (entry, other)]
    assert differences(*locked).changes == (Change(entry, other, ("law",)),)


def tensor(name: str, law=Normal(0, 1), shape=(2,)) -> Entry:  # noqa: B008
    return Entry(name, shape, "float32", "parameter", True, law, digest=name.ljust(32, "0"))


def lock(*given: Entry) -> Lock:
    return Lock(given, 0, 1)


def test_renamed_tensors_are_paired_by_how_their_names_end() -> None:
    before = lock(*(tensor(f"h.{i}.{end}") for i in range(3) for end in ("w", "b")))
    after = lock(*(tensor(f"m.layers.{i}.{end}") for i in range(3) for end in ("w", "b")))
    found = differences(before, after).changes
    assert {change.what for change in found} == {"renamed"}
    assert [(c.before.name, c.after.name, c.fields) for c in found if c.before and c.after] == [
        (f"h.{i}.{end}", f"m.layers.{i}.{end}", ()) for i in range(3) for end in ("b", "w")
    ]


def test_tensors_of_another_law_or_shape_or_too_many_are_no_renamed_ones() -> None:
    def whats(before: Lock, after: Lock) -> list[str]:
        return [change.what for change in differences(before, after).changes]

    assert whats(lock(tensor("a.w")), lock(tensor("b.w"))) == ["renamed"]
    assert whats(lock(tensor("a.w")), lock(tensor("b.v"))) == ["removed", "added"]
    assert whats(lock(tensor("a.w")), lock(tensor("b.w", Normal(0, 2)))) == ["removed", "added"]
    assert whats(lock(tensor("a.w")), lock(tensor("b.w", shape=(3,)))) == ["removed", "added"]
    two = lock(tensor("b.w"), tensor("c.w"))
    assert whats(lock(tensor("a.w")), two) == ["removed", "added", "added"]
    assert whats(two, lock(tensor("a.w"))) == ["added", "removed", "removed"]


def test_digests_are_compared_only_if_both_locks_have_them() -> None:
    one = lock(tensor("w"))
    none = Lock((replace(tensor("w"), digest=None),), 0, 1, digests="none")
    other = lock(replace(tensor("w"), digest="1" * 32))
    assert differences(one, none).same
    assert differences(none, one).same
    assert [change.fields for change in differences(one, other).changes] == [("digest",)]


@pytest.mark.parametrize(
    ("law", "digest"),
    [
        (Uniform(0, 1), True),
        (Constant(1), True),
        (Orthogonal(), False),
        (Stacked((Uniform(0, 1), Constant(0))), True),
        (Stacked((Uniform(0, 1), Orthogonal())), False),
        (Stacked((Uniform(0, 1), None)), False),
        (None, False),
    ],
)
def test_which_tensors_have_digests(law, digest) -> None:
    assert has_digest(Entry("w", (2, 2), "float32", "parameter", True, law)) == digest
    computed = Entry("w", (2, 2), "float32", "parameter", False, law)
    assert not has_digest(computed)


OLD = """
format = 1
[vars]
n = 12
[[rule]]
type = "Linear"
note = "all"
init.weight = { fn = "normal", std = 0.02 }
init.bias = 0
[[rule]]
name = "head"
init.weight = { fn = "normal", std = "0.02 / n" }
"""


def policies(*changes: tuple[str, str]) -> tuple:
    text = OLD
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    found = policy_differences(parse(OLD, "old.toml"), parse(text, "new.toml"))
    assert policy_differences(parse(text), parse(text)).same
    keys = [(one.rule, one.key, one.before, one.after) for one in found.keys]
    others = [(one.name, one.before, one.after) for one in found.settings]
    assert found.same == (not (keys or others or found.reordered))
    return others, keys, found.reordered


def test_policies_are_compared_key_by_key() -> None:
    assert policies() == ([], [], ())
    assert policies(("format = 1", 'format = 1\ntitle = "T"')) == ([], [], ())
    assert policies(("n = 12", "n = 24\nm = 1"), ("format = 1", "format = 1\nseed = 3")) == (
        [("seed", "0", "3"), ("var n", "12.0", "24.0"), ("var m", None, "1.0")], [], ()
    )  # fmt: skip
    assert policies(("init.bias = 0", "init.bias = 1")) == (
        [], [('"all"', "init.bias", "constant(val=0)", "constant(val=1)")], ()
    )  # fmt: skip
    assert policies(("std = 0.02 }", "std = 0.020000001 }")) == (
        [],
        [
            (
                '"all"',
                "init.weight",
                '{"fn": "normal", "std": 0.02}',
                '{"fn": "normal", "std": 0.020000001}',
            )
        ],
        (),
    )
    assert policies(('name = "head"', 'name = "heads"')) == (
        [],
        [
            ("name heads", "init.weight", None, "normal(std=0.02 / n)"),
            ("name head", "init.weight", "normal(std=0.02 / n)", None),
        ],
        (),
    )
    assert policies(('note = "all"', "optional = true")) == (
        [], [("type Linear", "optional", None, "true"), ("type Linear", "note", "all", None)], ()
    )  # fmt: skip


def test_the_order_of_rules_is_compared() -> None:
    first = '[[rule]]\ntype = "Linear"\ninit.weight = 0\n'
    second = '[[rule]]\nname = "head"\ninit.weight = 0\n'
    one, other = (parse(f"format = 1\n{text}") for text in (first + second, second + first))
    found = policy_differences(one, other)
    assert found.reordered == ("name head", "type Linear")
    assert not found.same
