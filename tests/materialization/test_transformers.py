"""transformers loads what was written, and has the values that `apply` gives."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest
import torch

import initpolicy

sys.path.insert(0, str(Path(__file__).parents[1] / "zoo"))


pytestmark = pytest.mark.skipif(
    not find_spec("transformers") or not find_spec("torchvision"), reason="needs transformers"
)


@pytest.fixture(scope="module")
def transformers() -> ModuleType:
    import libraries  # of tests/zoo

    return libraries.transformers()


POLICY = """
format = 1
seed = 5

[[rule]]
type = ["Linear", "Embedding"]
init.weight = { fn = "normal", std = 0.02 }

[[rule]]
type = "*RMSNorm"
init.weight = 1

[[rule]]
type = "*RotaryEmbedding"
buffer."*" = "keep"
"""


@pytest.mark.parametrize(
    ("tied", "limit", "dtype"),
    [
        (False, "5GB", torch.float32),
        (False, "20KB", torch.bfloat16),
        (True, "5GB", torch.bfloat16),
        (True, "20KB", torch.float32),
    ],
)
def test_a_llama_is_loaded(
    transformers: ModuleType, tmp_path: Path, tied: bool, limit: str, dtype: torch.dtype
) -> None:
    config = transformers.LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=tied,
        dtype=dtype,
    )
    (tmp_path / "policy.toml").write_text(POLICY)
    with torch.device("meta"):
        planned = transformers.LlamaForCausalLM(config)
    plan = initpolicy.plan(planned, tmp_path / "policy.toml")
    out = tmp_path / "out"
    done = initpolicy.materialize(plan, out, max_shard_size=limit, dtype=dtype)
    assert (done.files > 1) == (limit == "20KB")
    config.save_pretrained(out)
    loaded, told = transformers.LlamaForCausalLM.from_pretrained(
        out, dtype=dtype, output_loading_info=True
    )
    assert not any(told.values()), told
    expected = transformers.LlamaForCausalLM(config).to(dtype)
    initpolicy.apply(expected, tmp_path / "policy.toml")
    found = loaded.state_dict()
    assert found.keys() == expected.state_dict().keys()
    for name, value in expected.state_dict().items():
        assert found[name].dtype == dtype
        assert torch.equal(found[name], value), name
    assert (loaded.lm_head.weight is loaded.model.embed_tokens.weight) == tied
