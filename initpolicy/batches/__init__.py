"""What a model is called with: shapes to draw, tensors, or what a callable gives."""

from initpolicy.batches.batch import Batch, Input, batch_of, why_not

__all__ = ["Batch", "Input", "batch_of", "why_not"]
