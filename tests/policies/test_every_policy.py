"""What holds for each policy that ships."""

from __future__ import annotations

from pathlib import Path

import pytest

import initpolicy
from initpolicy.policy import builtins

FOLDER = Path(__file__).parents[2] / "policies"
FILES = sorted(FOLDER.glob("**/*.toml"))
DOCUMENTATION = (Path(__file__).parents[2] / "docs" / "policies.md").read_text(encoding="utf-8")


def test_they_are_found_by_name() -> None:
    names = {"conv-xavier", "densenet", "mlp", "resnet", "torch", "vgg19-encoder", "vit"}
    assert names <= set(builtins())
    assert set(builtins()) == {
        file.relative_to(FOLDER).with_suffix("").as_posix() for file in FILES
    }


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_says_what_it_is(file: Path) -> None:
    first, _, rest = file.read_text(encoding="utf-8").partition("\n")
    assert first.startswith("#:schema ")
    schema = file.parent / first.removeprefix("#:schema ")
    assert schema.name == "policy.schema.json"
    assert schema.parent.resolve() == FOLDER
    assert "format = 1" in rest
    policy = initpolicy.load(file)
    assert policy.title
    assert policy.source


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_is_documented(file: Path) -> None:
    name = file.relative_to(FOLDER).with_suffix("").as_posix()
    assert f"\n## {name}\n" in DOCUMENTATION
