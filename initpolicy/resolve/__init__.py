"""Policy x model -> plan: which rule wins where, what it says there, and what nothing covers."""

from initpolicy.resolve.resolve import resolve

__all__ = ["resolve"]
