"""From text to policy, and what is said of text that is none."""

import contextlib
import os
from importlib import import_module

import pytest
import tomlkit
from hypothesis import assume, given
from hypothesis import strategies as st

from initpolicy import InitPolicyError
from initpolicy.policy import builtins, load, parse

NAMES = st.sampled_from(["**", "a.*", "**.h.<i>", "{a,b}.c[0-9]", "!**.d", ""])
TYPES = st.sampled_from(["Linear", "*Conv*", "=Linear", "!BatchNorm?d", "torch.nn.*.Linear"])
VALUES = st.one_of(
    st.integers(-9, 9),
    st.floats(-1, 1),
    st.sampled_from(["keep", "zeros", "kaiming_normal"]),
    st.fixed_dictionaries(
        {"fn": st.just("normal"), "std": st.floats(0, 1) | st.just("0.02 / sqrt(2 * n)")},
        optional={"mean": st.integers(0, 3), "scale": st.just("fan_in"), "stream": st.just("s")},
    ),
)
GLOBS = st.sampled_from(["weight", "bias", "*", "w<i>", "{a,b}"])
RULES = st.fixed_dictionaries(
    {"init": st.dictionaries(GLOBS, VALUES, min_size=1, max_size=3)},
    optional={
        "type": TYPES | st.lists(TYPES, min_size=1, max_size=3),
        "name": NAMES | st.lists(NAMES, min_size=1, max_size=3),
        "within": TYPES,
        "where": st.sampled_from(["fan_in > 3", "ndim == 1 and depth >= 2"]),
        "buffer": st.dictionaries(
            GLOBS, VALUES | st.just({"recompute": "constructor"}), min_size=1, max_size=2
        ),
        "optional": st.booleans(),
        "allow": st.lists(st.sampled_from(["IP701", "IP710"]), max_size=2),
        "note": st.text(max_size=9),
    },
)
VARIABLES = st.one_of(
    st.floats(-3, 3),
    st.just("2 * n"),
    st.fixed_dictionaries(
        {"count": NAMES.filter(lambda name: name[:1] != "!")},
        optional={"default": st.integers(0, 3)},
    ),
    st.just({"attr": "config.n_embd", "default": 2.5}),
)
DOCUMENTS = st.fixed_dictionaries(
    {"format": st.just(1)},
    optional={
        "title": st.text(max_size=9),
        "source": st.text(max_size=9),
        "seed": st.integers(0, 2**63 - 1),
        "uncovered": st.sampled_from(["error", "warn", "keep"]),
        "vars": st.dictionaries(st.sampled_from(["n", "m", "width"]), VARIABLES, max_size=3),
        "rule": st.lists(RULES, max_size=4),
    },
)


def to_toml(document: dict) -> str:
    """Write a document with inline tables, which keep the order of the keys of a rule."""
    written = dict(document)
    for key in ("vars", "rule"):
        if key in written:
            written[key] = tomlkit.item(written[key], _parent=tomlkit.array(), _sort_keys=False)
    return tomlkit.dumps(written)


@given(DOCUMENTS)
def test_a_policy_round_trips_through_toml(document):
    policy = parse(to_toml(document))
    again = parse(to_toml(policy.to_dict()))
    assert again == policy
    assert len(policy.rules) == len(document.get("rule", []))


def messages(text: str) -> str:
    with pytest.raises(InitPolicyError) as caught:
        parse(text, "x.toml")
    return str(caught.value)


@given(
    st.sampled_from(["type", "name", "within", "optional", "note", "tolerance", "iterations"]),
    st.integers(0, 8),
)
def test_the_key_of_a_step_that_was_meant_is_suggested(key, place):
    place %= len(key) - 1
    word = key[:place] + key[place + 1] + key[place] + key[place + 2 :]
    assume(word != key)
    assert messages(f'format = 1\n[[calibrate]]\nfn = "lsuv"\n{word} = 1\n') == (
        f"x.toml:4: IP112 lsuv has no argument `{word}`; it accepts tolerance, iterations; "
        f"did you mean `{key}`?"
    )


@pytest.mark.parametrize(
    ("word", "key"),
    [("lyout", "layout"), ("chuncks", "chunks"), ("scael", "scale"), ("zero_idx", "zero_index")],
)
def test_a_common_argument_that_was_meant_is_suggested(word, key):
    rule = f'[[rule]]\ninit.weight = {{ fn = "normal", {word} = 1 }}\n'
    assert messages(f"format = 1\n{rule}") == (
        f"x.toml:3: IP109 normal has no argument `{word}`; it accepts mean, std; "
        f"did you mean `{key}`?"
    )


