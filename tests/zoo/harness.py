"""Compare a policy with the constructor whose initialization it describes.

A library's model is built afresh several times, with torch's generator at another seed each time.
The policy fills as many models of the same kind, of which every tensor that it fills was NaN
before. Then each parameter and each buffer is judged:

- An element that is equal in all models of the library is *fixed*: there the policy must give the
  same value, and a fixed value too. All others are *random*.
- Random elements of a tensor are compared with the policy's in distribution (Kolmogorov and
  Smirnov), mean (z), bounds (how many of one side lie beyond all of the other) and second moment
  (F, with the degrees of freedom that the kurtosis leaves), the last in twelve blocks along
  dimension 0 as well, and with the moments that the policy's law says (chi-squared). Tensors of
  few elements are standardised by their laws and pooled with the others of the same rule.
- What laws say for certain (bounds, orthogonality, rows of zeros) must hold for the library's
  values, by `Law.check`.
- Tensors of a model that are copies of each other in the library must be copies here.

Each comparison alarms at p < 1e-12, and a zoo makes fewer than a million, so that the chance of
one false alarm among all is below 1e-6. Seeds are fixed; the results repeat.

Models are built while `torch.empty` is made to give NaN: what a constructor left unset is seen.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

import initpolicy
from initpolicy.laws import TruncatedNormal

JOINT_RATE = 1e-6
MOST_COMPARISONS = 1_000_000
THRESHOLD = JOINT_RATE / MOST_COMPARISONS

ALONE = 2000  # tensors with fewer random values are pooled
ENOUGH = 50  # values that a pool must have
SAMPLE = 30_000  # random values of a tensor that are compared, of each model
FAR = 8  # standard deviations that no draw of a normal law reaches
BLOCKS = 12
BLOCK = 300  # values that a block must have

Array = Any


@dataclass(frozen=True)
class Architecture:
    """A model of a library, and the policy that says how it begins."""

    name: str
    build: Callable[[], nn.Module]
    policy: str
    vars: Mapping[str, float | str] | None = None
    copies: int = 2
    """How many models of each side; more where a law has few values."""
    unset: Mapping[str, str] = field(default_factory=dict)
    """Globs of tensors that are not compared, and what the library does there."""
    remark: str = ""
    quick: bool = False
    """Whether it belongs to the part of the zoo that `make test` runs."""

    def __str__(self) -> str:
        return self.name


@dataclass
class Comparison:
    """What was found for one architecture."""

    name: str
    policy: str
    tensors: int = 0
    parameters: int = 0
    equal: int = 0
    """Tensors with fixed values only, all equal."""
    rounded: int = 0
    """Tensors with fixed values only, equal but for the last bits."""
    random: int = 0
    kept: int = 0
    unset: int = 0
    outliers: int = 0
    """Values of the library that lie at the bounds of a truncated normal law, far out."""
    values: int = 0
    """Random values that were compared, of both sides."""
    comparisons: int = 0
    smallest: float = 1.0
    remark: str = ""
    failures: list[str] = field(default_factory=list)
    failing: set[str] = field(default_factory=set)

    def to_json(self) -> dict[str, Any]:
        data = asdict(self)
        del data["failing"]
        return data

    def fail(self, name: str, told: str) -> None:
        if name not in self.failing:  # one reason is enough
            self.failing.add(name)
            self.failures.append(f"{name}: {told}")

    def judge(self, name: str, what: str, p: float) -> None:
        self.comparisons += 1
        self.smallest = min(self.smallest, float(p))
        if not p >= THRESHOLD:
            self.fail(name, f"{what} (p = {p:.1e})")


def compare(architecture: Architecture) -> Comparison:
    """Build the models, apply the policy, and judge every tensor."""
    result = Comparison(architecture.name, architecture.policy, remark=architecture.remark)
    theirs = [tensors(built(architecture, seed)) for seed in range(architecture.copies)]
    ours: list[dict[str, Tensor]] = []
    for seed in range(architecture.copies):
        model = built(architecture, 1000)  # equal models: what is kept is not drawn anew
        plan = initpolicy.plan(model, architecture.policy, seed=seed, vars=architecture.vars)
        poison(model, plan)
        initpolicy.apply(model, plan)
        ours.append(tensors(model))
        result.parameters = sum(parameter.numel() for parameter in model.parameters())
    result.failures += [f"warning: {warning}" for warning in plan.warnings]
    judge(theirs, ours, plan, result, architecture.unset)
    return result


def judge(
    theirs: list[dict[str, Tensor]],
    ours: list[dict[str, Tensor]],
    plan: initpolicy.Plan,
    result: Comparison,
    unset: Mapping[str, str] | None = None,
) -> None:
    """Judge tensors by name; findings go to `result`."""
    result.tensors = len(theirs[0])
    pools: dict[str, list[tuple[Array, Array]]] = defaultdict(list)
    compared: list[str] = []
    for name in theirs[0]:
        decision = plan.by_name.get(name)
        original = is_original(name, plan)
        if any(fnmatchcase(name, glob) for glob in unset or {}):
            result.unset += 1
            if any(bool(torch.isnan(comparable(model[name])).any()) for model in ours):
                result.fail(name, "the policy leaves it unset")
            continue
        if original:  # what its law makes of it is no law of its own
            decision = None
        elif decision is not None and decision.winner is None:
            result.fail(name, "no rule covers it")
            continue
        their, our = ([flat(model[name]) for model in side] for side in (theirs, ours))
        shapes = [(side[0][name].shape, side[0][name].dtype) for side in (theirs, ours)]
        if shapes[0] != shapes[1]:
            result.fail(name, f"{shapes[1]} here, {shapes[0]} in the library")
            continue
        if any(has_nan(values) for values in their):
            result.fail(name, "the library leaves values at torch.empty")
            continue
        if any(has_nan(values) for values in our):
            result.fail(name, "the policy leaves values as they were")
            continue
        free = compare_fixed(name, their, our, result)  # True where values are random
        if decision is not None and not decision.gives_values:
            result.kept += 1
            if free is None:
                result.equal -= 1
            else:
                result.fail(name, f"kept, and {described(their)}")
            continue
        if free is None:
            continue
        if not original:  # one of them may be a copy of what is computed from it
            compared.append(name)
        result.random += 1
        law = None if decision is None else decision.law
        if law is not None:
            for told in law.check(theirs[0][name]):
                result.fail(name, f"the library's values are not {law}: {told}")
            compare_orthogonality(name, theirs[0][name], ours[0][name], result)
        places = sample(free)
        x, y = (
            np.stack([values[places] for values in side]).astype(float) for side in (their, our)
        )
        result.values += x.size + y.size
        moments = None if law is None else law.moments
        if moments is None or not moments.variance > 0:
            mean, std = float(x.mean()), float(x.std()) or 1.0
        else:
            mean, std = moments.mean, moments.std
        x, y = (x - mean) / std, (y - mean) / std
        if isinstance(law, TruncatedNormal):
            # The inverse error function of -1 is infinite, and then clamped to a bound.
            wild = (abs(x) > FAR) & ((x == (law.low - mean) / std) | (x == (law.high - mean) / std))
            result.outliers += int(wild.sum())
            columns = ~wild.any(axis=0)
            x, y, places = x[:, columns], y[:, columns], places[columns]
        if x.size >= ALONE or moments is None:
            if moments is not None:
                compare_with_law(name, x, result)
            compare_random(name, x, y, result)
            compare_blocks(name, places * BLOCKS // free.size, x, y, result)
            if name in result.failing:
                result.failures[-1] += f"; {law} here, {described(their)}"
        else:
            winner = None if decision is None else decision.winner
            pools[str(winner or name)].append((x.ravel(), y.ravel()))
    for rule, parts in pools.items():
        x, y = (np.concatenate(side) for side in zip(*parts, strict=True))
        if x.size < ENOUGH:
            result.fail(rule, f"{x.size} values are too few to judge: build more copies")
        compare_random(f"{rule} ({len(parts)} tensors)", x, y, result)
    compare_copies(theirs[0], ours[0], compared, result)


def compare_fixed(
    name: str, their: list[Array], our: list[Array], result: Comparison
) -> Array | None:
    """Compare fixed values; tell which are random on either side, None if none is."""
    fixed, ours_fixed = (
        np.logical_and.reduce([values == side[0] for values in side[1:]]) for side in (their, our)
    )
    if fixed.all():
        if not ours_fixed.all():
            result.fail(name, f"random here, {described(their)}")
        elif np.array_equal(their[0], our[0]):
            result.equal += 1
        elif np.allclose(their[0], our[0], rtol=1e-6, atol=1e-6 * np.abs(their[0]).max()):
            # Libraries compute tables in float32: what counts is the last bits of large values.
            result.rounded += 1
        else:
            result.fail(name, f"{described(our, 'here')}, {described(their)}")
        return None
    if ours_fixed.all():
        result.fail(name, f"{described(our, 'here')}, {described(their)}")
        return None
    if fixed.sum() > chance(fixed.size) or ours_fixed.sum() > chance(fixed.size):
        # Some of it is fixed: rows of zeros, or a constant part. Which, must agree.
        if (fixed != ours_fixed).sum() > chance(fixed.size):
            result.fail(
                name, f"{int(ours_fixed.sum())} values are fixed here, {int(fixed.sum())} there"
            )
        both = fixed & ours_fixed
        if not np.array_equal(their[0][both], our[0][both]):
            result.fail(name, "its fixed values differ")
        return ~both
    return np.ones_like(fixed)


def sample(free: Array) -> Array:
    """Give places among those that are marked, in order: all, or as many as are enough."""
    places = np.flatnonzero(free)
    if places.size > SAMPLE:
        places = np.sort(np.random.default_rng(0).choice(places, SAMPLE, replace=False))
    return places


def chance(size: int) -> float:
    """Give how many of so many draws may be equal in two models: floats are not infinitely many."""
    return 2 + size * 1e-5


def compare_random(name: str, x: Array, y: Array, result: Comparison) -> None:
    """Compare standardised values of the library, x, with those of the policy, y."""
    result.judge(name, "the distributions differ", ks(x.ravel(), y.ravel()))
    spread = math.sqrt((x.var() + y.var()) / 2 * (1 / x.size + 1 / y.size))
    z = (x.mean() - y.mean()) / spread
    result.judge(name, "the means differ", 2 * stats.norm.sf(abs(z)))
    for told, side, other in (("beyond", y, x), ("short of", x, y)):
        outside = max(int((side > other.max()).sum()), int((side < other.min()).sum()))
        # The chance that so many of all values, in any order, are the first of one side.
        p = 4 * (side.size / (side.size + other.size)) ** outside
        result.judge(name, f"the policy's bounds are {told} the library's", min(1.0, p))
    compare_scale(name, x, y, result)


def compare_scale(name: str, x: Array, y: Array, result: Comparison, where: str = "") -> None:
    excess = kurtosis(np.concatenate([x, y])) - 1
    ratio = float((y**2).mean() / (x**2).mean())
    ratio_law = stats.f(2 * y.size / excess, 2 * x.size / excess)
    p = 2 * min(ratio_law.cdf(ratio), ratio_law.sf(ratio))
    result.judge(name, f"{where}the scale is {math.sqrt(ratio):.4f} of the library's", p)


def compare_with_law(name: str, x: Array, result: Comparison) -> None:
    """Compare the library's values, standardised by the policy's law, with 0 and 1."""
    mean = abs(x.mean()) * math.sqrt(x.size)
    result.judge(name, f"the library's mean is {x.mean():.4f} std", 2 * stats.norm.sf(mean))
    freedom = 2 * x.size / (kurtosis(x) - 1)
    second = float((x**2).mean())
    p = 2 * min(stats.chi2.cdf(second * freedom, freedom), stats.chi2.sf(second * freedom, freedom))
    result.judge(name, f"the library's std is {math.sqrt(second):.4f} of the law's", p)


def compare_blocks(name: str, blocks: Array, x: Array, y: Array, result: Comparison) -> None:
    """Compare the scale of equal parts, so that none can stand in for another."""
    for number in range(BLOCKS):
        columns = np.flatnonzero(blocks == number)
        if columns.size * len(x) >= BLOCK:
            told = f"in part {number + 1} of {BLOCKS} "
            compare_scale(name, x[:, columns], y[:, columns], result, told)


def compare_orthogonality(name: str, their: Tensor, our: Tensor, result: Comparison) -> None:
    """Tell a matrix that is orthogonal in the library from one of independent draws."""
    if their.ndim < 2 or min(their.shape[0], their[0].numel()) < 6:
        return  # a few vectors may happen to be orthogonal
    if is_orthogonal(their) != is_orthogonal(our):
        result.fail(name, "it is orthogonal on one side only")


def is_orthogonal(tensor: Tensor) -> bool:
    matrix = tensor.detach().double().flatten(1)
    if matrix.shape[0] > matrix.shape[1]:
        matrix = matrix.T
    matrix = matrix[:64]
    gram = matrix @ matrix.T
    diagonal = gram.diagonal().clone()
    return bool((gram - diagonal.diag()).abs().max() < 1e-4 * diagonal.max())


def compare_copies(
    theirs: Mapping[str, Tensor], ours: Mapping[str, Tensor], names: list[str], result: Comparison
) -> None:
    """Compare which random tensors begin as copies of others in the same model."""
    there, here = (copies(model, names) for model in (theirs, ours))
    for group in sorted(there - here):
        result.fail(group[0], f"the library begins {len(group)} tensors as copies, such as it")
    for group in sorted(here - there):
        result.fail(group[0], f"the policy begins {len(group)} tensors as copies, such as it")


def copies(model: Mapping[str, Tensor], names: list[str]) -> set[tuple[str, ...]]:
    groups: dict[tuple[Any, ...], list[str]] = defaultdict(list)
    for name in names:
        values = np.ascontiguousarray(comparable(model[name]).cpu().numpy())
        if values.size > 1:
            groups[(values.shape, hashlib.sha256(values.tobytes()).digest())].append(name)
    return {tuple(group) for group in groups.values() if len(group) > 1}


def ks(x: Array, y: Array) -> float:
    exact = max(x.size, y.size) < 500
    return float(stats.ks_2samp(x, y, method="exact" if exact else "asymp").pvalue)


def kurtosis(x: Array) -> float:
    """The fourth moment over the square of the second; at least that of a uniform law."""
    return max(1.8, float((x**4).mean() / (x**2).mean() ** 2))


def flat(tensor: Tensor) -> Array:
    return comparable(tensor).flatten().cpu().numpy()


def has_nan(values: Array) -> bool:
    return values.dtype.kind == "f" and bool(np.isnan(values.sum()))


def comparable(tensor: Tensor) -> Tensor:
    """Give the values in a type that numpy has."""
    values = tensor.detach()
    if values.is_complex():
        values = torch.view_as_real(values)
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values


def described(models: list[Array], where: str = "in the library") -> str:
    """Measure a law."""
    values = np.stack([values[:SAMPLE] for values in models]).astype(float)
    if (values == values.flat[0]).all():
        return f"{values.flat[0]:.6g} {where}"
    if (values == values[0]).all():
        shown = ", ".join(f"{value:.6g}" for value in values[0][:4])
        return f"fixed values {shown}... {where}"
    values = values.ravel()
    return (
        f"mean {values.mean():.4g}, std {values.std():.5g}, kurtosis {kurtosis(values):.2f}, "
        f"from {values.min():.4g} to {values.max():.4g} {where}"
    )


def tensors(model: nn.Module) -> dict[str, Tensor]:
    """Give parameters, buffers, and what parametrizations compute from them."""
    computed = {
        f"{module_name}.{name}": getattr(module, name).detach()
        for module_name, module in model.named_modules()
        if is_parametrized(module)
        for name in module.parametrizations
    }
    return {**dict(model.named_parameters()), **dict(model.named_buffers()), **computed}


def is_original(name: str, plan: initpolicy.Plan) -> bool:
    """Whether a tensor is one that a parametrization computes another from, which is filled."""
    owner, _, rest = name.partition(".parametrizations.")
    decision = plan.by_name.get(f"{owner}.{rest.partition('.')[0]}") if rest else None
    return decision is not None and decision.gives_values


def poison(model: nn.Module, plan: initpolicy.Plan) -> None:
    """Make every tensor that the plan fills what no initializer gives."""
    filled = {name for name, decision in plan.by_name.items() if decision.gives_values}
    with torch.no_grad():
        for name, tensor in tensors(model).items():
            if name in filled or name not in plan.by_name or is_original(name, plan):
                floating = tensor.is_floating_point() or tensor.is_complex()
                tensor.fill_(math.nan if floating else tensor.dtype is torch.bool or 119)


def built(architecture: Architecture, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    with empty_is_nan():
        return architecture.build()


@contextmanager
def empty_is_nan() -> Iterator[None]:
    """Let `torch.empty` give NaN, and the largest number of a type without NaN."""
    before = torch.are_deterministic_algorithms_enabled()
    warn = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn)
