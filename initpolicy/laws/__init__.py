"""What values must be: laws that draw themselves, and judge what was drawn.

An initializer is a name; a law is the fact that it stands for. `kaiming_normal`, `xavier_normal`
and `normal` all lower to `Normal(mean, std)`.

>>> law = Normal(0.0, 0.02)
>>> str(law.scaled(0.5)), from_json(law.to_json()) == law
('N(0, 0.01)', True)
"""

from initpolicy.laws.base import Law, LawError, Moments
from initpolicy.laws.bases import Dct, Fourier, Haar, Hadamard, Identity
from initpolicy.laws.compose import Arranged, Stacked, ZeroRows, keeps_some
from initpolicy.laws.delta import DeltaOrthogonal
from initpolicy.laws.elementwise import Constant, Drawn, Normal, TruncatedNormal, Uniform
from initpolicy.laws.formula import Formula
from initpolicy.laws.frame import Frame
from initpolicy.laws.from_file import FromFile
from initpolicy.laws.mimetic import Mimetic
from initpolicy.laws.orthogonal import Orthogonal
from initpolicy.laws.part import Part, runs_of
from initpolicy.laws.read import from_json
from initpolicy.laws.sparse import Sparse
from initpolicy.laws.stratified import Stratified
from initpolicy.laws.structured import Dirac, Eye

__all__ = [
    "Arranged",
    "Constant",
    "Dct",
    "DeltaOrthogonal",
    "Dirac",
    "Drawn",
    "Eye",
    "Formula",
    "Fourier",
    "Frame",
    "FromFile",
    "Haar",
    "Hadamard",
    "Identity",
    "Law",
    "LawError",
    "Mimetic",
    "Moments",
    "Normal",
    "Orthogonal",
    "Part",
    "Sparse",
    "Stacked",
    "Stratified",
    "TruncatedNormal",
    "Uniform",
    "ZeroRows",
    "from_json",
    "keeps_some",
    "runs_of",
]
