import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from initpolicy.expressions import Expression, ExpressionError

SCOPE = {
    "n_layer": 12,
    "fan_in": 0,
    "x": 2.5,
    "shape": (64, 3, 7, 7),
    "module.groups": 4,
    "module.padding_idx": None,
    "module.bias": True,
    "weight.fan_in": 147.0,
    "huge": 10**400,
    "infinite": math.inf,
    "undefined": math.nan,
    "word": "relu",
}


def gain(name, param=None):
    if name == "relu":
        return math.sqrt(2)
    if name == "leaky_relu":
        return math.sqrt(2 / (1 + param**2))
    if name == "infinite":
        return math.inf
    raise ValueError(f'no gain for "{name}"')


def evaluate(text, scope=SCOPE):
    return Expression.parse(text).evaluate(scope, {"gain": gain})


def message(text, scope=SCOPE):
    with pytest.raises(ExpressionError) as caught:
        evaluate(text, scope)
    return str(caught.value)


# Trees of arithmetic are written out and evaluated here by Python's own floats.

BINARY = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "//": lambda a, b: a // b,
    "%": lambda a, b: a % b,
    "**": lambda a, b: a**b,
    "min": min,
    "max": max,
}
UNARY = {
    "-": lambda a: -a,
    "+": lambda a: a,
    "sqrt": math.sqrt,
    "log": math.log,
    "exp": math.exp,
    "abs": abs,
    "ceil": lambda a: float(math.ceil(a)),
    "floor": lambda a: float(math.floor(a)),
}
COMPARISONS = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}
numbers = st.one_of(
    st.integers(0, 20).map(lambda number: (str(number), float(number))),
    st.floats(0, allow_infinity=False).map(lambda number: (repr(number), number)),
    st.sampled_from([("n_layer", 12.0), ("x", 2.5), ("module.groups", 4.0), ("shape[-1]", 7.0)]),
)


def finite(operate, *operands):
    """The value of an operation on values, or None if one of them or the result is not finite."""
    if None in operands:
        return None
    try:
        value = operate(*operands)
    except (ArithmeticError, ValueError):
        return None
    return value if not isinstance(value, complex) and math.isfinite(value) else None


def combined(children):
    def one(symbol, operand):
        text, value = operand
        written = f"{symbol}({text})"
        return written, finite(UNARY[symbol], value)

    def two(symbol, left, right):
        (first, a), (second, b) = left, right
        call = symbol in ("min", "max")
        written = f"{symbol}({first}, {second})" if call else f"(({first}) {symbol} ({second}))"
        return written, finite(BINARY[symbol], a, b)

    return st.one_of(
        st.builds(one, st.sampled_from(sorted(UNARY)), children),
        st.builds(two, st.sampled_from(sorted(BINARY)), children, children),
    )


trees = st.recursive(numbers, combined, max_leaves=8).filter(lambda tree: len(tree[0]) <= 400)


@given(trees)
def test_arithmetic_is_that_of_floats(tree):
    text, expected = tree
    if expected is None:
        assert text in message(text)
    else:
        value = evaluate(text)
        assert isinstance(value, float)
        assert value.hex() == expected.hex()


@given(trees, trees, st.sampled_from(sorted(COMPARISONS)))
def test_comparisons_are_those_of_floats(left, right, symbol):
    (first, a), (second, b) = left, right
    if a is None or b is None or len(first) + len(second) > 450:
        return
    expected = COMPARISONS[symbol](a, b)
    assert evaluate(f"{first} {symbol} {second}") is expected
    assert evaluate(f"not {first} {symbol} {second}") is (not expected)


steps = st.tuples(st.sampled_from(["+", "-", "*", "/", "**"]), st.integers(1, 4))


@given(st.lists(steps, max_size=5))
def test_operators_bind_and_group_as_in_python(steps):
    text = "2" + "".join(f" {symbol} {number}" for symbol, number in steps)
    in_floats = "2.0" + "".join(f" {symbol} {number}.0" for symbol, number in steps)
    value = finite(lambda: eval(in_floats))
    if value is None:
        message(text)
    else:
        assert evaluate(text) == value


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=4), st.integers(-6, 6))
def test_elements_are_those_of_sequences(shape, index):
    if -len(shape) <= index < len(shape):
        assert evaluate(f"shape[{index}]", {"shape": shape}) == shape[index]
    else:
        count = f"{len(shape)} element{'s' * (len(shape) > 1)}"
        shown = f"(shape = {shape})"
        assert f"shape[{index}]: shape has {count} {shown}" in message(
            f"shape[{index}]", {"shape": shape}
        )


