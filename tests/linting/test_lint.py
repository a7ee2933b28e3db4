"""What is told as a whole: places, what rules allow, the command, and a model left as it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import initpolicy
from initpolicy.cli.app import app
from initpolicy.model.flow import flow_of
from initpolicy.problems import InitPolicyError

POLICY = """\
format = 1

[[rule]]
note = "all"
init.weight = { fn = "trunc_normal", std = 0.02, a = -2, b = 2 }
init.bias = 0

[[rule]]
name = "0"
init.weight = { fn = "normal", std = 0 }
"""
MODEL = """\
from torch import nn

def net():
    print("built")
    return nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 8), nn.Linear(8, 8))
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("net.toml").write_text(POLICY)
    Path("net.py").write_text(MODEL)
    return tmp_path


def net(**options) -> nn.Module:
    layers = [nn.Linear(8, 8, **options) for _ in range(3)]
    return nn.Sequential(layers[0], nn.GELU(), *layers[1:])


TEXT = """\
net.toml: 2 findings
  net.toml:5: IP702 a truncation that cuts nothing off, for 2.weight, 3.weight (rule "all"): \
N(0, 0.02) in [-2, 2] is cut 100 standard deviations from its mean; write `cut = 2` for bounds at \
two of them, or `normal`
  net.toml:10: IP703 random values with a spread of zero, for 0.weight (rule name 0): \
normal(std=0) gives nothing but 0; write that number instead\
"""


def test_findings_have_their_places_and_all_tensors_of_a_rule() -> None:
    advice = initpolicy.lint(net(device="meta"), "net.toml")
    assert str(advice) == TEXT
    assert not advice.ok
    assert advice.traced
    assert [found.names for found in advice.findings] == [("2.weight", "3.weight"), ("0.weight",)]


def allow(*codes: str) -> None:
    Path("net.toml").write_text(POLICY.replace("init.bias", f"allow = {list(codes)}\ninit.bias"))


def test_a_rule_allows_findings_of_the_tensors_that_it_decides_on() -> None:
    allow("IP702", "IP703")  # 0.weight is decided by the other rule, which allows nothing
    advice = initpolicy.lint(net(), "net.toml")
    assert [found.code for found in advice.findings] == ["IP715", "IP703"]
    assert advice.allowed == 2
    assert str(advice).startswith("net.toml: 2 findings, 2 allowed by their rules\n")
    allow("IP703")
    found = initpolicy.lint(net(), "net.toml").findings
    assert [one.code for one in found] == ["IP702", "IP715", "IP703"]


def test_what_an_extended_policy_allows_stays_allowed() -> None:
    allow("IP702")
    Path("own.toml").write_text('format = 1\nextends = ["./net.toml"]\n')
    advice = initpolicy.lint(net(), "own.toml")
    assert [found.code for found in advice.findings] == ["IP703"]


@pytest.mark.parametrize("code", ["IP201", "IP730", "702", "IP7020"])
def test_only_codes_of_lint_are_allowed(code: str) -> None:
    allow(code)
    with pytest.raises(InitPolicyError, match=r"net.toml:6: IP103 `allow\[0\]` is "):
        initpolicy.load("net.toml")


def test_two_rules_on_one_line_do_not_share_what_they_allow(folder: Path) -> None:
    Path("net.toml").write_text(
        "format = 1\nrule = [{ init.weight = { fn = 'normal', std = 0 }, allow = ['IP703'] }, "
        "{ name = '2', init.weight = { fn = 'uniform', a = 0, b = 0 } }, { init.bias = 0 }]"
    )
    advice = initpolicy.lint(net(), "net.toml")
    assert [(found.code, found.names) for found in advice.findings] == [("IP703", ("2.weight",))]


def run(*arguments: str):
    return CliRunner().invoke(app, ["lint", "net.py:net", "net.toml", *arguments])


