"""Initializers that are deterministic bases, evenly spread vectors, or evenly spread values."""

from __future__ import annotations

from typing import Literal

from initpolicy.laws import (
    Dct,
    DeltaOrthogonal,
    Fourier,
    Frame,
    Haar,
    Hadamard,
    Identity,
    Mimetic,
    Normal,
    Stratified,
    Uniform,
)
from initpolicy.model.facts import Facts


def identity(tensor: Facts, *, gain: float = 1.0) -> Identity:
    """Identity matrix of any shape, times gain: row i is 0 but for its element i.

    Dimensions after the first are flattened, so that rows number elements of a kernel in order.
    Of a matrix it is `eye`; `dirac` is the identity as a convolution. Raises `InitializerError`
    for fewer than 2 dimensions.

    >>> print(identity(Facts((8, 4, 3, 3)), gain=2.0))
    partial identity x 2
    """
    return Identity(gain)


def delta_orthogonal(tensor: Facts, *, gain: float = 1.0) -> DeltaOrthogonal:
    """Random orthonormal columns in the middle of the kernel, times gain. Xiao et al. 2018.

    The convolution keeps the norm of its input (with circular padding, exactly). Weights are
    (out, in, *kernel) of 3 to 5 dimensions; the middle is at index size // 2. As in the paper, out
    must be at least in: no narrowing map keeps every norm, and a tensor with fewer outputs is an
    error, with `orthogonal` as what to write instead. `gain = "auto"` in a policy is the gain of
    what follows the layer.

    L. Xiao et al., "Dynamical isometry and a mean field theory of CNNs: how to train
    10,000-layer vanilla convolutional neural networks", algorithm 1.

    >>> print(delta_orthogonal(Facts((16, 8, 3, 3)), gain=2.0))
    delta orthogonal x 2
    """
    return DeltaOrthogonal(gain)


def hadamard(tensor: Facts, *, gain: float = 1.0) -> Hadamard:
    """ZerO: identity, or part of a Hadamard matrix where rows exceed columns. Zhao et al. 2022.

    Of m rows and n columns the matrix is the partial identity if m <= n, and else the first m rows
    and n columns of H / 2^(c/2), where c = ceil(log2 m) and H is Sylvester's Hadamard matrix of
    side 2^c. A convolution of 3 to 5 dimensions has it in the middle of the kernel, at index
    size // 2, and 0 elsewhere. All is multiplied by gain; nothing is drawn.

    J. Zhao, F. Schaefer, A. Anandkumar, "ZerO initialization: initializing neural networks with
    only zeros and ones", algorithms 1 and 2. Raises `InitializerError` for fewer than 2
    dimensions.

    >>> print(hadamard(Facts((16, 8))))
    ZerO
    """
    return Hadamard(gain)


def dct(tensor: Facts, *, gain: float = 1.0) -> Dct:
    """Cosines of increasing frequency, orthonormal, times gain. Ahmed et al. 1974.

    Row k of a matrix with n >= rows columns is sqrt(2 / n) cos(pi k (2 j + 1) / (2 n)), and
    sqrt(1 / n) for k = 0: the DCT-II. Of more dimensions, rows are products of a cosine in each
    dimension after the first, those of low frequency first. With more rows than columns, rows are
    all cosines on as many positions as there are rows, of which the first are taken: then the
    columns are orthonormal. Nothing is drawn. Raises `InitializerError` for fewer than 2
    dimensions.

    >>> print(dct(Facts((64, 3, 7, 7))))
    DCT
    """
    return Dct(gain)


def fourier(tensor: Facts, *, gain: float = 1.0) -> Fourier:
    """Waves of increasing frequency, orthonormal, times gain: the real Fourier basis.

    Rows of a matrix with n >= rows columns are the constant sqrt(1 / n); for k = 1, 2, ... the
    pairs sqrt(2 / n) cos(2 pi k j / n), sqrt(2 / n) sin(2 pi k j / n); and for even n at last
    sqrt(1 / n) (-1)^j. Of more dimensions, rows are products of a wave in each dimension after the
    first, those of low frequency first. With more rows than columns, rows are all waves on as many
    positions as there are rows, of which the first are taken, at j + 1/4: then the columns are
    orthonormal. Nothing is drawn. Raises `InitializerError` for fewer than 2 dimensions.

    >>> print(fourier(Facts((64, 3, 7, 7)), gain=2**0.5))
    Fourier x 1.414
    """
    return Fourier(gain)


