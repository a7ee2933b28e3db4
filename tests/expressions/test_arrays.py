"""Lanes of an expression: each is what the expression is for one number."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from initpolicy.expressions import Expression, ExpressionError, close, evaluate_lanes

NUMBERS = st.sampled_from(["i", "k", "0", "1", "2", "0.5", "3"])
OPERATORS = st.sampled_from(["+", "-", "*", "/", "//", "%", "**"])
COMPARISONS = st.sampled_from(["<", "<=", "==", "!=", ">", ">="])
FUNCTIONS = st.sampled_from(
    ["", "-", "sqrt", "log", "exp", "abs", "ceil", "floor", "sin", "cos", "tanh", "log1p", "expm1"]
)


@st.composite
def texts(draw, depth=2):
    if depth == 0:
        return draw(NUMBERS)
    a, b, c, d = (draw(texts(depth - 1)) for _ in range(4))
    compare, join, function = (
        draw(COMPARISONS),
        draw(st.sampled_from(["and", "or"])),
        draw(FUNCTIONS),
    )
    condition = draw(
        st.sampled_from(
            [
                f"{a} {compare} {b}",
                f"{a} {compare} {b} < {c}",
                f"({a} < 1 {join} not {b} {compare} 2)",
            ]
        )
    )
    return draw(
        st.sampled_from(
            [
                a,
                f"({a} {draw(OPERATORS)} {b})",
                f"({function}({a}))",
                f"min({a}, {b})",
                f"max({a}, {b}, {c})",
                f"where({condition}, {c}, {d})",
            ]
        )
    )


TEXTS = texts()


def one(expression, lane, k):
    try:
        return expression.evaluate({"i": lane, "k": k})
    except ExpressionError as error:
        return str(error)


def steep(text, lane, k):
    """Whether a change in the last bit of what is computed may change the result much."""
    results = []
    for near in (lane, lane * (1 + 1e-13) + 1e-13, lane * (1 - 1e-13) - 1e-13):
        result = one(Expression.parse(text), near, k)
        if isinstance(result, str):
            return True
        results.append(result)
    return max(results) - min(results) > 1e-9 * max(1, *map(abs, results))


@given(
    TEXTS, st.lists(st.integers(-3, 6) | st.just(0.5), min_size=1, max_size=5), st.integers(-2, 3)
)
def test_each_lane_is_the_value_for_its_numbers(text, lanes, k):
    expression = Expression.parse(text)
    expected = [one(expression, lane, k) for lane in lanes]
    scope = {"i": np.array(lanes, dtype=np.float64), "k": np.full(len(lanes), float(k))}
    failed = [result for result in expected if isinstance(result, str)]
    if failed:
        with pytest.raises(ExpressionError) as caught:
            evaluate_lanes(expression, scope, len(lanes))
        assert str(caught.value) in failed
        return
    assume(not any(steep(text, lane, k) for lane in lanes))
    found = evaluate_lanes(expression, scope, len(lanes))
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-300)


@given(TEXTS, st.lists(st.integers(-3, 6), min_size=1, max_size=5), st.integers(-2, 3))
def test_closing_leaves_the_values_and_only_free_names(text, lanes, k):
    expression = Expression.parse(text)
    expected = [one(expression, lane, k) for lane in lanes]
    assume(not any(isinstance(result, str) for result in expected))
    try:
        closed = close(expression, {"i"}, {"k": k})
    except ExpressionError:  # a part without indices that no lane asks for
        return
    assert closed.names <= {"i"}
    assert [closed.evaluate({"i": lane}) for lane in lanes] == expected
    assert close(closed, {"i"}, {}).text == closed.text


@pytest.mark.parametrize(
    ("text", "closed"),
    [
        ("base ** (-2 * i / dim)", "10000 ** (-2 * i / 64)"),
        ("exp(u * (log(b) - log(a)) + log(a))", f"exp(u * {math.log(4.0)!r} + {-math.log(2.0)!r})"),
        ("where(dim > 3, i, 1 / (dim - 64))", "i"),
        ("i + gain('relu')", f"i + {math.sqrt(2)!r}"),
        ("i * -shape[0]", "i * -7"),
        ("where(i < 2 and dim == 64, 1, 0)", "where(i < 2 and 0 == 0, 1, 0)"),
    ],
)
def test_closed_texts(text, closed):
    scope = {"base": 10000, "dim": 64, "a": 0.5, "b": 2, "shape": (7,)}
    functions = {"gain": {"relu": math.sqrt(2)}.__getitem__}
    assert close(Expression.parse(text), {"i", "u"}, scope, functions).text == closed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("shape[i]", 'shape[i]: "shape[i]": an index is known when it is planned'),
        ("gain('relu', i)", "gain('relu', i): gain takes no index and no draw"),
        ("i / x", 'i / x: no name "x". In scope: shape'),
    ],
)
def test_what_cannot_be_closed(text, message):
    with pytest.raises(ExpressionError) as caught:
        close(Expression.parse(text), {"i"}, {"shape": (1, 2)})
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 / (i - 2)", "1 / (i - 2): division by zero (i = 2)"),
        ("sqrt(1 - i)", "sqrt(1 - i): sqrt(-1) is not a real number (i = 2)"),
        ("exp(i * 500)", "exp(i * 500): exp(1000) is too large for a float (i = 2)"),
        ("where(i, 1, 2)", 'where(i, 1, 2): "i" is a number; compare it, as in "i != 0" (i = 0)'),
        ("i < 2", 'i < 2: "i < 2" is true or false, where a number is needed'),
    ],
)
def test_failing_lanes_are_shown(text, message):
    expression = Expression.parse(text)
    with pytest.raises(ExpressionError) as caught:
        evaluate_lanes(expression, {"i": np.arange(4.0)}, 4)
    assert str(caught.value) == message


def test_branches_are_computed_where_they_are_taken():
    i = np.arange(4.0)
    safe = Expression.parse("where(i > 0 and 6 / i > 2.5, log(i), -1)")
    assert evaluate_lanes(safe, {"i": i}, 4).tolist() == [-1, 0, math.log(2), -1]
    assert evaluate_lanes(Expression.parse("2"), {}, 3).tolist() == [2, 2, 2]
    assert evaluate_lanes(safe, {"i": np.zeros(0)}, 0).tolist() == []
