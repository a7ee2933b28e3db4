"""What an initialization does to a network: its signals, forwards and backwards."""

from initpolicy.batches import Input
from initpolicy.signals.growth import Growth
from initpolicy.signals.probe import Loss, probe
from initpolicy.signals.result import (
    Condition,
    LayerSignal,
    Limits,
    ParameterSignal,
    Probe,
    SignalFinding,
)

__all__ = [
    "Condition",
    "Growth",
    "Input",
    "LayerSignal",
    "Limits",
    "Loss",
    "ParameterSignal",
    "Probe",
    "SignalFinding",
    "probe",
]
