"""What a policy may say: reading TOML, globs, expressions, and every mistake with its line."""

from initpolicy.policy.files import builtins
from initpolicy.policy.load import load, parse
from initpolicy.policy.model import Policy, Rule

__all__ = ["Policy", "Rule", "builtins", "load", "parse"]
