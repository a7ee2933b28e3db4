"""Lines of keys, against what tomllib says is there."""

import tomlkit
from hypothesis import given
from hypothesis import strategies as st

from initpolicy.policy.lines import line_numbers, nearest_line

KEYS = st.from_regex(r"[a-z]{1,3}|[a-z] \.\*", fullmatch=True)
VALUES = st.one_of(
    st.integers(-5, 5),
    st.text("ab#[]{}=\"'\n\\ ", max_size=6),
    st.lists(st.integers(0, 3), max_size=3),
    st.dictionaries(KEYS, st.integers(0, 3), max_size=2),
)
TABLES = st.dictionaries(KEYS, VALUES, max_size=3)


@given(st.dictionaries(KEYS, VALUES, max_size=3), st.lists(TABLES, max_size=3))
def test_every_key_of_a_table_stands_on_its_line(top, rules):
    text = tomlkit.dumps(top | ({"rule": rules} if rules else {}))
    lines = line_numbers(text)
    numbered = text.splitlines()
    for key in top:
        assert (key,) in lines
        assert key in numbered[lines[(key,)] - 1]
    for index, rule in enumerate(rules):
        assert numbered[lines[("rule", index)] - 1].strip() == "[[rule]]"
        for key in rule:
            assert key in numbered[lines[("rule", index, key)] - 1]


def test_values_that_look_like_keys():
    text = "\n".join(
        [
            "a = [ # [[rule]]",
            '  "b = 1", { c = 2 },',
            "]",
            'd = """',
            "[[rule]]",
            'e = 1"""',
            "[[rule]]",
            'init."g.h" = 1 # = 2',
            "[rule.buffer]",
            "i = 1",
        ]
    )
    assert line_numbers(text) == {
        ("a",): 1,
        ("d",): 4,
        ("rule", 0): 7,
        ("rule", 0, "init"): 8,
        ("rule", 0, "init", "g.h"): 8,
        ("rule",): 9,
        ("rule", 0, "buffer"): 9,
        ("rule", 0, "buffer", "i"): 10,
    }


def test_the_nearest_line_of_what_is_inside_an_inline_table():
    lines = line_numbers("format = 1\n\nvars = { n = 1 }")
    assert nearest_line(lines, ("vars", "n")) == 3
    assert nearest_line(lines, ("elsewhere",)) == 0