# Whatever is written, and whatever is in scope, no exception but ours comes out.

values = st.one_of(
    st.integers(),
    st.floats(),
    st.booleans(),
    st.none(),
    st.lists(st.integers()),
    st.just(10**5000),
    st.text(max_size=3),
    st.lists(st.one_of(st.none(), st.text())),
)
PIECES = r"""
0 1 2 .5 1e308 9e-320 007 1_0 0x1 1j x shape module . groups _ __class__ 'relu' "tanh" f'x' b'x'
sqrt log exp min max abs ceil floor gain print ( ) [ ] ( ) + - * / // % ** , < <= > >= == !=
and or not if else in is lambda x: True None = : := ; { } @ ~ ^ & | ! # \ $ é …
"""
pieces = st.sampled_from([*PIECES.split(), "\n", "\x00", "\uff18"])


def survives(text, scope):
    with contextlib.suppress(ExpressionError):
        parsed = Expression.parse(text)
        assert parsed == Expression.parse(parsed.text)
        value = parsed.evaluate(scope, {"gain": gain})
        assert isinstance(value, bool) or (isinstance(value, float) and math.isfinite(value))


scopes = st.dictionaries(st.sampled_from(["x", "shape", "module.groups", "word"]), values)


@given(st.text(max_size=30), scopes)
def test_random_text_gives_a_value_or_our_error(text, scope):
    survives(text, scope)


@given(st.lists(pieces, max_size=12), st.sampled_from(["", " "]), scopes)
def test_random_tokens_give_a_value_or_our_error(tokens, space, scope):
    survives(space.join(tokens), scope)


@given(trees, scopes)
def test_arithmetic_on_any_scope_gives_a_value_or_our_error(tree, scope):
    survives(tree[0], scope | {"x": 1, "n_layer": scope.get("x")})


@pytest.mark.parametrize(
    "opening", ["(", "[", "sqrt(", "shape[", "-", "not ", "2 ** ", "1 + ", "(1,"]
)
@pytest.mark.parametrize("closing", ["", ")", "]", "))"])
@pytest.mark.parametrize("times", [31, 32, 33, 100, 124, 10_000])
def test_deep_nesting_gives_a_value_or_our_error(opening, closing, times):
    survives(opening * times + "1" + closing * times, SCOPE)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.02 / sqrt(2 * n_layer)", 0.02 / math.sqrt(24)),
        ("  1 +\n\t2 ", 3.0),
        ("7 // 2", 3.0),
        ("-7 % 3", 2.0),
        ("2 ** -1", 0.5),
        ("-2 ** 2", -4.0),
        ("2 ** 3 ** 2", 512.0),
        ("(-8) ** 3", -512.0),
        ("1e-3 + .5 + 2.", 2.501),
        ("min(3, 1, 2) + max(1, 2)", 3.0),
        ("shape[0] * shape[-1]", 448.0),
        ("shape[n_layer // 6 - 1]", 3.0),
        ("module.groups == 4 and weight.fan_in > 100", True),
        ("module.bias or 1 / 0 > 0", True),
        ("x < 2 and missing > 0", False),
        ("1 < x <= 2.5 < 3", True),
        ("3 < x < missing", False),
        ("1 < 3 < 2", False),
        ("not module.bias", False),
        ("gain('relu') ** 2", math.sqrt(2) ** 2),
        ('gain("leaky_relu", 0.1 * 10)', 1.0),
    ],
)
def test_examples(text, value):
    assert evaluate(text) == value
    assert type(evaluate(text)) is type(value)


