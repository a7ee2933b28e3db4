"""Every initializer has a page that says what its docstring says, with an example that runs."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import initpolicy
from initpolicy import initializers
from initpolicy.policy import parse

DOCS = Path(__file__).parent.parent / "docs"
PAGES = DOCS / "initializers"

_spec = importlib.util.spec_from_file_location("make_initializers", DOCS / "make_initializers.py")
make = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = make
_spec.loader.exec_module(make)


def test_every_initializer_has_a_page_and_no_other_page_is_there():
    expected = {f"{name}.md" for name in initializers.names()} | {"README.md"}
    assert {file.name for file in PAGES.glob("*.md")} == expected


@pytest.mark.parametrize("name", initializers.names())
def test_a_page_is_up_to_date(name):
    assert (PAGES / f"{name}.md").read_text(encoding="utf-8") == make.page(name), "run `make docs`"


def test_the_index_is_up_to_date():
    assert (PAGES / "README.md").read_text(encoding="utf-8") == make.index(), "run `make docs`"


@pytest.mark.parametrize("name", initializers.names())
def test_the_example_of_a_page_runs(name, tmp_path, monkeypatch):
    save_file({"fc.weight": torch.zeros(32, 48)}, tmp_path / "net.safetensors")
    monkeypatch.chdir(tmp_path)
    (text,) = re.findall(r"```toml\n(.*?)```", (PAGES / f"{name}.md").read_text(), re.S)
    example = make.EXAMPLES[name]
    plan = initpolicy.plan(example.make(), parse(text))
    assert f'"{name}"' in text
    law = str(plan[example.tensor].law).replace(f"{tmp_path}/", "")
    assert law == make.law_text(name)
    assert plan.warnings == ()


@pytest.mark.parametrize("file", sorted(PAGES.glob("*.md")), ids=lambda file: file.stem)
def test_links_and_pictures_of_a_page_are_there(file):
    for target in re.findall(r"\]\(([^)#:]+)", file.read_text(encoding="utf-8")):
        assert (PAGES / target).exists(), target


def test_every_picture_is_small_and_belongs_to_a_page():
    pictures = list(PAGES.glob("*.svg"))
    assert {file.stem for file in pictures} == set(initializers.names()) - {"from_file"}
    assert max(file.stat().st_size for file in pictures) < 60_000
