import contextlib
import re
import sys
from collections.abc import Iterator
from itertools import product

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from initpolicy.policy.glob import (
    GlobError,
    NamePattern,
    NameSelector,
    TypeSelector,
    WordPattern,
)
from initpolicy.problems import suggest

# A slow matcher that tries everything: every way to match, as the captures it gives.


def segment_matches(tokens: list[str], text: str, at: int, captured: dict) -> Iterator[dict]:
    if not tokens:
        if at == len(text):
            yield captured
        return
    token, rest = tokens[0], tokens[1:]
    if token == "*":
        for end in range(at, len(text) + 1):
            yield from segment_matches(rest, text, end, captured)
    elif token.startswith("<"):
        for end in range(at + 1, len(text) + 1):
            whole = not re.search(r"\d$", text[:at]) and not re.match(r"\d", text[end:])
            if text[at:end].isdecimal() and whole:
                number = int(text[at:end])
                if captured.get(token[1:-1], number) == number:
                    yield from segment_matches(rest, text, end, captured | {token[1:-1]: number})
    elif at < len(text) and re.fullmatch(
        "." if token == "?" else token.replace("[!", "[^"), text[at]
    ):
        yield from segment_matches(rest, text, at + 1, captured)


def name_matches(segments: list[list[str]], name: list[str], captured: dict) -> Iterator[dict]:
    if not segments:
        if not name:
            yield captured
    elif segments[0] == ["**"]:
        for start in range(len(name) + 1):
            yield from name_matches(segments[1:], name[start:], captured)
    elif name:
        for further in segment_matches(segments[0], name[0], 0, captured):
            yield from name_matches(segments[1:], name[1:], further)


def written(segments: list[list[str]]) -> str:
    return ".".join("".join(segment) for segment in segments)


tokens = st.sampled_from(["a", "b", "1", "*", "?", "[a1]", "[!a]", "[0-9]", "<i>", "<j>"])
segment = st.lists(tokens, min_size=1, max_size=4).filter(lambda part: "**" not in "".join(part))
path = st.lists(st.one_of(segment, st.just(["**"])), max_size=4)
name = st.lists(st.text("ab12", min_size=1, max_size=4), max_size=4)


@given(path, name)
def test_matches_what_a_matcher_that_tries_everything_matches(path, name):
    ways = list(name_matches(path, name, {}))
    try:
        pattern = NamePattern.parse(written(path))
    except GlobError as error:
        repeated = "repeat one name" in str(error)
        assert repeated or not ways
        return
    found = pattern.match(".".join(name))
    assert found in ways if ways else found is None


@given(path, st.data())
def test_a_name_made_from_a_pattern_matches_it(path, data):
    number = data.draw(st.integers(0, 99))
    made = {"*": "ab", "?": "b", "[a1]": "a", "[!a]": "b", "[0-9]": "2"}
    name = [
        "".join(str(number) if token.startswith("<") else made.get(token, token) for token in part)
        for part in path
        if part != ["**"] or data.draw(st.booleans())
    ]
    name = ["ab" if part == "**" else part for part in name]
    assume(list(name_matches(path, name, {})))
    assume(not (written(path).count("<i>") > 1 and written(path).count("<j>") > 1))
    assert NamePattern.parse(written(path)).match(".".join(name)) is not None


@given(st.lists(path.map(written), min_size=1, max_size=3), path.map(written), name.map(".".join))
def test_braces_are_the_first_alternative_that_matches(options, tail, name):
    tail = f".{tail}" if tail else ""
    assume(all(options) or not tail)
    try:
        pattern = NamePattern.parse("{" + ",".join(options) + "}" + tail)
        matches = [NamePattern.parse(option + tail).match(name) for option in options]
    except GlobError:
        return
    first = next((found for found in matches if found is not None), None)
    assert pattern.match(name) == first
    assert NamePattern.parse("{{" + ",".join(options) + "}" + tail + ",}").match(name) == (
        {} if first is None and not name else first
    )


@given(path.map(written), name.map(".".join))
def test_equivalent_globs_select_equally(text, name):
    try:
        found = NamePattern.parse(text).match(name)
        same = [
            NamePattern.parse("{" + text + "}").match(name),
            NamePattern.parse(text.replace("a", "[a]")).match(name) if "[" not in text else found,
            NamePattern.parse(text.replace("**", "**.**")).match(name),
        ]
    except GlobError:
        return
    assert same == [found] * 3


@given(st.text("a*?.{},<i>[]!-1", max_size=25), st.text("a.1", max_size=8))
def test_any_text_is_a_glob_or_an_error_of_its_own(text, name):
    for kind in (NamePattern, WordPattern, NameSelector, TypeSelector):
        with contextlib.suppress(GlobError):
            parsed = kind.parse(text)
            parsed.match(type(name, (), {}) if kind is TypeSelector else name)


