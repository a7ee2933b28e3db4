"""Are the values of a model, or of a checkpoint, those of a lock?"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from initpolicy import digests
from initpolicy.field import DRAW_VERSION, Stream
from initpolicy.laws import Law, LawError
from initpolicy.laws.from_file import files_of
from initpolicy.lockfile.document import Entry, Lock, natural
from initpolicy.lockfile.drawing import blocks, digest_of, stream_of
from initpolicy.lockfile.exact import has_digest, is_known
from initpolicy.problems import InitPolicyError, Problem, listed
from initpolicy.resolve import read_model

_ROUNDING = 256  # units of precision by which, in norm, values of another machine may differ
_MOST = 0.03  # of their norm, which for narrow types is less

What = Literal["missing", "unknown", "shape", "dtype", "values"]


@dataclass(frozen=True)
class ValueDifference:
    """One tensor that is not what the lock says."""

    name: str
    what: What
    told: str = ""
    """In which way, in words; for values that differ, empty if they differ in bits."""
    law: str = ""
    """What its values should follow."""
    rule: str = ""
    """The rule that decided on it, with its file and line."""

    def to_json(self) -> dict[str, Any]:
        """The difference as plain data."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class ValueDifferences:
    """All tensors that are not what a lock says; none if `same` is true."""

    differences: tuple[ValueDifference, ...]
    compared: int
    """How many tensors' values were compared."""
    unjudged: int
    """How many the lock does not decide on: left as they are, recomputed or calibrated."""

    @property
    def same(self) -> bool:
        """Whether every tensor is as the lock says."""
        return not self.differences

    def to_json(self) -> dict[str, Any]:
        """The differences as plain data."""
        return {
            "same": self.same,
            "compared": self.compared,
            "unjudged": self.unjudged,
            "differences": [one.to_json() for one in self.differences],
        }


def check_values(
    lock: Lock, source: digests.Source, *, threads: int | None = None
) -> ValueDifferences:
    """Compare the values of a model, a state dict or a checkpoint with those that a lock says.

    They are compared by their digests; where machines agree up to rounding only, and in a lock
    without digests, the values are drawn again. Tensors that the lock leaves as they are, that are
    recomputed or calibrated, and, in a lock without digests, that come from files are not judged:
    no file is read because a lock names it. Raises `InitPolicyError` if there are no values to
    compare.
    """
    return _Checking(lock, source, threads).differences()


