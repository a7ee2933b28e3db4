"""Names with a meaning of their own: what expressions read, what every initializer takes."""

from dataclasses import dataclass

TENSOR_FACTS = ("fan_in", "fan_out", "receptive_field", "numel", "ndim", "shape")
"""Of the tensor at hand; of its siblings in the same module as `weight.fan_in`."""

AUTO = "auto"
"""An argument that follows from what follows the layer: `gain`, or `nonlinearity`."""

AUTO_GAIN = "auto_gain"
"""The gain that what follows the layer calls for."""

RESERVED = frozenset({*TENSOR_FACTS, "alias", "depth", "module", AUTO, AUTO_GAIN})
"""Names that no variable and no capture may take."""


@dataclass(frozen=True)
class CommonArgument:
    """An argument that every initializer takes: it is about the tensor and not about the law."""

    is_number: bool
    description: str
    pattern: str = ""
    """Which texts are accepted, if not all are."""


COMMON_ARGUMENTS = {
    "layout": CommonArgument(
        False,
        "a letter for each dimension: o, i, k or b, as in b i o",
        r"^(?=.*o)(?=.*i)([oikb] )*([oikb]|k\*)$",
    ),
    "chunks": CommonArgument(True, "how many independent matrices are stacked along dimension 0"),
    "scale": CommonArgument(True, "multiplies the law; a number or an expression"),
    "zero_index": CommonArgument(True, "a row that stays zero, such as module.padding_idx"),
    "stream": CommonArgument(False, "two tensors that name the same stream get the same draws"),
}
"""By name; an initializer that has an argument of the same name keeps its own."""
