"""What is wrong, as data: a code, a message, a place, and what to write instead.

Rooms above collect problems and raise them together; the report room renders them. Each code has
a page beside this file, which `initpolicy explain CODE` prints.
"""

from initpolicy.problems.pages import codes, page
from initpolicy.problems.problem import (
    InitPolicyError,
    Location,
    Problem,
    Severity,
    listed,
    suggest,
)

__all__ = [
    "InitPolicyError",
    "Location",
    "Problem",
    "Severity",
    "codes",
    "listed",
    "page",
    "suggest",
]