class _Checking:
    """One call of `check_values`."""

    def __init__(self, lock: Lock, source: digests.Source, threads: int | None) -> None:
        self.lock = lock
        self.threads = threads
        self.is_model = isinstance(source, nn.Module)
        self.found: list[ValueDifference] = []
        self.compared = 0
        self.unjudged = 0
        self.tensors: dict[str, Tensor] = {}
        self.others: dict[str, str] = {}
        if isinstance(source, nn.Module):
            slots = read_model(source).slots
            empty = [slot.name for slot in slots if slot.lazy or any(map(_is_empty, slot.tensors))]
            if empty:
                told = f"{len(empty)} tensors have no values to compare: {listed(empty)}"
                hint = "give them some first, with `initpolicy.apply`"
                raise InitPolicyError(Problem("IP533", told, hint))
            for slot in slots:
                self.tensors[slot.name] = slot.values().detach()
                self.others |= {site.name: slot.name for site in slot.sites}
        else:
            self.tensors = digests.tensors_of(source)
            self.others = {name: name for name in self.tensors}

    def differences(self) -> ValueDifferences:
        met: set[str] = set()
        exact: dict[str, tuple[Entry, Tensor]] = {}
        for entry in self.lock:
            known = (entry.name, *entry.aliases)
            names = [self.others[name] for name in known if name in self.others]
            met.update(names)
            if not names:
                if self.is_model or entry.persistent:
                    self.note(entry, "missing")
                continue
            tensor = self.tensors[names[0]]
            if not self.alike(entry, tensor):
                continue
            law = entry.law
            if law is None or entry.steps or not is_known(law) or _reads(entry, law):
                self.unjudged += 1
                continue
            self.compared += 1
            if has_digest(entry):
                exact[entry.name] = entry, tensor
            elif not self.near(entry, tensor):
                self.note(entry, "values", "more than rounding explains")
        self.compare(exact)
        for name in self.tensors.keys() - met:
            self.found.append(ValueDifference(name, "unknown"))
        self.found.sort(key=lambda one: (natural(one.name), one.name))
        return ValueDifferences(tuple(self.found), self.compared, self.unjudged)

    def note(self, entry: Entry, what: What, told: str = "") -> None:
        places = ", ".join(map(str, self.lock.rules.get(entry.rule or "", ())))
        rule = f"{entry.rule or ''} {places}".strip()
        law = str(entry.law) if what == "values" else ""
        self.found.append(ValueDifference(entry.name, what, told, law, rule))

    def alike(self, entry: Entry, tensor: Tensor) -> bool:
        """Whether shape and type are as in the lock, which is noted if not."""
        shape, dtype = tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")
        if shape != entry.shape:
            self.note(entry, "shape", f"{list(entry.shape)} in the lock, {list(shape)} here")
        elif dtype != entry.dtype:
            self.note(entry, "dtype", f"{entry.dtype} in the lock, {dtype} here")
        return (shape, dtype) == (entry.shape, entry.dtype)

    def compare(self, exact: Mapping[str, tuple[Entry, Tensor]]) -> None:
        """Compare the digests of tensors with the lock's."""
        held = {name: tensor for name, (_, tensor) in exact.items()}
        found = digests.of_tensors(held, threads=self.threads)
        for name, (entry, _) in exact.items():
            expected = entry.digest
            if expected is None:
                law, stream = self.drawable(entry)
                expected = digest_of(law, entry.shape, entry.dtype, stream, self.threads)
            if found[name] != expected:
                self.note(entry, "values")

    def drawable(self, entry: Entry) -> tuple[Law, Stream]:
        """The law of a tensor and its stream; raises if it cannot be drawn here."""
        assert entry.law is not None
        if self.lock.draws != DRAW_VERSION:
            raise InitPolicyError(
                Problem(
                    "IP533",
                    f"the values of {entry.name} must be drawn again, and the lock has draws "
                    f"{self.lock.draws} where this program makes {DRAW_VERSION}",
                    "write the lock anew with `initpolicy lock MODEL POLICY`",
                )
            )
        try:
            entry.law.validate(entry.shape, getattr(torch, entry.dtype))
        except LawError as error:
            told = f"the lock has a law that {entry.name} cannot follow: {error.message}"
            raise InitPolicyError(Problem("IP533", told, error.hint)) from error
        return entry.law, stream_of(self.lock.seed, entry.stream or entry.name, entry.law)

    def near(self, entry: Entry, tensor: Tensor) -> bool:
        """Whether values are those of a law that machines agree on up to rounding."""
        law, stream = self.drawable(entry)
        values = _whole(tensor).reshape(-1)
        wide = torch.complex128 if values.is_complex() else torch.float64
        squares = [0.0, 0.0]
        for part in blocks(law, entry.shape, entry.dtype, stream, self.threads):
            ((start, stop),) = part.runs
            expected = part.tensor.to(wide)
            off = values[start:stop].to(expected.device).to(wide) - expected
            squares[0] += float(off.abs().square().sum())
            squares[1] += float(expected.abs().square().sum())
        distance, size = map(math.sqrt, squares)
        return distance <= min(_ROUNDING * torch.finfo(tensor.dtype).eps, _MOST) * size


def _is_empty(tensor: Tensor) -> bool:
    return tensor.is_meta


def _reads(entry: Entry, law: Law) -> bool:
    """Whether values could be known only by reading a file that the lock names."""
    return entry.digest is None and any(True for _ in files_of(law))


def _whole(tensor: Tensor) -> Tensor:
    """A tensor with all its elements, gathered if processes hold parts of it."""
    gather: Callable[[], Tensor] | None = getattr(tensor, "full_tensor", None)
    return tensor if gather is None else gather()
