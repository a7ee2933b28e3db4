"""All architectures, library by library: every `zoo_*.py` beside this file."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from harness import Architecture

MODULES = sorted(file.stem for file in Path(__file__).parent.glob("zoo_*.py"))
CATALOGUE: dict[str, list[Architecture]] = {
    module.TITLE: module.ARCHITECTURES for module in map(import_module, MODULES)
}
