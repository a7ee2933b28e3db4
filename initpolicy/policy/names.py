"""The names that expressions read without anyone having to define them."""

TENSOR_FACTS = ("fan_in", "fan_out", "receptive_field", "numel", "ndim", "shape")
"""Of the tensor at hand; of its siblings in the same module as `weight.fan_in`."""

RESERVED = frozenset({*TENSOR_FACTS, "depth", "module"})
"""Names that no variable and no capture may take."""
