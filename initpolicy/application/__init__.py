"""Giving a model its first values: all of it, or the parts that this process holds."""

from initpolicy.application.apply import apply, calibrated_values
from initpolicy.application.calibrating import told
from initpolicy.application.carry_out import Draws, Progress
from initpolicy.application.parts import fill
from initpolicy.application.using import check_use, uses_data

__all__ = [
    "Draws",
    "Progress",
    "apply",
    "calibrated_values",
    "check_use",
    "fill",
    "told",
    "uses_data",
]
