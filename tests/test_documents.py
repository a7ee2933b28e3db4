"""What the documents show works as shown."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

import initpolicy
from initpolicy.policy import parse
from initpolicy.policy.files import builtin_folder

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = [
    pytest.param(block, id=f"{document.name}-{number}")
    for document in DOCUMENTS
    for number, block in enumerate(re.findall(r"```toml\n(.*?)```", document.read_text(), re.S))
    if re.search(r"^format = 1", block, re.M)
]


@pytest.mark.parametrize("block", BLOCKS)
def test_every_whole_policy_in_a_document_loads(block):
    parse(block)


def test_links_between_documents_lead_somewhere():
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


class Conv1D(nn.Module):
    """A linear layer that stores its weight as (in, out), as GPT-2's code does."""

    def __init__(self, outputs: int, inputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, outputs))
        self.bias = nn.Parameter(torch.empty(outputs))


def test_the_policy_of_the_readme_says_what_the_readme_says():
    blocks = [
        nn.ModuleDict({
            "ln_1": nn.LayerNorm(8),
            "attn": nn.ModuleDict({"c_attn": Conv1D(24, 8), "c_proj": Conv1D(8, 8)}),
        })
        for _ in range(12)
    ]  # fmt: skip
    model = nn.ModuleDict({"wte": nn.Embedding(50, 8), "h": nn.ModuleList(blocks)})
    (policy,) = [block.values[0] for block in BLOCKS if block.id == "README.md-0"]
    plan = initpolicy.apply(model, parse(policy), seed=0)
    assert str(plan["h.0.attn.c_proj.weight"].law) == "N(0, 0.004082)"
    assert plan.warnings == ()


def test_every_shipped_policy_names_its_schema_first():
    for file in builtin_folder().glob("*.toml"):
        assert file.read_text().startswith("#:schema policy.schema.json\n"), file.name