def test_an_expression_shows_what_it_reads():
    text = "max(n_layer, module.groups) > shape[weight.fan_in] + gain('relu') and sqrt(x) > n_layer"
    parsed = Expression.parse(text)
    assert parsed.names == {"n_layer", "module.groups", "shape", "weight.fan_in", "x"}
    assert parsed == Expression.parse(text.replace(" ", "  "))
    assert len({parsed, Expression.parse(text), Expression.parse("1")}) == 2
    assert parsed.text == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "an expression is empty; write a number or a formula"),
        ("2 *", "2 *: a number, a name or an operator is missing or misplaced"),
        ("2 3", "2 3: a number, a name or an operator is missing or misplaced"),
        ("(2", "(2: a number, a name or an operator is missing or misplaced"),
        ("a = 2", "a = 2: unexpected '='; write \"==\" to compare"),
        ("a ^ 2", "a ^ 2: unexpected '^'; write \"**\" for a power"),
        ("a & b", "a & b: unexpected '&'; write \"and\""),
        ("a | b", "a | b: unexpected '|'; write \"or\""),
        ("!a", '!a: unexpected \'!\'; write "not", or "!=" to compare'),
        ("a @ b", "a @ b: unexpected '@'; only arithmetic is allowed"),
        ("é", "é: unexpected '\\xe9'; only arithmetic is allowed"),
        ("2x", '2x: a number is misspelt; write it like "2", "0.02" or "1e-5"'),
        ("1j", '1j: a number is misspelt; write it like "2", "0.02" or "1e-5"'),
        ("'relu", '\'relu: a string is misspelt; write it like gain("relu")'),
        ("f'x'", "f'x': a string is misspelt; write it like gain(\"relu\")"),
        ("'relu'", "'relu': strings are for gain, as in gain(\"relu\")"),
        ("x if x else 1", 'x if x else 1: "if" is not allowed; only arithmetic is'),
        ("True", 'True: "True" is not allowed; only arithmetic is'),
        ("x._y", 'x._y: "_y" begins with an underscore; such names cannot be read'),
        (
            "__debug__",
            '__debug__: "__debug__" begins with an underscore; such names cannot be read',
        ),
        ("a.b.c.d.e", 'a.b.c.d.e: "a.b.c.d.e" has more than 4 parts'),
        ("(1 + 2).real", '(1 + 2).real: "1 + 2" has no parts; only a name has'),
        ("(1)[0]", '(1)[0]: only a name has elements, as in "shape[0]"'),
        ("shape[0, 1]", 'shape[0, 1]: "(0, 1)" is not allowed; only arithmetic is'),
        ("[1, 2]", '[1, 2]: "[1, 2]" is not allowed; only arithmetic is'),
        ("1 << 2", '1 << 2: "1 << 2" is not allowed; only arithmetic is'),
        ("min(1, *shape)", 'min(1, *shape): "*shape" is not allowed; only arithmetic is'),
        ("module.cuda()", 'module.cuda(): "module.cuda" cannot be called'),
        (
            "sqr(2)",
            'sqr(2): no function "sqr"; did you mean "sqrt"? '
            "There are sqrt, log, exp, abs, ceil, floor, sin, cos, tanh, log1p, expm1, min, max, "
            "where, gain",
        ),
        (
            "print(2)",
            'print(2): no function "print". '
            "There are sqrt, log, exp, abs, ceil, floor, sin, cos, tanh, log1p, expm1, min, max, "
            "where, gain",
        ),
        ("sqrt(1, 2)", "sqrt(1, 2): sqrt takes one number, not 2"),
        ("min(1)", "min(1): min takes two numbers or more, not 1"),
        ("log('relu')", "log('relu'): log takes numbers, not strings"),
        ("gain()", 'gain(): gain takes a name, as in gain("relu")'),
        ("sqrt + 1", 'sqrt + 1: "sqrt" is a function; write "sqrt(...)"'),
        ("1e999", "1e999: a number is too large; the largest is about 1.8e308"),
        ("9" * 309, "9" * 309 + ": a number is too large; the largest is about 1.8e308"),
        (
            "1" + " " * 500,
            "1" + " " * 39 + "...: longer than 500 characters; name parts of it in [vars]",
        ),
        (
            "(" * 33,
            "(" * 33 + ": nested more than 32 deep, where each operator of a chain counts; "
            "name parts of it in [vars]",
        ),
        (
            "+".join("1" * 33),
            "+".join("1" * 33) + ": nested more than 32 deep, where each operator of a chain "
            "counts; name parts of it in [vars]",
        ),
    ],
)
def test_errors_of_text(text, expected):
    with pytest.raises(ExpressionError) as caught:
        Expression.parse(text)
    assert str(caught.value) == expected


