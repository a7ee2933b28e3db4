"""Parameters that torch's first FSDP has flattened, so that they have no shape of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn

from initpolicy.model.errors import ModelError
from initpolicy.model.names import Visit, join
from initpolicy.model.registered import tensors
from initpolicy.problems import listed


def check_whole(visits: Sequence[Visit]) -> None:
    """Raise a `ModelError` if `FullyShardedDataParallel` shows shards in the place of parameters.

    It does so outside `summon_full_params`, unless it does not shard and keeps the originals.
    """
    found = [one for visit in visits if visit.wraps for one in _flattened(visit.module)]
    if found:
        name_of = {id(visit.module): visit.name for visit in reversed(visits) if not visit.wraps}
        names = [join(name_of.get(id(module), ""), name) for module, name in found]
        noun = "parameters are" if len(names) > 1 else "parameter is"
        raise ModelError(
            f"{len(names)} {noun} flattened by FullyShardedDataParallel: {listed(names)}",
            hint="write `with FullyShardedDataParallel.summon_full_params(model):` around it, or "
            "use `fully_shard`, which leaves parameters their shapes",
        )


def _flattened(wrapper: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    # By name: to import FSDP costs more than to read most models.
    if not any(
        base.__name__ == "FullyShardedDataParallel" and base.__module__.startswith("torch.")
        for base in type(wrapper).__mro__
    ):
        return
    handle: Any = getattr(wrapper, "_handle", None)  # None if there is nothing to shard
    if handle is None:
        return
    flat = handle.flat_param
    shared_out = (
        handle.uses_sharded_strategy and handle._training_state.name != "SUMMON_FULL_PARAMS"
    )
    for (name, module, _), shape in zip(flat._param_infos, flat._shapes, strict=True):
        if shared_out:  # a shard may happen to have the shape of the whole
            yield module, name
            continue
        present = {local_name: tensor for local_name, tensor, _, _ in tensors(module)}
        if name not in present or present[name].shape != shape:
            yield module, name