def test_the_command_exits_with_1_if_anything_is_found() -> None:
    result = run()
    assert (result.exit_code, result.stdout) == (1, f"{TEXT}\n")
    Path("net.toml").write_text('format = 1\n[[rule]]\ninit."*" = { fn = "normal", std = 0.1 }\n')
    result = run()
    assert (result.exit_code, result.stdout) == (0, "net.toml: nothing found\n")


def test_the_command_writes_json() -> None:
    result = run("--output", "json")
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert told == initpolicy.lint(net(), "net.toml").to_json()
    assert [(one["code"], one["line"]) for one in told["findings"]] == [("IP702", 5), ("IP703", 10)]


def test_the_command_annotates_pull_requests() -> None:
    result = run("--output", "github")
    assert result.exit_code == 1
    first, second = (line for line in result.stdout.splitlines() if line.startswith("::"))
    assert first.startswith("::warning file=net.toml,line=5,title=IP702")
    assert second.startswith("::warning file=net.toml,line=10,title=IP703")


def test_mistakes_exit_with_2() -> None:
    Path("net.toml").write_text("format = 1")
    assert run().exit_code == 2


class Remembering(nn.Module):
    """Leaves its input on itself, counts, and draws."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)
        self.calls = 0
        self.last = None

    def forward(self, x):
        self.calls += 1
        self.last = x
        return torch.relu(self.layer(x) + torch.rand(8))


def test_a_model_is_left_as_it_was() -> None:
    model = Remembering()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    assert flow_of(model).traced
    assert (model.calls, model.last, model.training) == (0, None, True)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_wrappers_are_looked_through() -> None:
    for wrapped in (torch.compile(net()), nn.DataParallel(net())):
        assert str(initpolicy.lint(wrapped, "net.toml")) == TEXT


def test_computed_weights_are_judged_like_others() -> None:
    model = net()
    nn.utils.parametrizations.weight_norm(model[0])
    found = initpolicy.lint(model, "net.toml").findings
    assert [one.names for one in found] == [("2.weight", "3.weight"), ("0.weight",)]


def names(model: nn.Module, module: nn.Module) -> list[str]:
    return [step.name for step in flow_of(model).after(module)]


def test_containers_tell_where_tracing_fails() -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layer = nn.Sequential(nn.Linear(8, 8), nn.Dropout())
            self.body = nn.Sequential(layer, nn.Sequential(nn.Tanh()), nn.Linear(8, 8))

        def forward(self, x):
            return self.body(x) if x.mean() > 0 else x

    model = Branching()
    assert not flow_of(model).traced
    assert names(model, model.body[0][0]) == ["tanh"]
    assert names(model, model.body[2]) == ["unknown"]
    assert names(model, model.body) == []


def test_what_follows_is_that_of_evaluation() -> None:
    class Auxiliary(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 8)

        def forward(self, x):
            x = self.layer(x)
            return (torch.relu(x), x) if self.training else torch.relu(x)

    model = Auxiliary()
    assert names(model, model.layer) == ["relu"]


def test_every_use_of_a_shared_layer_counts() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 8)

        def forward(self, x):
            return torch.tanh(self.layer(torch.relu(self.layer(x).view(-1, 8))))

    model = Twice()
    assert names(model, model.layer) == ["relu", "tanh"]


class Choosing(nn.Module):
    """Cannot be traced, and rectifies what is positive in the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)
        nn.init.ones_(self.first.bias)

    def forward(self, x):
        x = self.first(x)
        return self.second(torch.relu(x) if x.sum() > -1e9 else torch.tanh(x))


XAVIER = 'format = 1\n[[rule]]\ninit.weight = "xavier_normal"\ninit.bias = 0\n'


def test_an_input_shows_what_a_trace_does_not() -> None:
    Path("net.toml").write_text(XAVIER)
    blind = initpolicy.lint(Choosing(), "net.toml")
    assert (blind.ok, blind.traced) == (True, False)
    advice = initpolicy.lint(Choosing(), "net.toml", input=(4, 8))
    assert advice.traced
    assert [(one.code, one.names) for one in advice.findings] == [("IP704", ("first.weight",))]


