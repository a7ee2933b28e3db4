"""What a plan decides, one feature a test, on models small enough to see through."""

import pytest
import torch
from torch import nn

import initpolicy
from initpolicy import InitPolicyError
from initpolicy.laws import Constant, Normal, Uniform
from initpolicy.policy import parse


def plan(model: nn.Module, rules: str, head: str = "", **options):
    return initpolicy.plan(model, parse(f"format = 1\n{head}\n{rules}", "x.toml"), **options)


def laws(model: nn.Module, rules: str, head: str = "", **options) -> dict[str, str]:
    decisions = plan(model, rules, head, **options)
    return {d.name: "keep" if d.law is None else str(d.law) for d in decisions}


def errors(model: nn.Module, rules: str, head: str = "", **options) -> list[str]:
    with pytest.raises(InitPolicyError) as caught:
        plan(model, rules, head, **options)
    return str(caught.value).splitlines()


class Own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.W1 = nn.Parameter(torch.empty(5, 3))
        self.register_parameter("W2", nn.Parameter(torch.empty(3, 5)))
        self.register_parameter("bias", None)
        self.several = nn.ParameterList([torch.empty(2), torch.empty(2)])
        self.named = nn.ParameterDict({"a": torch.empty(2)})


def test_the_last_rule_wins_and_the_losers_are_kept():
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    rules = """
        [[rule]]
        init.weight = 1
        init.bias = 0
        [[rule]]
        type = "Linear"
        note = "all of them"
        init."*" = 2
        [[rule]]
        name = "1"
        init.weight = { fn = "normal", std = 0.5 }
    """
    assert laws(model, rules) == {
        "0.weight": "2",
        "0.bias": "2",
        "1.weight": "N(0, 0.5)",
        "1.bias": "2",
    }
    decision = plan(model, rules)["1.weight"]
    assert str(decision.winner) == "x.toml:13 name 1: normal(std=0.5)"
    assert [str(loser) for loser in decision.losers] == [
        'x.toml:10 "all of them": constant(val=2)',
        "x.toml:5 for every module: constant(val=1)",
    ]


def test_within_a_rule_the_last_matching_key_wins():
    model = nn.Linear(3, 2)
    assert laws(model, '[[rule]]\ninit.weight = 1\ninit."*" = 0')["weight"] == "0"
    assert laws(model, '[[rule]]\ninit."*" = 0\ninit.weight = 1')["weight"] == "1"


def test_bare_parameters_lists_and_dicts():
    rules = """
        [[rule]]
        type = "Own"
        init."W<i>" = { fn = "constant", val = "10 * i" }
        init.bias = 5
        [[rule]]
        name = "several"
        init."<k>" = { fn = "constant", val = "k" }
        [[rule]]
        name = "named"
        init.a = 7
    """
    assert laws(Own(), rules) == {
        "W1": "10",
        "W2": "20",
        "several.0": "0",
        "several.1": "1",
        "named.a": "7",
    }


def test_a_bare_linear_is_the_root():
    assert laws(
        nn.Linear(4, 1),
        '[[rule]]\nname = ""\ninit.weight = 1\ninit.bias = "depth"'.replace(
            '"depth"', '{ fn = "constant", val = "depth" }'
        ),
    ) == {"weight": "1", "bias": "0"}


def test_every_name_of_an_expression():
    model = nn.ModuleDict({"h": nn.ModuleList([nn.Conv2d(4, 6, 3, groups=2) for _ in range(3)])})
    model.config = type("Config", (), {"n_embd": 48, "rope": {"theta": 1e4}})()
    head = """
        [vars]
        theta = { attr = "config.rope.theta" }
        n_layer = { count = "h.<i>" }
        width = { attr = "config.n_embd", default = 7 }
        other = { attr = "config.nothing", default = 7 }
        ratio = "width / n_layer"
        plain = 0.5
    """
    expressions = {
        "n_layer": 3,
        "width": 48,
        "theta": 1e4,
        "other": 7,
        "ratio": 16,
        "plain": 0.5,
        "i": 1,
        "depth": 2,
        "fan_in": 18,
        "fan_out": 54,
        "receptive_field": 9,
        "numel": 108,
        "ndim": 4,
        "shape[0]": 6,
        "shape[-1]": 3,
        "module.groups": 2,
        "module.kernel_size[1]": 3,
        "bias.numel": 6,
        "bias.shape[0]": 6,
        "gain('relu') ** 2": pytest.approx(2),
        "gain('leaky_relu', 1)": 1,
        "max(i, 2) + min(fan_in, 5) - abs(-1)": 6,
        "floor(7 / 2) * ceil(0.5)": 3,
    }
    for expression, value in expressions.items():
        text = expression.replace("'", '\\"')
        rules = f"""
            [[rule]]
            init."*" = 0
            [[rule]]
            name = "h.<i>"
            where = "ndim == 4"
            init.weight = {{ fn = "constant", val = "{text}" }}
        """
        law = plan(model, rules, head)["h.1.weight"].law
        assert isinstance(law, Constant)
        assert law.value == value, expression


