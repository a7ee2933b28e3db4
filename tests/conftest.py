"""How Hypothesis runs here: no test looks at a clock, and CI sees the same examples each time."""

import os
import sys
from pathlib import Path

from hypothesis import settings

settings.register_profile("initpolicy", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("initpolicy")

sys.path.insert(0, str(Path(__file__).parent))  # what the tests of several folders share
