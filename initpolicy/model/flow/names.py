"""Functions by what they do to the numbers that they take, under their plain names."""

from __future__ import annotations


def _named(text: str) -> frozenset[str]:
    return frozenset(text.split())


LOOKED_THROUGH = _named(
    """
    norm dropout droppath stochasticdepth pool identity flatten shuffle upsample interpolate pad
    fold permute rearrange reshape quantize
    """
)
"""Parts of the names of modules and functions that hand on what they take."""

PASSING = _named(
    """
    view viewas expand expandas broadcastto transpose swapaxes swapdims movedim moveaxis t adjoint
    squeeze unsqueeze ravel repeat repeatinterleave tile roll flip cat concat concatenate stack
    hstack vstack chunk split tensorsplit unbind index indexselect gather takealongdim scatter
    maskedselect contiguous clone detach copy to type typeas float double half bfloat16 cpu cuda
    requiresgrad get booleandispatch
    """
)
PARTS = _named("getitem select narrow slice")
"""Give a part of what they take, which then goes its own way."""

REDUCED = _named("mean sum amax amin max min std var norm logsumexp nanmean")
SHAPES = _named("size dim len ndimension numel shape stride isfloatingpoint iscuda")
ATTRIBUTES = _named("T mT H mH data real")
"""Attributes of a tensor that are the tensor itself, in another arrangement."""

PRODUCTS = _named(
    """
    linear bilinear conv1d conv2d conv3d convtranspose1d convtranspose2d convtranspose3d matmul
    rmatmul bmm mm mv dot addmm baddbmm addbmm einsum tensordot outer embedding embeddingbag cdist
    cosinesimilarity scaleddotproductattention multiheadattentionforward lstm gru rnntanh rnnrelu
    """
)
SOFTMAX = _named("softmax softmin sparsemax entmax")
ADDITIONS = _named("add iadd radd sub isub rsub subtract")
MULTIPLICATIONS = _named(
    "mul imul rmul multiply div truediv itruediv rtruediv rdiv divide idiv truedivide"
)
ARITHMETIC = ADDITIONS | MULTIPLICATIONS | _named("neg")
CHOICES = _named("where maskedfill tril triu")
