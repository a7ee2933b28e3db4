"""Initializers that are about the matrix as a whole."""

from __future__ import annotations

from initpolicy.laws import Dirac, Eye, Orthogonal, Sparse
from initpolicy.model.facts import Facts


def eye(tensor: Facts) -> Eye:
    """Ones on the diagonal of a matrix, zeros elsewhere. As `torch.nn.init.eye_`.

    >>> print(eye(Facts((4, 4))))
    identity
    """
    return Eye()


def dirac(tensor: Facts, *, groups: int = 1) -> Dirac:
    """Convolution that hands its channels on, group by group. As `torch.nn.init.dirac_`.

    >>> print(dirac(Facts((8, 4, 3, 3)), groups=2))
    dirac (groups 2)
    """
    return Dirac(groups)


def orthogonal(tensor: Facts, *, gain: float = 1.0) -> Orthogonal:
    """Random matrix with orthonormal rows or columns, times gain. Saxe et al. 2013.

    As `torch.nn.init.orthogonal_`: dimensions after the first are flattened. `gain = "auto"` in a
    policy is the gain of what follows the layer.

    >>> print(orthogonal(Facts((8, 4, 3, 3)), gain=2.0))
    orthogonal x 2
    """
    return Orthogonal(gain)


def sparse(tensor: Facts, *, sparsity: float, std: float = 0.01) -> Sparse:
    """N(0, std), but that a fraction `sparsity` of each column is 0. Martens 2010.

    As `torch.nn.init.sparse_`.

    >>> print(sparse(Facts((100, 50)), sparsity=0.1))
    sparse 10 %, N(0, 0.01)
    """
    return Sparse(sparsity, std)
