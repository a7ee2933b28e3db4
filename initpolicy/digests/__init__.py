"""One hash of all values of a model, and one of each tensor's; docs/digest.md defines them.

They do not depend on how the values are laid out: not on sharding, device, strides, threads or the
order of modules, nor on whether they are in a model or in a file.
"""

from initpolicy.digests.digest import (
    VERSION,
    Source,
    combined,
    digest,
    digests,
    of_sums,
    of_tensor,
    of_tensors,
    tensors_of,
)

__all__ = [
    "VERSION",
    "Source",
    "combined",
    "digest",
    "digests",
    "of_sums",
    "of_tensor",
    "of_tensors",
    "tensors_of",
]
