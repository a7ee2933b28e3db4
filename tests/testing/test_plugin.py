"""The marker, in test suites that run in folders of their own."""

from __future__ import annotations

import subprocess
import sys
from textwrap import dedent

import pytest

NET = """
    import torch
    from torch import nn

    def good(width=8):
        model = nn.Linear(width, 4)
        nn.init.normal_(model.weight, 0, 0.02)
        nn.init.zeros_(model.bias)
        return model

    def bad():
        model = good()
        nn.init.ones_(model.bias)
        return model
    """
POLICY = """
    format = 1

    [[rule]]
    type = "Linear"
    init.weight = { fn = "normal", std = 0.02 }
    init.bias = 0
    """


@pytest.fixture
def suite(tmp_path):
    """Runs a test file beside a model and a policy, from another folder, and gives the report."""
    folder = tmp_path / "tests"
    folder.mkdir()
    (folder / "net.py").write_text(dedent(NET))
    (folder / "policy.toml").write_text(dedent(POLICY))

    def run(text, *options):
        head = "import unittest\nimport pytest\nimport initpolicy\nfrom net import good, bad\n"
        (folder / "test_models.py").write_text(head + dedent(text))
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--strict-markers"]
        command += ["-n0", "-rA", "--rootdir", str(tmp_path), *options, "tests"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode in (0, 1), done.stdout + done.stderr
        return done.stdout

    return run


def test_three_lines_verify_a_model(suite):
    out = suite(
        """
        @pytest.mark.initpolicy("policy.toml", model="net.py:good")
        def test_by_name(): ...

        @pytest.mark.initpolicy("policy.toml", model="net.py:good", kwargs={"width": 16})
        def test_with_arguments(): ...

        @pytest.mark.initpolicy("policy.toml", model=good)
        def test_by_function(): ...

        @pytest.mark.initpolicy("policy.toml", model=good())
        def test_by_model(): ...

        @pytest.mark.initpolicy(policy="policy.toml", model=good)
        class TestClass:
            def test_one(self): ...

        @pytest.fixture(params=[8, 16])
        def model(request):
            model = good(request.param)
            initpolicy.apply(model, "tests/policy.toml", seed=5)
            return model

        @pytest.mark.initpolicy("policy.toml", seed=5)
        def test_exactly(model): ...

        def test_unmarked(): ...

        @pytest.mark.xfail(strict=True)
        @pytest.mark.initpolicy("policy.toml", model="net.py:bad")
        def test_expected_to_fail(): ...
        """
    )
    assert "8 passed, 1 xfailed" in out


def test_failures_are_readable_and_tests_go_on(suite):
    out = suite(
        """
        @pytest.mark.initpolicy("policy.toml", model="net.py:bad")
        def test_bias(): ...

        @pytest.mark.initpolicy("policy.toml", model="net.py:good", seed=0)
        def test_seed(): ...

        @pytest.mark.initpolicy("policy.toml", model="net.py:good")
        def test_body():
            assert False, "the body ran"

        @pytest.mark.initpolicy("policy.toml", model="net.py:bad")
        class TestOfUnittest(unittest.TestCase):
            def test_method(self): ...
        """
    )
    assert "4 failed" in out
    bias, seed, body = (
        out.partition(f" {name} _")[2].partition("\n____")[0]
        for name in ("test_bias", "test_seed", "test_body")
    )
    assert "policy.toml:7: IP6" in bias
    assert " bias (rule" in bias
    assert " weight (rule" not in bias
    assert "Traceback" not in bias + seed
    assert "weight" in seed
    assert "the body ran" in body


MISTAKES = {
    'model="net.py:good"': "IP564 the marker `initpolicy` is given no policy; it takes a policy, "
    "and by name model, kwargs, seed, vars, exact, alpha",
    '"policy.toml", "net.py:good"': "IP564 the marker `initpolicy` is given several arguments "
    "without a name",
    '"policy.toml", modle="net.py:good"': "IP564 the marker `initpolicy` is given `modle`",
    '"policy.toml"': "IP564 the marker `initpolicy` is given no model; write "
    '`model="package.module:callable"`, or let the test have a fixture `model` that builds one',
    '"policy.toml", model=3': "IP564 the marker `initpolicy` is given the model 3, which is no "
    "torch module",
    '"policy.toml", model="net.py:god"': "IP401 ",
    '"none.toml", model="net.py:good"': "IP110 there is no policy `none.toml`",
}


def test_a_marker_that_says_too_little(suite):
    tests = [
        f"@pytest.mark.initpolicy({marker})\ndef test_{number}_(): ...\n"
        for number, marker in enumerate(MISTAKES)
    ]
    out = suite("\n".join(tests))
    assert f"{len(MISTAKES)} failed" in out
    for number, message in enumerate(MISTAKES.values()):
        assert message in out.partition(f" test_{number}_ _")[2].partition("\n____")[0]


def test_it_can_be_left_out(suite):
    text = "def test_one(): ..."
    assert "1 passed" in suite(text, "-p", "no:initpolicy")
    out = suite(text, "-p", "no:initpolicy", "--markers")
    assert "initpolicy(policy" not in out
    assert "@pytest.mark.initpolicy(policy, *, model=None" in suite(text, "--markers")


def test_pytest_starts_without_what_the_marker_needs(tmp_path):
    """In a suite without the marker, nothing is imported that is large."""
    (tmp_path / "test_one.py").write_text(
        "import sys\n"
        "def test_one():\n"
        "    large = ('torch', 'numpy', 'numba', 'pydantic', 'hypothesis', 'typer', 'rich')\n"
        "    assert 'initpolicy.testing.plugin' in sys.modules\n"
        "    assert [name for name in large if name in sys.modules] == []\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:hypothesispytest"]
    done = subprocess.run(
        [*command, "-p", "no:anyio", str(tmp_path)], cwd=tmp_path, capture_output=True, text=True
    )
    assert "1 passed" in done.stdout, done.stdout
