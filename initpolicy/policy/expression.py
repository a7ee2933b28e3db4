"""The expressions of policies, which stand in a lower room because laws are written in them too."""

from initpolicy.expressions import Expression as Expression
from initpolicy.expressions import ExpressionError as ExpressionError
