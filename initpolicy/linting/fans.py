"""Fans that count what a convolution does not sum over."""

from __future__ import annotations

from collections.abc import Iterator

from initpolicy.linting.subject import KAIMING, LECUN, Subject, is_norm

_AVERAGED = frozenset(["xavier_normal", "xavier_uniform"])


def fans_of_groups(subject: Subject) -> Iterator[str]:
    """A fan_out that counts all groups of a convolution.

    An input of a grouped convolution reaches the outputs of its own group alone, while the shape
    of the weight gives a `fan_out` of all groups together: the values begin too small, by the
    square root of the number of groups. It is told only where it is known what follows the layer,
    and that is no normalization.
    """
    convolution = subject.convolution
    if convolution is None or convolution.groups == 1 or subject.is_transposed:
        return
    mode = _mode(subject)
    if mode in (None, "fan_in") or not subject.following or _is_normalized(subject):
        return
    yield (
        f"{subject.winner.initializer} divides by {mode} of all {convolution.groups} groups; "
        'write `chunks` = the number of groups, or mode = "fan_in" where it has one'
    )


def fans_of_transposed(subject: Subject) -> Iterator[str]:
    """A transposed convolution read as an ordinary one.

    The weight of a transposed convolution has its inputs in dimension 0, and the fans are read as
    of torch's other weights, whose dimension 0 is the outputs: `fan_in` and `fan_out` are
    exchanged. It is not told where a normalization follows.
    """
    convolution = subject.convolution
    if convolution is None or not subject.is_transposed:
        return
    if convolution.in_channels == convolution.out_channels and convolution.groups == 1:
        return
    mode = _mode(subject)
    if mode is None or (mode != "fan_in" and mode != "fan_out" and convolution.groups == 1):
        return
    if not _is_normalized(subject):
        yield f'{subject.winner.initializer} takes {mode} for the other; write layout = "i o k*"'


def _mode(subject: Subject) -> str | None:
    """The fan that an initializer divides by, unless it was told how to read the shape."""
    call = subject.call
    if call is None or {"layout", "chunks"} & set(dict(call.common)):
        return None
    if call.fn in _AVERAGED:
        return "fan_avg"
    if call.fn in LECUN:
        return "fan_in"
    if call.fn in KAIMING or call.fn == "variance_scaling":
        return str(subject.argument("mode"))
    return None


def _is_normalized(subject: Subject) -> bool:
    following = subject.following
    return bool(following) and all(map(is_norm, following))