@given(st.text("ab1", min_size=1, max_size=6), segment)
def test_a_word_is_a_name_of_one_segment(word, segment):
    text = "".join(segment)
    try:
        expected = NamePattern.parse(text).match(word)
    except GlobError:
        return
    assert WordPattern.parse(text).match(word) == expected


@pytest.mark.parametrize(
    ("text", "matches", "fails"),
    [
        ("", [""], ["a"]),
        ("*", ["a", "a1"], ["", "a.b"]),
        ("**", ["", "a", "a.b.c"], []),
        ("**.c_proj", ["c_proj", "h.0.c_proj"], ["c_proj.x", "xc_proj"]),
        ("h.**.w", ["h.w", "h.1.w", "h.1.2.w"], ["h", "w", "h.w.1"]),
        ("encoder.**", ["encoder", "encoder.a.b"], ["", "encoders"]),
        ("**.**.a", ["a", "b.a"], ["", "b"]),
        ("fc[0-2]", ["fc0", "fc2"], ["fc3", "fc", "fc01"]),
        ("fc[!0-2]", ["fc3", "fcx", "fc!"], ["fc0", "fc"]),
        ("a.*.b", ["a.x.b"], ["a.b", "a..b"]),
        ("[]x]a", ["]a", "xa"], ["a"]),
        ("[[*?{<,-]", ["[", "*", "?", "{", "<", ",", "-"], ["a"]),
        ("{a.b,c}.d", ["a.b.d", "c.d"], ["a.d", "b.d"]),
        ("{a.,}b", ["a.b", "b"], ["a"]),
        ("x{a,b{1,2}}{,y}", ["xa", "xb1y", "xb2"], ["xb", "xay1"]),
        ("{*,a}{*,b}", ["a", "ab", "z"], [""]),
        ("a.?", ["a.b"], ["a", "a.bc"]),
    ],
)
def test_examples_of_names(text, matches, fails):
    pattern = NamePattern.parse(text)
    assert [name for name in matches if pattern.match(name) is None] == []
    assert [name for name in fails if pattern.match(name) is not None] == []


@pytest.mark.parametrize(
    ("text", "name", "captures"),
    [
        ("**.h.<i>", "h.1.h.22", {"i": 22}),
        ("h.<i>.*<j>.**", "h.3.conv12.x", {"i": 3, "j": 12}),
        ("**.<i>.**", "a.1.2", {"i": 1}),
        ("<i>", "007", {"i": 7}),
        ("*<i>*", "a12b3", {"i": 12}),
        ("a<i>", "a", None),
        ("?<i>", "12", None),
        ("?<i>", "a2", {"i": 2}),
        ("s<i>.b<i>.**", "s1.b2.1.2", None),
        ("<i>.<i>.?", "1.2.2", None),
        ("<i>", "9" * 18, {"i": 10**18 - 1}),
        ("<i>", "9" * 19, None),
        ("<i>", "٣", None),
        ("**.<i>.**.<i>", "1.2.2", {"i": 2}),
        ("**.<i>.**.<i>.**", "1.2.3.3.2", {"i": 2}),
        ("s<i>.b<i>", "s1.b01", {"i": 1}),
        ("s<i>.b<i>", "s1.b2", None),
        ("{a<i>,b}", "b", {}),
    ],
)
def test_examples_of_captures(text, name, captures):
    assert NamePattern.parse(text).match(name) == captures


def test_a_pattern_shows_what_it_captures_and_is_equal_to_itself():
    pattern = NamePattern.parse("**.<layer>.{a<head>,b}")
    assert pattern.captures == {"layer", "head"}
    assert pattern == NamePattern.parse("**.<layer>.{a<head>,b}")
    assert len({pattern, NamePattern.parse(pattern.text), NamePattern.parse("b")}) == 2
    assert NamePattern.parse("a") != WordPattern.parse("a")