def test_all_mistakes_at_once_in_the_order_of_their_lines():
    text = """\
format = 1
sead = 1
[vars]
fan_in = 3
n = { cuont = "**" }
[[rule]]
tipe = "Linear"
init.weight = { fn = "kaiming_norml" }
init.bias = { fn = "normal", sdt = 1 }
init.x = true
init.y = { fn = "normal", std = "sqrt(" }
init.z = { fn = "normal", std = 1, scale = true }
[[rule]]
type = "Lin[ear"
where = "a = b"
init."a.b" = "zeroes"
[[rule]]
name = "a"
"""
    assert messages(text).splitlines() == [
        "x.toml:2: IP102 unknown key `sead` in a policy; did you mean `seed`?",
        "x.toml:4: IP103 `fan_in` already means something in expressions; choose another name "
        "for the variable",
        "x.toml:5: IP103 `vars.n` is {'cuont': '**'}; write a number, an expression, "
        '{ count = "..." } or { attr = "...", default = ... }',
        "x.toml:7: IP102 unknown key `tipe` in a rule; did you mean `type`?",
        "x.toml:8: IP108 there is no initializer `kaiming_norml`; did you mean `kaiming_normal`?",
        "x.toml:9: IP109 normal has no argument `sdt`; it accepts mean, std; did you mean `std`?",
        "x.toml:10: IP103 `init.x` is true; write a number, the name of an initializer, "
        '"keep", or { fn = "...", ... }',
        "x.toml:11: IP107 sqrt(: a number, a name or an operator is missing or misplaced",
        "x.toml:12: IP109 `scale` is true; write a number or an expression",
        'x.toml:14: IP106 glob "Lin[ear": "[" is never closed; write "[0-9]", or "[[]" for the '
        "character",
        "x.toml:15: IP107 a = b: unexpected '='; write \"==\" to compare",
        'x.toml:16: IP106 glob "a.b": the name of a parameter has no dot; select the module by '
        "its name, and write what comes after the last dot",
        "x.toml:17: IP103 the rule says nothing about any tensor; give it a key such as "
        "`init.weight = 0`",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("format = ", "x.toml:1: IP101 not valid TOML: Invalid value"),
        (
            "a\nb = 1",
            "x.toml:1: IP101 not valid TOML, column 2: "
            "Expected '=' after a key in a key/value pair",
        ),
        (
            "a = 1",
            "x.toml:1: IP104 the policy says no format; write `format = 1` in its first lines",
        ),
        (
            "\nformat = 2",
            "x.toml:2: IP104 the policy has format 2; write `format = 1` in its first lines",
        ),
        (
            "format = true",
            "x.toml:1: IP104 the policy has format true; write `format = 1` in its first lines",
        ),
        (
            "format = 1\nseed = -1",
            "x.toml:2: IP103 `seed` is -1; input should be greater than or equal to 0",
        ),
        (
            'format = 1\nextends = [\n  "torhc",\n]',
            "x.toml:2: IP110 there is no policy `torhc`, neither a file nor a built-in; "
            "did you mean `torch`?",
        ),
        (
            "format = 1\n[[rule]]\ninit.weight = { std = 1 }",
            "x.toml:3: IP103 `init.weight` has no `fn`; write `fn = ...` in it",
        ),
        (
            'format = 1\n[[rule]]\ninit.weight = { fn = "keep" }',
            'x.toml:3: IP108 `keep` is no initializer; write "keep" without a table',
        ),
        (
            'format = 1\n[vars]\na = { attr = "b._c" }',
            "x.toml:3: IP103 `b._c` is no path of public attributes; write names with dots "
            'between them, such as "config.n_embd"',
        ),
    ],
)
def test_messages(text, message):
    assert messages(text) == message


def test_a_file_comes_before_a_builtin(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load("densenet").title == load("densenet.toml").title == "DenseNet"
    (tmp_path / "densenet.toml").write_text('format = 1\ntitle = "mine"')
    assert load("densenet.toml").title == "mine"
    assert load("densenet").title == "DenseNet"


def test_builtins_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert {load(name).name for name in builtins()} == {f"policies/{n}.toml" for n in builtins()}


def test_what_extends_overrides_what_it_extends(tmp_path):
    (tmp_path / "base.toml").write_text(
        'format = 1\nseed = 7\nuncovered = "keep"\n[vars]\na = 1\nb = 2\n[[rule]]\ninit.x = 0'
    )
    (tmp_path / "child.toml").write_text(
        'format = 1\nextends = ["base.toml"]\n[vars]\nb = 3\n[[rule]]\ninit.x = 1'
    )
    policy = load(tmp_path / "child.toml")
    assert values(policy) == ["constant(val=0)", "constant(val=1)"]
    assert [rule.inherited for rule in policy.rules] == [True, False]
    assert policy.variables == {"a": 1, "b": 3}
    assert (policy.seed, policy.uncovered) == (7, "error")


def values(policy) -> list[str]:
    return [str(rule.entries[0].value) for rule in policy.rules]


def test_a_file_is_read_again_when_it_says_something_else(tmp_path):
    file = tmp_path / "p.toml"
    file.write_text("format = 1\n[[rule]]\ninit.x = 0")
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    first = load(file)
    assert load(file).rules is first.rules
    file.write_text("format = 1\n[[rule]]\ninit.x = 1")
    os.utime(file, ns=times)
    assert (values(first), values(load(file))) == (["constant(val=0)"], ["constant(val=1)"])
    file.write_text("format = 1\n[[rule]]\ninit.x = ")
    with pytest.raises(InitPolicyError):
        load(file)
    file.unlink()
    with pytest.raises(InitPolicyError):
        load(file)


def test_a_policy_is_read_again_when_one_that_it_extends_says_something_else(tmp_path):
    (tmp_path / "base.toml").write_text("format = 1\n[[rule]]\ninit.x = 0")
    (tmp_path / "child.toml").write_text('format = 1\nextends = ["base.toml"]')
    assert values(load(tmp_path / "child.toml")) == ["constant(val=0)"]
    (tmp_path / "base.toml").write_text("format = 1\n[[rule]]\ninit.x = 1")
    assert values(load(tmp_path / "child.toml")) == ["constant(val=1)"]


def test_a_policy_of_the_same_text_in_another_place_is_another_one(tmp_path):
    for folder in "ab":
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "p.toml").write_text(
            'format = 1\n[[rule]]\ninit.x = { fn = "from_file", path = "w.safetensors" }'
        )
    read = {folder: load(tmp_path / folder / "p.toml") for folder in "ab"}
    for folder, policy in read.items():
        assert str(tmp_path / folder / "w.safetensors") in values(policy)[0]
        assert policy.rules[0].location.file == str(tmp_path / folder / "p.toml")


