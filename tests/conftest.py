"""How Hypothesis runs here: no test looks at a clock, and CI sees the same examples each time."""

import os

from hypothesis import settings

settings.register_profile("initpolicy", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("initpolicy")
