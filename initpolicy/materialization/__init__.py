"""Checkpoints written from a plan alone, in blocks, whatever their size."""

from initpolicy.materialization.task import Checkpoint, Task, Written, begin

__all__ = ["Checkpoint", "Task", "Written", "begin"]