def test_an_input_that_does_not_fit_is_told_of() -> None:
    Path("net.toml").write_text(XAVIER)
    with pytest.raises(RuntimeError) as raised:
        Choosing()(torch.zeros(4, 7))
    advice = initpolicy.lint(Choosing(), "net.toml", input=(4, 7))
    assert (advice.ok, advice.traced) == (True, False)
    assert advice.reason == f"RuntimeError: {raised.value}"
    assert str(advice) == (
        "net.toml: nothing found; of what follows a layer, only its containers tell, "
        f"since the model cannot be run on the input ({advice.reason})"
    )
    assert not initpolicy.lint(Choosing(), "net.toml").reason


def test_the_command_takes_an_input() -> None:
    Path("net.toml").write_text(XAVIER)
    Path("net.py").write_text(
        "import torch\nfrom torch import nn\n\n"
        "class net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)\n\n"
        "    def forward(self, x, y):\n"
        "        x = self.first(x + y)\n"
        "        return self.second(torch.relu(x) if x.shape[0] > 1 else x)\n\n"
        "def batch():\n"
        "    return torch.ones(2, 8), 1.0\n"
    )
    assert run().exit_code == 0
    for given in (["2,8", "8"], ["x=2,8", "y=8"], ["net.py:batch"]):
        result = run(*(word for one in given for word in ("--input", one)))
        assert result.exit_code == 1
        assert "IP704" in result.stdout
    result = run("--input", "2,8", "--input", "cat")
    assert (result.exit_code, "IP751" in result.stderr) == (2, True)


@pytest.mark.parametrize("output", ["text", "json", "github"])
def test_an_input_that_does_not_fit_exits_with_2(output: str) -> None:
    Path("net.toml").write_text(XAVIER)
    Path("net.py").write_text("from torch import nn\n\ndef net():\n    return nn.Linear(8, 8)\n")
    told = (
        "IP752 the model cannot be run on this input: RuntimeError: mat1 and mat2 shapes cannot be "
        "multiplied (4x7 and 8x8); give one that it takes, or leave out `--input`"
    )
    assert run("--input", "4,8", "--output", output).exit_code == 0
    result = run("--input", "4,7", "--output", output)
    assert result.exit_code == 2
    if output == "json":
        (problem,) = json.loads(result.stdout)["problems"]
        assert f"{problem['code']} {problem['message']}; {problem['hint']}" == told
    else:
        assert result.stderr == f"{told}\n"
        assert ("::error" in result.stdout) is (output == "github")


def test_a_rule_whose_gain_was_found_is_linted_like_any_other() -> None:
    Path("net.toml").write_text(
        'format = 1\n[[rule]]\nallow = ["IP708"]\n'
        'init.weight = { fn = "xavier_normal", gain = "auto" }\ninit.bias = 0\n'
    )
    advice = initpolicy.lint(net(), "net.toml")
    (found,) = advice.findings
    assert found.code == "IP715"
    assert found.message == 'allow = ["IP708"] silences nothing; take it out'
    assert found.rule.initializer == "xavier_normal(gain=auto: 1.53353 for gelu)"


@pytest.mark.parametrize("own", [True, False])
def test_only_rules_of_the_policys_own_are_asked_why_they_allow(own: bool) -> None:
    Path("net.toml").write_text(
        'format = 1\n[[rule]]\nallow = ["IP702"]\ninit."*" = { fn = "normal", std = 0.1 }\n'
    )
    Path("extending.toml").write_text('format = 1\nextends = ["./net.toml"]\n')
    advice = initpolicy.lint(net(), "net.toml" if own else "extending.toml")
    assert [found.code for found in advice.findings] == (["IP715"] if own else [])
    assert initpolicy.lint(nn.Linear(2, 2), "torch").findings == ()
