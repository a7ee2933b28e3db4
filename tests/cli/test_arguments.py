from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from initpolicy.cli.arguments import keywords, variables
from initpolicy.problems import InitPolicyError

tomlkit = pytest.importorskip("tomlkit")


def told(*items: str) -> list[str]:
    with pytest.raises(InitPolicyError) as caught:
        keywords(items)
    return [str(problem) for problem in caught.value.problems]


def test_values_are_written_as_in_toml() -> None:
    given = ["a=1", "b=-1e-5", "c=true", "d='x=y'", "e=[1, [2]]", "f={ g = 1 }", " h = 2 "]
    assert keywords(given) == {
        "a": 1,
        "b": -1e-5,
        "c": True,
        "d": "x=y",
        "e": [1, [2]],
        "f": {"g": 1},
        "h": 2,
    }


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (
            "act=relu",
            "`--kwarg act`: relu is no TOML value; "
            "write a text in quotes, `--kwarg 'act=\"relu\"'`",
        ),
        ("bias=False", "`--kwarg bias`: False is no TOML value; write `--kwarg bias=false`"),
        ("bias=", "`--kwarg bias=` is no name with a value; write NAME=VALUE"),
        ("bias", "`--kwarg bias` is no name with a value; write NAME=VALUE"),
        ("a.b=1", "`--kwarg a.b=1` is no name with a value; write NAME=VALUE"),
    ],
)
def test_anything_else_is_refused_word_by_word(item: str, message: str) -> None:
    assert told(item) == [f"IP402 {message}"]


def test_a_value_cannot_bring_another() -> None:
    assert len(told("a=1\nb=2")) == 1
    assert len(told("a=1\n[b]")) == 1


def test_all_mistakes_are_told_at_once() -> None:
    assert [line.partition(";")[0] for line in told("a=x", "b=1", "b=2", "c")] == [
        "IP402 `--kwarg b` is given twice",
        "IP402 `--kwarg c` is no name with a value",
        "IP402 `--kwarg a`: x is no TOML value",
    ]


def test_variables_stay_text() -> None:
    assert variables(["n=12", "w=a == b"]) == {"n": "12", "w": "a == b"}
    with pytest.raises(InitPolicyError, match="`--var n` is given twice"):
        variables(["n=12", "n=13"])


values = st.recursive(
    st.integers(-(2**63), 2**63 - 1) | st.booleans() | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


@given(values)
def test_whatever_toml_can_write_comes_through(value: object) -> None:
    assert keywords([f"x={tomlkit.item(value).as_string()}"]) == {"x": value}


@given(st.text())
def test_any_text_is_a_value_or_a_problem(text: str) -> None:
    try:
        told = [f"{name} is there" for name in keywords([text])]
    except InitPolicyError as error:
        told = [problem.code for problem in error.problems]
    assert len(told) == 1
    assert told == ["IP402"] or told[0].endswith("is there")
