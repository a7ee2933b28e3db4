"""What users import, and what importing it costs."""

import importlib
import pkgutil
import subprocess
import sys

HEAVY = ["torch", "numpy", "numba", "triton", "pydantic", "typer", "rich", "matplotlib", "scipy"]


def test_importing_initpolicy_imports_nothing_heavy():
    code = f"import sys, initpolicy; print([m for m in {HEAVY} if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


def test_planning_imports_no_compiler():
    code = (
        "import sys, torch, initpolicy\n"
        "initpolicy.plan(torch.nn.Linear(2, 2), 'torch')\n"
        "heavy = ['numba', 'triton', 'typer', 'rich', 'matplotlib', 'scipy']\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


def test_every_public_name_is_there_and_stays_what_it_is():
    import initpolicy

    for module in pkgutil.iter_modules(initpolicy.__path__, "initpolicy."):
        if module.name != "initpolicy.__main__":
            importlib.import_module(module.name)
    # Modules of the package must not take the place of functions of the same name.
    for name in initpolicy.__all__:
        assert callable(getattr(initpolicy, name)), name
