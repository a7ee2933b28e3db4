"""How Hypothesis runs here: no test looks at a clock, and CI sees the same examples each time."""

import os
import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

settings.register_profile(
    "initpolicy",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],  # by the clock of a machine that may be busy
    derandomize="CI" in os.environ,
)
settings.load_profile("initpolicy")

sys.path.insert(0, str(Path(__file__).parent))  # what the tests of several folders share
