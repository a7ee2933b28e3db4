"""The counter-based random field: pure functions of seed, name, index and law."""

from initpolicy.field.draws import (
    Draw,
    NormalDraw,
    TruncatedDraw,
    UniformDraw,
    check_draw,
    representable_bounds,
)
from initpolicy.field.elements import Elements, sums
from initpolicy.field.fill import fill, words, words_of
from initpolicy.field.pieces import Fill
from initpolicy.field.runs import Runs
from initpolicy.field.stream import DRAW_VERSION, NO_STREAM, Stream, stream

__all__ = [
    "DRAW_VERSION",
    "NO_STREAM",
    "Draw",
    "Elements",
    "Fill",
    "NormalDraw",
    "Runs",
    "Stream",
    "TruncatedDraw",
    "UniformDraw",
    "check_draw",
    "fill",
    "representable_bounds",
    "stream",
    "sums",
    "words",
    "words_of",
]
