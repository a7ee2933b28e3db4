"""Build the model that a command line names: `package.module:callable` or `file.py:callable`."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import random
import sys
import traceback
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, nullcontext
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import torch
from torch import nn

from initpolicy.model.errors import ModelError

Found = TypeVar("Found")

_FORMS = "write package.module:callable or path/to/file.py:callable"


def load_model(spec: str, kwargs: Mapping[str, Any], *, device: str | None = None) -> nn.Module:
    """Build the model that `spec` names.

    `spec` is a module or a file, a colon, and the name in it of a class, a function or a finished
    model, dotted if need be. A file is run anew each time, with its folder importable; a module
    may also lie in the current folder. The generators of random numbers (Python's, numpy's and
    torch's) are as before afterwards, whatever the user's code drew or seeded.

    The callable gets `kwargs` by name and runs under `torch.device(device)`, if that is given; a
    finished model takes no arguments and stays where it is. Raises `ModelError` if `spec` names no
    model or building it failed.

    >>> load_model("torch.nn:Linear", {"in_features": 3, "out_features": 2}, device="meta").weight
    Parameter containing:
    tensor(..., device='meta', size=(2, 3), requires_grad=True)
    """
    return _found(spec, lambda module, path: _build(spec, module, path, kwargs, device))


def load_attribute(spec: str) -> object:
    """Find what `spec` names, and do not call it; raises `ModelError` if there is no such thing.

    >>> load_attribute("math:sqrt")(9)
    3.0
    """
    return _found(spec, lambda module, path: _attribute(spec, module, path))


def _found(spec: str, use: Callable[[ModuleType, str], Found]) -> Found:
    source, colon, path = spec.rpartition(":")
    if not colon or not source or not path:
        raise ModelError(f"model {spec!r} names no callable", hint=_no_callable_hint(spec))
    with random_state_kept():
        if source.endswith(".py"):
            file = Path(source).expanduser().resolve()
            if not file.is_file():
                raise ModelError(
                    f"{source} is not a file",
                    hint=_suggestion(file.name, [found.name for found in file.parent.glob("*.py")]),
                )
            with _importable(file.parent):
                return use(_run_file(source, file), path)
        with _importable(Path.cwd()):
            return use(_import(source), path)


def _no_callable_hint(spec: str) -> str:
    spec = spec.strip(":")
    return f"write {spec}:NAME, NAME being a function or class in it" if spec else _FORMS


def _suggestion(wrong: str, names: list[str]) -> str:
    close = get_close_matches(wrong, names, n=3)
    return f"did you mean {' or '.join(close)}?" if close else ""


@contextmanager
def _importable(folder: Path) -> Generator[None, None, None]:
    entry = str(folder)
    sys.path.insert(0, entry)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        # The user's code may have taken it out itself.
        if entry in sys.path:
            sys.path.remove(entry)


@contextmanager
def random_state_kept() -> Generator[None, None, None]:
    """Leave the generators of random numbers (Python's, numpy's and torch's) as they are."""
    numpy: Any = sys.modules.get("numpy")
    python_state = random.getstate()
    numpy_state = numpy.random.get_state() if numpy else None
    torch_state = torch.get_rng_state()
    cuda_states = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    try:
        yield
    finally:
        random.setstate(python_state)
        if numpy:
            numpy.random.set_state(numpy_state)
        torch.set_rng_state(torch_state)
        if cuda_states:
            torch.cuda.set_rng_state_all(cuda_states)


def _run_file(source: str, file: Path) -> ModuleType:
    # Without anything of the folder's name in it, so that classes are called the same everywhere.
    name = f"_initpolicy_model_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(name)
    sys.modules[name] = module  # dataclasses and pickle look a class's module up there
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        if before is None:
            del sys.modules[name]
        else:
            sys.modules[name] = before
        hint = ""
        if isinstance(error, ImportError) and "relative import" in str(error):
            hint = "a file inside a package is named as package.module:callable"
        raise ModelError(f"{source} cannot be run: {_told(error)}", hint=hint) from error
    return module


def _import(source: str) -> ModuleType:
    try:
        return importlib.import_module(source)
    except (Exception, SystemExit) as error:
        # A module that is missing itself, not one that it imports.
        if isinstance(error, ModuleNotFoundError) and f"{source}.".startswith(f"{error.name}."):
            hint = f"is its package installed, or its folder the current one? {_FORMS}"
            if Path(f"{source}.py").is_file():
                hint = f"there is a file of that name: write {source}.py:callable"
            raise ModelError(f"there is no module {source!r}", hint=hint) from error
        raise ModelError(f"module {source!r} cannot be imported: {_told(error)}") from error


def _told(error: BaseException) -> str:
    """Describe the error, with the line of the user's own file at which it arose."""
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, SyntaxError) and error.filename is not None:
        return (
            f"{Path(error.filename).name}, line {error.lineno}: {type(error).__name__}: {error.msg}"
        )
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename not in (__file__, importlib.__file__)
        and not frame.filename.startswith("<frozen importlib")
    ]
    if not frames:
        return text
    own = [frame for frame in frames if frame.filename == frames[0].filename][-1]
    return f"{Path(own.filename).name}, line {own.lineno}: {text}"