def test_changing_a_match_does_not_change_the_next():
    pattern = NamePattern.parse("<i>")
    pattern.match("1")["i"] = 5
    assert pattern.match("1") == {"i": 1}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "a**b",
            '"**" stands for whole segments; write "*" inside a segment, '
            'or put dots around it, as in "a.**.b"',
        ),
        (
            "***",
            '"**" stands for whole segments; write "*" inside a segment, '
            'or put dots around it, as in "a.**.b"',
        ),
        ("a..b", 'a segment is empty; write one dot, or "*" for any segment'),
        (".a", 'a segment is empty; write one dot, or "*" for any segment'),
        ("{a", '"{" is never closed; write "{a,b}", or "[{]" for the character'),
        ("a}", '"}" opens nothing; write "[}]" for the character'),
        ("a]", '"]" opens nothing; write "[]]" for the character'),
        ("a>", '">" opens nothing; write "[>]" for the character'),
        ("a,b", '"," opens nothing; write "[,]" for the character'),
        ("[a", '"[" is never closed; write "[0-9]", or "[[]" for the character'),
        ("[]", '"[" is never closed; write "[0-9]", or "[[]" for the character'),
        ("[^a]", 'a set is negated with "!"; write "[!...]"'),
        ("[9-0]", 'the range "9-0" is empty; write "0-9"'),
        ("[a.]", 'a set never holds the dot; write "." between segments'),
        ("<i", '"<" is never closed; write "<i>", or "[<]" for the character'),
        ("<2>", '"<2>" is no capture; write a name like "<i>", which expressions can read'),
        ("<_i>", '"<_i>" is no capture; write a name like "<i>", which expressions can read'),
        ("<if>", '"<if>" is no capture; write a name like "<i>", which expressions can read'),
        (
            "h1<i>",
            '"<i>" takes every digit it touches, so that a digit or another capture beside it '
            "never matches; write one capture",
        ),
        (
            "<i><j>",
            '"<i>" takes every digit it touches, so that a digit or another capture beside it '
            "never matches; write one capture",
        ),
        ("<i>.<i>.<j>.<j>", '"<i>" and "<j>" are repeated; repeat one name at most'),
        ("!a", '"!" excludes, and only as the start of an item of a selector'),
        (
            "{a,b}" * 9,
            'braces make more than 256 alternatives; write "*" or a list',
        ),
        (
            "{a,b}" * 8 + "c" * 40,
            'braces make more than 10000 characters; write "*" or a list',
        ),
    ],
)
def test_errors_of_names(text, problem):
    with pytest.raises(GlobError) as caught:
        NamePattern.parse(text)
    assert str(caught.value) == f'glob "{text}": {problem}'


def test_a_glob_has_at_most_a_thousand_characters():
    assert NamePattern.parse("a" * 1000).match("a" * 1000) == {}
    with pytest.raises(GlobError) as caught:
        NamePattern.parse("a" * 1001)
    assert str(caught.value) == (
        f'glob "{"a" * 77}...": longer than 1000 characters; write a list of globs'
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "a.b",
            "the name of a parameter has no dot; select the module by its name, "
            "and write what comes after the last dot",
        ),
        ("**", 'the name of a parameter has one segment; write "*" for "**"'),
        ("", 'the name of a parameter is never empty; write "*" for any'),
        ("{a,}", 'the name of a parameter is never empty; write "*" for any'),
    ],
)
def test_errors_of_words(text, problem):
    with pytest.raises(GlobError) as caught:
        WordPattern.parse(text)
    assert str(caught.value) == f'glob "{text}": {problem}'


# Hostile globs: the work is counted, as calls of functions, each of which reads one piece once.


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("*a" * 7 + "*b", "a" * 200),
        ("*aa" * 100 + "*b", "a" * 300),
        ("*?" * 50 + "b", "a" * 200),
        ("**.a." * 60 + "b", ".".join("a" * 200)),
        ("**.*a*a*a." * 60 + "b", ".".join(["aaaa"] * 200)),
        ("*a<i>" + "*a?" * 60 + "*b<j>", "a1" * 100),
        ("**.<i>." + "**.[0-9]." * 40 + "b", ".".join("1" * 200)),
        ("{**.,}" * 8 + "b", ".".join("a" * 100)),
        ("{*a,*?}" * 8 + "b", "a" * 100),
        ("**.<i>." * 60 + "b", ".".join([*map(str, range(100))] * 2)),
        ("**.<i>." * 2 + "b", ".".join([*map(str, range(100))] * 2)),
    ],
)
def test_hostile_globs_take_few_steps(text, name):
    calls = 0

    def count(frame, event, argument):
        nonlocal calls
        calls += event == "call"

    pattern = NamePattern.parse(text)
    before = sys.getprofile()
    sys.setprofile(count)
    try:
        found = pattern.match(name)
    finally:
        sys.setprofile(before)
    assert found is None
    # A capture that is repeated is tried with each number of the name, here at most 100.
    tries = len(pattern._paths) * (100 if "0.1" in name else 1)
    assert 0 < calls <= tries * (len(text) + len(name))


@pytest.mark.parametrize("text", ["{" * 999, "{" * 300 + "a" + "}" * 300, "{a," * 250, "{,}" * 333])
def test_deep_braces_are_read_without_recursion(text):
    with contextlib.suppress(GlobError):
        NamePattern.parse(text)


