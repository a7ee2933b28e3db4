"""What holds of every model and policy."""

import random
from fnmatch import fnmatchcase

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import initpolicy
from initpolicy.plans import Plan
from initpolicy.policy import parse

LAYERS = {
    "linear": lambda: nn.Linear(4, 3),
    "narrow": lambda: nn.Linear(2, 2, bias=False),
    "conv": lambda: nn.Conv1d(2, 3, 2),
    "norm": lambda: nn.BatchNorm1d(3),
    "embed": lambda: nn.Embedding(5, 2, padding_idx=1),
}
SEGMENTS = st.sampled_from(["a", "b", "h1", "h2"])
NAMES = st.lists(SEGMENTS, min_size=1, max_size=3).map(tuple)
# Names of layers, none of which lies inside another.
MODELS = st.dictionaries(NAMES, st.sampled_from(sorted(LAYERS)), min_size=1, max_size=6).filter(
    lambda layers: not any(a != b and a == b[: len(a)] for a in layers for b in layers)
)
TYPES = st.sampled_from(["Linear", "Conv*", "*Norm1d", "Embedding", "*", "=Linear"])
PATTERNS = st.sampled_from(["**", "a.**", "**.h<i>", "*", "{a,b}", "**.[ab]", "h[12].*"])
INITIALIZERS = st.sampled_from(
    [
        "0",
        "1",
        '"normal"',
        '{ fn = "uniform", a = -1, b = "numel" }',
        '{ fn = "trunc_normal", std = 0.02, cut = 2 }',
        '"keep"',
    ]
)
RULES = st.lists(st.tuples(TYPES, PATTERNS, INITIALIZERS), max_size=5)


def build(layers: dict[tuple[str, ...], str]) -> nn.Module:
    model = nn.Module()
    for path, layer in layers.items():
        inner = model
        for segment in path[:-1]:
            if not hasattr(inner, segment):
                inner.add_module(segment, nn.Module())
            inner = getattr(inner, segment)
        inner.add_module(path[-1], LAYERS[layer]())
    return model


def write(rules: list[tuple[str, str, str]]) -> str:
    text = 'format = 1\n[[rule]]\ninit."*" = "normal"\n'
    for kind, name, value in rules:
        text += f'[[rule]]\noptional = true\ntype = "{kind}"\nname = "{name}"\ninit."*" = {value}\n'
    return text


def values(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


@given(MODELS, RULES)
def test_planning_is_deterministic_and_draws_nothing(layers, rules):
    model, policy = build(layers), parse(write(rules))
    before, state = values(model), torch.get_rng_state()
    python_state = random.getstate()
    plan = initpolicy.plan(model, policy, seed=3)
    assert plan == initpolicy.plan(model, policy, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert random.getstate() == python_state
    assert all(torch.equal(tensor, before[name]) for name, tensor in values(model).items())


@given(MODELS, RULES, st.data())
def test_other_modules_and_their_order_change_nothing(layers, rules, data):
    names = data.draw(st.permutations(sorted(layers)))
    kept = names[: data.draw(st.integers(1, len(names)))]
    whole, part = build(layers), build({name: layers[name] for name in kept})
    policy = parse(write(rules))
    # What a rule keeps would else be whatever the constructors drew.
    for model in (whole, part):
        initpolicy.apply(model, parse('format = 1\n[[rule]]\ninit."*" = 3'))
    plans = [initpolicy.apply(model, policy, seed=1) for model in (whole, part)]
    everything = values(whole)
    for name, tensor in values(part).items():
        assert torch.equal(tensor, everything[name]), name
        assert plans[0][name] == plans[1][name]


@given(MODELS, RULES)
def test_later_rules_win(layers, rules):
    constant = [(kind, name, str(number + 10)) for number, (kind, name, _) in enumerate(rules)]
    model = build(layers)
    plan = initpolicy.plan(model, parse(write(constant)))
    equivalent = {
        "**": lambda n: True,
        "a.**": lambda n: n[0] == "a",
        "**.h<i>": lambda n: n[-1] in ("h1", "h2"),
        "*": lambda n: len(n) == 1,
        "{a,b}": lambda n: n in (("a",), ("b",)),
        "**.[ab]": lambda n: n[-1] in ("a", "b"),
        "h[12].*": lambda n: len(n) == 2 and n[0] in ("h1", "h2"),
    }
    for path, layer in layers.items():
        module = LAYERS[layer]()
        classes = [base.__name__ for base in type(module).__mro__ if base is not object]
        expected = "N(0, 1)"
        for kind, name, value in constant:
            candidates = classes[:1] if kind.startswith("=") else classes
            if equivalent[name](path) and any(
                fnmatchcase(c, kind.removeprefix("=")) for c in candidates
            ):
                expected = value
        for local_name, _ in module.named_parameters():
            assert str(plan[".".join([*path, local_name])].law) == expected


@given(MODELS, RULES, st.integers(0, 2**64 - 1))
def test_a_plan_survives_json(layers, rules, seed):
    plan = initpolicy.plan(build(layers), parse(write(rules), "x.toml"), seed=seed)
    assert Plan.from_json(plan.to_json()) == plan


@settings(max_examples=30)
@given(MODELS, RULES)
def test_equivalent_globs_select_equally(layers, rules):
    same = {
        "a.**": "{a,a.**}",
        "**.h<i>": "**.h[12]",
        "{a,b}": "[ab]",
        "**.[ab]": "**.{a,b}",
        "h[12].*": "{h1,h2}.*",
        "**": "{**,**.**}",
        "*": "{*,*}",
    }
    model = build(layers)
    one = initpolicy.plan(model, parse(write(rules)))
    other = initpolicy.plan(model, parse(write([(k, same[n], v) for k, n, v in rules])))
    assert [d.law for d in one] == [d.law for d in other]
