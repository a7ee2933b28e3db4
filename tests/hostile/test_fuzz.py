"""Mutated inputs for everything that reads what others wrote; `make fuzz` tries far more."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from targets import TARGETS, Count, attack, refusing

from initpolicy import lockfile
from initpolicy.expressions import Expression, ExpressionError
from initpolicy.plans import Plan
from initpolicy.policy.glob import GlobError, NamePattern
from initpolicy.policy.load import parse


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_hostile_input_is_accepted_or_refused_and_nothing_is_written(
    name: str, seed: int
) -> None:
    count = Count()
    with TemporaryDirectory() as folder:
        attack(name, seed, Path(folder), count)
    for _, error in count.failed:
        raise error


def test_what_is_no_clear_error_is_counted_as_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(random: object, folder: Path) -> bool:
        raise KeyError

    def writing(random: object, folder: Path) -> bool:
        (folder / "left over").touch()
        return True

    monkeypatch.setitem(TARGETS, "broken", broken)
    monkeypatch.setitem(TARGETS, "writing", writing)
    for name in ("broken", "writing"):
        count = Count()
        attack(name, 0, tmp_path, count)
        assert len(count.failed) == 1


@given(st.text())
@example("format = 1\nseed = " + "1" * 5000)
def test_any_text_is_a_policy_or_refused(text: str) -> None:
    refusing(parse, text)
    refusing(parse, f"format = 1\n{text}")


@given(st.text())
def test_any_text_is_a_lock_or_refused(text: str) -> None:
    refusing(lockfile.parse, text)
    refusing(lockfile.parse, f"lock = 1\n{text}")


@given(st.text())
def test_any_text_is_an_expression_and_a_glob_or_refused(text: str) -> None:
    for read, refusal in ((Expression.parse, ExpressionError), (NamePattern.parse, GlobError)):
        with suppress(refusal):
            read(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(), inside, max_size=4),
    max_leaves=20,
)


@given(json_values, st.sampled_from([None, "plan", "decisions", "variables", "warnings"]))
def test_any_data_is_a_plan_or_refused(data: object, key: str | None) -> None:
    whole = {"plan": 1, "draws": 1, "policy": "", "title": "", "source": "", "seed": 0}
    whole |= {"variables": {}, "decisions": [], "warnings": []}
    refusing(Plan.from_json, data if key is None else whole | {key: data})


@pytest.mark.heavy
@pytest.mark.parametrize("name", TARGETS)
def test_many_hostile_inputs(name: str) -> None:
    program = str(Path(__file__).with_name("run.py"))
    command = [sys.executable, program, name, "--inputs", "20000", "--seed", "1000000"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
