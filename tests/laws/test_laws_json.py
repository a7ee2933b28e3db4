"""Laws as JSON data, and what importing them brings along."""

import contextlib
import json
import math
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from initpolicy.laws import (
    Constant,
    Dirac,
    Eye,
    LawError,
    Normal,
    Orthogonal,
    Sparse,
    TruncatedNormal,
    Uniform,
    ZeroRows,
    from_json,
)

numbers = st.floats(allow_nan=False, allow_infinity=False)
positive = st.floats(0, exclude_min=True, allow_nan=False, allow_infinity=False)
simple_laws = st.one_of(
    st.builds(Constant, numbers),
    st.tuples(numbers, numbers).map(lambda pair: Uniform(*sorted(pair))),
    st.builds(Normal, numbers, positive),
    st.builds(
        TruncatedNormal,
        numbers,
        positive,
        st.floats(max_value=-1e-9),
        st.floats(min_value=1e-9),
    ),
    st.builds(Eye, numbers),
    st.builds(Dirac, st.integers(1, 100), numbers),
    st.builds(Orthogonal, numbers),
    st.builds(Sparse, st.floats(0, 1), positive),
)
laws = simple_laws | st.builds(
    ZeroRows, simple_laws, st.lists(st.integers(0, 99), min_size=1).map(tuple)
)


@given(laws)
def test_json_round_trip(law):
    text = json.dumps(law.to_json(), allow_nan=False)
    again = from_json(json.loads(text))
    assert again == law
    assert hash(again) == hash(law)
    assert json.dumps(again.to_json()) == text


def test_examples():
    assert Normal(0, 0.02).to_json() == {"kind": "normal", "mean": 0.0, "std": 0.02}
    law = ZeroRows(TruncatedNormal(0, 1, 5, math.inf), (0,))
    assert law.to_json() == {
        "kind": "zero_rows",
        "law": {"kind": "truncated_normal", "mean": 0.0, "std": 1.0, "low": 5.0, "high": "inf"},
        "rows": [0],
    }


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (3, "a law must be a table with a kind, not 3"),
        ({}, "None is no kind of law"),
        ({"kind": ["normal"]}, "['normal'] is no kind of law"),
        ({"kind": "gauss"}, "'gauss' is no kind of law"),
        ({"kind": "normal"}, "the law 'normal' has the parameters mean, std, not none"),
        (
            {"kind": "normal", "mean": 0, "sd": 1},
            "the law 'normal' has the parameters mean, std, not mean, sd",
        ),
        ({"kind": "normal", "mean": 0, "std": "x"}, "std must be a number, not 'x'"),
        ({"kind": "normal", "mean": 0, "std": None}, "std must be a number, not None"),
        ({"kind": "normal", "mean": 0, "std": "inf"}, "std must be finite, not inf"),
        ({"kind": "normal", "mean": 0, "std": 10**400}, "std is too large for a float"),
        ({"kind": "zero_rows", "law": 1, "rows": [0]}, "law must be a law, not 1"),
        (
            {"kind": "zero_rows", "law": {"kind": "eye", "value": 1}, "rows": 0},
            "rows must be a sequence of whole numbers, not 0",
        ),
    ],
)
def test_malformed_data(data, message):
    with pytest.raises(LawError) as caught:
        from_json(data)
    assert caught.value.message == message


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
)


@given(laws, st.data())
def test_damaged_data_is_a_law_or_a_law_error(law, data):
    damaged = law.to_json()
    key = data.draw(st.sampled_from(list(damaged)))
    damaged[key] = data.draw(json_values)
    with contextlib.suppress(LawError):
        from_json(damaged)


def test_importing_laws_is_light():
    code = (
        "import sys, initpolicy.laws, initpolicy.initializers; "
        "print([m for m in ('numba', 'scipy', 'triton', 'pydantic') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