def test_where_selects_tensors():
    model = nn.Sequential(nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 8, 1))
    rules = """
        [[rule]]
        init."*" = 0
        [[rule]]
        type = "Conv2d"
        where = "module.groups > 1 and ndim > 1"
        init."*" = 1
    """
    assert laws(model, rules) == {"0.weight": "1", "0.bias": "0", "1.weight": "0", "1.bias": "0"}


def test_within_selects_by_the_modules_around():
    model = nn.ModuleDict(
        {"a": nn.Sequential(nn.Sequential(nn.Linear(1, 1))), "b": nn.Linear(1, 1)}
    )
    rules = """
        [[rule]]
        init."*" = 0
        [[rule]]
        type = "Linear"
        within = ["Seq*", "!Module"]
        init.weight = 1
        [[rule]]
        type = "Linear"
        within = "Sequential"
        init.weight = 2
    """
    # The first of the two says nothing of any module: every Sequential is a Module.
    assert errors(model, rules) == [
        "x.toml:6: IP202 rule type Linear, within Seq* or !Module: no module matches all of its "
        "selectors; mend the rule, or write `optional = true` in it"
    ]
    rules = rules.replace('["Seq*", "!Module"]', '"ModuleDict"')
    assert laws(model, rules)["a.0.0.weight"] == "2"
    assert laws(model, rules)["b.weight"] == "1"


def test_variables_are_replaced_by_numbers_and_expressions():
    rules = '[[rule]]\ninit."*" = { fn = "constant", val = "a" }'
    head = "[vars]\na = 1\nb = 2"
    model = nn.Linear(1, 1)
    assert laws(model, rules, head, vars={"a": 5})["weight"] == "5"
    assert laws(model, rules, head, vars={"a": "b * 4"})["weight"] == "8"
    assert errors(model, rules, head, vars={"bb": 5, "a": "1 +"}) == [
        "IP209 the policy has no variable `bb`; did you mean `b`? it has a, b",
        "IP209 variable `a`: 1 +: a number, a name or an operator is missing or misplaced; "
        "give it a number",
    ]


def test_only_variables_that_are_read_are_computed():
    head = '[vars]\nunused = { count = "nowhere" }\na = 3'
    decided = plan(nn.Linear(1, 1), '[[rule]]\ninit."*" = { fn = "constant", val = "a" }', head)
    assert decided.variables == {"a": 3}


def test_scale_multiplies_the_law():
    rules = """
        [[rule]]
        init.weight = { fn = "xavier_uniform", scale = "1 / sqrt(2)" }
        init.bias = { fn = "constant", val = 3, scale = -2 }
    """
    decided = plan(nn.Linear(3, 3), rules)
    law = decided["weight"].law
    assert isinstance(law, Uniform)
    assert (law.low, law.high) == pytest.approx((-(0.5**0.5), 0.5**0.5))
    assert decided["bias"].law == Constant(-6)


def test_an_initializers_own_scale_is_not_the_factor():
    rules = """
        [[rule]]
        init.weight = { fn = "variance_scaling", scale = 2.0 }
        init.bias = 0
    """
    assert laws(nn.Linear(8, 4), rules)["weight"] == "N(0, 0.5)"


def test_zero_index_of_an_embedding_with_and_without_padding():
    rules = '[[rule]]\ninit.weight = { fn = "normal", zero_index = "module.padding_idx" }'
    assert laws(nn.Embedding(5, 2), rules) == {"weight": "N(0, 1)"}
    assert laws(nn.Embedding(5, 2, padding_idx=-1), rules) == {"weight": "N(0, 1), row 4 zero"}
    assert errors(
        nn.Embedding(5, 2), '[[rule]]\ninit.weight = { fn = "normal", zero_index = 5 }'
    ) == [
        "x.toml:4: IP206 rule for every module: `init.weight`, for weight: `zero_index` is 5, and "
        "the tensor has 5 rows; write the number of a row, counted from 0"
    ]


def test_buffers_have_rules_of_their_own():
    rules = '[[rule]]\ninit."*" = 1\nbuffer.running_mean = 0.5\nbuffer.num_batches_tracked = 3'
    assert laws(nn.BatchNorm1d(2), rules) == {
        "weight": "1",
        "bias": "1",
        "running_mean": "0.5",
        "running_var": "keep",
        "num_batches_tracked": "3",
    }


