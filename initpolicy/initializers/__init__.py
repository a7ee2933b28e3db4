"""Names of initializers, each a recipe of a few lines that lowers to a law.

>>> from initpolicy.model.facts import Facts
>>> print(get("kaiming_normal").lower(Facts((64, 32, 3, 3)), {"nonlinearity": "relu"}))
N(0, 0.08333)
"""

from initpolicy.initializers.gain import gain
from initpolicy.initializers.initializer import (
    ArgumentProblem,
    FileName,
    Initializer,
    InitializerError,
    Parameter,
    Template,
)
from initpolicy.initializers.registry import get, names

__all__ = [
    "ArgumentProblem",
    "FileName",
    "Initializer",
    "InitializerError",
    "Parameter",
    "Template",
    "gain",
    "get",
    "names",
]
