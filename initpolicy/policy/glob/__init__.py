"""Globs over module names, parameter names and class names.

Every glob is parsed once, into alternatives without braces, and matched without backtracking.

| written    | matches                                                                         |
|------------|---------------------------------------------------------------------------------|
| `*`        | any characters within a segment; as a whole segment, exactly one segment        |
| `?`        | one character                                                                   |
| `**`       | any number of whole segments, also none                                         |
| `{a,b}`    | either; may be nested, and may contain dots                                     |
| `[0-9]`    | one of these characters; `[!0-9]` one that is not; `[*]` is a star itself       |
| `<i>`      | a whole number, captured as `i`                                                 |
"""

from initpolicy.policy.glob.patterns import NamePattern, WordPattern
from initpolicy.policy.glob.selectors import NameSelector, TypeSelector
from initpolicy.policy.glob.tokens import GlobError

__all__ = ["GlobError", "NamePattern", "NameSelector", "TypeSelector", "WordPattern"]
