"""All architectures, library by library: every `zoo_*.py` beside this file."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from harness import Architecture

MODULES = [import_module(file.stem) for file in sorted(Path(__file__).parent.glob("zoo_*.py"))]
CATALOGUE: dict[str, list[Architecture]] = {
    module.TITLE: module.ARCHITECTURES for module in MODULES
}
NOTES: dict[str, str] = {module.TITLE: module.NOTE for module in MODULES if hasattr(module, "NOTE")}
