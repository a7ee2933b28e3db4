"""Object files are made anew when anything that machine code depends on says something else."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import torch

from initpolicy import field
from initpolicy.field import objects

FOLDER = Path(objects.__file__).parent


def imported(name):
    """The modules of this folder that a module takes something from."""
    nodes = ast.walk(ast.parse((FOLDER / f"{name}.py").read_text()))
    return {
        node.module.removeprefix("initpolicy.field.")
        for node in nodes
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("initpolicy.field.")
    }


def compiled():
    """The modules that numba compiles, which all import it."""
    found, left = set(), {"kernels"}
    while left:
        name = left.pop()
        if "\nimport numba\n" in (text := (FOLDER / f"{name}.py").read_text()) or (
            "\nfrom numba." in text
        ):
            found.add(name)
            left |= imported(name) - found
    return found


def test_all_that_is_compiled_and_what_it_takes_is_looked_at(monkeypatch):
    read, looked_at = Path.read_bytes, set()

    def noted(path):
        looked_at.add(path.name)
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", noted)
    objects._maker.__wrapped__()
    names = compiled()
    assert {"kernels", "values", "lanes", "philox", "intrinsics", "sum_kernel"} <= names
    needed = names.union(*map(imported, names))
    assert looked_at >= {f"{name}.py" for name in needed} | {"quantile.npy"}


DRAW = """
import torch
from initpolicy import field
tensor = torch.empty(3)
field.fill([field.Fill(tensor, field.stream(7, "layer.weight"), field.NormalDraw(0.0, 0.5))])
print(tensor.tolist())
"""


def test_kernels_are_compiled_also_where_numba_is_told_to_compile_nothing(tmp_path):
    """As those tell it who measure how much of their own functions their tests reach."""
    tensor = torch.empty(3)
    field.fill([field.Fill(tensor, field.stream(7, "layer.weight"), field.NormalDraw(0.0, 0.5))])
    own = {"INITPOLICY_CACHE_DIR": str(tmp_path), "NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run(
        [sys.executable, "-c", DRAW], env=os.environ | own, capture_output=True, text=True
    )
    assert done.stdout == f"{tensor.tolist()}\n", done.stderr
