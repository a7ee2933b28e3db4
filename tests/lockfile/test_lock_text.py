"""Locks as text and back, and what is said of text that is no lock."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from locks import laws, locks, texts

from initpolicy.laws import Normal, Orthogonal
from initpolicy.lockfile import Entry, Lock, parse, read, write
from initpolicy.lockfile.lawtext import quoted, read_law, unquoted, write_law
from initpolicy.problems import InitPolicyError, Location

ENTRIES = (
    Entry("h.10.w", (2, 3), "float32", "parameter", True, Normal(0.0, 0.1), digest="0" * 32),
    Entry("h.2.w", (4, 4), "float32", "parameter", True, Orthogonal(), rule='"deep"', stream="z"),
    Entry("h.2.b", (), "int64", "buffer", False, None, aliases=("a b", "c")),
    Entry("f", (8,), "float32", "buffer", True, None, constructor="Rotary", rule="type Rotary"),
)
LOCK = Lock(
    ENTRIES,
    seed=3,
    draws=1,
    policy="gpt.toml",
    title='"GPT"',
    variables={"n": 12.0},
    rules={"type Rotary": (Location("gpt.toml", 9),), '"deep"': (Location("a b.toml", 7),)},
)
TEXT = """\
# What each tensor begins with. `initpolicy lock` writes this file: review it, do not edit it.
lock = 1
draws = 1
policy = "gpt.toml"
title = "\\"GPT\\""
seed = 3
digests = "values"
var n = 12.0
rule "deep" = "a b.toml":7
rule 'type Rotary' = gpt.toml:9

