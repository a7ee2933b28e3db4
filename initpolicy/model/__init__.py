"""What is read off a torch model: its modules, its tensors, and the facts that formulas use."""

from initpolicy.model.errors import ModelError
from initpolicy.model.facts import Facts, FanError, FanMode, Fans
from initpolicy.model.load import load_model
from initpolicy.model.registered import Kind, declared
from initpolicy.model.slots import Inventory, ModuleEntry, Site, Slot, read

__all__ = [
    "Facts",
    "FanError",
    "FanMode",
    "Fans",
    "Inventory",
    "Kind",
    "ModelError",
    "ModuleEntry",
    "Site",
    "Slot",
    "declared",
    "load_model",
    "read",
]
