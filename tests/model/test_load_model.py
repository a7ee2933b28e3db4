from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy
import pytest
import torch
from torch import nn

from initpolicy.model import ModelError, load_model

Write = Callable[[str, str], str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a file into an empty current folder."""
    monkeypatch.chdir(tmp_path)

    def write_file(name: str, text: str) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))
        return name

    return write_file


def failure(spec: str, kwargs: dict[str, Any] | None = None, **options: Any) -> tuple[str, str]:
    with pytest.raises(ModelError) as caught:
        load_model(spec, kwargs or {}, **options)
    return str(caught.value), caught.value.hint


NET = """
    from torch import nn

    SIZE = 3

    def net(width=2):
        return nn.Linear(width, SIZE)

    class Net(nn.Linear):
        def __init__(self):
            super().__init__(1, 1)

        @classmethod
        def wide(cls):
            return cls()

    finished = nn.Linear(4, 4)
"""


def test_a_function_a_class_a_method_and_a_finished_model(write: Write) -> None:
    write("net.py", NET)
    assert load_model("net.py:net", {}).weight.shape == (3, 2)
    assert load_model("net.py:net", {"width": 7}).weight.shape == (3, 7)
    assert type(load_model("net.py:Net", {})).__name__ == "Net"
    assert type(load_model("net.py:Net.wide", {})).__name__ == "Net"
    assert load_model("net.py:finished", {}).weight.shape == (4, 4)


def test_any_folder(write: Write, tmp_path: Path) -> None:
    write("models/net.py", NET)
    assert isinstance(load_model("models/net.py:net", {}), nn.Linear)
    assert isinstance(load_model(f"{tmp_path}/models/net.py:net", {}), nn.Linear)


def test_meta(write: Write) -> None:
    write("net.py", NET)
    assert load_model("net.py:net", {}, device="meta").weight.is_meta
    assert not load_model("net.py:net", {}).weight.is_meta
    assert not load_model("net.py:finished", {}, device="meta").weight.is_meta


def test_a_file_is_run_anew_and_under_a_name_without_its_folder(write: Write) -> None:
    write("net.py", NET)
    first = load_model("net.py:Net", {})
    write("net.py", NET.replace("super().__init__(1, 1)", "super().__init__(123, 1)"))
    second = load_model("net.py:Net", {})
    assert (first.in_features, second.in_features) == (1, 123)
    assert type(first).__module__ == type(second).__module__ == "_initpolicy_model_net"
    assert "net" not in sys.modules


def test_a_file_imports_its_neighbours_also_late(write: Write) -> None:
    write("folder/neighbour_of_a_model.py", "WIDTH = 5")
    write("folder/late_neighbour_of_a_model.py", "HEIGHT = 6")
    write(
        "folder/net.py",
        """
        from torch import nn
        from neighbour_of_a_model import WIDTH

        def net():
            from late_neighbour_of_a_model import HEIGHT
            return nn.Linear(WIDTH, HEIGHT)
        """,
    )
    before = list(sys.path)
    assert load_model("folder/net.py:net", {}).weight.shape == (6, 5)
    assert sys.path == before


def test_a_module_of_the_current_folder(write: Write) -> None:
    write("package_of_models/__init__.py", "")
    write("package_of_models/net.py", NET)
    before = list(sys.path)
    assert isinstance(load_model("package_of_models.net:net", {}), nn.Linear)
    assert sys.path == before


def test_dataclasses_in_a_file(write: Write) -> None:
    write(
        "net.py",
        """
        from __future__ import annotations
        from dataclasses import dataclass
        from typing import ClassVar
        from torch import nn

        @dataclass
        class Config:
            kind: ClassVar[str] = "config"
            width: int = 2

        def net():
            return nn.Linear(Config().width, 1)
        """,
    )
    assert load_model("net.py:net", {}).in_features == 2


@pytest.mark.parametrize("name", ["draw", "fail"])
def test_generators_are_as_before(write: Write, name: str) -> None:
    write(
        "net.py",
        """
        import random, numpy, torch
        torch.manual_seed(1); random.seed(2); numpy.random.seed(3)

        def draw():
            torch.rand(3); random.random(); numpy.random.rand()
            return torch.nn.Linear(2, 2)

        def fail():
            draw()
            raise ValueError
        """,
    )
    torch.manual_seed(0)
    before = torch.get_rng_state(), random.getstate(), numpy.random.get_state()[1].tolist()
    if name == "fail":
        failure("net.py:fail")
    else:
        load_model("net.py:draw", {})
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert numpy.random.get_state()[1].tolist() == before[2]


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        ("net.py", "write net.py:NAME, NAME being a function or class in it"),
        ("net.py:", "write net.py:NAME, NAME being a function or class in it"),
        ("", "write package.module:callable or path/to/file.py:callable"),
    ],
)
def test_no_callable(spec: str, hint: str) -> None:
    assert failure(spec) == (f"model {spec!r} names no callable", hint)


def test_no_file(write: Write) -> None:
    write("models/densenet.py", "")
    assert failure("models/densnet.py:net") == (
        "models/densnet.py is not a file",
        "did you mean densenet.py?",
    )
    assert failure("nowhere/x.py:net") == ("nowhere/x.py is not a file", "")


def test_no_module(write: Write) -> None:
    message, hint = failure("no_such_package.net:net")
    assert message == "there is no module 'no_such_package.net'"
    assert hint == (
        "is its package installed, or its folder the current one? "
        "write package.module:callable or path/to/file.py:callable"
    )
    assert failure("torch.nnn:Linear")[0] == "there is no module 'torch.nnn'"
    write("models/net.py", NET)
    assert failure("models/net:net") == (
        "there is no module 'models/net'",
        "there is a file of that name: write models/net.py:callable",
    )


def test_a_module_that_lacks_another(write: Write) -> None:
    write("lacking_module.py", "\nimport no_such_package")
    assert failure("lacking_module:net")[0] == (
        "module 'lacking_module' cannot be imported: lacking_module.py, line 2: "
        "ModuleNotFoundError: No module named 'no_such_package'"
    )


def test_an_error_in_the_file(write: Write) -> None:
    write("broken.py", "WIDTH = 3\nHEIGHT = WIDHT\n")
    assert failure("broken.py:net")[0] == (
        "broken.py cannot be run: broken.py, line 2: NameError: name 'WIDHT' is not defined"
    )
    assert "_initpolicy_model_broken" not in sys.modules
    write("unclosed.py", "\n\nWIDTH = (\n")
    assert failure("unclosed.py:net")[0] == (
        "unclosed.py cannot be run: unclosed.py, line 3: SyntaxError: '(' was never closed"
    )
    write("script.py", "raise SystemExit\n")
    assert failure("script.py:net")[0] == "script.py cannot be run: script.py, line 1: SystemExit"


def test_a_file_of_a_package(write: Write) -> None:
    write("package/net.py", "from . import other\n")
    assert failure("package/net.py:net") == (
        "package/net.py cannot be run: net.py, line 1: ImportError: attempted relative import "
        "with no known parent package",
        "a file inside a package is named as package.module:callable",
    )


def test_a_file_that_lacks_a_package(write: Write) -> None:
    write("net.py", "import no_such_package\n")
    assert failure("net.py:net") == (
        "net.py cannot be run: net.py, line 1: ModuleNotFoundError: "
        "No module named 'no_such_package'",
        "",
    )


def test_no_such_name(write: Write) -> None:
    write("net.py", NET)
    assert failure("net.py:nett") == (
        "net.py:nett does not exist: net.py has no 'nett'",
        "did you mean net?",
    )
    assert failure("net.py:zzz")[1] == "it defines net, Net, finished"
    assert failure("net.py:Net.wode") == (
        "net.py:Net.wode does not exist: class Net has no 'wode'",
        "did you mean wide?",
    )


def test_not_a_model(write: Write) -> None:
    write("net.py", NET + "\n    def pair():\n        return net(), None\n")
    assert failure("net.py:SIZE") == (
        "net.py:SIZE is an int, not a callable or a torch.nn.Module",
        "write package.module:callable or path/to/file.py:callable",
    )
    assert failure("net.py:pair") == (
        "net.py:pair built a tuple, not a torch.nn.Module",
        "name a callable that returns the model alone",
    )
    write("none.py", "def net(): pass")
    assert failure("none.py:net")[0] == "none.py:net built None, not a torch.nn.Module"


def test_wrong_arguments(write: Write) -> None:
    write("net.py", NET)
    assert failure("net.py:net", {"widht": 3}) == (
        "net.py:net cannot be called so: got an unexpected keyword argument 'widht'",
        "its arguments are (width=2)",
    )
    assert failure("net.py:finished", {"width": 3}) == (
        "net.py:finished is a finished Linear and takes no arguments, but was given width",
        "name the class or function that builds it",
    )


def test_a_call_that_fails(write: Write) -> None:
    write(
        "net.py",
        """\
        import torch

        def net(width):
            return torch.nn.Linear(width, [])

        def drop_path():
            return [rate.item() for rate in torch.linspace(0, 1, 3)]
        """,
    )
    message, hint = failure("net.py:net", {"width": 3})
    assert message.startswith("net.py:net failed: net.py, line 4: TypeError: empty()")
    assert hint == ""
    message, hint = failure("net.py:drop_path", device="meta")
    assert message.startswith(
        "net.py:drop_path failed: net.py, line 7: RuntimeError: Tensor.item()"
    )
    assert hint == "it ran on the meta device, where tensors have a shape and no values"