def test_what_no_rule_covers():
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    rules = '[[rule]]\ntype = "Linear"\ninit.weight = 0'
    left = (
        "3 parameters are covered by no rule: 0.bias (Linear), 1.weight (BatchNorm1d), "
        "1.bias (BatchNorm1d); "
        'write a rule for them, with "keep" to leave them as they are, or `uncovered = "keep"` at '
        "the top of the policy"
    )
    assert errors(model, rules) == [f"x.toml: IP201 {left}"]
    warned = plan(model, rules, 'uncovered = "warn"')
    assert [(p.severity, str(p)) for p in warned.warnings] == [("warning", f"x.toml: IP201 {left}")]
    assert plan(model, rules, 'uncovered = "keep"').warnings == ()
    assert plan(model, f'[[rule]]\ninit."*" = "keep"\n{rules}').warnings == ()


def test_rules_that_match_nothing():
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1), nn.Linear(1, 1))
    rules = """
        [[rule]]
        init."*" = 0
        [[rule]]
        type = "Cnv2d"
        init.weight = 0
        [[rule]]
        name = "**.layer<i>"
        init.weight = 0
        [[rule]]
        type = "Linear"
        name = "0"
        init.weight = 0
        [[rule]]
        type = "Linear"
        init.wieght = 0
        [[rule]]
        type = "Linear"
        where = "fan_in > 1 and ndim > 1"
        init.weight = 0
        [[rule]]
        type = "Nothing"
        optional = true
        init.weight = 0
        [[rule]]
        type = "Linear"
        buffer.weight = 0
    """
    end = "mend the rule, or write `optional = true` in it"
    assert errors(model, rules) == [
        "x.toml:6: IP202 no module type matches `Cnv2d`; the model has Conv2d, BatchNorm2d, "
        f"Linear; did you mean `Conv2d`? {end}",
        f"x.toml:9: IP202 no module name matches `**.layer<i>`; {end}",
        f"x.toml:12: IP202 rule type Linear, name 0: no module matches all of its selectors; {end}",
        "x.toml:18: IP203 rule type Linear: no parameter matches `init.wieght`; did you mean "
        "`weight`? the selected module has weight, bias",
        "x.toml:19: IP202 rule type Linear, where fan_in > 1 and ndim > 1: its condition holds for "
        f"no tensor of the modules it selects; {end}",
        "x.toml:29: IP203 rule type Linear: no buffer matches `buffer.weight`; the selected "
        "module has no buffer of its own",
    ]


def test_a_parameter_that_is_declared_as_none_is_known():
    model = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False))
    assert laws(model, '[[rule]]\ntype = "Conv2d"\ninit.weight = 1\ninit.bias = 0') == {
        "0.weight": "1"
    }


def test_a_rule_that_decides_nothing_is_a_warning():
    rules = '[[rule]]\ntype = "Linear"\ninit."*" = 0\n[[rule]]\ninit."*" = 1'
    (warning,) = plan(nn.Linear(1, 1), rules).warnings
    assert str(warning) == (
        "x.toml:3: IP204 rule type Linear decides nothing: of each tensor that it matches, a later "
        "rule or the rule on its first name says otherwise; move it down, or take it out"
    )


def test_rules_of_an_extended_policy_may_decide_nothing():
    rules = '[[rule]]\ntype = "Linear"\ninit."*" = 1'
    assert plan(nn.Linear(1, 1), rules, 'extends = ["torch"]').warnings == ()


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(6, 3)
        self.head = nn.Linear(3, 6, bias=False)
        self.head.weight = self.embed.weight


def test_a_tied_tensor_follows_its_first_name():
    rules = """
        [[rule]]
        type = "Embedding"
        init.weight = { fn = "normal", std = 0.02 }
        [[rule]]
        type = "Linear"
        init.weight = "xavier_uniform"
    """
    decided = plan(Tied(), rules)
    assert [(d.name, d.law, d.aliases) for d in decided] == [
        ("embed.weight", Normal(0, 0.02), ("head.weight",))
    ]
    assert [p.code for p in decided.warnings] == ["IP204", "IP207"]
    assert str(decided.warnings[1]) == (
        "x.toml:9: IP207 embed.weight and head.weight are one tensor, which begins as N(0, 0.02); "
        "rule type Linear says U(-0.8165, 0.8165) of head.weight, and is not followed; give both "
        'names the same law, or write `where = "not alias"` in the rule'
    )
    told = rules.replace('type = "Linear"', 'type = "Linear"\nwhere = "not alias"\noptional = true')
    assert plan(Tied(), told).warnings == ()
    assert plan(Tied(), '[[rule]]\ninit."*" = "xavier_uniform"').warnings == ()