def haar(tensor: Facts, *, gain: float = 1.0) -> Haar:
    """Wavelets from coarse to fine, orthonormal, times gain. Haar 1910.

    The first row is constant. Each further one is a step on an interval: sqrt(b / (a n)) on its
    first a = ceil(n / 2) positions, -sqrt(a / (b n)) on its other b, first for all n positions,
    then for their halves, and so on (unbalanced where n is odd: Girardi and Sweldens 1997). Of more
    dimensions, rows are products of a wavelet in each dimension after the first, coarse ones first.
    With more rows than columns the basis is repeated, each time moved on by one position in a
    circle, and divided by sqrt(rows / columns); some rows are equal then, so that `dct`, `fourier`
    or `frame` are better choices. Nothing is drawn. Raises `InitializerError` for fewer than 2
    dimensions.

    >>> print(haar(Facts((64, 64))))
    Haar
    """
    return Haar(gain)


def frame(tensor: Facts, *, gain: float = 1.0) -> Frame:
    """Vectors of length gain that are spread as evenly as possible.

    The largest |cosine| of two rows is made small: 0, a random orthogonal matrix, if rows are at
    most as many as columns; near the bound sqrt((n - d) / (d (n - 1))) of Welch (1974) for n rows
    of d columns otherwise. It is found by following a gradient, in seconds, with the same bits on
    every machine. Raises `InitializerError` for fewer than 2 dimensions, and for more than 8192
    rows that cannot be orthogonal.

    >>> print(frame(Facts((244, 24, 3, 3))))
    frame
    """
    return Frame(gain)


def stratified_uniform(tensor: Facts, *, a: float = 0.0, b: float = 1.0) -> Stratified:
    """U(a, b) in equal steps: of N elements, a + (b - a) (i + 1/2) / N each once.

    Their order is random, and each row has a value in each of as many equal parts of [a, b] as it
    has elements. Mean and variance of every row are so nearly those of U(a, b).

    >>> print(stratified_uniform(Facts((10, 4)), a=-1.0))
    stratified U(-1, 1)
    """
    return Stratified(Uniform(a, b))


def stratified_normal(tensor: Facts, *, mean: float = 0.0, std: float = 1.0) -> Stratified:
    """N(mean, std) in steps of equal probability: the N quantiles at (i + 1/2) / N each once.

    Their order is random, and each row has a value in each of as many parts of equal probability
    as it has elements. Mean and variance of every row are so nearly those of N(mean, std).

    >>> print(stratified_normal(Facts((10, 4)), std=0.02))
    stratified N(0, 0.02)
    """
    return Stratified(Normal(mean, std))


def mimetic(
    tensor: Facts,
    *,
    part: Literal["q", "k", "v", "proj"],
    alpha: float,
    beta: float,
    heads: int = 1,
    gain: float = 1.0,
) -> Mimetic:
    """Attention weights whose products are near a multiple of the identity. Trockman, Kolter 2023.

    For each head W_q^T W_k = alpha Z + beta I, as near as its rows allow, and for the layer
    (W_proj W_v)^T = alpha Z - beta I, where Z is N(0, 1 / d) of d x d elements and weights are
    (out, in). Each tensor is one side of the singular value decomposition of its product.

    The two tensors of a product must be made of the same Z: give both the same `stream`, alpha and
    beta, q and k the same heads, and each layer a stream of its own. Nothing in one tensor shows
    whether that is so. `draws = "torch"` has no streams, and draws each side for itself.

    Raises `InitializerError` for a part that is none, for heads with v or proj, for a tensor that
    is no matrix, and for more vectors in a head than the width d.

    >>> print(mimetic(Facts((192, 192)), part="q", alpha=0.5, beta=0.7, heads=3))
    mimetic q (0.5 Z + 0.7 I, heads 3)
    """
    return Mimetic(part, alpha, beta, heads, gain)