def _build(
    spec: str, module: ModuleType, path: str, kwargs: Mapping[str, Any], device: str | None
) -> nn.Module:
    target = _attribute(spec, module, path)
    if isinstance(target, nn.Module):
        if kwargs:
            raise ModelError(
                f"{spec} is a finished {type(target).__name__} and takes no arguments, "
                f"but was given {', '.join(kwargs)}",
                hint="name the class or function that builds it",
            )
        return target
    if not callable(target):
        raise ModelError(
            f"{spec} is {_a(target)}, not a callable or a torch.nn.Module",
            hint=_FORMS,
        )
    model = _call(spec, target, kwargs, device)
    if not isinstance(model, nn.Module):
        raise ModelError(
            f"{spec} built {_a(model)}, not a torch.nn.Module",
            hint="name a callable that returns the model alone",
        )
    return model


def _attribute(spec: str, module: ModuleType, path: str) -> object:
    value: object = module
    for name in path.split("."):
        try:
            value = getattr(value, name)
        except AttributeError as error:
            names = [known for known in dir(value) if not known.startswith("_")]
            raise ModelError(
                f"{spec} does not exist: {_place(value)} has no {name!r}",
                hint=_suggestion(name, names) or _defined(value),
            ) from error
    return value


def _place(value: object) -> str:
    if isinstance(value, ModuleType):
        return Path(value.__file__ or "").name or value.__name__
    return f"class {value.__qualname__}" if isinstance(value, type) else _a(value)


def _defined(value: object) -> str:
    """List what a file defines itself, for want of a name close to the wanted one."""
    if not isinstance(value, ModuleType):
        return ""
    names = [
        name
        for name, found in vars(value).items()
        if not name.startswith("_")
        and (isinstance(found, nn.Module) or getattr(found, "__module__", "") == value.__name__)
    ]
    return f"it defines {', '.join(names)}" if 0 < len(names) <= 12 else ""


def _a(value: object) -> str:
    if value is None:
        return "None"
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def _call(
    spec: str, function: Callable[..., object], kwargs: Mapping[str, Any], device: str | None
) -> object:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some builtins have none
        signature = None
    if signature is not None:
        try:
            signature.bind(**kwargs)
        except TypeError as error:
            raise ModelError(
                f"{spec} cannot be called so: {error}",
                hint=f"its arguments are {signature}",
            ) from error
    try:
        with nullcontext() if device is None else torch.device(device):
            return function(**kwargs)
    except (Exception, SystemExit) as error:
        hint = ""
        if device == "meta":
            hint = "it ran on the meta device, where tensors have a shape and no values"
        raise ModelError(f"{spec} failed: {_told(error)}", hint=hint) from error
