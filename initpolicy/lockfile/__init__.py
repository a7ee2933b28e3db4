"""Locks: what each tensor of a model begins with, in a file that is made for reading its diff.

A lock is made of a plan, written as text, read back, and compared: with another lock, with a plan,
or with the values of a model.
"""

from initpolicy.lockfile.differences import Change, Differences, Setting, compare, differences
from initpolicy.lockfile.document import Entry, Lock
from initpolicy.lockfile.exact import has_digest
from initpolicy.lockfile.making import bytes_to_draw, lock
from initpolicy.lockfile.policies import KeyChange, PolicyDifferences, policy_differences
from initpolicy.lockfile.reading import is_lock, parse, read
from initpolicy.lockfile.values import ValueDifference, ValueDifferences, check_values
from initpolicy.lockfile.writing import write

__all__ = [
    "Change",
    "Differences",
    "Entry",
    "KeyChange",
    "Lock",
    "PolicyDifferences",
    "Setting",
    "ValueDifference",
    "ValueDifferences",
    "bytes_to_draw",
    "check_values",
    "compare",
    "differences",
    "has_digest",
    "is_lock",
    "lock",
    "parse",
    "policy_differences",
    "read",
    "write",
]