def test_what_is_done_to_a_policy_is_not_done_to_the_next_one(tmp_path):
    (tmp_path / "p.toml").write_text("format = 1\n[vars]\nn = 1\n[[rule]]\ninit.x = 0")
    for _ in range(3):
        policy = load(tmp_path / "p.toml")
        assert policy.variables == {"n": 1}
        assert list(policy.variable_locations) == ["n"]
        policy.variables["n"] = policy.variables["m"] = 2
        policy.variable_locations.clear()


def test_threads_load_what_other_threads_forget(tmp_path, monkeypatch):
    """Between the look whether a policy is kept and the look at it, others may forget all."""

    class Forgetful(dict):
        def __contains__(self, key):
            found = super().__contains__(key)
            self.clear()
            return found

    monkeypatch.setattr(import_module("initpolicy.policy.load"), "_kept", Forgetful())
    (tmp_path / "p.toml").write_text("format = 1\n[[rule]]\ninit.x = 0")
    for _ in range(2):
        assert values(load(tmp_path / "p.toml")) == ["constant(val=0)"]


def test_many_policies_are_each_what_their_files_say(tmp_path):
    for _ in range(2):
        for number in range(40):
            (tmp_path / f"{number}.toml").write_text(f"format = 1\n[[rule]]\ninit.x = {number}")
            assert values(load(tmp_path / f"{number}.toml")) == [f"constant(val={number})"]


def test_a_policy_extended_twice_comes_once(tmp_path):
    (tmp_path / "d.toml").write_text("format = 1\n[[rule]]\ninit.x = 0")
    for name in "bc":
        (tmp_path / f"{name}.toml").write_text('format = 1\nextends = ["d.toml"]')
    (tmp_path / "a.toml").write_text('format = 1\nextends = ["b.toml", "c.toml"]')
    assert len(load(tmp_path / "a.toml").rules) == 1


def test_circles_and_depth_of_extends(tmp_path):
    (tmp_path / "a.toml").write_text('format = 1\nextends = ["b.toml"]')
    (tmp_path / "b.toml").write_text('format = 1\nextends = ["a.toml"]')
    with pytest.raises(InitPolicyError) as caught:
        load(tmp_path / "a.toml")
    assert [(p.code, p.message) for p in caught.value.problems] == [
        ("IP105", "`a.toml` extends itself")
    ]
    for number in range(20):
        (tmp_path / f"{number}.toml").write_text(f'format = 1\nextends = ["{number + 1}.toml"]')
    with pytest.raises(InitPolicyError) as caught:
        load(tmp_path / "0.toml")
    assert caught.value.problems[0].message == "`16.toml` is more than 16 `extends` deep"


def test_files_that_are_no_text(tmp_path):
    (tmp_path / "a.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InitPolicyError, match="IP101 the file cannot be read: 'utf-8' codec"):
        load(tmp_path / "a.toml")
    with pytest.raises(InitPolicyError, match="IP110 there is no policy `densnet`"):
        load("densnet")


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda b: b.decode("latin1")))
def test_any_text_is_a_policy_or_an_error_of_ours(text):
    with contextlib.suppress(InitPolicyError):
        parse("format = 1\n" + text)


def test_a_constructor_recomputes_buffers_alone():
    text = 'format = 1\n[[rule]]\ninit.w = { recompute = "constructor" }\n'
    assert messages(text) == (
        "x.toml:3: IP217 `init.w` names parameters, and a constructor recomputes buffers alone; "
        "write `buffer.w` if it is a buffer, and an initializer for a parameter"
    )
    text = 'format = 1\n[[rule]]\nbuffer.w = { recompute = "me" }\nbuffer.v = { fn = 3 }\n'
    assert messages(text) == (
        "x.toml:3: IP103 `buffer.w.recompute` is 'me'; input should be 'constructor'\n"
        "x.toml:4: IP103 `buffer.v.fn` is 3; input should be a valid string"
    )
