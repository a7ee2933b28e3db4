"""Arithmetic in policies and laws: parsed once, evaluated for a tensor or for all its elements."""

from initpolicy.expressions.arrays import evaluate_lanes
from initpolicy.expressions.closing import LONGEST_CLOSED, close
from initpolicy.expressions.expression import Expression
from initpolicy.expressions.grammar import ExpressionError

__all__ = ["LONGEST_CLOSED", "Expression", "ExpressionError", "close", "evaluate_lanes"]
