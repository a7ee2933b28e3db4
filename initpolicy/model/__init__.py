"""What is read off a torch model: its modules, its tensors, and the facts that formulas use."""

from initpolicy.model.computed import Computed, class_of
from initpolicy.model.errors import ModelError
from initpolicy.model.facts import Facts, FanError, FanMode, Fans
from initpolicy.model.layout import LayoutError, arranged, letters_of, read_layout
from initpolicy.model.load import load_model
from initpolicy.model.registered import Kind, declared
from initpolicy.model.slots import Inventory, ModuleEntry, Site, Slot, read

__all__ = [
    "Computed",
    "Facts",
    "FanError",
    "FanMode",
    "Fans",
    "Inventory",
    "Kind",
    "LayoutError",
    "ModelError",
    "ModuleEntry",
    "Site",
    "Slot",
    "arranged",
    "class_of",
    "declared",
    "letters_of",
    "load_model",
    "read",
    "read_layout",
]
