"""Policy x model -> plan: which rule wins where, what it says there, and what nothing covers."""

from initpolicy.resolve.recomputing import recompute
from initpolicy.resolve.resolve import read_model, resolve

__all__ = ["read_model", "recompute", "resolve"]