f  [8] float32 buffer  constructor of Rotary  by 'type Rotary'
h.2.b  [] int64 buffer unsaved  keep  also "a b", c
h.2.w  [4, 4] float32  orthogonal(gain=1.0)  by "deep"  drawn as z  rounding
h.10.w  [2, 3] float32  normal(mean=0.0, std=0.1)  00000000000000000000000000000000
"""


def test_a_lock_is_lines_in_natural_order():
    assert write(LOCK) == TEXT


@given(locks())
def test_text_and_back(lock):
    text = write(lock)
    again = parse(text)
    assert write(again) == text
    assert again.to_json() == lock.to_json()
    assert all(line.isprintable() for line in text.split("\n"))


@given(locks(), st.randoms(use_true_random=False))
def test_the_order_of_tensors_and_of_lines_is_nothing(lock, rng: random.Random):
    entries = list(lock.entries)
    rng.shuffle(entries)
    assert write(replace(lock, entries=tuple(entries))) == write(lock)
    head, _, body = write(lock).partition("\n\n")
    lines = body.splitlines()
    rng.shuffle(lines)
    assert write(parse("\n".join([head, "", *lines]))) == write(lock)


@given(laws)
def test_laws_as_text_and_back(law):
    text = write_law(law)
    assert write_law(read_law(text)) == text
    assert read_law(text).to_json() == law.to_json()


@given(st.text("'\"\\\\ \n\u2028a", max_size=6))
def test_rules_are_written_so_that_they_are_read_back(text):
    entry = Entry("w", (), "int8", "buffer", True, None, rule=text)
    lock = Lock((entry,), 0, 1, rules={text: (Location("a", 1),)})
    assert parse(write(lock)) == lock


@given(texts)
def test_quoted_text_is_printable_and_is_read_back(text):
    assert unquoted(quoted(text)) == text
    assert quoted(text).isprintable()


HEADER, _, BODY = TEXT.partition("\n\n")
LINES = BODY.splitlines()
DIGEST = "the line lacks its digest, or has one that it cannot have"
ROUNDED = "`rounding` is where a digest cannot be, and nowhere else"


def problems(text: str) -> list[str]:
    with pytest.raises(InitPolicyError) as caught:
        parse(text, "policy.lock")
    assert {problem.code for problem in caught.value.problems} == {"IP531"}
    hints = {problem.hint for problem in caught.value.problems}
    assert hints == {"write it anew with `initpolicy lock MODEL POLICY`"}
    return [
        f"{problem.location}: {problem.message.removeprefix('this is no lock: ')}"
        for problem in caught.value.problems
    ]


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("w", "the line is no tensor, as `w  [2, 3] float32  keep` is one"),
        ("w  [2,3] float32  keep", "[2,3] is no shape, as [2, 3] is one"),
        ("w  [2, 03] float32  keep", "[2, 03] is no shape, as [2, 3] is one"),
        ("w  [2] float33  keep", "float33 is no type that torch has"),
        ("w  [2] tensor  keep", "tensor is no type that torch has"),
        ("w  [2] float32  law", '"law" in the law "law" means nothing'),
        ("w  [2] float32  3.5", "`3.5` is no law; a law is written as normal(mean=0.0, std=0.02)"),
        (
            "w  [2] float32  normal(mean=0.0, mean=0.0)",
            '"mean" in the law "normal(mean=0.0, mean=0.0)" means nothing',
        ),
        ("w  [2] float32  normal(", 'the end of the law "normal(" means nothing'),
        ("w  [2] float32  normal(mean=0.0, std=-1.0)", "std must not be negative, and is -1"),
        ("w  [2] float32  gauss()", None),
        ("w  [2] float32  eye(value=1.0)x", '"x" in the law "eye(value=1.0)x" means nothing'),
        ("w  [2] float32  constant(value=0.0)", DIGEST),
        ("w  [2] float32  keep  " + "0" * 32, DIGEST),
        ("w  [2] float32  keep  rounding", ROUNDED),
        ("w  [2, 2] float32  orthogonal(gain=1.0)", ROUNDED),
        ("h.2.b  [2] float32  keep", "there are two tensors of the name `h.2.b`"),
        ("w  [2] float32  keep  also c", "there are two tensors of the name `c`"),
        ('"\\x"  [2] float32  keep', "Invalid \\escape: line 1 column 2 (char 1)"),
        ("<<<<<<< ours", "a merge left its conflict here"),
        ("=======", "a merge left its conflict here"),
        ("w" * (2**16 + 1), "the line is longer than 65,536 characters"),
    ],
)  # fmt: skip
def test_a_line_that_is_no_tensor(line, wrong):
    (told,) = problems(TEXT + line + "\n")
    assert told.startswith("policy.lock:16: ")
    if wrong is not None:
        assert told == f"policy.lock:16: {wrong}"


@pytest.mark.parametrize(
    ("old", "new", "wrong"),
    [
        ("lock = 1\n", "lock = 2\n", ": it has version 2, and this program reads 1"),
        ("seed = 3\n", "", ": it lacks `seed`"),
        ("seed = 3\n", "seed = 3\nseed = 4\n", ":7: `seed` is there twice"),
        (
            "seed = 3",
            "seed = 18446744073709551616",
            ":6: `seed` is no whole number from 0 to 2**64 - 1",
        ),
        ("seed = 3", "seed = -3", ":6: `seed` is no whole number from 0 to 2**64 - 1"),
        ("seed = 3", "speed = 3", ":6: the line is no setting, as `seed = 0` is one"),
        ('policy = "gpt.toml"', "policy = gpt.toml", ":4: gpt.toml is no text in quotes"),
        ("var n = 12.0", "var n = 12.0\nvar n = 1.0", ":9: the variable `n` is there twice"),
        ("var n = 12.0", "var n = twelve", ":8: the line is no setting, as `seed = 0` is one"),
        (":9\n", ":9\nrule 'type Rotary' = a:1\n", ":11: the rule is there twice"),
        ('digests = "values"', 'digests = "some"', None),
        ("lock = 1", "<<<<<<< ours", ":2: a merge left its conflict here"),
    ],
)  # fmt: skip
def test_a_header_that_is_none(old, new, wrong):
    assert TEXT.count(old) == 1
    told = problems(TEXT.replace(old, new))
    if wrong is not None:
        assert told == [f"policy.lock{wrong}"]


def test_windows_line_ends_and_comments_are_read():
    assert write(parse(TEXT.replace("\n", "\r\n"))) == TEXT
    assert write(parse("# mine\n" + TEXT)) == TEXT


def test_of_many_wrong_lines_the_first_are_told():
    told = problems(TEXT + "wrong\n" * 1000)
    assert len(told) == 21
    assert told[19].startswith("policy.lock:35: ")
    assert told[20] == "policy.lock: 980 more lines are wrong"


def test_a_deep_law_is_an_error():
    law = "zero_rows(law=" * 2000 + "eye(value=1.0)" + ", rows=[])" * 2000
    (told,) = problems(f"{TEXT}w  [2] float32  {law}\n")
    assert told == "policy.lock:16: laws lie more than 16 deep in one another"


@pytest.mark.parametrize("text", ["", "\n", "\n\n", "lock = 1", "{}", "\0"])
def test_text_that_is_something_else(text):
    assert problems(text)


@given(st.data())
def test_damaged_text_is_a_lock_or_an_error(data):
    text = TEXT
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        cut = data.draw(st.integers(0, 8))
        piece = data.draw(
            st.sampled_from([*' "\\\n[](),=-09az', "  ", "inf", "\u2028", "e999"])
            | st.text(max_size=4)
        )
        text = text[:at] + piece + text[at + cut :]
    try:
        again = parse(text)
    except InitPolicyError as error:
        codes = {problem.code for problem in error.problems}
    else:
        codes = {"IP531"}
        assert write(parse(write(again))) == write(again)
    assert codes == {"IP531"}


def test_files_that_cannot_be_read(tmp_path):
    for name, content, told in [
        ("bytes", b"lock = \xff", "it is no text in UTF-8: invalid start byte"),
        ("nul\0", None, None),
        ("nothing", None, None),
    ]:
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(InitPolicyError) as caught:
            read(tmp_path / name)
        (problem,) = caught.value.problems
        expected = f"this is no lock: {told}" if told else "there is no such lock"
        assert (problem.code, problem.message) == ("IP531", expected)
    with pytest.raises(InitPolicyError, match="there is no such lock"):
        read(tmp_path)


def test_a_large_file_is_not_read(tmp_path):
    file = tmp_path / "large.lock"
    with file.open("wb") as opened:
        opened.truncate(2**26 + 1)
    with pytest.raises(InitPolicyError, match="it is larger than 67,108,864 bytes"):
        read(file)