def test_a_module_shared_under_two_names():
    block = nn.Linear(2, 2)
    model = nn.ModuleDict({"a": block, "b": block})
    decided = plan(model, '[[rule]]\ninit."*" = 1')
    assert [(d.name, d.aliases) for d in decided] == [
        ("a.weight", ("b.weight",)),
        ("a.bias", ("b.bias",)),
    ]
    assert decided["b.bias"] is decided["a.bias"]


def test_lazy_modules_need_a_batch_first():
    model = nn.Sequential(nn.LazyLinear(3))
    assert errors(model, '[[rule]]\ninit."*" = 0') == [
        "IP208 2 tensors have no shape yet: 0.weight (LazyLinear), 0.bias (LazyLinear); run one "
        "batch through the model first, so that its lazy modules learn theirs"
    ]
    model(torch.zeros(1, 4))
    assert laws(model, '[[rule]]\ninit."*" = 0') == {"0.weight": "0", "0.bias": "0"}


def test_xavier_on_a_bias_says_what_to_write_instead():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 4, 3))
    assert errors(model, '[[rule]]\ntype = "*Conv*"\ninit."*" = "xavier_normal"') == [
        "x.toml:5: IP206 rule type *Conv*: `init.*`, for 0.bias, 1.bias: xavier_normal needs at "
        "least 2 dimensions and a tensor of shape (2,) has 1; for a bias write `0` or "
        '{ fn = "uniform", a = -0.1, b = 0.1 }'
    ]


def test_integer_and_bool_tensors_take_constants_only():
    model = nn.Module()
    model.register_buffer("count", torch.zeros(3, dtype=torch.int64))
    model.register_buffer("mask", torch.zeros(3, dtype=torch.bool))
    assert laws(model, "[[rule]]\nbuffer.count = 7\nbuffer.mask = 1") == {"count": "7", "mask": "1"}
    assert errors(model, '[[rule]]\nbuffer.count = 0.5\nbuffer.mask = "normal"') == [
        "x.toml:4: IP206 rule for every module: `buffer.count`, for count: 0.5 does not fit into "
        "int64, which holds whole numbers only; write `0` or `1`",
        "x.toml:5: IP206 rule for every module: `buffer.mask`, for mask: N(0, 1) cannot fill a "
        "tensor of bool, which takes constants only; write a number that the type holds, for "
        "example `0`",
    ]


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (
            '[[rule]]\ninit."*" = { fn = "constant", val = "1 / (shape[0] - 3)" }',
            "x.toml:4: IP205 rule for every module: `init.*`, for weight, bias: "
            "1 / (shape[0] - 3): division by zero (shape = [3, 2])",
        ),
        (
            '[[rule]]\ninit."*" = { fn = "constant", val = "fan" }',
            "x.toml:4: IP205 rule for every module: `init.*`, for weight, bias: fan: no name "
            '"fan"; did you mean "fan_in"? In scope: alias, auto_gain, depth, fan_in, fan_out, '
            "ndim, numel, receptive_field, shape",
        ),
        (
            '[[rule]]\ninit."*" = { fn = "constant", val = "module.groups" }',
            "x.toml:4: IP205 rule for every module: `init.*`, for weight, bias: module.groups: "
            "Linear has no `groups`",
        ),
        (
            '[[rule]]\nwhere = "ndim"\ninit."*" = 0\n[[rule]]\ninit."*" = 1',
            "x.toml:3: IP205 rule where ndim: `where`, for weight, bias: ndim: it is a number, "
            "where a condition is needed",
        ),
    ],
)
def test_expressions_that_have_no_value(rules, message):
    assert message in errors(nn.Linear(2, 3), rules)


def test_variables_that_have_no_value():
    head = '[vars]\nn = { count = "**.h.<i>" }\na = { attr = "config.x" }\nc = "d + 1"\nd = "c"'
    for name, message in {
        "n": "variable `n`: no module's name matches `**.h.<i>`; mend the glob, or give it a "
        "`default`",
        "a": "variable `a`: the model has no `config.x`; give it a `default`, or pass the number "
        "with `--var`",
        "c": "variable `c` is defined by itself: c -> d -> c",
    }.items():
        rules = f'[[rule]]\ninit."*" = {{ fn = "constant", val = "{name}" }}'
        (error,) = errors(nn.Linear(1, 1), rules, head)
        assert error.endswith(message)


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, True])
def test_seeds_that_are_none(seed):
    assert errors(nn.Linear(1, 1), '[[rule]]\ninit."*" = 0', seed=seed) == [
        f"IP210 the seed is {seed!r}; write a whole number from 0 to 2**64 - 1"
    ]


def test_planning_works_on_the_meta_device_and_decides_the_same():
    rules = '[[rule]]\ninit."*" = { fn = "constant", val = "numel" }\nbuffer."*" = 0'
    with torch.device("meta"):
        meta = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    assert plan(meta, rules) == plan(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)), rules)
