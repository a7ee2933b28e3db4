"""Values that something else takes back, replaces or repeats."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from initpolicy.laws import Constant, FromFile, ZeroRows
from initpolicy.linting.subject import Subject

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def bias_before_norm(subject: Subject) -> Iterator[str]:
    """A bias that a batch norm takes back.

    A batch norm follows the layer, and subtracts the mean, whatever the bias added to it: what it
    begins with does nothing. A bias of 0 is not told of, though the layer could do without.
    """
    if not isinstance(subject.module, _LAYERS) or subject.slot.local_name != "bias":
        return
    if isinstance(subject.law, Constant) and subject.law.value == 0:
        return
    following = subject.following
    if following and all(isinstance(step.module, _BATCH_NORMS) for step in following):
        yield f"{subject.law}, and a {type(following[0].module).__name__} follows; write `0`"


def padding_overwritten(subject: Subject) -> Iterator[str]:
    """A padding row that does not begin at zero.

    The constructor of an embedding with `padding_idx` sets that row to zero, it gets no gradient,
    and so it stays what it begins as: what the policy writes there is added to every padded input.
    """
    module, law = subject.module, subject.law
    if (
        not isinstance(module, nn.Embedding | nn.EmbeddingBag)
        or subject.slot.local_name != "weight"
    ):
        return
    row = module.padding_idx
    if row is None or isinstance(law, FromFile):
        return
    if isinstance(law, Constant) and law.value == 0:
        return
    if not (isinstance(law, ZeroRows) and row in law.rows):
        yield f'row {row} begins as {law}; write zero_index = "module.padding_idx"'


def repeated_stream(subject: Subject) -> Iterator[str]:
    """Two tensors with the same draws.

    Two tensors name one `stream`, and so have the same random numbers, scaled by their laws. That
    is for copies that must begin alike, and for laws of two tensors; elsewhere it makes layers
    that are not independent.
    """
    decision = subject.decision
    if not subject.law.is_drawn or subject.law.shares_stream:
        return
    others = subject.context.streams[decision.stream_name]
    if len(others) > 1 and decision.stream:
        other = others[0] if others[0] != decision.name else others[1]
        yield f'{other} has the stream "{decision.stream}" too; take it out, or say why in `allow`'


def pretrained_overwritten(subject: Subject) -> Iterator[str]:
    """Pretrained values that a later rule overwrites.

    One rule takes the tensor from a file, and a later one draws it anew: what was pretrained is
    lost.
    """
    if isinstance(subject.law, FromFile):
        return
    for loser in subject.decision.losers:
        if loser.initializer.partition("(")[0] == "from_file":
            yield (
                f"rule {loser.rule} at {loser.location} says {loser.initializer}; put it after "
                "this rule, or exclude the tensor here"
            )
            return
