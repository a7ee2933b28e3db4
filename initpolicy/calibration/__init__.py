"""Steps that need data, after the draws: names with arguments that change layers in order.

>>> names()
('autoencoder', 'lsuv', 'weight_norm_data')
"""

from initpolicy.calibration.calibrate import Changed, calibrate, changes, check, rehearse
from initpolicy.calibration.errors import CalibrationError
from initpolicy.calibration.registry import get, names
from initpolicy.calibration.step import Calibration, Done, Layer

__all__ = [
    "Calibration",
    "CalibrationError",
    "Changed",
    "Done",
    "Layer",
    "calibrate",
    "changes",
    "check",
    "get",
    "names",
    "rehearse",
]
