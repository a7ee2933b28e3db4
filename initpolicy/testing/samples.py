"""Whether what is drawn follows the law: by torch in any form, and in large samples."""

# The stubs of torch and numpy leave these functions without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from initpolicy import field
from initpolicy.laws import Drawn, LawError
from initpolicy.testing import statistics
from initpolicy.testing.draws import Broken, empty, in_bounds, in_support, named, same
from initpolicy.testing.tensors import Case, Shape

WHOLE = 1 << 7
"""How many elements a tensor has at least of which a sample is made, if the law allows it."""

STATISTICS = 6
"""How many statistics one case is judged by: three of the field's draws, and three of torch's."""


def torch_draws(case: Case) -> Iterator[Broken]:
    """Torch's draws follow the same law, and are the same after the same seed."""
    tensors = [empty(case), empty(case)]
    for tensor in tensors:
        torch.manual_seed(0)
        with torch.no_grad():
            case.law.write_torch(tensor)
    if not same(*tensors):
        yield Broken(
            "IP562",
            f"`write_torch` of {named(case.law)} gives two tensors after one `torch.manual_seed`",
            "draw with torch's generator alone",
        )
        return
    for found in in_bounds(case.law, tensors[0], "values of `write_torch`"):
        yield Broken("IP562", found.message, "correct `write_torch`, or the law")


def samples(case: Case, alpha: float) -> Iterator[Broken]:
    """Moments and distribution are those of what is drawn, by the field and by torch.

    Each statistic has at most `alpha` of false alarms. Laws whose elements are not alike have no
    moments, and are judged by `check` alone.
    """
    law, moments = case.law, case.law.moments
    if moments is None or moments.variance == 0:
        if moments is not None and law.support[0] < law.support[1] and isinstance(law, Drawn):
            yield Broken(
                "IP563",
                f"`moments` of {named(law)} say that nothing varies, and its support that it may",
                "correct `moments`, or `support`",
            )
        return
    if not statistics.resolved(moments):
        return
    if isinstance(law, Drawn):
        for message in statistics.wrong_moments(law, moments):
            yield Broken("IP563", f"{named(law)}: {message}", "correct `moments`, or `cdf`")
            return
    shape = _sample_shape(case)
    if shape is None:
        return
    streams = [field.stream(2, str(group)) for group in range(statistics.GROUPS)]
    groups = torch.empty(statistics.GROUPS, *shape)
    with torch.no_grad():
        pairs = list(zip(groups, streams, strict=True))
        field.fill([fill for tensor, stream in pairs for fill in law.fills(tensor, stream)])
        for tensor, stream in pairs:
            law.write(tensor, stream)
    if found := list(in_support(law, groups, "draws")):
        yield from found
        return
    for message in statistics.contradictions(law, moments, _matrix(groups), alpha):
        yield Broken("IP563", f"{named(law)}: {message}", "correct `moments`, or what is drawn")
        return
    torch.manual_seed(2)
    with torch.no_grad():
        # Elements that are drawn alike and alone are as good in one tensor, and much faster.
        for tensor in (groups.view(-1, *shape[1:]),) if isinstance(law, Drawn) else groups:
            law.write_torch(tensor)
    for message in statistics.contradictions(law, moments, _matrix(groups), alpha):
        message = f"{named(law)}, drawn by `write_torch`: {message}"
        yield Broken("IP562", message, "correct `write_torch`, or the law")
        return


def _matrix(groups: Tensor) -> Any:
    return groups.reshape(len(groups), -1).numpy()


def _sample_shape(case: Case) -> Shape | None:
    """Give a shape like the case's, with more rows if the law allows them; None if none fits."""
    shape = case.shape
    numel = max(1, torch.Size(shape).numel())
    larger = [(-(-WHOLE // numel) * max(1, shape[0]), *shape[1:])] if shape else [(WHOLE,)]
    for candidate in (*larger, shape):
        try:
            case.law.validate(candidate, torch.float32)
        except LawError:
            continue
        if torch.Size(candidate).numel():
            return candidate
    return None
