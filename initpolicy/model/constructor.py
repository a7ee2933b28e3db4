"""Buffers that the constructor of their module makes, made again.

What a constructor computes (rotary frequencies, tables of indices) is lost when a model is built
on the meta device. Here the module's class is called once more on the CPU, with the arguments
that the module keeps as attributes of the same names, and its own buffers are taken.
"""

from __future__ import annotations

import copy
import inspect
import random
import sys
import threading
from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.nn.parameter import Parameter

from initpolicy.model.computed import class_of
from initpolicy.model.errors import ModelError
from initpolicy.model.registered import declared, tensors

_SEEDS = (0, 1)  # what is the same after both was not drawn


def constructor_arguments(module: nn.Module) -> dict[str, Any]:
    """Give the arguments with which the class of `module` would make it again.

    They are the attributes that are called as the parameters of the constructor are; `device` is
    the CPU. Raises `ModelError` that names every required parameter that is no such attribute.

    >>> constructor_arguments(nn.BatchNorm1d(3, eps=0.1, affine=False, device="meta"))
    {'num_features': 3, 'eps': 0.1, 'momentum': 0.1, 'affine': False, 'track_running_stats': True,
     'device': device(type='cpu')}
    """
    kind = class_of(module)
    arguments: dict[str, Any] = {}
    lacking: list[str] = []
    for parameter in _parameters(kind):
        name = parameter.name
        if name == "device":
            arguments[name] = torch.device("cpu")
            continue
        value = getattr(module, name, inspect.Parameter.empty)
        # What the module itself made under the name is not what it was given.
        if value is not inspect.Parameter.empty and not _is_made(module, name, value):
            arguments[name] = value
        elif parameter.default is inspect.Parameter.empty:
            lacking.append(name)
    if lacking:
        shown = ", ".join(f"`{name}`" for name in lacking)
        raise ModelError(
            f"{kind.__name__} cannot be built again: its constructor asks for {shown}, and the "
            f"module keeps no attribute of {'that name' if len(lacking) == 1 else 'those names'}",
            hint='write a `formula` or an initializer for the buffer, or "keep"',
        )
    return arguments


def rebuilt(module: nn.Module, *, seed: int = 0) -> nn.Module:
    """Build a module of the same class with the same arguments on the CPU.

    The buffers have memory; its parameters may be on the meta device, for they are not wanted. It
    is built with float32 as the default type, whatever the default device, and every global
    generator is left as it was; inside, they begin at `seed`. The arguments are copies. Raises
    `ModelError` if the class cannot be called so, or makes other attributes of the arguments.
    """
    return _built(module, seed)[0]


def recomputed(module: nn.Module, names: Collection[str]) -> dict[str, Tensor]:
    """Give the values that the constructor of `module` makes of its buffers of these names.

    They are on the CPU and in the types of the present buffers, which may be on the meta device:
    floating-point values are those of float32, rounded once. The module is built once for all of
    them. Raises `ModelError` if it cannot be built, has other buffers then, or draws them.

    >>> norm = nn.BatchNorm1d(2, device="meta", dtype=torch.bfloat16)
    >>> recomputed(norm, ["running_var"])
    {'running_var': tensor([1., 1.], dtype=torch.bfloat16)}
    """
    first, drew = _built(module, _SEEDS[0])
    values = _buffers_of(first, module, names)
    if drew:
        again = _buffers_of(_built(module, _SEEDS[1])[0], module, names)
        drawn = [name for name in names if not _same(values[name], again[name])]
        if drawn:
            raise ModelError(
                f"the constructor of {class_of(module).__name__} draws "
                f"{', '.join(f'`{name}`' for name in drawn)} at random",
                hint="write an initializer for it, so that it follows from the seed",
            )
    return values


def _parameters(kind: type[nn.Module]) -> list[inspect.Parameter]:
    """The parameters of a constructor; if it hands on `**kwargs`, also those of its bases."""
    found: dict[str, inspect.Parameter] = {}
    for base in kind.__mro__:
        own = cast("Callable[..., None] | None", vars(base).get("__init__"))
        if own is None:
            continue
        open_ended = False
        for parameter in list(inspect.signature(own).parameters.values())[1:]:
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                open_ended = True
            elif parameter.kind is not inspect.Parameter.VAR_POSITIONAL:
                found.setdefault(parameter.name, parameter)
        if not open_ended or base is nn.Module:
            break
    return list(found.values())


def _is_made(module: nn.Module, name: str, value: object) -> bool:
    return isinstance(value, Tensor | nn.Module) or name in declared(module)


