"""The checks. Each is a function whose docstring is the title and the beginning of its page."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from initpolicy.linting import activations, allowing, bounds, depth, fans, overwriting, symmetry
from initpolicy.linting.subject import Subject

Look = Callable[[Subject], Iterator[str]]


@dataclass(frozen=True)
class Check:
    """One check: looks at one tensor, and says what is probably wrong with how it begins."""

    code: str
    look: Look

    @property
    def title(self) -> str:
        """What is wrong, in a few words."""
        line = self._text.partition("\n")[0].removesuffix(".")
        return line[0].lower() + line[1:]

    @property
    def page(self) -> str:
        """What the page of the code begins with."""
        return f"# {self.code}: {self.title}\n\n{self._text.partition(chr(10))[2].strip()}\n"

    @property
    def _text(self) -> str:
        return inspect.getdoc(self.look) or ""


# The last one is about what the others have found.
CHECKS = (
    Check("IP701", symmetry.units_alike),
    Check("IP702", bounds.bounds_far_out),
    Check("IP703", symmetry.gain_of_zero),
    Check("IP704", activations.rectifier_without_gain),
    Check("IP705", activations.rectifier_gain_elsewhere),
    Check("IP706", activations.selu_without_lecun),
    Check("IP707", fans.fans_of_groups),
    Check("IP708", fans.fans_of_transposed),
    Check("IP709", overwriting.bias_before_norm),
    Check("IP710", bounds.spread_lost),
    Check("IP711", overwriting.padding_overwritten),
    Check("IP712", overwriting.repeated_stream),
    Check("IP713", overwriting.pretrained_overwritten),
    Check("IP714", depth.branches_not_scaled),
    Check("IP715", allowing.allowed_for_nothing),
)