def test_thirty_two_levels_are_allowed():
    assert evaluate("+".join("1" * 32)) == 32
    assert evaluate("(" * 32 + "1" + ")" * 32) == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("sqrt(2 / fan_in)", "division by zero (fan_in = 0)"),
        ("n_layer // fan_in", "division by zero (n_layer = 12, fan_in = 0)"),
        ("x % fan_in", "remainder by zero (x = 2.5, fan_in = 0)"),
        ("fan_in ** -1", "division by zero (fan_in = 0)"),
        ("1 / 0", "division by zero"),
        ("sqrt(-x)", "sqrt(-2.5) is not a real number (x = 2.5)"),
        ("log(fan_in)", "log(0) is not a real number (fan_in = 0)"),
        ("(-x) ** 0.5", "-2.5 to the power 0.5 is not a real number (x = 2.5)"),
        ("9 ** 9 ** 9", "9 ** 3.8742e+08 is too large for a float"),
        ("1e308 * 10 * 0", "1e+308 * 10 is too large for a float"),
        ("exp(1000)", "exp(1000) is too large for a float"),
        ("huge", "huge is infinite, or too large for a float (huge = <int>)"),
        ("infinite", "infinite is infinite, or too large for a float (infinite = inf)"),
        ("undefined", "undefined is not a number (undefined = nan)"),
        ("word", "word is of type str, not a number (word = <str>)"),
        ("module.padding_idx", "module.padding_idx is None"),
        ("x * module.padding_idx", "module.padding_idx is None (x = 2.5)"),
        (
            "shape * 2",
            'shape is several numbers; write one of them, as in "shape[0]" (shape = [64, 3, 7, 7])',
        ),
        ("x[0]", 'x is one number; write "x" without an index (x = 2.5)'),
        ("shape[4]", "shape[4]: shape has 4 elements (shape = [64, 3, 7, 7])"),
        ("shape[x]", "shape[2.5]: an index is a whole number (shape = [64, 3, 7, 7], x = 2.5)"),
        ("(x > 1) + 1", '"x > 1" is true or false, where a number is needed (x = 2.5)'),
        (
            "module.bias * 2",
            '"module.bias" is true or false, where a number is needed (module.bias = true)',
        ),
        ("not x", '"x" is a number; compare it, as in "x != 0" (x = 2.5)'),
        (
            "x > 1 and n_layer",
            '"n_layer" is a number; compare it, as in "n_layer != 0" (x = 2.5, n_layer = 12)',
        ),
        ("gain('mish')", 'gain("mish"): no gain for "mish"'),
        ("gain('infinite')", 'gain("infinite") is inf, which is not finite'),
    ],
)
def test_errors_of_values(text, problem):
    assert message(text) == f"{text}: {problem}"


def test_errors_of_names():
    scope = {"n_layer": 12, "fan_in": 3}
    assert message("x / n_lyer", scope | {"x": 1}) == (
        'x / n_lyer: no name "n_lyer"; did you mean "n_layer"? In scope: fan_in, n_layer, x (x = 1)'
    )
    assert message("width", scope) == 'width: no name "width". In scope: fan_in, n_layer'
    assert message("width", {}) == 'width: no name "width". In scope: nothing'
    many = {f"n{number:02}": 1 for number in range(30)}
    assert message("width", many).endswith("n18, n19, ...")


def test_gain_is_an_error_where_it_is_not_given():
    with pytest.raises(ExpressionError) as caught:
        Expression.parse("gain('relu')").evaluate({})
    assert str(caught.value) == "gain('relu'): gain cannot be used here"


def test_elements_of_sequences_are_checked_too():
    scope = {"kernel": [None, "same", True, math.inf, 1, 2, 3, 4, 5]}
    shown = "(kernel = [<NoneType>, <str>, true, inf, 1, 2, 3, 4, ...])"
    assert message("kernel[0]", scope) == f"kernel[0]: kernel[0] is None {shown}"
    assert (
        message("kernel[1]", scope) == f"kernel[1]: kernel[1] is of type str, not a number {shown}"
    )
    assert evaluate("kernel[2]", scope) is True
    assert message("kernel[3]", scope) == (
        f"kernel[3]: kernel[3] is infinite, or too large for a float {shown}"
    )
