"""Names of initializers, each a recipe of a few lines that lowers to a law.

>>> from initpolicy.model.facts import Facts
>>> print(get("kaiming_normal").lower(Facts((64, 32, 3, 3)), {"nonlinearity": "relu"}))
N(0, 0.08333)
"""

from initpolicy.initializers.gain import gain
from initpolicy.initializers.initializer import (
    ArgumentProblem,
    Initializer,
    InitializerError,
    Parameter,
)
from initpolicy.initializers.registry import get, names

__all__ = [
    "ArgumentProblem",
    "Initializer",
    "InitializerError",
    "Parameter",
    "gain",
    "get",
    "names",
]
