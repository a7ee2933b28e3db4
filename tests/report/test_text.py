from __future__ import annotations

import io
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from initpolicy.laws import Constant, Normal
from initpolicy.plans import Choice, Decision, Plan
from initpolicy.problems import Location, Problem
from initpolicy.report import machine, text

CHOICE = Choice("a", "normal(std=0.5)", Location("x.toml", 3))
PROBLEM = Problem("IP204", "it decides nothing", "take it out", Location("x.toml", 3), "warning")


def plan(*names: str, law=Normal(0, 0.5), warnings=()) -> Plan:  # noqa: B008
    decisions = [Decision(name, "parameter", (2,), "float32", "Net", law, CHOICE) for name in names]
    return Plan(tuple(decisions), 0, "x.toml", warnings=warnings)


def terminal(width: int = 80) -> Console:
    return Console(
        file=io.StringIO(), force_terminal=True, width=width, color_system="truecolor",
        highlight=False, markup=False, emoji=False,
    )  # fmt: skip


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def plain() -> Console:
    return text.console(io.StringIO())


def test_a_problem_is_one_plain_line_in_a_pipe() -> None:
    to = plain()
    text.problems([PROBLEM, Problem("IP301", "two\nlines [red]\x1b[1m", "x" * 300)], to)
    assert written(to) == (
        "x.toml:3: IP204 it decides nothing; take it out\n"
        f"IP301 two lines [red]\\x1b[1m; {'x' * 300}\n"
    )


def test_a_problem_has_colours_on_a_terminal_and_is_not_folded() -> None:
    to = terminal(20)
    text.problems([PROBLEM], to)
    assert "\x1b[33mIP204\x1b[0m" in written(to)
    assert written(to).count("\n") == 1


def test_markup_of_users_is_text() -> None:
    to = plain()
    text.plan(plan("[bold]weight[/bold]", ":smile:"), to)
    assert "\n[bold]weight[/bold]  2 " in written(to)
    assert "\n:smile:" in written(to)


@given(st.text())
def test_one_line_is_one_line_that_steers_no_terminal(given_text: str) -> None:
    line = text.one_line(given_text)
    assert all(char.isprintable() for char in line)
    assert text.one_line(line) == line


@pytest.mark.parametrize("width", [20, 80, 300])
def test_a_plan_is_one_line_a_tensor_on_any_terminal(width) -> None:
    name = "features." * 9 + "weight"
    to = terminal(width)
    text.plan(plan(name), to)
    assert sum(name in line for line in written(to).splitlines()) == 1


def test_a_summary_fits_a_narrow_terminal() -> None:
    to = terminal(40)
    text.applied(plan("a.weight", "b.weight"), 0.1, ("x.safetensors", 1000), to)
    lines = written(to).splitlines()
    rows = lines[3:7]
    assert all(len(re.sub(r"\x1b\[[0-9;]*m", "", row)) <= 40 for row in rows)
    assert "Saved \x1b[1mx.safetensors\x1b[0m, 1.0 kB." in lines[-1]


def test_no_bar_where_nobody_sees_it() -> None:
    to = plain()
    with text.progress(100, to) as progress:
        assert progress is None
    with text.progress(0, terminal()) as progress:
        assert progress is None
    assert written(to) == ""


def test_a_bar_counts_bytes_and_goes_away() -> None:
    to = terminal()
    with text.progress(2_000_000, to) as progress:
        assert progress is not None
        progress(500_000)
        progress(1_500_000)
    assert "2.0/2.0 MB" in written(to)
    assert written(to).endswith("\x1b[2K")


def test_a_page_is_rendered_on_a_terminal_and_markdown_elsewhere() -> None:
    page = "# A: title\n\nSome `code`.\n"
    to = plain()
    text.page(page, to)
    assert written(to) == page
    to = terminal()
    text.page(page, to)
    assert "#" not in written(to)
    assert "A: title" in written(to)


def test_nothing_to_fill_is_told_without_a_table() -> None:
    to = plain()
    text.applied(plan("weight", law=None), 0.0, None, to)
    assert written(to) == (
        "x.toml, seed 0\n"
        "\n"
        "Filled nothing in 0.00 s.\n"
        "Left as it is: 1 tensor.\n"
        "  weight (Net): rule a keeps it\n"
        "Nothing was saved; `--out FILE` keeps the values.\n"
    )


def test_many_tensors_that_are_left_are_told_by_their_last_names() -> None:
    to = plain()
    names = [f"{layer}.{name}" for layer in range(3) for name in ("w1", "w2", "w3", "w4", "w5")]
    text.applied(plan(*names, law=None, warnings=(PROBLEM,)), 0.0, None, to)
    assert written(to).splitlines()[3:7] == [
        "Left as they are: 15 tensors.",
        "  w1, w2, w3, w4 and 1 more of Net (15 parameters): rule a keeps them",
        "1 warning:",
        "  x.toml:3: IP204 it decides nothing; take it out",
    ]


def test_json_is_json() -> None:
    stream = io.StringIO()
    machine.write({"a": [1, "é"]}, stream)
    assert stream.getvalue().endswith("}\n")
    assert json.loads(stream.getvalue()) == {"a": [1, "é"]}
    with pytest.raises(ValueError, match="JSON"):
        machine.write(float("nan"), stream)


def test_a_constant_is_its_own_law() -> None:
    constant = Choice("a", "constant(val=0)", Location("x.toml", 3))
    decided = Plan(
        (Decision("w", "parameter", (), "float32", "Net", Constant(0), constant),), 0, "x.toml"
    )
    to = plain()
    text.applied(decided, 0.0, None, to)
    assert "constant" not in written(to)
    to = plain()
    text.plan(decided, to)
    assert "\nw       scalar  float32  0          x.toml:3  constant(val=0)\n" in written(to)