def _built(module: nn.Module, seed: int) -> tuple[nn.Module, bool]:
    """Build it, and tell whether anything was drawn."""
    kind = class_of(module)
    given = constructor_arguments(module)
    wanted = {name for name, declared_as in declared(module).items() if declared_as == "buffer"}
    try:
        made, drew = _called(kind, given, seed, with_parameters=False)
        if any(value.is_meta for name, value in _own(made).items() if name in wanted):
            made, drew = _called(kind, given, seed, with_parameters=True)  # it reads a parameter
    except Exception:
        try:
            made, drew = _called(kind, given, seed, with_parameters=True)
        except Exception as error:  # whatever a user's constructor raises
            shown = ", ".join(given) or "nothing"
            raise ModelError(
                f"{kind.__name__} cannot be built again from its attributes ({shown}): "
                f"{type(error).__name__}: {error}",
                hint='write a `formula` or an initializer for the buffer, or "keep"',
            ) from error
    for name, value in given.items():
        found = getattr(made, name, value)
        if _is_plain(value) and _is_plain(found) and found != value:
            raise ModelError(
                f"{kind.__name__} cannot be built again: given `{name}` as {value!r}, it keeps "
                f"{found!r}, so the attribute is not the argument",
                hint='write a `formula` or an initializer for the buffer, or "keep"',
            )
    return made, drew


def _called(
    kind: type[nn.Module], given: Mapping[str, Any], seed: int, *, with_parameters: bool
) -> tuple[nn.Module, bool]:
    arguments = {name: _copied(value) for name, value in given.items()}
    with ExitStack() as stack:
        moved = stack.enter_context(generators(seed))
        stack.enter_context(_float32())
        stack.enter_context(torch.device("cpu"))
        stack.enter_context(torch.no_grad())
        if not with_parameters:
            stack.enter_context(_parameters_without_memory())
        made = kind(**arguments)
        return made, moved()


def _copied(value: Any) -> Any:
    """Copy an argument, which a constructor may change; what cannot be copied is handed on."""
    try:
        return copy.deepcopy(value)
    except Exception:  # process groups, meshes, open files
        return value


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_is_plain, cast("list[object]", value)))
    return isinstance(value, bool | int | float | str)


def _own(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor for name, tensor, kind, _ in tensors(module) if kind == "buffer"}


def _buffers_of(made: nn.Module, module: nn.Module, names: Collection[str]) -> dict[str, Tensor]:
    kind = class_of(module).__name__
    there, present = _own(made), _own(module)
    values: dict[str, Tensor] = {}
    wrong: list[str] = []
    for name in names:
        before, value = present[name], there.get(name)
        if value is None:
            wrong.append(f"it makes no buffer `{name}`")
        elif value.is_meta:
            wrong.append(f"it makes `{name}` on the meta device")
        elif value.shape != before.shape:
            wrong.append(f"`{name}` comes out as {tuple(value.shape)}, not {tuple(before.shape)}")
        elif value.dtype != before.dtype and not (
            (value.is_floating_point() and before.is_floating_point())
            or (value.is_complex() and before.is_complex())
        ):
            wrong.append(f"`{name}` comes out as {value.dtype}, not {before.dtype}")
        else:
            values[name] = value.detach().to(before.dtype)
    if wrong:
        raise ModelError(
            f"{kind}, built again from its attributes: {'; '.join(wrong)}",
            hint='write a `formula` or an initializer for the buffer, or "keep"',
        )
    return values


def _same(first: Tensor, second: Tensor) -> bool:
    return torch.equal(first.nan_to_num(), second.nan_to_num())


@contextmanager
def _float32() -> Generator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def _parameters_without_memory() -> Generator[None]:
    """Put every parameter that this thread registers on the meta device."""
    thread = threading.get_ident()

    def without_memory(module: nn.Module, name: str, parameter: Parameter) -> Parameter | None:
        if threading.get_ident() != thread or parameter.is_meta or type(parameter) is not Parameter:
            return None
        return Parameter(torch.empty_like(parameter, device="meta"), parameter.requires_grad)

    handle = register_module_parameter_registration_hook(cast("Any", without_memory))
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def generators(seed: int) -> Generator[Callable[[], bool]]:
    """Seed every global generator for a while, and leave them as they were.

    Gives a function that tells whether one of those on the CPU has moved.
    """
    cuda = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    python = random.getstate()
    numpy: Any = sys.modules.get("numpy")
    numpy_random = None if numpy is None else numpy.random
    numpy_state = None if numpy_random is None else numpy_random.get_state()
    with torch.random.fork_rng(devices=cuda):  # pyright: ignore[reportUnknownMemberType]
        try:
            torch.default_generator.manual_seed(seed)
            for device in cuda:
                with torch.cuda.device(device):
                    torch.cuda.manual_seed(seed)
            random.seed(seed)
            begin = torch.get_rng_state(), random.getstate()
            before: Any = None
            if numpy_random is not None:
                numpy_random.seed(seed)
                before = numpy_random.get_state()

            def moved() -> bool:
                if not torch.equal(begin[0], torch.get_rng_state()):
                    return True
                if random.getstate() != begin[1]:
                    return True
                if numpy_random is None:
                    return False
                now = numpy_random.get_state()
                return now[2] != before[2] or bool((now[1] != before[1]).any())

            yield moved
        finally:
            random.setstate(python)
            if numpy_random is not None:
                numpy_random.set_state(numpy_state)