def test_a_selector_is_the_first_glob_that_matches_without_those_excluded():
    selector = NameSelector.parse(["a.<i>", "*.<j>", "!*.3"])
    assert selector.match("a.1") == {"i": 1}
    assert selector.match("b.1") == {"j": 1}
    assert selector.match("a.3") is None
    assert selector.match("a") is None
    assert selector.texts == ("a.<i>", "*.<j>", "!*.3")
    assert selector == NameSelector.parse(("a.<i>", "*.<j>", "!*.3"))
    assert hash(selector) == hash(NameSelector.parse(("a.<i>", "*.<j>", "!*.3")))


def test_a_selector_that_only_excludes_selects_the_rest():
    selector = NameSelector.parse("!head.**")
    selected = [name for name in ("", "head", "head.fc", "body") if selector.match(name) == {}]
    assert selected == ["", "body"]
    assert NameSelector.parse([]).match("anything") == {}


class Module: ...


class Linear(Module): ...


class Bilinear(Module): ...


class Quantized(Linear): ...


class BatchNorm2d(Module): ...


def made_in_a_function():
    class Linear: ...

    return Linear


CLASSES = [Module, Linear, Bilinear, Quantized, BatchNorm2d]


@pytest.mark.parametrize(
    ("items", "selected"),
    [
        ("Linear", "Linear Quantized"),
        ("=Linear", "Linear"),
        ("*[Ll]inear", "Linear Bilinear Quantized"),
        ("=*inear", "Linear Bilinear"),
        ("BatchNorm?d", "BatchNorm2d"),
        ("BatchNorm[13]d", ""),
        ("{Linear,BatchNorm2d}", "Linear Quantized BatchNorm2d"),
        (["Bilinear", "=Linear"], "Linear Bilinear"),
        ("Module", "Module Linear Bilinear Quantized BatchNorm2d"),
        (["Module", "!Linear"], "Module Bilinear BatchNorm2d"),
        (["Module", "!=Linear"], "Module Bilinear Quantized BatchNorm2d"),
        ("!Linear", "Module Bilinear BatchNorm2d"),
        ("!=Module", "Linear Bilinear Quantized BatchNorm2d"),
        ("object", ""),
        ("*.Linear", "Linear Quantized"),
        ("=*.Linear", "Linear"),
        ("test_glob.*", ""),
        ("{*.Linear,Bilinear}", "Linear Bilinear Quantized"),
        (f"{__name__}.Linear", "Linear Quantized"),
    ],
)
def test_examples_of_types(items, selected):
    selector = TypeSelector.parse(items)
    assert " ".join(cls.__name__ for cls in CLASSES if selector.match(cls)) == selected


def test_classes_made_in_functions_can_be_written_in_full():
    cls = made_in_a_function()
    full = f"{cls.__module__}.{cls.__qualname__}"
    assert "<locals>" in full
    assert TypeSelector.parse(full).match(cls)
    assert not TypeSelector.parse(full).match(Linear)
    assert TypeSelector.parse("*.made_in_a_function.*").match(cls)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("**.Linear", '"*" crosses dots in the name of a class; write "*"'),
        ("Conv<i>d", '"<...>" captures only in names of modules; write "*"'),
        ("", 'the name of a class is never empty; write "*" for any'),
        ("=", 'the name of a class is never empty; write "*" for any'),
    ],
)
def test_errors_of_types(text, problem):
    with pytest.raises(GlobError) as caught:
        TypeSelector.parse(text)
    assert str(caught.value) in (f'glob "{text}": {problem}', f'glob "{text[1:]}": {problem}')


def test_suggestions():
    known = ["kaiming_normal", "kaiming_uniform", "xavier_normal", "Zeros"]
    assert suggest("kaimin_normal", known, 1) == ["kaiming_normal"]
    assert suggest("ZEROS", known) == ["Zeros"]
    assert suggest("qqq", known) == []
    assert suggest("a", ["A", "a", "A"]) == ["A", "a"]


@given(st.text(max_size=10), st.lists(st.text(max_size=10), max_size=6), st.integers(1, 4))
def test_suggestions_are_known_and_few(word, known, n):
    found = suggest(word, known, n)
    assert set(found) <= set(known)
    assert len(found) == len(set(found)) <= n
    if word and word in known:
        assert found[0].casefold() == word.casefold()


def test_every_small_pattern_agrees_on_every_small_name():
    names = ["".join(letters) for size in range(5) for letters in product("a1.", repeat=size)]
    names = [name for name in names if not name or all(name.split("."))]
    for parts in product(["a", "*", "**", "<i>", "?*a", "*<i>"], repeat=3):
        path = [re.findall(r"\*\*|<i>|.", part) for part in parts]
        pattern = NamePattern.parse(".".join(parts))
        for name in names:
            ways = list(name_matches(path, name.split(".") if name else [], {}))
            found = pattern.match(name)
            assert found in ways if ways else found is None, (parts, name)
