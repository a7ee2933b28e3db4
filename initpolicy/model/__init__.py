"""What is read off a torch model: its modules, its tensors, and the facts that formulas use."""

from initpolicy.model.collecting import uncollected
from initpolicy.model.computed import Computed, class_of
from initpolicy.model.constructor import constructor_arguments, rebuilt, recomputed
from initpolicy.model.distributed import is_sharded, may_be_sharded, mesh_of, reshard
from initpolicy.model.errors import ModelError, RenameError
from initpolicy.model.facts import Facts, FanError, FanMode, Fans
from initpolicy.model.layout import LayoutError, arranged, letters_of, read_layout
from initpolicy.model.load import load_model
from initpolicy.model.registered import Kind, declared
from initpolicy.model.renaming import renamed
from initpolicy.model.sharding import Shard, shard_of
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
    "RenameError",
    "Shard",
    "Site",
    "Slot",
    "arranged",
    "class_of",
    "constructor_arguments",
    "declared",
    "is_sharded",
    "letters_of",
    "load_model",
    "may_be_sharded",
    "mesh_of",
    "read",
    "read_layout",
    "rebuilt",
    "recomputed",
    "renamed",
    "reshard",
    "shard_of",
    "uncollected",
]
