"""Hypothesis strategies for what is about one tensor: shapes, types, initializers and laws."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from initpolicy import initializers as registered
from initpolicy import laws as known
from initpolicy.initializers import Initializer, InitializerError, Parameter
from initpolicy.laws import Law, LawError
from initpolicy.laws.base import name_of
from initpolicy.model.facts import Facts

Arguments = Mapping[str, Any]
Shape = tuple[int, ...]

_TYPES = {
    "floating": (torch.float32, torch.bfloat16, torch.float16, torch.float64),
    "complex": (torch.complex64, torch.complex128),
    "integer": (torch.int64, torch.int32, torch.uint8, torch.bool),
}


def shapes(
    *, min_dims: int = 0, max_dims: int = 5, max_side: int = 8, most: int = 512, empty: bool = True
) -> SearchStrategy[Shape]:
    """Shapes of tensors with at most `most` elements; matrices are the most frequent.

    With `empty` a few have no elements.
    """

    def of(dims: int) -> SearchStrategy[Shape]:
        sides = st.tuples(*[st.integers(1, max_side)] * dims)
        return sides.map(lambda sides: _within(sides, most))

    counts = [2, 1, 3, 4, 2, 0, 5, *range(6, max_dims + 1)]
    counts = [dims for dims in counts if min_dims <= dims <= max_dims]
    found = [of(dims) for dims in counts]
    if empty and max_dims:
        some = st.lists(st.integers(0, 3), min_size=max(1, min_dims), max_size=max_dims)
        found.append(some.map(lambda sides: (*sides[:-1], 0)))
    return st.one_of(found)


def _within(shape: Shape, most: int) -> Shape:
    """Make the longest sides smaller until there are not too many elements."""
    sides = list(shape)
    while torch.Size(sides).numel() > most:
        sides[sides.index(max(sides))] -= 1
    return tuple(sides)


def dtypes(
    *kinds: Literal["floating", "complex", "integer"],
) -> SearchStrategy[torch.dtype]:
    """Types of elements; floating-point ones if nothing is said."""
    return st.sampled_from([dtype for kind in kinds or ("floating",) for dtype in _TYPES[kind]])


def facts() -> SearchStrategy[Facts]:
    """What an initializer is told of a tensor."""
    return st.builds(Facts, shapes(), dtypes("floating", "complex").map(name_of))


@dataclass(frozen=True)
class Case:
    """An initializer, with arguments that it takes, and a tensor for which it has a law."""

    initializer: Initializer
    arguments: Arguments
    shape: Shape
    dtype: torch.dtype

    @property
    def facts(self) -> Facts:
        """What the initializer is told of the tensor."""
        return Facts(self.shape, name_of(self.dtype))

    @cached_property
    def law(self) -> Law:
        """The law; it is made once."""
        return self.lower()

    def lower(self) -> Law:
        """Make the law anew."""
        return self.initializer.lower(self.facts, self.arguments)

    @property
    def is_valid(self) -> bool:
        """Whether the initializer takes the arguments, and its law holds for such a tensor."""
        try:
            self.law.validate(self.shape, self.dtype)
        except (InitializerError, LawError):
            return False
        return True

    def __str__(self) -> str:
        given = ", ".join(f"{name}={value!s}" for name, value in self.arguments.items())
        dtype = name_of(self.dtype)
        return f"{self.initializer.name}({given}) for a tensor {list(self.shape)} {dtype}"


def initializers() -> SearchStrategy[Initializer]:
    """Every initializer that is registered, those of installed packages included."""
    return st.sampled_from(registered.names()).map(registered.get)


def cases(
    initializer: str | Initializer | None = None,
    *,
    arguments: Arguments | None = None,
    shapes: Sequence[Shape] | SearchStrategy[Shape] | None = None,
    dtypes: Sequence[torch.dtype] | SearchStrategy[torch.dtype] | None = None,
) -> SearchStrategy[Case]:
    """Initializers with arguments, shapes and types that fit together.

    `arguments` are values or strategies for some arguments; the others are drawn.
    """
    sizes = _strategy(shapes, _SHAPES)
    types = _strategy(dtypes, _DTYPES)

    def of(chosen: Initializer) -> SearchStrategy[Case]:
        return sizes.flatmap(
            lambda shape: st.builds(
                Case, st.just(chosen), _arguments(chosen, shape, arguments), st.just(shape), types
            )
        ).filter(lambda case: case.is_valid)

    if initializer is None:
        return initializers().flatmap(of)
    return of(registered.get(initializer) if isinstance(initializer, str) else initializer)


_SHAPES = shapes()
_DTYPES = dtypes("floating", "complex")


def _strategy(given: Any, default: SearchStrategy[Any]) -> SearchStrategy[Any]:
    if given is None:
        return default
    return given if _is_strategy(given) else st.sampled_from(list(given))


def _is_strategy(given: object) -> bool:
    return isinstance(given, SearchStrategy)


def arguments(initializer: str | Initializer, shape: Shape = (4, 4)) -> SearchStrategy[Arguments]:
    """Arguments that an initializer accepts for a tensor of float32 and this shape."""
    found = cases(initializer, shapes=[shape], dtypes=[torch.float32])
    return found.map(lambda case: case.arguments)


def _arguments(
    initializer: Initializer, shape: Shape, given: Arguments | None
) -> SearchStrategy[Arguments]:
    said: dict[str, SearchStrategy[Any]] = {
        name: value if _is_strategy(value) else st.just(value)
        for name, value in (given or {}).items()
    }
    special = _SPECIAL.get(initializer.name)
    if special is not None and not said and registered.get(initializer.name) == initializer:
        return special(shape)
    required: dict[str, SearchStrategy[Any]] = {}
    optional: dict[str, SearchStrategy[Any]] = {}
    for parameter in initializer.parameters:
        if parameter.name in said or parameter.required:
            required[parameter.name] = said.get(parameter.name, _values(parameter))
        else:
            optional[parameter.name] = _values(parameter)
    return st.fixed_dictionaries(required, optional=optional)


def _values(parameter: Parameter) -> SearchStrategy[Any]:
    if parameter.choices:
        return st.sampled_from(parameter.choices)
    if parameter.is_formula:
        return _FORMULAS
    if parameter.type is bool:
        return st.booleans()
    if parameter.type is int:
        return st.integers(1, 4)
    if parameter.type is float:
        return _POSITIVE | _NUMBERS
    if parameter.default is not None:
        return st.just(parameter.default)
    return st.text("abc", min_size=1, max_size=3)


_NUMBERS = st.floats(-4, 4, width=32).filter(lambda number: number == 0 or abs(number) > 1e-3)
_POSITIVE = st.floats(0.0078125, 4, width=32)
_FORMULAS = st.sampled_from(
    ["i", "-0.5", "z", "0.02 * z", "2 * u - 1", "i0 + 1", "10000 ** (-i / 64)", "u * z", "sqrt(i)"]
)


def _interval(shape: Shape) -> SearchStrategy[Arguments]:
    bounds = st.lists(_NUMBERS, min_size=2, max_size=2, unique=True).map(sorted)
    return bounds.map(lambda pair: {"a": pair[0], "b": pair[1]})


def _truncated(shape: Shape) -> SearchStrategy[Arguments]:
    sigmas = st.floats(0.5, 4, width=32)

    def absolute(drawn: tuple[float, float, float, float]) -> Arguments:
        mean, std, below, above = drawn
        return {"mean": mean, "std": std, "a": mean - std * below, "b": mean + std * above}

    in_sigma = st.fixed_dictionaries(
        {"cut": sigmas}, optional={"mean": _NUMBERS, "std": _POSITIVE, "corrected": st.booleans()}
    )
    return st.tuples(_NUMBERS, _POSITIVE, sigmas, sigmas).map(absolute) | in_sigma


def _sparse(shape: Shape) -> SearchStrategy[Arguments]:
    return st.fixed_dictionaries({"sparsity": st.floats(0, 1)}, optional={"std": _POSITIVE})


def _mimetic(shape: Shape) -> SearchStrategy[Arguments]:
    factors = {"alpha": _POSITIVE, "beta": _NUMBERS}
    by_head = {"part": st.sampled_from(["q", "k"]), "heads": st.integers(1, 2)}
    whole = {"part": st.sampled_from(["v", "proj"])}
    return st.fixed_dictionaries(factors | by_head) | st.fixed_dictionaries(factors | whole)


def _from_file(shape: Shape) -> SearchStrategy[Arguments]:
    return st.just({"path": str(_file(shape)), "key": "values"})


_SPECIAL: dict[str, Callable[[Shape], SearchStrategy[Arguments]]] = {
    "from_file": _from_file,
    "mimetic": _mimetic,
    "sparse": _sparse,
    "stratified_uniform": _interval,
    "trunc_normal": _truncated,
    "uniform": _interval,
}


@lru_cache(maxsize=1)
def _folder() -> TemporaryDirectory[str]:
    return TemporaryDirectory(prefix="initpolicy-")  # removed when the process ends


@lru_cache(maxsize=256)
def _file(shape: Shape) -> Path:
    """A file with one tensor of this shape, `values`, for initializers that read files."""
    from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType]

    file = Path(_folder().name) / f"{'x'.join(map(str, shape)) or 'scalar'}.safetensors"
    numel = torch.Size(shape).numel()
    save_file({"values": torch.linspace(-1.0, 1.0, numel).reshape(shape)}, file)
    return file


def laws(
    shape: Shape | None = None, dtype: torch.dtype = torch.float32, *, nested: bool = True
) -> SearchStrategy[Law]:
    """Laws of every kind but those that read files; with a shape, such as hold for the tensor.

    Without `nested` no law is made of other laws.
    """
    simple = st.one_of(
        st.builds(known.Constant, _NUMBERS),
        *(_built(law) for law in _DRAWN),
        *(st.builds(law, _NUMBERS) for law in _GAINED),
        st.builds(known.Dirac, st.integers(1, 3), _NUMBERS),
        st.builds(known.Sparse, st.floats(0, 1), _POSITIVE),
        st.builds(known.Stratified, _built(known.Uniform) | _built(known.Normal)),
        _mimetic((4, 4)).map(lambda given: known.Mimetic(**given)),
        st.builds(known.Formula, _FORMULAS, _NUMBERS),
    )
    found = simple
    if nested:
        rows = st.lists(st.integers(0, 3), min_size=1, max_size=2).map(tuple)
        found |= st.builds(known.ZeroRows, simple, rows)
        parts = st.lists(simple | st.none(), min_size=1, max_size=3).map(tuple)
        found |= st.builds(known.Stacked, parts)
        letters = st.sampled_from(["oi", "io", "bio", "oik", "oikk", "kkio"])
        found |= st.builds(known.Arranged, simple, letters)
    if shape is None:
        return found
    return found.filter(lambda law: _holds(law, shape, dtype))


def _built(law: type[Law]) -> SearchStrategy[Any]:
    if law is known.Normal:
        return st.builds(known.Normal, _NUMBERS, _POSITIVE)
    given = (_interval if law is known.Uniform else _truncated)((4,))
    name = "uniform" if law is known.Uniform else "trunc_normal"
    return given.map(lambda drawn: registered.get(name).lower(Facts((4,)), drawn))


_DRAWN = (known.Normal, known.Uniform, known.TruncatedNormal)
_GAINED: tuple[Any, ...] = (
    known.Orthogonal,
    known.DeltaOrthogonal,
    known.Eye,
    known.Identity,
    known.Hadamard,
    known.Dct,
    known.Fourier,
    known.Haar,
    known.Frame,
)


def _holds(law: Law, shape: Shape, dtype: torch.dtype) -> bool:
    with contextlib.suppress(LawError):
        law.validate(shape, dtype)
        return True
    return False


def read(initializer: str | Initializer | Callable[..., Law]) -> Initializer:
    """Find an initializer by name, or read it off a function; raises `InitializerError`."""
    if isinstance(initializer, str):
        return registered.get(initializer)
    if isinstance(initializer, Initializer):
        return initializer
    return Initializer.of(initializer, getattr(inspect.unwrap(initializer), "__name__", ""))
