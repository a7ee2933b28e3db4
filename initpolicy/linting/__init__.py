"""What is probably wrong with how a model begins, said before anything runs.

Each check is a function with a code. Its docstring is the title and the beginning of its page, and
`allow = ["IP702"]` in a rule says that what it finds is meant there.
"""

from initpolicy.linting.checks import CHECKS, Check
from initpolicy.linting.finding import Advice, Finding
from initpolicy.linting.lint import lint

__all__ = ["CHECKS", "Advice", "Check", "Finding", "lint"]
