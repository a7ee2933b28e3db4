"""The example of a sharded model: what it prints on one, two and four processes."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from distributed import run

import initpolicy
from initpolicy.model import load_model

EXAMPLES = Path(__file__).parents[2] / "examples"


def shown(rank: int) -> str:
    """Run the example in a process that torch's group joins to the others."""
    sys.path.insert(0, str(EXAMPLES))
    import fsdp

    torch.manual_seed(rank)  # what the processes draw by themselves differs
    with redirect_stdout(io.StringIO()) as text:
        fsdp.show()
    return text.getvalue()


def digests(text: str) -> list[str]:
    return re.findall(r"^  ([0-9a-f]{32})  of", text, re.MULTILINE)


def losses(text: str) -> list[float]:
    return [float(loss) for loss in re.findall(r"^step \d: loss (\S+)$", text, re.MULTILINE)]


def check(text: str, world: int) -> None:
    model = load_model(f"{EXAMPLES}/llama.py:llama", {})
    initpolicy.apply(model, "llama", seed=0)
    expected = initpolicy.digest(model)
    assert digests(text)[:2] == [expected, expected]
    assert "initpolicy.apply: equal\n" in text
    assert losses(text)[-1] < losses(text)[0]
    ours, torchs = re.findall(r"occur more than once: (\S+) of 12,288", text)
    assert int(ours) < 10  # about 12,288 ** 2 / 2 ** 25 by chance
    if world > 1:  # this is torch's behaviour on a CPU; if it changes, the example says so
        assert "normal_, the same seed on all processes: DIFFERENT" in text
        assert torchs == "12,288"


@pytest.mark.parametrize("world", [1, 2, 4])
def test_the_example_begins_with_the_values_of_one_process(world: int) -> None:
    first, *others = run(shown, world)
    assert others == [""] * (world - 1)
    check(first, world)


@pytest.mark.heavy
def test_the_example_runs_under_torchrun() -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    ran = subprocess.run(
        [*torchrun, "--nproc-per-node", "2", str(EXAMPLES / "fsdp.py")],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert "UserWarning" not in ran.stderr
    check(ran.stdout, 2)


def test_a_llama_of_405b_has_the_published_size() -> None:
    sys.path.insert(0, str(EXAMPLES))
    try:
        from llama import LLAMA_3_405B, Llama
    finally:
        sys.path.remove(str(EXAMPLES))

    def count(layers: int) -> int:
        with torch.device("meta"):
            model = Llama(replace(LLAMA_3_405B, layers=layers))
        return sum(parameter.numel() for parameter in model.parameters())

    assert count(1) + (LLAMA_3_405B.layers - 1) * (count(2) - count(1)) == 405_853_388_800
