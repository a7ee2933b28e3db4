"""Compiled kernels on disk: a process that finds them loads machine code, and not the compiler.

An object file is made once for a machine: for its processor, and for what compiled it. It goes to
this package's `__pycache__`, or to the user's cache directory where that cannot be written, or to
`INITPOLICY_CACHE_DIR` alone if that is set; where nothing can be written, each process compiles
for itself.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import uuid4

Number = int | float
Kernel = Callable[..., int]

_lock = threading.Lock()
_engines: list[Any] = []  # machine code lives as long as what loaded it


def load(entry: str, arguments: tuple[str, ...]) -> Kernel:
    """Return a kernel that takes these arguments, compiled now if it never was.

    The types are those of numba, with a star behind what is passed by address.
    """
    kernel = _loaded.get((entry, arguments))
    if kernel is None:
        with _lock:
            kernel = _loaded.get((entry, arguments)) or _load(entry, arguments)
            _loaded[entry, arguments] = kernel
    return kernel


_loaded: dict[tuple[str, tuple[str, ...]], Kernel] = {}


def _load(entry: str, arguments: tuple[str, ...]) -> Kernel:
    file = f"{entry}-{hashlib.sha256(repr((arguments, _maker())).encode()).hexdigest()[:32]}.o"
    found = next(filter(None, (_read(folder / file) for folder in folders())), None)
    if found is None:
        found = _compiled(entry, arguments)
        for folder in folders():
            if _write(folder / file, *found):
                break
    return _link(*found, arguments)


def _compiled(entry: str, arguments: tuple[str, ...]) -> tuple[str, bytes]:
    """Compile a kernel, also where `NUMBA_DISABLE_JIT` leaves others' functions to Python."""
    config: Any = import_module("numba.core.config")
    disabled, config.DISABLE_JIT = config.DISABLE_JIT, 0
    try:
        from initpolicy.field.kernels import machine_code

        return machine_code(entry, arguments)
    finally:
        config.DISABLE_JIT = disabled


@cache
def _maker() -> tuple[str, ...]:
    """Everything that the machine code depends on."""
    llvm: Any = import_module("llvmlite.binding")

    here = Path(__file__).parent
    compiled = "kernels", "philox", "values", "lanes", "intrinsics", "sum_kernel"
    names = *compiled, "mixing", "quantile", "draws"  # of which they take constants
    sources = b"".join((here / f"{name}.py").read_bytes() for name in names)
    sources += (here / "quantile.npy").read_bytes()
    return (
        hashlib.sha256(sources).hexdigest(),
        version("numba"),
        version("llvmlite"),
        sys.platform,
        llvm.get_host_cpu_name(),
        llvm.get_host_cpu_features().flatten(),
    )


def folders() -> Iterator[Path]:
    """Where object files may be, best first."""
    if "INITPOLICY_CACHE_DIR" in os.environ:
        yield Path(os.environ["INITPOLICY_CACHE_DIR"])
        return
    yield Path(__file__).parent / "__pycache__"
    with suppress(RuntimeError):  # there is no home
        home = Path.home()
        if sys.platform == "win32":
            local = Path(os.environ.get("LOCALAPPDATA", home / "AppData" / "Local"))
        elif sys.platform == "darwin":
            local = home / "Library" / "Caches"
        else:
            local = Path(os.environ.get("XDG_CACHE_HOME", home / ".cache"))
        yield local / "initpolicy"


def _read(path: Path) -> tuple[str, bytes] | None:
    """Read a symbol and an object file, unless the file is missing or damaged."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        head, _, code = path.read_bytes().partition(b"\n")
        told = json.loads(head)
        if told["sha256"] == hashlib.sha256(code).hexdigest():
            return str(told["symbol"]), code
    return None


def _write(path: Path, symbol: str, code: bytes) -> bool:
    """Write a symbol and an object file, whole or not at all; say whether it could be done."""
    head = json.dumps({"symbol": symbol, "sha256": hashlib.sha256(code).hexdigest()})
    own = path.with_suffix(f".{uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        own.write_bytes(head.encode() + b"\n" + code)
        os.replace(own, path)
    except OSError:
        with suppress(OSError):
            own.unlink(missing_ok=True)
        return False
    return True


_C_TYPES: dict[str, Any] = {
    "uint8": ctypes.c_uint8,
    "int32": ctypes.c_int32,
    "uint32": ctypes.c_uint32,
    "int64": ctypes.c_int64,
    "uint64": ctypes.c_uint64,
    "float32": ctypes.c_float,
}


def _link(symbol: str, code: bytes, arguments: tuple[str, ...]) -> Kernel:
    """Make machine code callable."""
    llvm: Any = import_module("llvmlite.binding")

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _engines.append(engine)
    types = [ctypes.c_void_p if name.endswith("*") else _C_TYPES[name] for name in arguments]
    # Compiled functions first take places for a result and for an exception; they have neither.
    signature = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, *types)
    function = signature(engine.get_function_address(symbol))
    nowhere = (ctypes.c_void_p * 2)()

    def kernel(*values: Any) -> int:
        return function(ctypes.byref(nowhere), ctypes.byref(nowhere, 8), *values)

    return kernel
